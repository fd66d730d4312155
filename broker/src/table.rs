//! Who is connected, and what outlives a connection: subscriptions, unacknowledged messages, a delayed will.
//!
//! Goes in: logins and ends. Comes out: the one connection of a device, and what the one before it left.
//! Must never: be asked on the way of a message. At most one entry a provisioned device, so it is bounded by them.

use crate::{
    Uplink,
    down::DownQueue,
    mailbox::{self, Mailbox},
    subscriptions::Subscriptions,
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use store::Directory;
use tokio::{sync::Notify, time::Instant};
use vitals::{Device, DeviceId};

/// A connection that took over waits so long for what the old one leaves; it then begins anew.
const HANDOVER: Duration = Duration::from_secs(2);

/// One live connection, as others see it.
#[derive(Debug)]
pub(crate) struct Live {
    /// The device as the store has it now.
    pub(crate) device: ArcSwap<Device>,
    /// It came in by certificate: a new secret does not end it.
    by_certificate: bool,
    /// The credential's hash at login.
    secret_hash: Option<[u8; 32]>,
    pub(crate) mailbox: Mailbox,
    left: Mutex<Option<Kept>>,
    ended: Notify,
}

/// What outlives a connection.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) subscriptions: Subscriptions,
    pub(crate) down: DownQueue,
    /// Until when; none = it ends with the connection.
    pub(crate) until: Instant,
}

/// A will that waits for its delay.
struct DelayedWill {
    due: Instant,
    uplink: Uplink,
}

#[derive(Default)]
struct Slot {
    live: Option<Arc<Live>>,
    kept: Option<Kept>,
    will: Option<DelayedWill>,
}

impl Slot {
    const fn is_empty(&self) -> bool {
        self.live.is_none() && self.kept.is_none() && self.will.is_none()
    }
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Table(Arc<Mutex<HashMap<DeviceId, Slot>>>);

/// The place of one connection in the table; given back when dropped.
pub(crate) struct Seat {
    table: Table,
    id: DeviceId,
    pub(crate) live: Arc<Live>,
    given_back: bool,
}

impl Table {
    /// Takes the device's place. Whoever has it is told to go; what it leaves is waited for.
    pub(crate) async fn enter(&self, device: Arc<Device>, by_certificate: bool) -> (Seat, Option<Kept>) {
        let id = device.id.clone();
        let live = Arc::new(Live {
            by_certificate,
            secret_hash: device.secret_hash,
            device: ArcSwap::new(device),
            mailbox: Mailbox::default(),
            left: Mutex::default(),
            ended: Notify::new(),
        });
        let (old, kept) = {
            let mut slots = self.0.lock();
            let slot = slots.entry(id.clone()).or_default();
            slot.will = None;
            (slot.live.replace(live.clone()), slot.kept.take())
        };
        let in_time = |kept: Option<Kept>| kept.filter(|k| k.until > Instant::now());
        let seat = Seat { table: self.clone(), id, live, given_back: false };
        let Some(old) = old else { return (seat, in_time(kept)) };
        old.mailbox.raise(mailbox::TAKEN_OVER);
        let _ = tokio::time::timeout(HANDOVER, old.ended.notified()).await;
        let left = old.left.lock().take();
        (seat, in_time(left))
    }

    /// What an earlier process kept for this device.
    pub(crate) fn recall(&self, id: &DeviceId, kept: Kept) {
        self.0.lock().entry(id.clone()).or_default().kept = Some(kept);
    }

    /// Live connections.
    pub(crate) fn everybody(&self) -> Vec<Arc<Live>> {
        self.0.lock().values().filter_map(|s| s.live.clone()).collect()
    }

    /// The live connection of a device.
    pub(crate) fn live(&self, id: &DeviceId) -> Option<Arc<Live>> {
        self.0.lock().get(id)?.live.clone()
    }

    /// Looks at every session after people or devices changed: whose credential went has to go, and what was kept for it.
    pub(crate) fn review(&self, directory: &Directory) {
        let mut slots = self.0.lock();
        slots.retain(|id, slot| {
            let now = directory.device(id.as_str()).filter(|d| !d.revoked);
            match (&slot.live, &now) {
                (Some(live), Some(device)) => live.review(device),
                (Some(live), None) => live.mailbox.raise(mailbox::REVOKED),
                (None, _) => {}
            }
            if now.is_none() {
                (slot.kept, slot.will) = (None, None);
            }
            !slot.is_empty()
        });
    }

    /// Forgets sessions whose time is over; returns whose those were, and the wills that are due.
    pub(crate) fn sweep(&self, now: Instant) -> (Vec<DeviceId>, Vec<Uplink>) {
        let (mut over, mut due) = (Vec::new(), Vec::new());
        self.0.lock().retain(|id, slot| {
            if slot.kept.take_if(|kept| kept.until <= now).is_some() {
                over.push(id.clone());
            }
            due.extend(slot.will.take_if(|will| will.due <= now).map(|w| w.uplink));
            !slot.is_empty()
        });
        (over, due)
    }
}

impl Live {
    fn review(&self, device: &Arc<Device>) {
        let known = self.device.load();
        if Arc::ptr_eq(&known, device) {
            return;
        }
        let secret_changed = !self.by_certificate && device.secret_hash != self.secret_hash;
        // Another owner or another kind means other topics: the client has to come in again.
        if secret_changed || device.organisation != known.organisation || device.kind != known.kind {
            self.mailbox.raise(mailbox::REVOKED);
        } else {
            self.device.store(device.clone());
        }
    }
}

impl Seat {
    /// Gives the place back, leaving `kept` for the next connection: in the table, or to the one that took over.
    /// A will with a delay waits in the table until somebody comes.
    pub(crate) fn leave(&mut self, kept: Option<Kept>, will: Option<(Instant, Uplink)>) {
        self.given_back = true;
        let mut slots = self.table.0.lock();
        if let Some(slot) = slots.get_mut(&self.id)
            && slot.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, &self.live))
        {
            slot.live = None;
            slot.kept = kept;
            slot.will = will.map(|(due, uplink)| DelayedWill { due, uplink });
            if slot.is_empty() {
                slots.remove(&self.id);
            }
            return;
        }
        drop(slots);
        *self.live.left.lock() = kept;
        self.live.ended.notify_one();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.given_back {
            self.leave(None, None);
        }
    }
}
