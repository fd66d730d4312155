//! The plain map: what was acknowledged and not taken out since, as it was last said. No tables, no memory, no merge.

use super::super::{row::week, tests::START, *};
use std::collections::{BTreeMap, BTreeSet};
use vitals::{
    Binding, Decimal, Disposition, GlucoseValue, Held, Meal, Reading, Statuses, TimeQuality, Unit, Values, Zone,
};

pub(super) const DEVICES: u64 = 4;
pub(super) const PATIENTS: u64 = 3;
const WEEK: i64 = 7 * 24 * 3600;

/// What the journal should be.
pub(super) struct Model {
    /// With the id of its message.
    pub(super) readings: BTreeMap<ReadingId, (u64, Reading)>,
    pub(super) held: BTreeMap<ReadingId, (u64, Held)>,
    /// Off the list, though still there: discarded or replayed.
    pub(super) settled: BTreeSet<ReadingId>,
    released: BTreeSet<ReadingId>,
    assigned: BTreeMap<ReadingId, PatientId>,
    /// Numbers that were given, also of readings that are gone: (device, number) has one life here.
    pub(super) known: BTreeMap<(DeviceKey, i64), ReadingId>,
    /// Stored, duplicate, quarantined.
    pub(super) books: BTreeMap<(Date, DeviceKey), [u64; 3]>,
    pub(super) consumed: u64,
    /// The file may not grow.
    pub(super) full: bool,
    /// A statement is going to fail.
    pub(super) broken: bool,
    /// The id that is given next.
    pub(super) next: u64,
    hours: i64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            readings: BTreeMap::new(),
            held: BTreeMap::new(),
            settled: BTreeSet::new(),
            released: BTreeSet::new(),
            assigned: BTreeMap::new(),
            known: BTreeMap::new(),
            books: BTreeMap::new(),
            consumed: 0,
            full: false,
            broken: false,
            next: 1,
            hours: 0,
        }
    }
}

/// Within the ten weeks of the story.
pub(super) fn moment(weeks: i64) -> Timestamp {
    Timestamp::from_seconds(START - 9 * WEEK + weeks * WEEK)
}

/// (device, number) decides what it is, so that the same sent again is a duplicate. Several are measured in the same
/// moment, some when no clock was right.
pub(super) fn reading(device: u64, seq: i64, received_at: Timestamp) -> Reading {
    let n = device.cast_signed() * 31 + seq * 7919;
    let number = |least: i64, range: i64| Decimal::new(least + n.rem_euclid(range), 0);
    let (values, unit) = match n.rem_euclid(3) {
        0 => (Values::Glucose(GlucoseValue::Value(number(40, 300))), Unit::MgPerDl),
        _ => {
            let (systolic, diastolic) = (number(110, 60), number(70, 30));
            (Values::Pressure { systolic, diastolic, map: None, pulse: None }, Unit::MmHg)
        }
    };
    let measured_at = match n.rem_euclid(37) {
        0 => Timestamp::MIN,
        1 => Timestamp::from_micros(-1),
        2 => Timestamp::MAX.minus(std::time::Duration::from_secs(1)),
        _ => Timestamp::from_seconds(START - 9 * WEEK + n.rem_euclid(500) * (10 * WEEK / 500)),
    };
    Reading {
        id: ReadingId::new(0),
        device: DeviceKey::new(device),
        epoch: u32::from(seq >= 60),
        seq,
        user_slot: None,
        patient: (n.rem_euclid(5) > 0)
            .then(|| PatientId::new(1 + n.rem_euclid(PATIENTS.cast_signed()).cast_unsigned())),
        measured_at,
        received_at,
        device_time: None,
        time_quality: TimeQuality::Exact,
        disposition: Disposition::Stored,
        values,
        unit,
        statuses: Statuses::default(),
        flags: vec![],
        historical: false,
        context: vitals::Context::default(),
    }
}

/// What is said of a reading.
pub(super) fn said(reading: &mut Reading, what: u64) {
    reading.context.meal = usize::try_from(what).ok().map(|n| Meal::ALL[n % Meal::ALL.len()]);
    reading.context.note = (what % 4 == 1).then(|| format!("note {what}").into());
    reading.disposition = if what.is_multiple_of(2) { Disposition::Flagged } else { Disposition::Stored };
    reading.flags = if what.is_multiple_of(3) { vec!["zone_suspect".into()] } else { vec![] };
}

impl Model {
    /// Readings come in the order of their receipt.
    pub(super) fn tick(&mut self) -> Timestamp {
        self.hours += 5;
        self.now()
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_seconds(START + self.hours * 3600)
    }

    fn count(&mut self, device: DeviceKey, received_at: Timestamp) -> &mut [u64; 3] {
        self.books.entry((received_at.day(&Zone::utc()), device)).or_default()
    }

    /// One message.
    pub(super) fn sent(&mut self, readings: Vec<Reading>) {
        let first = self.next;
        for (n, mut reading) in readings.into_iter().enumerate() {
            let is_known = self.known.contains_key(&(reading.device, reading.seq));
            self.count(reading.device, reading.received_at)[usize::from(is_known)] += 1;
            if is_known {
                continue;
            }
            reading.id = ReadingId::new(self.next);
            self.next += 1;
            if n % 5 == 3 {
                said(&mut reading, n as u64);
            }
            self.known.insert((reading.device, reading.seq), reading.id);
            self.readings.insert(reading.id, (first, reading));
        }
    }

