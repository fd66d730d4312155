//! Who wore which meter from when to when. A change gives what is stored to the right people.

use super::organisations::Paging;
use crate::{
    cursor::Page,
    dto::BindingView,
    extract::{self, Body, Id, Moment, Params},
    guard::Made,
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use store::StoreError;
use utoipa::ToSchema;
use vitals::{Binding, BindingId, Device, PatientId, Slot};

/// A binding to be recorded.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewBinding {
    #[schema(value_type = String)]
    patient_id: PatientId,
    /// Which button; any where absent.
    user_slot: Option<u8>,
    /// First moment; now where absent.
    #[schema(value_type = Option<String>)]
    from: Option<Moment>,
    /// First moment no longer.
    #[schema(value_type = Option<String>)]
    to: Option<Moment>,
}

/// What may be corrected.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BindingPatch {
    #[schema(value_type = Option<String>)]
    patient_id: Option<PatientId>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<u8>)]
    user_slot: Option<Option<u8>>,
    #[schema(value_type = Option<String>)]
    from: Option<Moment>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    to: Option<Option<Moment>>,
}

fn view(api: &Inner, b: &Binding) -> BindingView {
    BindingView {
        id: b.id,
        patient_id: b.patient,
        user_slot: match b.slot {
            Slot::Any => None,
            Slot::User(n) => Some(n),
        },
        from: api.time(b.from),
        to: b.to.map(|t| api.time(t)),
        recorded_at: api.time(b.recorded_at),
    }
}

fn slot(number: Option<u8>) -> Slot {
    number.map_or(Slot::Any, Slot::User)
}

/// A patch that does not fit what a colleague has written meanwhile.
const CHANGED: &str = "somebody has changed it in the meantime: read it again";

fn period(binding: &Binding) -> Answer<()> {
    match binding.to {
        Some(to) if to <= binding.from => Err(Problem::invalid("to", "later than from")),
        _ => Ok(()),
    }
}

/// The device's bindings, as far as their patients are the caller's.
#[utoipa::path(get, path = "/api/v1/devices/{id}/bindings", tag = "devices", params(Paging),
    responses((status = 200, body = Page<BindingView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<BindingView>>> {
    let device = caller.scope.device(&id)?;
    let rows =
        api.directory().bindings(device.key).iter().filter(|b| caller.scope.sees_id(b.patient)).copied().collect();
    let page = paging.page(rows, |b: &Binding| (b.from.as_micros(), b.id.as_i64()))?;
    Ok(Json(Page { items: page.items.iter().map(|b| view(&api, b)).collect(), next_cursor: page.next_cursor }))
}

/// Records one; 409 when it overlaps another of the device.
#[utoipa::path(post, path = "/api/v1/devices/{id}/bindings", tag = "devices", request_body = NewBinding,
    responses((status = 201, body = BindingView), (status = 409)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    Body(new): Body<NewBinding>,
) -> Answer<Response> {
    let device = caller.scope.device(&id)?;
    let (patient, _) = caller.scope.patient(new.patient_id)?;
    let now = api.now();
    let binding = Binding {
        id: BindingId::new(0),
        device: device.key,
        slot: slot(new.user_slot),
        from: new.from.map_or(now, |m| m.0),
        to: new.to.map(|m| m.0),
        patient: patient.id,
        recorded_at: now,
    };
    period(&binding)?;
    let made = api.store.create_binding(binding).await?;
    settle(&api, &device).await?;
    Ok((StatusCode::CREATED, Extension(Made(made.id.to_string())), Json(view(&api, &made))).into_response())
}

/// Corrects or ends one.
#[utoipa::path(patch, path = "/api/v1/devices/{id}/bindings/{bid}", tag = "devices", request_body = BindingPatch,
    responses((status = 200, body = BindingView), (status = 409)))]
pub(super) async fn update(
    State(api): State<Api>,
    caller: Caller,
    Path((id, bid)): Path<(String, String)>,
    Body(patch): Body<BindingPatch>,
) -> Answer<Json<BindingView>> {
    let device = caller.scope.device(&id)?;
    let bid: BindingId = bid.parse().map_err(|_| Problem::not_found())?;
    let found = api.directory().bindings(device.key).iter().find(|b| b.id == bid).copied();
    let found = found.filter(|b| caller.scope.sees_id(b.patient)).ok_or_else(Problem::not_found)?;
    let patient = patch.patient_id.map(|id| caller.scope.patient(id)).transpose()?.map(|(patient, _)| patient.id);
    let apply = move |binding: &mut Binding| {
        binding.patient = patient.unwrap_or(binding.patient);
        binding.slot = patch.user_slot.map_or(binding.slot, slot);
        binding.from = patch.from.as_ref().map_or(binding.from, |from| from.0);
        binding.to = patch.to.as_ref().map_or(binding.to, |to| to.as_ref().map(|to| to.0));
    };
    let mut after = found;
    apply(&mut after);
    period(&after)?;
    // Somebody else may change it in the same moment: what is written is the binding as it is then, with this patch.
    let patched = api.store.patch_binding(device.key, bid, move |binding| {
        let seen = binding.patient == found.patient;
        apply(binding);
        if seen && period(binding).is_ok() { Ok(()) } else { Err(StoreError::Conflict(CHANGED.into())) }
    });
    let changed = patched.await?;
    settle(&api, &device).await?;
    Ok(Json(view(&api, &changed)))
}

/// Gives what is stored to whom it belongs now.
async fn settle(api: &Inner, device: &Device) -> Answer<()> {
    let moved = api.store.settle_bindings(device.key).await?;
    if moved > 0 {
        tracing::info!(device = %device.id, moved, "stored readings were given to their patients");
    }
    Ok(())
}
