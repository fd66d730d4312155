//! A meter that has gone mad costs what it sends, not the square of it, and nobody else waits for it.
//!
//! Work is counted in readings and mornings that were looked at, and in readings that the store was asked for; time is
//! not measured.

use crate::story::{at, bg, bp, minutes, patient};
use rules::{Cards, Engine, Error, Pace, World};
use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use vitals::{Entry, Finding, Patient, PatientId, Plan, Reading, ReadingId, Timestamp, Zone};

const START: &str = "2026-03-02T08:00:00+08:00";

type History = BTreeMap<(Timestamp, ReadingId), Arc<Reading>>;

/// Some patients and their readings, and how many readings were asked for.
#[derive(Default)]
struct Town {
    people: HashMap<PatientId, (Arc<Patient>, History)>,
    given: Cell<u64>,
}

impl World for Town {
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        self.people.get(&id).map(|p| p.0.clone())
    }
    fn bound(&self, _: PatientId) -> Option<Timestamp> {
        Some(at(START))
    }
    fn readings(&self, id: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        let first = ReadingId::from_i64(i64::MIN);
        let found: Vec<_> =
            self.people[&id].1.range((from, first)..(to.max(from), first)).map(|(_, r)| r.clone()).collect();
        self.given.set(self.given.get() + found.len() as u64);
        Ok(found)
    }
    fn concluded(&self, _: PatientId, _: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        Ok(Vec::new())
    }
}

struct Service {
    engine: Engine<Town>,
    now: Timestamp,
    message: u64,
    said: Vec<(PatientId, String)>,
}

impl Service {
    fn new(people: u64, now: Timestamp) -> Self {
        let mut town = Town::default();
        for id in (1..=people).map(PatientId::new) {
            let person = Arc::new(Patient { id, ..patient(Plan::default(), at(START)) });
            town.people.insert(id, (person, History::new()));
        }
        let everybody: Vec<_> = town.people.values().map(|p| p.0.clone()).collect();
        let mut engine = Engine::new(town, Cards::built_in().unwrap(), Zone::default(), now);
        everybody.into_iter().for_each(|p| engine.refresh(p, now).unwrap());
        engine.recover(None, &[], now).unwrap();
        engine.run_due(now).unwrap();
        engine.concluded();
        Self { engine, now, message: 0, said: Vec::new() }
    }

    /// Each reading is a message of its own; after all of them one fair round.
    fn round(&mut self, readings: Vec<Reading>) {
        for reading in readings {
            let (id, reading) = (reading.patient.unwrap(), Arc::new(reading));
            let history = &mut self.engine.world_mut().people.get_mut(&id).unwrap().1;
            history.insert((reading.measured_at, reading.id), reading.clone());
            self.message += 1;
            self.engine.take([(self.message, &Entry::Reading(reading))].into_iter(), self.now).unwrap();
        }
        self.engine.clean(self.now, Pace::Fair).unwrap();
        self.engine.run_due(self.now).unwrap();
        self.listen();
    }

    fn finish(&mut self) {
        self.engine.clean(self.now, Pace::All).unwrap();
        self.listen();
    }

    fn listen(&mut self) {
        let new = self.engine.concluded().new;
        self.said.extend(new.into_iter().map(|(draft, _)| (draft.patient, draft.rule.to_string())));
    }

    fn work(&self) -> u64 {
        self.engine.looked() + self.engine.world().given.get()
    }
}

/// A reading every 15 seconds: what a meter sends that a child found, or that was soldered badly.
fn mad(kind: u8, n: i64) -> Vec<Reading> {
    let start = at(START);
    (0..n)
        .map(|i| {
            let when = start.plus(std::time::Duration::from_secs(15 * i.unsigned_abs()));
            let mut reading = match (kind, i % 3) {
                (0, _) => bp(i + 1, when, 131, 80),
                (1, _) => bp(i + 1, when, 191, 113),
                (2, 0) => bp(i + 1, when, 186, 112),
                (2, _) => bp(i + 1, when, 134, 82),
                (3, _) => bg(i + 1, when, 35),
                _ => bg(i + 1, when, 27 + 10 * (i % 16)),
            };
            reading.patient = Some(PatientId::new(1));
            reading
        })
        .collect()
}

