//! Devices and their credentials.

use super::organisations::Paging;
use crate::{
    admin::{self, NewDevice},
    cursor::Page,
    dto::DeviceView,
    extract::{Body, Id, MaybeBody, Params},
    guard::Made,
    links::CertifyError,
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
use std::sync::Arc;
use store::Role;
use utoipa::ToSchema;
use vitals::{Binding, BindingId, Device, DeviceKind, OrganisationId, Slot};

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
    /// What a printed QR code of the claim code says.
    qr_text: String,
}

/// The device, if it is the caller's or the caller looks after all of them.
fn within(api: &Api, caller: &Caller, id: &str) -> Answer<Arc<Device>> {
    match caller.scope.device(id) {
        Err(_) if caller.is(Role::Ops) => api.directory().device(id).ok_or_else(Problem::not_found),
        found => found,
    }
}

/// The device, if its credential is the caller's to give and to take. A service client hears everybody of its place, a
/// gateway or a kiosk speaks for many: the first is operations' alone, the others are their owner's.
fn in_hand(api: &Api, caller: &Caller, id: &str) -> Answer<Arc<Device>> {
    let device = within(api, caller, id)?;
    let owned = device.organisation.map_or(caller.scope.sees_all(), |o| caller.scope.reaches(o));
    let may = match device.kind {
        DeviceKind::Meter => true,
        DeviceKind::Gateway | DeviceKind::Kiosk => owned,
        DeviceKind::Service => false,
    };
    if may || caller.is(Role::Ops) { Ok(device) } else { Err(Problem::forbidden()) }
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

/// Provisions one at the caller's place or below it; the secret is shown once. A service client only operations make.
#[utoipa::path(post, path = "/api/v1/devices", tag = "devices", request_body = DeviceInput,
    responses((status = 201, body = DeviceMade), (status = 409), (status = 422)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    MaybeBody(new): MaybeBody<DeviceInput>,
) -> Answer<Response> {
    let organisation = new.organisation_id.or(caller.scope.home());
    if !caller.is(Role::Ops) {
        if new.kind.as_deref() == Some("service") {
            return Err(Problem::invalid(
                "kind",
                "a service client hears everybody of its place: ask operations for one",
            ));
        }
        if organisation.is_some_and(|o| !caller.scope.reaches(o)) {
            return Err(Problem::invalid("organisationId", "it is not within yours"));
        }
    }
    let device = NewDevice { id: new.id, kind: new.kind, model: new.model, organisation };
    let made = admin::provision_device(&api.store, device).await?;
    let id = Made(made.device.id.to_string());
    let view = DeviceMade {
        device: DeviceView::new(&made.device),
        secret: made.secret,
        qr_text: admin::printed_code(&made.device.id, &made.claim_code),
        claim_code: made.claim_code,
    };
    Ok((StatusCode::CREATED, Extension(id), Json(view)).into_response())
}

/// A device's own key, in a request that was signed with it.
#[derive(Deserialize, ToSchema)]
pub(super) struct CertificateRequest {
    /// PKCS #10 in PEM. Of what it says only the key counts: P-256, P-384, Ed25519, or RSA of 2,048 bits and more.
    csr: String,
}

/// A certificate that stands for the device's secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateMade {
    device_id: String,
    /// PEM; its common name is the device's id.
    certificate: String,
    /// PEM of the authority that signed it.
    chain: String,
    /// Hexadecimal.
    serial: String,
    not_after: String,
}

/// Signs a device's request with the installation's device CA.
#[utoipa::path(post, path = "/api/v1/devices/{id}/certificate", tag = "devices", request_body = CertificateRequest,
    responses((status = 201, body = CertificateMade), (status = 403), (status = 404), (status = 409), (status = 422)))]
pub(super) async fn certify(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    Body(request): Body<CertificateRequest>,
) -> Answer<(StatusCode, Json<CertificateMade>)> {
    let device = in_hand(&api, &caller, &id)?;
    if device.revoked {
        return Err(Problem::conflict("the device's credential was withdrawn; provision it under another id"));
    }
    let signed = (api.links.certify)((device.id.clone(), request.csr)).await;
    let made = signed.map_err(|e| match e {
        CertifyError::Request(what) => Problem::invalid("csr", what),
        CertifyError::Authority(what) => {
            tracing::error!(reason = %what, "no certificate");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the device CA cannot sign; see the service's log",
            )
        }
    })?;
    let not_after = api.time(made.not_after);
    let (certificate, chain, serial) = (made.certificate, made.chain, made.serial);
    let view = CertificateMade { device_id: device.id.to_string(), certificate, chain, serial, not_after };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Withdraws the credential, of whatever kind; a live session ends within 60 s.
#[utoipa::path(delete, path = "/api/v1/devices/{id}/credential", tag = "devices", responses((status = 204)))]
pub(super) async fn revoke(State(api): State<Api>, caller: Caller, Id(id): Id<String>) -> Answer<StatusCode> {
    let device = in_hand(&api, &caller, &id)?;
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
    /// When its connection broke off, where it was not heard since.
    lost_at: Option<String>,
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
    let device = within(&api, &caller, &id)?;
    let said = api.store.presence(device.key).await?;
    Ok(Json(DeviceDetail {
        device: DeviceView::new(&device),
        last_hello_at: said.hello_at.map(|at| api.time(at)),
        last_status_at: said.status_at.map(|at| api.time(at)),
        lost_at: said.lost_at.map(|at| api.time(at)),
        reported_model: said.model,
        firmware: said.firmware,
        battery: said.battery,
        last_seq: said.last_seq,
    }))
}

/// What is printed on a meter.
#[derive(Deserialize, ToSchema)]
pub(super) struct Claim {
    /// As typed, or the text of the QR code.
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
    api.store.settle_bindings(device.key).await?;
    let view = Claimed { id: made.id.to_string(), device_id: device.id.to_string(), from: api.time(made.from) };
    Ok((StatusCode::CREATED, Extension(Made(device.id.to_string())), Json(view)).into_response())
}
