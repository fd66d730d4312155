//! Questions: from memory first, then from the tables, joined by id. Read-only connections, never the writer's.
//!
//! Memory is looked at before the tables: what leaves memory in between is in the tables already.

use super::{
    BookRow, JournalEntry, ReadingQuery, Readings, Shared,
    books::{self, day_number},
    packed,
    places::{self, Place},
    row::{self, number, owner, week},
    tables::fault,
};
use crate::StoreError;
use jiff::civil::Date;
use rusqlite::{Connection, params};
use std::{collections::HashMap, sync::Arc};
use vitals::{DeviceKey, Entry, Held, PatientId, Reading, ReadingId};

/// More than the readings of one message (contract: 200), so that a page always ends between two messages.
const MESSAGE: usize = 256;

impl Readings {
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared)).await.unwrap_or(Err(StoreError::Closed))
    }

    /// Ascending by (measured, id), all dispositions.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn range(&self, q: ReadingQuery) -> Result<Vec<Arc<Reading>>, StoreError> {
        self.ask(move |shared| shared.range(&q)).await
    }

    /// As [`Readings::range`], on this thread.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn range_blocking(&self, q: ReadingQuery) -> Result<Vec<Arc<Reading>>, StoreError> {
        self.shared.range(&q)
    }

    /// One reading.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn by_id(&self, id: ReadingId) -> Result<Option<Arc<Reading>>, StoreError> {
        if let Some(row) = self.shared.memory.read().row(id) {
            return Ok(row.reading().cloned());
        }
        self.ask(move |shared| shared.readers.with(|c| merged_reading(c, id))).await
    }

    /// Some readings, in one question; those that are not there are left out.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn by_ids(&self, ids: Vec<ReadingId>) -> Result<HashMap<ReadingId, Arc<Reading>>, StoreError> {
        self.ask(move |shared| shared.by_ids(ids)).await
    }

    /// The reading with the newest measurement time.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn latest(&self, patient: PatientId) -> Result<Option<Arc<Reading>>, StoreError> {
        self.ask(move |shared| shared.latest(patient)).await
    }

    /// Readings that belong to nobody, ascending by id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn unassigned(&self, after: Option<ReadingId>, limit: usize) -> Result<Vec<Arc<Reading>>, StoreError> {
        self.ask(move |shared| shared.unassigned(after.map_or(0, number), limit)).await
    }

    /// What is held, newest first, without what was discarded; `reason` is a word of the contract.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn held(
        &self,
        reason: Option<String>,
        after: Option<ReadingId>,
        limit: usize,
    ) -> Result<Vec<Arc<Held>>, StoreError> {
        self.ask(move |shared| shared.held(reason.as_deref(), after.map_or(u64::MAX, number), limit)).await
    }

    /// The books of one day (of `receivedAt`, in the site's zone), ascending by device.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn books(&self, day: Date, device: Option<DeviceKey>) -> Result<Vec<BookRow>, StoreError> {
        self.ask(move |shared| shared.books(day_number(day), device)).await
    }

    /// The journal after `position`, ascending; about `limit` entries, never half a message.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entries_after(&self, position: u64, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.shared.entries_after(position, limit)
    }
}

