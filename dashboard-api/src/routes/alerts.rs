//! Alerts: the inbox, one with its evidence, and the messages that went out.

use crate::{
    cursor,
    doubt::{self, Doubts},
    dto::{AlertView, DeliveryView, ReadingView},
    extract::{self, Id, Params},
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, sync::Arc};
use store::{AlertState, Episode, EpisodeQuery, StateFilter, TimelineEvent};
use utoipa::{IntoParams, ToSchema};
use vitals::{AlertId, Excluded, Reading, ReadingId, Severity, UserId};

/// Pages that are looked through for doubtful alerts before an answer is given, full or not.
const ROUNDS: usize = 10;

/// Which alerts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertQuery {
    /// One state, `active` (default) or `all`.
    state: Option<String>,
    severity: Option<String>,
    team: Option<String>,
    /// Only those that the caller owns.
    mine: Option<bool>,
    patient: Option<String>,
    /// Only those with a reading that is far from the person's own, or only those without.
    doubtful: Option<bool>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A page of the inbox.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inbox {
    items: Vec<AlertView>,
    next_cursor: Option<String>,
    as_of: String,
    /// When every stored reading was last known to be evaluated.
    evaluated_at: Option<String>,
}

/// Un-acknowledged critical first.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(AlertQuery), responses((status = 200, body = Inbox)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<AlertQuery>,
) -> Answer<Json<Inbox>> {
    let limit = cursor::limit(query.limit)?;
    let state = match query.state.as_deref() {
        None | Some("active") => StateFilter::Active,
        Some("all") => StateFilter::All,
        Some(word) => StateFilter::One(
            AlertState::parse(word).ok_or_else(|| Problem::bad("state: active, all, or one of the states"))?,
        ),
    };
    let severity = match query.severity.as_deref() {
        None => None,
        Some(word) => {
            Some(Severity::parse(word).ok_or_else(|| Problem::bad("severity: critical, urgent, routine or info"))?)
        }
    };
    let wanted = EpisodeQuery {
        patients: caller.scope.patient_ids(),
        or_called: Some(caller.user.id),
        state,
        severity,
        patient: extract::id("patient", query.patient.as_deref())?,
        team: extract::id("team", query.team.as_deref())?,
        owner: query.mine.unwrap_or(false).then_some(caller.user.id),
        after: cursor::read(query.cursor.as_deref())?,
        limit,
    };
    let (items, next_cursor) = page(&api, wanted, query.doubtful).await?;
    Ok(Json(Inbox {
        items,
        next_cursor,
        as_of: api.time(api.now()),
        evaluated_at: api.evaluated_at().map(|t| api.time(t)),
    }))
}

/// With `doubtful`: pages are looked through until one is full, or for [`ROUNDS`]; then the cursor goes on from there.
async fn page(
    api: &Inner,
    mut wanted: EpisodeQuery,
    doubtful: Option<bool>,
) -> Answer<(Vec<AlertView>, Option<String>)> {
    let limit = wanted.limit;
    let size = if doubtful.is_some() { cursor::MOST } else { limit };
    wanted.limit = size + 1;
    let (mut items, mut next) = (Vec::new(), None);
    for _ in 0..ROUNDS {
        let page = cursor::page(api.store.episodes(wanted.clone()).await?, size, Episode::cursor);
        for (n, episode) in page.items.iter().enumerate() {
            let doubted = doubt::count(api, episode).await?;
            if doubtful.is_none_or(|asked| asked == (doubted > 0)) {
                items.push(AlertView::new(api, episode).doubted(doubted));
            }
            if items.len() == limit {
                let more = page.next_cursor.is_some() || n + 1 < page.items.len();
                return Ok((items, more.then(|| cursor::write(&episode.cursor()))));
            }
        }
        next = page.next_cursor;
        if next.is_none() {
            break;
        }
        wanted.after = page.items.last().map(Episode::cursor);
    }
    Ok((items, next))
}

/// Why an alert is there.
#[derive(Serialize, ToSchema)]
pub(super) struct EvidenceView {
    /// Readings used.
    readings: Vec<ReadingView>,
    /// Readings left out, and why.
    excluded: Vec<ExcludedView>,
    /// How many of the readings are another person's by now, and are not shown.
    #[serde(rename = "readingsOfOthers", skip_serializing_if = "is_none_of")]
    readings_of_others: usize,
    /// Numbers, limits and where each came from, guideline.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    rest: Map<String, Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_none_of(n: &usize) -> bool {
    *n == 0
}

/// A reading that a rule left out.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExcludedView {
    #[schema(value_type = String)]
    reading_id: ReadingId,
    reason: String,
    reading: Option<ReadingView>,
}

/// One line of a timeline.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventView {
    at: String,
    event: String,
    #[schema(value_type = Option<String>)]
    by: Option<UserId>,
    by_name: Option<String>,
    detail: Option<String>,
}

