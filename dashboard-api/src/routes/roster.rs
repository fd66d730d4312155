//! Who is on call, and why: leave, overrides, rotas, calendars.

use super::organisations::Paging;
use crate::{
    cursor::Page,
    extract::{self, Body, Params},
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Calendar, Leave, OnCallPerson, Override, Rota, StoreError};
use utoipa::{IntoParams, ToSchema};
use vitals::{OrganisationId, TeamId, Timestamp, UserId};

/// Of which team, and when.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OnCallQuery {
    team: String,
    /// Now, where absent.
    at: Option<String>,
}

/// A record of the roster, as sent and with its id.
#[derive(Serialize, ToSchema)]
#[schema(value_type = Object)]
#[serde(transparent)]
pub(super) struct RosterRow(Value);

/// Who would be paged at a moment.
#[derive(Serialize, ToSchema)]
pub(super) struct OnCallView {
    levels: Vec<OnCallLevelView>,
    at: String,
}

/// One step of the chain.
#[derive(Serialize, ToSchema)]
struct OnCallLevelView {
    level: u32,
    people: Vec<OnCallPersonView>,
}

/// One whom it calls.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OnCallPersonView {
    #[schema(value_type = String)]
    user_id: UserId,
    /// `team:gp`, `station:duty (override)`, …
    why: String,
}

/// Who would be paged then, and why.
#[utoipa::path(get, path = "/api/v1/on-call", tag = "roster", params(OnCallQuery),
    responses((status = 200, body = OnCallView)))]
pub(super) async fn on_call(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<OnCallQuery>,
) -> Answer<Json<OnCallView>> {
    let team: TeamId = query.team.parse().map_err(|_| Problem::bad("team: not an identifier of this kind"))?;
    caller.scope.team(team)?;
    let at = extract::moment("at", query.at.as_deref())?.unwrap_or_else(|| api.now());
    let levels = (api.links.on_call)((team, at)).await?;
    let person = |p: OnCallPerson| OnCallPersonView { user_id: p.user_id, why: p.why };
    let levels = levels
        .into_iter()
        .map(|l| OnCallLevelView { level: l.level, people: l.people.into_iter().map(person).collect() })
        .collect();
    Ok(Json(OnCallView { levels, at: api.time(at) }))
}

fn period(from: Timestamp, to: Timestamp) -> Answer<()> {
    if from < to { Ok(()) } else { Err(Problem::invalid("to", "later than from")) }
}

fn duty(role: &str) -> Answer<()> {
    if role == "duty" { Ok(()) } else { Err(Problem::invalid("role", "duty")) }
}

/// A person whom the caller may name.
pub(super) fn somebody(api: &Inner, caller: &Caller, field: &str, user: UserId) -> Answer<()> {
    let known = api.directory().user(user).is_some_and(|u| caller.scope.knows_user(&u));
    if known { Ok(()) } else { Err(Problem::invalid(field, "there is no such user")) }
}

fn somewhere(caller: &Caller, organisation: OrganisationId) -> Answer<()> {
    caller
        .scope
        .governed(organisation)
        .map(drop)
        .map_err(|_| Problem::invalid("organisationId", "it is not within yours"))
}

fn listed<T: Serialize>(
    rows: impl Iterator<Item = T>,
    id: impl Fn(&T) -> String,
    paging: &Paging,
) -> Answer<Json<Page<RosterRow>>> {
    let rows = rows.filter_map(|row| Some((id(&row), serde_json::to_value(row).ok()?))).collect();
    let page = paging.page(rows, |(id, _): &(String, Value)| id.clone())?;
    Ok(Json(Page {
        items: page.items.into_iter().map(|(_, row)| RosterRow(row)).collect(),
        next_cursor: page.next_cursor,
    }))
}

fn made<T: Serialize>(row: &T) -> Response {
    (StatusCode::CREATED, Json(row)).into_response()
}

/// Who is away.
#[utoipa::path(get, path = "/api/v1/leave", tag = "roster", params(Paging), responses((status = 200, body = Page<RosterRow>)))]
pub(super) async fn leaves(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<RosterRow>>> {
    let roster = api.store.roster();
    let mine = |l: &&Leave| api.directory().user(l.user_id).is_some_and(|u| caller.scope.knows_user(&u));
    listed(roster.leaves.iter().filter(mine), |l| l.id.clone(), &paging)
}

/// A step that a leave empties.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EmptiedStep {
    #[schema(value_type = String)]
    team_id: TeamId,
    step: u32,
}

