//! Sums by their promise: whatever happened to the readings, in whatever order, through merges, foldings and crashes,
//! the days of a patient are what their readings come to, and the audit says so.

use super::{
    super::{
        Desk, Keep, NewHeld, NewReading, ReadingQuery, Worn,
        row::week,
        tests::{Bench, START, crashed, open, reading},
        writer::Writer,
    },
    *,
};
use proptest::prelude::*;
use vitals::{
    Binding, BindingId, Decimal, DeviceKey, Disposition, GlucoseValue, Held, Meal, MealName, PatientId, ReadingId,
    Reason, Slot, Timestamp, Unit, Values,
};

const PATIENTS: u64 = 4;
const WEEK: i64 = 7 * 24 * 3600;
const DAY: Date = jiff::civil::date(2026, 2, 2);

/// Zone and targets of each patient, as they are now.
type People = std::sync::Arc<parking_lot::Mutex<Vec<Basis>>>;

fn basis(zone: usize, systolic: Option<f64>) -> Basis {
    let name = ["Asia/Shanghai", "America/St_Johns", "Pacific/Kiritimati"][zone % 3];
    let targets = Targets { home_systolic: systolic, ..Targets::default() };
    Basis { zone: Zone::named(name).unwrap(), targets }
}

fn of(people: &People, patient: PatientId) -> Basis {
    let people = people.lock();
    people[usize::try_from(patient.as_i64()).unwrap() % people.len()].clone()
}

/// One of many readings: (device, number) decides what it is, so that the same sent again is a duplicate.
fn measured(device: u64, seq: i64, patient: Option<u64>) -> Reading {
    let n = device.cast_signed() * 31 + seq * 7919;
    let number = |least: i64, range: i64, exponent| Decimal::new(least + n.rem_euclid(range), exponent);
    let (values, unit) = match n % 7 {
        0 => (Values::Glucose(GlucoseValue::High), Unit::MmolPerL),
        1 => (Values::Glucose(GlucoseValue::Low), Unit::MmolPerL),
        2 => (Values::Glucose(GlucoseValue::Value(number(40, 300, 0))), Unit::MgPerDl),
        3 => (Values::Glucose(GlucoseValue::Value(number(20, 200, -1))), Unit::MmolPerL),
        k => {
            let unit = if k == 4 { Unit::KPa } else { Unit::MmHg };
            let (low, exponent) = if k == 4 { (140, -1) } else { (100, 0) };
            let (systolic, diastolic) = (number(low, 60, exponent), number(low * 2 / 3, 30, exponent));
            (Values::Pressure { systolic, diastolic, map: None, pulse: None }, unit)
        }
    };
    let mut r = Reading {
        patient: patient.map(PatientId::new),
        measured_at: Timestamp::from_seconds(START - 9 * WEEK + n.rem_euclid(10 * WEEK / 977) * 977),
        disposition: [Disposition::Stored, Disposition::Stored, Disposition::Flagged, Disposition::Excluded]
            [usize::try_from(n.rem_euclid(4)).unwrap()],
        values,
        unit,
        ..reading(device, seq)
    };
    r.context.meal = Some(Meal::ALL[usize::try_from(n.rem_euclid(6)).unwrap()]);
    r.context.specimen = (n % 5 == 0).then(|| "interstitial".into());
    r.context.meal_name = Some(MealName::ALL[usize::try_from(n.rem_euclid(4)).unwrap()]);
    r
}

async fn send(bench: &Bench, device: u64, seqs: std::ops::Range<i64>) {
    let bindings = bench.store.directory().bindings(DeviceKey::new(device));
    let work = move |desk: &mut Desk<'_>| {
        for seq in seqs {
            if let Some(known) = desk.known(DeviceKey::new(device), seq)?.first() {
                desk.duplicate(DeviceKey::new(device), known.id);
                continue;
            }
            let mut reading = measured(device, seq, None);
            let whose = bindings.iter().find(|b| b.covers(None, reading.measured_at));
            reading.patient = whose.map(|b| b.patient);
            desk.keep(NewReading { reading, told: None, trusted: false })?;
        }
        Ok(())
    };
    bench.store.readings().submit(DAY, 1, work).await.unwrap();
}

