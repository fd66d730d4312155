//! The report on alerts: two stations, their alerts and what became of each, and who may read it.

use crate::common::{PASSWORD, World};
use serde_json::{Value, json};
use std::time::Duration;
use store::{AlertBatch, AlertState, Episode, TimelineEvent};
use vitals::{AlertId, Concept, PatientId, RuleId, Severity, Timestamp};

const PATH: &str = "/api/v1/reports/alerts";

struct Story {
    id: i64,
    patient: PatientId,
    rule: &'static str,
    severity: Severity,
    state: AlertState,
    raised_at: Timestamp,
    /// Minutes after it was raised.
    acknowledged: Option<u64>,
    ended: Option<&'static str>,
}

impl Story {
    fn batch(self) -> AlertBatch {
        let id = AlertId::from_i64(self.id);
        let at = |minutes: u64| self.raised_at.plus(Duration::from_secs(60 * minutes));
        let line = |minutes, event: &str, detail: Option<&str>| {
            let detail = detail.map(str::to_owned);
            (id, TimelineEvent { at: at(minutes), event: event.into(), by: None, detail })
        };
        let mut events = vec![line(0, "raised", None)];
        // Whoever takes it a second time was not the first.
        events.extend(self.acknowledged.into_iter().flat_map(|m| [m, m + 500]).map(|m| line(m, "acknowledged", None)));
        events.extend(self.ended.map(|word| line(900, "resolved", Some(word))));
        let episode = Episode {
            id,
            patient: self.patient,
            team: None,
            concept: Concept::BpCrisis,
            severity: self.severity,
            acked_severity: None,
            state: self.state,
            rule: RuleId::from(self.rule),
            raised_at: self.raised_at,
            level: 1,
            cycle: 1,
            next_at: None,
            count: 1,
            owner: None,
            exhausted: false,
            snoozed_until: None,
            held_until: None,
            inhibited_by: None,
            previous: None,
            readings: Vec::new(),
            findings: Vec::new(),
            evidence: "{}".into(),
            chain: Vec::new(),
            book: String::new(),
            version: 0,
        };
        AlertBatch { episodes: vec![episode], events, ..AlertBatch::default() }
    }
}

/// Two stations with one patient each, enrolled 60 days ago; 4 alerts at the first, 1 at the second, 1 long before.
async fn two_stations() -> (World, [String; 2]) {
    let mut world = World::new().await;
    let (one, two) = (world.district("1").await, world.district("2").await);
    let everything = json!({"username": "b", "name": "b", "roles": ["region_admin"], "password": PASSWORD});
    world.post("/api/v1/users", everything, &world.admin).await.must(201);
    world.later(Duration::from_secs(60 * 86_400));
    world.admin = world.login("b", PASSWORD).await;
    let patients = [&one, &two].map(|ids| ids["patient-record"].parse::<PatientId>().unwrap());
    let ago = |days: u64| world.clock.now().minus(Duration::from_secs(days * 86_400));
    let [mine, others] = patients;
    let (critical, routine) = (Severity::Critical, Severity::Routine);
    let (done, open, cleared) = (AlertState::Resolved, AlertState::Open, AlertState::AutoResolved);
    for (id, patient, rule, severity, state, days, acknowledged, ended) in [
        (1, mine, "BP-C1", critical, done, 40, Some(10), Some("treated: called, seen the same day")),
        (2, mine, "BP-C1", critical, done, 30, Some(30), Some("false_reading")),
        (3, mine, "BP-S1", routine, cleared, 20, None, None),
        (4, mine, "BP-C1", critical, open, 1, None, None),
        (5, others, "BP-C1", critical, done, 5, Some(20), Some("referred")),
        (6, mine, "BP-C1", critical, done, 200, Some(1), Some("other")),
    ] {
        let story = Story { id, patient, rule, severity, state, raised_at: ago(days), acknowledged, ended };
        world.store.commit_alerts(story.batch()).await.unwrap();
    }
    (world, [one["station"].clone(), two["station"].clone()])
}

fn near(value: &Value, wanted: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - wanted).abs() < 1e-3, "{value} is not {wanted}");
}

