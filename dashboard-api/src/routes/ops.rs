//! Operations: is it alive, is it ready, what goes through, does the day balance. No patient data.

use crate::{
    admin::AdminError,
    extract::Params,
    import::{self, ImportReport},
    links::StageFigures,
    problem::{Answer, Problem},
    scope::Caller,
    state::Api,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use store::BookRow;
use utoipa::{IntoParams, ToSchema};

/// Whether it lives.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    status: &'static str,
}

/// Whether it is ready.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ok` or `unavailable`.
    status: &'static str,
    /// Those that are not well; with `verbose` all of them.
    checks: Vec<ReadyCheck>,
}

/// One check.
#[derive(Serialize, ToSchema)]
struct ReadyCheck {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Alive: the process answers.
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, body = Alive)))]
pub(super) async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether every check is well; 503 where one is not.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    params(("verbose" = Option<String>, Query, description = "each check, well or not")), 
    responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(super) async fn ready(State(api): State<Api>, axum::extract::RawQuery(query): axum::extract::RawQuery) -> Response {
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")));
    let checks = (api.links.checks)(()).await;
    let well = checks.iter().all(|c| c.ok);
    let shown = checks.into_iter().filter(|c| verbose || !c.ok);
    let checks = shown.map(|c| ReadyCheck { name: c.name, ok: c.ok, reason: c.reason }).collect();
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { status: if well { "ok" } else { "unavailable" }, checks })).into_response()
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (api.links.metrics)()).into_response()
}

/// Which day and device.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
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

/// What went through, and the day's books.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PipelineView {
    as_of: String,
    /// When every stored reading was last known to be evaluated.
    evaluated_at: Option<String>,
    stages: Vec<StageView>,
    accounting: Accounting,
}

/// One stage since the process started.
#[derive(Serialize, ToSchema)]
struct StageView {
    stage: &'static str,
    #[serde(rename = "in")]
    taken: u64,
    out: u64,
    lag: u64,
    errors: u64,
}

impl StageView {
    fn new(s: StageFigures) -> Self {
        Self { stage: s.stage, taken: s.taken, out: s.given, lag: s.lag, errors: s.errors }
    }
}

/// A day's books, of all devices and of each.
#[derive(Serialize, ToSchema)]
struct Accounting {
    day: String,
    total: Books,
    devices: Vec<Books>,
}

/// Per stage in, out, lag, errors; and the day's books.
#[utoipa::path(get, path = "/api/v1/ops/pipeline", tag = "operations", params(PipelineQuery),
    responses((status = 200, body = PipelineView)))]
pub(super) async fn pipeline(
    State(api): State<Api>,
    Params(query): Params<PipelineQuery>,
) -> Answer<Json<PipelineView>> {
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
    let stages = (api.links.pipeline)().into_iter().map(StageView::new).collect();
    Ok(Json(PipelineView {
        as_of: api.time(now),
        evaluated_at: api.evaluated_at().map(|t| api.time(t)),
        stages,
        accounting: Accounting { day: day.to_string(), total, devices },
    }))
}

/// Whether only to say what would be.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
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
    let dry_run = match query.dry_run.as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(_) => return Err(Problem::bad("dryRun: true or false")),
    };
    import::import(&api.store, &body, dry_run, Some(&caller.scope)).await.map(Json).map_err(|e| match e {
        AdminError::Invalid { remedy, .. } => Problem::bad(remedy),
        e => e.into(),
    })
}
