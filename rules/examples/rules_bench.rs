//! What the evaluator costs: readings a second on one core, bytes a patient, patient-years a second when days are summed
//! anew, allocations a reading. `cargo run --release -p rules --example rules_bench [rates|size|rebuild|allocations|store]…`;
//! exits 1 where a bound is missed.
//!
//! Everything runs on one thread against a world in memory, so the figures are the evaluator's and nobody else's; but for
//! the last lines, which ask a real store in a temporary folder, its rows merged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a bench stops where something is wrong"
)]

use rules::{Cards, Engine, Error, Pace, World};
use runtime::{Clock, Drain};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{
    alloc::System,
    collections::HashMap,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{NewReading, ReadingQuery, Store};
use vitals::{
    Context, Decimal, DeviceKey, Disposition, Entry, Finding, OrganisationId, Patient, PatientId, Plan, Reading,
    ReadingId, Statuses, TimeQuality, Timestamp, Unit, Values, Zone,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A patient's state, at most.
const BYTES: f64 = 4_000.0;
/// Patient-years a second of days that a start makes known, at least.
const YEARS: f64 = 20_000.0;
/// Allocations a reading in the common case, at most: none, but for a vector that grows once.
const ALLOCATIONS: f64 = 0.01;

/// Starts of which the mean is told.
const STARTS: u32 = 20;

const DAY: u64 = 86_400;

/// Patients and what they measured, in order.
#[derive(Default)]
struct Town {
    people: HashMap<PatientId, (Arc<Patient>, Vec<Arc<Reading>>)>,
}

impl World for Town {
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        self.people.get(&id).map(|p| p.0.clone())
    }
    fn bound(&self, _: PatientId) -> Option<Timestamp> {
        Some(start())
    }
    fn readings(&self, id: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        let Some((_, all)) = self.people.get(&id) else { return Ok(Vec::new()) };
        let begin = all.partition_point(|r| r.measured_at < from);
        let end = all.partition_point(|r| r.measured_at < to);
        Ok(all[begin..end.max(begin)].to_vec())
    }
    fn concluded(&self, _: PatientId, _: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        Ok(Vec::new())
    }
}

fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2025-01-01T00:00:00+08:00").expect("a time")
}

fn after(seconds: u64) -> Timestamp {
    start().plus(Duration::from_secs(seconds))
}

fn person(id: u64, per_week: f64) -> Arc<Patient> {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(per_week);
    Arc::new(Patient {
        id: PatientId::new(id),
        name: String::new(),
        birth_date: None,
        sex: None,
        tags: Vec::new(),
        conditions: Vec::new(),
        team: None,
        organisation: Some(OrganisationId::new(1)),
        phone: None,
        time_zone: None,
        enrolled_at: start(),
        visited_on: None,
        plan,
    })
}

