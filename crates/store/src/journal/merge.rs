//! From the journal into the clustered tables: sorted, in small steps, without an fsync.
//!
//! A step may be lost by a crash, and a merge may begin anew: every insertion is idempotent, except the books, whose
//! progress is written in the same transaction. Only the last step empties the journal table.

use super::{
    Shared, books, days,
    desk::{Histories, store_history},
    memory::{Memory, Memtable},
    row::{IdentityKey, SeriesKey, digest},
    tables::{self, Half, fault},
};
use crate::StoreError;
use parking_lot::RwLock;
use rusqlite::Connection;
use std::{
    collections::HashSet,
    ops::Bound::{Excluded, Unbounded},
};
use vitals::{DeviceKey, Entry};

/// A merge under way: how far each table has got.
#[derive(Clone, Debug)]
pub(super) struct Merge {
    pub(super) half: Half,
    pub(super) series: Option<SeriesKey>,
    identity: Option<IdentityKey>,
    rows: usize,
    devices: Vec<DeviceKey>,
    books: Option<(i32, DeviceKey)>,
}

/// What one step found.
pub(super) enum Step {
    More(Merge),
    Done,
}

impl Merge {
    pub(super) fn new(half: Half, frozen: &Memtable) -> Self {
        let mut devices: Vec<DeviceKey> = frozen.devices.iter().copied().collect();
        devices.sort_unstable_by(|a, b| b.cmp(a)); // taken from the end, ascending
        Self { half, series: None, identity: None, rows: 0, devices, books: None }
    }

    /// Merges about `budget` rows in one transaction.
    pub(super) fn step(
        mut self,
        c: &Connection,
        shared: &Shared,
        histories: &Histories,
        budget: usize,
    ) -> Result<Step, StoreError> {
        c.execute_batch("PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE").map_err(fault)?;
        let done = self.insert(c, shared, histories, budget).and_then(|step| {
            runtime::crash::point("journal.mid_merge");
            step.commit(self, c, shared)
        });
        if done.is_err() {
            let _ = c.execute_batch("ROLLBACK");
            shared.newest.undo(c);
        }
        c.execute_batch("PRAGMA synchronous=FULL").map_err(fault)?;
        done
    }

    fn insert(
        &mut self,
        c: &Connection,
        shared: &Shared,
        histories: &Histories,
        budget: usize,
    ) -> Result<Inserted, StoreError> {
        let memory = shared.memory.read();
        let Some(frozen) = &memory.frozen else { return Ok(Inserted::Everything) };
        let mut weeks = HashSet::new();
        let mut left = 3 * budget;
        let mut series = tables::Series::prepare(c)?;
        let mut days = days::Merging::new(c, shared);
        for (key, reading) in frozen.series.range((self.series.map_or(Unbounded, Excluded), Unbounded)).take(budget) {
            series.insert(*key, reading)?;
            days.row(*key)?;
            weeks.insert(key.0);
            self.series = Some(*key);
            left -= 1;
        }
        let mut identities = tables::Identities::prepare(c)?;
        let identity = frozen.identity.range((self.identity.map_or(Unbounded, Excluded), Unbounded));
        for (key, known) in identity.take(budget) {
            identities.insert(*key, known)?;
            self.identity = Some(*key);
            left -= 1;
        }
        let mut locations = tables::Locations::prepare(c)?;
        for row in frozen.rows.iter().skip(self.rows).take(budget) {
            match &*row.entry {
                Entry::Reading(reading) => locations.put(row.message, reading)?,
                Entry::Held(held) => tables::insert_held(c, row, held, digest(&held.route, &held.bytes))?,
            }
            self.rows += 1;
            left -= 1;
        }
        let merged = self.rows == frozen.rows.len()
            && frozen.identity.range((self.identity.map_or(Unbounded, Excluded), Unbounded)).next().is_none()
            && frozen.series.range((self.series.map_or(Unbounded, Excluded), Unbounded)).next().is_none();
        if !merged {
            return Ok(Inserted::Some(weeks));
        }
        let keep = self.devices.len().saturating_sub(left);
        for device in self.devices.split_off(keep).into_iter().rev() {
            if let Some(history) = histories.get(&device) {
                store_history(c, device, history)?;
            }
            left -= 1;
        }
        if left == 0 {
            return Ok(Inserted::Some(weeks));
        }
        self.insert_books(c, frozen, left)?;
        let rest = frozen.books.range((self.books.map_or(Unbounded, Excluded), Unbounded)).next().is_some();
        Ok(if rest { Inserted::Books(weeks) } else { Inserted::Last(weeks) })
    }

