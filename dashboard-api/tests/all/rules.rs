//! A rule is changed by two persons, each with the right to it, from a moment that has not passed; everybody else is told
//! why not; what was in force stays and comes back in one step.

use crate::common;
use crate::common::{PASSWORD, World};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};

const RULE: &str = "/api/v1/rules/BP-C1";

struct Clinic {
    world: World,
    ids: HashMap<String, String>,
    tokens: HashMap<&'static str, String>,
}

impl Clinic {
    async fn new() -> Self {
        let world = World::new().await;
        let ids = world.district("1").await;
        let mut tokens = HashMap::from([("admin", world.admin.clone())]);
        for role in ["gp", "health_manager", "specialist", "station_admin", "region_admin", "ops", "auditor"] {
            tokens.insert(role, world.login(&format!("{role}-1"), PASSWORD).await);
        }
        Self { world, ids, tokens }
    }

    async fn etag(&self) -> String {
        self.world.get(RULE, &self.world.admin).await.must(200).header("etag").to_owned()
    }

    async fn put(&self, who: &str, body: Value) -> common::Answer {
        let etag = self.etag().await;
        self.world.call("PUT", RULE, body, &self.tokens[who], &[("if-match", &etag)]).await
    }

    async fn post(&self, who: &str, verb: &str, body: Value) -> common::Answer {
        self.world.post(&format!("{RULE}/{verb}"), body, &self.tokens[who]).await
    }

    fn here(&self) -> Value {
        json!({"organisationId": self.ids["station"]})
    }
}

#[tokio::test]
async fn two_persons_change_the_platforms_rule_and_one_of_them_answers_for_all() {
    let clinic = Clinic::new().await;
    let wanted = json!({"parameters": {"systolic": 175}, "note": "fewer false calls"});
    for who in ["gp", "station_admin"] {
        clinic.put(who, wanted.clone()).await.problem(403);
    }
    let drafted = clinic.put("specialist", wanted.clone()).await.must(200).json();
    let draft = &drafted["drafts"][0];
    assert_eq!((&draft["state"], &draft["own"], &draft["mayApprove"]), (&json!("draft"), &json!(true), &json!(false)));
    assert_eq!(draft["note"], "fewer false calls");
    // Not the author, not somebody of a station, not who is not asked at all.
    assert!(
        clinic.post("specialist", "approve", json!({})).await.problem(403)["detail"].to_string().contains("author")
    );
    for who in ["gp", "station_admin", "health_manager", "ops", "auditor"] {
        clinic.post(who, "approve", json!({})).await.problem(403);
    }
    // Another region stands beside this one: its administrator does not answer for all, the first one does.
    clinic.world.district("2").await;
    clinic.post("region_admin", "approve", json!({})).await.problem(403);
    let signed = clinic.post("admin", "approve", json!({})).await.must(200).json();
    assert_eq!(signed["drafts"], json!([]));
    let now = &signed["history"][0];
    assert_eq!((&now["version"], &now["author"]), (&json!(2), &json!("specialist")));
    assert_eq!(now["content"], json!({"parameters": {"systolic": 175}}));
    // Back in one step, by the medical lead alone; then there is nothing before it.
    let back = clinic.post("specialist", "rollback", json!({"note": "too many calls"})).await.must(200).json();
    assert_eq!((&back["history"][0]["rollback"], &back["history"][0]["content"]), (&json!(true), &Value::Null));
    assert_eq!(back["history"].as_array().unwrap().len(), 2, "the former version is kept");
    clinic.post("specialist", "rollback", json!({})).await.problem(409);
    for who in ["gp", "station_admin", "health_manager"] {
        clinic.post(who, "rollback", json!({})).await.problem(403);
    }
    // Who did what is written down.
    let audit = clinic.world.get("/api/v1/audit?limit=200", &clinic.tokens["auditor"]).await.must(200).json();
    let rows = audit["items"].as_array().unwrap();
    for (action, result) in
        [("rule.draft", "ok"), ("rule.approve", "denied"), ("rule.approve", "ok"), ("rule.rollback", "ok")]
    {
        let found = rows.iter().any(|r| r["action"] == action && r["result"] == result && r["ref"] == "BP-C1");
        assert!(found, "{action} {result}");
    }
}

