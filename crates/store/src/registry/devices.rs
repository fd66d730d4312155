//! Devices and who wore them when: rows, and how they are made and changed.
//!
//! As with [`super::people`], every write that commits is put into the directory before the caller hears of it.
//! Must never: move a stored reading; that is the journal's work, noted here with each change of a binding.

use crate::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use vitals::{Binding, BindingId, Device, DeviceId, DeviceKey, DeviceKind, OrganisationId, PatientId, Slot, Timestamp};

/// The part of a device that is kept as a document.
#[derive(Serialize, Deserialize)]
struct DeviceBody {
    kind: DeviceKind,
    label: Option<String>,
    model: Option<String>,
    organisation: Option<OrganisationId>,
    secret_hash: Option<[u8; 32]>,
    revoked: bool,
}

impl Store {
    /// Provisions a device; `key` of the argument is replaced.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id is taken.
    pub async fn create_device(&self, mut device: Device) -> Result<Device, StoreError> {
        let directory = self.registry.directory().clone();
        self.registry
            .write_then(
                move |c| {
                    let taken: Option<i64> = c
                        .query_row("SELECT key FROM device WHERE id = ?1", [device.id.as_str()], |r| r.get(0))
                        .optional()?;
                    if taken.is_some() {
                        return Err(StoreError::Conflict(format!("device {} exists", device.id)));
                    }
                    c.prepare_cached("INSERT INTO device(version, id, body) VALUES(1, ?1, ?2)")?
                        .execute(params![device.id.as_str(), device_body(&device)?])?;
                    device.key = DeviceKey::from_i64(c.last_insert_rowid());
                    Ok(device)
                },
                move |d| directory.put_device(d.clone()),
            )
            .await
    }

    /// Replaces a device's record (model, owner, credential).
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn update_device(&self, device: Device) -> Result<(), StoreError> {
        let directory = self.registry.directory().clone();
        let body = device_body(&device)?;
        let key = device.key;
        self.registry
            .write_then(
                move |c| {
                    let sql = "UPDATE device SET body = ?1, version = version + 1 WHERE key = ?2";
                    if c.execute(sql, params![body, key.as_i64()])? == 0 {
                        return Err(StoreError::NotFound("device"));
                    }
                    Ok(())
                },
                move |()| directory.put_device(device),
            )
            .await
    }

    /// Records who wears a device; `id` of the argument is replaced. Does not move stored readings: that is noted, and
    /// [`Store::settle_bindings`] does it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it overlaps another binding of the device.
    pub async fn create_binding(&self, mut binding: Binding) -> Result<Binding, StoreError> {
        binding.id = BindingId::new(crate::random());
        self.bind(binding.device, move |_| Ok(binding)).await
    }

    /// Corrects a binding, as it is in that moment: what somebody else changed meanwhile stays. Does not move stored
    /// readings, as [`Store::create_binding`].
    ///
    /// # Errors
    /// What `patch` says; [`StoreError::Conflict`] when it overlaps another binding of the device, [`StoreError::NotFound`].
    pub async fn patch_binding(
        &self,
        device: DeviceKey,
        id: BindingId,
        patch: impl FnOnce(&mut Binding) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<Binding, StoreError> {
        self.bind(device, move |others| {
            let at = others.iter().position(|b| b.id == id).ok_or(StoreError::NotFound("binding"))?;
            let before = others.swap_remove(at);
            let mut binding = before;
            patch(&mut binding)?;
            Ok(Binding { id: before.id, device: before.device, ..binding })
        })
        .await
    }

    /// `change` takes what it replaces out of the device's bindings, and says what comes in its place.
    async fn bind(
        &self,
        device: DeviceKey,
        change: impl FnOnce(&mut Vec<Binding>) -> Result<Binding, StoreError> + Send + 'static,
    ) -> Result<Binding, StoreError> {
        let directory = self.registry.directory().clone();
        let work = move |c: &Connection| {
            let mut all = bindings_of(c, device)?;
            let binding = change(&mut all)?;
            if let Some(other) = all.iter().find(|b| b.conflicts(&binding)) {
                return Err(StoreError::Conflict(format!("it overlaps binding {}", other.id)));
            }
            write_binding(c, &binding)?;
            super::unsettled::note(c, device)?;
            all.push(binding);
            Ok((binding, all))
        };
        let done = self.registry.write_then(work, move |(_, all)| directory.put_bindings(device, all.clone())).await?;
        Ok(done.0)
    }
}

fn write_binding(c: &Connection, binding: &Binding) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO binding(id, device, slot, from_at, to_at, patient, recorded_at)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    c.prepare_cached(sql)?.execute(params![
        binding.id.as_i64(),
        binding.device.as_i64(),
        match binding.slot {
            Slot::Any => None,
            Slot::User(n) => Some(n),
        },
        binding.from.as_micros(),
        binding.to.map(Timestamp::as_micros),
        binding.patient.as_i64(),
        binding.recorded_at.as_micros()
    ])?;
    Ok(())
}