    fn insert_books(&mut self, c: &Connection, frozen: &Memtable, left: usize) -> Result<(), StoreError> {
        for (key, counts) in frozen.books.iter().take(left) {
            books::add(c, *key, *counts)?;
            self.books = Some(*key);
        }
        if let Some((day, device)) = self.books {
            tables::set_meta(c, "books_day", Some(i64::from(day)))?;
            tables::set_meta(c, "books_device", Some(device.as_i64()))?;
        }
        Ok(())
    }
}

/// What a step has put into its transaction.
enum Inserted {
    /// Only tables in which a repetition changes nothing.
    Some(HashSet<i32>),
    /// Books too: memory must forget them at the moment of the commit.
    Books(HashSet<i32>),
    /// The last of it.
    Last(HashSet<i32>),
    /// There was nothing to merge.
    Everything,
}

impl Inserted {
    fn commit(self, merge: Merge, c: &Connection, shared: &Shared) -> Result<Step, StoreError> {
        let commit = || c.execute_batch("COMMIT").map_err(fault);
        match self {
            Self::Everything => commit().map(|()| Step::Done),
            Self::Some(weeks) => {
                commit()?;
                shared.memory.write().weeks.extend(weeks);
                Ok(Step::More(merge))
            }
            Self::Books(weeks) => {
                // Whoever asks for the books holds the lock over memory and table: both change under it at once.
                let mut memory = shared.memory.write();
                commit()?;
                memory.weeks.extend(weeks);
                if let Some(frozen) = &mut memory.frozen {
                    books::after(&mut frozen.books, merge.books);
                }
                Ok(Step::More(merge))
            }
            Self::Last(weeks) => {
                tables::clear(c, merge.half)?;
                for key in ["frozen", "books_day", "books_device"] {
                    tables::set_meta(c, key, None)?;
                }
                let dropped = {
                    let mut memory = shared.memory.write();
                    runtime::crash::point("journal.before_merged");
                    commit()?;
                    runtime::crash::point("journal.after_merged");
                    memory.weeks.extend(weeks);
                    memory.frozen.take()
                };
                // A hundred thousand small frees are done neither under the lock nor while somebody waits for a commit.
                drop(std::thread::Builder::new().name("journal-free".into()).spawn(move || drop(dropped)));
                Ok(Step::Done)
            }
        }
    }
}

/// Freezes what is being filled, so that it can be merged; the other half is filled from now on.
pub(super) fn freeze(c: &Connection, memory: &RwLock<Memory>, active: Half) -> Result<Merge, StoreError> {
    // Not synced: no row of the other half can be in the file without this mark before it in the log.
    c.execute_batch("PRAGMA synchronous=NORMAL").map_err(fault)?;
    let marked = tables::set_meta(c, "frozen", Some(i64::from(active == Half::One)));
    c.execute_batch("PRAGMA synchronous=FULL").map_err(fault)?;
    marked?;
    runtime::crash::point("journal.frozen");
    let mut memory = memory.write();
    let frozen = std::mem::take(&mut memory.active);
    let merge = Merge::new(active, &frozen);
    memory.frozen = Some(frozen);
    Ok(merge)
}
