//! Which stored readings changed after they were committed, numbered, for whoever judges readings and keeps sums of them.
//!
//! Goes in: every amended or moved reading, in the transaction that changes it. Comes out: the same changes since a number.
//! Whoever follows writes down which number they know; a crash between this file and theirs loses no change.

use super::{
    Readings,
    tables::{self, fault},
};
use crate::StoreError;
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};
use tokio::sync::broadcast;
use vitals::{PatientId, Reading, ReadingId};

/// The step from version 6 of the file to version 7. Numbers are never used twice.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS moved(n INTEGER PRIMARY KEY AUTOINCREMENT, reading INTEGER NOT NULL, before INTEGER,
    after INTEGER);
";

/// What is known to have been taken notice of goes in steps of so many.
const TRIM: i64 = 4096;

/// What `meta` calls the highest number that went.
const GONE: &str = "moved_gone";

/// A stored reading that got another patient, or of which more is said (its meal, its disposition).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Whose it was; none where it was nobody's; the same where only more is said of it.
    pub before: Option<PatientId>,
    /// The reading as it is now.
    pub reading: Arc<Reading>,
}

/// What one transaction changed so.
#[derive(Clone, Debug)]
pub struct HandedOver {
    /// Of the last of them; ascends.
    pub number: i64,
    /// Before and after, once an id.
    pub readings: Arc<[Handover]>,
}

/// What changed since a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moves {
    /// The newest change.
    pub number: i64,
    /// In order, each reading as it is now; none where the changes are not known any more, so that it may be anything.
    pub readings: Option<Vec<Handover>>,
}

/// Numbers that the commit thread and its askers share.
#[derive(Debug)]
pub(super) struct Log {
    noted: AtomicI64,
    taken: AtomicI64,
    bell: broadcast::Sender<HandedOver>,
}

impl Log {
    pub(super) fn new(patience: usize) -> Self {
        Self { noted: AtomicI64::new(0), taken: AtomicI64::new(0), bell: broadcast::Sender::new(patience) }
    }

    /// Within the transaction that puts `after` in the place of `before`.
    pub(super) fn note(&self, c: &Connection, before: &Reading, after: &Reading) -> Result<(), StoreError> {
        let patient = |r: &Reading| r.patient.map(PatientId::as_i64);
        let n = c
            .prepare_cached("INSERT INTO moved(reading, before, after) VALUES(?1, ?2, ?3)")
            .and_then(|mut s| s.insert(params![after.id.as_i64(), patient(before), patient(after)]))
            .map_err(fault)?;
        self.noted.store(n, Relaxed);
        if n % TRIM == 0 { self.trim(c) } else { Ok(()) }
    }

    fn trim(&self, c: &Connection) -> Result<(), StoreError> {
        let taken = self.taken.load(Relaxed);
        if c.execute("DELETE FROM moved WHERE n <= ?1", [taken]).map_err(fault)? > 0 {
            tables::set_meta(c, GONE, Some(taken))?;
        }
        Ok(())
    }

    /// After the commit: tells who judges readings. `changed`: before and after.
    pub(super) fn tell(&self, changed: &[(Arc<Reading>, Arc<Reading>)]) {
        if changed.is_empty() {
            return;
        }
        let handed = |(before, after): &(Arc<Reading>, Arc<Reading>)| Handover {
            before: before.patient,
            reading: after.clone(),
        };
        let number = self.noted.load(Relaxed);
        let _ = self.bell.send(HandedOver { number, readings: changed.iter().map(handed).collect() }); // nobody may judge
    }
}

impl Readings {
    /// Tells of stored readings that got another patient, one by one; with the same patience as [`Readings::moved`].
    pub fn handed_over(&self) -> broadcast::Receiver<HandedOver> {
        self.shared.log.bell.subscribe()
    }

    /// What was changed after the change numbered `after`. What is not stored any more is left out.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn moves_after_blocking(&self, after: i64) -> Result<Moves, StoreError> {
        let (number, known) = self.shared.readers.with(|c| moves_after(c, after))?;
        let Some(known) = known else { return Ok(Moves { number, readings: None }) };
        let found = self.shared.by_ids(known.iter().map(|(id, _)| *id).collect())?;
        let told = |(id, before): (ReadingId, _)| Some(Handover { before, reading: found.get(&id)?.clone() });
        let readings = known.into_iter().filter_map(told).collect();
        Ok(Moves { number, readings: Some(readings) })
    }

    /// Whoever judges readings has written down that they know every change up to `number`; those are forgotten.
    pub fn set_moves_taken(&self, number: i64) {
        self.shared.log.taken.fetch_max(number, Relaxed);
    }
}

/// A reading, and whose it was.
type Known = (ReadingId, Option<PatientId>);

fn moves_after(c: &Connection, after: i64) -> Result<(i64, Option<Vec<Known>>), StoreError> {
    let view = c.unchecked_transaction().map_err(fault)?;
    let number = view
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'moved'", [], |r| r.get(0))
        .optional()
        .map_err(fault)?
        .unwrap_or(0);
    let gone = tables::meta(&view, GONE)?.unwrap_or(0);
    // Another file than the one whose changes were counted, or one that has forgotten some of them.
    if after < gone || after > number {
        return Ok((number, None));
    }
    let mut statement = view.prepare("SELECT reading, before FROM moved WHERE n > ?1 ORDER BY n").map_err(fault)?;
    let rows = statement
        .query_map([after], |r| {
            Ok((ReadingId::from_i64(r.get(0)?), r.get::<_, Option<i64>>(1)?.map(PatientId::from_i64)))
        })
        .map_err(fault)?;
    Ok((number, Some(rows.collect::<Result<_, _>>().map_err(fault)?)))
}

/// What is written of an erased patient goes with the rest.
pub(super) fn erase(c: &Connection, patient: PatientId) -> Result<(), StoreError> {
    let sql = "DELETE FROM moved WHERE before = ?1 OR after = ?1";
    c.execute(sql, [patient.as_i64()]).map(drop).map_err(fault)
}
