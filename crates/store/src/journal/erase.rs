//! Everything stored about one patient, gone from `journal.db`: rows, bytes held, and what the file's pages and the
//! write-ahead log still remember of them.
//!
//! Goes in: the patient, and who wore which device when. Comes out: counts before and after.
//! What stays: a device's numbers as tombstones (which number was sent when; no value, no person) and the books' counts.

use super::{
    DeviceHistory, Readings,
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
use crate::StoreError;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use vitals::{DeviceKey, Held, PatientId, Reading, ReadingId, Timestamp, Zone};

/// From this size (bytes) the file is rewritten by way of a temporary file instead of memory.
const REWRITE_IN_MEMORY: u64 = 64 << 20;
/// Attempts to empty the write-ahead log, and the pause between them: an export that is running holds it.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// When a patient wore a device, on whatever slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worn {
    /// Which device.
    pub device: DeviceKey,
    /// First moment, in microseconds since 1970.
    pub from: i64,
    /// First moment no longer.
    pub to: Option<i64>,
}

impl Worn {
    fn covers(&self, device: DeviceKey, at: Timestamp) -> bool {
        let at = at.as_micros();
        device == self.device && at >= self.from && self.to.is_none_or(|to| at < to)
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
        let readings = readings_of(&self.connection, patient)?;
        let held = held_of(&self.connection, patient, worn)?;
        let worn_since = worn.iter().map(|w| (w.device, Timestamp::from_micros(w.from)));
        let replayed = replayed_elsewhere(&self.connection, worn)?;
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
            readings_after: readings_of(&self.connection, patient)?.len() as u64,
            held_before: held.len() as u64,
            held_after: held_of(&self.connection, patient, worn)?.len() as u64,
            originals_before,
            originals_after: originals_erase::count(&self.connection, &messages)?,
            log_emptied,
        })
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
    let mut all = Vec::new();
    let mut statement =
        c.prepare("SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2").map_err(fault)?;
    for wk in super::writer::weeks(c)? {
        let mut rows = statement.query(params![wk, owner(Some(patient), DeviceKey::new(0))]).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            all.push(packed::reading(r, 0)?);
        }
    }
    Ok(all)
}

/// What is held of a patient: said to be theirs, or nobody's and sent or measured while they wore the device.
fn held_of(c: &Connection, patient: PatientId, worn: &[Worn]) -> Result<Vec<Held>, StoreError> {
    let mut all = Vec::new();
    let mut statement = c.prepare("SELECT b FROM held").map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let held: Held = row::decode(r.get_ref(0).map_err(fault)?.as_blob().unwrap_or_default())?;
        let times = [Some(held.received_at), held.measured_at];
        let while_worn = || times.into_iter().flatten().any(|at| worn.iter().any(|w| w.covers(held.device, at)));
        if held.patient == Some(patient) || (held.patient.is_none() && while_worn()) {
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
