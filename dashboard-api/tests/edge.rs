//! Kiosks, gateways, meters that patients claim: who may, and what comes of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{PASSWORD, World};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn one_person_is_logged_in_at_a_kiosk() {
    let world = World::new().await;
    let (one, two) = (world.district("1").await, world.district("2").await);
    let assistant = world.login("assistant-1", PASSWORD).await;
    world.post("/api/v1/devices", json!({"id": "kiosk-1", "kind": "kiosk"}), &assistant).await.must(201);
    let login = json!({"patientId": one["patient-record"]});
    let made = world.post("/api/v1/kiosks/kiosk-1/sessions", login.clone(), &assistant).await.must(201).json();
    let token = made["token"].as_str().unwrap();
    assert!(token.len() >= 22, "128 random bits and more");
    let kiosk = world.store.directory().device("kiosk-1").unwrap().key;
    let session = world.store.edge().session(kiosk, token).unwrap();
    assert_eq!(session.to, Some(session.from.plus(Duration::from_secs(300))));
    let foreign = json!({"patientId": two["patient-record"]});
    world.post("/api/v1/kiosks/kiosk-1/sessions", foreign, &assistant).await.problem(404);
    let stranger = world.login("assistant-2", PASSWORD).await;
    world.post("/api/v1/kiosks/kiosk-1/sessions", login.clone(), &stranger).await.problem(404);
    world.post("/api/v1/kiosks/d-1/sessions", login, &assistant).await.problem(404);
    world.call("DELETE", "/api/v1/kiosks/kiosk-1/sessions", Value::Null, &assistant, &[]).await.must(204);
    let ended = world.store.edge().session(kiosk, token).unwrap();
    assert_eq!(ended.to, Some(world.clock.now()));
}

#[tokio::test]
async fn a_gateways_list_names_devices_that_the_caller_may_name() {
    let world = World::new().await;
    world.district("1").await;
    world.district("2").await;
    let admin = world.login("station_admin-1", PASSWORD).await;
    world.post("/api/v1/devices", json!({"id": "gw-1", "kind": "gateway"}), &admin).await.must(201);
    let put = |list: Value| world.call("PUT", "/api/v1/gateways/gw-1/devices", list, &admin, &[]);
    assert_eq!(put(json!({"devices": ["d-1"]})).await.must(200).json(), json!({"devices": ["d-1"]}));
    put(json!({"devices": ["d-1", "d-2"]})).await.problem(422);
    put(json!({"devices": ["gw-1"]})).await.problem(422);
    put(json!({"devices": ["nothing"]})).await.problem(422);
    put(json!({})).await.problem(400);
    assert_eq!(
        world.get("/api/v1/gateways/gw-1/devices", &admin).await.must(200).json(),
        json!({"devices": ["d-1"]}),
        "a refused list changes nothing"
    );
    world.get("/api/v1/gateways/d-1/devices", &admin).await.problem(404);
    assert_eq!(put(json!({"devices": []})).await.must(200).json(), json!({"devices": []}));
}

#[tokio::test]
async fn a_patient_claims_a_meter_by_its_printed_code() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let made = world.post("/api/v1/devices", json!({"id": "new-1"}), &world.admin).await.must(201).json();
    let patient = world.login("patient-1", PASSWORD).await;
    world.post("/api/v1/devices/claim", json!({"code": "0000-0000-0000"}), &patient).await.problem(404);
    let typed = made["claimCode"].as_str().unwrap().to_lowercase().replace('-', " ");
    let claimed = world.post("/api/v1/devices/claim", json!({"code": typed}), &patient).await.must(201).json();
    assert_eq!(claimed["deviceId"], "new-1");
    let device = world.store.directory().device("new-1").unwrap().key;
    assert_eq!(world.store.directory().bindings(device)[0].patient.to_string(), ids["patient-record"]);
    world.post("/api/v1/devices/claim", json!({"code": typed}), &patient).await.problem(409);
}

#[tokio::test]
async fn a_device_is_shown_with_what_it_said_of_itself() {
    let world = World::new().await;
    world.district("1").await;
    let device = world.store.directory().device("d-1").unwrap().key;
    let said = store::Presence { firmware: Some("1.2".into()), battery: Some(80), ..store::Presence::default() };
    world.store.note_hello(device, said).await.unwrap();
    let gp = world.login("gp-1", PASSWORD).await;
    let shown = world.get("/api/v1/devices/d-1", &gp).await.must(200).json();
    assert_eq!((&shown["id"], &shown["firmware"], &shown["battery"]), (&json!("d-1"), &json!("1.2"), &json!(80)));
    assert!(shown["lastHelloAt"].is_string());
}
