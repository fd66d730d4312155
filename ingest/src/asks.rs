//! What ingest asks of a device by itself: to set its clock after its hello, to send again what never came.
//!
//! Goes in: a hello, the gaps in a device's numbers. Comes out: commands in the queue of who sent the message, which is
//! the device or its gateway.
//! Must never: keep a device busy. A gap is asked for at growing distances, and not for ever.

use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use store::{Desk, DeviceCommand, DeviceHistory, Presence, Store, StoreError};
use vitals::{Device, DeviceId, DeviceKey, DeviceKind, Timestamp, Zone};
use wire::hello;

/// A clock that is told later than this is told wrongly.
const TIME_EXPIRES: Duration = Duration::from_secs(60);
/// How long a device has to send again.
const RESEND_EXPIRES: Duration = Duration::from_secs(24 * 3600);
/// From one request for the same numbers to the next; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// Requests for the gaps of one device until one of them closes or another opens.
const MOST: u32 = 12;

/// New gaps of one device that are asked for between two such pauses; of more a later message asks. A counter that goes up by
/// two opens one with every message.
const AT_ONCE: usize = 64;

/// Numbers that never came: first and last.
pub(crate) type Gap = (i64, i64);

/// What one device owes: the gaps in the present life of its counter, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    device: DeviceKey,
    /// What its gateway calls it; none where it spoke for itself.
    named: Option<DeviceId>,
    gaps: Vec<Gap>,
}

/// What is missing of each device of which the present message spoke; `sender` is who is to be asked for it.
pub(crate) fn owed(sender: &Device, desk: &mut Desk<'_>) -> Result<SmallVec<[Owed; 1]>, StoreError> {
    if sender.kind != DeviceKind::Gateway {
        return Ok(smallvec![Owed { device: sender.key, named: None, gaps: gaps(desk.history(sender.key)?) }]);
    }
    let mut all = SmallVec::new();
    for device in desk.spoken_of().into_iter().filter(|device| *device != sender.key) {
        let named = desk.directory().device_by_key(device).map(|d| d.id.clone());
        all.push(Owed { device, named, gaps: gaps(desk.history(device)?) });
    }
    Ok(all)
}

fn gaps(history: &DeviceHistory) -> Vec<Gap> {
    history.current().map_or_else(Vec::new, |epoch| epoch.gaps().collect())
}

/// What was asked of each device that has gaps. After a restart everything is asked once more, which does no harm.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    asked: Mutex<HashMap<DeviceKey, Asked>>,
    /// How many devices have gaps: a message of a device without one, while nobody has any, takes no lock.
    devices: AtomicUsize,
}

#[derive(Debug)]
struct Asked {
    /// Asked for already, lowest first.
    gaps: Vec<Gap>,
    times: u32,
    next: Timestamp,
    /// How many new ones may be asked for until when.
    room: (usize, Timestamp),
}

impl Asked {
    /// Whether a gap is one that was asked for, or what is left of one.
    fn knows(&self, gap: Gap) -> bool {
        let i = self.gaps.partition_point(|known| known.1 < gap.1);
        self.gaps.get(i).is_some_and(|known| known.0 <= gap.0)
    }
}

impl Asks {
    /// The gaps to be asked for now, and the how manieth time it is.
    fn due(&self, device: DeviceKey, mut gaps: Vec<Gap>, now: Timestamp) -> (Vec<Gap>, u32) {
        if gaps.is_empty() && self.devices.load(Relaxed) == 0 {
            return (gaps, 0);
        }
        let mut all = self.asked.lock();
        if gaps.is_empty() {
            all.remove(&device);
            self.devices.store(all.len(), Relaxed);
            return (gaps, 0);
        }
        let blank = || Asked { gaps: Vec::new(), times: 0, next: now, room: (0, now) };
        let asked = all.entry(device).or_insert_with(blank);
        if now >= asked.room.1 {
            asked.room = (AT_ONCE, now.plus(FIRST_PAUSE));
        }
        // A gap that is new is asked for at once; one that only shrinks or closes is progress.
        let mut fresh: Vec<Gap> = gaps.iter().filter(|gap| !asked.knows(**gap)).copied().collect();
        if let Some(first_to_wait) = fresh.get(asked.room.0).copied() {
            gaps.retain(|gap| *gap < first_to_wait || asked.knows(*gap));
            fresh.truncate(asked.room.0);
        }
        asked.room.0 -= fresh.len();
        let closed = gaps.len() < asked.gaps.len();
        asked.gaps = gaps;
        if !fresh.is_empty() || closed {
            asked.times = 0;
        }
        let due = if !fresh.is_empty() {
            fresh
        } else if now < asked.next || asked.times >= MOST {
            Vec::new()
        } else {
            // In turn, so that one that can never be filled does not keep the others from being asked for.
            let turn = usize::try_from(asked.times).unwrap_or(0) % asked.gaps.len().max(1);
            asked.gaps.get(turn).copied().into_iter().collect()
        };
        if !due.is_empty() {
            asked.next = now.plus(FIRST_PAUSE * 2_u32.pow(asked.times.min(MOST)));
            asked.times += 1;
        }
        let times = asked.times;
        self.devices.store(all.len(), Relaxed);
        (due, times)
    }