/// A number that looks random and is the same in every run.
const fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn pressure(patient: u64, seq: u64, at: Timestamp, systolic: i64) -> Arc<Reading> {
    Arc::new(Reading {
        id: ReadingId::new((patient << 24) | seq),
        device: DeviceKey::new(patient),
        epoch: 0,
        seq: i64::try_from(seq).expect("small"),
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

/// Two readings a session, at 07:00 and 20:00; `sessions` a week, spread over its days.
fn history(patient: u64, sessions: u64, days: u64) -> Vec<Arc<Reading>> {
    let mut out = Vec::new();
    for day in 0..days {
        for (slot, hour) in [(0, 7), (1, 20)] {
            let place = (day % 7) * 2 + slot;
            if place * sessions / 14 == (place + 1) * sessions / 14 {
                continue;
            }
            for reading in 0..2 {
                let seq = out.len() as u64;
                let noise = i64::try_from(mix((patient << 20) | seq) % 17).expect("small");
                out.push(pressure(patient, seq, after(day * DAY + hour * 3600 + reading * 60), 120 + noise));
            }
        }
    }
    out
}

type Panel = Vec<(Arc<Patient>, Vec<Arc<Reading>>)>;

fn engine(people: Panel, now: Timestamp) -> Engine<Town> {
    let town = Town { people: people.into_iter().map(|(p, readings)| (p.id, (p, readings))).collect() };
    let mut engine = Engine::new(town, Cards::built_in().expect("cards"), Zone::default(), now);
    engine.recover(None, &[], now).expect("a world in memory");
    engine
}

fn know(engine: &mut Engine<Town>, now: Timestamp) {
    let all: Vec<_> = engine.world().people.values().map(|(p, _)| p.clone()).collect();
    for p in all {
        engine.refresh(p, now).expect("a world in memory");
    }
}

/// Each entry a message of its own; a fair round after 64, as a busy service has them.
fn judge(engine: &mut Engine<Town>, entries: &[Entry], now: impl Fn(usize) -> Timestamp) {
    for (i, some) in entries.chunks(64).enumerate() {
        let now = now(i * 64 + some.len() - 1);
        let numbered = some.iter().enumerate().map(|(n, e)| ((i * 64 + n) as u64, e));
        engine.take(numbered, now).expect("a world in memory");
        engine.clean(now, Pace::Fair).expect("a world in memory");
        engine.run_due(now).expect("a world in memory");
        engine.concluded();
    }
}

/// The entries of `readings` by patients `0..people`, judged as they come or all of them `late_by` after the last.
fn rate(name: &str, people: u64, readings: &[Arc<Reading>], late_by: Option<Duration>) {
    let entries: Vec<Entry> = readings.iter().cloned().map(Entry::Reading).collect();
    let last = readings.iter().map(|r| r.measured_at).max().expect("some").plus(late_by.unwrap_or_default());
    let now = |i: usize| if late_by.is_none() { readings[i].measured_at } else { last };
    let mut engine = engine((0..people).map(|id| (person(id, 14.0), Vec::new())).collect(), now(0));
    know(&mut engine, now(0));
    for reading in readings {
        let id = reading.patient.expect("one");
        engine.world_mut().people.get_mut(&id).expect("one").1.push(reading.clone());
    }
    engine.world_mut().people.values_mut().for_each(|p| p.1.sort_by_key(|r| (r.measured_at, r.id)));
    let begun = Instant::now();
    judge(&mut engine, &entries, now);
    engine.clean(last, Pace::All).expect("a world in memory");
    let (took, n) = (begun.elapsed().as_secs_f64(), entries.len() as f64);
    let looked = engine.looked() as f64 / n;
    println!("{name}: {:.0} readings/s a core; {looked:.1} readings and mornings looked at for each", n / took);
}

fn rates() -> bool {
    let shuffled = |mut all: Vec<Arc<Reading>>| {
        all.sort_by_key(|r| mix(r.id.as_i64().cast_unsigned()));
        all
    };
    let people = 500;
    let mut ordinary: Vec<Arc<Reading>> = (0..people).flat_map(|id| history(id, 14, 90)).collect();
    ordinary.sort_by_key(|r| (r.measured_at, r.patient));
    rate("ordinary, live", people, &ordinary, None);
    rate("ordinary, shuffled and late", people, &shuffled(ordinary), Some(Duration::from_secs(DAY)));
    let mad: Vec<Arc<Reading>> =
        (0..50_000).map(|i| pressure(i % 8, i, after(i * 4), if i % 5 == 0 { 186 } else { 131 })).collect();
    let late = Some(Duration::from_secs(3 * DAY));
    rate("8 meters gone mad, live", 8, &mad, None);
    rate("8 meters gone mad, a backlog", 8, &mad, late);
    rate("8 meters gone mad, shuffled", 8, &shuffled(mad), late);
    true
}

fn check(name: &str, found: f64, bound: f64, at_most: bool) -> bool {
    let met = if at_most { found <= bound } else { found >= bound };
    let (words, verdict) = (if at_most { "at most" } else { "at least" }, if met { "ok" } else { "MISSED" });
    println!("{name}: {found:.3} ({words} {bound}) {verdict}");
    met
}

/// State of a mixed panel after its first months: thirds of 14, 6 and 2 sessions a week.
fn size() -> bool {
    let (people, days) = (3_000_u64, 120);
    let one = |id: u64| {
        let sessions = [14, 6, 2][usize::try_from(id % 3).expect("small")];
        (person(id, sessions as f64), history(id, sessions, days))
    };
    let now = after(days * DAY);
    let mut engine = engine((0..people).map(one).collect(), now);
    let region = Region::new(ALLOCATOR);
    know(&mut engine, now);
    engine.run_due(after(days * DAY + DAY / 2)).expect("a world in memory");
    engine.concluded();
    let change = region.change();
    let bytes = (change.bytes_allocated - change.bytes_deallocated) as f64;
    check("bytes a patient", bytes / people as f64, BYTES, true)
}

/// Twelve weeks of days summed from the readings of a daily measurer, where none were written down.
fn rebuild() -> bool {
    let (people, days) = (2_000_u64, 84);
    let now = after(days * DAY);
    let mut engine = engine((0..people).map(|id| (person(id, 14.0), history(id, 14, days))).collect(), now);
    let begun = Instant::now();
    know(&mut engine, now);
    engine.run_due(after(days * DAY + DAY / 2)).expect("a world in memory");
    let years = people as f64 * days as f64 / 365.25;
    told("patient-years a second, summed from readings in memory", years / begun.elapsed().as_secs_f64());
    true
}

fn told(name: &str, found: f64) {
    println!("{name}: {found:.0} (told; no bound)");
}

/// As [`rebuild`], from the files on disk: what a start costs before its first morning. Without days that were written down
/// it sums them from the readings: the first start of this version, and whoever's readings were changed.
fn rebuild_from_store() -> bool {
    let (people, days) = (1_000_u64, 84);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_end, drain) = Drain::new();
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let now = after(days * DAY);
    let store = threads.block_on(async {
        let store = Store::open(folder.path(), Clock::manual(now), &drain).expect("a store");
        store.readings().hurry(20_000, 1_000);
        for id in 0..people {
            let all = history(id, 14, days);
            let size = all.len();
            let work = move |desk: &mut store::Desk<'_>| {
                for reading in all {
                    let told = Some(reading.measured_at);
                    desk.keep(NewReading { reading: Reading::clone(&reading), told, trusted: true })?;
                }
                Ok(())
            };
            store.readings().submit(now.day(&Zone::default()), size, work).await.expect("a commit");
        }
        store.readings().set_consumed(*store.readings().committed().borrow());
        store
    });
    let shelf = Shelf { store, people: (0..people).map(|id| (PatientId::new(id), person(id, 14.0))).collect() };
    let years = people as f64 * days as f64 / 365.25;
    let (mut engine, _) = start_of(&shelf, now);
    let begun = Instant::now();
    while engine.warm(20).expect("a store") {}
    told("patient-years a second, summed from the stored readings", years / begun.elapsed().as_secs_f64());
    while engine.keep_days(200) {
        shelf.store.commit_findings_blocking(engine.concluded()).expect("a store");
    }
    shelf.store.commit_findings_blocking(engine.concluded()).expect("a store");
    let (loaded, warmed) = starts(&shelf, now);
    told("patients a second, their newest readings and findings at a start", people as f64 / loaded);
    let met = check("patient-years a second, from the store", years / warmed, YEARS, false);
    let (_, warmed) = starts(&shelf, now.plus(Duration::from_secs(7 * DAY)));
    told("the same, after a week without the service", years / warmed);
    met
}

/// Seconds to know everybody, and seconds to know their days: the mean of some starts, for one is over in a moment.
fn starts(shelf: &Shelf, now: Timestamp) -> (f64, f64) {
    let (mut loaded, mut warmed) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..STARTS {
        let (mut engine, took) = start_of(shelf, now);
        let begun = Instant::now();
        while engine.warm(20).expect("a store") {}
        (loaded, warmed) = (loaded + took, warmed + begun.elapsed());
    }
    (loaded.as_secs_f64() / f64::from(STARTS), warmed.as_secs_f64() / f64::from(STARTS))
}

/// An evaluator that knows everybody, and how long it took to.
fn start_of(shelf: &Shelf, now: Timestamp) -> (Engine<&Shelf>, Duration) {
    let mut engine = Engine::new(shelf, Cards::built_in().expect("cards"), Zone::default(), now);
    let begun = Instant::now();
    for p in shelf.people.values() {
        engine.refresh(p.clone(), now).expect("a store");
    }
    engine.recover(None, &[], now).expect("a store");
    (engine, begun.elapsed())
}

/// The journal, as the service's own evaluator asks it.
struct Shelf {
    store: Store,
    people: HashMap<PatientId, Arc<Patient>>,
}

impl World for &Shelf {
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        self.people.get(&id).cloned()
    }
    fn bound(&self, _: PatientId) -> Option<Timestamp> {
        Some(start())
    }
    fn readings(&self, id: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        let query = ReadingQuery { patient: id, kind: None, from, to, after: None, limit: 4096 };
        Ok(self.store.readings().range_blocking(query)?)
    }
    fn concluded(&self, id: PatientId, from: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        Ok(self.store.concluded_blocking(id, from)?)
    }
    fn days(&self, id: PatientId) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store.patient_days_blocking(id)?)
    }
}

