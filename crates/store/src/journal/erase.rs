//! Everything stored about one patient, gone from `journal.db`: rows, bytes held, and what the file's pages and the
//! write-ahead log still remember of them.
//!
//! Goes in: the patient, and who wore which device when. Comes out: counts before and after.
//! What stays: a device's numbers as tombstones (which number was sent when; no value, no person) and the books' counts.

use super::{
    DeviceHistory, Readings,
    attribution::whose,
    books::{Books, Counts, day_number},
    days,
    desk::store_history,
    keeping::{self, Stretch},
    moves,
    originals_erase::{self, Traces},
    packed,
    row::{self, owner},
    tables::fault,
    writer::Writer,
};
use crate::{Directory, StoreError};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use vitals::{DeviceId, DeviceKey, DeviceKind, Held, PatientId, Reading, ReadingId, Timestamp, Zone};

/// From this size (bytes) the file is rewritten by way of a temporary file instead of memory.
const REWRITE_IN_MEMORY: u64 = 64 << 20;
/// Attempts to empty the write-ahead log, and the pause between them: an export that is running holds it.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// When a patient wore a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worn {
    /// Which device.
    pub device: DeviceKey,
    /// First moment, in microseconds since 1970.
    pub from: i64,
    /// First moment no longer.
    pub to: Option<i64>,
    /// Under which button; none: whoever pressed which, or it is not known.
    #[serde(default)]
    pub slot: Option<u8>,
}

impl Worn {
    fn covers(&self, device: DeviceKey, at: Timestamp) -> bool {
        let at = at.as_micros();
        device == self.device && at >= self.from && self.to.is_none_or(|to| at < to)
    }

    fn gave(&self, r: &Reading) -> bool {
        self.covers(r.device, r.measured_at) && self.slot.is_none_or(|slot| r.user_slot == Some(slot))
    }
}

/// What was found before, and what is found now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasedReadings {
    /// Readings of the patient before.
    pub readings_before: u64,
    /// Readings of the patient now: 0.
    pub readings_after: u64,
    /// Held entries that were or may have been the patient's, before.
    pub held_before: u64,
    /// The same now: 0.
    pub held_after: u64,
    /// Messages as they came that may speak of the patient, before.
    pub originals_before: u64,
    /// The same now: 0.
    pub originals_after: u64,
    /// The write-ahead log is empty. If not, somebody is reading an old view (an export): its pages go when that ends.
    pub log_emptied: bool,
}

impl Readings {
    /// Erases a patient's readings and what is held of theirs, also from pages that were freed earlier. Nothing is
    /// committed meanwhile: the file is written anew, about ten seconds a gigabyte. Erasing again is safe.
    ///
    /// # Errors
    /// When the file cannot be written, or there is no room to write it anew: then rows are gone but their bytes may be
    /// left in free pages; erase again when there is room.
    pub async fn erase(&self, patient: PatientId, worn: Vec<Worn>, zone: Zone) -> Result<ErasedReadings, StoreError> {
        self.control(move |writer| writer.erase(patient, &worn, &zone)).await
    }
}

impl Writer {
    fn erase(&mut self, patient: PatientId, worn: &[Worn], zone: &Zone) -> Result<ErasedReadings, StoreError> {
        self.connection.execute_batch("PRAGMA secure_delete=ON").map_err(fault)?;
        self.settle()?;
        let mut readings = readings_of(&self.connection, patient)?;
        readings.extend(self.nobodys(worn)?);
        let directory = self.directory.clone();
        let whose = Whose::of(patient, worn, &directory);
        let held = held_of(&self.connection, &whose)?;
        let worn_since = worn.iter().map(|w| (w.device, Timestamp::from_micros(w.from)));
        let mut replayed = replayed_elsewhere(&self.connection, worn)?;
        replayed.retain(|entry| held.iter().all(|known| known.id != entry.id));
        let traces = Traces::of(&self.connection, &readings, &held, worn_since)?;
        let messages = originals_erase::find(&self.connection, &traces)?;
        let originals_before = self.in_transaction(|writer| {
            writer.erase_rows(patient, &readings, (&held, &replayed), worn, zone)?;
            originals_erase::erase(&writer.connection, &messages)
        })?;
        {
            let mut memory = self.shared.memory.write();
            for held in &held {
                memory.discarded.remove(&held.id);
            }
            memory.assigned.retain(|_, to| *to != patient);
        }
        self.shared.newest.forget(owner(Some(patient), DeviceKey::new(0)));
        let times = || readings.iter().map(|r| r.measured_at);
        if let (Some(first), Some(last)) = (times().min(), times().max()) {
            self.shared.tell_moved(first, last); // a projection that runs sends these weeks anew now
        }
        self.rewrite_file()?;
        let log_emptied = self.empty_log()?;
        Ok(ErasedReadings {
            readings_before: readings.len() as u64,
            readings_after: (readings_of(&self.connection, patient)?.len() + self.nobodys(worn)?.len()) as u64,
            held_before: held.len() as u64,
            held_after: held_of(&self.connection, &whose)?.len() as u64,
            originals_before,
            originals_after: originals_erase::count(&self.connection, &messages)?,
            log_emptied,
        })
    }

