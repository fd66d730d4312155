//! What came through the broker above for a device that nobody had provisioned, in every form, and its replay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

mod station;

use bytes::Bytes;
use serde_json::{Value, json};
use station::Station;
use std::sync::Arc;
use vitals::{Device, DeviceKey, DeviceKind, Held, Reading};

const NAME: &str = "Somchai";

async fn device(station: &Station, id: &str, kind: DeviceKind) -> Arc<Device> {
    let new = Device {
        key: DeviceKey::new(0),
        id: id.parse().unwrap(),
        kind,
        label: None,
        model: None,
        organisation: None,
        secret_hash: None,
        revoked: false,
    };
    Arc::new(station.store.create_device(new).await.unwrap())
}

async fn arrives(station: &Station, through: &Arc<Device>, topic: &str, payload: impl Into<Bytes>) -> String {
    let receipt = station.ingest.hold_stranger(through.clone(), topic.to_owned(), payload.into()).await.unwrap();
    let receipt: Value = serde_json::from_slice(&receipt.unwrap().to_json(station.store.zone())).unwrap();
    receipt["results"][0]["result"].as_str().unwrap().to_owned()
}

/// Results of a replay, with reasons where there are some.
async fn replay(station: &Station, held: &Held) -> (bool, Vec<String>) {
    let done = station.ingest.replay(held.id).await.unwrap();
    let word = |o: &wire::receipt::Outcome| {
        if o.reasons.is_empty() { o.verdict.as_str().to_owned() } else { o.reasons.join(",") }
    };
    (done.released, done.results.iter().map(word).collect())
}

async fn held_of(station: &Station, topic: &str) -> Arc<Held> {
    station.held().await.into_iter().find(|h| h.route == topic).unwrap_or_else(|| panic!("nothing of {topic} is held"))
}

