//! What is in the journal but not yet merged, in memory: ordered as the tables are, so that both answer alike.

use super::{
    Known,
    books::{Books, Counts},
    row::{IdentityKey, Row, SeriesKey, digest, identity_key, number, owner, series_key, week},
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
    pub(super) series: BTreeMap<SeriesKey, Arc<Reading>>,
    pub(super) identity: BTreeMap<IdentityKey, Known>,
    pub(super) held: HashMap<(DeviceKey, i64), ReadingId>,
    /// Devices whose history changed.
    pub(super) devices: HashSet<DeviceKey>,
    pub(super) books: Books,
}

impl Memtable {
    pub(super) fn add(&mut self, row: Row) {
        let device = row.device();
        self.devices.insert(device);
        let counts = self.books.entry((row.day, device)).or_default();
        match &*row.entry {
            Entry::Reading(r) => {
                counts.stored += 1;
                self.series.insert(series_key(r), r.clone());
                self.identity.insert(identity_key(device, r.seq, r.epoch), row.known(r));
            }
            Entry::Held(h) => {
                counts.quarantined += 1;
                self.held.insert((device, digest(&h.route, &h.bytes)), h.id);
            }
        }
        self.rows.push(row);
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
            self.series.remove(&series_key(before));
        }
        self.series.insert(series_key(reading), reading.clone());
        self.rows[i].entry = Arc::new(Entry::Reading(reading.clone()));
    }

    pub(super) fn known(&self, device: DeviceKey, seq: i64) -> impl Iterator<Item = Known> + '_ {
        self.identity.range(identity_key(device, seq, 0)..=identity_key(device, seq, u32::MAX)).map(|(_, k)| *k)
    }

    /// Readings of `owner` with `from <= (measured, id)` and `measured < to`, ascending.
    pub(super) fn range(
        &self,
        owner: i64,
        from: (Timestamp, u64),
        to: Timestamp,
        mut take: impl FnMut(&Arc<Reading>) -> bool,
    ) {
        let mut at = Some(week(from.0));
        while let Some(wk) = at.filter(|wk| *wk <= week(to)) {
            let low = if wk == week(from.0) { (from.0.as_micros(), from.1) } else { (i64::MIN, 0) };
            for (key, reading) in self.series.range((wk, owner, low.0, low.1)..=(wk, owner, i64::MAX, u64::MAX)) {
                if key.2 >= to.as_micros() || !take(reading) {
                    return;
                }
            }
            at = wk
                .checked_add(1)
                .and_then(|n| self.series.range((n, i64::MIN, i64::MIN, 0)..).next())
                .map(|(k, _)| k.0);
        }
    }

    /// The readings of `owner`, newest measurement first, as long as `take` says so.
    pub(super) fn newest_first<'t>(&'t self, owner: i64, mut take: impl FnMut(&'t Arc<Reading>) -> bool) {
        let mut at = self.series.last_key_value().map(|(k, _)| k.0);
        while let Some(wk) = at {
            let week = self.series.range((wk, owner, i64::MIN, 0)..=(wk, owner, i64::MAX, u64::MAX));
            if !week.rev().all(|(_, reading)| take(reading)) {
                return;
            }
            at = self.series.range(..(wk, i64::MIN, i64::MIN, 0)).next_back().map(|(k, _)| k.0);
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
