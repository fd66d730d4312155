//! Patients: the worklist and one record.

use crate::{
    cursor::{self},
    dto::{PatientView, ReadingView},
    extract::{self, Body, Id, Params},
    guard::Made,
    import,
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::{Among, Episode, Glance, Home, Place, Sort, Standing};
use utoipa::{IntoParams, ToSchema};
use vitals::{AlertId, Patient, PatientId, Plan, Reading, TeamId, Zone};

/// How far back a sparkline looks.
const SPARK: Duration = Duration::from_secs(14 * 86_400);
/// Points of a sparkline.
const POINTS: usize = 60;

/// Which patients, in which order.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Part of a name, or of a phone number.
    q: Option<String>,
    team: Option<String>,
    tag: Option<String>,
    /// `risk` (default) or `name`.
    sort: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A patient in the worklist.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorklistRow {
    #[serde(flatten)]
    patient: PatientView,
    /// Of the alert that puts them where they are.
    severity: Option<&'static str>,
    latest: Option<ReadingView>,
    last_reading_at: Option<String>,
    open_alerts: usize,
    why: Option<Why>,
    /// The last 14 days, in mmHg or mmol/L.
    spark: Vec<Point>,
}

/// What puts a patient where they are, in codes that a page can put into words.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Why {
    #[schema(value_type = String)]
    alert_id: AlertId,
    rule_id: String,
    concept: &'static str,
    severity: &'static str,
    state: &'static str,
    raised_at: String,
    #[schema(value_type = Option<Object>)]
    numbers: Option<serde_json::Value>,
}

/// One point of a sparkline.
#[derive(Serialize, ToSchema)]
pub(super) struct Point {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    systolic: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diastolic: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    glucose: Option<f64>,
}

/// A page of the worklist.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Worklist {
    items: Vec<WorklistRow>,
    next_cursor: Option<String>,
    as_of: String,
    /// When every stored reading was last known to be evaluated.
    evaluated_at: Option<String>,
}

