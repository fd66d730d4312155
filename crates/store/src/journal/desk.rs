//! What the commit thread shows to the judgement, and what it takes back: nothing is durable until the commit.
//!
//! All changes are kept beside the store's memory; if the commit fails they are dropped and nothing has happened.

use super::{
    DeviceHistory, Known,
    amend::Amendments,
    books::day_number,
    memory::Memory,
    numbers,
    originals::{Arriving, Touched},
    row::{Row, digest},
    tables,
};
use crate::{Directory, StoreError};
use foldhash::HashMap;
use jiff::civil::Date;
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension};
use smallvec::SmallVec;
use std::{collections::BTreeMap, sync::Arc};
use vitals::{Binding, DeviceKey, Entry, Held, Reading, ReadingId, Reason, Timestamp};

/// Work on the commit thread. Judgements see everything that was committed or taken before them.
pub struct Desk<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) changes: Changes,
    /// A look-up failed: nothing of this commit may be written.
    pub(super) failed: Option<StoreError>,
    day: i32,
    message: Option<u64>,
    touched: Touched,
}

/// What lies under a desk.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) connection: &'a Connection,
    pub(super) memory: &'a RwLock<Memory>,
    pub(super) histories: &'a Histories,
    pub(super) directory: &'a Directory,
    pub(super) next_id: u64,
}

/// What each device has sent, of those that spoke since the start.
pub(super) type Histories = HashMap<DeviceKey, DeviceHistory>;

/// What the judgements of one commit have decided.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) rows: Vec<Row>,
    pub(super) histories: Histories,
    pub(super) duplicates: BTreeMap<(i32, DeviceKey), u64>,
    pub(super) amendments: Amendments,
    pub(super) originals: Vec<Arriving>,
    /// By device and number: one an epoch.
    identity: HashMap<(DeviceKey, i64), SmallVec<[Known; 1]>>,
    held: HashMap<(DeviceKey, i64), ReadingId>,
}

impl Changes {
    /// With room for so many readings: growing would copy them again and again. A frame counts for more than it has, so
    /// not for very many.
    fn for_about(size: usize) -> Self {
        let size = size.min(256);
        let identity = HashMap::with_capacity_and_hasher(size, foldhash::fast::RandomState::default());
        Self { rows: Vec::with_capacity(size), identity, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.duplicates.is_empty() && self.amendments.is_empty()
    }
}

/// A reading to keep. `reading.id` is replaced.
#[derive(Clone, Debug)]
pub struct NewReading {
    /// The reading.
    pub reading: Reading,
    /// The device's own time as a moment, as sent: with number and values it is the reading's identity.
    pub told: Option<Timestamp>,
    /// Whether `told` is sane enough to order the device's readings.
    pub trusted: bool,
}

/// Something to hold back. `held.id` is replaced. A `seq` in it counts as answered, unless it is a conflict.
#[derive(Clone, Debug)]
pub struct NewHeld {
    /// What is held.
    pub held: Held,
    /// The device's own time as a moment, as sent.
    pub told: Option<Timestamp>,
    /// Whether `told` is sane enough to order the device's readings.
    pub trusted: bool,
}

impl<'a> Desk<'a> {
    /// `size`: how many readings are to be expected.
    pub(super) fn new(ground: Ground<'a>, size: usize) -> Self {
        let changes = Changes::for_about(size);
        Self { ground, changes, failed: None, day: 0, message: None, touched: Touched::default() }
    }

    /// The next message begins.
    pub(super) fn begin(&mut self, day: Date) {
        self.day = day_number(day);
        self.message = None;
        self.touched.begin();
    }

    /// The id of the present message; none while nothing of it was kept.
    pub(super) const fn message(&self) -> Option<u64> {
        self.message
    }

    pub(super) const fn touched(&self) -> &Touched {
        &self.touched
    }

    /// Of receipt, as 20260301.
    pub(super) const fn day(&self) -> i32 {
        self.day
    }

    /// Who wore `device` when.
    pub fn bindings(&self, device: DeviceKey) -> Arc<[Binding]> {
        self.ground.directory.bindings(device)
    }