/// An alert in full.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertDetail {
    #[serde(flatten)]
    alert: AlertView,
    patient_phone: Option<String>,
    rule_version: Option<u32>,
    evidence: EvidenceView,
    /// What would clear it.
    clears: Option<Value>,
    timeline: Vec<EventView>,
    deliveries: Vec<DeliveryView>,
    as_of: String,
}

/// The alert, if its patient is the caller's or a step called them.
pub(super) async fn find(api: &Inner, caller: &Caller, id: AlertId) -> Answer<(Episode, bool)> {
    let episode = api.store.episode(id).await?.ok_or_else(Problem::not_found)?;
    let called = api.store.was_called(id, caller.user.id).await?;
    if called || caller.scope.sees_id(episode.patient) { Ok((episode, called)) } else { Err(Problem::not_found()) }
}

/// One, with its evidence, timeline and messages.
#[utoipa::path(get, path = "/api/v1/alerts/{id}", tag = "alerts", responses((status = 200, body = AlertDetail)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<AlertId>) -> Answer<Json<AlertDetail>> {
    let (episode, _) = find(&api, &caller, id).await?;
    detail(&api, &episode).await.map(Json)
}

pub(super) async fn detail(api: &Inner, episode: &Episode) -> Answer<AlertDetail> {
    let timeline = api.store.timeline(episode.id).await?;
    let deliveries = api.store.deliveries_of(episode.id).await?;
    let (evidence, rule_version) = evidence(api, episode).await?;
    let doubtful = doubt::count(api, episode).await?;
    let clears = evidence.rest.get("clears").cloned();
    Ok(AlertDetail {
        alert: AlertView::new(api, episode).doubted(doubtful),
        patient_phone: api.directory().patient(episode.patient).and_then(|p| p.phone.clone()),
        rule_version,
        evidence,
        clears,
        timeline: timeline.into_iter().map(|e| event(api, e)).collect(),
        deliveries: deliveries.iter().map(|d| DeliveryView::new(api, d)).collect(),
        as_of: api.time(api.now()),
    })
}

fn event(api: &Inner, e: TimelineEvent) -> EventView {
    EventView { at: api.time(e.at), event: e.event, by: e.by, by_name: api.name_of(e.by), detail: e.detail }
}

/// The deciding finding's words, with its readings in full.
async fn evidence(api: &Inner, episode: &Episode) -> Answer<(EvidenceView, Option<u32>)> {
    let mut rest: Map<String, Value> = serde_json::from_str(&episode.evidence).unwrap_or_default();
    let (mut used, mut excluded, mut version) = (episode.readings.clone(), Vec::new(), None);
    if let Some(finding) = deciding(api, episode).await? {
        used = finding.draft.readings;
        excluded = finding.draft.excluded;
        version = Some(finding.draft.rule_version);
    }
    if let Some(ids) = rest.remove("readings").and_then(|ids| serde_json::from_value::<Vec<ReadingId>>(ids).ok()) {
        used = ids;
    }
    if let Some(found) = rest.remove("excluded").and_then(|x| serde_json::from_value::<Vec<Excluded>>(x).ok()) {
        excluded = found;
    }
    let used: BTreeSet<ReadingId> = used.into_iter().collect();
    let named = used.iter().copied().chain(excluded.iter().map(|x| x.reading_id)).collect();
    let mut all = api.store.readings().by_ids(named).await?;
    let named = all.len();
    // A binding that was put right since may have made one another person's: who may see this patient may not see that one.
    all.retain(|_, reading| reading.patient == Some(episode.patient));
    let readings_of_others = named - all.len();
    let doubts = match api.directory().patient(episode.patient) {
        Some(patient) => doubt::of(api, &patient, &all.values().cloned().collect::<Vec<_>>()).await?,
        None => Doubts::new(),
    };
    let view = |r: &Arc<Reading>| ReadingView::new(api, r).doubted(doubts.get(&r.id));
    let mut readings: Vec<&Arc<Reading>> = used.iter().filter_map(|id| all.get(id)).collect();
    readings.sort_by_key(|r| (r.measured_at, r.id));
    let readings = readings.into_iter().map(view).collect();
    let excluded = excluded.into_iter().map(|x| {
        let reading = all.get(&x.reading_id).map(view);
        ExcludedView { reading_id: x.reading_id, reason: x.reason, reading }
    });
    Ok((EvidenceView { readings, excluded: excluded.collect(), readings_of_others, rest }, version))
}

/// The finding whose words the episode's evidence are.
async fn deciding(api: &Inner, episode: &Episode) -> Answer<Option<vitals::Finding>> {
    let mut best: Option<vitals::Finding> = None;
    for id in &episode.findings {
        let Some(finding) = api.store.finding(*id).await? else { continue };
        if finding.draft.evidence == episode.evidence {
            return Ok(Some(finding));
        }
        if finding.draft.rule == episode.rule && finding.draft.severity == episode.severity && best.is_none() {
            best = Some(finding);
        }
    }
    Ok(best)
}