#[tokio::test]
async fn a_rollback_that_would_turn_severities_around_is_refused_and_nothing_changes() {
    let clinic = Clinic::new().await;
    for limit in [219, 175] {
        clinic.put("specialist", json!({"parameters": {"systolic": limit}})).await.must(200);
        clinic.post("admin", "approve", json!({})).await.must(200);
    }
    let said = clinic.post("specialist", "rollback", json!({})).await.problem(422);
    assert_eq!(said["field"], "parameters.systolic");
    let shown = clinic.world.get(RULE, &clinic.tokens["specialist"]).await.must(200).json();
    assert_eq!(shown["history"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_station_has_its_own_numbers_and_its_own_people_for_them() {
    let clinic = Clinic::new().await;
    let here = clinic.here();
    let wanted = json!({"parameters": {"hold": 8}, "scope": here});
    for who in ["health_manager", "ops", "auditor"] {
        clinic.put(who, wanted.clone()).await.problem(403);
    }
    clinic.put("gp", wanted.clone()).await.must(200);
    clinic.post("gp", "approve", json!({"scope": here})).await.problem(403);
    let signed = clinic.post("station_admin", "approve", json!({"scope": here})).await.must(200).json();
    assert_eq!(signed["values"][0]["scope"]["organisationId"], clinic.ids["station"].as_str());
    assert_eq!(signed["values"][0]["content"]["parameters"]["hold"], 8);
    // Another region's people do not know of it, and may not touch it.
    let other = clinic.world.district("2").await;
    let stranger = clinic.world.login("station_admin-2", PASSWORD).await;
    let seen = clinic.world.get(RULE, &stranger).await.must(200).json();
    assert_eq!((&seen["values"], seen["history"].as_array().unwrap().len()), (&json!([]), 0));
    let etag = clinic.etag().await;
    let theirs = clinic.world.call("PUT", RULE, wanted, &stranger, &[("if-match", &etag)]).await;
    theirs.problem(422);
    clinic.post("station_admin", "rollback", json!({"scope": {"organisationId": other["station"]}})).await.problem(422);
    clinic.post("specialist", "rollback", json!({"scope": here})).await.must(200);
}

#[tokio::test]
async fn nobody_overwrites_unseen_and_a_moment_in_the_past_is_refused() {
    let clinic = Clinic::new().await;
    let wanted = json!({"parameters": {"systolic": 175}});
    clinic.world.call("PUT", RULE, wanted.clone(), &clinic.world.admin, &[]).await.problem(428);
    let etag = clinic.etag().await;
    clinic.put("specialist", wanted.clone()).await.must(200);
    clinic.world.call("PUT", RULE, wanted.clone(), &clinic.world.admin, &[("if-match", &etag)]).await.problem(412);
    let approve = format!("{RULE}/approve");
    clinic.world.call("POST", &approve, json!({}), &clinic.world.admin, &[("if-match", &etag)]).await.problem(412);
    let past = json!({"parameters": {"systolic": 175}, "effectiveFrom": "2026-03-02T07:59:59+08:00"});
    assert_eq!(clinic.put("specialist", past).await.problem(422)["field"], "effectiveFrom");
    let early = json!({"effectiveFrom": "2026-03-01T00:00:00+08:00"});
    assert_eq!(clinic.post("admin", "approve", early).await.problem(422)["field"], "effectiveFrom");
    // What the author proposed may have passed before somebody signs.
    let soon = json!({"parameters": {"systolic": 176}, "effectiveFrom": "2026-03-02T08:10:00+08:00"});
    clinic.put("specialist", soon).await.must(200);
    clinic.world.later(Duration::from_secs(900));
    assert_eq!(clinic.post("admin", "approve", json!({})).await.problem(422)["field"], "effectiveFrom");
    let later = json!({"effectiveFrom": "2026-03-03T06:00:00+08:00"});
    let signed = clinic.post("admin", "approve", later).await.must(200).json();
    assert_eq!(signed["scheduled"][0]["effectiveFrom"], "2026-03-03T06:00:00+08:00");
    assert_eq!(signed["history"], json!([]), "not in force yet");
    // A restart loses neither what is signed nor what is drafted.
    clinic.put("specialist", json!({"parameters": {"systolic": 178}})).await.must(200);
    let again = clinic.world.restarted().await;
    let mut world = clinic.world;
    world.router = again;
    let admin = world.login("specialist-1", PASSWORD).await;
    let seen = world.get(RULE, &admin).await.must(200).json();
    assert_eq!((seen["scheduled"].as_array().unwrap().len(), seen["drafts"].as_array().unwrap().len()), (1, 1));
    world.later(Duration::from_secs(24 * 3600));
    let admin = world.login("specialist-1", PASSWORD).await;
    let seen = world.get(RULE, &admin).await.must(200).json();
    assert_eq!(seen["history"][0]["version"], 2, "its moment has come");
}

#[tokio::test]
async fn an_edit_that_cannot_be_names_the_field_and_a_draft_can_be_taken_back() {
    let clinic = Clinic::new().await;
    let say = |answer: common::Answer| answer.problem(422)["field"].as_str().unwrap_or_default().to_owned();
    assert_eq!(say(clinic.put("specialist", json!({})).await), "card");
    assert_eq!(say(clinic.put("specialist", json!({"card": {}, "parameters": {}})).await), "card");
    assert_eq!(say(clinic.put("specialist", json!({"parameters": {"systolic": 250}})).await), "parameters.systolic");
    let nowhere = json!({"parameters": {}, "scope": {"organisationId": clinic.ids["team"]}});
    assert!(clinic.put("specialist", nowhere).await.status.is_client_error());
    assert_eq!(say(clinic.put("admin", json!({"parameters": {}, "scope": {"tag": " "}})).await), "scope.tag");
    clinic.put("specialist", json!({"parameters": {}, "wish": 1})).await.problem(400);
    clinic.post("specialist", "withdraw", json!({})).await.problem(404);
    clinic.put("specialist", json!({"parameters": {"systolic": 175}})).await.must(200);
    clinic.post("gp", "withdraw", json!({})).await.problem(403);
    let after = clinic.post("specialist", "withdraw", json!({})).await.must(200).json();
    assert_eq!(after["drafts"], json!([]));
    clinic.world.get("/api/v1/rules/BP-C9", &clinic.world.admin).await.problem(404);
}

#[tokio::test]
async fn a_rehearsal_is_about_the_callers_own_patients_and_about_the_past() {
    let clinic = Clinic::new().await;
    let other = clinic.world.district("2").await;
    let trial = |more: Value| {
        let mut body = json!({"parameters": {"BP-C1": {"systolic": 170}},
            "from": "2026-01-01T00:00:00+08:00", "to": "2026-03-02T00:00:00+08:00"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let rehearse = |who: &str, body: Value| clinic.world.post("/api/v1/rules:rehearse", body, &clinic.tokens[who]);
    for who in ["gp", "health_manager", "specialist", "station_admin", "region_admin"] {
        let said = rehearse(who, trial(json!({}))).await.must(200).json();
        assert_eq!(said["patients"], json!([clinic.ids["patient-record"]]), "{who}");
    }
    assert_eq!(rehearse("admin", trial(json!({}))).await.must(200).json()["patients"].as_array().unwrap().len(), 2);
    rehearse("ops", trial(json!({}))).await.problem(403);
    rehearse("gp", trial(json!({"scope": {"patientId": other["patient-record"]}}))).await.problem(404);
    rehearse("gp", trial(json!({"scope": {"teamId": other["team"]}}))).await.problem(422);
    // On one patient the numbers are tried as their own.
    let one = trial(json!({"scope": {"patientId": clinic.ids["patient-record"]}}));
    let said = rehearse("gp", one).await.must(200).json();
    assert_eq!((&said["plans"][0]["BP-C1"]["systolic"], &said["edits"]), (&json!(170.0), &json!([""])));
    let say = |answer: common::Answer| answer.problem(422)["field"].as_str().unwrap_or_default().to_owned();
    assert_eq!(say(rehearse("gp", trial(json!({"to": "2026-03-03T00:00:00+08:00"}))).await), "to");
    assert_eq!(say(rehearse("gp", trial(json!({"to": "2025-01-01T00:00:00+08:00"}))).await), "to");
    assert_eq!(say(rehearse("gp", trial(json!({"from": "2020-01-01T00:00:00+08:00"}))).await), "from");
    assert_eq!(say(rehearse("gp", trial(json!({"card": {"id": "BP-C1"}}))).await), "card");
    // Lines for who wants to see how far it is.
    let lines = [("accept", "application/x-ndjson")];
    let answer =
        clinic.world.call("POST", "/api/v1/rules:rehearse", trial(json!({})), &clinic.tokens["gp"], &lines).await;
    let last: Value = serde_json::from_str(answer.must(200).text.lines().last().unwrap()).unwrap();
    assert_eq!(last["report"]["patients"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_plan_whose_number_no_card_allows_is_refused_by_name() {
    let clinic = Clinic::new().await;
    let path = format!("/api/v1/patients/{}/plan", clinic.ids["patient-record"]);
    let put = async |limit: u32| {
        let plan = json!({"parameters": {"BP-C1": {"systolic": limit}}});
        clinic.world.call("PUT", &path, plan, &clinic.tokens["gp"], &[("if-match", "*")]).await
    };
    assert_eq!(put(250).await.problem(422)["field"], "parameters.BP-C1.systolic");
    put(170).await.must(200);
}