impl Shared {
    /// As [`Readings::by_ids`].
    pub(super) fn by_ids(&self, ids: Vec<ReadingId>) -> Result<HashMap<ReadingId, Arc<Reading>>, StoreError> {
        let mut found: HashMap<ReadingId, Arc<Reading>> = HashMap::with_capacity(ids.len());
        let (mut merged, memory) = (Vec::new(), self.memory.read());
        for id in ids {
            match memory.row(id) {
                Some(row) => found.extend(row.reading().map(|r| (id, r.clone()))),
                None => merged.push(id),
            }
        }
        drop(memory);
        if !merged.is_empty() {
            self.readers.with(|c| {
                let _reads = c.unchecked_transaction().map_err(fault)?;
                for id in merged {
                    found.extend(merged_reading(c, id)?.map(|r| (id, r)));
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    pub(super) fn range(&self, q: &ReadingQuery) -> Result<Vec<Arc<Reading>>, StoreError> {
        let owner = owner(Some(q.patient), DeviceKey::new(0));
        let mut low = (q.from, 0);
        if let Some((at, id)) = q.after {
            low = low.max((at, number(id) + 1));
        }
        // Also where the page before ended behind what is asked for now.
        if low.0 >= q.to || q.limit == 0 {
            return Ok(Vec::new());
        }
        let wanted = |r: &Reading| q.kind.is_none_or(|k| k == r.kind());
        let mut found = Vec::new();
        let weeks: Vec<i32> = {
            let memory = self.memory.read();
            for table in memory.tables() {
                let mut left = q.limit;
                table.range(owner, low, q.to, |r| {
                    if wanted(r) {
                        found.push(r.clone());
                        left -= 1;
                    }
                    left > 0
                });
            }
            memory.weeks.range(week(low.0)..=week(q.to)).copied().collect()
        };
        if !weeks.is_empty() {
            let in_memory = found.len();
            self.readers.with(|c| {
                // One transaction for all weeks: taking and leaving the file's lock costs as much as a week's rows.
                let _reads = c.unchecked_transaction().map_err(fault)?;
                let mut statement = c
                    .prepare_cached(
                        "SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2 AND (measured, id) >= (?3, ?4)
                         AND measured < ?5 ORDER BY measured, id",
                    )
                    .map_err(fault)?;
                for wk in weeks {
                    let bounds = params![wk, owner, low.0.as_micros(), low.1.cast_signed(), q.to.as_micros()];
                    let mut rows = statement.query(bounds).map_err(fault)?;
                    while let Some(r) = rows.next().map_err(fault)? {
                        let reading = packed::reading(r, 0)?;
                        if wanted(&reading) {
                            found.push(Arc::new(reading));
                        }
                        if found.len() - in_memory >= q.limit {
                            return Ok(());
                        }
                    }
                }
                Ok(())
            })?;
        }
        // What memory said comes first and wins: it may know a newer owner of the same reading.
        found.sort_by_key(|r| (r.measured_at, r.id));
        found.dedup_by_key(|r| r.id);
        found.truncate(q.limit);
        Ok(found)
    }

    fn latest(&self, patient: PatientId) -> Result<Option<Arc<Reading>>, StoreError> {
        let owner = owner(Some(patient), DeviceKey::new(0));
        let (mut best, weeks) = {
            let memory = self.memory.read();
            let best = memory.latest(patient);
            let from = best.as_ref().map_or(i32::MIN, |r| week(r.measured_at));
            let newest = self.newest.of(owner).unwrap_or(i32::MIN);
            (best, memory.weeks.range(from.min(newest)..=newest).rev().copied().collect::<Vec<i32>>())
        };
        if weeks.is_empty() {
            return Ok(best);
        }
        self.readers.with(|c| {
            let mut statement = c
                .prepare_cached(
                    "SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2
                     ORDER BY measured DESC, id DESC LIMIT 1",
                )
                .map_err(fault)?;
            for wk in weeks {
                let mut rows = statement.query(params![wk, owner]).map_err(fault)?;
                if let Some(r) = rows.next().map_err(fault)? {
                    let reading = packed::reading(r, 0)?;
                    if best.as_ref().is_none_or(|b| (b.measured_at, b.id) < (reading.measured_at, reading.id)) {
                        best = Some(Arc::new(reading));
                    }
                    break;
                }
            }
            Ok(best)
        })
    }

    fn unassigned(&self, after: u64, limit: usize) -> Result<Vec<Arc<Reading>>, StoreError> {
        let (in_memory, first) = {
            let memory = self.memory.read();
            let rows = memory.tables().flat_map(|t| &t.rows[t.rows.partition_point(|r| r.id <= after)..]);
            let nobodys = rows.filter_map(|r| r.reading().filter(|r| r.patient.is_none()).cloned());
            (nobodys.take(limit).collect::<Vec<_>>(), memory.first_id())
        };
        let mut all = self.readers.with(|c| {
            let mut statement = c
                .prepare_cached("SELECT id FROM unassigned WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3")
                .map_err(fault)?;
            let bounds = params![after.cast_signed(), signed(first), signed(limit as u64)];
            let ids = statement.query_map(bounds, |r| r.get::<_, i64>(0)).map_err(fault)?;
            let mut all = Vec::new();
            for id in ids {
                all.extend(merged_reading(c, ReadingId::from_i64(id.map_err(fault)?))?);
            }
            Ok(all)
        })?;
        all.extend(in_memory);
        all.truncate(limit);
        Ok(all)
    }

    fn held(&self, reason: Option<&str>, before: u64, limit: usize) -> Result<Vec<Arc<Held>>, StoreError> {
        let wanted = |h: &Held| reason.is_none_or(|r| h.reasons.iter().any(|x| x.as_str() == r));
        let mut all: Vec<Arc<Held>> = Vec::new();
        let (first, discarded) = {
            let memory = self.memory.read();
            for table in memory.tables().rev() {
                for row in table.rows.iter().rev().filter(|r| r.id < before) {
                    if all.len() >= limit {
                        return Ok(all);
                    }
                    if let Entry::Held(h) = &row.entry
                        && wanted(h)
                        && !memory.discarded.contains(&h.id)
                    {
                        all.push(h.clone());
                    }
                }
            }
            (memory.first_id().min(before), memory.discarded.clone())
        };
        self.readers.with(|c| {
            let mut statement =
                c.prepare_cached("SELECT id, b FROM held WHERE id < ?1 ORDER BY id DESC").map_err(fault)?;
            let mut rows = statement.query([signed(first)]).map_err(fault)?;
            while all.len() < limit
                && let Some(r) = rows.next().map_err(fault)?
            {
                if discarded.contains(&ReadingId::from_i64(r.get(0).map_err(fault)?)) {
                    continue;
                }
                let held: Held = row::decode(r.get_ref(1).map_err(fault)?.as_blob().unwrap_or_default())?;
                if wanted(&held) {
                    all.push(Arc::new(held));
                }
            }
            Ok(all)
        })
    }

    fn books(&self, day: i32, device: Option<DeviceKey>) -> Result<Vec<BookRow>, StoreError> {
        // Under the lock, because a merge moves counts from memory to the table at one moment under it.
        let memory = self.memory.read();
        let mut all = self.readers.with(|c| books::merged(c, day, device))?;
        let (low, high) = device.map_or((DeviceKey::new(0), DeviceKey::new(u64::MAX)), |d| (d, d));
        for table in memory.tables() {
            for (key, counts) in table.books.range((day, low)..=(day, high)) {
                *all.entry(*key).or_default() += *counts;
            }
        }
        memory.without_released(&mut all, day);
        Ok(all.into_iter().map(|((_, device), counts)| counts.row(device)).collect())
    }

    fn entries_after(&self, position: u64, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        loop {
            let first = {
                let memory = self.memory.read();
                let first = memory.first_id();
                if position.saturating_add(1) >= first {
                    return Ok(from_memory(&memory, position, limit));
                }
                first
            };
            if let Some(found) = self.entries_around(first, position, limit)? {
                return Ok(found);
            }
        }
    }

    /// Of the tables, or where those have nothing more, of memory. `first`: the lowest id that memory had a moment ago;
    /// none when it has another by now, for what has left it since was looked for in neither.
    pub(super) fn entries_around(
        &self,
        first: u64,
        position: u64,
        limit: usize,
    ) -> Result<Option<Vec<JournalEntry>>, StoreError> {
        if position < *self.committed.borrow() {
            let merged = self.readers.with(|c| merged_entries(c, position, first, limit))?;
            if !merged.is_empty() {
                return Ok(Some(merged));
            }
        }
        let memory = self.memory.read();
        Ok((memory.first_id() == first).then(|| from_memory(&memory, position, limit)))
    }
}

/// SQLite's integers end earlier than ours.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn from_memory(memory: &super::Memory, position: u64, limit: usize) -> Vec<JournalEntry> {
    let rows = memory.tables().flat_map(|t| &t.rows[t.rows.partition_point(|r| r.id <= position)..]);
    let mut all: Vec<JournalEntry> = Vec::new();
    for r in rows {
        if all.len() >= limit && all.last().is_some_and(|last| last.message != r.message) {
            break;
        }
        all.push(JournalEntry { position: r.id, message: r.message, entry: r.entry.clone() });
    }
    all
}

pub(super) fn merged_reading(c: &Connection, id: ReadingId) -> Result<Option<Arc<Reading>>, StoreError> {
    in_one_view(c, || match places::of(c, id)? {
        Some(place) => at_place(c, &place),
        None => Ok(None),
    })
}

/// Runs `read` in one view of the file: what is moved meanwhile would be in neither place.
fn in_one_view<T>(c: &Connection, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let _view = c.is_autocommit().then(|| c.unchecked_transaction()).transpose().map_err(fault)?;
    read()
}

fn at_place(c: &Connection, place: &Place) -> Result<Option<Arc<Reading>>, StoreError> {
    let (wk, owner, measured, id) = place.key();
    let mut statement = c
        .prepare_cached(
            "SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2 AND measured = ?3 AND id = ?4",
        )
        .map_err(fault)?;
    let mut rows = statement.query(params![wk, owner, measured, id.cast_signed()]).map_err(fault)?;
    rows.next().map_err(fault)?.map(|r| packed::reading(r, 0).map(Arc::new)).transpose()
}

/// Merged entries between `position` and `before`, ascending, ending between two messages.
fn merged_entries(c: &Connection, position: u64, before: u64, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
    in_one_view(c, || entries_between(c, position, before, limit))
}

fn entries_between(c: &Connection, position: u64, before: u64, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
    let most = limit.saturating_add(MESSAGE);
    let mut readings: Vec<JournalEntry> = Vec::new();
    places::each(c, position.saturating_add(1), before, &mut |place| {
        let entry = |r| JournalEntry { position: place.id, message: place.message, entry: Entry::Reading(r) };
        readings.extend(at_place(c, &place)?.map(entry));
        Ok(readings.len() < most)
    })?;
    let held = held_between(c, position, before, most)?;
    // A list that was cut says nothing of what comes after its end.
    let known =
        |list: &[JournalEntry]| if list.len() < most { u64::MAX } else { list.last().map_or(0, |e| e.position) };
    let end = known(&readings).min(known(&held));
    let mut all: Vec<JournalEntry> = readings.into_iter().chain(held).filter(|e| e.position <= end).collect();
    all.sort_by_key(|e| e.position);
    let cut = (limit..all.len()).find(|i| *i > 0 && all[*i].message != all[*i - 1].message);
    all.truncate(cut.unwrap_or(all.len()));
    Ok(all)
}

fn held_between(c: &Connection, position: u64, before: u64, most: usize) -> Result<Vec<JournalEntry>, StoreError> {
    let mut statement = c
        .prepare_cached("SELECT id, message, b FROM held WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3")
        .map_err(fault)?;
    let mut rows = statement.query(params![signed(position), signed(before), signed(most as u64)]).map_err(fault)?;
    let mut all = Vec::new();
    while let Some(r) = rows.next().map_err(fault)? {
        let body = r.get_ref(2).map_err(fault)?.as_blob().unwrap_or_default();
        all.push(JournalEntry {
            position: r.get::<_, i64>(0).map_err(fault)?.cast_unsigned(),
            message: r.get::<_, i64>(1).map_err(fault)?.cast_unsigned(),
            entry: Entry::Held(Arc::new(row::decode(body)?)),
        });
    }
    Ok(all)
}
