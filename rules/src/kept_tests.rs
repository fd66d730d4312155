//! Whatever happens between two starts, days that are taken over from what was written down are those that the readings
//! come to: readings that come late, are moved or amended, another zone, mornings, crashes before and after a commit.

use crate::{Cards, Engine, Error, Pace, World, days::REACH, schedule, sums::Sums};
use proptest::prelude::*;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
    time::Duration,
};
use store::Handover;
use vitals::{
    Context, Decimal, DeviceKey, Disposition, Entry, Finding, Patient, PatientId, Plan, Reading, ReadingId, Statuses,
    TimeQuality, Timestamp, Unit, Values, Zone,
};

const DAY: Duration = Duration::from_secs(86_400);

/// Both files, as they are on the disk.
struct Files {
    patients: BTreeMap<PatientId, Arc<Patient>>,
    readings: RefCell<Vec<Arc<Reading>>>,
    /// Readings that were changed, in order: which, and whose it was.
    moves: RefCell<Vec<(ReadingId, Option<PatientId>)>>,
    /// Up to which reading they may be asked for.
    shown: Cell<ReadingId>,
    rows: RefCell<BTreeMap<PatientId, Vec<u8>>>,
    position: Cell<u64>,
    moves_known: Cell<i64>,
    scheduled: Cell<Option<Timestamp>>,
    /// Rows that were taken over, to see that any are.
    used: Cell<usize>,
}

impl Files {
    fn new() -> Self {
        Self {
            patients: (1..3).map(|n| (PatientId::new(n), patient(n, None))).collect(),
            readings: RefCell::default(),
            moves: RefCell::default(),
            shown: Cell::new(ReadingId::new(0)),
            rows: RefCell::default(),
            position: Cell::default(),
            moves_known: Cell::default(),
            scheduled: Cell::default(),
            used: Cell::default(),
        }
    }

    /// The same, without what was written of days.
    fn without_days(&self) -> Self {
        Self {
            patients: self.patients.clone(),
            readings: self.readings.clone(),
            moves: self.moves.clone(),
            shown: self.shown.clone(),
            position: self.position.clone(),
            moves_known: self.moves_known.clone(),
            scheduled: self.scheduled.clone(),
            ..Self::new()
        }
    }
}

impl World for &Files {
    fn show(&self, through: ReadingId) {
        self.shown.set(through.max(self.shown.get()));
    }
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        self.patients.get(&id).cloned()
    }
    fn bound(&self, _: PatientId) -> Option<Timestamp> {
        Some(start())
    }
    fn readings(&self, id: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        let all = self.readings.borrow();
        let within = |r: &&Arc<Reading>| r.measured_at >= from && r.measured_at < to && r.id <= self.shown.get();
        let mine = |r: &&Arc<Reading>| r.patient == Some(id) && within(r);
        let mut found: Vec<_> = all.iter().filter(mine).cloned().collect();
        found.sort_by_key(|r| (r.measured_at, r.id));
        Ok(found)
    }
    fn concluded(&self, _: PatientId, _: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        Ok(Vec::new())
    }
    fn days(&self, id: PatientId) -> Result<Option<Vec<u8>>, Error> {
        let row = self.rows.borrow().get(&id).cloned();
        self.used.set(self.used.get() + usize::from(row.is_some()));
        Ok(row)
    }
}

fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2025-06-02T08:00:00+08:00").unwrap()
}

fn patient(id: u64, zone: Option<&str>) -> Arc<Patient> {
    Arc::new(Patient {
        id: PatientId::new(id),
        name: String::new(),
        birth_date: None,
        sex: None,
        tags: Vec::new(),
        conditions: Vec::new(),
        team: None,
        organisation: None,
        phone: None,
        time_zone: zone.map(str::to_owned),
        enrolled_at: start().minus(200 * DAY),
        visited_on: None,
        plan: Plan::default(),
    })
}

