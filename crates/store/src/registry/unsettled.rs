//! Devices whose stored readings are still to be given to their people, because who wore them when was changed.
//!
//! No transaction spans both files: what a change of bindings asks of the journal is written down in the transaction of
//! the change, and crossed out when the journal has done it. A process that ends in between, or a browser that goes away,
//! leaves a line here, and the work is done at the next start or within the hour.

use crate::{Store, StoreError};
use rusqlite::Connection;
use std::path::Path;
use vitals::DeviceKey;

/// A number is never used twice: crossing out what was done must not cross out a change that came meanwhile.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS unsettled(n INTEGER PRIMARY KEY AUTOINCREMENT, device INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS unsettled_by_device ON unsettled(device);
";

/// In the transaction that changes the device's bindings.
pub(super) fn note(c: &Connection, device: DeviceKey) -> Result<(), StoreError> {
    c.prepare_cached("INSERT INTO unsettled(device) VALUES(?1)")?.execute([device.as_i64()])?;
    Ok(())
}

/// Every device of a registry that was just restored: its journal is a little newer, and may have followed bindings that
/// this registry does not know. Nobody else may have the file open.
pub(crate) fn note_all(path: &Path) -> Result<(), StoreError> {
    let c = super::connect(path)?;
    c.execute_batch(SCHEMA)?; // a backup that an older program made may lack it
    Ok(c.execute_batch("INSERT INTO unsettled(device) SELECT key FROM device")?)
}

impl Store {
    /// Gives the stored readings of `device` to whom its present bindings say. Returns how many moved. An erasure that
    /// was cut short and has something to do with the device is finished first.
    ///
    /// # Errors
    /// When a file cannot be written; it stays noted and is done later.
    pub async fn settle_bindings(&self, device: DeviceKey) -> Result<usize, StoreError> {
        {
            let _turn = self.erasures.lock().await;
            self.finish_erasures(device).await?;
        }
        self.follow_bindings(device).await
    }

    pub(super) async fn follow_bindings(&self, device: DeviceKey) -> Result<usize, StoreError> {
        // Asked of the writer: a change that it sees is in the directory too, and by that the journal goes.
        let last = "SELECT max(n) FROM unsettled WHERE device = ?1";
        let seen: Option<i64> =
            self.registry.write(move |c| Ok(c.query_row(last, [device.as_i64()], |r| r.get(0))?)).await?;
        runtime::crash::point("bindings.before_settled");
        let moved = self.readings().reattribute(device).await?;
        if let Some(seen) = seen {
            let done = "DELETE FROM unsettled WHERE device = ?1 AND n <= ?2";
            self.registry.write(move |c| Ok(c.execute(done, [device.as_i64(), seen]).map(drop)?)).await?;
        }
        Ok(moved)
    }

    /// Crosses out devices that were never told their credential: nothing of theirs can be stored.
    ///
    /// # Errors
    /// When the registry cannot be written.
    pub async fn nothing_to_settle(&self, devices: Vec<DeviceKey>) -> Result<(), StoreError> {
        self.registry
            .write(move |c| {
                let mut done = c.prepare_cached("DELETE FROM unsettled WHERE device = ?1")?;
                devices.iter().try_for_each(|device| Ok(done.execute([device.as_i64()]).map(drop)?))
            })
            .await
    }

    /// Devices whose bindings were changed, and whose readings may still be the former wearer's.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn unsettled_devices(&self) -> Result<Vec<DeviceKey>, StoreError> {
        self.registry
            .read(|c| {
                let mut statement = c.prepare("SELECT DISTINCT device FROM unsettled ORDER BY device")?;
                let rows = statement.query_map([], |r| r.get(0).map(DeviceKey::from_i64))?;
                rows.map(|r| Ok(r?)).collect()
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Clock, Drain};
    use vitals::{Binding, BindingId, Device, DeviceKind, Patient, PatientId, Plan, Slot, Timestamp};

    fn open(folder: &Path) -> (Store, runtime::DrainHandle) {
        let (handle, drain) = Drain::new();
        (Store::open(folder, Clock::manual(Timestamp::from_seconds(9)), &drain).unwrap(), handle)
    }

    async fn meter(store: &Store) -> DeviceKey {
        let device = Device {
            key: DeviceKey::new(0),
            id: "bp-1".parse().unwrap(),
            kind: DeviceKind::Meter,
            label: None,
            model: None,
            organisation: None,
            secret_hash: None,
            revoked: false,
        };
        store.create_device(device).await.unwrap().key
    }

    async fn person(store: &Store) -> PatientId {
        let patient = Patient {
            id: PatientId::new(0),
            name: String::new(),
            birth_date: None,
            sex: None,
            tags: vec![],
            conditions: vec![],
            team: None,
            organisation: None,
            phone: None,
            time_zone: None,
            enrolled_at: Timestamp::from_seconds(0),
            visited_on: None,
            plan: Plan::default(),
        };
        store.create_patient(patient).await.unwrap().id
    }

    #[tokio::test]
    async fn a_change_of_bindings_is_noted_until_the_journal_has_followed_it() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _end) = open(folder.path());
        let (device, patient, other) = (meter(&store).await, person(&store).await, person(&store).await);
        let at = Timestamp::from_seconds(0);
        let (id, slot) = (BindingId::new(0), Slot::Any);
        let binding = Binding { id, device, slot, from: at, to: None, patient, recorded_at: at };
        let binding = store.create_binding(binding).await.unwrap();
        assert_eq!(store.unsettled_devices().await.unwrap(), [device]);
        assert!(store.create_binding(binding).await.is_err(), "it overlaps");
        store.settle_bindings(device).await.unwrap();
        assert_eq!(store.unsettled_devices().await.unwrap(), []);
        let until = Some(Timestamp::from_seconds(5));
        let (changed, ended) = tokio::join!(
            store.patch_binding(device, binding.id, move |b| {
                b.patient = other;
                Ok(())
            }),
            store.patch_binding(device, binding.id, move |b| {
                b.to = until;
                Ok(())
            })
        );
        changed.unwrap();
        let both = ended.unwrap();
        assert_eq!((both.patient, both.to), (other, until), "two change it in the same moment");
        let nobodys = store.patch_binding(device, BindingId::new(77), |_| Ok(())).await;
        assert!(matches!(nobodys, Err(StoreError::NotFound("binding"))));
        let refused = store.patch_binding(device, binding.id, |_| Err(StoreError::Conflict("no".into()))).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))));
        drop(store);
        let (store, _end) = open(folder.path());
        assert_eq!(store.unsettled_devices().await.unwrap(), [device], "over a restart");
        store.settle_bindings(device).await.unwrap();
        assert_eq!(store.unsettled_devices().await.unwrap(), []);
    }
}
