//! Acts on alerts and messages: what counts once, what is written down, what is sent again.

use crate::common::{PASSWORD, World, pressure};
use serde_json::json;
use std::time::Duration;
use store::{AlertBatch, AlertState, DeliveryState, Episode, NewMessage, Outcome};
use vitals::{AlertId, Concept, ReadingId, RuleId, Severity, Unit, UserId};

/// A crisis of this patient, in its first cycle.
async fn crisis(world: &World, patient: &str, state: AlertState, next_in: Option<u64>) -> AlertId {
    crisis_of(world, patient, state, next_in, Vec::new()).await
}

/// The same, by these readings.
async fn crisis_of(
    world: &World,
    patient: &str,
    state: AlertState,
    next_in: Option<u64>,
    readings: Vec<ReadingId>,
) -> AlertId {
    let id = AlertId::from_i64(1);
    let now = world.clock.now();
    let episode = Episode {
        id,
        patient: patient.parse().unwrap(),
        team: None,
        concept: Concept::BpCrisis,
        severity: Severity::Critical,
        acked_severity: None,
        state,
        rule: RuleId::from("BP-C1"),
        raised_at: now,
        level: 1,
        cycle: 1,
        next_at: next_in.map(|seconds| now.plus(Duration::from_secs(seconds))),
        count: 1,
        owner: None,
        exhausted: false,
        snoozed_until: None,
        held_until: None,
        inhibited_by: None,
        previous: None,
        readings,
        findings: Vec::new(),
        evidence: "{}".into(),
        chain: Vec::new(),
        book: String::new(),
        version: 0,
    };
    let batch = AlertBatch { episodes: vec![episode], ..AlertBatch::default() };
    world.store.commit_alerts(batch).await.unwrap();
    id
}

fn message(world: &World, id: &str, alert: Option<AlertId>) -> NewMessage {
    let now = world.clock.now();
    NewMessage {
        id: id.into(),
        alert,
        kind: if alert.is_some() { "alert.notification" } else { "service.warning" },
        channel: "log".into(),
        user: None,
        address: "x".into(),
        level: 1,
        cycle: 1,
        critical: false,
        created_at: now,
        expires_at: now.plus(Duration::from_secs(60)),
        body: "{}".into(),
    }
}

#[tokio::test]
async fn an_alert_is_given_to_somebody_to_whom_it_exists() {
    let world = World::new().await;
    let (one, two) = (world.district("1").await, world.district("2").await);
    let id = crisis(&world, &one["patient-record"], AlertState::Acknowledged, None).await;
    let gp = world.login("gp-1", PASSWORD).await;
    let assign =
        async |user: &str| world.post(&format!("/api/v1/alerts/{id}/assign"), json!({"userId": user}), &gp).await;
    for nobody in [&two["gp"], &one["patient"], &one["auditor"], &one["ops"]] {
        assert_eq!(assign(nobody).await.problem(422)["field"], "userId");
        let all = json!({"action": "assign", "ids": [id.to_string()], "body": {"userId": nobody}});
        let all = world.post("/api/v1/alerts:bulk", all, &gp).await.must(200).json();
        assert_eq!(all["items"][0]["status"], 422);
    }
    // No book stands beside this API: it is asked, and knows nothing.
    assign(&one["health_manager"]).await.problem(404);
    let called: UserId = two["gp"].parse().unwrap();
    let message = NewMessage { user: Some(called), ..message(&world, "msg_1", Some(id)) };
    let batch = AlertBatch { messages: vec![message], called: vec![(id, called)], ..AlertBatch::default() };
    world.store.commit_alerts(batch).await.unwrap();
    assign(&two["gp"]).await.problem(404);
}

#[tokio::test]
async fn a_follow_up_is_shown_with_its_time_and_as_due_when_that_has_come() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let id = crisis(&world, &ids["patient-record"], AlertState::FollowUp, Some(600)).await;
    let gp = world.login("gp-1", PASSWORD).await;
    let shown = async || world.get(&format!("/api/v1/alerts/{id}"), &gp).await.must(200).json();
    let before = shown().await;
    assert_eq!((&before["dueAt"], &before["due"]), (&json!("2026-03-02T08:10:00+08:00"), &json!(false)));
    world.later(Duration::from_secs(600));
    let after = shown().await;
    assert_eq!((&after["dueAt"], &after["due"]), (&before["dueAt"], &json!(true)));
}

#[tokio::test]
async fn a_reading_that_turned_out_to_be_anothers_is_not_shown_with_the_alert_that_it_raised() {
    let world = World::new().await;
    let (one, two) = (world.district("1").await, world.district("2").await);
    let (patient, other) = (&one["patient-record"], &two["patient-record"]);
    let own = world.keep("d-1", Some(patient), 1, pressure("181", "111"), Unit::MmHg).await;
    let anothers = world.keep("d-1", Some(other), 2, pressure("197", "117"), Unit::MmHg).await;
    let id = crisis_of(&world, patient, AlertState::Notified, None, vec![own, anothers]).await;
    let gp = world.login("gp-1", PASSWORD).await;
    let shown = world.get(&format!("/api/v1/alerts/{id}"), &gp).await.must(200).json();
    let evidence = &shown["evidence"];
    assert_eq!((&evidence["readings"][0]["id"], &evidence["readings"][1]), (&json!(own), &json!(null)));
    assert_eq!(evidence["readingsOfOthers"], 1);
    assert!(!shown.to_string().contains("197"), "who may see one patient may not see the other");
}

