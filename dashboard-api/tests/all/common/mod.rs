//! A small installation on a clock that stands still, and the API in front of it, without a socket.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use dashboard_api::{Check, CheckedRule, Config, Links, RuleContent, RuleFault, RuleLinks};
use runtime::{Clock, Drain, DrainHandle};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use store::{CardRecord, CommandError, LinkError, NewReading, Store};
use tempfile::TempDir;
use tower::ServiceExt;
use vitals::{
    Context, Decimal, Disposition, GlucoseValue, PatientId, Reading, ReadingId, Statuses, TimeQuality, Timestamp, Unit,
    Values, Zone,
};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn must(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    #[track_caller]
    pub(crate) fn id(self) -> String {
        self.must(201).json()["id"].as_str().unwrap().to_owned()
    }

    /// A problem document with all its members.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Value {
        let answer = self.must(status);
        assert!(answer.header("content-type").starts_with("application/problem+json"), "{}", answer.text);
        let body = answer.json();
        for member in ["type", "title", "status", "detail", "traceId"] {
            assert!(!body[member].is_null(), "{member} is missing: {body}");
        }
        body
    }
}

/// An installation.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) admin: String,
    pub(crate) folder: TempDir,
    drain: Drain,
    end: DrainHandle,
}

/// No stage stands beside this API: what it asks of them is answered with what a quiet stage would say.
pub(crate) fn links() -> Links {
    Links {
        zone: Zone::default(),
        act: Arc::new(|_| Box::pin(async { Err(CommandError::NotFound) })),
        on_call: Arc::new(|_| Box::pin(async { Ok(Vec::new()) })),
        check_team: Arc::new(|_| Box::pin(async { Ok(Vec::new()) })),
        emptied_by: Arc::new(|_| Box::pin(async { Vec::new() })),
        read_link: Arc::new(|_| Box::pin(async { Err(LinkError::Tampered) })),
        certify: Arc::new(|(device, request)| {
            Box::pin(async move {
                if request != "request" {
                    return Err(dashboard_api::CertifyError::Request("not a request".into()));
                }
                let not_after = Timestamp::from_seconds(1_800_000_000);
                let (certificate, chain) = (format!("for {device}"), "authority".into());
                Ok(dashboard_api::Certificate { certificate, chain, serial: "40".into(), not_after })
            })
        }),
        replay: Arc::new(|_| Box::pin(async { Err(store::StoreError::NotFound("held reading")) })),
        rules: rules(),
        pipeline: Arc::new(Vec::new),
        checks: Arc::new(|()| Box::pin(async { vec![Check { name: "journal", ok: true, reason: None }] })),
        metrics: Arc::new(String::new),
        test_clock: None,
    }
}

