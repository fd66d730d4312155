//! Frames, gateways, kiosks and quarantine, through the whole of ingest and the store, with restarts in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

use bytes::Bytes;
use ingest::{Config, Handle};
use runtime::{Clock, Drain, DrainHandle};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use store::{BookRow, ReadingQuery, Store};
use vitals::{
    Binding, BindingId, Device, DeviceKey, DeviceKind, Disposition, Meal, MealName, PatientId, Reading, ReadingId,
    Slot, Timestamp, Values,
};
use wire::topic::{Characteristic, Tree, Up};

const NOW: &str = "2026-03-02T08:00:00+08:00";

struct Station {
    store: Store,
    ingest: Handle,
    _drain: DrainHandle,
}

impl Station {
    async fn open(folder: &Path) -> Self {
        let (handle, drain) = Drain::new();
        let clock = Clock::manual(Timestamp::parse_rfc3339(NOW).unwrap());
        let store = Store::open(folder, clock, &drain).unwrap();
        let ingest = ingest::start(Config::default(), store.clone(), &drain).await.unwrap();
        Self { store, ingest, _drain: handle }
    }

    async fn device(&self, id: &str, kind: DeviceKind) -> Arc<Device> {
        let device = Device {
            key: DeviceKey::new(0),
            id: id.parse().unwrap(),
            kind,
            label: None,
            model: None,
            organisation: None,
            secret_hash: None,
            revoked: false,
        };
        Arc::new(self.store.create_device(device).await.unwrap())
    }

    /// A patient who wears these devices.
    async fn patient(&self, devices: &[&Device]) -> PatientId {
        let patient: vitals::Patient = serde_json::from_value(json!({
            "id": PatientId::new(0), "name": "Anna", "birth_date": null, "sex": null, "tags": [], "conditions": [],
            "team": null, "organisation": null, "phone": null, "time_zone": null, "enrolled_at": 0, "plan": {},
        }))
        .unwrap();
        let id = self.store.create_patient(patient).await.unwrap().id;
        for device in devices {
            let from = Timestamp::parse_rfc3339("2026-01-01T00:00:00+08:00").unwrap();
            let binding = Binding {
                id: BindingId::new(0),
                device: device.key,
                slot: Slot::Any,
                from,
                to: None,
                patient: id,
                recorded_at: from,
            };
            self.store.create_binding(binding).await.unwrap();
        }
        id
    }

    async fn send(&self, from: &Arc<Device>, route: Up, payload: impl Into<Bytes>) -> Value {
        let tree = if from.kind == DeviceKind::Gateway { Tree::Gateways } else { Tree::Devices };
        let receipt = self.ingest.submit(from.clone(), tree, route, payload.into()).await.unwrap();
        serde_json::from_slice(&receipt.unwrap().to_json(self.store.zone())).unwrap()
    }

    async fn frame(&self, from: &Arc<Device>, uuid: &str, hex: &str) -> Value {
        let octets: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        self.send(from, Up::Gatt(Characteristic::parse(uuid).unwrap()), octets).await
    }

    async fn message(&self, from: &Arc<Device>, readings: &[Value]) -> Value {
        self.send(from, Up::Readings, json!({"v": 1, "readings": readings}).to_string()).await
    }

    /// Stored, duplicate, quarantined.
    async fn books(&self, device: &Device) -> (u64, u64, u64) {
        let rows: Vec<BookRow> =
            self.store.readings().books(jiff::civil::date(2026, 3, 2), Some(device.key)).await.unwrap();
        rows.first().map_or((0, 0, 0), |r| (r.stored, r.duplicate, r.quarantined))
    }

    async fn readings(&self, patient: PatientId) -> Vec<Arc<Reading>> {
        let (from, to) = (Timestamp::MIN, Timestamp::MAX);
        let q = ReadingQuery { patient, kind: None, from, to, after: None, limit: 1000 };
        self.store.readings().range(q).await.unwrap()
    }