fn bind(bench: &Bench, device: u64, patient: u64, cut: i64) {
    let at = Timestamp::from_seconds(START - 9 * WEEK + cut * WEEK);
    let binding = |id, patient, from, to| Binding {
        id: BindingId::new(id),
        device: DeviceKey::new(device),
        patient: PatientId::new(patient),
        slot: Slot::Any,
        from,
        to,
        recorded_at: Timestamp::from_seconds(START),
    };
    let next = 1 + patient % PATIENTS;
    let all = vec![binding(1, patient, Timestamp::MIN, Some(at)), binding(2, next, at, None)];
    bench.store.directory().put_bindings(DeviceKey::new(device), all);
}

async fn some_id(bench: &Bench, n: u64) -> Option<ReadingId> {
    let mut ids = Vec::new();
    bench
        .store
        .readings()
        .export_readings(&mut |r| {
            ids.push(r.id);
            Ok(())
        })
        .unwrap();
    ids.sort_unstable();
    (!ids.is_empty()).then(|| ids[usize::try_from(n).unwrap() % ids.len()])
}

async fn replay(bench: &Bench, device: u64, seq: i64) {
    let held = Held {
        id: ReadingId::new(0),
        device: DeviceKey::new(device),
        epoch: 0,
        seq: None,
        patient: None,
        measured_at: None,
        received_at: Timestamp::from_seconds(START),
        reasons: vec![Reason::NotAllowed],
        bytes: seq.to_le_bytes().to_vec(),
        route: "readings".into(),
    };
    let again = held.clone();
    let hold = move |desk: &mut Desk<'_>| desk.hold(NewHeld { held, told: None, trusted: false });
    let id = bench.store.readings().submit(DAY, 1, hold).await.unwrap();
    if seq % 3 == 0 {
        bench.store.readings().discard(id).await.unwrap();
        return;
    }
    let work = move |desk: &mut Desk<'_>| {
        desk.release(&Held { id, ..again });
        let reading = measured(device, 1_000 + seq, Some(1 + seq.cast_unsigned() % PATIENTS));
        if desk.known(reading.device, reading.seq)?.is_empty() {
            desk.keep(NewReading { reading, told: None, trusted: false })?;
        }
        Ok(())
    };
    bench.store.readings().submit(DAY, 1, work).await.unwrap();
}

async fn say_more(bench: &Bench, id: ReadingId, n: u64) {
    let work = move |desk: &mut Desk<'_>| {
        let Some(known) = desk.reading(id)? else { return Ok(()) };
        let mut more = (*known).clone();
        more.context.meal = Some(Meal::ALL[usize::try_from(n).unwrap() % 6]);
        more.disposition = if n.is_multiple_of(2) { Disposition::Flagged } else { Disposition::Stored };
        desk.amend(&more)
    };
    bench.store.readings().submit(DAY, 1, work).await.unwrap();
}

async fn fold(bench: &Bench, people: &People, weeks: i64) -> Folded {
    let people = people.clone();
    let now = Timestamp::from_seconds(START - 9 * WEEK + weeks * WEEK);
    bench.store.readings().fold(now, move |patient| of(&people, patient)).await.unwrap()
}

/// The days of a patient, by reading every reading.
async fn recount(
    bench: &Bench,
    patient: PatientId,
    basis: &Basis,
    (from, to): (Timestamp, Timestamp),
) -> Vec<(Date, Summary)> {
    let q = ReadingQuery { patient, kind: None, from, to, after: None, limit: 1_000_000 };
    let mut days = BTreeMap::new();
    bench.store.readings().range(q).await.unwrap().iter().for_each(|r| add(&mut days, r, basis));
    days.into_iter().collect()
}

async fn agree(bench: &Bench, people: &People, n: u64) {
    for patient in (1..=PATIENTS).map(PatientId::new) {
        let basis = of(people, patient);
        let inner = |weeks: u64| Timestamp::from_seconds(START - 9 * WEEK + i64::try_from(weeks).unwrap() * WEEK / 3);
        for (from, to) in [(Timestamp::MIN, Timestamp::MAX), (inner(n % 12), inner(12 + n % 17))] {
            let q = DaysQuery { patient, from, to, basis: basis.clone() };
            let days: Vec<(Date, Summary)> = bench.store.readings().days(q).await.unwrap().into_iter().collect();
            assert_eq!(days, recount(bench, patient, &basis, (from, to)).await);
        }
    }
    assert_eq!(bench.store.readings().recount(&Zone::default()).unwrap().mismatches, []);
}