/// One card; a systolic limit over 220 is refused; a rehearsal says who it was about.
fn rules() -> RuleLinks {
    let card = CardRecord { id: "BP-C1".into(), version: 1, body: json!({"id": "BP-C1", "version": 1}).to_string() };
    let shown = card.clone();
    RuleLinks {
        cards: Arc::new(move |()| {
            let cards = vec![card.clone()];
            Box::pin(async move { Ok(cards) })
        }),
        check: Arc::new(move |asked: RuleContent| {
            let shown = shown.clone();
            Box::pin(async move {
                let content: Value = serde_json::from_str(&asked.content).unwrap();
                match content["parameters"]["systolic"].as_f64() {
                    Some(limit) if limit > 220.0 => Err(RuleFault::Refused {
                        field: "parameters.systolic".into(),
                        remedy: "outside the hard bounds 160 to 220 mmHg. Stay within them".into(),
                    }),
                    _ => Ok(CheckedRule { body: asked.content, shown, base: 1 }),
                }
            })
        }),
        check_return: Arc::new(|back| {
            Box::pin(async move {
                if back.body.is_some_and(|body| body.contains("219")) {
                    return Err(RuleFault::Refused { field: "parameters.systolic".into(), remedy: "overlap".into() });
                }
                Ok(1)
            })
        }),
        check_plan: Arc::new(|patient| {
            Box::pin(async move {
                match patient.plan.parameters.get("BP-C1").and_then(|p| p.get("systolic")) {
                    Some(limit) if *limit > 220.0 => Err(RuleFault::Refused {
                        field: "parameters.BP-C1.systolic".into(),
                        remedy: "outside the bounds".into(),
                    }),
                    _ => Ok(()),
                }
            })
        }),
        rehearse: Arc::new(|order| {
            Box::pin(async move {
                let patients: Vec<String> = order.patients.iter().map(|p| p.id.to_string()).collect();
                let plans: Vec<_> = order.patients.iter().map(|p| p.plan.parameters.clone()).collect();
                let edits: Vec<_> = order.edits.iter().map(|e| e.content.clone()).collect();
                Ok(json!({"patients": patients, "plans": plans, "edits": edits}).to_string())
            })
        }),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::parse_rfc3339("2026-03-02T08:00:00+08:00").unwrap());
        let (end, drain) = Drain::new();
        let store = Store::open(folder.path(), clock.clone(), &drain).unwrap();
        let (username, password) = dashboard_api::admin::bootstrap(&store).await.unwrap();
        let router = dashboard_api::router(Config::default(), store.clone(), links(), &drain).await.unwrap();
        let mut world = Self { router, store, clock, admin: String::new(), folder, drain, end };
        world.admin = world.login(&username, &password).await;
        world
    }

    /// The same folder after a restart of the API.
    pub(crate) async fn restarted(&self) -> Router {
        dashboard_api::router(Config::default(), self.store.clone(), links(), &self.drain).await.unwrap()
    }

    /// The API anew, with other stages beside it.
    pub(crate) async fn serve_with(&mut self, links: Links) {
        self.router = dashboard_api::router(Config::default(), self.store.clone(), links, &self.drain).await.unwrap();
    }

    pub(crate) fn later(&self, by: Duration) {
        self.clock.move_to(self.clock.now().plus(by)).unwrap();
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Value,
        token: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(request.header("content-type", "application/json").body(body).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path, Value::Null, token, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value, token: &str) -> Answer {
        self.call("POST", path, body, token, &[]).await
    }

    pub(crate) async fn login(&self, username: &str, password: &str) -> String {
        let answer = self.post("/api/v1/session", json!({"username": username, "password": password}), "").await;
        answer.must(201).json()["token"].as_str().unwrap().to_owned()
    }

    /// A region with a station, a team and one user of each role; ids by name.
    pub(crate) async fn district(&self, tag: &str) -> HashMap<String, String> {
        let mut ids = HashMap::new();
        let admin = self.admin.clone();
        let region = self.post("/api/v1/organisations", json!({"name": "Region", "kind": "region"}), &admin).await.id();
        let station = json!({"name": "Station", "kind": "station", "parentId": region});
        let station = self.post("/api/v1/organisations", station, &admin).await.id();
        for role in
            ["gp", "specialist", "health_manager", "assistant", "station_admin", "region_admin", "ops", "auditor"]
        {
            let at = if role == "region_admin" { &region } else { &station };
            let user = json!({"username": format!("{role}-{tag}"), "name": role, "roles": [role], "organisationId": at,
                "password": PASSWORD, "contacts": [{"channel": "log", "address": "x"}]});
            ids.insert(role.to_owned(), self.post("/api/v1/users", user, &admin).await.id());
        }
        let members: Vec<Value> = ["gp", "specialist", "health_manager", "assistant"]
            .iter()
            .map(|role| json!({"userId": ids[*role], "role": role}))
            .collect();
        let team = json!({"name": format!("Team {tag}"), "organisationId": station, "members": members});
        ids.insert("team".into(), self.post("/api/v1/teams", team, &admin).await.id());
        ids.insert("region".into(), region);
        ids.insert("station".into(), station);
        let patient = json!({"name": "Li Test", "teamId": ids["team"], "tags": ["hypertension"]});
        ids.insert("patient-record".into(), self.post("/api/v1/patients", patient, &admin).await.id());
        let user = json!({"username": format!("patient-{tag}"), "name": "Li Test", "roles": ["patient"],
            "password": PASSWORD, "patientId": ids["patient-record"]});
        ids.insert("patient".into(), self.post("/api/v1/users", user, &admin).await.id());
        let device = json!({"id": format!("d-{tag}"), "organisationId": ids["station"]});
        self.post("/api/v1/devices", device, &admin).await.must(201);
        ids
    }

    /// Stores a reading as ingest would.
    pub(crate) async fn keep(
        &self,
        device: &str,
        patient: Option<&str>,
        seq: i64,
        values: Values,
        unit: Unit,
    ) -> ReadingId {
        self.keep_all(vec![self.reading(device, patient, seq, values, unit)]).await[0]
    }

    /// Measured within the last hour.
    pub(crate) fn reading(&self, device: &str, patient: Option<&str>, seq: i64, values: Values, unit: Unit) -> Reading {
        Reading {
            id: ReadingId::new(0),
            device: self.store.directory().device(device).unwrap().key,
            epoch: 0,
            seq,
            user_slot: None,
            patient: patient.map(|p| p.parse::<PatientId>().unwrap()),
            measured_at: self
                .clock
                .now()
                .minus(Duration::from_secs(3600))
                .plus(Duration::from_secs(seq.unsigned_abs())),
            received_at: self.clock.now(),
            device_time: None,
            time_quality: TimeQuality::Exact,
            disposition: Disposition::Stored,
            values,
            unit,
            statuses: Statuses::default(),
            flags: Vec::new(),
            historical: false,
            context: Context::default(),
        }
    }

    pub(crate) async fn keep_all(&self, readings: Vec<Reading>) -> Vec<ReadingId> {
        let day = self.clock.now().day(&Zone::default());
        let keep = move |desk: &mut store::Desk<'_>| {
            readings
                .into_iter()
                .map(|reading| {
                    let told = Some(reading.measured_at);
                    desk.keep(NewReading { reading, told, trusted: true })
                })
                .collect()
        };
        self.store.readings().submit(day, 1, keep).await.unwrap()
    }
}

pub(crate) fn pressure(systolic: &str, diastolic: &str) -> Values {
    let number = |text: &str| text.parse::<Decimal>().unwrap();
    Values::Pressure { systolic: number(systolic), diastolic: number(diastolic), map: None, pulse: Some(number("70")) }
}

pub(crate) fn glucose(text: &str) -> Values {
    Values::Glucose(GlucoseValue::Value(text.parse().unwrap()))
}
