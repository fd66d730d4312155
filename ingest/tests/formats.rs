//! FHIR and vendors' payloads, through the whole of ingest and the store, held entries and adapters that come later.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

mod station;

use serde_json::{Value, json};
use station::{Station, words};
use vitals::{ReadingId, TimeQuality};
use wire::topic::Up;

fn observation(seq: &str, time: &str, systolic: &Value) -> Value {
    let part = |code: &str, value: &Value| {
        json!({"code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}})
    };
    json!({"resourceType": "Observation", "status": "final", "effectiveDateTime": time,
        "identifier": [{"system": "urn:hearthbeat:seq", "value": seq}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
        "component": [part("8480-6", systolic), part("8462-4", &json!(80))]})
}

#[tokio::test]
async fn a_bundle_is_answered_one_by_one_and_again_is_a_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let entry = |o: Value| json!({"resource": o});
    let bundle = json!({"resourceType": "Bundle", "id": "b-7", "entry": [
        entry(observation("1", "2026-03-02T07:00:00+08:00", &json!(131))),
        entry(observation("2", "2026-03-02T07:01:00+08:00", &json!(2047))),
        entry(observation("3", "2026-03-02", &json!(132))),
        entry(observation("4", "2026-03-02T07:03:00+08:00", &json!(134))),
    ]});
    let receipt = station.send(Up::Fhir, &bundle).await;
    assert_eq!(receipt["msgId"], "b-7");
    assert_eq!(words(&receipt), ["stored", "implausible", "time_invalid", "stored"]);
    assert_eq!(receipt["results"][3]["seq"], 4);
    let quality: Vec<_> = station.stored().await.iter().map(|r| r.time_quality).collect();
    assert_eq!(quality, [TimeQuality::Exact; 2]);
    let held = station.held().await;
    let bytes: Value = serde_json::from_slice(&held[1].bytes).unwrap();
    assert_eq!((&*held[1].route, bytes), ("fhir", bundle["entry"][1]["resource"].clone()), "its own bytes");
    let again = station.send(Up::Fhir, &bundle).await;
    assert!(again["results"].as_array().unwrap().iter().all(|r| r["result"] == "duplicate"));
    assert_eq!(station.books().await, (2, 4, 2));
    // What is held is read again by the same eyes, and stays for the same reason.
    let replayed = station.ingest.replay(held[1].id).await.unwrap();
    assert!(!replayed.released && &*replayed.results[0].reasons[0] == "implausible");
    assert_eq!(
        station.send(Up::Fhir, &json!({"resourceType": "Patient"})).await["results"][0]["reasons"],
        json!(["kind_unknown"])
    );
}

#[tokio::test]
async fn an_observation_without_a_time_is_now_only_if_it_is_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let mut timeless = observation("9", "", &json!(131));
    timeless.as_object_mut().unwrap().remove("effectiveDateTime");
    assert_eq!(words(&station.send(Up::Fhir, &timeless).await), ["stored"]);
    assert_eq!(station.stored().await[0].time_quality, TimeQuality::Received);
    timeless["identifier"][0]["value"] = json!("8");
    timeless["component"][0]["valueQuantity"]["value"] = json!(133);
    assert_eq!(words(&station.send(Up::Fhir, &timeless).await), ["clock"]);
    let held = station.held().await;
    assert!(!station.ingest.replay(held[0].id).await.unwrap().released, "nobody has learnt when it was");
}

#[tokio::test]
async fn a_payload_waits_for_its_adapter_and_is_then_read() {
    let (folder, adapters) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let station = Station::open(folder.path(), Some(adapters.path())).await;
    let acme = || Up::Vendor("acme".into());
    let message = json!({"recs": [
        {"n": 1, "t": 1_772_407_000, "s": 138, "d": 88, "who": "Wang Fang"},
        {"n": 2, "t": 1_772_407_060, "s": 2047, "d": 88},
        {"n": 3, "t": 1_772_407_120, "g": 54}]});
    assert_eq!(words(&station.send(acme(), &message).await), ["kind_unknown"]);
    assert_eq!(words(&station.send(acme(), &message).await), ["kind_unknown"]);
    assert_eq!(station.books().await, (0, 1, 1));
    let waiting = station.held().await.remove(0);
    assert!(!station.ingest.replay(waiting.id).await.unwrap().released);
    let file = "profile = \"acme\"\nversion = 1\ntitle = \"Acme\"\nelements = [\"recs\"]\nseq = [\"n\"]\npersonal = [\"who\"]\n\
                [time]\nnames = [\"t\"]\nform = \"epoch_s\"\n[[blood_pressure]]\nunit = \"mmHg\"\nsystolic = [\"s\"]\ndiastolic = [\"d\"]\n\
                [[blood_glucose]]\nunit = \"mmol/L\"\nscale = -1\nglucose = [\"g\"]\n";
    std::fs::write(adapters.path().join("acme.toml"), file).unwrap();
    station.ingest.reload(&station.config).unwrap();
    let replayed = station.ingest.replay(waiting.id).await.unwrap();
    let verdicts: Vec<_> = replayed.results.iter().map(|o| o.verdict.as_str()).collect();
    assert_eq!((replayed.released, verdicts), (true, vec!["stored", "quarantined", "stored"]));
    let stored = station.stored().await;
    assert_eq!(stored.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(stored[1].glucose(), Some(vitals::GlucoseLevel::Mmol(5.4)));
    assert!(stored[0].context.extra.as_deref().unwrap().contains("acme 1"));
    assert_eq!(station.books().await, (2, 1, 1));
    // The message itself again: every measurement is known.
    let again = station.send(acme(), &message).await;
    assert!(again["results"].as_array().unwrap().iter().all(|r| r["result"] == "duplicate"));
    // The one that stayed is read again, alone, when the adapter learns better: here it was hundredths of a kPa.
    let held = station.held().await.remove(0);
    let alone: Value = serde_json::from_slice(&held.bytes).unwrap();
    assert_eq!(alone["hb:element"], json!({"n": 2, "t": 1_772_407_060, "s": 2047, "d": 88}));
    std::fs::write(adapters.path().join("acme.toml"), file.replace("unit = \"mmHg\"", "unit = \"mmHg\"\nscale = -1"))
        .unwrap();
    station.ingest.reload(&station.config).unwrap();
    let still = station.ingest.replay(held.id).await.unwrap();
    assert_eq!(&*still.results[0].reasons[0], "implausible", "204.7 over 8.8 is no pressure either");
    std::fs::write(
        adapters.path().join("acme.toml"),
        file.replace("[\"d\"]", "[\"d2\", \"d\"]").replace("systolic = [\"s\"]", "systolic = [\"n\"]"),
    )
    .unwrap();
    assert!(station.ingest.reload(&station.config).is_ok());
    std::fs::write(adapters.path().join("acme.toml"), "profile = 1").unwrap();
    let fault = station.ingest.reload(&station.config).unwrap_err().to_string();
    assert!(fault.contains("acme.toml:1:"), "{fault}");
}

#[tokio::test]
async fn a_kiosks_words_about_a_person_are_kept_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let kiosk = |high: i64| {
        json!({"from": "PI", "time": 1_772_407_000, "citiz": "1100000000000", "nameEN": "Somchai", "gender": "1",
        "data": {"attribute": "WBP_JUMPER", "value": {"bp_high": high, "bp_low": 78, "pr": 71}}})
    };
    let receipts = [
        station.send(Up::Vendor("ble-gateway".into()), &kiosk(120)).await,
        station.send(Up::Vendor("ble-gateway".into()), &kiosk(2047)).await,
    ];
    assert_eq!(receipts.iter().flat_map(words).collect::<Vec<_>>(), ["stored", "implausible"]);
    let id: ReadingId = station.stored().await[0].id;
    let whole = [
        serde_json::to_string(&*station.store.readings().by_id(id).await.unwrap().unwrap()).unwrap(),
        String::from_utf8_lossy(&station.held().await[0].bytes).into_owned(),
    ];
    for text in whole {
        assert!(!text.contains("1100000000000") && !text.contains("Somchai"), "{text}");
    }
}