async fn happen(bench: Bench, people: &People, (what, a, b): (u8, u64, i64)) -> (Bench, Option<tempfile::TempDir>) {
    let readings = bench.store.readings();
    let device = 1 + a % 4;
    match what {
        0..5 => send(&bench, device, b..b + 1 + i64::try_from(a % 9).unwrap()).await,
        5..8 => drop(fold(&bench, people, b % 14).await),
        8..10 => readings
            .control(move |w: &mut Writer| {
                w.merge_some(1 + usize::try_from(a % 23).unwrap());
                Ok(())
            })
            .await
            .unwrap(),
        10 => {
            bind(&bench, device, 1 + a % PATIENTS, b % 9);
            readings.reattribute(DeviceKey::new(device)).await.unwrap();
        }
        11 => {
            if let Some(id) = some_id(&bench, a).await {
                readings.reassign(id, PatientId::new(1 + b.cast_unsigned() % PATIENTS)).await.unwrap();
            }
        }
        12 => {
            if let Some(id) = some_id(&bench, a).await {
                say_more(&bench, id, b.cast_unsigned()).await;
            }
        }
        13 => replay(&bench, device, b).await,
        14 => {
            readings.set_consumed(u64::MAX);
            let from = Timestamp::from_seconds(START - 9 * WEEK + b % 4 * WEEK);
            readings.drop_old(Keep { readings_from: Some(from), ..Keep::default() }, Zone::default()).await.unwrap();
        }
        15 => {
            let worn = vec![Worn { device: DeviceKey::new(device), from: i64::MIN, to: None, slot: None }];
            readings.erase(PatientId::new(1 + a % PATIENTS), worn, Zone::default()).await.unwrap();
        }
        16 => {
            let mut people = people.lock();
            let i = usize::try_from(a).unwrap() % people.len();
            people[i] = basis(usize::try_from(b).unwrap(), (b % 2 == 0).then_some(120.0));
        }
        17 => readings.control(Writer::settle).await.unwrap(),
        _ => {
            let copy = crashed(bench.store.folder());
            let again = open(copy.path(), 40);
            for device in (1..=4).map(DeviceKey::new) {
                again.store.directory().put_bindings(device, bench.store.directory().bindings(device).to_vec());
            }
            return (again, Some(copy));
        }
    }
    (bench, None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_days_are_what_their_readings_come_to(
        story in proptest::collection::vec((0_u8..20, 0_u64..1_000, 0_i64..120), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut folders = Vec::new();
            let mut bench = open(folder.path(), 40);
            (1..=4).for_each(|device| bind(&bench, device, device, 4));
            let people: People = std::sync::Arc::new(parking_lot::Mutex::new((0..5).map(|n| basis(n, None)).collect()));
            for (n, step) in story.into_iter().enumerate() {
                let (next, copy) = happen(bench, &people, step).await;
                bench = next;
                folders.extend(copy);
                agree(&bench, &people, n as u64).await;
            }
        });
    }
}

/// So many rows and bytes are kept for each patient-week.
async fn rows(bench: &Bench) -> (i64, i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM sums), (SELECT count(*) FROM unfolded), (SELECT sum(length(b)) FROM sums)";
    let ask = move |w: &mut Writer| {
        w.connection
            .query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, Option<i64>>(2)?.unwrap_or(0))))
            .map_err(fault)
    };
    bench.store.readings().control(ask).await.unwrap()
}

fn pressure(seq: i64, at: i64) -> Reading {
    let values = Values::Pressure {
        systolic: Decimal::new(130 + seq % 17, 0),
        diastolic: Decimal::new(80 + seq % 7, 0),
        map: None,
        pulse: None,
    };
    Reading {
        values,
        unit: Unit::MmHg,
        patient: Some(PatientId::new(1)),
        measured_at: Timestamp::from_seconds(at),
        disposition: Disposition::Stored,
        ..reading(1, seq)
    }
}

