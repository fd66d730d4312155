//! What the edge knows of shared devices: who is logged in at a kiosk, and for which devices a gateway speaks.
//!
//! Goes in: hashes of tokens, keys of devices. Comes out: the same from memory, for the commit thread.
//! Must never: see a token in clear, decide who may log in.

use crate::{Store, StoreError};
use parking_lot::RwLock;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use vitals::{Binding, BindingId, DeviceKey, PatientId, Slot, Timestamp};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS kiosk_session(key BLOB PRIMARY KEY, kiosk INTEGER NOT NULL REFERENCES device(key),
    patient INTEGER NOT NULL, from_at INTEGER NOT NULL, to_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kiosk_session_by_end ON kiosk_session(to_at);
CREATE TABLE IF NOT EXISTS gateway_device(gateway INTEGER NOT NULL REFERENCES device(key),
    device INTEGER NOT NULL REFERENCES device(key), PRIMARY KEY(gateway, device)) WITHOUT ROWID;
";

/// How long somebody stays logged in at a kiosk (contract: device protocol, section 6).
pub const KIOSK_SESSION: Duration = Duration::from_secs(5 * 60);
/// How long an ended session is remembered, for readings that a kiosk without a network sends late.
const REMEMBERED: Duration = Duration::from_secs(90 * 24 * 3600);

/// One person at one kiosk: `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KioskSession {
    /// Where.
    pub kiosk: DeviceKey,
    /// Who.
    pub patient: PatientId,
    /// Logged in at.
    pub from: Timestamp,
    /// First moment no longer: five minutes on, or the logout, or the next login.
    pub to: Timestamp,
}

/// In memory, in front of the tables. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Edge(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<[u8; 32], KioskSession>,
    gateways: HashMap<DeviceKey, Arc<BTreeSet<DeviceKey>>>,
}