/// The worklist: risk first.
#[utoipa::path(get, path = "/api/v1/patients", tag = "patients", params(ListQuery),
    responses((status = 200, body = Worklist)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Answer<Json<Worklist>> {
    let limit = cursor::limit(query.limit)?;
    let after: Option<Place> = cursor::read(query.cursor.as_deref())?;
    let sort = match query.sort.as_deref() {
        None | Some("risk") => Sort::Risk,
        Some("name") => Sort::Name,
        Some(_) => return Err(Problem::bad("sort: risk or name")),
    };
    let team: Option<TeamId> = extract::id("team", query.team.as_deref())?;
    let wanted = query.q.as_deref().map(str::trim).filter(|q| !q.is_empty()).map(str::to_lowercase);
    let fits = |p: &Patient| {
        team.is_none_or(|t| p.team == Some(t))
            && query.tag.as_ref().is_none_or(|tag| p.tags.contains(tag) || p.conditions.contains(tag))
            && wanted.as_ref().is_none_or(|q| {
                p.name.to_lowercase().contains(q) || p.phone.as_ref().is_some_and(|phone| phone.contains(q))
            })
    };
    let fits = |p: &Patient| caller.scope.sees(p) && fits(p);
    let among = match team {
        Some(team) => Among::Homes(vec![Home::Team(team)]),
        None => caller.scope.among(),
    };
    let found = api.store.worklist(sort, &among, after.as_ref(), limit + 1, &fits).await?;
    let page = cursor::page(found, limit, |standing| standing.place.clone());
    let ids = page.items.iter().map(|standing| standing.patient.id).collect();
    let glances = api.store.readings().glance(ids, api.now().minus(SPARK), POINTS).await?;
    Ok(Json(Worklist {
        items: page.items.iter().zip(&glances).map(|(standing, glance)| row(&api, standing, glance)).collect(),
        next_cursor: page.next_cursor,
        as_of: api.time(api.now()),
        evaluated_at: api.evaluated_at().map(|t| api.time(t)),
    }))
}

fn row(api: &Inner, standing: &Standing, glance: &Glance) -> WorklistRow {
    let top = standing.top.as_ref();
    WorklistRow {
        patient: PatientView::new(api, &standing.patient),
        severity: top.map(|e| e.severity.as_str()),
        last_reading_at: glance.latest.as_ref().map(|r| api.time(r.measured_at)),
        latest: glance.latest.as_ref().map(|r| ReadingView::new(api, r)),
        open_alerts: standing.open,
        why: top.map(|e| why(api, e)),
        spark: glance.recent.iter().filter_map(|r| point(api, r)).collect(),
    }
}

fn why(api: &Inner, episode: &Episode) -> Why {
    let evidence: Option<serde_json::Value> = serde_json::from_str(&episode.evidence).ok();
    Why {
        alert_id: episode.id,
        rule_id: episode.rule.to_string(),
        concept: episode.concept.as_str(),
        severity: episode.severity.as_str(),
        state: episode.state.as_str(),
        raised_at: api.time(episode.raised_at),
        numbers: evidence.and_then(|e| e.get("numbers").cloned()),
    }
}

fn point(api: &Inner, r: &Reading) -> Option<Point> {
    let at = api.time(r.measured_at);
    if let Some((systolic, diastolic)) = r.pressure() {
        return Some(Point { at, systolic: Some(systolic), diastolic: Some(diastolic), glucose: None });
    }
    match r.glucose()? {
        vitals::GlucoseLevel::Mmol(value) => Some(Point { at, systolic: None, diastolic: None, glucose: Some(value) }),
        _ => None,
    }
}

/// A patient to be enrolled.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewPatient {
    name: String,
    /// `1958-05-02`.
    birth_date: Option<String>,
    /// `female male other`.
    sex: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    conditions: Vec<String>,
    #[schema(value_type = Option<String>)]
    team_id: Option<TeamId>,
    phone: Option<String>,
    /// An IANA name.
    time_zone: Option<String>,
}

/// What may be changed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PatientPatch {
    name: Option<String>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    birth_date: Option<Option<String>>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    sex: Option<Option<String>>,
    tags: Option<Vec<String>>,
    conditions: Option<Vec<String>>,
    #[schema(value_type = Option<String>)]
    team_id: Option<TeamId>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    phone: Option<Option<String>>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Option<String>>,
    /// The day of the last visit face to face, `2026-03-02`: from it the next is reckoned.
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    visited_on: Option<Option<String>>,
}

fn shown(api: &Inner, status: StatusCode, patient: &Patient, version: i64) -> Response {
    let made = Made(patient.id.to_string());
    (status, [(header::ETAG, extract::etag(version))], Extension(made), Json(PatientView::new(api, patient)))
        .into_response()
}

fn check(patient: &Patient) -> Answer<()> {
    let length = |field: &str, text: &str, most: usize| match text.chars().count() {
        n if n <= most => Ok(()),
        _ => Err(Problem::invalid(field, format!("at most {most} characters"))),
    };
    if patient.name.trim().is_empty() {
        return Err(Problem::invalid("name", "is missing"));
    }
    length("name", &patient.name, 200)?;
    length("phone", patient.phone.as_deref().unwrap_or_default(), 40)?;
    import::sex(patient.sex.as_deref()).map_err(|remedy| Problem::invalid("sex", remedy))?;
    for (field, list) in [("tags", &patient.tags), ("conditions", &patient.conditions)] {
        if list.len() > 50 || list.iter().any(|w| w.is_empty() || w.chars().count() > 100) {
            return Err(Problem::invalid(field, "at most 50 words of 1 to 100 characters"));
        }
    }
    if patient.time_zone.as_deref().is_some_and(|z| Zone::named(z).is_err()) {
        return Err(Problem::invalid("timeZone", "an IANA name such as Asia/Shanghai"));
    }
    Ok(())
}

