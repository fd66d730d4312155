//! Devices and their credentials.

use super::organisations::Paging;
use crate::{
    admin::{self, NewDevice},
    cursor::Page,
    dto::DeviceView,
    extract::{Id, MaybeBody, Params},
    guard::Made,
    problem::{Answer, Problem},
    scope::Caller,
    state::Api,
};
use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use store::Role;
use utoipa::ToSchema;
use vitals::OrganisationId;

/// A device to be provisioned.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceInput {
    /// Made where absent.
    id: Option<String>,
    /// `gateway kiosk service`, or any word for a meter.
    kind: Option<String>,
    model: Option<String>,
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
}

/// What is shown once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceMade {
    #[serde(flatten)]
    device: DeviceView,
    secret: String,
    claim_code: String,
}

/// Devices within reach.
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", params(Paging),
    responses((status = 200, body = Page<DeviceView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<DeviceView>>> {
    let rows =
        api.directory().devices().into_iter().filter(|d| caller.is(Role::Ops) || caller.scope.sees_device(d)).collect();
    let page = paging.page(rows, |d| d.key.as_i64())?;
    Ok(Json(Page { items: page.items.iter().map(|d| DeviceView::new(d)).collect(), next_cursor: page.next_cursor }))
}

/// Provisions one; the secret is shown once.
#[utoipa::path(post, path = "/api/v1/devices", tag = "devices", request_body = DeviceInput,
    responses((status = 201, body = DeviceMade), (status = 409)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    MaybeBody(new): MaybeBody<DeviceInput>,
) -> Answer<Response> {
    let organisation = new.organisation_id.or(caller.scope.home());
    if organisation.is_some_and(|o| !caller.scope.knows(o)) && !caller.is(Role::Ops) {
        return Err(Problem::invalid("organisationId", "it is not within yours"));
    }
    let device = NewDevice { id: new.id, kind: new.kind, model: new.model, organisation };
    let made = admin::provision_device(&api.store, device).await?;
    let id = Made(made.device.id.to_string());
    let view = DeviceMade { device: DeviceView::new(&made.device), secret: made.secret, claim_code: made.claim_code };
    Ok((StatusCode::CREATED, Extension(id), Json(view)).into_response())
}

/// Withdraws the credential; a live session ends within 60 s.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/credential", tag = "devices", responses((status = 204)))]
pub(super) async fn revoke(State(api): State<Api>, caller: Caller, Id(id): Id<String>) -> Answer<StatusCode> {
    let device = match caller.scope.device(&id) {
        Err(_) if caller.is(Role::Ops) => api.directory().device(&id).ok_or_else(Problem::not_found)?,
        found => found?,
    };
    admin::revoke_device(&api.store, &device).await?;
    Ok(StatusCode::NO_CONTENT)
}