fn reading(id: u64, patient: u64, at: Timestamp, systolic: i64) -> Arc<Reading> {
    Arc::new(Reading {
        id: ReadingId::new(id),
        device: DeviceKey::new(patient),
        epoch: 0,
        seq: id.cast_signed(),
        user_slot: None,
        patient: Some(PatientId::new(patient)),
        measured_at: at,
        received_at: at,
        device_time: None,
        time_quality: TimeQuality::Exact,
        disposition: Disposition::Stored,
        values: Values::Pressure {
            systolic: Decimal::new(systolic, 0),
            diastolic: Decimal::new(79, 0),
            map: None,
            pulse: None,
        },
        unit: Unit::MmHg,
        statuses: Statuses::default(),
        flags: Vec::new(),
        historical: false,
        context: Context::default(),
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// A reading of patient 1 or 2, measured so many minutes ago.
    Came { of: u64, minutes_ago: u64, systolic: i64 },
    /// The reading at this place becomes the other one's, or nobody's again.
    Moved(usize),
    /// More is said of the reading at this place.
    Amended(usize),
    /// So many days pass, each with its morning; the second number says whether it is quiet enough to write.
    Mornings(u64, bool),
    /// What was concluded is written.
    Commit,
    /// As `Moved`, and so much more was changed that the rules could not follow.
    Lagged(usize),
    /// The patient's days begin at another hour from now on.
    Travelled { of: u64, zone: Option<&'static str> },
    /// The process ends without a word, and begins again.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ago = prop_oneof![4 => 0..2_000_u64, 2 => 0..20_000_u64, 2 => 0..180_000_u64];
    let came =
        (1..3_u64, ago, 100..180_i64).prop_map(|(of, minutes_ago, systolic)| Step::Came { of, minutes_ago, systolic });
    let zone = prop_oneof![Just(None), Just(Some("America/New_York"))];
    let step = prop_oneof![
        12 => came,
        2 => any::<usize>().prop_map(Step::Moved),
        1 => any::<usize>().prop_map(Step::Amended),
        4 => (1..9_u64, any::<bool>()).prop_map(|(days, quiet)| Step::Mornings(days, quiet)),
        3 => Just(Step::Commit),
        1 => any::<usize>().prop_map(Step::Lagged),
        1 => (1..3_u64, zone).prop_map(|(of, zone)| Step::Travelled { of, zone }),
        3 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The rules, as far as they are in memory.
struct Process<'a> {
    files: &'a Files,
    engine: Engine<&'a Files>,
    position: u64,
    moves: i64,
}

impl<'a> Process<'a> {
    fn start(files: &'a Files, now: Timestamp) -> Self {
        let mut engine = Engine::new(files, Cards::built_in().unwrap(), Zone::default(), now);
        for patient in files.patients.values() {
            engine.refresh(patient.clone(), now).unwrap();
        }
        engine.recover(files.scheduled.get(), &[], now).unwrap();
        let mut this = Self { files, engine, position: files.position.get(), moves: files.moves_known.get() };
        this.pull(now);
        this
    }

    /// Everything that is there, as one cycle of the service.
    fn pull(&mut self, now: Timestamp) {
        let all = self.files.readings.borrow().clone();
        let after = usize::try_from(self.position).unwrap();
        let entries: Vec<Entry> = all[after..].iter().cloned().map(Entry::Reading).collect();
        self.engine.take(entries.iter().enumerate().map(|(n, e)| (n as u64, e)), now).unwrap();
        self.position = all.len() as u64;
        let moves = self.files.moves.borrow().clone();
        for (id, before) in moves.get(usize::try_from(self.moves).unwrap()..).unwrap_or_default() {
            let reading = self.files.readings.borrow().iter().find(|r| r.id == *id).unwrap().clone();
            self.engine.hand_over(&[Handover { before: *before, reading }], now).unwrap();
        }
        self.moves = i64::try_from(moves.len()).unwrap();
        self.engine.clean(now, Pace::All).unwrap();
        self.engine.run_due(now).unwrap();
    }

    fn commit(&mut self) {
        let batch = self.engine.concluded();
        let mut rows = self.files.rows.borrow_mut();
        if batch.days.all_gone {
            rows.clear();
        }
        for (id, body) in batch.days.changed {
            match body {
                Some(body) => drop(rows.insert(id, body)),
                None => drop(rows.remove(&id)),
            }
        }
        self.files.position.set(self.position);
        self.files.moves_known.set(self.moves);
        self.files.scheduled.set(batch.scheduled.or(self.files.scheduled.get()));
    }

    /// Changes a reading that lies in the file, as the commit thread does, and hears of it.
    fn change(&mut self, place: usize, how: impl FnOnce(&mut Reading), heard: bool, now: Timestamp) {
        let count = self.files.readings.borrow().len();
        if count == 0 {
            return;
        }
        let before = self.files.readings.borrow()[place % count].clone();
        let mut after = Reading::clone(&before);
        how(&mut after);
        let after = Arc::new(after);
        self.files.readings.borrow_mut()[place % count] = after.clone();
        self.files.moves.borrow_mut().push((after.id, before.patient));
        if heard {
            self.pull(now);
        }
    }

    /// The days that everybody has now, as far back as any rule looks.
    fn days(&mut self, now: Timestamp) -> Vec<String> {
        while self.engine.warm(10).unwrap() {}
        let Engine { world, people, .. } = &mut self.engine;
        let mut all: Vec<_> = people.values_mut().collect();
        all.sort_by_key(|p| p.id());
        let mut said = Vec::new();
        for person in all {
            let last = schedule::last_slot(now, &person.zone);
            let from = schedule::days_after(last.day(&person.zone), -REACH);
            person.know_days(world, last, last).unwrap();
            let Sums { pressures, .. } = person.days.sums();
            said.extend(pressures.iter().filter(|d| d.date >= from).map(|d| format!("{:?} {d:?}", person.id())));
        }
        said
    }
}

fn other(reading: &mut Reading) {
    reading.patient = reading.patient.map(|p| PatientId::from_i64(3 - p.as_i64()));
}

/// Runs the steps; panics where days that were taken over differ from those that the readings come to. How often any were.
fn live(steps: &[Step]) -> usize {
    let mut now = start();
    let mut files = Files::new();
    let mut rest = steps;
    loop {
        let (life, after) = rest.split_at(rest.iter().position(|s| matches!(s, Step::Crash)).unwrap_or(rest.len()));
        files.shown.set(ReadingId::new(files.position.get()));
        let cold = files.without_days();
        let mut process = Process::start(&files, now);
        assert_eq!(process.days(now), Process::start(&cold, now).days(now));
        let mut travelled = Vec::new();
        for (n, step) in life.iter().enumerate() {
            match *step {
                Step::Came { of, minutes_ago, systolic } => {
                    let at = now.minus(Duration::from_secs(60 * minutes_ago));
                    let id = files.readings.borrow().len() as u64 + 1;
                    files.readings.borrow_mut().push(reading(id, of, at, systolic));
                    process.pull(now);
                }
                // The last before a crash may not be heard of.
                Step::Moved(place) => process.change(place, other, n + 1 < life.len(), now),
                Step::Amended(place) => {
                    process.change(place, |r| r.context.medication_taken = Some(false), n + 1 < life.len(), now);
                }
                Step::Mornings(days, quiet) => {
                    for _ in 0..days {
                        now = now.plus(DAY);
                        process.pull(now);
                        if quiet {
                            while process.engine.warm(10).unwrap() || process.engine.keep_days(10) {}
                            process.commit();
                        }
                    }
                }
                Step::Commit => process.commit(),
                Step::Lagged(place) => {
                    process.change(place, other, false, now);
                    process.engine.distrust();
                    process.moves = i64::try_from(files.moves.borrow().len()).unwrap();
                }
                Step::Travelled { of, zone } => {
                    process.engine.refresh(patient(of, zone), now).unwrap();
                    travelled.push((of, zone));
                }
                Step::Crash => {}
            }
        }
        drop(process);
        for (of, zone) in travelled {
            files.patients.insert(PatientId::new(of), patient(of, zone));
        }
        if after.is_empty() {
            return files.used.get();
        }
        rest = &after[1..];
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("CASES").map_or(192, |n| n.parse().unwrap()), failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(std::env::var("SEED").map_or(5, |n| n.parse().unwrap())), ..ProptestConfig::default() })]

    #[test]
    fn days_that_were_written_down_are_those_of_the_readings(steps in steps()) {
        live(&steps);
    }
}

#[test]
fn a_start_takes_over_what_was_written_and_a_late_reading_takes_it_away() {
    let came = |minutes_ago| Step::Came { of: 1, minutes_ago, systolic: 131 };
    let life = |late: Option<u64>| {
        let begin = [came(10), Step::Mornings(1, true), came(10), Step::Mornings(2, true)];
        let more = late.map(came).into_iter().chain([Step::Commit, Step::Crash]);
        begin.into_iter().chain(more).collect::<Vec<_>>()
    };
    assert_eq!(live(&life(None)), 2, "that patient 2 never measured is written too");
    assert_eq!(live(&life(Some(2 * 1440))), 1, "a reading of a day that was written");
    assert_eq!(live(&life(Some(5))), 2, "a reading of today: what is written ends this morning");
}