    /// Readings that belong to nobody and were measured while the patient wore the device. The registry forgets bindings
    /// before the journal forgets readings: what settles bindings in between makes the patient's readings nobody's.
    fn nobodys(&self, worn: &[Worn]) -> Result<Vec<Reading>, StoreError> {
        let devices: BTreeSet<DeviceKey> = worn.iter().map(|w| w.device).collect();
        let mut all = Vec::new();
        for device in devices {
            let bindings = self.directory.bindings(device);
            let found = owned_by(&self.connection, owner(None, device))?;
            all.extend(found.into_iter().filter(|r| worn.iter().any(|w| w.gave(r)) && whose(&bindings, r).is_none()));
        }
        Ok(all)
    }

    fn erase_rows(
        &mut self,
        patient: PatientId,
        readings: &[Reading],
        (held, replayed): (&[Held], &[Held]),
        worn: &[Worn],
        zone: &Zone,
    ) -> Result<(), StoreError> {
        let mut removed = Books::new();
        let mut stretch: Stretch = None;
        for reading in readings {
            keeping::take_out(&self.connection, &self.shared.folding, reading, zone, &mut removed)?;
            keeping::widen(&mut stretch, reading.measured_at);
        }
        for held in held.iter().chain(replayed) {
            drop_held(&self.connection, held.id)?;
            let key = (day_number(held.received_at.day(zone)), held.device);
            *removed.entry(key).or_default() += Counts { quarantined: 1, ..Counts::default() };
        }
        let devices: BTreeSet<DeviceKey> =
            worn.iter().map(|w| w.device).chain(readings.iter().map(|r| r.device)).collect();
        for device in devices {
            // What waits for a reading that has not come cannot be told apart by person.
            let waiting = "DELETE FROM waiting WHERE device = ?1";
            self.connection.execute(waiting, [device.as_i64()]).map_err(fault)?;
            let mut history: DeviceHistory = self.history(device)?.clone();
            history.disowned_by(patient);
            store_history(&self.connection, device, &history)?;
            *self.history(device)? = history;
        }
        let c = &self.connection;
        days::forget(c, owner(Some(patient), DeviceKey::new(0)))?;
        moves::erase(c, patient)?;
        c.execute("DELETE FROM assigned WHERE patient = ?1", [patient.as_i64()]).map_err(fault)?;
        keeping::count_removed(c, &removed)?;
        keeping::note_stale(c, stretch)?;
        self.keep_highest()
    }

    /// Pages that were freed without being overwritten are left behind by writing every living page anew.
    pub(super) fn rewrite_file(&self) -> Result<(), StoreError> {
        let size = std::fs::metadata(&self.shared.path).map_or(0, |m| m.len());
        let place = if size > REWRITE_IN_MEMORY { "FILE" } else { "MEMORY" };
        let done = self.connection.execute_batch(&format!("PRAGMA temp_store={place}; VACUUM")).map_err(fault);
        let usual = self.connection.execute_batch("PRAGMA temp_store=MEMORY; PRAGMA secure_delete=OFF");
        self.judge_commit(done.as_ref().err());
        done.and(usual.map_err(fault))
    }

    /// Copies the write-ahead log into the file and cuts it to nothing; whether it could be.
    fn empty_log(&self) -> Result<bool, StoreError> {
        let c = &self.connection;
        for _ in 0..ATTEMPTS {
            let busy = c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, i64>(0)).map_err(fault);
            self.judge_commit(busy.as_ref().err());
            if busy? == 0 {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(false)
    }
}

/// Every merged reading of a patient.
fn readings_of(c: &Connection, patient: PatientId) -> Result<Vec<Reading>, StoreError> {
    owned_by(c, owner(Some(patient), DeviceKey::new(0)))
}

fn owned_by(c: &Connection, owner: i64) -> Result<Vec<Reading>, StoreError> {
    let mut all = Vec::new();
    let mut statement =
        c.prepare("SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2").map_err(fault)?;
    for wk in super::writer::weeks(c)? {
        let mut rows = statement.query(params![wk, owner]).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            all.push(packed::reading(r, 0)?);
        }
    }
    Ok(all)
}

