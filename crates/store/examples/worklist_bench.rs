//! How long a page of the worklist takes with everybody in the file, beside the naive way:
//! `cargo run --release -p store --example worklist_bench -- [--patients 100000] [--readings 20] [--pages 200]`.
//!
//! Fills patients in 200 teams, readings of three weeks for each, an open alert for one in twenty; then asks pages of 50
//! (order, alerts, newest readings, sparklines: everything that the API renders) of everybody by risk, by cursor to the
//! end of the alerts and beyond, of one team, and a search that finds nobody. Naive: every alert and every patient read and
//! sorted, two questions a row. Prints p50 and p99 with the bound and ends with 1 when it is missed. Also: a year of
//! days from kept sums, and from readings.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::cast_precision_loss, missing_docs)]

use runtime::{Clock, Drain};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use store::{
    AlertBatch, AlertState, Among, DaysQuery, Episode, Home, NewReading, Place, ReadingQuery, Sort, Standing, Store,
};
use vitals::{
    AlertId, Concept, Context, Decimal, DeviceKey, Disposition, Patient, PatientId, Plan, Reading, ReadingId, Severity,
    Statuses, TeamId, TimeQuality, Timestamp, Unit, Values, Zone,
};

const BOUND: Duration = Duration::from_millis(50);
const NOW: i64 = 1_770_000_000;
const DAY: i64 = 86_400;
const PAGE: usize = 50;
const TEAMS: u64 = 200;
const CHUNK: u64 = 2_000;
const SPARK: Duration = Duration::from_secs(14 * 86_400);
const POINTS: usize = 60;

fn reading(patient: PatientId, device: u64, seq: i64, of: i64, days: i64) -> Reading {
    let at = Timestamp::from_seconds(NOW - days * DAY + seq * days * DAY / of);
    Reading {
        id: ReadingId::new(0),
        device: DeviceKey::new(device),
        epoch: 0,
        seq,
        user_slot: None,
        patient: Some(patient),
        measured_at: at,
        received_at: at,
        device_time: None,
        time_quality: TimeQuality::Exact,
        disposition: Disposition::Stored,
        values: Values::Pressure {
            systolic: Decimal::new(120 + seq % 40, 0),
            diastolic: Decimal::new(80 + seq % 11, 0),
            map: None,
            pulse: Some(Decimal::new(70, 0)),
        },
        unit: Unit::MmHg,
        statuses: Statuses::default(),
        flags: vec![],
        historical: false,
        context: Context::default(),
    }
}

fn episode(patient: PatientId, n: u64) -> Episode {
    Episode {
        id: AlertId::new(n + 1),
        patient,
        team: None,
        concept: Concept::ALL[0],
        severity: [Severity::Critical, Severity::Urgent, Severity::Routine][usize::try_from(n % 3).unwrap()],
        acked_severity: None,
        state: AlertState::Notified,
        rule: "BP-S1".into(),
        raised_at: Timestamp::from_seconds(NOW - i64::try_from(n).unwrap()),
        level: 1,
        cycle: 1,
        next_at: None,
        count: 12,
        owner: None,
        exhausted: false,
        snoozed_until: None,
        held_until: None,
        inhibited_by: None,
        previous: None,
        readings: (0..12).map(ReadingId::new).collect(),
        findings: vec![],
        evidence: format!(r#"{{"numbers":{{"mean":{}}},"readings":[{}]}}"#, 140 + n % 30, "\"r_0\",".repeat(40) + "0"),
        chain: vec![vec!["team:gp".into()]; 3],
        book: "{}".into(),
        version: 0,
    }
}

async fn people(store: &Store, patients: u64) -> Vec<PatientId> {
    let mut ids = Vec::new();
    for first in (0..patients).step_by(256) {
        let mut making = tokio::task::JoinSet::new();
        for n in first..(first + 256).min(patients) {
            let patient = Patient {
                id: PatientId::new(0),
                name: format!("Patient {:06}", (n * 7_919) % 1_000_000),
                birth_date: None,
                sex: None,
                tags: vec![],
                conditions: vec![],
                team: Some(TeamId::new(n % TEAMS)),
                organisation: None,
                phone: Some(format!("13{n:09}")),
                time_zone: None,
                enrolled_at: Timestamp::from_seconds(NOW),
                visited_on: None,
                plan: Plan::default(),
            };
            let store = store.clone();
            making.spawn(async move { store.create_patient(patient).await.unwrap().id });
        }
        ids.extend(making.join_all().await);
    }
    ids
}

async fn keep(store: &Store, all: Vec<Reading>) {
    let day = all[0].received_at.day(&Zone::default());
    let size = all.len();
    let work = move |desk: &mut store::Desk<'_>| {
        all.into_iter().try_for_each(|reading| desk.keep(NewReading { reading, told: None, trusted: false }).map(drop))
    };
    store.readings().submit(day, size, work).await.unwrap();
}

/// In order of time, as they arrive.
async fn fill(store: &Store, ids: &[PatientId], each: i64) {
    // One of them has a year of four a day; first, so that it is merged when the rest is.
    let device = ids.len() as u64 + 1;
    keep(store, (0..1_460).map(|seq| reading(ids[0], device, seq, 1_460, 365)).collect()).await;
    let mut batch = Vec::new();
    for seq in 0..each {
        for (device, id) in (1..).zip(ids) {
            batch.push(reading(*id, device, seq, each, 21));
            if batch.len() as u64 == CHUNK {
                keep(store, std::mem::take(&mut batch)).await;
            }
        }
    }
    if !batch.is_empty() {
        keep(store, batch).await;
    }
    for (n, some) in ids.iter().step_by(20).collect::<Vec<_>>().chunks(256).enumerate() {
        let numbered = (n as u64 * 256..).zip(some);
        let episodes = numbered.map(|(n, id)| episode(**id, n)).collect();
        store.commit_alerts(AlertBatch { episodes, ..AlertBatch::default() }).await.unwrap();
    }
}