/// A leave with what it does to the chains; it is always saved.
#[derive(Serialize, ToSchema)]
pub(super) struct LeaveMade {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    leave: Leave,
    warnings: Vec<EmptiedStep>,
}

/// Writes down a leave; `warnings` names the steps of the caller's teams that then call nobody.
#[utoipa::path(post, path = "/api/v1/leave", tag = "roster", request_body = Object,
    responses((status = 201, body = LeaveMade), (status = 422)))]
pub(super) async fn create_leave(State(api): State<Api>, caller: Caller, Body(leave): Body<Leave>) -> Answer<Response> {
    period(leave.from, leave.to)?;
    somebody(&api, &caller, "userId", leave.user_id)?;
    if let Some(substitute) = leave.substitute_id {
        somebody(&api, &caller, "substituteId", substitute)?;
        if substitute == leave.user_id {
            return Err(Problem::invalid("substituteId", "nobody stands in for themselves"));
        }
    }
    match api.store.create_leave(leave).await {
        Ok(leave) => {
            let mine = |team: TeamId| api.directory().team(team).is_some_and(|t| caller.scope.sees_team(&t));
            let emptied = (api.links.emptied_by)(leave.clone()).await.into_iter().filter(|(team, _)| mine(*team));
            let warnings = emptied.map(|(team_id, w)| EmptiedStep { team_id, step: w.step }).collect();
            Ok(made(&LeaveMade { leave, warnings }))
        }
        Err(StoreError::Conflict(words)) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", words)),
        Err(e) => Err(e.into()),
    }
}

/// Who has the duty whatever the rota says.
#[utoipa::path(get, path = "/api/v1/overrides", tag = "roster", params(Paging), responses((status = 200, body = Page<RosterRow>)))]
pub(super) async fn overrides(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<RosterRow>>> {
    let roster = api.store.roster();
    listed(roster.overrides.iter().filter(|o| caller.scope.knows(o.organisation_id)), |o| o.id.clone(), &paging)
}

/// Writes down an override.
#[utoipa::path(post, path = "/api/v1/overrides", tag = "roster", request_body = Object,
    responses((status = 201, body = RosterRow), (status = 422)))]
pub(super) async fn create_override(
    State(api): State<Api>,
    caller: Caller,
    Body(new): Body<Override>,
) -> Answer<Response> {
    period(new.from, new.to)?;
    duty(&new.role)?;
    somewhere(&caller, new.organisation_id)?;
    somebody(&api, &caller, "userId", new.user_id)?;
    Ok(made(&api.store.create_override(new).await?))
}

/// Who has the duty when.
#[utoipa::path(get, path = "/api/v1/rotas", tag = "roster", params(Paging), responses((status = 200, body = Page<RosterRow>)))]
pub(super) async fn rotas(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<RosterRow>>> {
    let roster = api.store.roster();
    listed(roster.rotas.iter().filter(|r| caller.scope.knows(r.organisation_id)), |r| r.id.clone(), &paging)
}

/// Writes down a rota.
#[utoipa::path(post, path = "/api/v1/rotas", tag = "roster", request_body = Object,
    responses((status = 201, body = RosterRow), (status = 422)))]
pub(super) async fn create_rota(State(api): State<Api>, caller: Caller, Body(rota): Body<Rota>) -> Answer<Response> {
    duty(&rota.role)?;
    somewhere(&caller, rota.organisation_id)?;
    for (i, shift) in rota.shifts.iter().enumerate() {
        period(shift.from, shift.to)?;
        somebody(&api, &caller, &format!("shifts[{i}].userId"), shift.user_id)?;
    }
    Ok(made(&api.store.create_rota(rota).await?))
}

/// Days of rest and days of work against the week's habit.
#[utoipa::path(get, path = "/api/v1/calendars", tag = "roster", params(Paging), responses((status = 200, body = Page<RosterRow>)))]
pub(super) async fn calendars(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<RosterRow>>> {
    let roster = api.store.roster();
    listed(roster.calendars.iter().filter(|c| caller.scope.knows(c.organisation_id)), |c| c.id.clone(), &paging)
}

/// Writes down a calendar.
#[utoipa::path(post, path = "/api/v1/calendars", tag = "roster", request_body = Object,
    responses((status = 201, body = RosterRow), (status = 422)))]
pub(super) async fn create_calendar(
    State(api): State<Api>,
    caller: Caller,
    Body(calendar): Body<Calendar>,
) -> Answer<Response> {
    somewhere(&caller, calendar.organisation_id)?;
    Ok(made(&api.store.create_calendar(calendar).await?))
}
