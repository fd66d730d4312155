//! What is in the journal but not yet merged, in memory: ordered as the tables are, so that both answer alike.

use super::{
    Known,
    books::{Books, Counts},
    clustered::Clustered,
    row::{Row, digest, identity_key, number, owner, series_key, week},
};
use foldhash::{HashMap, HashSet};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use vitals::{DeviceKey, Entry, PatientId, Reading, ReadingId, Timestamp};

/// The rows of one journal table. Filled in order of commitment; frozen whole; dropped when merged.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    /// Ascending by id.
    pub(super) rows: Vec<Row>,
    /// By week and owner, then time of measurement and id.
    pub(super) series: Clustered,
    /// Weeks of which there is, or was, a reading.
    pub(super) weeks: BTreeSet<i32>,
    /// By block of numbers and device, then number and epoch.
    pub(super) identity: Clustered,
    pub(super) held: HashMap<(DeviceKey, i64), ReadingId>,
    /// Devices whose history changed.
    pub(super) devices: HashSet<DeviceKey>,
    pub(super) books: Books,
    /// Places in `rows` of readings of which something else was said, in the order of saying. A merge that has passed
    /// them brings them once more.
    pub(super) amended: Vec<usize>,
}

impl Memtable {
    /// One that is about to be filled as far as `self` was.
    pub(super) fn successor(&self) -> Self {
        Self { rows: Vec::with_capacity(self.rows.len()), ..Self::default() }
    }

    pub(super) fn add(&mut self, row: Row) {
        let device = row.device();
        self.devices.insert(device);
        let counts = self.books.entry((row.day, device)).or_default();
        match &row.entry {
            Entry::Reading(r) => {
                counts.stored += 1;
                let (block, device, seq, epoch) = identity_key(device, r.seq, r.epoch);
                self.identity.insert((block, device), (seq, epoch.into()), self.rows.len());
                self.place(r, self.rows.len());
            }
            Entry::Held(h) => {
                counts.quarantined += 1;
                self.held.insert((device, digest(&h.route, &h.bytes)), h.id);
            }
        }
        self.rows.push(row);
    }

    fn place(&mut self, reading: &Reading, at: usize) {
        let (wk, owner, measured, id) = series_key(reading);
        self.weeks.insert(wk);
        self.series.insert((wk.into(), owner), (measured, id), at);
    }

    pub(super) fn count_duplicates(&mut self, day: i32, device: DeviceKey, n: u64) {
        // A number that was forgotten may have been noted once more.
        self.devices.insert(device);
        *self.books.entry((day, device)).or_default() += Counts { duplicate: n, ..Counts::default() };
    }

    pub(super) fn row(&self, id: ReadingId) -> Option<&Row> {
        self.index(id).map(|i| &self.rows[i])
    }

    pub(super) fn index(&self, id: ReadingId) -> Option<usize> {
        self.rows.binary_search_by_key(&number(id), |r| r.id).ok()
    }

    /// Puts a reading of this table under another owner.
    pub(super) fn amend(&mut self, reading: &Arc<Reading>) {
        let Some(i) = self.index(reading.id) else { return };
        if let Some(before) = self.rows[i].reading() {
            let (wk, owner, measured, id) = series_key(before);
            self.series.remove((wk.into(), owner), (measured, id));
        }
        self.place(reading, i);
        self.rows[i].say(Entry::Reading(reading.clone()));
        self.amended.push(i);
    }

    pub(super) fn known(&self, device: DeviceKey, seq: i64) -> impl Iterator<Item = Known> + '_ {
        let (block, device, seq, _) = identity_key(device, seq, 0);
        let same = self.identity.items((block, device)).iter().filter(move |item| item.first == seq);
        same.filter_map(|item| self.rows.get(item.at())?.known())
    }

    /// The readings of `owner` in one week that come after `(measured, id)` or are it, ascending.
    fn week(&self, wk: i32, owner: i64, low: (i64, u64)) -> impl DoubleEndedIterator<Item = &Arc<Reading>> {
        let items = self.series.items((wk.into(), owner));
        let first = items.partition_point(|item| (item.first, item.second) < low);
        items[first..].iter().filter_map(|item| self.rows.get(item.at())?.reading())
    }

    /// Readings of `owner` with `from <= (measured, id)` and `measured < to`, ascending.
    pub(super) fn range(
        &self,
        owner: i64,
        from: (Timestamp, u64),
        to: Timestamp,
        mut take: impl FnMut(&Arc<Reading>) -> bool,
    ) {
        if from.0 > to {
            return;
        }
        for wk in self.weeks.range(week(from.0)..=week(to)) {
            for reading in self.week(*wk, owner, (from.0.as_micros(), from.1)) {
                if reading.measured_at >= to || !take(reading) {
                    return;
                }
            }
        }
    }

    /// The readings of `owner`, newest measurement first, as long as `take` says so.
    pub(super) fn newest_first<'t>(&'t self, owner: i64, mut take: impl FnMut(&'t Arc<Reading>) -> bool) {
        for wk in self.weeks.iter().rev() {
            if !self.week(*wk, owner, (i64::MIN, 0)).rev().all(&mut take) {
                return;
            }
        }
    }

    /// The reading of `owner` with the newest measurement time.
    pub(super) fn latest(&self, owner: i64) -> Option<&Arc<Reading>> {
        let mut newest = None;
        self.newest_first(owner, |reading| {
            newest = Some(reading);
            false
        });
        newest
    }
}

/// Everything that readers share with the writer. The writer alone changes it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) frozen: Option<Memtable>,
    pub(super) active: Memtable,
    /// Weeks of which the tables have readings.
    pub(super) weeks: BTreeSet<i32>,
    /// Held entries that were taken off the list.
    pub(super) discarded: HashSet<ReadingId>,
    /// Readings that a person gave to a patient by hand.
    pub(super) assigned: HashMap<ReadingId, PatientId>,
    /// Held entries that were replayed, by the day and device in whose books they were counted.
    pub(super) released: BTreeMap<(i32, DeviceKey), u64>,
}

impl Memory {
    /// Older first.
    pub(super) fn tables(&self) -> impl DoubleEndedIterator<Item = &Memtable> {
        self.frozen.iter().chain(std::iter::once(&self.active))
    }

    pub(super) fn row(&self, id: ReadingId) -> Option<&Row> {
        self.tables().find_map(|t| t.row(id))
    }

    /// The lowest id in memory; everything below it is merged.
    pub(super) fn first_id(&self) -> u64 {
        self.tables().find_map(|t| t.rows.first()).map_or(u64::MAX, |r| r.id)
    }

    pub(super) fn len(&self) -> usize {
        self.tables().map(|t| t.rows.len()).sum()
    }

    pub(super) fn latest(&self, patient: PatientId) -> Option<Arc<Reading>> {
        let owner = owner(Some(patient), DeviceKey::new(0));
        self.tables().filter_map(|t| t.latest(owner)).max_by_key(|r| (r.measured_at, r.id)).cloned()
    }

    pub(super) fn held_before(&self, device: DeviceKey, digest: i64) -> Option<ReadingId> {
        self.tables().find_map(|t| t.held.get(&(device, digest))).copied()
    }

    /// Whether no row with an id in the tables can be relevant: nothing was ever merged.
    pub(super) fn amend(&mut self, reading: &Arc<Reading>) {
        for table in self.frozen.iter_mut().chain(std::iter::once(&mut self.active)) {
            table.amend(reading);
        }
    }
}
