//! Kiosks, gateways, meters that patients claim: who may, and what comes of it.

use crate::common;
use crate::common::{PASSWORD, World};
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

#[tokio::test]
async fn a_device_is_told_something_until_the_command_expires() {
    let world = World::new().await;
    world.district("1").await;
    world.district("2").await;
    let (gp, stranger, ops) = (
        world.login("gp-1", PASSWORD).await,
        world.login("gp-2", PASSWORD).await,
        world.login("ops-1", PASSWORD).await,
    );
    let path = "/api/v1/devices/d-1/commands";
    let device = world.store.directory().device("d-1").unwrap().key;
    let tell = async |body: Value, token: String| world.post(path, body, &token).await;
    for (body, status) in [
        (json!({"type": "dance"}), 400),
        (json!({"type": "message"}), 422),
        (json!({"type": "message", "text": "x".repeat(201)}), 422),
        (json!({"type": "message", "text": "hello", "expiresAt": "2026-03-04T09:00:00+08:00"}), 422),
        (json!({"type": "reminder", "text": "hello", "expiresAt": "2026-03-02T08:00:00+08:00"}), 422),
        (json!({"type": "resend", "from": 5, "to": 4}), 422),
        (json!({"type": "remeasure", "kind": "weight"}), 422),
        (json!({"type": "remeasure", "kind": "blood_pressure", "times": 9}), 422),
        (json!({"type": "config", "settings": {"x": "y".repeat(5000)}}), 422),
    ] {
        world.post(path, body, &gp).await.problem(status);
    }
    world.post(path, json!({"type": "time"}), &stranger).await.problem(404);
    world.post(path, json!({"type": "message", "text": "hello"}), &ops).await.problem(403);
    assert!(
        world.store.pending_commands(device, world.clock.now()).await.unwrap().is_empty(),
        "what is refused waits nowhere"
    );
    tell(json!({"type": "message", "text": " 请休息五分钟后再测 "}), gp.clone()).await.must(202);
    tell(json!({"type": "reminder", "text": "测血压"}), gp.clone()).await.must(202);
    tell(json!({"type": "config", "settings": {"beep": false}}), ops.clone()).await.must(202);
    tell(json!({"type": "resend", "from": 3, "to": 4}), ops.clone()).await.must(202);
    tell(json!({"type": "remeasure", "kind": "blood_glucose"}), gp.clone()).await.must(202);
    let time = tell(json!({"type": "time"}), ops.clone()).await.must(202).json();
    assert_eq!(time["expiresAt"], "2026-03-02T08:01:00+08:00");
    let waiting = world.store.pending_commands(device, world.clock.now()).await.unwrap();
    let bodies: Vec<Value> = waiting.iter().map(|c| serde_json::from_str(&c.body).unwrap()).collect();
    let words: Vec<&str> = bodies.iter().map(|b| b["type"].as_str().unwrap()).collect();
    assert_eq!(words, ["message", "reminder", "config", "resend", "remeasure", "time"]);
    assert!(bodies.iter().all(|b| b["v"] == 1 && b["id"].is_string() && b["expiresAt"].is_string()));
    assert_eq!((&bodies[0]["text"], &bodies[2]["settings"]), (&json!("请休息五分钟后再测"), &json!({"beep": false})));
    assert_eq!((&bodies[4]["times"], &bodies[5]["now"]), (&json!(1), &json!("2026-03-02T08:00:00+08:00")));
    world.later(Duration::from_secs(61));
    assert_eq!(
        world.store.pending_commands(device, world.clock.now()).await.unwrap().len(),
        5,
        "a time that is told late is told wrongly"
    );
}

#[tokio::test]
async fn a_message_as_it_came_is_shown_to_who_may_see_the_patient_and_only_if_it_is_all_theirs() {
    let world = World::new().await;
    let ids = world.district("1").await;
    world.district("2").await;
    let device = world.store.directory().device("d-1").unwrap().key;
    let sent = b"{\"v\":1,\"readings\":[]}".as_slice();
    let keep = async |seqs: [i64; 2], patients: [vitals::PatientId; 2]| {
        let now = world.clock.now();
        let reading = |i: usize| vitals::Reading {
            id: vitals::ReadingId::new(0),
            device,
            epoch: 0,
            seq: seqs[i],
            user_slot: None,
            patient: Some(patients[i]),
            measured_at: now,
            received_at: now,
            device_time: None,
            time_quality: vitals::TimeQuality::Exact,
            disposition: vitals::Disposition::Stored,
            values: common::glucose("6.2"),
            unit: vitals::Unit::MmolPerL,
            statuses: vitals::Statuses::default(),
            flags: Vec::new(),
            historical: false,
            context: vitals::Context::default(),
        };
        let readings = [reading(0), reading(1)];
        let work = move |desk: &mut store::Desk<'_>| {
            let keep = |reading| store::NewReading { reading, told: None, trusted: false };
            let ids: Result<Vec<_>, _> = readings.into_iter().map(|r| desk.keep(keep(r))).collect();
            desk.keep_original(device, "readings".into(), now, &sent.to_vec().into());
            ids
        };
        let day = now.day(&vitals::Zone::default());
        world.store.readings().submit(day, 2, work).await.unwrap()[0].to_string()
    };
    let mine: vitals::PatientId = ids["patient-record"].parse().unwrap();
    let (own, shared) = (keep([1, 2], [mine; 2]).await, keep([3, 4], [mine, vitals::PatientId::new(99)]).await);
    let gp = world.login("gp-1", PASSWORD).await;
    let shown = world.get(&format!("/api/v1/readings/{own}/original"), &gp).await.must(200).json();
    assert_eq!((&shown["route"], &shown["text"]), (&json!("readings"), &json!(std::str::from_utf8(sent).unwrap())));
    assert_eq!(shown["raw"].as_str().unwrap().len(), 2 * sent.len());
    world.get(&format!("/api/v1/readings/{shared}/original"), &gp).await.problem(409);
    let stranger = world.login("gp-2", PASSWORD).await;
    world.get(&format!("/api/v1/readings/{own}/original"), &stranger).await.problem(404);
    let ops = world.login("ops-1", PASSWORD).await;
    world.get(&format!("/api/v1/readings/{own}/original"), &ops).await.problem(403);
    world.get("/api/v1/readings/r_00000000000zz/original", &gp).await.problem(404);
    let without = world.keep("d-1", Some(&mine.to_string()), 9, common::glucose("6.2"), vitals::Unit::MmolPerL).await;
    world.get(&format!("/api/v1/readings/{without}/original"), &gp).await.problem(404);
}

#[tokio::test]
async fn a_request_is_signed_for_its_device_until_its_credential_is_withdrawn() {
    let world = World::new().await;
    let made = world.post("/api/v1/devices", json!({"id": "bp-1"}), &world.admin).await.must(201).json();
    assert_eq!(made["qrText"], format!("urn:hearthbeat:claim:bp-1:{}", made["claimCode"].as_str().unwrap()));
    let ask = async |csr: &str| world.post("/api/v1/devices/bp-1/certificate", json!({"csr": csr}), &world.admin).await;
    let signed = ask("request").await.must(201).json();
    assert_eq!((&signed["certificate"], &signed["deviceId"]), (&json!("for bp-1"), &json!("bp-1")));
    assert_eq!(ask("nonsense").await.problem(422)["field"], "csr");
    world.post("/api/v1/devices/bp-2/certificate", json!({"csr": "request"}), &world.admin).await.problem(404);
    world.call("DELETE", "/api/v1/devices/bp-1/credential", serde_json::Value::Null, &world.admin, &[]).await.must(204);
    ask("request").await.problem(409);
}