    async fn held(&self) -> Vec<Arc<vitals::Held>> {
        self.store.readings().held(None, None, 100).await.unwrap()
    }
}

fn bp(seq: i64, minutes: i64, systolic: i64) -> Value {
    let now = Timestamp::parse_rfc3339(NOW).unwrap();
    let time = Timestamp::from_micros(now.as_micros() - minutes * 60_000_000).to_rfc3339(&vitals::Zone::default());
    json!({"seq": seq, "kind": "blood_pressure", "time": time, "systolic": systolic, "diastolic": 80, "unit": "mmHg"})
}

fn words(receipt: &Value) -> Vec<String> {
    let word = |r: &Value| match r["reasons"].as_array() {
        Some(reasons) => format!("{} {}", r["result"].as_str().unwrap(), reasons[0].as_str().unwrap()),
        None => r["result"].as_str().unwrap().to_owned(),
    };
    receipt["results"].as_array().unwrap().iter().map(word).collect()
}

/// 2026-03-02 07:55:00.
const STAMP: &str = "ea070302073700";

/// 104 mg/dL, with a context to follow.
fn glucose(seq: u8) -> String {
    format!("12{seq:02x}00{STAMP}68b011")
}

fn context(seq: u8, meal: u8) -> String {
    format!("02{seq:02x}00{meal:02x}")
}

#[tokio::test]
async fn a_context_finds_its_reading_whichever_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let (device, anna) = {
        let station = Station::open(folder.path()).await;
        let device = station.device("bg-1", DeviceKind::Meter).await;
        let anna = station.patient(&[&device]).await;
        // After it.
        assert_eq!(words(&station.frame(&device, "2a18", &glucose(21)).await), ["stored"]);
        let receipt = station.frame(&device, "2a34", &context(21, 3)).await;
        assert_eq!((&receipt["results"], &receipt["storedThrough"]), (&json!([]), &json!(21)));
        assert_eq!(station.readings(anna).await[0].context.meal, Some(Meal::Fasting));
        // Before it, with the meal's name, and then the process ends.
        assert_eq!(station.frame(&device, "2a34", "03160001000000" /* breakfast */).await["results"], json!([]));
        assert_eq!(station.frame(&device, "2a34", "03160001000002").await["results"], json!([]));
        (device, anna)
    };
    let station = Station::open(folder.path()).await;
    let again = &station.readings(anna).await[0];
    assert_eq!(again.context.meal, Some(Meal::Fasting), "an amendment survives a restart");
    assert_eq!(words(&station.frame(&device, "2a18", &glucose(22)).await), ["stored"]);
    let second = &station.readings(anna).await[1];
    assert_eq!((second.context.meal, second.context.meal_name), (Some(Meal::AfterMeal), Some(MealName::Breakfast)));
    let extra: Value = serde_json::from_str(second.context.extra.as_deref().unwrap()).unwrap();
    assert_eq!(extra["raw"], json!({"char": "2a18", "hex": glucose(22)}), "the octets are kept");
    assert_eq!(extra["context"], json!({"char": "2a34", "hex": "03160001000002"}));
    // Everything once more: known, and nothing changes.
    for seq in [21, 22] {
        assert_eq!(words(&station.frame(&device, "2a18", &glucose(seq)).await), ["duplicate"]);
    }
    station.frame(&device, "2a34", &context(21, 3)).await;
    assert_eq!(station.readings(anna).await.len(), 2);
    assert_eq!(station.books(&device).await, (2, 2, 0), "contexts are counted nowhere");
    // Another context for a number that has one is not that reading's: it waits, and the first stays.
    station.frame(&device, "2a34", &context(21, 5)).await;
    assert_eq!(station.readings(anna).await[0].context.meal, Some(Meal::Fasting));
}