/// Work a reading, in the end.
fn cost(readings: Vec<Reading>, now: Timestamp) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let per = |work: u64, n: usize| work as f64 / n as f64;
    let n = readings.len();
    let mut service = Service::new(1, now);
    for reading in readings {
        service.round(vec![reading]);
    }
    service.finish();
    per(service.work(), n)
}

const MANY: i64 = 2000;
/// A quadratic way, which looks at what came before with each reading, costs `MANY / 2` and more.
const BOUND: f64 = 250.0;

#[test]
fn a_flood_costs_the_same_for_every_reading_live_or_as_a_backlog() {
    for kind in 0..5 {
        let readings = mad(kind, MANY);
        let end = readings.last().unwrap().measured_at;
        let live = cost(readings.clone(), end);
        let backlog = cost(readings, end.plus(minutes(3 * 1440)));
        assert!(live < BOUND && backlog < BOUND, "kind {kind}: {live} live, {backlog} as a backlog");
    }
}

#[test]
fn one_reading_out_of_order_does_not_make_the_rest_of_its_session_cost_more() {
    let mut readings = mad(0, MANY);
    readings.swap(10, 11);
    assert_asks_for_nothing(readings, Service::new(1, at(START)), |_| {});
}

#[test]
fn a_meter_that_is_given_to_somebody_amid_its_readings_costs_no_more_afterwards() {
    assert_asks_for_nothing(mad(0, MANY), Service::new(1, at(START)), |service| service.engine.distrust());
}

/// After twenty readings and what `happens` then, the rest of a session that comes as it is measured asks for no history.
fn assert_asks_for_nothing(readings: Vec<Reading>, mut service: Service, happens: impl FnOnce(&mut Service)) {
    let mut readings = readings.into_iter();
    let measured = |service: &mut Service, reading: Reading| {
        service.now = service.now.max(reading.measured_at);
        service.round(vec![reading]);
    };
    readings.by_ref().take(20).for_each(|r| measured(&mut service, r));
    happens(&mut service);
    readings.by_ref().take(5).for_each(|r| measured(&mut service, r));
    let before = service.engine.world().given.get();
    readings.for_each(|r| measured(&mut service, r));
    assert!(service.engine.world().given.get() - before < 100, "what is in order asks the store for nothing");
}

#[test]
fn a_shuffled_flood_costs_no_more() {
    for kind in [2, 4] {
        let mut readings = mad(kind, MANY);
        let end = readings.last().unwrap().measured_at;
        readings.sort_by_key(|r| r.id.as_i64().cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let shuffled = cost(readings, end.plus(minutes(2 * 1440)));
        assert!(shuffled < BOUND, "kind {kind}: {shuffled}");
    }
}

#[test]
fn twice_as_much_costs_twice_as_much() {
    let run = |n: i64| {
        let readings = mad(2, n);
        let end = readings.last().unwrap().measured_at;
        cost(readings, end.plus(minutes(3 * 1440)))
    };
    let (half, whole) = (run(MANY / 2), run(MANY));
    assert!(whole < half * 1.5 + 5.0, "{half} a reading, then {whole}");
}

#[test]
fn one_patients_flood_delays_nobody_else() {
    let now = at(START).plus(minutes(4 * 1440));
    let mut service = Service::new(9, now);
    let mut flood = mad(2, MANY).into_iter();
    service.round(flood.by_ref().take(1000).collect());
    for other in 2..=9_u64 {
        // Each in a round in which the flood goes on; one of two measured yesterday and speaks only now.
        let mut round: Vec<Reading> = flood.by_ref().take(100).collect();
        let when = if other % 2 == 0 { now } else { now.minus(minutes(1200)) };
        for i in 0..2 {
            let seq = 1_000_000 + i64::try_from(other).unwrap() * 10 + i;
            let mut reading = bp(seq, when.minus(minutes(5 - i.unsigned_abs())), 191, 113);
            reading.patient = Some(PatientId::new(other));
            round.push(reading);
        }
        let before = service.work();
        service.round(round);
        assert!(service.work() - before < 200_000, "a round is bounded");
        let told = service.said.iter().any(|(id, rule)| *id == PatientId::new(other) && rule == "BP-C1");
        assert!(told, "patient {other} was told of in the round in which the readings came");
    }
}
