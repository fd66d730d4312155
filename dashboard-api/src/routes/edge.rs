//! Shared devices: who is logged in at a kiosk, for which devices a gateway speaks.

use crate::{
    extract::{Body, Id},
    password,
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};
use store::Role;
use utoipa::ToSchema;
use vitals::{Device, DeviceKind, PatientId};

/// More than any gateway has room for.
const MOST_DEVICES: usize = 10_000;

/// The device of this kind, or 404.
fn device(api: &Inner, caller: &Caller, id: &str, kind: DeviceKind) -> Answer<Arc<Device>> {
    let found = match caller.scope.device(id) {
        Err(_) if caller.is(Role::Ops) => api.directory().device(id).ok_or_else(Problem::not_found)?,
        found => found?,
    };
    if found.kind == kind { Ok(found) } else { Err(Problem::not_found()) }
}

/// Who steps up to a kiosk.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct KioskLogin {
    #[schema(value_type = String)]
    patient_id: PatientId,
}

/// What the kiosk puts into its readings as `session`; shown once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct KioskToken {
    /// 256 random bits.
    token: String,
    expires_at: String,
}

/// Logs a patient in at a kiosk for five minutes; whoever was logged in there is out.
#[utoipa::path(post, path = "/api/v1/kiosks/{id}/sessions", tag = "devices", request_body = KioskLogin,
    responses((status = 201, body = KioskToken), (status = 404)))]
pub(super) async fn open(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    Body(login): Body<KioskLogin>,
) -> Answer<(StatusCode, Json<KioskToken>)> {
    let kiosk = device(&api, &caller, &id, DeviceKind::Kiosk)?;
    let (patient, _) = caller.scope.patient(login.patient_id)?;
    let token = password::secret().map_err(|_| Problem::busy("the system gives no random numbers"))?;
    let session = api.store.open_kiosk_session(kiosk.key, patient.id, store::token_key(&token)).await?;
    Ok((StatusCode::CREATED, Json(KioskToken { token, expires_at: api.time(session.to) })))
}

/// Logs out whoever is logged in at a kiosk.
#[utoipa::path(delete, path = "/api/v1/kiosks/{id}/sessions", tag = "devices",
    responses((status = 204), (status = 404)))]
pub(super) async fn close(State(api): State<Api>, caller: Caller, Id(id): Id<String>) -> Answer<StatusCode> {
    let kiosk = device(&api, &caller, &id, DeviceKind::Kiosk)?;
    api.store.close_kiosk_session(kiosk.key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// For which devices a gateway speaks.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct AllowList {
    /// Devices' ids.
    devices: Vec<String>,
}

fn view(api: &Inner, gateway: &Device) -> AllowList {
    let all = api.directory().edge().allowed(gateway.key);
    let mut devices: Vec<String> =
        all.iter().filter_map(|key| api.directory().device_by_key(*key)).map(|d| d.id.to_string()).collect();
    devices.sort_unstable();
    AllowList { devices }
}

/// A gateway's allow list.
#[utoipa::path(get, path = "/api/v1/gateways/{id}/devices", tag = "devices",
    responses((status = 200, body = AllowList), (status = 404)))]
pub(super) async fn allowed(State(api): State<Api>, caller: Caller, Id(id): Id<String>) -> Answer<Json<AllowList>> {
    let gateway = device(&api, &caller, &id, DeviceKind::Gateway)?;
    Ok(Json(view(&api, &gateway)))
}

/// Replaces it. What was held as `not_allowed` can be replayed then.
#[utoipa::path(put, path = "/api/v1/gateways/{id}/devices", tag = "devices", request_body = AllowList,
    responses((status = 200, body = AllowList), (status = 404), (status = 422)))]
pub(super) async fn allow(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    Body(list): Body<AllowList>,
) -> Answer<Json<AllowList>> {
    let gateway = device(&api, &caller, &id, DeviceKind::Gateway)?;
    if list.devices.len() > MOST_DEVICES {
        return Err(Problem::invalid("devices", "at most 10,000"));
    }
    let before = api.directory().edge().allowed(gateway.key);
    let mut keys = BTreeSet::new();
    for (i, id) in list.devices.iter().enumerate() {
        // What is on the list already may stay, whoever may see it.
        let kept = api.directory().device(id).filter(|d| before.contains(&d.key));
        let found = kept.or_else(|| match caller.scope.device(id) {
            Err(_) if caller.is(Role::Ops) => api.directory().device(id),
            found => found.ok(),
        });
        let speaks_for = |d: &Device| matches!(d.kind, DeviceKind::Meter | DeviceKind::Kiosk);
        match found.filter(|d| speaks_for(d)) {
            Some(device) => keys.insert(device.key),
            None => {
                return Err(Problem::invalid("devices", format!("entry {}: there is no such meter or kiosk", i + 1)));
            }
        };
    }
    api.store.set_gateway_devices(gateway.key, keys).await?;
    Ok(Json(view(&api, &gateway)))
}