#[tokio::test]
async fn a_report_on_alerts_says_what_they_cost_and_what_came_of_them_at_each_station() {
    let (world, stations) = two_stations().await;
    let report = world.get(PATH, &world.admin).await.must(200).json();
    let months = 60.0 / 30.4375;
    assert_eq!((&report["patients"], &report["all"]["alerts"]), (&json!(2), &json!(5)), "{report}");
    near(&report["patientMonths"], 2.0 * months);
    near(&report["all"]["perPatientMonth"], 5.0 / (2.0 * months));
    near(&report["all"]["yield"], 2.0 / 3.0);
    let crises = &report["items"][0];
    assert_eq!(
        (&crises["ruleId"], &crises["alerts"], &crises["acknowledged"]),
        (&json!("BP-C1"), &json!(4), &json!(3))
    );
    near(&crises["minutesToAcknowledge"]["median"], 20.0);
    near(&crises["minutesToAcknowledge"]["p90"], 28.0);
    let outcomes = json!({"treated": 1, "referred": 1, "falseReading": 1, "unreachable": 0, "other": 0});
    assert_eq!((&crises["outcomes"], &crises["active"]), (&outcomes, &json!(1)));
    let means = &report["items"][1];
    assert_eq!((&means["ruleId"], &means["routine"], &means["yield"]), (&json!("BP-S1"), &json!(1), &Value::Null));
    assert_eq!(means["minutesToAcknowledge"], Value::Null);
    let of = |id: &str| report["stations"].as_array().unwrap().iter().find(|s| s["organisationId"] == id).unwrap();
    assert_eq!((&of(&stations[0])["all"]["alerts"], &of(&stations[1])["all"]["alerts"]), (&json!(4), &json!(1)));
    near(&of(&stations[0])["all"]["perPatientMonth"], 4.0 / months);
}

#[tokio::test]
async fn a_report_on_alerts_counts_only_whom_one_sees_and_only_the_time_that_was_asked_for() {
    let (world, stations) = two_stations().await;
    let gp = world.login("gp-2", PASSWORD).await;
    let report = world.get(PATH, &gp).await.must(200).json();
    assert_eq!((&report["patients"], &report["all"]["alerts"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(report["stations"][0]["organisationId"], json!(stations[1]));
    assert!(!report.to_string().contains(&stations[0]), "{report}");
    let week = format!("{PATH}?from=2026-04-24T00:00:00Z");
    let report = world.get(&week, &world.admin).await.must(200).json();
    assert_eq!(report["all"]["alerts"], json!(2));
    near(&report["all"]["perPatientMonth"], 2.0 / (2.0 * 7.0 / 30.4375));
    world.get(&format!("{PATH}?from=2026-04-24T00:00:00Z&to=2026-04-23T00:00:00Z"), &world.admin).await.problem(400);
    world.get(&format!("{PATH}?from=2020-04-24T00:00:00Z"), &world.admin).await.problem(400);
    world.get(&format!("{PATH}?from=soon"), &world.admin).await.problem(400);
    for role in ["ops", "auditor", "patient"] {
        world.get(PATH, &world.login(&format!("{role}-1"), PASSWORD).await).await.problem(403);
    }
}

#[tokio::test]
async fn a_report_on_alerts_comes_as_a_table_for_a_spreadsheet() {
    let (world, stations) = two_stations().await;
    let path = format!("/api/v1/organisations/{}", stations[0]);
    world.call("PATCH", &path, json!({"name": "=SUM(A1)"}), &world.admin, &[("if-match", "*")]).await.must(200);
    let table = world.call("GET", PATH, Value::Null, &world.admin, &[("accept", "text/csv")]).await.must(200);
    assert!(table.header("content-type").starts_with("text/csv"));
    let sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    let ask = async |accept: &str| world.call("GET", PATH, Value::Null, &world.admin, &[("accept", accept)]).await;
    let refused = ask(sheet).await.problem(406);
    assert!(refused["detail"].as_str().unwrap().contains("text/csv"), "{refused}");
    assert!(ask(&format!("{sheet}, */*")).await.must(200).header("content-type").starts_with("application/json"));
    let lines: Vec<&str> = table.text.lines().collect();
    assert!(lines[0].starts_with("station_id,station,patients,patient_months,rule,alerts"), "{}", lines[0]);
    assert_eq!(lines.iter().filter(|l| l.contains("'=SUM(A1)")).count(), 3, "two rules and their sum");
    let last = lines.last().unwrap();
    assert!(last.starts_with(",all,2,") && last.contains(",all,5,"), "{last}");
}