#[tokio::test]
async fn a_key_stands_for_the_whole_bulk_call() {
    let world = World::new().await;
    world.district("1").await;
    let gp = world.login("gp-1", PASSWORD).await;
    let key = [("idempotency-key", "k")];
    let call = async |body| world.call("POST", "/api/v1/alerts:bulk", body, &gp, &key).await;
    let body = json!({"action": "ack", "ids": ["a_0000000000001", "nonsense"], "body": {}});
    let first = call(body.clone()).await.must(200).json();
    assert_eq!(first["items"][1], json!({"id": "nonsense", "status": 404}));
    assert_eq!(call(body).await.must(200).json(), first, "the same again");
    call(json!({"ids": ["a_0000000000001", "nonsense"], "body": {}, "action": "ack"})).await.must(200);
    for other in [
        json!({"action": "ack", "ids": ["a_0000000000002"], "body": {}}),
        json!({"action": "ack", "ids": ["a_0000000000001", "nonsense"], "body": {"note": "x"}}),
        json!({"action": "unack", "ids": ["a_0000000000001", "nonsense"], "body": {}}),
    ] {
        assert_eq!(call(other).await.problem(422)["field"], "Idempotency-Key");
    }
    let manager = world.login("health_manager-1", PASSWORD).await;
    let body = json!({"action": "unack", "ids": ["a_0000000000001"]});
    world.call("POST", "/api/v1/alerts:bulk", body, &manager, &key).await.must(200);
}

#[tokio::test]
async fn every_alert_of_a_bulk_call_is_written_down() {
    let world = World::new().await;
    world.district("1").await;
    let gp = world.login("gp-1", PASSWORD).await;
    let body = json!({"action": "follow-up", "ids": ["a_0000000000001", "a_0000000000002"],
        "body": {"contactedAt": "2026-03-02T08:00:00+08:00", "how": "phone"}});
    world.post("/api/v1/alerts:bulk", body, &gp).await.must(200);
    let auditor = world.login("auditor-1", PASSWORD).await;
    let rows = world.get("/api/v1/audit?limit=200", &auditor).await.must(200).json();
    let rows: Vec<_> =
        rows["items"].as_array().unwrap().iter().filter(|r| r["path"] == "/api/v1/alerts:bulk").collect();
    let said: Vec<_> = rows.iter().map(|r| (&r["action"], &r["ref"], &r["result"])).collect();
    let (act, gone) = (json!("alert.follow_up"), json!("not_found"));
    let (one, two) = (json!("a_0000000000001"), json!("a_0000000000002"));
    assert_eq!(said[..2], [(&act, &one, &gone), (&act, &two, &gone)]);
    assert_eq!(rows[2]["action"], "alert.bulk");
}

#[tokio::test]
async fn operations_send_a_message_again_that_did_not_arrive() {
    let world = World::new().await;
    world.district("1").await;
    let now = world.clock.now();
    let message = message(&world, "msg_1", None);
    world.store.commit_alerts(AlertBatch { messages: vec![message], ..AlertBatch::default() }).await.unwrap();
    let ops = world.login("ops-1", PASSWORD).await;
    let retry = async |id: &str, token| {
        world.call("POST", &format!("/api/v1/deliveries/{id}/retry"), json!({}), token, &[]).await
    };
    assert_eq!(retry("msg_1", &ops).await.problem(409)["state"], "pending");
    retry("msg_2", &ops).await.problem(404);
    let sent = world.store.outbox_due(now, false, 10).await.unwrap().remove(0);
    world.store.outbox_mark(&sent.delivery, Outcome::Refused { disable: false }, "gone".into()).await.unwrap();
    assert_eq!(world.store.delivery("msg_1".into()).await.unwrap().unwrap().state, DeliveryState::Failed);
    world.later(Duration::from_secs(24 * 3600));
    let (ops, gp) = (world.login("ops-1", PASSWORD).await, world.login("gp-1", PASSWORD).await);
    retry("msg_1", &gp).await.problem(403);
    let again = retry("msg_1", &ops).await.must(200).json();
    assert_eq!((&again["id"], &again["state"]), (&json!("msg_1"), &json!("pending")));
    let auditor = world.login("auditor-1", PASSWORD).await;
    let rows = world.get("/api/v1/audit?limit=200", &auditor).await.json();
    let noted = |r: &serde_json::Value| r["action"] == "delivery.retry" && r["ref"] == "msg_1" && r["result"] == "ok";
    assert!(rows["items"].as_array().unwrap().iter().any(noted), "{rows}");
}

#[tokio::test]
async fn a_message_that_was_taken_or_came_too_late_or_is_not_wanted_is_not_sent_again() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let id = crisis(&world, &ids["patient-record"], AlertState::Notified, None).await;
    let messages = ["msg_a", "msg_b", "msg_c"].map(|name| message(&world, name, Some(id))).to_vec();
    world.store.commit_alerts(AlertBatch { messages, ..AlertBatch::default() }).await.unwrap();
    for sent in world.store.outbox_due(world.clock.now(), false, 10).await.unwrap() {
        let outcome = match sent.delivery.id.as_str() {
            "msg_a" => Outcome::Accepted,
            "msg_b" => Outcome::Expired,
            _ => Outcome::Refused { disable: false },
        };
        world.store.outbox_mark(&sent.delivery, outcome, String::new()).await.unwrap();
    }
    let ops = world.login("ops-1", PASSWORD).await;
    let retry = async |id: &str| world.post(&format!("/api/v1/deliveries/{id}/retry"), json!({}), &ops).await;
    assert_eq!(retry("msg_a").await.problem(409)["state"], "accepted");
    assert_eq!(retry("msg_b").await.problem(409)["state"], "expired");
    crisis(&world, &ids["patient-record"], AlertState::Acknowledged, None).await;
    let why = retry("msg_c").await.problem(409);
    assert!(why["detail"].as_str().unwrap().contains("acknowledged"), "{why}");
    crisis(&world, &ids["patient-record"], AlertState::Notified, None).await;
    retry("msg_c").await.must(200);
}
