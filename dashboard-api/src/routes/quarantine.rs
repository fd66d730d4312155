//! Readings that belong to nobody yet, and what is held back.

use crate::{
    cursor::{self, Page},
    dto::ReadingView,
    extract::{Body, Id, Params},
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::{Between, Role};
use utoipa::{IntoParams, ToSchema};
use vitals::{DeviceKey, Held, PatientId, Reading, ReadingId, Reason};

/// Rows read at a time while looking for those within the caller's reach.
const CHUNK: usize = 500;

/// Paging.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UnassignedQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Which held readings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct QuarantineQuery {
    /// One of the contract's reasons.
    reason: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

fn sees(api: &Inner, caller: &Caller, device: DeviceKey) -> bool {
    caller.scope.sees_all() || api.directory().device_by_key(device).is_some_and(|d| caller.scope.sees_device(&d))
}

/// Readings that belong to nobody yet, of devices within reach.
#[utoipa::path(get, path = "/api/v1/unassigned", tag = "devices", params(UnassignedQuery),
    responses((status = 200, body = Page<ReadingView>)))]
pub(super) async fn unassigned(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<UnassignedQuery>,
) -> Answer<Json<Page<ReadingView>>> {
    let limit = cursor::limit(query.limit)?;
    let mut after: Option<ReadingId> = cursor::read(query.cursor.as_deref())?;
    let mut found: Vec<Arc<Reading>> = Vec::new();
    while found.len() <= limit {
        let chunk = api.store.readings().unassigned(after, CHUNK).await?;
        let ended = chunk.len() < CHUNK;
        after = chunk.last().map(|r| r.id).or(after);
        found.extend(chunk.into_iter().filter(|r| sees(&api, &caller, r.device)));
        if ended {
            break;
        }
    }
    let page = cursor::page(found, limit, |r| r.id);
    let items = page.items.iter().map(|r| ReadingView::new(&api, r)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// To whom.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Assignment {
    #[schema(value_type = String)]
    patient_id: PatientId,
}

/// Gives one to a patient.
#[utoipa::path(post, path = "/api/v1/unassigned/{id}/assign", tag = "devices", request_body = Assignment,
    responses((status = 204), (status = 409)))]