    /// In the message that began with `first`.
    pub(super) fn held(&mut self, held: Held, first: u64) {
        let id = ReadingId::new(self.next);
        self.next += 1;
        self.count(held.device, held.received_at)[2] += 1;
        self.held.insert(id, (first, Held { id, ..held }));
    }

    pub(super) fn say(&mut self, id: ReadingId, what: u64) {
        if let Some((_, reading)) = self.readings.get_mut(&id) {
            said(reading, what);
        }
    }

    pub(super) fn assign(&mut self, id: ReadingId, patient: PatientId) {
        self.assigned.insert(id, patient);
        self.readings.entry(id).and_modify(|(_, r)| r.patient = Some(patient));
    }

    /// How many moved.
    pub(super) fn reattribute(&mut self, device: DeviceKey, bindings: &[Binding]) -> usize {
        let mut moved = 0;
        for (id, (_, r)) in self.readings.iter_mut().filter(|(_, (_, r))| r.device == device) {
            let worn = || bindings.iter().find(|b| b.covers(None, r.measured_at)).map(|b| b.patient);
            let patient = self.assigned.get(id).copied().or_else(worn);
            moved += usize::from(patient != r.patient);
            r.patient = patient;
        }
        moved
    }

    pub(super) fn discard(&mut self, id: ReadingId) {
        self.settled.insert(id);
    }

    /// It is counted as what it becomes.
    pub(super) fn release(&mut self, id: ReadingId) {
        let (device, received_at) = (self.held[&id].1.device, self.held[&id].1.received_at);
        if self.settled.insert(id) {
            self.count(device, received_at)[2] -= 1;
            self.released.insert(id);
        }
    }

    /// Its number stays, unless it was made of its values.
    fn take_out(&mut self, id: ReadingId) {
        if let Some((_, r)) = self.readings.remove(&id)
            && r.seq < 0
        {
            self.known.remove(&(r.device, r.seq));
        }
        self.assigned.remove(&id);
    }

    pub(super) fn erase(&mut self, patient: PatientId) {
        let theirs = self.readings.iter().filter(|(_, (_, r))| r.patient == Some(patient));
        for id in theirs.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.take_out(id);
        }
        // Whose a replayed entry became is not written on it.
        self.held.retain(|id, _| !self.released.contains(id));
    }

    /// Weeks, readings and held entries that go.
    pub(super) fn drop_old(&mut self, keep: Keep) -> (u64, u64, u64) {
        let mut newest: BTreeMap<i32, u64> = BTreeMap::new();
        for (id, (_, r)) in &self.readings {
            newest.insert(week(r.measured_at), row::number(*id)); // ascending
        }
        let old = keep.readings_from.map_or(i32::MIN, week);
        newest.retain(|wk, id| *wk < old && *id <= self.consumed);
        let gone = self.readings.iter().filter(|(_, (_, r))| newest.contains_key(&week(r.measured_at)));
        let gone: Vec<ReadingId> = gone.map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| self.take_out(*id));
        let before = self.held.len();
        self.held.retain(|_, (_, h)| keep.held_from.is_none_or(|from| h.received_at >= from));
        (newest.len() as u64, gone.len() as u64, (before - self.held.len()) as u64)
    }

    /// What is not among `left` went: all of it of this week and concluded. How much.
    pub(super) fn dropped_some(&mut self, wk: i32, left: &BTreeSet<ReadingId>) -> usize {
        let gone: Vec<ReadingId> = self.readings.keys().filter(|id| !left.contains(id)).copied().collect();
        for id in &gone {
            assert!(week(self.readings[id].1.measured_at) == wk && row::number(*id) <= self.consumed, "{id}");
            self.take_out(*id);
        }
        gone.len()
    }

    pub(super) fn conclude(&mut self, position: u64) -> u64 {
        self.consumed = self.consumed.max(position);
        position
    }

    /// Some of what is there, spread over all of it.
    pub(super) fn some_ids(&self, n: u64, count: usize) -> Vec<ReadingId> {
        let ids: Vec<ReadingId> = self.readings.keys().copied().collect();
        let some: BTreeSet<ReadingId> = (0..count.min(ids.len()))
            .map(|i| ids[(usize::try_from(n).unwrap() + i * (ids.len() / count).max(1)) % ids.len()])
            .collect();
        some.into_iter().collect()
    }

    pub(super) fn newest_ids(&self, count: usize) -> Vec<ReadingId> {
        self.readings.keys().rev().take(count).copied().collect()
    }

    /// An entry that is on the list.
    pub(super) fn some_held(&self, n: u64) -> Option<Held> {
        let listed: Vec<&Held> = self.listed().collect();
        (!listed.is_empty()).then(|| listed[usize::try_from(n).unwrap() % listed.len()].clone())
    }

    /// Ascending.
    pub(super) fn listed(&self) -> impl DoubleEndedIterator<Item = &Held> {
        self.held.iter().filter(|(id, _)| !self.settled.contains(id)).map(|(_, (_, held))| held)
    }

    /// Of one patient, or nobody's, in order of measurement.
    pub(super) fn of(&self, patient: Option<PatientId>) -> Vec<Reading> {
        let theirs = self.readings.values().map(|(_, r)| r).filter(|r| r.patient == patient);
        let mut all: Vec<Reading> = theirs.cloned().collect();
        all.sort_by_key(|r| (r.measured_at, r.id));
        all
    }
}