async fn page(store: &Store, among: &Among, after: Option<&Place>, q: Option<&str>) -> Vec<Standing> {
    let fits = |p: &Patient| q.is_none_or(|q| p.name.to_lowercase().contains(q));
    let found = store.worklist(Sort::Risk, among, after, PAGE + 1, &fits).await.unwrap();
    let ids = found.iter().take(PAGE).map(|s| s.patient.id).collect();
    let since = Timestamp::from_seconds(NOW).minus(SPARK);
    let glances = store.readings().glance(ids, since, POINTS).await.unwrap();
    assert!(glances.iter().all(|g| g.latest.is_some() && !g.recent.is_empty()));
    found
}

/// Everything read and sorted for each page, and two questions a row.
async fn naive(store: &Store) {
    let episodes = store.active_episodes().await.unwrap();
    let mut top: HashMap<PatientId, (u8, i64)> = HashMap::new();
    for e in &episodes {
        let key = (e.severity as u8, -e.raised_at.as_micros());
        top.entry(e.patient).and_modify(|known| *known = key.min(*known)).or_insert(key);
    }
    let mut all: Vec<_> = store.directory().patients();
    all.sort_by_key(|p| (top.get(&p.id).copied().unwrap_or((9, 0)), p.id));
    for p in all.iter().take(PAGE) {
        store.readings().latest(p.id).await.unwrap();
        let q = ReadingQuery {
            patient: p.id,
            kind: None,
            from: Timestamp::from_seconds(NOW).minus(SPARK),
            to: Timestamp::MAX,
            after: None,
            limit: 600,
        };
        store.readings().range(q).await.unwrap();
    }
}

/// p50 and p99; whether it is within the bound.
fn tell(what: &str, mut times: Vec<Duration>, bound: Option<Duration>) -> bool {
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let met = bound.is_none_or(|bound| p99 <= bound);
    let beside = bound.map(|b| format!("bound {b:?}: {}", if met { "met" } else { "MISSED" })).unwrap_or_default();
    println!("{what:<44} p50 {p50:>10.2?}  p99 {p99:>10.2?}  {beside}");
    met
}

async fn days(store: &Store, patient: PatientId) -> Duration {
    let basis = store.basis(&store.directory().patient(patient).unwrap());
    let from = Timestamp::from_seconds(NOW - 365 * DAY);
    let begun = Instant::now();
    let q = DaysQuery { patient, from, to: Timestamp::MAX, basis };
    assert!(store.readings().days(q).await.unwrap().len() > 360);
    begun.elapsed()
}

async fn timed(n: usize, mut one: impl AsyncFnMut()) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..n {
        let begun = Instant::now();
        one().await;
        times.push(begun.elapsed());
    }
    times
}

fn option(name: &str, usual: u64) -> u64 {
    std::env::args().skip_while(|a| a != name).nth(1).map_or(usual, |n| n.parse().unwrap())
}

#[tokio::main]
async fn main() {
    let (patients, each) = (option("--patients", 100_000), option("--readings", 20).cast_signed());
    let pages = usize::try_from(option("--pages", 200)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (_handle, drain) = Drain::new();
    let store = Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(NOW)), &drain).unwrap();
    if patients.cast_signed() * each < 1_000_000 {
        store.readings().hurry(5_000, 2_000); // a small run merges too
    }
    let begun = Instant::now();
    let ids = people(&store, patients).await;
    fill(&store, &ids, each).await;
    println!(
        "{patients} patients, {} readings, {} open alerts: filled in {:.1?}",
        patients.cast_signed() * each,
        patients / 20,
        begun.elapsed()
    );
    let everybody = Among::All;
    page(&store, &everybody, None, None).await; // the first takes in every open alert
    let mut met = tell(
        "first page, by risk",
        timed(pages, async || drop(page(&store, &everybody, None, None).await)).await,
        Some(BOUND),
    );
    let mut after = None;
    let walk = timed(pages, async || {
        let found = page(&store, &everybody, after.as_ref(), None).await;
        after = found.get(PAGE - 1).map(|s| s.place.clone());
    });
    met &= tell("page after page, by cursor", walk.await, Some(BOUND));
    let team = Among::Homes(vec![Home::Team(TeamId::new(7))]);
    met &= tell(
        "first page of one team",
        timed(pages, async || drop(page(&store, &team, None, None).await)).await,
        Some(BOUND),
    );
    let nobody = timed(20, async || assert!(page(&store, &everybody, None, Some("nobody's name")).await.is_empty()));
    met &= tell("a search that finds nobody", nobody.await, Some(BOUND));
    tell("naive: all read, two questions a row", timed(5, async || naive(&store).await).await, None);
    let raw = timed(20, async || {
        days(&store, ids[0]).await;
    })
    .await;
    let folded = store.fold_days().await.unwrap();
    println!("{} weeks of {} patient-weeks folded", folded.weeks, folded.rows);
    tell(
        "a year by day, from sums",
        timed(20, async || {
            days(&store, ids[0]).await;
        })
        .await,
        None,
    );
    tell("a year by day, naive: from readings", raw, None);
    if !met {
        std::process::exit(1);
    }
}
