//! From the journal into the clustered tables: sorted, in small steps, without an fsync.
//!
//! A step may be lost by a crash, and a merge may begin anew: every insertion is idempotent, except the books, whose
//! progress is written in the same transaction. Only the last step empties the journal table.

use super::{
    Shared, books,
    clustered::{Cluster, Position},
    days,
    desk::{Histories, store_history},
    memory::{Memory, Memtable},
    numbers, places,
    row::{Row, SeriesKey, digest, series_key},
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
    series: Option<Position>,
    /// All readings have been; what was amended comes last.
    series_done: bool,
    /// How many of what was amended, beginning with what is amended from now on.
    amended: usize,
    identity: Option<Position>,
    identity_done: bool,
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
        Self {
            half,
            series: None,
            series_done: false,
            amended: frozen.amended.len(), // what was said until now lies in order like everything else
            identity: None,
            identity_done: false,
            rows: 0,
            devices,
            books: None,
        }
    }

    /// About how many rows are left, with what comes after them.
    pub(super) fn left(&self, frozen: &Memtable) -> usize {
        let rows = frozen.rows.len().saturating_sub(self.rows) + frozen.amended.len().saturating_sub(self.amended);
        rows + (self.devices.len() + frozen.books.len()) / 3
    }

    /// Merges about `budget` rows in one transaction.
    pub(super) fn step(
        mut self,
        c: &Connection,
        shared: &Shared,
        histories: &Histories,
        budget: usize,
    ) -> Result<Step, StoreError> {
        let begun = c.execute_batch("PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE").map_err(fault);
        let done = begun.and_then(|()| self.insert(c, shared, histories, budget)).and_then(|step| {
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
        let mut days = days::Merging::new(c, shared);
        let series = self.next_of_series(frozen, budget);
        tables::insert_series(c, &series)?;
        for (key, _) in &series {
            days.row(*key)?;
            weeks.insert(key.0);
        }
        let identity = self.next_of_identity(frozen, budget);
        numbers::put(c, &identity)?;
        let rows = &frozen.rows[self.rows..(self.rows + budget).min(frozen.rows.len())];
        let mut readings = Vec::with_capacity(rows.len());
        for row in rows {
            match &row.entry {
                Entry::Reading(reading) => readings.push((row.message, &**reading)),
                Entry::Held(held) => tables::insert_held(c, row, held, digest(&held.route, &held.bytes))?,
            }
        }
        places::put(c, &readings)?;
        self.rows += rows.len();
        left -= series.len() + identity.len() + rows.len();
        let merged = self.rows == frozen.rows.len()
            && self.identity_done
            && self.series_done
            && self.amended == frozen.amended.len();
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

    /// At most `budget` readings, ascending; when all have been, what was amended.
    fn next_of_series<'f>(&mut self, frozen: &'f Memtable, budget: usize) -> Vec<(SeriesKey, &'f Row)> {
        let mut next = Vec::with_capacity(budget.min(frozen.rows.len()));
        for (((wk, owner), (measured, id)), at) in frozen.series.after(self.series).take(budget) {
            next.push(((i32::try_from(wk).unwrap_or(0), owner, measured, id), &frozen.rows[at]));
            self.series = Some(((wk, owner), (measured, id)));
        }
        self.series_done = next.len() < budget;
        if self.series_done {
            let end = (self.amended + budget - next.len()).min(frozen.amended.len());
            let amended = frozen.amended[self.amended..end].iter().map(|at| &frozen.rows[*at]);
            next.extend(amended.filter_map(|row| Some((series_key(row.reading()?), row))));
            self.amended = end;
        }
        next
    }

    /// At most `budget` numbers, ascending.
    fn next_of_identity<'f>(&mut self, frozen: &'f Memtable, budget: usize) -> Vec<(Cluster, &'f Row)> {
        let mut next = Vec::with_capacity(budget.min(frozen.rows.len()));
        for (position, at) in frozen.identity.after(self.identity).take(budget) {
            next.push((position.0, &frozen.rows[at]));
            self.identity = Some(position);
        }
        self.identity_done = next.len() < budget;
        next
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
    let fresh = memory.active.successor();
    let frozen = std::mem::replace(&mut memory.active, fresh);
    let merge = Merge::new(active, &frozen);
    memory.frozen = Some(frozen);
    Ok(merge)
}