    /// Asks `sender` for what never came, if it is time to.
    pub(crate) async fn resend(&self, store: &Store, sender: DeviceKey, owed: SmallVec<[Owed; 1]>, zone: &Zone) {
        let now = store.clock().now();
        let expires_at = now.plus(RESEND_EXPIRES);
        let mut commands = Vec::new();
        for Owed { device, named, gaps } in owed {
            let (due, times) = self.due(device, gaps, now);
            commands.extend(due.into_iter().map(|(from, to)| {
                let id = format!("resend-{device}-{from}-{to}-{times}-{}", now.as_micros());
                let body = hello::resend_command(&id, named.as_ref(), (from, to), expires_at, zone);
                DeviceCommand { id, device: sender, body, expires_at }
            }));
        }
        if commands.is_empty() {
            return;
        }
        if let Err(e) = store.queue_commands(commands).await {
            // The readings are stored; the gaps are asked for another time.
            tracing::warn!(error = %e, "a resend could not be queued");
        }
    }
}

/// Keeps a hello and tells the device the time.
pub(crate) async fn greet(store: &Store, device: &Device, payload: &[u8], zone: &Zone) -> Result<(), StoreError> {
    let said = hello::decode(payload);
    let presence = Presence {
        model: said.model,
        firmware: said.firmware,
        battery: said.battery,
        last_seq: said.last_seq,
        ..Presence::default()
    };
    store.note_hello(device.key, presence).await?;
    let now = store.clock().now();
    let expires_at = now.plus(TIME_EXPIRES);
    let id = format!("time-{}-{}", device.key, now.as_micros());
    let body = hello::time_command(&id, now, expires_at, zone);
    store.queue_command(DeviceCommand { id, device: device.key, body, expires_at }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_asked_for_once_and_then_at_growing_distances() {
        let (asks, device) = (Asks::default(), DeviceKey::new(1));
        let at = Timestamp::from_seconds;
        let due = |gaps: &[Gap], seconds| asks.due(device, gaps.to_vec(), at(seconds));
        let one = |gap, times| (vec![gap], times);
        let none = |gaps: &[Gap], seconds| assert_eq!(due(gaps, seconds).0, [], "{gaps:?} {seconds}");
        none(&[], 0);
        assert_eq!(due(&[(3, 4)], 0), one((3, 4), 1));
        none(&[(3, 4)], 59);
        assert_eq!(due(&[(3, 4)], 60), one((3, 4), 2));
        none(&[(3, 4)], 179);
        assert_eq!(due(&[(4, 4)], 180), one((4, 4), 3), "what shrinks is the same gap");
        assert_eq!(due(&[(4, 4), (9, 9)], 181), one((9, 9), 1), "a new one at once");
        assert_eq!(due(&[(4, 4), (9, 9)], 241), one((9, 9), 2));
        none(&[], 242);
        assert_eq!(due(&[(3, 4)], 243), one((3, 4), 1), "closed and open again");
    }

    #[test]
    fn every_new_gap_is_asked_for_once_and_so_many_at_once() {
        let (asks, device, at) = (Asks::default(), DeviceKey::new(1), Timestamp::from_seconds);
        assert_eq!(asks.due(device, vec![(2, 2), (4, 4)], at(0)), (vec![(2, 2), (4, 4)], 1));
        let all: Vec<Gap> = (1..=150).map(|n| (2 * n, 2 * n)).collect();
        let mut asked = Vec::new();
        for (minute, expected) in [(0, AT_ONCE - 2), (1, AT_ONCE), (2, 150 - 2 * AT_ONCE)] {
            let (due, _) = asks.due(device, all.clone(), at(60 * minute));
            assert_eq!(due.len(), expected);
            asked.extend(due);
            assert_eq!(asks.due(device, all.clone(), at(60 * minute + 59)).0, [], "in the same minute no more");
        }
        asked.sort_unstable();
        assert_eq!(asked, all[2..], "each once");
    }

    #[test]
    fn what_can_never_be_filled_is_given_up() {
        let (asks, device) = (Asks::default(), DeviceKey::new(1));
        let asked =
            (0..400).filter(|day| !asks.due(device, vec![(3, 4)], Timestamp::from_seconds(day * 86_400)).0.is_empty());
        assert_eq!(u32::try_from(asked.count()).unwrap(), MOST);
    }

    #[test]
    fn a_counter_that_goes_up_by_two_is_not_answered_with_every_message() {
        let (asks, device) = (Asks::default(), DeviceKey::new(1));
        let mut gaps = Vec::new();
        let mut asked = 0;
        for n in 1..=600_i64 {
            gaps.push((2 * n, 2 * n));
            asked += asks.due(device, gaps.clone(), Timestamp::from_seconds(n / 10)).0.len();
        }
        assert_eq!(asked, 2 * AT_ONCE, "ten messages a second for a minute");
    }
}