/// Whose what is held may be, as the bindings are now: one may have been mended since it came.
struct Whose<'a> {
    patient: PatientId,
    worn: &'a [Worn],
    directory: &'a Directory,
    /// The devices of `worn`, as others call them.
    names: Vec<(DeviceKey, DeviceId)>,
}

impl<'a> Whose<'a> {
    fn of(patient: PatientId, worn: &'a [Worn], directory: &'a Directory) -> Self {
        let devices: BTreeSet<DeviceKey> = worn.iter().map(|w| w.device).collect();
        let names = devices.into_iter().filter_map(|key| Some((key, directory.device_by_key(key)?.id.clone())));
        Self { patient, worn, directory, names: names.collect() }
    }

    fn wore(&self, device: DeviceKey, at: Timestamp) -> bool {
        self.worn.iter().any(|w| w.covers(device, at))
    }

    /// Said to be theirs and nobody else's by now, or said to be another's who did not wear the device then; or said to
    /// be nobody's, and sent or measured while they wore the device that sent it or that it names.
    fn may_be_theirs(&self, held: &Held) -> bool {
        let Some(said) = held.patient else {
            let while_worn = |device| {
                [Some(held.received_at), held.measured_at].into_iter().flatten().any(|at| self.wore(device, at))
            };
            let named = |id: &DeviceId| names(&held.bytes, id) || names(held.route.as_bytes(), id);
            return while_worn(held.device)
                || self.names.iter().any(|(device, id)| *device != held.device && while_worn(*device) && named(id));
        };
        // At a kiosk the token said whose it is, once and for all.
        let kiosk = self.directory.device_by_key(held.device).is_some_and(|d| d.kind == DeviceKind::Kiosk);
        let Some(at) = held.measured_at.filter(|_| !kiosk) else { return said == self.patient };
        let bindings = self.directory.bindings(held.device);
        let mut wearers = bindings.iter().filter(|b| b.from <= at && b.to.is_none_or(|to| at < to)).map(|b| b.patient);
        let theirs_by_now = self.wore(held.device, at);
        if said == self.patient {
            theirs_by_now || wearers.next().is_none()
        } else {
            theirs_by_now && wearers.all(|p| p != said)
        }
    }
}

/// Whether a device's id stands in these bytes, and not only as a part of a longer one.
fn names(bytes: &[u8], id: &DeviceId) -> bool {
    let id = id.as_str().as_bytes();
    let longer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let mut places = bytes.windows(id.len()).enumerate().filter(|(_, window)| *window == id).map(|(i, _)| i);
    places.any(|i| !longer(i.checked_sub(1).and_then(|i| bytes.get(i))) && !longer(bytes.get(i + id.len())))
}

/// What is held that is a patient's, or may be.
fn held_of(c: &Connection, whose: &Whose<'_>) -> Result<Vec<Held>, StoreError> {
    let mut all = Vec::new();
    let mut statement = c.prepare("SELECT b FROM held").map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let held: Held = row::decode(r.get_ref(0).map_err(fault)?.as_blob().unwrap_or_default())?;
        if whose.may_be_theirs(&held) {
            all.push(held);
        }
    }
    Ok(all)
}

/// What came through somebody else (a gateway, a broker above), was held, and has been replayed since: whose it became is
/// not written on it. Its bytes are kept elsewhere as what they became, so all of it goes, the patient's with the rest.
fn replayed_elsewhere(c: &Connection, worn: &[Worn]) -> Result<Vec<Held>, StoreError> {
    let mut all = Vec::new();
    let mut statement = c.prepare("SELECT h.b FROM held h JOIN released r ON r.id = h.id").map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let held: Held = row::decode(r.get_ref(0).map_err(fault)?.as_blob().unwrap_or_default())?;
        if held.patient.is_none() && !worn.iter().any(|w| w.device == held.device) {
            all.push(held);
        }
    }
    Ok(all)
}