impl super::Registry {
    /// The journal of a backup is copied after the registry: it may know devices that were provisioned in between. Their
    /// keys, under which their readings and numbers lie, are given to nobody else.
    pub(crate) fn no_key_twice(&self, highest: DeviceKey) -> Result<(), StoreError> {
        let given = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'device'), 0)";
        if self.read_blocking(|c| Ok(c.query_row(given, [], |r| r.get::<_, i64>(0))?))? >= highest.as_i64() {
            return Ok(());
        }
        tracing::warn!(%highest, "the journal knows devices that the registry does not, as after a restore");
        self.write_blocking(move |c| {
            let sql = "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'device'";
            if c.execute(sql, [highest.as_i64()])? == 0 {
                c.execute("INSERT INTO sqlite_sequence(name, seq) VALUES('device', ?1)", [highest.as_i64()])?;
            }
            Ok(())
        })
    }
}

fn device_body(device: &Device) -> Result<String, StoreError> {
    Ok(serde_json::to_string(&DeviceBody {
        kind: device.kind.clone(),
        label: device.label.clone(),
        model: device.model.clone(),
        organisation: device.organisation,
        secret_hash: device.secret_hash,
        revoked: device.revoked,
    })?)
}

pub(super) fn all_devices(c: &Connection) -> Result<Vec<Device>, StoreError> {
    let mut statement = c.prepare("SELECT key, id, body FROM device")?;
    let rows =
        statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?)))?;
    rows.map(|row| {
        let (key, id, body) = row?;
        let body: DeviceBody = serde_json::from_str(&body)?;
        let id: DeviceId = id.parse().map_err(|_| StoreError::NotFound("device with a valid id"))?;
        let DeviceBody { kind, label, model, organisation, secret_hash, revoked } = body;
        Ok(Device { key: DeviceKey::from_i64(key), id, kind, label, model, organisation, secret_hash, revoked })
    })
    .collect()
}

fn binding_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Binding> {
    Ok(Binding {
        id: BindingId::from_i64(r.get(0)?),
        device: DeviceKey::from_i64(r.get(1)?),
        slot: r.get::<_, Option<u8>>(2)?.map_or(Slot::Any, Slot::User),
        from: Timestamp::from_micros(r.get(3)?),
        to: r.get::<_, Option<i64>>(4)?.map(Timestamp::from_micros),
        patient: PatientId::from_i64(r.get(5)?),
        recorded_at: Timestamp::from_micros(r.get(6)?),
    })
}

const BINDING: &str = "SELECT id, device, slot, from_at, to_at, patient, recorded_at FROM binding";

pub(super) fn bindings_of(c: &Connection, device: DeviceKey) -> Result<Vec<Binding>, StoreError> {
    let mut statement = c.prepare_cached(&format!("{BINDING} WHERE device = ?1"))?;
    let rows = statement.query_map([device.as_i64()], binding_row)?;
    rows.map(|r| Ok(r?)).collect()
}

pub(super) fn all_bindings(c: &Connection) -> Result<Vec<Binding>, StoreError> {
    let mut statement = c.prepare(BINDING)?;
    let rows = statement.query_map([], binding_row)?;
    rows.map(|r| Ok(r?)).collect()
}