fn bundle() -> Value {
    let part = |code: &str, value: i64| {
        json!({"code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}})
    };
    let entry = |seq: &str, time: &str, systolic: i64| {
        json!({"resource": {"resourceType": "Observation", "status": "final", "effectiveDateTime": time,
            "identifier": [{"system": "urn:hearthbeat:seq", "value": seq}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
            "component": [part("8480-6", systolic), part("8462-4", 80)]}})
    };
    json!({"resourceType": "Bundle", "id": "b-1", "entry": [
        entry("1", "2026-03-01T07:00:00+08:00", 131), entry("2", "2026-03-01T07:05:00+08:00", 2047),
        entry("3", "2026-03-01T07:10:00+08:00", 133)]})
}

fn kiosk() -> Value {
    json!({"from": "PI", "time": 1_772_320_000, "citiz": "1100000000000", "nameEN": NAME, "gender": "1",
        "data": {"attribute": "WBP_JUMPER", "value": {"bp_high": 120, "bp_low": 78, "pr": 71}}})
}

#[tokio::test]
async fn every_form_waits_for_its_device_and_is_then_read_as_if_it_came_now() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let through = device(&station, "upstream", DeviceKind::Gateway).await;
    // 120 over 80 mmHg, pulse 60, 2026-03-01 07:30:00.
    let frame = [0x06, 120, 0, 80, 0, 90, 0, 0xEA, 0x07, 3, 1, 7, 30, 0, 60, 0];
    let forms: [(&str, Bytes, &[&str]); 5] = [
        ("hb/v1/devices/n-1/fhir", bundle().to_string().into(), &["stored", "implausible", "stored"]),
        ("hb/v1/devices/n-1/vendor/ble-gateway", kiosk().to_string().into(), &["stored"]),
        ("hb/v1/devices/n-1/vendor/nobody", Bytes::from_static(b"\x01\x02"), &["kind_unknown"]),
        ("hb/v1/devices/n-1/gatt/2a35", Bytes::copy_from_slice(&frame), &["stored"]),
        ("hb/v1/devices/n-1/fhir", Bytes::from_static(b"{\"resourceType\":\"Patient\"}"), &["kind_unknown"]),
    ];
    for (topic, payload, _) in &forms {
        assert_eq!(arrives(&station, &through, topic, payload.clone()).await, "quarantined", "{topic}");
        assert_eq!(arrives(&station, &through, topic, payload.clone()).await, "duplicate", "{topic}");
    }
    let held = station.held().await;
    assert_eq!(held.len(), 5);
    assert!(held.iter().all(|h| h.device == through.key && h.reasons[0].as_str() == "not_allowed"));
    assert!(held.iter().all(|h| !String::from_utf8_lossy(&h.bytes).contains(NAME)), "a person's name is not kept");
    for entry in &held {
        assert_eq!(replay(&station, entry).await, (false, vec!["not_allowed".into()]), "nobody has provisioned it");
    }

    let new = device(&station, "n-1", DeviceKind::Meter).await;
    let mut of_new: Vec<Arc<Reading>> = Vec::new();
    for (entry, (topic, payload, results)) in held.iter().rev().zip(&forms) {
        assert_eq!(entry.route, *topic);
        let (released, said) = replay(&station, entry).await;
        assert_eq!(
            (released, said.iter().map(String::as_str).collect::<Vec<_>>()),
            (true, results.to_vec()),
            "{topic}"
        );
        assert!(station.ingest.replay(entry.id).await.is_err(), "once");
        let fresh: Vec<_> =
            station.stored().await.into_iter().filter(|r| of_new.iter().all(|o| o.id != r.id)).collect();
        for reading in &fresh {
            assert_eq!((reading.device, reading.received_at), (new.key, entry.received_at), "as it came then");
            let original =
                station.store.readings().original(reading.id).await.unwrap().expect("the bytes as they came");
            assert!(!String::from_utf8_lossy(&original.bytes).contains(NAME));
            assert!(topic.ends_with(&original.route) && (topic.contains("vendor") || original.bytes == *payload));
        }
        of_new.extend(fresh);
    }
    of_new.sort_by_key(|r| r.measured_at);
    let times: Vec<String> =
        of_new.iter().map(|r| r.measured_at.to_rfc3339(&vitals::Zone::default())[..16].into()).collect();
    assert_eq!(times, ["2026-03-01T07:00", "2026-03-01T07:06", "2026-03-01T07:10", "2026-03-01T07:30"]);
    // What could not be read is the new device's own, under its own topic, and waits for what will read it.
    let mut left: Vec<(String, &str)> =
        station.held().await.iter().map(|h| (h.route.to_string(), h.reasons[0].as_str())).collect();
    left.sort();
    let expected = [("fhir", "implausible"), ("fhir", "kind_unknown"), ("vendor/nobody", "kind_unknown")];
    assert_eq!(left, expected.map(|(route, reason)| (route.to_owned(), reason)));
    assert!(station.held().await.iter().all(|h| h.device == new.key));
    // The broker above brings the same once more, to the device itself now: nothing is stored twice.
    let (devices, fhir) = (wire::topic::Tree::Devices, wire::topic::Up::Fhir);
    let again = station.ingest.submit(new.clone(), devices, fhir, bundle().to_string().into()).await.unwrap();
    let again: Value = serde_json::from_slice(&again.unwrap().to_json(station.store.zone())).unwrap();
    assert!(again["results"].as_array().unwrap().iter().all(|r| r["result"] == "duplicate"), "{again}");
    let books = station.store.readings().books(jiff::civil::date(2026, 3, 2), Some(through.key)).await.unwrap();
    assert_eq!(
        (books[0].stored, books[0].duplicate, books[0].quarantined),
        (0, 5, 0),
        "nothing is the broker's any more"
    );
}

#[tokio::test]
async fn a_gateways_message_is_judged_by_the_list_of_the_gateway_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let through = device(&station, "upstream", DeviceKind::Gateway).await;
    let topic = "hb/v1/gateways/g-1/readings";
    let reading = |device: &str, seq: i64| {
        json!({"device": device, "seq": seq, "kind": "blood_pressure", "time": "2026-03-01T07:00:00+08:00",
            "systolic": 130 + seq, "diastolic": 80, "unit": "mmHg"})
    };
    let payload = json!({"v": 1, "readings": [reading("m-1", 1), reading("m-2", 2)]}).to_string();
    arrives(&station, &through, topic, payload).await;
    // A meter of that name is no gateway.
    device(&station, "m-2", DeviceKind::Meter).await;
    let entry = held_of(&station, topic).await;
    assert_eq!(replay(&station, &entry).await, (false, vec!["not_allowed".into()]));
    let gateway = device(&station, "g-1", DeviceKind::Gateway).await;
    station.store.set_gateway_devices(gateway.key, [station.device.key].into()).await.unwrap();
    assert_eq!(replay(&station, &entry).await, (true, vec!["stored".into(), "not_allowed".into()]));
    assert_eq!(station.stored().await.iter().map(|r| r.device).collect::<Vec<_>>(), [station.device.key]);
    assert_eq!(station.held().await.iter().map(|h| h.device).collect::<Vec<_>>(), [gateway.key]);
}

#[tokio::test]
async fn a_payload_that_waited_for_its_adapter_is_kept_without_the_persons_in_it() {
    let (folder, adapters) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let station = Station::open(folder.path(), Some(adapters.path())).await;
    let message = json!({"n": 1, "t": 1_772_320_000, "s": 138, "d": 88, "who": NAME});
    station.send(wire::topic::Up::Vendor("acme".into()), &message).await;
    let file = "profile = \"acme\"\nversion = 1\ntitle = \"Acme\"\nseq = [\"n\"]\npersonal = [\"who\"]\n\
                [time]\nnames = [\"t\"]\nform = \"epoch_s\"\n[[blood_pressure]]\nunit = \"mmHg\"\nsystolic = [\"s\"]\n\
                diastolic = [\"d\"]\n";
    std::fs::write(adapters.path().join("acme.toml"), file).unwrap();
    station.ingest.reload(&station.config).unwrap();
    let held = station.held().await.remove(0);
    assert_eq!(replay(&station, &held).await, (true, vec!["stored".into()]));
    let stored = station.stored().await.remove(0);
    let original = station.store.readings().original(stored.id).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&original.bytes).contains(NAME), "{original:?}");
    assert!(!serde_json::to_string(&*stored).unwrap().contains(NAME));
}