    /// What `device` has sent so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn history(&mut self, device: DeviceKey) -> Result<&DeviceHistory, StoreError> {
        self.history_mut(device).map(|h| &*h)
    }

    fn history_mut(&mut self, device: DeviceKey) -> Result<&mut DeviceHistory, StoreError> {
        use std::collections::hash_map::Entry::{Occupied, Vacant};
        match self.changes.histories.entry(device) {
            Occupied(found) => Ok(found.into_mut()),
            Vacant(empty) => {
                let base = match self.ground.histories.get(&device) {
                    Some(known) => known.clone(),
                    None => stored_history(self.ground.connection, device)?,
                };
                Ok(empty.insert(base))
            }
        }
    }

    /// Every stored reading of `device` with this number: one an epoch.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn known(&mut self, device: DeviceKey, seq: i64) -> Result<Vec<Known>, StoreError> {
        // A number above all that the device ever sent cannot be known: the usual case costs nothing.
        if seq >= 0 && self.history(device)?.max_seq().is_none_or(|max| seq > max) {
            return Ok(Vec::new());
        }
        let mut all: Vec<Known> = self.changes.identity.get(&(device, seq)).map(|k| k.to_vec()).unwrap_or_default();
        {
            let memory = self.ground.memory.read();
            all.extend(memory.tables().flat_map(|t| t.known(device, seq)));
        }
        for merged in numbers::known(self.ground.connection, device, seq)? {
            if all.iter().all(|k| k.epoch != merged.epoch) {
                all.push(merged);
            }
        }
        Ok(all)
    }

    /// The id under which the same bytes of the same device are held already.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn held_before(
        &mut self,
        device: DeviceKey,
        route: &str,
        bytes: &[u8],
    ) -> Result<Option<ReadingId>, StoreError> {
        let mark = digest(route, bytes);
        if let Some(id) = self.changes.held.get(&(device, mark)) {
            return Ok(Some(*id));
        }
        if let Some(id) = self.ground.memory.read().held_before(device, mark) {
            return Ok(Some(id));
        }
        tables::held_before(self.ground.connection, device, mark)
    }

    /// A held entry, whatever became of it; none when it was taken out of the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn held(&self, id: ReadingId) -> Result<Option<Arc<Held>>, StoreError> {
        let held = |row: &Row| match &row.entry {
            Entry::Held(held) => Some(held.clone()),
            Entry::Reading(_) => None,
        };
        // Ids are given in a row.
        let place = id.as_i64().cast_unsigned().checked_sub(self.ground.next_id).and_then(|n| usize::try_from(n).ok());
        if let Some(row) = place.and_then(|n| self.changes.rows.get(n)) {
            return Ok(held(row));
        }
        if let Some(row) = self.ground.memory.read().row(id) {
            return Ok(held(row));
        }
        tables::held(self.ground.connection, id)
    }

    fn take_id(&mut self) -> (u64, u64) {
        let id = self.ground.next_id + self.changes.rows.len() as u64;
        (id, *self.message.get_or_insert(id))
    }

    /// Keeps a reading.
    ///
    /// # Errors
    /// When the device's history cannot be read.
    pub fn keep(&mut self, new: NewReading) -> Result<ReadingId, StoreError> {
        let (id, message) = self.take_id();
        let NewReading { mut reading, told, trusted } = new;
        reading.id = ReadingId::from_i64(id.cast_signed());
        self.touched.answer(reading.device);
        let history = self.history_mut(reading.device)?;
        note(history, &reading, told.filter(|_| trusted));
        let reading = Arc::new(reading);
        let entry = Entry::Reading(reading.clone());
        let row = Row::new((id, message), self.day, (told, trusted), entry)?;
        self.changes.identity.entry((reading.device, reading.seq)).or_default().extend(row.known());
        self.changes.rows.push(row);
        Ok(reading.id)
    }

    /// Holds something back.
    ///
    /// # Errors
    /// When the device's history cannot be read.
    pub fn hold(&mut self, new: NewHeld) -> Result<ReadingId, StoreError> {
        let (id, message) = self.take_id();
        let NewHeld { mut held, told, trusted } = new;
        held.id = ReadingId::from_i64(id.cast_signed());
        self.touched.answer(held.device);
        note_held(self.history_mut(held.device)?, &held, told.filter(|_| trusted));
        let held = Arc::new(held);
        self.changes.held.insert((held.device, digest(&held.route, &held.bytes)), held.id);
        let entry = Entry::Held(held.clone());
        self.changes.rows.push(Row::new((id, message), self.day, (told, trusted), entry)?);
        Ok(held.id)
    }

    /// Counts a reading, or a held entry, that is known already under `id`.
    pub fn duplicate(&mut self, device: DeviceKey, id: ReadingId) {
        self.touched.answer(device);
        self.touched.know(id);
        *self.changes.duplicates.entry((self.day, device)).or_default() += 1;
    }

    /// Notes once more that a known number was answered, where a history with too many holes has forgotten it. It is in
    /// the file when the device is merged next; until then a crash only means that it is noted another time.
    ///
    /// # Errors
    /// When the device's history cannot be read.
    pub fn remember(
        &mut self,
        device: DeviceKey,
        epoch: u32,
        seq: i64,
        at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        if seq >= 0 && !self.history(device)?.answered(epoch, seq) {
            self.history_mut(device)?.record(epoch, seq, at);
        }
        Ok(())
    }

    /// The present message brings again what was taken out of the file: its bytes are not kept.
    pub const fn brings_back(&mut self) {
        self.touched.bring_back();
    }
}