/// Takes a held entry out; its mark stays, so that the same bytes sent again do not come back.
pub(super) fn drop_held(c: &Connection, id: ReadingId) -> Result<(), StoreError> {
    for sql in ["DELETE FROM held WHERE id = ?1", "DELETE FROM discarded WHERE id = ?1"] {
        c.prepare_cached(sql).and_then(|mut s| s.execute([id.as_i64()])).map_err(fault)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals::{Binding, BindingId, Device, Reason, Slot};

    const A: PatientId = PatientId::new(1);
    const B: PatientId = PatientId::new(2);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn bound(patient: PatientId, from: i64, to: i64) -> Binding {
        Binding {
            id: BindingId::new(patient.as_i64().cast_unsigned()),
            device: DeviceKey::new(1),
            slot: Slot::Any,
            from: at(from),
            to: Some(at(to)),
            patient,
            recorded_at: at(0),
        }
    }

    fn worn(device: u64, from: i64, to: i64) -> Worn {
        Worn { device: DeviceKey::new(device), from: at(from).as_micros(), to: Some(at(to).as_micros()), slot: None }
    }

    fn held(device: u64, patient: Option<PatientId>, measured: Option<i64>, bytes: &str) -> Held {
        Held {
            id: ReadingId::new(1),
            device: DeviceKey::new(device),
            epoch: 0,
            seq: None,
            patient,
            measured_at: measured.map(at),
            received_at: at(500),
            reasons: vec![Reason::Implausible],
            bytes: bytes.into(),
            route: "readings".into(),
        }
    }

    /// A meter (1), a gateway (2) and a kiosk (3).
    fn directory(bindings: &[Binding]) -> Directory {
        let folder = tempfile::tempdir().unwrap();
        let directory = super::super::tests::open(folder.path(), 1_000).store.directory().clone();
        for (key, id, kind) in
            [(1, "bp-1", DeviceKind::Meter), (2, "gw", DeviceKind::Gateway), (3, "k", DeviceKind::Kiosk)]
        {
            directory.put_device(Device {
                key: DeviceKey::new(key),
                id: id.parse().unwrap(),
                kind,
                label: None,
                model: None,
                organisation: None,
                secret_hash: None,
                revoked: false,
            });
        }
        directory.put_bindings(DeviceKey::new(1), bindings.to_vec());
        directory
    }

    #[test]
    fn what_is_held_goes_with_whom_the_bindings_say_now() {
        // Bound to A by mistake, corrected to B since; what is held still says A.
        let entry = held(1, Some(A), Some(100), "x");
        let corrected = directory(&[bound(B, 0, 200)]);
        assert!(!Whose::of(A, &[], &corrected).may_be_theirs(&entry), "it is B's by now");
        let without = directory(&[]); // an erasure has taken B's bindings out by then
        assert!(Whose::of(B, &[worn(1, 0, 200)], &without).may_be_theirs(&entry));
        assert!(Whose::of(A, &[], &without).may_be_theirs(&entry), "nobody else's");
        let rightly = directory(&[bound(A, 0, 200)]);
        assert!(!Whose::of(B, &[worn(1, 200, 900)], &rightly).may_be_theirs(&entry));
        assert!(!Whose::of(B, &[worn(1, 0, 200)], &rightly).may_be_theirs(&entry), "two buttons, and A's is one");
        let kiosk = held(3, Some(A), Some(100), "x");
        assert!(Whose::of(A, &[], &corrected).may_be_theirs(&kiosk), "the token said so");
        assert!(!Whose::of(B, &[worn(3, 0, 200)], &corrected).may_be_theirs(&kiosk));
    }

    #[test]
    fn what_names_a_meter_is_its_wearers_through_whomever_it_came() {
        let empty = directory(&[]);
        let period = [worn(1, 400, 600)];
        let whose = Whose::of(A, &period, &empty);
        assert!(whose.may_be_theirs(&held(2, None, None, r#"{"device":"bp-1"}"#)));
        assert!(!whose.may_be_theirs(&held(2, None, None, r#"{"device":"bp-10"}"#)));
        assert!(!whose.may_be_theirs(&held(2, None, None, r#"{"device":"my-bp-1"}"#)));
        let above = Held { route: "hb/v1/devices/bp-1/readings".into(), ..held(2, None, None, "?") };
        assert!(whose.may_be_theirs(&above));
        let earlier = [worn(1, 0, 400)];
        assert!(!Whose::of(A, &earlier, &empty).may_be_theirs(&above), "somebody else's time");
        assert!(whose.may_be_theirs(&held(1, None, None, "?")), "its own");
    }
}