/// Whether some file of the installation holds these letters.
fn is_in_a_file(folder: &std::path::Path, what: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).filter(|p| p.is_file());
    files.into_iter().any(|file| std::fs::read(file).unwrap().windows(what.len()).any(|w| w == what.as_bytes()))
}

#[tokio::test]
async fn an_erasure_takes_what_was_held_of_a_stranger_and_has_been_replayed_since() {
    const CANARY: &str = "canary-of-a-stranger";
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let through = device(&station, "upstream", DeviceKind::Gateway).await;
    let reading = |device: &str, note: &str| {
        json!({"v": 1, "readings": [{"device": device, "seq": 1, "kind": "blood_pressure",
            "time": "2026-03-01T07:00:00+08:00", "systolic": 131, "diastolic": 80, "unit": "mmHg", "context": {"note": note}}]})
        .to_string()
    };
    let topics = ["hb/v1/devices/n-1/readings", "hb/v1/devices/n-2/readings"];
    arrives(&station, &through, topics[0], reading("n-1", CANARY)).await;
    arrives(&station, &through, topics[1], reading("n-2", "somebody else")).await;
    let mut people = Vec::new();
    for (name, topic) in ["n-1", "n-2"].into_iter().zip(topics) {
        let meter = device(&station, name, DeviceKind::Meter).await;
        people.push(station.person(&meter).await);
        let entry = held_of(&station, topic).await;
        assert_eq!(replay(&station, &entry).await, (true, vec!["stored".into()]));
    }
    assert!(is_in_a_file(folder.path(), CANARY));
    let done = station.store.erase_patient(people[0]).await.unwrap();
    assert_eq!((done.readings.readings_before, done.readings.readings_after), (1, 0));
    assert!(!is_in_a_file(folder.path(), CANARY), "neither the reading nor what was held of it");
    let theirs = station.store.readings().latest(people[1]).await.unwrap().unwrap();
    assert!(station.store.readings().original(theirs.id).await.unwrap().is_some(), "nobody else's message went");
    assert_eq!(station.store.readings().recount(station.store.zone()).unwrap().mismatches, []);
}

#[tokio::test]
async fn two_who_replay_one_entry_do_not_fail_the_messages_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let through = device(&station, "upstream", DeviceKind::Service).await;
    let ids: Vec<String> = (0..20).map(|n| format!("bp-{n}")).collect();
    for id in &ids {
        let reading = json!({"seq": 1, "time": "2026-03-01T07:00:00+08:00", "kind": "blood_pressure", "unit": "mmHg",
            "systolic": 131, "diastolic": 80});
        let message = json!({"v": 1, "readings": [reading]}).to_string();
        assert_eq!(arrives(&station, &through, &format!("hb/v1/devices/{id}/readings"), message).await, "quarantined");
    }
    for id in &ids {
        device(&station, id, DeviceKind::Meter).await;
    }
    for (n, held) in (1_i64..).zip(station.held().await) {
        let other = json!({"seq": n, "time": "2026-03-01T07:00:00+08:00", "kind": "blood_pressure", "unit": "mmHg",
            "systolic": 120, "diastolic": 80});
        let others = [other];
        let (one, two, word) =
            tokio::join!(station.ingest.replay(held.id), station.ingest.replay(held.id), station.message(&others));
        assert_eq!(word, ["stored"], "whoever is committed with the two hears of them nothing");
        let (done, late) = if one.is_ok() { (one, two) } else { (two, one) };
        assert!(done.unwrap().released && matches!(late, Err(store::StoreError::NotFound(_))), "once");
    }
    assert_eq!(station.held().await.len(), 0);
}