/// What the store keeps of a token.
pub fn token_key(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Edge {
    pub(super) fn load(c: &Connection) -> Result<Self, StoreError> {
        let mut inner = Inner::default();
        let mut statement = c.prepare("SELECT key, kiosk, patient, from_at, to_at FROM kiosk_session")?;
        let sessions = statement.query_map([], |r| {
            let session = KioskSession {
                kiosk: DeviceKey::from_i64(r.get(1)?),
                patient: PatientId::from_i64(r.get(2)?),
                from: Timestamp::from_micros(r.get(3)?),
                to: Timestamp::from_micros(r.get(4)?),
            };
            Ok((r.get(0)?, session))
        })?;
        inner.sessions = sessions.collect::<Result<_, _>>()?;
        let mut statement = c.prepare("SELECT gateway, device FROM gateway_device")?;
        let pairs =
            statement.query_map([], |r| Ok((DeviceKey::from_i64(r.get(0)?), DeviceKey::from_i64(r.get(1)?))))?;
        let mut lists: HashMap<DeviceKey, BTreeSet<DeviceKey>> = HashMap::new();
        for pair in pairs {
            let (gateway, device) = pair?;
            lists.entry(gateway).or_default().insert(device);
        }
        inner.gateways = lists.into_iter().map(|(gateway, list)| (gateway, Arc::new(list))).collect();
        Ok(Self(Arc::new(RwLock::new(inner))))
    }

    /// What a token stands for at a kiosk: a binding with an end. None when nobody knows it there.
    pub fn session(&self, kiosk: DeviceKey, token: &str) -> Option<Binding> {
        let found = self.0.read().sessions.get(&token_key(token)).copied().filter(|s| s.kiosk == kiosk)?;
        Some(Binding {
            id: BindingId::new(0),
            device: kiosk,
            slot: Slot::Any,
            from: found.from,
            to: Some(found.to),
            patient: found.patient,
            recorded_at: found.from,
        })
    }

    /// For whom a gateway may speak.
    pub fn allowed(&self, gateway: DeviceKey) -> Arc<BTreeSet<DeviceKey>> {
        self.0.read().gateways.get(&gateway).cloned().unwrap_or_default()
    }

    /// Which gateways may speak for a device.
    pub fn gateways_of(&self, device: DeviceKey) -> Vec<DeviceKey> {
        let inner = self.0.read();
        inner.gateways.iter().filter(|(_, list)| list.contains(&device)).map(|(gateway, _)| *gateway).collect()
    }

    /// Forgets that this patient was ever at a kiosk.
    pub(super) fn forget(&self, patient: PatientId) {
        self.0.write().sessions.retain(|_, s| s.patient != patient);
    }

    /// Ends whoever is logged in at `kiosk`.
    fn end(&self, kiosk: DeviceKey, at: Timestamp) {
        for session in self.0.write().sessions.values_mut().filter(|s| s.kiosk == kiosk && s.to > at) {
            session.to = at;
        }
    }
}

/// Ends whoever is logged in at `kiosk`, and says whether there was somebody.
fn end(c: &Connection, kiosk: DeviceKey, at: Timestamp) -> Result<bool, StoreError> {
    let sql = "UPDATE kiosk_session SET to_at = ?2 WHERE kiosk = ?1 AND to_at > ?2";
    Ok(c.prepare_cached(sql)?.execute(params![kiosk.as_i64(), at.as_micros()])? > 0)
}

impl Store {
    /// Kiosks and gateways, in memory.
    pub fn edge(&self) -> &Edge {
        self.directory().edge()
    }

    /// Logs `patient` in at `kiosk` under the hash of a token; whoever was logged in there is out.
    ///
    /// # Errors
    /// As every write.
    pub async fn open_kiosk_session(
        &self,
        kiosk: DeviceKey,
        patient: PatientId,
        key: [u8; 32],
    ) -> Result<KioskSession, StoreError> {
        let now = self.clock().now();
        let session = KioskSession { kiosk, patient, from: now, to: now.plus(KIOSK_SESSION) };
        let (edge, forget) = (self.edge().clone(), now.minus(REMEMBERED));
        self.registry
            .write_then(
                move |c| {
                    end(c, kiosk, now)?;
                    c.prepare_cached("DELETE FROM kiosk_session WHERE to_at < ?1")?.execute([forget.as_micros()])?;
                    c.prepare_cached(
                        "INSERT INTO kiosk_session(key, kiosk, patient, from_at, to_at) VALUES(?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![
                        key,
                        kiosk.as_i64(),
                        patient.as_i64(),
                        session.from.as_micros(),
                        session.to.as_micros()
                    ])?;
                    Ok(session)
                },
                move |session| {
                    edge.end(kiosk, now);
                    let mut inner = edge.0.write();
                    inner.sessions.retain(|_, s| s.to >= forget);
                    inner.sessions.insert(key, *session);
                },
            )
            .await
    }

    /// Logs out whoever is logged in at `kiosk`; whether there was somebody.
    ///
    /// # Errors
    /// As every write.
    pub async fn close_kiosk_session(&self, kiosk: DeviceKey) -> Result<bool, StoreError> {
        let (now, edge) = (self.clock().now(), self.edge().clone());
        self.registry.write_then(move |c| end(c, kiosk, now), move |_| edge.end(kiosk, now)).await
    }

    /// Replaces the list of devices for which `gateway` may speak.
    ///
    /// # Errors
    /// As every write.
    pub async fn set_gateway_devices(
        &self,
        gateway: DeviceKey,
        devices: BTreeSet<DeviceKey>,
    ) -> Result<(), StoreError> {
        let (edge, list) = (self.edge().clone(), Arc::new(devices));
        let kept = list.clone();
        self.registry
            .write_then(
                move |c| {
                    c.execute("DELETE FROM gateway_device WHERE gateway = ?1", [gateway.as_i64()])?;
                    let mut insert = c.prepare_cached("INSERT INTO gateway_device(gateway, device) VALUES(?1, ?2)")?;
                    for device in kept.iter() {
                        insert.execute(params![gateway.as_i64(), device.as_i64()])?;
                    }
                    Ok(())
                },
                move |()| {
                    edge.0.write().gateways.insert(gateway, list);
                },
            )
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Clock, Drain};
    use vitals::{Device, DeviceKind};

    fn device(id: &str, kind: DeviceKind) -> Device {
        Device {
            key: DeviceKey::new(0),
            id: id.parse().unwrap(),
            kind,
            label: None,
            model: None,
            organisation: None,
            secret_hash: None,
            revoked: false,
        }
    }

    #[tokio::test]
    async fn one_person_at_a_kiosk_at_a_time_and_for_five_minutes() {
        let folder = tempfile::tempdir().unwrap();
        let (_handle, drain) = Drain::new();
        let start = Timestamp::from_seconds(1_770_000_000);
        let store = Store::open(folder.path(), Clock::manual(start), &drain).unwrap();
        let kiosk = store.create_device(device("k-1", DeviceKind::Kiosk)).await.unwrap().key;
        let (anna, bo) = (PatientId::new(1), PatientId::new(2));
        store.open_kiosk_session(kiosk, anna, token_key("a")).await.unwrap();
        let at = |seconds| start.plus(Duration::from_secs(seconds));
        let who = |token: &str, seconds| {
            store.edge().session(kiosk, token).filter(|b| b.covers(Some(3), at(seconds))).map(|b| b.patient)
        };
        assert_eq!((who("a", 0), who("a", 299), who("a", 300), who("x", 0)), (Some(anna), Some(anna), None, None));
        assert_eq!(store.edge().session(DeviceKey::new(99), "a"), None, "another kiosk's token");
        store.clock().move_to(at(60)).unwrap();
        store.open_kiosk_session(kiosk, bo, token_key("b")).await.unwrap();
        assert_eq!((who("a", 59), who("a", 60), who("b", 60)), (Some(anna), None, Some(bo)));
        store.clock().move_to(at(90)).unwrap();
        assert!(store.close_kiosk_session(kiosk).await.unwrap());
        assert!(!store.close_kiosk_session(kiosk).await.unwrap());
        assert_eq!((who("b", 89), who("b", 90)), (Some(bo), None));
        let again = Store::open(folder.path(), Clock::manual(at(100)), &drain).unwrap();
        assert_eq!(again.edge().session(kiosk, "b").unwrap().to, Some(at(90)), "a restart changes nothing");
    }

    #[tokio::test]
    async fn a_gateways_list_is_replaced_whole_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (_handle, drain) = Drain::new();
        let store = Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(1)), &drain).unwrap();
        let gateway = store.create_device(device("g-1", DeviceKind::Gateway)).await.unwrap().key;
        let one = store.create_device(device("d-1", DeviceKind::Meter)).await.unwrap().key;
        let two = store.create_device(device("d-2", DeviceKind::Meter)).await.unwrap().key;
        assert!(store.edge().allowed(gateway).is_empty());
        store.set_gateway_devices(gateway, [one, two].into()).await.unwrap();
        store.set_gateway_devices(gateway, [two].into()).await.unwrap();
        assert_eq!(*store.edge().allowed(gateway), [two].into());
        assert_eq!((store.edge().gateways_of(two), store.edge().gateways_of(one)), (vec![gateway], vec![]));
        let again = Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(1)), &drain).unwrap();
        assert_eq!(*again.edge().allowed(gateway), [two].into());
    }
}
