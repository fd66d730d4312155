//! Sessions that outlive a restart: what changed is written to the store in one go, a moment later.
//!
//! Goes in: what sessions have subscribed to, at logins, subscriptions and ends. Comes out: the same, at the next start.
//! Must never: hold up a session. Who is killed before the moment has passed is told `session present = 0` and subscribes
//! again.

use crate::subscriptions::Subscriptions;
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use store::{MqttSession, Store, StoreError};
use vitals::DeviceKey;

/// What the store has, and what it is to have. At most one entry a provisioned device in each.
#[derive(Default)]
pub(crate) struct Lasting {
    stored: Mutex<HashMap<DeviceKey, MqttSession>>,
    changed: Mutex<HashMap<DeviceKey, Option<MqttSession>>>,
}

impl Lasting {
    /// What an earlier process kept.
    pub(crate) async fn load(&self, store: &Store) -> Result<Vec<MqttSession>, StoreError> {
        let all = store.mqtt_sessions().await?;
        *self.stored.lock() = all.iter().map(|s| (s.device, s.clone())).collect();
        Ok(all)
    }

    /// A session as it is now. One that hears nothing, or ends with its connection, need not be kept.
    pub(crate) fn note(&self, device: DeviceKey, subscriptions: &Subscriptions, expiry: Duration) {
        let subscriptions = subscriptions.to_text();
        let expiry = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
        let now = (!subscriptions.is_empty() && expiry > 0).then_some(MqttSession { device, subscriptions, expiry });
        self.change(device, now);
    }

    /// A session that is over.
    pub(crate) fn forget(&self, device: DeviceKey) {
        self.change(device, None);
    }

    fn change(&self, device: DeviceKey, now: Option<MqttSession>) {
        if self.stored.lock().get(&device) == now.as_ref() {
            self.changed.lock().remove(&device);
        } else {
            self.changed.lock().insert(device, now);
        }
    }

    /// Writes what has changed; what cannot be written now is tried again.
    pub(crate) async fn write(&self, store: &Store) {
        let changed: Vec<_> = self.changed.lock().drain().collect();
        if changed.is_empty() {
            return;
        }
        let kept: Vec<MqttSession> = changed.iter().filter_map(|(_, now)| now.clone()).collect();
        let gone = changed.iter().filter(|(_, now)| now.is_none()).map(|(device, _)| *device).collect();
        if let Err(e) = store.keep_mqtt_sessions(kept, gone).await {
            tracing::warn!(error = %e, "sessions cannot be kept; trying again");
            let mut later = self.changed.lock();
            for (device, now) in changed {
                later.entry(device).or_insert(now); // what changed meanwhile is newer
            }
            return;
        }
        let mut stored = self.stored.lock();
        for (device, now) in changed {
            match now {
                Some(session) => drop(stored.insert(device, session)),
                None => drop(stored.remove(&device)),
            }
        }
    }
}
