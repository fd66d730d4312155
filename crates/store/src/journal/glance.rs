//! One look at many patients: the newest reading of each and what a sparkline is drawn from. For a page of a worklist.
//!
//! One connection, one statement, one or two places of the file a patient; the week to begin with is known in memory.
//! Must never: read a patient's readings further back than a sparkline looks, or more of them than it has points.

use super::{
    Readings, Shared,
    days::stored,
    memory::Memtable,
    row::{owner, week},
    tables::fault,
};
use crate::StoreError;
use rusqlite::{Connection, params};
use std::{collections::BTreeMap, sync::Arc};
use vitals::{DeviceKey, Kind, PatientId, Reading, Timestamp};

/// One patient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Glance {
    /// The reading with the newest measurement time.
    pub latest: Option<Arc<Reading>>,
    /// The newest readings of the same kind, in order of measurement, `latest` included.
    pub recent: Vec<Arc<Reading>>,
}

impl Readings {
    /// For each of `patients`, in their order: the newest reading, and of its kind the newest `points` that were
    /// measured since `since`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn glance(
        &self,
        patients: Vec<PatientId>,
        since: Timestamp,
        points: usize,
    ) -> Result<Vec<Glance>, StoreError> {
        self.ask(move |shared| patients.iter().map(|p| shared.glance(*p, since, points)).collect()).await
    }
}

impl Shared {
    fn glance(&self, patient: PatientId, since: Timestamp, points: usize) -> Result<Glance, StoreError> {
        let owner = owner(Some(patient), DeviceKey::new(0));
        let mut look = Look { since, points, latest: None, found: Vec::new() };
        let weeks: Vec<i32> = {
            let memory = self.memory.read();
            memory.tables().for_each(|table| look.fresh(table, owner));
            let newest = self.newest.of(owner).unwrap_or(i32::MIN);
            memory.weeks.range(..=newest).rev().take(WEEKS).copied().collect()
        };
        self.readers.with(|c| look.merged(c, owner, &weeks))?;
        Ok(look.end())
    }
}

/// More weeks than anybody has readings of: a patient whose readings are all gone is looked for no longer than that.
const WEEKS: usize = 1_000;

struct Look {
    since: Timestamp,
    points: usize,
    latest: Option<Arc<Reading>>,
    found: Vec<Arc<Reading>>,
}

impl Look {
    fn see(&mut self, r: &Arc<Reading>) {
        if self.latest.as_ref().is_none_or(|known| (known.measured_at, known.id) < (r.measured_at, r.id)) {
            self.latest = Some(r.clone());
        }
    }

    /// What memory has, of both kinds: only the tables will say which kind the newest reading has.
    fn fresh(&mut self, table: &Memtable, owner: i64) {
        let (since, points) = (self.since, self.points);
        let mut left = BTreeMap::from([(Kind::BloodPressure, points), (Kind::BloodGlucose, points)]);
        table.newest_first(owner, |r| {
            self.see(r);
            if let Some(left) = left.get_mut(&r.kind()).filter(|left| **left > 0 && r.measured_at >= since) {
                *left -= 1;
                self.found.push(r.clone());
            }
            r.measured_at >= since && left.values().any(|left| *left > 0)
        });
    }

    /// What the tables have, newest first, until there are enough points. `weeks`: newest first.
    fn merged(&mut self, c: &Connection, owner: i64, weeks: &[i32]) -> Result<(), StoreError> {
        let mut statement = c
            .prepare_cached("SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2 ORDER BY measured DESC, id DESC")
            .map_err(fault)?;
        let mut left = self.points;
        for wk in weeks {
            let newest = self.latest.as_ref().map(|r| week(r.measured_at));
            if newest.is_some_and(|newest| *wk < newest) && *wk < week(self.since) {
                return Ok(());
            }
            let mut rows = statement.query(params![wk, owner]).map_err(fault)?;
            while let Some(r) = rows.next().map_err(fault)? {
                let reading = Arc::new(stored(r)?);
                // The first is the newest of the tables: from then on the kind is known.
                self.see(&reading);
                if reading.measured_at < self.since || left == 0 {
                    return Ok(());
                }
                if self.latest.as_ref().is_some_and(|latest| latest.kind() == reading.kind()) {
                    left -= 1;
                    self.found.push(reading);
                }
            }
        }
        Ok(())
    }

    fn end(mut self) -> Glance {
        let kind = self.latest.as_ref().map(|latest| latest.kind());
        self.found.retain(|r| Some(r.kind()) == kind);
        // Stable: what memory said comes first and wins.
        self.found.sort_by_key(|r| (r.measured_at, r.id));
        self.found.dedup_by_key(|r| r.id);
        let skip = self.found.len().saturating_sub(self.points);
        Glance { latest: self.latest, recent: self.found.split_off(skip) }
    }
}
