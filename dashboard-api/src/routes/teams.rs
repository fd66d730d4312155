//! Family-doctor teams and the chains that their criticals climb.

use super::{
    organisations::{Paging, stale},
    roster::somebody,
};
use crate::{
    cursor::Page,
    dto::TeamView,
    extract::{self, Body, Id, Params},
    guard::Made,
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
use serde::Deserialize;
use store::{ChainWarning, Member, Role, Team};
use utoipa::ToSchema;
use vitals::{OrganisationId, TeamId};

/// A team to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewTeam {
    name: String,
    #[schema(value_type = String)]
    organisation_id: OrganisationId,
    #[schema(value_type = Vec<Object>)]
    members: Vec<Member>,
    chain: Option<Vec<Vec<String>>>,
}

/// What may be changed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TeamPatch {
    name: Option<String>,
    #[schema(value_type = Option<Vec<Object>>)]
    members: Option<Vec<Member>>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    chain: Option<Option<Vec<Vec<String>>>>,
}

fn shown(status: StatusCode, team: &Team, warnings: Option<Vec<ChainWarning>>) -> Response {
    let mut view = TeamView::new(team);
    view.warnings = warnings;
    (status, [(header::ETAG, extract::etag(team.version))], Extension(Made(team.id.to_string())), Json(view))
        .into_response()
}

/// Refuses a team whose criticals would reach nobody; says which steps are empty for a while. Who is in it already may
/// stay, whoever may see them.
async fn check(api: &Inner, caller: &Caller, team: &Team, before: &[Member]) -> Answer<Vec<ChainWarning>> {
    if team.name.trim().is_empty() || team.name.chars().count() > 200 {
        return Err(Problem::invalid("name", "1 to 200 characters"));
    }
    for (i, member) in team.members.iter().enumerate() {
        if !matches!(member.role, Role::Gp | Role::Specialist | Role::HealthManager | Role::Assistant) {
            return Err(Problem::invalid(&format!("members[{i}].role"), "gp, specialist, health_manager or assistant"));
        }
        if !before.iter().any(|m| m.user_id == member.user_id) {
            somebody(api, caller, &format!("members[{i}].userId"), member.user_id)?;
        }
    }
    (api.links.check_team)(team.clone()).await.map_err(|fault| {
        Problem::invalid("chain", format!("step {}: {}", fault.step, fault.reason)).with("step", fault.step)
    })
}

/// Teams that the caller is in, governs or works beside.
#[utoipa::path(get, path = "/api/v1/teams", tag = "teams", params(Paging),
    responses((status = 200, body = Page<TeamView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<TeamView>>> {
    let rows = api.directory().teams().into_iter().filter(|t| caller.scope.sees_team(t)).collect();
    let page = paging.page(rows, |t| t.id.as_i64())?;
    Ok(Json(Page { items: page.items.iter().map(|t| TeamView::new(t)).collect(), next_cursor: page.next_cursor }))
}

/// Makes one; 422 naming the step when a critical would reach nobody.
#[utoipa::path(post, path = "/api/v1/teams", tag = "teams", request_body = NewTeam,
    responses((status = 201, body = TeamView), (status = 422)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<NewTeam>) -> Answer<Response> {
    if !caller.scope.governs(new.organisation_id) || api.directory().organisation(new.organisation_id).is_none() {
        return Err(Problem::invalid("organisationId", "it is not within yours"));
    }
    let team = Team {
        id: TeamId::new(0),
        name: new.name,
        organisation: new.organisation_id,
        members: new.members,
        chain: new.chain,
        version: 0,
    };
    let warnings = check(&api, &caller, &team, &[]).await?;
    let made = api.store.create_team(team).await?;
    Ok(shown(StatusCode::CREATED, &made, Some(warnings)))
}

/// One.
#[utoipa::path(get, path = "/api/v1/teams/{id}", tag = "teams", responses((status = 200, body = TeamView)))]
pub(super) async fn read(caller: Caller, Id(id): Id<TeamId>) -> Answer<Response> {
    Ok(shown(StatusCode::OK, &*caller.scope.team(id)?, None))
}

/// Changes one (`If-Match`).
#[utoipa::path(patch, path = "/api/v1/teams/{id}", tag = "teams", request_body = TeamPatch,
    responses((status = 200, body = TeamView), (status = 412), (status = 422), (status = 428)))]
pub(super) async fn update(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<TeamId>,
    headers: HeaderMap,
    Body(patch): Body<TeamPatch>,
) -> Answer<Response> {
    let mut team = Team::clone(&*caller.scope.team(id)?);
    if !caller.scope.governs(team.organisation) {
        return Err(Problem::not_found());
    }
    extract::if_match(&headers, team.version, true)?;
    team.name = patch.name.unwrap_or(team.name);
    let before = team.members.clone();
    team.members = patch.members.unwrap_or(team.members);
    team.chain = patch.chain.unwrap_or(team.chain);
    let warnings = check(&api, &caller, &team, &before).await?;
    let changed = api.store.update_team(team).await.map_err(stale)?;
    Ok(shown(StatusCode::OK, &changed, Some(warnings)))
}
