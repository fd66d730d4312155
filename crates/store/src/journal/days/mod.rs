//! Days in sums: means, spreads and shares of a day or a week without reading its readings.
//!
//! `sums` holds one row a patient and week of the series, the days of that week within it. A row is there only if it is
//! exactly what the readings of that patient and week in `series` come to: whoever writes to a closed week takes the row
//! away in the same transaction ([`touch`]) and notes it in `unfolded`; [`fold`] makes it again. Where there is no row,
//! and for weeks of which memory has readings, the readings themselves are asked ([`read`]). So the commit pays nothing,
//! a crash can leave no wrong sum, and late, moved, amended, dropped and erased readings are all one case.
//! Must never: be the only place of anything. Everything here can be made again from `series`.

mod audit;
mod compact;
mod fold;
mod newest;
mod read;

pub use fold::Folded;
pub use read::DaysQuery;

pub(super) use newest::Newest;

use super::{Shared, packed, row::SeriesKey, tables::fault};
use crate::StoreError;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst},
};
use vitals::{
    Reading, Targets, Zone,
    summary::{Summary, home_target},
};

/// The step from version 4 of the file to version 5. `newest` says in which week to look first for a patient's newest
/// reading: never too low a week, maybe too high a one.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS basis(id INTEGER PRIMARY KEY, form INTEGER NOT NULL, zone TEXT NOT NULL,
    systolic REAL NOT NULL, diastolic REAL NOT NULL, UNIQUE(form, zone, systolic, diastolic));
CREATE TABLE IF NOT EXISTS sums(wk INTEGER, owner INTEGER, basis INTEGER NOT NULL, b BLOB NOT NULL,
    PRIMARY KEY(wk, owner)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unfolded(wk INTEGER, owner INTEGER, PRIMARY KEY(wk, owner)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS newest(owner INTEGER PRIMARY KEY, wk INTEGER NOT NULL);
INSERT OR REPLACE INTO newest(owner, wk) SELECT owner, max(wk) FROM series WHERE owner >= 0 GROUP BY owner;
";

/// Of what a day's sums consist; raised when a limit or a class in [`vitals::summary`] changes: older rows are then made
/// again as they are met.
const FORM: i64 = 1;
/// Patients whose rows rest on another zone or target than they have now, noted at most until the next folding. Full:
/// the next reader notes them again.
const STALE: usize = 1024;

/// What a patient's days are counted by: where midnight is, and what is in target.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis {
    /// The patient's zone, or the site's where they have none.
    pub zone: Zone,
    /// The patient's targets.
    pub targets: Targets,
}

impl Basis {
    /// Under which number rows of this basis are kept; none where there is no such row yet.
    fn number(&self, c: &Connection) -> Result<Option<i64>, StoreError> {
        let (systolic, diastolic) = home_target(&self.targets);
        c.prepare_cached("SELECT id FROM basis WHERE form = ?1 AND zone = ?2 AND systolic = ?3 AND diastolic = ?4")
            .and_then(|mut s| {
                s.query_row(params![FORM, self.zone.name(), systolic, diastolic], |r| r.get(0)).optional()
            })
            .map_err(fault)
    }

    /// The same; makes the number where there is none.
    fn make_number(&self, c: &Connection) -> Result<i64, StoreError> {
        if let Some(known) = self.number(c)? {
            return Ok(known);
        }
        let (systolic, diastolic) = home_target(&self.targets);
        c.execute(
            "INSERT INTO basis(form, zone, systolic, diastolic) VALUES(?1, ?2, ?3, ?4)",
            params![FORM, self.zone.name(), systolic, diastolic],
        )
        .map_err(fault)?;
        Ok(c.last_insert_rowid())
    }
}

/// What the folding and the commit thread tell each other.
#[derive(Debug)]
pub(super) struct Folding {
    /// The last week that is closed: whoever writes to it, or to one before, takes its sums away.
    closed: AtomicI32,
    /// Counts writes to closed weeks: sums that were made meanwhile may be old.
    touched: AtomicU64,
    /// Patients whose sums rest on another zone or target than they have now.
    stale: parking_lot::Mutex<BTreeSet<i64>>,
}

impl Default for Folding {
    fn default() -> Self {
        Self { closed: AtomicI32::new(i32::MIN), touched: AtomicU64::new(0), stale: parking_lot::Mutex::default() }
    }
}

impl Folding {
    /// As the file has it.
    pub(super) fn load(&self, c: &Connection) -> Result<(), StoreError> {
        let closed = super::tables::meta(c, "folded_week")?.and_then(|wk| i32::try_from(wk).ok());
        self.closed.store(closed.unwrap_or(i32::MIN), SeqCst);
        Ok(())
    }

    fn note_stale(&self, owner: i64) {
        let mut stale = self.stale.lock();
        if stale.len() < STALE {
            stale.insert(owner);
        }
    }
}

/// The rows of `series` under this patient and week change, in the transaction that is open. On the commit thread.
pub(super) fn touch(c: &Connection, folding: &Folding, wk: i32, owner: i64) -> Result<(), StoreError> {
    if owner < 0 || wk > folding.closed.load(SeqCst) {
        return Ok(());
    }
    folding.touched.fetch_add(1, SeqCst);
    for sql in ["DELETE FROM sums WHERE wk = ?1 AND owner = ?2", "INSERT OR IGNORE INTO unfolded VALUES(?1, ?2)"] {
        c.prepare_cached(sql).and_then(|mut s| s.execute(params![wk, owner])).map_err(fault)?;
    }
    Ok(())
}

/// Tells [`touch`] and [`Newest`] of what a merge puts into `series`, once for all rows of one patient and week.
pub(super) struct Merging<'a> {
    connection: &'a Connection,
    shared: &'a Shared,
    last: Option<(i32, i64)>,
}