fn day<T: std::str::FromStr>(text: Option<String>) -> Answer<Option<T>> {
    text.map(|t| t.parse().map_err(|_| Problem::invalid("birthDate", "a date such as 1958-05-02"))).transpose()
}

fn visit(text: Option<String>, today: jiff::civil::Date) -> Answer<Option<jiff::civil::Date>> {
    let wrong = || Problem::invalid("visitedOn", "a date such as 2026-03-02, not later than today");
    let day = text.map(|t| t.parse::<jiff::civil::Date>().map_err(|_| wrong())).transpose()?;
    if day.is_some_and(|d| d > today) { Err(wrong()) } else { Ok(day) }
}

fn give_to(api: &Inner, caller: &Caller, patient: &mut Patient, team: TeamId) -> Answer<()> {
    let team = api
        .directory()
        .team(team)
        .filter(|t| caller.scope.may_fill(t))
        .ok_or_else(|| Problem::invalid("teamId", "there is no such team within yours"))?;
    patient.team = Some(team.id);
    patient.organisation = Some(team.organisation);
    Ok(())
}

/// Enrols one.
#[utoipa::path(post, path = "/api/v1/patients", tag = "patients", request_body = NewPatient,
    responses((status = 201, body = PatientView)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<NewPatient>) -> Answer<Response> {
    let mut patient = Patient {
        id: PatientId::new(0),
        name: new.name,
        birth_date: day(new.birth_date)?,
        sex: new.sex,
        tags: new.tags,
        conditions: new.conditions,
        team: None,
        organisation: caller.scope.home(),
        phone: new.phone,
        time_zone: new.time_zone,
        enrolled_at: api.now(),
        visited_on: None,
        plan: Plan::default(),
    };
    match new.team_id {
        Some(team) => give_to(&api, &caller, &mut patient, team)?,
        None if caller.is_admin() => {}
        None => return Err(Problem::invalid("teamId", "give one of your teams")),
    }
    check(&patient)?;
    let made = api.store.create_patient(patient).await?;
    Ok(shown(&api, StatusCode::CREATED, &made, 1))
}

/// One.
#[utoipa::path(get, path = "/api/v1/patients/{id}", tag = "patients", responses((status = 200, body = PatientView)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<PatientId>) -> Answer<Response> {
    let (patient, version) = caller.scope.patient(id)?;
    Ok(shown(&api, StatusCode::OK, &patient, version))
}

/// Changes one; `If-Match` is honoured where it is sent.
#[utoipa::path(patch, path = "/api/v1/patients/{id}", tag = "patients", request_body = PatientPatch,
    responses((status = 200, body = PatientView), (status = 412)))]
pub(super) async fn update(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<PatientId>,
    headers: HeaderMap,
    Body(patch): Body<PatientPatch>,
) -> Answer<Response> {
    let (found, version) = caller.scope.patient(id)?;
    extract::if_match(&headers, version, false)?;
    let mut patient = Patient::clone(&found);
    patient.name = patch.name.unwrap_or(patient.name);
    if let Some(birth_date) = patch.birth_date {
        patient.birth_date = day(birth_date)?;
    }
    patient.sex = patch.sex.unwrap_or(patient.sex);
    patient.tags = patch.tags.unwrap_or(patient.tags);
    patient.conditions = patch.conditions.unwrap_or(patient.conditions);
    patient.phone = patch.phone.unwrap_or(patient.phone);
    patient.time_zone = patch.time_zone.unwrap_or(patient.time_zone);
    if let Some(visited_on) = patch.visited_on {
        patient.visited_on = visit(visited_on, api.now().day(api.store.zone()))?;
    }
    if let Some(team) = patch.team_id.filter(|t| Some(*t) != patient.team) {
        give_to(&api, &caller, &mut patient, team)?;
    }
    check(&patient)?;
    let changed = patient.clone();
    let version = api.store.update_patient(patient, Some(version)).await.map_err(super::organisations::stale)?;
    Ok(shown(&api, StatusCode::OK, &changed, version))
}