#[tokio::test]
async fn a_context_that_is_sent_again_is_of_the_life_of_the_counter_of_the_reading_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path()).await;
    let device = station.device("bg-1", DeviceKind::Meter).await;
    let anna = station.patient(&[&device]).await;
    let at = |seq: u8, minute: u8, value: &str| format!("12{seq:02x}00ea07030207{minute:02x}00{value}b011");
    let (old, newer) = (at(5, 50, "68"), at(5, 55, "70"));
    for frame in [&old, &at(6, 51, "69"), &newer] {
        assert_eq!(words(&station.frame(&device, "2a18", frame).await), ["stored"], "the third begins a new life");
    }
    // The whole memory once more: what was before the counter began anew, then the rest.
    assert_eq!(words(&station.frame(&device, "2a18", &old).await), ["duplicate"]);
    station.frame(&device, "2a34", &context(5, 3)).await;
    assert_eq!(words(&station.frame(&device, "2a18", &newer).await), ["duplicate"]);
    station.frame(&device, "2a34", &context(5, 1)).await;
    let mut readings = station.readings(anna).await;
    readings.sort_by_key(|r| r.measured_at);
    let meals: Vec<_> = readings.iter().map(|r| r.context.meal).collect();
    assert_eq!(meals, [Some(Meal::Fasting), None, Some(Meal::BeforeMeal)]);
}

#[tokio::test]
async fn a_reserved_meal_code_marks_what_is_no_glucose() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path()).await;
    let device = station.device("bg-1", DeviceKind::Meter).await;
    let anna = station.patient(&[&device]).await;
    station.frame(&device, "2a18", &glucose(4)).await;
    station.frame(&device, "2a34", &context(4, 6)).await;
    let ketone = &station.readings(anna).await[0];
    assert_eq!((ketone.disposition, &*ketone.flags[0]), (Disposition::Excluded, "not_glucose"));
    station.frame(&device, "2a34", &context(5, 6)).await;
    assert_eq!(words(&station.frame(&device, "2a18", &glucose(5)).await), ["quarantined kind_unknown"]);
}

#[tokio::test]
async fn frames_are_kept_flagged_excluded_and_held_as_the_contract_says() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path()).await;
    let device = station.device("bp-1", DeviceKind::Meter).await;
    let anna = station.patient(&[&device]).await;
    let frame = format!("0e8a0058006800{STAMP}3e00ff");
    assert_eq!(words(&station.frame(&device, "2a35", &frame).await), ["stored"]);
    assert_eq!(words(&station.frame(&device, "2a35", &frame).await), ["duplicate"], "no counter: minute and values");
    let kept = &station.readings(anna).await[0];
    assert!(kept.seq < 0 && kept.user_slot.is_none(), "255 is nobody");
    for (uuid, hex, expected) in [
        ("2a35", format!("06ff07ff07ff07{STAMP}ff07"), "quarantined no_value"),
        ("2a35", format!("027f004f00ff07{STAMP}"), "stored"),
        ("2a35", format!("127f004f00ff07{STAMP}0200"), "duplicate"),
        ("2a35", format!("1280004f00ff07{STAMP}0200"), "flagged cuff_loose"),
        ("2a35", format!("03b8f06ff0ff07{STAMP}"), "stored"),
        ("2a35", format!("0281004f00ff07{STAMP}aa"), "quarantined trailing_bytes"),
        ("2a35", "027f004f00ff07ea07021e073700".to_owned(), "quarantined time_invalid"),
        ("2a35", "1e8a0058".to_owned(), "quarantined truncated"),
        ("2a34", "02".to_owned(), "quarantined truncated"),
        ("2a18", format!("081200{STAMP}4000"), "flagged"),
        ("2a18", format!("081300{STAMP}2000"), "flagged"),
        ("2a18", format!("021400{STAMP}68b01a"), "excluded"),
        ("2a18", format!("0a1500{STAMP}68b0110400"), "quarantined sample_insufficient"),
        ("2a18", format!("001600{STAMP}"), "quarantined no_value"),
        ("2a18", format!("061700{STAMP}4ec011"), "stored"),
        ("2aa7", "060078001e00".to_owned(), "stored"),
        ("2b34", "628c005a006a0000000000d4fe3731".to_owned(), "stored"),
    ] {
        assert_eq!(words(&station.frame(&device, uuid, &hex).await), [expected], "{uuid} {hex}");
    }
    let readings = station.readings(anna).await;
    let text = |r: &Reading| match &r.values {
        Values::Pressure { systolic, diastolic, map, .. } => {
            format!("{systolic}/{diastolic} {} {}", map.map_or("-".into(), |m| m.to_string()), r.unit.as_str())
        }
        Values::Glucose(vitals::GlucoseValue::Value(v)) => format!("{v} {}", r.unit.as_str()),
        Values::Glucose(other) => format!("{other:?}"),
    };
    let mut all: Vec<(ReadingId, String)> = readings.iter().map(|r| (r.id, text(r))).collect();
    all.sort_unstable();
    let all: Vec<String> = all.into_iter().map(|(_, text)| text).collect();
    let expected = [
        "138/88 104 mmHg",
        "127/79 - mmHg",
        "128/79 - mmHg",
        "18.4/11.1 - kPa",
        "Low",
        "High",
        "104 mg/dL",
        "7.8 mmol/L",
        "120 mg/dL",
        "140/90 106 mmHg",
    ];
    assert_eq!(all, expected);
    assert!(station.held().await.iter().any(|h| h.bytes == [0x1e, 0x8a, 0x00, 0x58]), "held with its octets");
}

