//! Readings that come back into range end an urgent, never a critical; and what hangs never delays a critical.

use crate::{
    district::{District, at, patient},
    sink::Sink,
};
use runtime::Paced;
use std::time::Duration;
use store::{AlertState, EpisodeQuery, NewReading, StateFilter};
use vitals::{
    Concept, Context, DeviceKey, Disposition, PatientId, Reading, ReadingId, Severity, Statuses, TimeQuality, Unit,
    Values,
};

async fn measure(d: &District, patient: PatientId, seq: i64, systolic: &str) {
    let now = d.store.clock().now();
    let (systolic, diastolic) = (systolic.parse().unwrap(), "78".parse().unwrap());
    let reading = Reading {
        id: ReadingId::new(0),
        device: DeviceKey::from_i64(patient.as_i64() % 1000 + 1),
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
    let new = NewReading { reading, told: Some(now), trusted: true };
    let day = now.in_zone(d.store.zone()).date();
    d.store.readings().submit(day, 1, move |desk| desk.keep(new)).await.unwrap();
}

#[tokio::test]
async fn three_good_readings_end_an_urgent_and_never_a_critical() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::open().await;
    let mut d = District::open(folder.path(), "02T09:05", &sink).await;
    let other = patient(&d.store, d.team, d.station).await;
    let urgent = d.draft(Severity::Urgent, Concept::BpCrisis, 100);
    let mut critical = d.draft(Severity::Critical, Concept::BpCrisis, 200);
    critical.patient = other;
    d.commit(vec![urgent, critical]).await;
    for (seq, value) in [(1, "126"), (2, "150"), (3, "126"), (4, "126")] {
        d.minutes(60).await;
        measure(&d, d.patient, seq, value).await;
        measure(&d, other, seq, value).await;
        d.alerts.settle().await;
    }
    let states = async |patient| {
        let query = EpisodeQuery { patient: Some(patient), state: StateFilter::All, ..EpisodeQuery::default() };
        d.store.episodes(query).await.unwrap().remove(0).state
    };
    assert_eq!(states(d.patient).await, AlertState::Notified, "the high one in between began the count anew");
    d.minutes(60).await;
    for patient in [d.patient, other] {
        measure(&d, patient, 5, "126").await;
    }
    d.alerts.settle().await;
    assert_eq!(states(d.patient).await, AlertState::AutoResolved);
    assert_eq!(states(other).await, AlertState::Notified);
    d.close().await;
}

#[tokio::test]
async fn what_hangs_never_delays_a_critical() {
    let folder = tempfile::tempdir().unwrap();
    // This server takes connections and never answers; the other one is well.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = Sink::open().await;
    let mut d = District::open(folder.path(), "02T09:05", &sink).await;
    let mut drafts = Vec::new();
    for n in 0..40 {
        let mut draft = d.draft(Severity::Urgent, Concept::BpCrisis, n * 10);
        draft.patient = patient(&d.store, d.team, d.station).await;
        drafts.push(draft);
    }
    let critical = d.draft(Severity::Critical, Concept::BpCrisis, 1000);
    d.commit(Vec::new()).await;
    d.close().await;
    let mut config = crate::district::config(&sink);
    let mut hanging = config.channels["sink"].clone();
    hanging.url = format!("http://{}/", silent.local_addr().unwrap());
    config.channels.insert("hanging".into(), hanging);
    let (store, _alerts, drain) = crate::district::start(folder.path(), at("02T09:05"), config).await;
    let manager = store.directory().user_named("manager").unwrap();
    let mut manager = store::User::clone(&manager);
    manager.contacts = vec![store::Contact { channel: "hanging".into(), address: "m".into(), critical: false }];
    store.update_user(manager).await.unwrap();
    let now = store.clock().now();
    let new = drafts.into_iter().map(|d| (d, now)).collect();
    store.commit_findings(store::FindingBatch { position: 8, new, ..Default::default() }).await.unwrap();
    for _ in 0..16 {
        let _ = tokio::time::timeout(Duration::from_secs(5), silent.accept()).await.unwrap();
    }
    let new = vec![(critical, now)];
    store.commit_findings(store::FindingBatch { position: 9, new, ..Default::default() }).await.unwrap();
    let told = async {
        while sink.told("alert.notification").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    assert_eq!(sink.pages(), ["gp 1"]);
    drain.stop();
}
