//! Operations: is it alive, is it ready, what goes through, does the day balance, one reading's way. No patient data.

use crate::{
    admin::AdminError,
    extract::{Id, Params},
    import::{self, ImportReport},
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{BookRow, Role};
use utoipa::{IntoParams, ToSchema};
use vitals::{ReadingId, Timestamp};

/// Alive: the process answers.
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200)))]
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether every check is well; 503 where one is not.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    params(("verbose" = Option<String>, Query, description = "each check, well or not")), responses((status = 200), (status = 503)))]
pub(super) async fn ready(State(api): State<Api>, axum::extract::RawQuery(query): axum::extract::RawQuery) -> Response {
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")));
    let checks = (api.links.checks)(()).await;
    let well = checks.iter().all(|c| c.ok);
    let shown: Vec<Value> = checks
        .iter()
        .filter(|c| verbose || !c.ok)
        .map(|c| match &c.reason {
            Some(reason) => json!({"name": c.name, "ok": c.ok, "reason": reason}),
            None => json!({"name": c.name, "ok": c.ok}),
        })
        .collect();
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"status": if well { "ok" } else { "unavailable" }, "checks": shown}))).into_response()
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "text/plain")))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (api.links.metrics)()).into_response()
}

/// Which day and device.
#[derive(Deserialize, IntoParams)]
pub(super) struct PipelineQuery {
    /// In the site's zone; today where absent.
    day: Option<String>,
    device: Option<String>,
}

/// The day's books.
#[derive(Serialize, ToSchema, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Books {
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    accepted: u64,
    stored: u64,
    duplicate: u64,
    quarantined: u64,
    rejected: u64,
}

impl Books {
    fn add(&mut self, row: &BookRow) {
        self.accepted += row.accepted();
        self.stored += row.stored;
        self.duplicate += row.duplicate;
        self.quarantined += row.quarantined;
        self.rejected += row.rejected;
    }
}

/// Per stage in, out, lag, errors; and the day's books.
#[utoipa::path(get, path = "/api/v1/ops/pipeline", tag = "operations", params(PipelineQuery), responses((status = 200)))]
pub(super) async fn pipeline(State(api): State<Api>, Params(query): Params<PipelineQuery>) -> Answer<Json<Value>> {
    let now = api.now();
    let day = match query.day {
        None => now.day(api.zone()),
        Some(text) => text.parse().map_err(|_| Problem::bad("day: a date such as 2026-03-01"))?,
    };
    let device = match query.device.as_deref() {
        None => None,
        Some(id) => {
            Some(api.directory().device(id).ok_or_else(|| Problem::bad("device: there is no such device"))?.key)
        }
    };
    let mut total = Books::default();
    let mut devices = Vec::new();
    for row in api.store.readings().books(day, device).await? {
        total.add(&row);
        let mut books =
            Books { device: api.directory().device_by_key(row.device).map(|d| d.id.to_string()), ..Books::default() };
        books.add(&row);
        devices.push(books);
    }
    devices.sort_by(|a, b| a.device.cmp(&b.device));
    let stages: Vec<Value> = (api.links.pipeline)()
        .into_iter()
        .map(|s| json!({"stage": s.stage, "in": s.taken, "out": s.given, "lag": s.lag, "errors": s.errors}))
        .collect();
    Ok(Json(json!({
        "asOf": api.time(now),
        "evaluatedAt": api.evaluated_at().map(|t| api.time(t)),
        "stages": stages,
        "accounting": {"day": day.to_string(), "total": total, "devices": devices},
    })))
}

/// One reading's way, without its values.
#[utoipa::path(get, path = "/api/v1/ops/trail/{id}", tag = "operations", responses((status = 200), (status = 404)))]
pub(super) async fn trail(State(api): State<Api>, caller: Caller, Id(id): Id<ReadingId>) -> Answer<Json<Value>> {
    let reading = api.store.readings().by_id(id).await?.ok_or_else(Problem::not_found)?;
    let theirs = reading.patient.is_some_and(|p| caller.scope.sees_id(p));
    if !theirs && !caller.is(Role::Ops) && !caller.scope.sees_all() {
        return Err(Problem::not_found());
    }
    let evaluated = api.store.readings().health().consumed >= id.as_i64().unsigned_abs();
    let mut alerts = Vec::new();
    if let Some(patient) = reading.patient {
        for finding in about(&api, patient, id).await? {
            alerts.push(alert_way(&api, finding).await?);
        }
    }
    Ok(Json(json!({
        "id": id,
        "deviceId": api.directory().device_by_key(reading.device).map(|d| d.id.to_string()),
        "received": api.time(reading.received_at),
        "durable": true,
        "result": reading.disposition.as_str(),
        "evaluated": evaluated,
        "findings": alerts,
    })))
}

/// The findings that used this reading.
async fn about(api: &Inner, patient: vitals::PatientId, id: ReadingId) -> Answer<Vec<vitals::Finding>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = api.store.findings_of(patient, None, None, None, after, 500).await?;
        let Some(last) = page.last().map(|f| f.id) else { return Ok(found) };
        after = Some(last);
        found.extend(page.into_iter().filter(|f| f.draft.readings.contains(&id)));
    }
}

async fn alert_way(api: &Inner, finding: vitals::Finding) -> Answer<Value> {
    let at = |t: Timestamp| api.time(t);
    let mut way = json!({"id": finding.id, "ruleId": &*finding.draft.rule, "at": at(finding.draft.at),
        "retractedAt": finding.retracted_at.map(at), "alertId": finding.alert});
    if let Some(alert) = finding.alert {
        let deliveries: Vec<Value> = api
            .store
            .deliveries_of(alert)
            .await?
            .iter()
            .map(|d| {
                json!({"id": d.id, "channel": d.channel, "userId": d.user, "level": d.level, "cycle": d.cycle,
                "state": d.state.as_str(), "attempts": d.attempts, "createdAt": at(d.created_at)})
            })
            .collect();
        let acknowledged = api.store.timeline(alert).await?.into_iter().find(|e| e.event == "acknowledged");
        way["deliveries"] = deliveries.into();
        way["acknowledged"] = acknowledged.map_or(Value::Null, |e| json!({"at": at(e.at), "by": e.by}));
    }
    Ok(way)
}

/// Whether only to say what would be.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportQuery {
    #[param(rename = "dryRun")]
    dry_run: Option<String>,
}

/// Contracts, patients, devices and bindings in bulk, as CSV.
#[utoipa::path(post, path = "/api/v1/import", tag = "patients", params(ImportQuery),
    request_body(content = String, content_type = "text/csv"), responses((status = 200, body = ImportReport)))]
pub(super) async fn import(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<ImportQuery>,
    body: Bytes,
) -> Answer<Json<ImportReport>> {
    let dry_run = query.dry_run.as_deref().is_some_and(|v| v != "false" && v != "0");
    import::import(&api.store, &body, dry_run, Some(&caller.scope)).await.map(Json).map_err(|e| match e {
        AdminError::Invalid { remedy, .. } => Problem::bad(remedy),
        e => e.into(),
    })
}
