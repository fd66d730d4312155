//! Messages through the whole of ingest and the store: what is stored, what the receipt says, what the books say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

use bytes::Bytes;
use ingest::{Config, Handle};
use proptest::prelude::*;
use runtime::{Clock, Drain, DrainHandle};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};
use store::{BookRow, ReadingQuery, Store};
use vitals::{Binding, BindingId, Device, DeviceKey, DeviceKind, PatientId, Reading, ReadingId, Slot, Timestamp};
use wire::topic::{Tree, Up};

const NOW: &str = "2026-03-02T08:00:00+08:00";

struct Clinic {
    store: Store,
    ingest: Handle,
    device: Arc<Device>,
    anna: PatientId,
    _drain: DrainHandle,
}

impl Clinic {
    async fn open(folder: &Path) -> Self {
        let (handle, drain) = Drain::new();
        let clock = Clock::manual(Timestamp::parse_rfc3339(NOW).unwrap());
        let store = Store::open(folder, clock, &drain).unwrap();
        let ingest = ingest::start(Config::default(), store.clone(), &drain).await.unwrap();
        let device = match store.directory().device("bp-1") {
            Some(device) => device,
            None => {
                let device = store.create_device(meter()).await.unwrap();
                let anna = store.create_patient(patient()).await.unwrap();
                store.create_binding(binding(device.key, anna.id)).await.unwrap();
                Arc::new(device)
            }
        };
        let anna = store.directory().patients()[0].id;
        Self { store, ingest, device, anna, _drain: handle }
    }

    async fn send(&self, route: Up, payload: impl Into<Bytes>) -> Value {
        self.send_in(Tree::Devices, route, payload).await
    }

    async fn send_in(&self, tree: Tree, route: Up, payload: impl Into<Bytes>) -> Value {
        let receipt = self.ingest.submit(self.device.clone(), tree, route, payload.into()).await.unwrap();
        receipt.map_or(Value::Null, |r| serde_json::from_slice(&r.to_json(self.store.zone())).unwrap())
    }

    async fn message(&self, readings: &[Value]) -> Value {
        self.send(Up::Readings, json!({"v": 1, "msgId": "m", "readings": readings}).to_string()).await
    }

    async fn books(&self) -> (u64, u64, u64) {
        let day = jiff::civil::date(2026, 3, 2);
        let rows: Vec<BookRow> = self.store.readings().books(day, Some(self.device.key)).await.unwrap();
        rows.first().map_or((0, 0, 0), |r| (r.stored, r.duplicate, r.quarantined))
    }

    async fn readings(&self) -> Vec<Arc<Reading>> {
        let q = ReadingQuery {
            patient: self.anna,
            kind: None,
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            after: None,
            limit: 10_000,
        };
        self.store.readings().range(q).await.unwrap()
    }
}

fn patient() -> vitals::Patient {
    vitals::Patient {
        id: PatientId::new(0),
        name: "Anna".into(),
        birth_date: None,
        sex: None,
        tags: vec![],
        conditions: vec![],
        team: None,
        organisation: None,
        phone: None,
        time_zone: None,
        enrolled_at: Timestamp::MIN,
        visited_on: None,
        plan: vitals::Plan::default(),
    }
}

fn meter() -> Device {
    Device {
        key: DeviceKey::new(0),
        id: "bp-1".parse().unwrap(),
        kind: DeviceKind::Meter,
        label: None,
        model: None,
        organisation: None,
        secret_hash: None,
        revoked: false,
    }
}

fn binding(device: DeviceKey, patient: PatientId) -> Binding {
    let from = Timestamp::parse_rfc3339("2026-01-01T00:00:00+08:00").unwrap();
    Binding { id: BindingId::new(0), device, slot: Slot::Any, from, to: None, patient, recorded_at: from }
}

fn ago(minutes: i64) -> String {
    let now = Timestamp::parse_rfc3339(NOW).unwrap();
    Timestamp::from_micros(now.as_micros() - minutes * 60_000_000).to_rfc3339(&vitals::Zone::default())
}

fn bp(seq: i64, minutes: i64, systolic: i64) -> Value {
    json!({"seq": seq, "kind": "blood_pressure", "time": ago(minutes), "systolic": systolic, "diastolic": 80, "unit": "mmHg"})
}

