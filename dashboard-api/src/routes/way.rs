//! One reading's way: received, durable, evaluated, alert, each delivery, acknowledged by. Without its values.

use crate::{
    extract::Id,
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{Json, extract::State};
use serde::Serialize;
use store::Role;
use utoipa::ToSchema;
use vitals::{AlertId, Finding, FindingId, PatientId, ReadingId, UserId};

/// A reading's way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TrailView {
    #[schema(value_type = String)]
    id: ReadingId,
    device_id: Option<String>,
    received: String,
    durable: bool,
    /// `stored flagged excluded`.
    result: &'static str,
    evaluated: bool,
    findings: Vec<FindingWay>,
}

/// A finding that used it, and what became of that.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FindingWay {
    #[schema(value_type = String)]
    id: FindingId,
    rule_id: String,
    at: String,
    retracted_at: Option<String>,
    #[schema(value_type = Option<String>)]
    alert_id: Option<AlertId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<Sent>>,
    /// Only with an alert; null while nobody has taken it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Acknowledged>)]
    acknowledged: Option<Option<Acknowledged>>,
}

/// A message of its alert.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Sent {
    id: String,
    channel: String,
    #[schema(value_type = Option<String>)]
    user_id: Option<UserId>,
    level: u32,
    cycle: u32,
    state: &'static str,
    attempts: u32,
    created_at: String,
}

/// Who took it on.
#[derive(Serialize, ToSchema)]
struct Acknowledged {
    at: String,
    #[schema(value_type = Option<String>)]
    by: Option<UserId>,
}

/// One reading's way, without its values.
#[utoipa::path(get, path = "/api/v1/ops/trail/{id}", tag = "operations",
    responses((status = 200, body = TrailView), (status = 404)))]
pub(super) async fn trail(State(api): State<Api>, caller: Caller, Id(id): Id<ReadingId>) -> Answer<Json<TrailView>> {
    let reading = api.store.readings().by_id(id).await?.ok_or_else(Problem::not_found)?;
    let theirs = reading.patient.is_some_and(|p| caller.scope.sees_id(p));
    if !theirs && !caller.is(Role::Ops) && !caller.scope.sees_all() {
        return Err(Problem::not_found());
    }
    let evaluated = api.store.readings().health().consumed >= id.as_i64().unsigned_abs();
    let mut findings = Vec::new();
    if let Some(patient) = reading.patient {
        for finding in about(&api, patient, id).await? {
            findings.push(way(&api, finding).await?);
        }
    }
    Ok(Json(TrailView {
        id,
        device_id: api.directory().device_by_key(reading.device).map(|d| d.id.to_string()),
        received: api.time(reading.received_at),
        durable: true,
        result: reading.disposition.as_str(),
        evaluated,
        findings,
    }))
}

/// The findings that used this reading.
async fn about(api: &Inner, patient: PatientId, id: ReadingId) -> Answer<Vec<Finding>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = api.store.findings_of(patient, None, None, None, after, 500).await?;
        let Some(last) = page.last().map(|f| f.id) else { return Ok(found) };
        after = Some(last);
        found.extend(page.into_iter().filter(|f| f.draft.readings.contains(&id)));
    }
}

async fn way(api: &Inner, finding: Finding) -> Answer<FindingWay> {
    let (mut deliveries, mut acknowledged) = (None, None);
    if let Some(alert) = finding.alert {
        let sent = api.store.deliveries_of(alert).await?.into_iter().map(|d| Sent {
            id: d.id,
            channel: d.channel,
            user_id: d.user,
            level: d.level,
            cycle: d.cycle,
            state: d.state.as_str(),
            attempts: d.attempts,
            created_at: api.time(d.created_at),
        });
        deliveries = Some(sent.collect());
        let taken = api.store.timeline(alert).await?.into_iter().find(|e| e.event == "acknowledged");
        acknowledged = Some(taken.map(|e| Acknowledged { at: api.time(e.at), by: e.by }));
    }
    Ok(FindingWay {
        id: finding.id,
        rule_id: finding.draft.rule.to_string(),
        at: api.time(finding.draft.at),
        retracted_at: finding.retracted_at.map(|at| api.time(at)),
        alert_id: finding.alert,
        deliveries,
        acknowledged,
    })
}