impl std::fmt::Debug for Desk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

/// What a kept reading adds to its device's history; the same at the desk and when the file is read again.
pub(super) fn note(history: &mut DeviceHistory, reading: &Reading, at: Option<Timestamp>) {
    if reading.seq >= 0 {
        history.record(reading.epoch, reading.seq, at);
    }
    if let Some(patient) = reading.patient {
        history.owned_by(patient);
    }
}

/// What a held entry adds: its number was answered. A conflict's is not: it is another reading's, or of no known life.
pub(super) fn note_held(history: &mut DeviceHistory, held: &Held, at: Option<Timestamp>) {
    if let Some(seq) = held.seq.filter(|s| *s >= 0 && !held.reasons.contains(&Reason::Conflict)) {
        history.record(held.epoch, seq, at);
    }
}

/// The history as of the last merge.
pub(super) fn stored_history(c: &Connection, device: DeviceKey) -> Result<DeviceHistory, StoreError> {
    let found: Option<Vec<u8>> = c
        .prepare_cached("SELECT b FROM device WHERE device = ?1")
        .and_then(|mut s| s.query_row([device.as_i64()], |r| r.get(0)).optional())
        .map_err(tables::fault)?;
    let highest = || numbers::highest(c, device);
    found.map_or_else(|| Ok(DeviceHistory::default()), |bytes| DeviceHistory::from_bytes(&bytes, highest))
}

impl super::Readings {
    /// The highest key of a device of which anything was ever stored.
    pub(crate) fn highest_device_blocking(&self) -> Result<Option<DeviceKey>, StoreError> {
        // Memory before the table: what leaves memory in between is in the table already.
        let unmerged = self.shared.memory.read().tables().flat_map(|t| &t.devices).copied().max();
        let merged: Option<i64> = self
            .shared
            .readers
            .with(|c| c.query_row("SELECT max(device) FROM device", [], |r| r.get(0)).map_err(tables::fault))?;
        Ok(unmerged.max(merged.map(DeviceKey::from_i64)))
    }
}

pub(super) fn store_history(c: &Connection, device: DeviceKey, history: &DeviceHistory) -> Result<(), StoreError> {
    let body = history.to_bytes()?;
    c.prepare_cached("INSERT OR REPLACE INTO device(device, b) VALUES(?1, ?2)")
        .and_then(|mut s| s.execute(rusqlite::params![device.as_i64(), body]))
        .map_err(tables::fault)?;
    Ok(())
}