fn results(receipt: &Value) -> Vec<&str> {
    receipt["results"].as_array().unwrap().iter().map(|r| r["result"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_receipt_says_what_became_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let clinic = Clinic::open(folder.path()).await;
    let bad = json!({"seq": 4712, "kind": "blood_pressure", "time": ago(8), "systolic": 2047, "diastolic": 2047, "unit": "mmHg"});
    let receipt = clinic.message(&[bp(4711, 9, 138), bad, bp(4713, 7, 131)]).await;
    assert_eq!(results(&receipt), ["stored", "quarantined", "stored"]);
    assert_eq!(receipt["results"][1], json!({"seq": 4712, "result": "quarantined", "reasons": ["implausible"]}));
    assert_eq!(
        (&receipt["msgId"], &receipt["serverTime"], &receipt["storedThrough"]),
        (&"m".into(), &NOW.into(), &4713.into())
    );
    let stored = clinic.readings().await;
    let ids: Vec<String> = stored.iter().map(|r| r.id.to_string()).collect();
    assert_eq!(ids, [receipt["results"][0]["id"].as_str().unwrap(), receipt["results"][2]["id"].as_str().unwrap()]);
    assert_eq!(clinic.books().await, (2, 0, 1));
}

#[tokio::test]
async fn everything_again_is_a_duplicate_even_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let clinic = Clinic::open(folder.path()).await;
    let conflict = bp(1, 5, 155);
    let readings = [
        bp(1, 5, 131),
        conflict,
        bp(2, 4, 2047),
        json!(42),
        json!({"kind": "blood_pressure", "time": ago(3), "systolic": 120, "diastolic": 80, "unit": "mmHg"}),
    ];
    let first = clinic.message(&readings).await;
    assert_eq!(results(&first), ["stored", "quarantined", "quarantined", "quarantined", "stored"]);
    assert_eq!(first["results"][1]["reasons"], json!(["conflict"]));
    assert_eq!(results(&clinic.message(&readings).await), ["duplicate"; 5]);
    for broken in [&b"{\"v\":1,\"readings\":["[..], b"", b"\xff\xfe"] {
        assert_eq!(
            clinic.send(Up::Readings, Bytes::copy_from_slice(broken)).await["results"][0]["reasons"],
            json!(["broken_message"])
        );
    }
    assert_eq!(results(&clinic.send(Up::Readings, "").await), ["duplicate"]);
    assert_eq!(clinic.books().await, (2, 6, 6));
    let copy = copy_of(folder.path());
    let again = Clinic::open(copy.path()).await;
    assert_eq!(again.books().await, (2, 6, 6));
    assert_eq!(results(&again.message(&readings).await), ["duplicate"; 5]);
    assert_eq!(again.readings().await, clinic.readings().await);
    assert_eq!(
        again.message(&[bp(3, 2, 120)]).await["results"][0]["id"].as_str().unwrap(),
        ReadingId::new(9).to_string()
    );
}

/// The files as a crash would leave them: copied under a running service, log and all.
fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn other_routes_are_kept_for_later_and_gateways_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let clinic = Clinic::open(folder.path()).await;
    assert_eq!(clinic.send(Up::Hello, "{}").await, Value::Null);
    assert_eq!(clinic.send(Up::Status, "anything").await, Value::Null);
    let frame = Up::Vendor("acme".into());
    assert_eq!(clinic.send(frame, &b"\x1e\x8a\x00"[..]).await["results"][0]["reasons"], json!(["kind_unknown"]));
    let claim = json!({"v": 1, "readings": [{"seq": 1, "device": "bp-9", "kind": "blood_pressure", "systolic": 120, "diastolic": 80, "unit": "mmHg"}]});
    let receipt = clinic.send_in(Tree::Gateways, Up::Readings, claim.to_string()).await;
    assert_eq!(
        receipt["results"],
        json!([{"seq": 1, "device": "bp-9", "result": "quarantined", "reasons": ["not_allowed"]}])
    );
    let held = clinic.store.readings().held(None, None, 10).await.unwrap();
    assert_eq!(held.iter().map(|h| &*h.route).collect::<Vec<_>>(), ["readings", "vendor/acme"]);
    assert_eq!(held[1].bytes, b"\x1e\x8a\x00");
    assert_eq!(clinic.store.readings().held(Some("not_allowed".into()), None, 10).await.unwrap().len(), 1);
    clinic.store.readings().discard(held[0].id).await.unwrap();
    assert_eq!(clinic.store.readings().held(None, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_binding_that_comes_later_takes_its_readings_home() {
    let folder = tempfile::tempdir().unwrap();
    let clinic = Clinic::open(folder.path()).await;
    let lost = clinic.store.create_device(Device { id: "bp-2".parse().unwrap(), ..meter() }).await.unwrap();
    let message = json!({"v": 1, "readings": [bp(1, 5, 131)]}).to_string();
    clinic.ingest.submit(Arc::new(lost.clone()), Tree::Devices, Up::Readings, message.into()).await.unwrap();
    let waiting = clinic.store.readings().unassigned(None, 10).await.unwrap();
    assert_eq!((waiting.len(), clinic.readings().await.len()), (1, 0));
    clinic.store.create_binding(binding(lost.key, clinic.anna)).await.unwrap();
    assert_eq!(clinic.store.readings().reattribute(lost.key).await.unwrap(), 1);
    assert_eq!(clinic.readings().await.len(), 1);
    assert!(clinic.store.readings().unassigned(None, 10).await.unwrap().is_empty());
    let copy = copy_of(folder.path());
    assert_eq!(Clinic::open(copy.path()).await.readings().await.len(), 1, "after a crash as well");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Invariant: the same messages in any order, with any repeats, end in the same stored set.
    #[test]
    fn any_order_and_any_repeats_end_alike(
        order in Just((1..30_i64).collect::<Vec<_>>()).prop_shuffle(),
        repeats in proptest::collection::vec(0..29_usize, 0..15),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let clinic = Clinic::open(folder.path()).await;
            let all: Vec<i64> = order.iter().copied().chain(repeats.iter().map(|i| order[*i])).collect();
            for pair in all.chunks(2) {
                let readings: Vec<Value> = pair.iter().map(|s| bp(*s, 100 - s, 110 + s)).collect();
                clinic.message(&readings).await;
            }
            let stored: Vec<(u32, i64)> = clinic.readings().await.iter().map(|r| (r.epoch, r.seq)).collect();
            assert_eq!(stored, (1..30).map(|s| (0, s)).collect::<Vec<_>>());
            assert_eq!(clinic.books().await, (29, repeats.len() as u64, 0));
        });
    }
}
