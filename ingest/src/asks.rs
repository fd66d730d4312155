//! What ingest asks of a device by itself: to set its clock after its hello, to send again what never came.
//!
//! Goes in: a hello, the gaps in a device's numbers. Comes out: commands in the store's queue.
//! Must never: keep a device busy. A gap is asked for at growing distances, and not for ever.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use store::{DeviceCommand, DeviceHistory, Presence, Store, StoreError};
use vitals::{Device, DeviceKey, Timestamp, Zone};
use wire::hello;

/// A clock that is told later than this is told wrongly.
const TIME_EXPIRES: Duration = Duration::from_secs(60);
/// How long a device has to send again.
const RESEND_EXPIRES: Duration = Duration::from_secs(24 * 3600);
/// From one request for the same numbers to the next; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// Requests for the gaps of one device until one of them closes or another opens.
const MOST: u32 = 12;

/// Numbers that never came: first and last.
pub(crate) type Gap = (i64, i64);

/// Most gaps that are looked at; the lowest first.
const GAPS: usize = 8;

/// The gaps in the present life of a device's counter, lowest first.
pub(crate) fn gaps(history: &DeviceHistory) -> Vec<Gap> {
    let Some(epoch) = history.current() else { return Vec::new() };
    epoch.spans.windows(2).take(GAPS).map(|pair| (pair[0].last + 1, pair[1].first - 1)).collect()
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
    gaps: Vec<Gap>,
    times: u32,
    next: Timestamp,
}

impl Asks {
    /// The gap to be asked for now, if any, and the how manieth time it is.
    fn due(&self, device: DeviceKey, gaps: Vec<Gap>, now: Timestamp) -> Option<(Gap, u32)> {
        if gaps.is_empty() && self.devices.load(Relaxed) == 0 {
            return None;
        }
        let mut all = self.asked.lock();
        if gaps.is_empty() {
            all.remove(&device);
            self.devices.store(all.len(), Relaxed);
            return None;
        }
        self.devices.store(all.len() + 1, Relaxed);
        let asked = all.entry(device).or_insert_with(|| Asked { gaps: Vec::new(), times: 0, next: now });
        // A gap that is new is asked for at once; one that only shrinks or closes is progress.
        let fresh =
            gaps.iter().find(|gap| !asked.gaps.iter().any(|known| known.0 <= gap.0 && gap.1 <= known.1)).copied();
        let closed = gaps.len() < asked.gaps.len();
        asked.gaps = gaps;
        if fresh.is_some() || closed {
            asked.times = 0;
        }
        if fresh.is_none() && (now < asked.next || asked.times >= MOST) {
            return None;
        }
        // In turn, so that one that can never be filled does not keep the others from being asked for.
        let turn = usize::try_from(asked.times).unwrap_or(0) % asked.gaps.len();
        let gap = fresh.unwrap_or(asked.gaps[turn]);
        asked.next = now.plus(FIRST_PAUSE * 2_u32.pow(asked.times.min(MOST)));
        asked.times += 1;
        Some((gap, asked.times))
    }

    /// Asks a device for what never came, if it is time to.
    pub(crate) async fn resend(&self, store: &Store, device: DeviceKey, gaps: Vec<Gap>, zone: &Zone) {
        let now = store.clock().now();
        let Some(((from, to), times)) = self.due(device, gaps, now) else { return };
        let expires_at = now.plus(RESEND_EXPIRES);
        let id = format!("resend-{device}-{from}-{to}-{times}-{}", now.as_micros());
        let body = hello::resend_command(&id, from, to, expires_at, zone);
        if let Err(e) = store.queue_command(DeviceCommand { id, device, body, expires_at }).await {
            // The readings are stored; the gap is asked for another time.
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
        assert_eq!(due(&[], 0), None);
        assert_eq!(due(&[(3, 4)], 0), Some(((3, 4), 1)));
        assert_eq!(due(&[(3, 4)], 59), None);
        assert_eq!(due(&[(3, 4)], 60), Some(((3, 4), 2)));
        assert_eq!(due(&[(3, 4)], 179), None);
        assert_eq!(due(&[(4, 4)], 180), Some(((4, 4), 3)), "what shrinks is the same gap");
        assert_eq!(due(&[(4, 4), (9, 9)], 181), Some(((9, 9), 1)), "a new one at once");
        assert_eq!(due(&[(4, 4), (9, 9)], 241), Some(((9, 9), 2)));
        assert_eq!(due(&[], 242), None);
        assert_eq!(due(&[(3, 4)], 243), Some(((3, 4), 1)), "closed and open again");
    }

    #[test]
    fn what_can_never_be_filled_is_given_up() {
        let (asks, device) = (Asks::default(), DeviceKey::new(1));
        let asked =
            (0..400).filter(|day| asks.due(device, vec![(3, 4)], Timestamp::from_seconds(day * 86_400)).is_some());
        assert_eq!(u32::try_from(asked.count()).unwrap(), MOST);
    }
}
