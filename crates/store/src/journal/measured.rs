//! Everybody's readings of some time, in one consistent view, a week of the series after the other: for questions over
//! many people. Nothing is kept in memory but what is not yet merged.

use super::{Snapshot, packed, row::week, tables::fault};
use crate::StoreError;
use rusqlite::{OptionalExtension, params};
use std::{collections::BTreeMap, sync::Arc};
use vitals::{Entry, Reading, Timestamp};

/// Microseconds of a week of the series.
const WEEK: i64 = 7 * 24 * 3600 * 1_000_000;

/// What is met, in this order.
#[derive(Debug)]
pub(crate) enum Measured<'a> {
    /// Everything that comes now was measured at this moment or later.
    From(Timestamp),
    /// Measured within the week that was announced, in no order.
    Reading(&'a Reading),
}

impl Snapshot {
    /// Everything measured in about `[from, to)`: whole weeks of the series.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn measured(
        &self,
        (from, to): (Timestamp, Timestamp),
        f: &mut dyn FnMut(Measured<'_>),
    ) -> Result<(), StoreError> {
        let (first, last) = (week(from), week(to));
        let mut fresh: BTreeMap<i32, Vec<Arc<Reading>>> = BTreeMap::new();
        self.journal(&mut |row| {
            if let Entry::Reading(r) = &row.entry
                && (first..=last).contains(&week(r.measured_at))
            {
                fresh.entry(week(r.measured_at)).or_default().push(r.clone());
            }
            Ok(())
        })?;
        let c = &self.connection;
        let mut next = c.prepare("SELECT wk FROM series WHERE wk >= ?1 ORDER BY wk LIMIT 1").map_err(fault)?;
        let mut merged =
            c.prepare("SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND id < ?2").map_err(fault)?;
        let mut at = first;
        loop {
            let in_table: Option<i32> = next.query_row([at], |r| r.get(0)).optional().map_err(fault)?;
            let in_journal = fresh.keys().next().copied();
            let Some(wk) = in_table.into_iter().chain(in_journal).min().filter(|wk| *wk <= last) else { return Ok(()) };
            f(Measured::From(Timestamp::from_micros(i64::from(wk).saturating_mul(WEEK))));
            fresh.remove(&wk).unwrap_or_default().iter().for_each(|r| f(Measured::Reading(r)));
            let mut rows = merged.query(params![wk, self.first]).map_err(fault)?;
            while let Some(r) = rows.next().map_err(fault)? {
                let reading = packed::reading(r, 0)?;
                f(Measured::Reading(&reading));
            }
            let Some(after) = wk.checked_add(1) else { return Ok(()) };
            at = after;
        }
    }
}