async fn keep(bench: &Bench, all: Vec<Reading>) {
    let work = move |desk: &mut Desk<'_>| {
        all.into_iter().try_for_each(|reading| desk.keep(NewReading { reading, told: None, trusted: false }).map(drop))
    };
    bench.store.readings().submit(DAY, 1, work).await.unwrap();
}

/// Four readings a day for eight weeks: past weeks are folded once, in few bytes; a late reading undoes its own week
/// only, and the next folding makes that week again.
#[tokio::test]
async fn a_late_reading_undoes_the_sums_of_its_own_week_only() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let people: People = std::sync::Arc::new(parking_lot::Mutex::new(vec![basis(0, None)]));
    let begin = i64::from(week(Timestamp::from_seconds(START - 9 * WEEK))) * WEEK;
    keep(&bench, (0..8 * 28).map(|n| pressure(n, begin + n * 6 * 3600)).collect()).await;
    bench.store.readings().control(Writer::settle).await.unwrap();
    assert_eq!(fold(&bench, &people, 9).await, Folded { weeks: 7, rows: 7 }, "this week and the one before stay open");
    let (kept, unfolded, bytes) = rows(&bench).await;
    assert_eq!((kept, unfolded), (7, 0));
    assert!(bytes / (kept * 28) <= 12, "{bytes} bytes for {} readings", kept * 28);
    assert_eq!(fold(&bench, &people, 9).await, Folded::default(), "once");
    keep(&bench, vec![pressure(10_000, begin + 2 * WEEK + 30)]).await;
    agree(&bench, &people, 1).await;
    assert_eq!(rows(&bench).await.0, 7, "nothing is taken away before the merge");
    bench.store.readings().control(Writer::settle).await.unwrap();
    assert_eq!((rows(&bench).await.0, rows(&bench).await.1), (6, 1));
    agree(&bench, &people, 1).await;
    assert_eq!(fold(&bench, &people, 9).await, Folded { weeks: 0, rows: 1 });
    assert_eq!((rows(&bench).await.0, rows(&bench).await.1), (7, 0));
    agree(&bench, &people, 1).await;
}

/// Somebody moves to another zone: the old sums are not used, and are made again once they were asked for.
#[tokio::test]
async fn a_patient_who_moves_has_days_of_the_new_zone() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let people: People = std::sync::Arc::new(parking_lot::Mutex::new(vec![basis(0, None)]));
    keep(&bench, (0..100).map(|n| pressure(n, START - 8 * WEEK + n * 6 * 3600)).collect()).await;
    bench.store.readings().control(Writer::settle).await.unwrap();
    let folded = fold(&bench, &people, 9).await;
    people.lock()[0] = basis(1, Some(120.0));
    assert_eq!(fold(&bench, &people, 9).await, Folded::default());
    agree(&bench, &people, 0).await;
    assert_eq!(fold(&bench, &people, 9).await.rows, folded.rows);
    agree(&bench, &people, 0).await;
}

/// What was tampered with is named.
#[tokio::test]
async fn the_audit_names_sums_that_are_not_those_of_the_readings() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let people: People = std::sync::Arc::new(parking_lot::Mutex::new(vec![basis(0, None)]));
    keep(&bench, (0..100).map(|n| pressure(n, START - 8 * WEEK + n * 6 * 3600)).collect()).await;
    bench.store.readings().control(Writer::settle).await.unwrap();
    fold(&bench, &people, 9).await;
    let audit = || bench.store.readings().recount(&Zone::default()).unwrap();
    assert!(audit().sums > 2 && audit().mismatches.is_empty());
    let tamper = |sql: &'static str| {
        bench.store.readings().control(move |w: &mut Writer| w.connection.execute_batch(sql).map_err(fault))
    };
    tamper("UPDATE sums SET b = (SELECT b FROM sums ORDER BY wk DESC LIMIT 1) WHERE wk = (SELECT min(wk) FROM sums)")
        .await
        .unwrap();
    let named = audit().mismatches;
    let [super::super::Mismatch::Days { patient, .. }] = named[..] else { panic!("{named:?}") };
    assert_eq!(patient, PatientId::new(1));
    tamper("UPDATE newest SET wk = wk - 1").await.unwrap();
    assert_eq!(audit().wrong(), 2);
}
