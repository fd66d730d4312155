//! People who log in.

use super::organisations::{Paging, stale};
use crate::{
    admin::{self, NewUser},
    cursor::Page,
    dto::UserView,
    extract::{self, Body, Id, Params},
    guard::Made,
    password,
    problem::{Answer, Problem},
    scope::Caller,
    state::Api,
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use store::{Contact, Role, User};
use utoipa::ToSchema;
use vitals::{OrganisationId, PatientId, UserId};

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserInput {
    username: String,
    name: String,
    #[schema(value_type = Vec<String>)]
    roles: Vec<Role>,
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
    password: Option<String>,
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    contacts: Vec<Contact>,
    locale: Option<String>,
    #[schema(value_type = Option<String>)]
    patient_id: Option<PatientId>,
}

/// A user, with the password if the service made it.
#[derive(Serialize, ToSchema)]
pub(super) struct UserMade {
    #[serde(flatten)]
    user: UserView,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// What may be changed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserPatch {
    name: Option<String>,
    disabled: Option<bool>,
    #[schema(value_type = Option<Vec<Object>>)]
    contacts: Option<Vec<Contact>>,
    #[schema(value_type = Option<Vec<String>>)]
    roles: Option<Vec<Role>>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    locale: Option<Option<String>>,
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
    /// A new password, to be changed at the next login.
    password: Option<String>,
}

fn shown(u: &User) -> Response {
    ([(header::ETAG, extract::etag(u.version))], Json(UserView::new(u, true))).into_response()
}

/// Nobody gives rights beyond their own.
fn may_grant(caller: &Caller, roles: &[Role]) -> Answer<()> {
    let station_only = !caller.is(Role::RegionAdmin);
    let too_much = |role: &Role| match role {
        Role::RegionAdmin => station_only,
        Role::Ops | Role::Auditor => station_only,
        _ => false,
    };
    if roles.iter().any(too_much) {
        return Err(Problem::invalid("roles", "you cannot give these"));
    }
    Ok(())
}

/// Colleagues, by name; contacts only for those who may change them.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(Paging),
    responses((status = 200, body = Page<UserView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<UserView>>> {
    let rows = api.directory().users().into_iter().filter(|u| caller.scope.knows_user(u)).collect();
    let page = paging.page(rows, |u| u.id.as_i64())?;
    let items =
        page.items.iter().map(|u| UserView::new(u, caller.is_admin() && caller.scope.governs_user(u))).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Makes one; without a password one is made and shown once.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = UserInput,
    responses((status = 201, body = UserMade), (status = 409)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<UserInput>) -> Answer<Response> {
    may_grant(&caller, &new.roles)?;
    match new.organisation_id {
        Some(o) if !caller.scope.governs(o) => {
            return Err(Problem::invalid("organisationId", "it is not within yours"));
        }
        None if !caller.scope.sees_all() && new.patient_id.is_none() => {
            return Err(Problem::invalid("organisationId", "give one that is within yours"));
        }
        _ => {}
    }
    if new.patient_id.is_some_and(|p| !caller.scope.sees_id(p)) {
        return Err(Problem::invalid("patientId", "there is no such patient"));
    }
    let made = admin::create_user(
        &api.store,
        NewUser {
            username: new.username,
            name: new.name,
            roles: new.roles,
            organisation: new.organisation_id,
            password: new.password,
            contacts: new.contacts,
            locale: new.locale,
            patient: new.patient_id,
        },
    )
    .await?;
    let id = Made(made.user.id.to_string());
    let view = UserMade { user: UserView::new(&made.user, true), password: made.password };
    Ok((StatusCode::CREATED, [(header::ETAG, extract::etag(made.user.version))], Extension(id), Json(view))
        .into_response())
}

/// One.
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "users", responses((status = 200, body = UserView)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<UserId>) -> Answer<Response> {
    let user = api.directory().user(id).filter(|u| caller.scope.knows_user(u)).ok_or_else(Problem::not_found)?;
    let all = (caller.is_admin() && caller.scope.governs_user(&user)) || user.id == caller.user.id;
    Ok(([(header::ETAG, extract::etag(user.version))], Json(UserView::new(&user, all).with_teams(&api)))
        .into_response())
}

/// Changes one (`If-Match`); disabling, other roles or a new password end the sessions.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "users", request_body = UserPatch,
    responses((status = 200, body = UserView), (status = 412), (status = 428)))]
pub(super) async fn update(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<UserId>,
    headers: HeaderMap,
    Body(patch): Body<UserPatch>,
) -> Answer<Response> {
    let found = api.directory().user(id).filter(|u| caller.scope.governs_user(u)).ok_or_else(Problem::not_found)?;
    extract::if_match(&headers, found.version, true)?;
    // Whoever has rights beyond the caller's is not the caller's to change.
    may_grant(&caller, &found.roles)?;
    let mut user = User::clone(&found);
    let mut ends_sessions = false;
    if let Some(roles) = patch.roles {
        may_grant(&caller, &roles)?;
        if roles.is_empty() {
            return Err(Problem::invalid("roles", "at least one"));
        }
        ends_sessions |= roles != user.roles;
        user.roles = roles;
    }
    if let Some(disabled) = patch.disabled {
        ends_sessions |= disabled;
        user.disabled = disabled;
    }
    if let Some(organisation) = patch.organisation_id {
        if !caller.scope.governs(organisation) {
            return Err(Problem::invalid("organisationId", "it is not within yours"));
        }
        user.organisation = Some(organisation);
    }
    if let Some(password) = patch.password {
        admin::check_password(&password)?;
        user.password_hash = Some(password::hash_later(password).await.map_err(admin::AdminError::from)?);
        user.must_change_password = true;
        ends_sessions = true;
    }
    user.name = patch.name.unwrap_or(user.name);
    user.contacts = patch.contacts.unwrap_or(user.contacts);
    user.locale = patch.locale.unwrap_or(user.locale);
    let changed = api.store.update_user(user).await.map_err(stale)?;
    if ends_sessions {
        api.sessions.close_all_of(id).await?;
    }
    Ok(shown(&changed))
}