#[tokio::test]
async fn a_gateway_speaks_for_its_list_and_the_rest_waits_for_the_list_to_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path()).await;
    let gateway = station.device("gw-1", DeviceKind::Gateway).await;
    let (one, two) = (station.device("bp-1", DeviceKind::Meter).await, station.device("bp-2", DeviceKind::Meter).await);
    let anna = station.patient(&[&one, &two]).await;
    station.store.set_gateway_devices(gateway.key, [one.key].into()).await.unwrap();
    let of = |device: &str, mut reading: Value| {
        reading["device"] = json!(device);
        reading
    };
    let all = [of("bp-1", bp(7, 9, 131)), of("bp-2", bp(3, 8, 132)), of("nobody", bp(1, 7, 133)), bp(1, 6, 134)];
    let receipt = station.message(&gateway, &all).await;
    assert_eq!(
        words(&receipt),
        ["stored", "quarantined not_allowed", "quarantined not_allowed", "quarantined not_allowed"]
    );
    assert_eq!(receipt["results"][0]["device"], "bp-1");
    assert_eq!((&receipt["results"][1]["device"], &receipt["results"][1]["seq"]), (&json!("bp-2"), &json!(3)));
    assert_eq!(receipt["storedThrough"], Value::Null, "several counters have no common number");
    let alone = station.message(&gateway, &[of("bp-1", bp(8, 5, 135))]).await;
    assert_eq!((words(&alone), &alone["storedThrough"]), (vec!["stored".into()], &json!(8)));
    assert_eq!((station.books(&one).await, station.books(&gateway).await), ((2, 0, 0), (0, 0, 3)));

    // The list is mended: what was held for bp-2 is its own, at the time at which it was measured.
    let held = station.held().await;
    let waiting = held.iter().find(|h| String::from_utf8_lossy(&h.bytes).contains("bp-2")).unwrap();
    assert!(!station.ingest.replay(waiting.id).await.unwrap().released, "not yet");
    station.store.set_gateway_devices(gateway.key, [one.key, two.key].into()).await.unwrap();
    let done = station.ingest.replay(waiting.id).await.unwrap();
    assert!(done.released && done.results[0].device.as_ref().unwrap().as_str() == "bp-2");
    assert_eq!((station.books(&two).await, station.books(&gateway).await), ((1, 0, 0), (0, 0, 2)));
    assert_eq!(station.readings(anna).await.len(), 3);
    assert!(station.ingest.replay(waiting.id).await.is_err(), "once");
    assert_eq!(station.held().await.len(), 2);
}

