//! Commands for devices that are reached through the broker above: from the store's outbox, until that broker has them.
//!
//! Goes in: the store's bell. Comes out: orders for the carrier of the present connection, each once a connection.
//! Must never: forget one (the store has it until the broker's PUBACK), send what our own gate sends.

use super::Shared;
use parking_lot::Mutex;
use std::{collections::HashSet, time::Duration};
use tokio::{
    sync::{Notify, mpsc},
    time::{MissedTickBehavior, interval},
};
use vitals::{DeviceId, DeviceKey};
use wire::topic::Tree;

/// Orders on their way to the carrier. Full: the store is asked later.
pub(super) const WAITING: usize = 64;
/// The bell may be missed; this late it is looked at anyway.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Commands that are remembered as sent. Full: all are forgotten, and one that waits for its PUBACK may go out twice.
const REMEMBERED: usize = 10_000;

/// One command, ready to be sent.
pub(super) struct Order {
    pub(super) tree: Tree,
    pub(super) id: DeviceId,
    pub(super) command: String,
    pub(super) body: String,
    /// Seconds for which it is worth something.
    pub(super) expiry: u32,
}

/// Which devices have spoken through the broker above since the start: those are reached through it.
#[derive(Default)]
pub(super) struct Heard {
    devices: Mutex<HashSet<DeviceKey>>,
    anew: Notify,
}

impl Heard {
    pub(super) fn note(&self, device: DeviceKey) {
        if self.devices.lock().insert(device) {
            self.anew.notify_one();
        }
    }

    fn has(&self, device: DeviceKey) -> bool {
        self.devices.lock().contains(&device)
    }
}

/// Runs as long as one connection: what was sent before is sent again by the next, unless the broker has it.
pub(super) async fn gather(shared: &Shared, orders: mpsc::Sender<Order>) {
    let mut changes = shared.gate.store.command_changes();
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut reached, mut waiting, mut sent) = (0, HashSet::new(), HashSet::new());
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = changes.changed() => {}
            () = shared.heard.anew.notified() => {}
        }
        match shared.gate.store.commanded_after(reached).await {
            Ok((devices, sequence)) => {
                reached = sequence;
                waiting.extend(devices);
            }
            Err(e) => {
                tracing::warn!(error = %e, "commands cannot be read");
                continue;
            }
        }
        if sent.len() > REMEMBERED {
            sent.clear();
        }
        let ready: Vec<DeviceKey> = waiting.iter().copied().filter(|device| is_ours(shared, *device)).collect();
        for device in ready {
            waiting.remove(&device);
            if of_device(shared, device, &mut sent, &orders).await.is_none() {
                return;
            }
        }
    }
}

/// Whether a device is reached through the broker above: it spoke through it, or there is no other way in.
fn is_ours(shared: &Shared, device: DeviceKey) -> bool {
    let Some(known) = shared.gate.store.directory().device_by_key(device) else { return false };
    shared.gate.table.live(&known.id).is_none() && (shared.only_way || shared.heard.has(device))
}

/// None when the connection is gone.
async fn of_device(
    shared: &Shared,
    key: DeviceKey,
    sent: &mut HashSet<String>,
    orders: &mpsc::Sender<Order>,
) -> Option<()> {
    let store = &shared.gate.store;
    let Some(device) = store.directory().device_by_key(key).filter(|d| !d.revoked) else { return Some(()) };
    let Some(tree) = crate::subscriptions::tree(&device.kind) else { return Some(()) };
    let now = store.clock().now();
    let commands = match store.pending_commands(key, now).await {
        Ok(commands) => commands,
        Err(e) => {
            tracing::warn!(error = %e, "commands cannot be read");
            return Some(());
        }
    };
    for command in commands.into_iter().filter(|c| sent.insert(c.id.clone())).collect::<Vec<_>>() {
        let left = command.expires_at.since(now).as_secs().max(1);
        let order = Order {
            tree,
            id: device.id.clone(),
            command: command.id,
            body: command.body,
            expiry: u32::try_from(left).unwrap_or(u32::MAX),
        };
        orders.send(order).await.ok()?;
    }
    Some(())
}