fn allocations() -> bool {
    let people = 1_000_u64;
    let mut engine = engine((0..people).map(|id| (person(id, 14.0), Vec::new())).collect(), start());
    know(&mut engine, start());
    let entries: Vec<Entry> = (0..60)
        .flat_map(|i| (0..people).map(move |id| Entry::Reading(pressure(id, i, after(25_200 + i * 300), 128))))
        .collect();
    let (warm, measured) = entries.split_at(entries.len() / 2);
    let now = after(43_200);
    engine.run_due(after(25_200)).expect("a world in memory");
    engine.take(warm.iter().enumerate().map(|(n, e)| (n as u64, e)), now).expect("a world in memory");
    let region = Region::new(ALLOCATOR);
    engine.take(measured.iter().enumerate().map(|(n, e)| (n as u64, e)), now).expect("a world in memory");
    let change = region.change();
    let each = (change.allocations + change.reallocations) as f64 / measured.len() as f64;
    check("allocations a reading", each, ALLOCATIONS, true)
}

/// A name, and what prints its figures and says whether its bounds were met.
type Part = (&'static str, fn() -> bool);

fn main() -> ExitCode {
    let parts: [Part; 5] = [
        ("rates", rates),
        ("size", size),
        ("rebuild", rebuild),
        ("allocations", allocations),
        ("store", rebuild_from_store),
    ];
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let mine = parts.iter().filter(|(name, _)| asked.is_empty() || asked.iter().any(|a| a == name));
    let met: Vec<bool> = mine.map(|(_, part)| part()).collect();
    if met.iter().all(|m| *m) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