#[tokio::test]
async fn a_kiosks_token_says_whose_reading_it_is_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path()).await;
    let kiosk = station.device("k-1", DeviceKind::Kiosk).await;
    let (anna, bo) = (station.patient(&[]).await, station.patient(&[&kiosk]).await);
    let later = |seconds| {
        let now = station.store.clock().now().plus(Duration::from_secs(seconds));
        station.store.clock().move_to(now).unwrap();
    };
    station.store.open_kiosk_session(kiosk.key, anna, store::token_key("anna's")).await.unwrap();
    let measured = |seq: i64, token: Option<&str>| {
        let time = station.store.clock().now().to_rfc3339(&vitals::Zone::default());
        let mut reading = bp(seq, 0, 130 + seq);
        reading["time"] = json!(time);
        token.map_or(Value::Null, |t| json!(t)).clone_into(&mut reading["session"]);
        reading
    };
    later(60);
    let first = measured(1, Some("anna's"));
    later(200);
    let late = measured(2, Some("anna's"));
    later(40);
    let after = measured(3, Some("anna's"));
    let all = [first, late, after, measured(4, None), measured(5, Some("stolen"))];
    assert_eq!(words(&station.message(&kiosk, &all).await), ["stored"; 5]);
    let systolic = |all: Vec<Arc<Reading>>| all.iter().map(|r| r.pressure().unwrap().0).collect::<Vec<_>>();
    assert_eq!(systolic(station.readings(anna).await), [131.0, 132.0], "five minutes, by the time of measurement");
    assert_eq!(systolic(station.readings(bo).await), [0.0; 0], "a kiosk's binding is its token");
    assert_eq!(systolic(station.store.readings().unassigned(None, 10).await.unwrap()), [133.0, 134.0, 135.0]);
    // A change of bindings takes nothing away from who was logged in.
    assert_eq!(station.store.readings().reattribute(kiosk.key).await.unwrap(), 0);
    assert_eq!(station.readings(anna).await.len(), 2);
    let kept = format!("{:?}", station.readings(anna).await[0].context.extra);
    assert!(!kept.contains("anna's"), "the token is kept nowhere");
}

#[tokio::test]
async fn what_is_held_can_be_tried_again_and_the_books_follow() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = {
        let station = Station::open(folder.path()).await;
        let device = station.device("bp-1", DeviceKind::Meter).await;
        station.patient(&[&device]).await;
        let all = [bp(1, 9, 131), bp(2, 8, 2047), json!("nothing")];
        assert_eq!(
            words(&station.message(&device, &all).await),
            ["stored", "quarantined implausible", "quarantined seq_invalid"]
        );
        station.send(&device, Up::Readings, "{\"v\":1,").await;
        let held = station.held().await;
        for entry in &held {
            let done = station.ingest.replay(entry.id).await.unwrap();
            assert!(!done.released && done.results[0].reasons[0].as_ref() == entry.reasons[0].as_str());
        }
        assert_eq!((station.held().await.len(), station.books(&device).await), (3, (1, 0, 3)));
        // As an older program would have left it: a frame that nobody could read yet, and a reading in a unit unknown then.
        let day = jiff::civil::date(2026, 3, 2);
        let now = station.store.clock().now();
        let old = |route: &'static str, bytes: &[u8], seq, reason| vitals::Held {
            id: ReadingId::new(0),
            device: device.key,
            epoch: 0,
            seq,
            patient: None,
            measured_at: seq.map(|_: i64| Timestamp::parse_rfc3339("2026-03-02T07:30:00+08:00").unwrap()),
            received_at: now,
            reasons: vec![reason],
            bytes: bytes.to_vec(),
            route: route.into(),
        };
        let frame: Vec<u8> = vec![0x06, 138, 0, 88, 0, 104, 0, 0xEA, 7, 3, 2, 7, 40, 0, 62, 0];
        let reading = json!({"seq": 3, "kind": "blood_pressure", "time": "2026-02-27T07:23:00", "systolic": 133,
            "diastolic": 83, "unit": "mmHg"})
        .to_string();
        let entries = [
            old("gatt/2a35", &frame, None, vitals::Reason::KindUnknown),
            old("readings", reading.as_bytes(), Some(3), vitals::Reason::UnitUnknown),
        ];
        station
            .store
            .readings()
            .submit(day, 2, move |desk| {
                entries
                    .into_iter()
                    .try_for_each(|held| desk.hold(store::NewHeld { held, told: None, trusted: false }).map(drop))
            })
            .await
            .unwrap();
        assert_eq!(station.books(&device).await, (1, 0, 5));
        let held = station.held().await;
        for entry in &held[..2] {
            assert!(station.ingest.replay(entry.id).await.unwrap().released, "{:?}", entry.reasons);
        }
        assert_eq!(station.books(&device).await, (3, 0, 3), "moved from one column to the other");
        held[0].id
    };
    let station = Station::open(folder.path()).await;
    let device = station.store.directory().device("bp-1").unwrap();
    assert_eq!((station.held().await.len(), station.books(&device).await), (3, (3, 0, 3)), "after a restart too");
    assert!(station.ingest.replay(waiting).await.is_err());
    let anna = station.store.directory().patients()[0].id;
    let readings = station.readings(anna).await;
    let zone = vitals::Zone::default();
    let shown: Vec<String> = readings
        .iter()
        .map(|r| format!("{} {}", &r.measured_at.to_rfc3339(&zone)[..16], r.time_quality.as_str()))
        .collect();
    // The reading keeps the time that the clock pair of its message gave it.
    assert_eq!(shown, ["2026-03-02T07:30 corrected", "2026-03-02T07:40 assumed", "2026-03-02T07:51 exact"]);
}

