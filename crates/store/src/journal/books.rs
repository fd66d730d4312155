//! The books: what each device sent on each day, counted in readings, exact after a crash.
//!
//! Stored and held are counted from the journal's rows; duplicates have rows of their own, one a commit.

use super::{BookRow, tables::fault};
use crate::StoreError;
use rusqlite::{Connection, params};
use std::{collections::BTreeMap, ops::AddAssign};
use vitals::DeviceKey;

/// By (day as 20260301, device).
pub(super) type Books = BTreeMap<(i32, DeviceKey), Counts>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) stored: u64,
    pub(super) duplicate: u64,
    pub(super) quarantined: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.quarantined += other.quarantined;
    }
}

impl Counts {
    pub(super) const fn row(self, device: DeviceKey) -> BookRow {
        BookRow { device, stored: self.stored, duplicate: self.duplicate, quarantined: self.quarantined, rejected: 0 }
    }
}

/// A calendar day as 20260301.
pub(super) fn day_number(day: jiff::civil::Date) -> i32 {
    i32::from(day.year()) * 10_000 + i32::from(day.month()) * 100 + i32::from(day.day())
}

/// Adds a count to the merged books.
pub(super) fn add(c: &Connection, (day, device): (i32, DeviceKey), counts: Counts) -> Result<(), StoreError> {
    c.prepare_cached(
        "INSERT INTO books(day, device, stored, duplicate, quarantined) VALUES(?1, ?2, ?3, ?4, ?5)
         ON CONFLICT(day, device) DO UPDATE SET stored = stored + excluded.stored,
         duplicate = duplicate + excluded.duplicate, quarantined = quarantined + excluded.quarantined",
    )
    .and_then(|mut s| {
        s.execute(params![
            day,
            device.as_i64(),
            counts.stored.cast_signed(),
            counts.duplicate.cast_signed(),
            counts.quarantined.cast_signed()
        ])
    })
    .map_err(fault)?;
    Ok(())
}

/// The merged books of one day, of one device or of all.
pub(super) fn merged(c: &Connection, day: i32, device: Option<DeviceKey>) -> Result<Books, StoreError> {
    let mut statement = c
        .prepare_cached(
            "SELECT device, stored, duplicate, quarantined FROM books WHERE day = ?1 AND device BETWEEN ?2 AND ?3",
        )
        .map_err(fault)?;
    let (low, high) = device.map_or((0, i64::MAX), |d| (d.as_i64(), d.as_i64()));
    let rows = statement
        .query_map(params![day, low, high], |r| {
            let counts = Counts {
                stored: r.get::<_, i64>(1)?.cast_unsigned(),
                duplicate: r.get::<_, i64>(2)?.cast_unsigned(),
                quarantined: r.get::<_, i64>(3)?.cast_unsigned(),
            };
            Ok(((day, DeviceKey::from_i64(r.get(0)?)), counts))
        })
        .map_err(fault)?;
    rows.collect::<Result<_, _>>().map_err(fault)
}

/// What of `books` is not yet merged, given the last key that was.
pub(super) fn after(books: &mut Books, merged: Option<(i32, DeviceKey)>) {
    // One by one from the front: a split would count the whole rest at every step of a merge.
    while let Some(first) = books.first_entry().filter(|first| merged.is_some_and(|last| *first.key() <= last)) {
        first.remove();
    }
}
