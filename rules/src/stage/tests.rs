//! The worker by itself, where a story cannot go: a store that fails, a clock that was wrong.

use super::{Haste, Worker};
use crate::Cards;
use runtime::{Clock, Drain, DrainHandle};
use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};
use store::{NewReading, Store};
use tokio::sync::watch;
use vitals::{
    Binding, BindingId, Context, Decimal, Device, DeviceKey, DeviceKind, Disposition, Patient, PatientId, Plan,
    Reading, ReadingId, Slot, Statuses, TimeQuality, Timestamp, Unit, Values,
};

const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

struct Bench {
    store: Store,
    worker: Worker,
    person: PatientId,
    meter: DeviceKey,
    _cards: watch::Sender<Cards>,
    _drain: DrainHandle,
}

impl Bench {
    async fn new(folder: &Path, now: Timestamp) -> Self {
        let (drain, root) = Drain::new();
        let store = Store::open(folder, Clock::manual(now), &root).unwrap();
        let mut plan = Plan::default();
        plan.measuring.blood_pressure_per_week = Some(14.0);
        let patient = Patient {
            id: PatientId::new(0),
            name: "Nobody".into(),
            birth_date: None,
            sex: None,
            tags: Vec::new(),
            conditions: Vec::new(),
            team: None,
            organisation: None,
            phone: None,
            time_zone: None,
            enrolled_at: now,
            visited_on: None,
            plan,
        };
        let person = store.create_patient(patient).await.unwrap().id;
        let device = Device {
            key: DeviceKey::new(0),
            id: "bp-1".parse().unwrap(),
            kind: DeviceKind::Meter,
            label: None,
            model: None,
            organisation: None,
            secret_hash: None,
            revoked: false,
        };
        let meter = store.create_device(device).await.unwrap().key;
        let from = at("2020-01-01T00:00:00+08:00");
        let id = BindingId::new(0);
        let binding = Binding { id, device: meter, slot: Slot::Any, from, to: None, patient: person, recorded_at: now };
        store.create_binding(binding).await.unwrap();
        let (_cards, given) = watch::channel(Cards::built_in().unwrap());
        let from = store.clone();
        let worker = tokio::task::spawn_blocking(|| Worker::load(from, given, Arc::default())).await.unwrap().unwrap();
        Self { store, worker, person, meter, _cards, _drain: drain }
    }

    /// A message of so many pressures of now.
    async fn message(&self, systolic: i64, numbers: std::ops::Range<i64>) {
        let (patient, device, now) = (self.person, self.meter, self.store.clock().now());
        let work = move |desk: &mut store::Desk<'_>| {
            for seq in numbers {
                let (systolic, diastolic) = (Decimal::new(systolic, 0), Decimal::new(80, 0));
                let reading = Reading {
                    id: ReadingId::new(0),
                    device,
                    epoch: 0,
                    seq,
                    user_slot: None,
                    patient: Some(patient),
                    measured_at: now,
                    received_at: now,
                    device_time: None,
                    time_quality: TimeQuality::Exact,
                    disposition: Disposition::Stored,
                    values: Values::Pressure { systolic, diastolic, map: None, pulse: None },
                    unit: Unit::MmHg,
                    statuses: Statuses::default(),
                    flags: Vec::new(),
                    historical: false,
                    context: Context::default(),
                };
                desk.keep(NewReading { reading, told: Some(now), trusted: true })?;
            }
            Ok(())
        };
        self.store.readings().submit(now.day(self.store.zone()), 1, work).await.unwrap();
    }

    /// One cycle, on a thread that may block.
    async fn cycle(mut self) -> (Self, bool) {
        tokio::task::spawn_blocking(|| {
            let well = self.worker.cycle(Haste::Usual).is_ok();
            (self, well)
        })
        .await
        .unwrap()
    }

    /// Days of the findings of ADH-1.
    async fn silences(&self, start: Timestamp) -> HashMap<u64, usize> {
        let all = self.store.findings_of(self.person, Some("ADH-1".into()), None, None, None, 100).await.unwrap();
        let mut days = HashMap::new();
        for f in all.iter().filter(|f| f.retracted_at.is_none()) {
            *days.entry(f.draft.effective_at.since(start).as_secs() / DAY.as_secs()).or_default() += 1;
        }
        days
    }
}

#[tokio::test]
async fn after_a_fault_amid_a_backlog_the_stage_pauses_before_it_tries_again() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path(), at("2026-03-02T08:00:00+08:00")).await;
    for n in 0..5 {
        bench.message(190, n * 1000..(n + 1) * 1000).await;
    }
    let other = rusqlite::Connection::open(folder.path().join("registry.db")).unwrap();
    other.execute_batch("ALTER TABLE finding RENAME TO lost").unwrap();
    let (bench, well) = bench.cycle().await;
    assert!(!well && bench.worker.broken);
    assert!(!bench.worker.more, "whoever has more to read goes on without a pause");
}

#[tokio::test]
async fn a_clock_that_was_ahead_and_is_put_right_skips_no_morning_and_no_silence() {
    let folder = tempfile::tempdir().unwrap();
    let start = at("2026-03-02T08:00:00+08:00");
    let bench = Bench::new(folder.path(), start).await;
    bench.message(128, 1..2).await;
    let (mut bench, well) = bench.cycle().await;
    assert!(well);
    // What a cycle does while the clock shows a day a month later; then it shows the truth again.
    let ahead = start.plus(DAY * 30);
    bench.worker.engine.run_due(ahead).unwrap();
    bench.worker.engine.concluded();
    (bench.worker.looked_at, bench.worker.beaten) = (ahead, Some(ahead));
    bench.store.clock().move_to(start.plus(DAY * 8)).unwrap();
    let (bench, well) = bench.cycle().await;
    assert!(well);
    assert_eq!(
        bench.silences(start).await,
        HashMap::from([(3, 1), (7, 1)]),
        "the patient was reminded, then the manager"
    );
    assert!(bench.worker.next_due().unwrap() <= start.plus(DAY * 9), "tomorrow has a morning");
    assert_eq!(bench.worker.beaten, Some(start.plus(DAY * 8)), "and the service is alive");
}
