//! What patients' days came to, as the rules wrote it down, so that a start need not sum months of readings again.
//!
//! Goes in: bodies that only the rules understand, in the transaction that moves their position; which changes of stored
//! readings they know of. Comes out: the same. A cache: a row that is missing costs time, a row that is wrong must go before
//! the position passes what made it wrong.

use super::keeping::is_erased;
use crate::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use vitals::PatientId;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS patient_days(patient INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS patient_days_moves(one INTEGER PRIMARY KEY CHECK(one = 1), number INTEGER NOT NULL);
";

/// What changes of the written days with one pass of the rules.
#[derive(Clone, Debug, Default)]
pub struct DaysBatch {
    /// Nobody's are right any more. Before `changed`.
    pub all_gone: bool,
    /// A patient's days; none where they are not right any more. The last of one patient holds.
    pub changed: Vec<(PatientId, Option<Vec<u8>>)>,
}

impl Store {
    /// A patient's days, where they were written down.
    ///
    /// # Errors
    /// As every read.
    pub fn patient_days_blocking(&self, patient: PatientId) -> Result<Option<Vec<u8>>, StoreError> {
        self.registry.read_blocking(|c| {
            let sql = "SELECT body FROM patient_days WHERE patient = ?1";
            Ok(c.prepare_cached(sql)?.query_row([patient.as_i64()], |r| r.get(0)).optional()?)
        })
    }
}

/// Up to which change of stored readings everything has been judged.
pub(super) fn moves(c: &Connection) -> Result<i64, StoreError> {
    Ok(c.query_row("SELECT number FROM patient_days_moves", [], |r| r.get(0)).optional()?.unwrap_or(0))
}

/// Within the transaction of a pass.
pub(super) fn write(c: &Connection, batch: &DaysBatch, moves: Option<i64>) -> Result<(), StoreError> {
    if batch.all_gone {
        c.execute("DELETE FROM patient_days", [])?;
    }
    for (patient, body) in &batch.changed {
        match body {
            Some(_) if is_erased(c, *patient)? => 0,
            Some(body) => c
                .prepare_cached("INSERT OR REPLACE INTO patient_days(patient, body) VALUES(?1, ?2)")?
                .execute(params![patient.as_i64(), body])?,
            None => c.prepare_cached("DELETE FROM patient_days WHERE patient = ?1")?.execute([patient.as_i64()])?,
        };
    }
    if let Some(number) = moves {
        let sql = "INSERT OR REPLACE INTO patient_days_moves(one, number) VALUES(1, ?1)";
        c.prepare_cached(sql)?.execute([number])?;
    }
    Ok(())
}
