//! A patient's readings and what the rules concluded from them.

use crate::{
    cursor::{self, Page},
    doubt,
    dto::{FindingView, ReadingView},
    extract::{self, Id, Params},
    problem::{Answer, Problem},
    resolution::{self, Resolution},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use store::{DaysQuery, ReadingQuery};
use utoipa::{IntoParams, ToSchema};
use vitals::{FindingId, Kind, Patient, PatientId, Reading, ReadingId, Timestamp, personal::PERSONAL_OUTLIER};

/// Pages that are looked through for a flag before an answer is given, full or not.
const ROUNDS: usize = 50;

/// Which readings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadingsQuery {
    /// `blood_pressure` or `blood_glucose`.
    kind: Option<String>,
    /// First moment of measurement.
    from: Option<String>,
    /// First moment no longer.
    to: Option<String>,
    /// `raw` (default), `day` or `week`.
    resolution: Option<String>,
    /// Only readings with this flag: `personal_outlier` or `zone_suspect`. With `raw` only.
    flag: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Ascending by `measuredAt`; `from` included, `to` not. By day or week: means and counts.
#[utoipa::path(get, path = "/api/v1/patients/{id}/readings", tag = "readings", params(ReadingsQuery),
    responses((status = 200, body = Page<ReadingView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<PatientId>,
    Params(query): Params<ReadingsQuery>,
) -> Answer<Response> {
    let (patient, _) = caller.scope.patient(id)?;
    let limit = cursor::limit(query.limit)?;
    let kind = match query.kind.as_deref() {
        None => None,
        Some(word) => Some(Kind::parse(word).ok_or_else(|| Problem::bad("kind: blood_pressure or blood_glucose"))?),
    };
    let from = extract::moment("from", query.from.as_deref())?.unwrap_or(Timestamp::MIN);
    let to = extract::moment("to", query.to.as_deref())?.unwrap_or(Timestamp::MAX);
    let resolution = Resolution::parse(query.resolution.as_deref())?;
    let flag = query.flag.as_deref().map(flag_of).transpose()?;
    if resolution == Resolution::Raw {
        let after: Option<(i64, ReadingId)> = cursor::read(query.cursor.as_deref())?;
        let after = after.map(|(at, id)| (Timestamp::from_micros(at), id));
        let wanted = ReadingQuery { patient: patient.id, kind, from, to, after, limit };
        return raw(&api, &patient, wanted, flag).await;
    }
    if flag.is_some() {
        return Err(Problem::bad("flag: with resolution=raw only; a day or a week has no flags"));
    }
    let after: Option<String> = cursor::read(query.cursor.as_deref())?;
    let wanted = DaysQuery { patient: patient.id, from, to, basis: api.store.basis(&patient) };
    let days = api.store.readings().days(wanted).await?;
    let mut buckets = resolution::buckets(&days, resolution, kind);
    buckets.retain(|b| after.as_ref().is_none_or(|after| b.key() > *after));
    Ok(Json(cursor::page(buckets, limit, resolution::Bucket::key)).into_response())
}

/// A flag that can be asked for.
fn flag_of(word: &str) -> Answer<&'static str> {
    let known = [PERSONAL_OUTLIER, "zone_suspect"].into_iter().find(|known| *known == word);
    known.ok_or_else(|| Problem::bad("flag: personal_outlier or zone_suspect"))
}

/// With a flag: pages are looked through until one is full, or for [`ROUNDS`]; then the cursor goes on from there.
async fn raw(api: &Inner, patient: &Patient, mut query: ReadingQuery, flag: Option<&str>) -> Answer<Response> {
    let limit = query.limit;
    let size = if flag.is_some() { cursor::MOST } else { limit };
    query.limit = size + 1;
    let (mut items, mut next_cursor) = (Vec::new(), None);
    for _ in 0..ROUNDS {
        let rows = api.store.readings().range(query.clone()).await?;
        let page = cursor::page(rows, size, |r| (r.measured_at.as_micros(), r.id));
        let doubts = doubt::of(api, patient, &page.items).await?;
        let has = |r: &Reading| match flag {
            None => true,
            Some(PERSONAL_OUTLIER) => doubts.contains_key(&r.id),
            Some(word) => r.flags.iter().any(|f| **f == *word),
        };
        for r in page.items.iter().filter(|r| has(r)) {
            items.push((r.clone(), doubts.get(&r.id).copied()));
        }
        next_cursor = page.next_cursor;
        query.after = page.items.last().map(|r| (r.measured_at, r.id));
        if next_cursor.is_none() || items.len() >= limit {
            break;
        }
    }
    if items.len() > limit {
        items.truncate(limit);
        next_cursor = items.last().map(|(r, _)| cursor::write(&(r.measured_at.as_micros(), r.id)));
    }
    let items = items.iter().map(|(r, doubt)| ReadingView::new(api, r).doubted(doubt.as_ref())).collect();
    Ok(Json(Page::<ReadingView> { items, next_cursor }).into_response())
}

/// Which findings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FindingsQuery {
    /// A rule's id.
    rule: Option<String>,
    /// First `effectiveAt`.
    from: Option<String>,
    /// First `effectiveAt` no longer.
    to: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// What the rules concluded, retracted conclusions included.
#[utoipa::path(get, path = "/api/v1/patients/{id}/findings", tag = "readings", params(FindingsQuery),
    responses((status = 200, body = Page<FindingView>)))]
pub(super) async fn findings(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<PatientId>,
    Params(query): Params<FindingsQuery>,
) -> Answer<Json<Page<FindingView>>> {
    let (patient, _) = caller.scope.patient(id)?;
    let limit = cursor::limit(query.limit)?;
    let after: Option<FindingId> = cursor::read(query.cursor.as_deref())?;
    let from = extract::moment("from", query.from.as_deref())?;
    let to = extract::moment("to", query.to.as_deref())?;
    let rows = api.store.findings_of(patient.id, query.rule, from, to, after, limit + 1).await?;
    let page = cursor::page(rows, limit, |f| f.id);
    let items = page.items.into_iter().map(|f| FindingView::new(&api, f)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// A message as the device sent it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OriginalView {
    /// The tail of its topic: `readings`, `gatt/2a35`, `fhir`, `vendor/acme`.
    route: String,
    received_at: String,
    /// In hexadecimal.
    raw: String,
    /// The same as text, where it is text.
    text: Option<String>,
}

/// The message that brought a reading. 404 where it is not kept (any more); 409 where it speaks of others too.
#[utoipa::path(get, path = "/api/v1/readings/{id}/original", tag = "readings",
    responses((status = 200, body = OriginalView)))]
pub(super) async fn original(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<ReadingId>,
) -> Answer<Json<OriginalView>> {
    let reading = api.store.readings().by_id(id).await?.ok_or_else(Problem::not_found)?;
    let (patient, _) = caller.scope.patient(reading.patient.ok_or_else(Problem::not_found)?)?;
    let original = api.store.readings().original(id).await?.ok_or_else(Problem::not_found)?;
    if original.sole_owner != Some(patient.id) {
        return Err(Problem::conflict("the message holds more than this patient's readings; it is not shown"));
    }
    Ok(Json(OriginalView {
        route: original.route,
        received_at: original.received_at.to_rfc3339(api.zone()),
        raw: hex::encode(&original.bytes),
        text: String::from_utf8(original.bytes).ok(),
    }))
}