#[tokio::test]
async fn a_gap_is_asked_for_and_a_hello_is_answered_with_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path()).await;
    let device = station.device("bp-1", DeviceKind::Meter).await;
    station.patient(&[&device]).await;
    let commands = || async {
        let now = station.store.clock().now();
        let all = station.store.pending_commands(device.key, now).await.unwrap();
        all.iter().map(|c| serde_json::from_str::<Value>(&c.body).unwrap()).collect::<Vec<_>>()
    };
    let submit = |route, payload: &str| {
        station.ingest.submit(device.clone(), Tree::Devices, route, Bytes::copy_from_slice(payload.as_bytes()))
    };
    let hello = r#"{"model":"BM-85","firmware":"1.2","battery":80,"lastSeq":9}"#;
    assert!(submit(Up::Hello, hello).await.unwrap().is_none(), "no receipt");
    assert!(submit(Up::Status, "anything").await.unwrap().is_none());
    let said = station.store.presence(device.key).await.unwrap();
    assert_eq!((said.firmware.as_deref(), said.battery, said.last_seq), (Some("1.2"), Some(80), Some(9)));
    assert!(said.hello_at.is_some() && said.status_at.is_some() && said.lost_at.is_none());
    station.ingest.lost(&device, br#"{"battery":9}"#).await.unwrap();
    let said = station.store.presence(device.key).await.unwrap();
    assert_eq!((said.battery, said.lost_at), (Some(9), Some(station.store.clock().now())), "its will");
    assert!(submit(Up::Status, "back").await.unwrap().is_none());
    assert_eq!(station.store.presence(device.key).await.unwrap().lost_at, None, "it speaks again");
    let time = &commands().await[0];
    assert_eq!((&time["type"], &time["now"], &time["v"]), (&json!("time"), &json!(NOW), &json!(1)));
    station.message(&device, &[bp(1, 9, 131), bp(2, 8, 132), bp(5, 5, 133)]).await;
    station.message(&device, &[bp(6, 4, 134)]).await;
    let all = commands().await;
    let resends: Vec<&Value> = all.iter().filter(|c| c["type"] == "resend").collect();
    assert_eq!(resends.len(), 1, "one, not one a message");
    assert_eq!((&resends[0]["from"], &resends[0]["to"]), (&json!(3), &json!(4)));
    assert_eq!(station.books(&device).await, (4, 0, 0), "hello and status are no readings");
}