impl<'a> Merging<'a> {
    pub(super) const fn new(connection: &'a Connection, shared: &'a Shared) -> Self {
        Self { connection, shared, last: None }
    }

    /// The next row; keys ascend.
    pub(super) fn row(&mut self, (wk, owner, ..): SeriesKey) -> Result<(), StoreError> {
        if self.last == Some((wk, owner)) {
            return Ok(());
        }
        self.last = Some((wk, owner));
        touch(self.connection, &self.shared.folding, wk, owner)?;
        self.shared.newest.raise(self.connection, wk, owner)
    }
}

/// A patient is erased: nothing here may name them. Their sums went with their readings.
pub(super) fn forget(c: &Connection, owner: i64) -> Result<(), StoreError> {
    c.execute("DELETE FROM unfolded WHERE owner = ?1", [owner]).map_err(fault)?;
    c.execute("DELETE FROM newest WHERE owner = ?1", [owner]).map_err(fault)?;
    Ok(())
}

/// The reading of a row of `series` that begins with owner, measured, id, b.
pub(super) fn stored(r: &Row<'_>) -> Result<Reading, StoreError> {
    packed::reading(r, 0)
}

/// Adds one reading to the day it belongs to. In order of measurement.
fn add(days: &mut BTreeMap<Date, Summary>, reading: &Reading, basis: &Basis) {
    let day = reading.measured_at.day(&basis.zone);
    days.entry(day).or_default().add(reading, &basis.zone, &basis.targets);
}

/// The days of one patient and week as `series` has them.
fn count(c: &Connection, wk: i32, owner: i64, basis: &Basis) -> Result<BTreeMap<Date, Summary>, StoreError> {
    let mut days = BTreeMap::new();
    let mut statement = c
        .prepare_cached("SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2 ORDER BY measured, id")
        .map_err(fault)?;
    let mut rows = statement.query(params![wk, owner]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        add(&mut days, &stored(r)?, basis);
    }
    Ok(days)
}

#[cfg(test)]
mod tests;
