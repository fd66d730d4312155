//! Everything that is stored, as of one moment, for export: from the file alone, also from another process, beside a
//! running service or without one.

use super::{
    Readings, keeping, lines, packed,
    row::{self, Row, week},
    tables::{self, Half, fault},
};
use crate::StoreError;
use rusqlite::{Connection, params};
use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
};
use vitals::{Entry, Held, Reading, Timestamp};

/// One consistent view of `journal.db`. While it lives the write-ahead log cannot shrink.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) connection: Connection,
    /// The lowest id that is still in the journal tables; merged rows from here on are said by the journal.
    pub(super) first: i64,
    discarded: HashSet<i64>,
    /// Of a program before version 12: numbers lie as [`super::numbers_before`] reads them.
    pub(super) older_numbers: bool,
}

impl Snapshot {
    /// Of the journal in this data folder.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::of(&folder.join("journal.db"))
    }

    fn of(path: &Path) -> Result<Self, StoreError> {
        let connection = tables::open_reader(path)?;
        connection.execute_batch("BEGIN").map_err(fault)?;
        // The first question fixes the view.
        let first = connection
            .query_row(
                "SELECT min(coalesce((SELECT min(id) FROM j0), ?1), coalesce((SELECT min(id) FROM j1), ?1))",
                [i64::MAX],
                |r| r.get(0),
            )
            .map_err(fault)?;
        let discarded = {
            let mut statement = connection.prepare("SELECT id FROM discarded").map_err(fault)?;
            let ids = statement.query_map([], |r| r.get(0)).map_err(fault)?;
            ids.collect::<Result<_, _>>().map_err(fault)?
        };
        let older_numbers = !keeping::has_table(&connection, "numbers")?;
        Ok(Self { connection, first, discarded, older_numbers })
    }

    /// Every stored reading, once, in no order.
    ///
    /// # Errors
    /// When the file cannot be read, or what `f` says.
    pub fn readings(&self, f: &mut dyn FnMut(&Reading) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.merged_readings(f)?;
        self.journal(&mut |row| match &row.entry {
            Entry::Reading(reading) => f(reading),
            Entry::Held(_) => Ok(()),
        })
    }

    /// The same of the weeks in which these stretches, `[from, to)`, lie: at least every reading measured in one of them.
    ///
    /// # Errors
    /// As [`Snapshot::readings`].
    pub fn readings_around(
        &self,
        stretches: &[(Timestamp, Timestamp)],
        f: &mut dyn FnMut(&Reading) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let weeks: BTreeSet<i32> = stretches.iter().flat_map(|(from, to)| week(*from)..=week(*to)).collect();
        let sql = "SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND id < ?2";
        let mut statement = self.connection.prepare(sql).map_err(fault)?;
        for wk in &weeks {
            let mut rows = statement.query(params![wk, self.first]).map_err(fault)?;
            while let Some(r) = rows.next().map_err(fault)? {
                f(&packed::reading(r, 0)?)?;
            }
        }
        self.journal(&mut |row| match &row.entry {
            Entry::Reading(reading) if weeks.contains(&week(reading.measured_at)) => f(reading),
            _ => Ok(()),
        })
    }

    /// Everything held and not discarded, once, in no order.
    ///
    /// # Errors
    /// When the file cannot be read, or what `f` says.
    pub fn held(&self, f: &mut dyn FnMut(&Held) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.everything_held(&mut |held| if self.discarded.contains(&held.id.as_i64()) { Ok(()) } else { f(held) })
    }

    /// What was discarded too.
    pub(super) fn everything_held(&self, f: &mut dyn FnMut(&Held) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.merged("SELECT b FROM held WHERE id < ?1", &mut |body| f(&row::decode(body)?))?;
        self.journal(&mut |row| match &row.entry {
            Entry::Reading(_) => Ok(()),
            Entry::Held(held) => f(held),
        })
    }

    pub(super) fn merged_readings(
        &self,
        f: &mut dyn FnMut(&Reading) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT owner, measured, id, b FROM series WHERE id < ?1";
        let mut statement = self.connection.prepare(sql).map_err(fault)?;
        let mut rows = statement.query([self.first]).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            f(&packed::reading(r, 0)?)?;
        }
        Ok(())
    }

    pub(super) fn merged(
        &self,
        sql: &str,
        f: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare(sql).map_err(fault)?;
        let mut rows = statement.query([self.first]).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            f(r.get_ref(0).map_err(fault)?.as_blob().unwrap_or_default())?;
        }
        Ok(())
    }

    pub(super) fn journal(&self, f: &mut dyn FnMut(&Row) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for half in [Half::Zero, Half::One] {
            lines::each(&self.connection, half, &mut |row| f(&row))?;
        }
        Ok(())
    }
}

impl Readings {
    /// A consistent view of everything stored.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::of(&self.shared.path)
    }

    /// Every stored reading, in one consistent snapshot, in no order.
    ///
    /// # Errors
    /// When the file cannot be read, or what `f` says.
    pub fn export_readings(&self, f: &mut dyn FnMut(&Reading) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.snapshot()?.readings(f)
    }

    /// Everything held, in one consistent snapshot, in no order.
    ///
    /// # Errors
    /// When the file cannot be read, or what `f` says.
    pub fn export_held(&self, f: &mut dyn FnMut(&Held) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.snapshot()?.held(f)
    }
}