pub(super) async fn assign(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<ReadingId>,
    Body(to): Body<Assignment>,
) -> Answer<StatusCode> {
    let reading = api.store.readings().by_id(id).await?.filter(|r| sees(&api, &caller, r.device));
    let reading = reading.ok_or_else(Problem::not_found)?;
    let (patient, _) = caller.scope.patient(to.patient_id)?;
    api.store.readings().assign(reading.id, patient.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A reading, or a whole message, that is held back.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeldView {
    id: String,
    device_id: Option<String>,
    seq: Option<i64>,
    received_at: String,
    reasons: Vec<&'static str>,
    /// Of a `clock`: when the number below it was measured, and the number above; it was measured between the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_before: Option<String>,
    /// The bytes in hexadecimal; not for operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
}

/// `q_…` outside, the journal's position inside.
fn outside(id: ReadingId) -> String {
    id.to_string().replacen("r_", "q_", 1)
}

/// Held readings are the caller's by patient, or by device where it is nobody's; operations own none.
fn owns(api: &Inner, caller: &Caller, held: &Held) -> bool {
    if !(caller.is_admin() || caller.is(Role::Gp) || caller.is(Role::HealthManager)) {
        return false;
    }
    match held.patient {
        Some(patient) => caller.scope.sees_id(patient),
        None => sees(api, caller, held.device),
    }
}

/// Held readings, newest first.
#[utoipa::path(get, path = "/api/v1/quarantine", tag = "devices", params(QuarantineQuery),
    responses((status = 200, body = Page<HeldView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<QuarantineQuery>,
) -> Answer<Json<Page<HeldView>>> {
    let limit = cursor::limit(query.limit)?;
    let mut after: Option<ReadingId> = cursor::read(query.cursor.as_deref())?;
    let mut found: Vec<(Arc<Held>, bool)> = Vec::new();
    while found.len() <= limit {
        let chunk = api.store.readings().held(query.reason.clone(), after, CHUNK).await?;
        let ended = chunk.len() < CHUNK;
        after = chunk.last().map(|h| h.id).or(after);
        let shown = |held: Arc<Held>| {
            let theirs = owns(&api, &caller, &held);
            (theirs || caller.is(Role::Ops)).then_some((held, theirs))
        };
        found.extend(chunk.into_iter().filter_map(shown));
        if ended {
            break;
        }
    }
    let page = cursor::page(found, limit, |(h, _)| h.id);
    let mut items = Vec::with_capacity(page.items.len());
    for (held, theirs) in &page.items {
        items.push(view(&api, held, bounds(&api, held).await?, *theirs));
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Between which times what is held for its clock must have been measured.
async fn bounds(api: &Inner, held: &Held) -> Answer<Between> {
    match held.seq.filter(|_| held.reasons.contains(&Reason::Clock)) {
        Some(seq) => Ok(api.store.readings().between(held.device, held.epoch, seq).await?),
        None => Ok(Between::default()),
    }
}

fn view(api: &Inner, held: &Held, between: Between, with_bytes: bool) -> HeldView {
    HeldView {
        id: outside(held.id),
        device_id: api.directory().device_by_key(held.device).map(|d| d.id.to_string()),
        seq: held.seq,
        received_at: api.time(held.received_at),
        reasons: held.reasons.iter().map(|r| r.as_str()).collect(),
        measured_after: between.after.map(|at| api.time(at)),
        measured_before: between.before.map(|at| api.time(at)),
        raw: with_bytes.then(|| hex::encode(&held.bytes)),
    }
}

/// The held entry with this id, if the caller may act on it.
async fn held(api: &Inner, caller: &Caller, id: &str) -> Answer<Arc<Held>> {
    let inside: ReadingId = id.replacen("q_", "r_", 1).parse().map_err(|_| Problem::not_found())?;
    // The list after the next higher position begins with this one, if it is held.
    let above = ReadingId::from_i64(inside.as_i64().saturating_add(1));
    let found = api.store.readings().held(None, Some(above), 1).await?;
    let held = found.into_iter().find(|h| h.id == inside && id.starts_with("q_")).ok_or_else(Problem::not_found)?;
    if owns(api, caller, &held) || caller.is(Role::Ops) { Ok(held) } else { Err(Problem::not_found()) }
}

/// Puts one aside for good; its bytes stay in the journal.
#[utoipa::path(post, path = "/api/v1/quarantine/{id}/discard", tag = "devices", responses((status = 204)))]
pub(super) async fn discard(State(api): State<Api>, caller: Caller, Id(id): Id<String>) -> Answer<StatusCode> {
    let held = held(&api, &caller, &id).await?;
    api.store.readings().discard(held.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What became of a held entry that was decoded and judged again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplayView {
    /// `stored flagged excluded duplicate`, or `quarantined` where it stays held; the worst of its readings.
    result: &'static str,
    /// Of today.
    reasons: Vec<String>,
    /// One for each reading in it, in order.
    results: Vec<ReplayedView>,
}

/// One reading of a held entry.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplayedView {
    seq: Option<i64>,
    result: &'static str,
    #[schema(value_type = Option<String>)]
    id: Option<ReadingId>,
    reasons: Vec<String>,
}

/// Decodes and judges one again, with the present code, allow list and bindings. What can be stored now leaves
/// quarantine and is counted as what it has become; what cannot stays as it is.
#[utoipa::path(post, path = "/api/v1/quarantine/{id}/replay", tag = "devices",
    responses((status = 200, body = ReplayView), (status = 404)))]
pub(super) async fn replay(State(api): State<Api>, caller: Caller, Id(id): Id<String>) -> Answer<Json<ReplayView>> {
    let held = held(&api, &caller, &id).await?;
    let done = (api.links.replay)(held.id).await?;
    let results: Vec<ReplayedView> = done
        .results
        .into_iter()
        .map(|r| ReplayedView {
            seq: r.seq,
            result: r.result,
            id: r.id,
            reasons: r.reasons.iter().map(ToString::to_string).collect(),
        })
        .collect();
    let held_still = results.iter().find(|r| r.result == "quarantined");
    let shown = held_still.or(results.first());
    Ok(Json(ReplayView {
        result: shown.map_or("stored", |r| r.result),
        reasons: shown.map(|r| r.reasons.clone()).unwrap_or_default(),
        results,
    }))
}
