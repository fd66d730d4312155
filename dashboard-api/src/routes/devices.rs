//! Devices and their credentials.

use super::organisations::Paging;
use crate::{
    admin::{self, NewDevice},
    cursor::Page,
    dto::DeviceView,
    extract::{Body, Id, MaybeBody, Params},
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
use vitals::{Binding, BindingId, OrganisationId, Slot};

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

/// A device with what it last said of itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceDetail {
    #[serde(flatten)]
    device: DeviceView,
    last_hello_at: Option<String>,
    last_status_at: Option<String>,
    /// As the device says.
    reported_model: Option<String>,
    firmware: Option<String>,
    /// Percent.
    battery: Option<u8>,
    /// The highest number that it has counted, as it says.
    last_seq: Option<i64>,
}

/// One device.
#[utoipa::path(get, path = "/api/v1/devices/{id}", tag = "devices",
    responses((status = 200, body = DeviceDetail), (status = 404)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<String>) -> Answer<Json<DeviceDetail>> {
    let device = match caller.scope.device(&id) {
        Err(_) if caller.is(Role::Ops) => api.directory().device(&id).ok_or_else(Problem::not_found)?,
        found => found?,
    };
    let said = api.store.presence(device.key).await?;
    Ok(Json(DeviceDetail {
        device: DeviceView::new(&device),
        last_hello_at: said.hello_at.map(|at| api.time(at)),
        last_status_at: said.status_at.map(|at| api.time(at)),
        reported_model: said.model,
        firmware: said.firmware,
        battery: said.battery,
        last_seq: said.last_seq,
    }))
}

/// What is printed on a meter.
#[derive(Deserialize, ToSchema)]
pub(super) struct Claim {
    code: String,
}

/// The meter that is the caller's from now on.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Claimed {
    /// Of the binding.
    id: String,
    device_id: String,
    from: String,
}

/// A patient binds a meter by its printed code, from now on. 409 while somebody else wears it.
#[utoipa::path(post, path = "/api/v1/devices/claim", tag = "devices", request_body = Claim,
    responses((status = 201, body = Claimed), (status = 404), (status = 409)))]
pub(super) async fn claim(State(api): State<Api>, caller: Caller, Body(claim): Body<Claim>) -> Answer<Response> {
    let patient = caller.user.patient.ok_or_else(Problem::forbidden)?;
    let (patient, _) = caller.scope.patient(patient)?;
    let store = api.store.clone();
    // Every device's code is computed: a few milliseconds that the other requests should not wait for.
    let found = tokio::task::spawn_blocking(move || admin::device_with_code(&store, &claim.code)).await;
    let device = found.ok().flatten().ok_or_else(Problem::not_found)?;
    let now = api.now();
    let binding = Binding {
        id: BindingId::new(0),
        device: device.key,
        slot: Slot::Any,
        from: now,
        to: None,
        patient: patient.id,
        recorded_at: now,
    };
    let made = api.store.create_binding(binding).await?;
    api.store.readings().reattribute(device.key).await?;
    let view = Claimed { id: made.id.to_string(), device_id: device.id.to_string(), from: api.time(made.from) };
    Ok((StatusCode::CREATED, Extension(Made(device.id.to_string())), Json(view)).into_response())
}
