//! Sessions of the edge that outlive a connection and a restart: what a client has subscribed to, and for how long.
//!
//! Goes in: the edge's own words for its subscriptions. Comes out: the same, once, at start.
//! Must never: know what they mean. Receipts and commands are not here: a reading's result is in the journal, commands
//! have their own table.

use crate::{Store, StoreError};
use rusqlite::params;
use vitals::DeviceKey;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS mqtt_session(device INTEGER PRIMARY KEY REFERENCES device(key),
    subscriptions TEXT NOT NULL, expiry INTEGER NOT NULL);
";

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttSession {
    /// Whose.
    pub device: DeviceKey,
    /// In the edge's words.
    pub subscriptions: String,
    /// Seconds for which it outlives its connection.
    pub expiry: u32,
}

impl Store {
    /// Every session that was kept.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn mqtt_sessions(&self) -> Result<Vec<MqttSession>, StoreError> {
        self.registry
            .read(|c| {
                let mut statement = c.prepare_cached("SELECT device, subscriptions, expiry FROM mqtt_session")?;
                let rows = statement.query_map([], |r| {
                    let device = DeviceKey::from_i64(r.get(0)?);
                    Ok(MqttSession { device, subscriptions: r.get(1)?, expiry: r.get(2)? })
                })?;
                rows.map(|r| Ok(r?)).collect()
            })
            .await
    }

    /// Keeps these sessions in the place of those before, and forgets the others, in one transaction.
    ///
    /// # Errors
    /// As every write.
    pub async fn keep_mqtt_sessions(&self, kept: Vec<MqttSession>, gone: Vec<DeviceKey>) -> Result<(), StoreError> {
        self.registry
            .write(move |c| {
                let mut keep = c.prepare_cached(
                    "INSERT INTO mqtt_session(device, subscriptions, expiry) VALUES(?1, ?2, ?3)
                     ON CONFLICT(device) DO UPDATE SET subscriptions = excluded.subscriptions, expiry = excluded.expiry",
                )?;
                for session in &kept {
                    keep.execute(params![session.device.as_i64(), session.subscriptions, session.expiry])?;
                }
                let mut forget = c.prepare_cached("DELETE FROM mqtt_session WHERE device = ?1")?;
                for device in &gone {
                    forget.execute([device.as_i64()])?;
                }
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Clock, Drain};
    use vitals::{Device, DeviceKind, Timestamp};

    #[tokio::test]
    async fn a_session_is_there_after_a_restart_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let (handle, drain) = Drain::new();
            (handle, Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(100)), &drain).unwrap())
        };
        let (handle, store) = open();
        let mut keys = Vec::new();
        for id in ["a", "b"] {
            let device = Device {
                key: DeviceKey::new(0),
                id: id.parse().unwrap(),
                kind: DeviceKind::Meter,
                label: None,
                model: None,
                organisation: None,
                secret_hash: None,
                revoked: false,
            };
            keys.push(store.create_device(device).await.unwrap().key);
        }
        let session = |n: usize, text: &str| MqttSession { device: keys[n], subscriptions: text.into(), expiry: 60 };
        store.keep_mqtt_sessions(vec![session(0, "x"), session(1, "y")], Vec::new()).await.unwrap();
        store.keep_mqtt_sessions(vec![session(1, "z")], vec![keys[0]]).await.unwrap();
        drop((store, handle));
        let (_handle, store) = open();
        assert_eq!(store.mqtt_sessions().await.unwrap(), [session(1, "z")]);
    }
}
