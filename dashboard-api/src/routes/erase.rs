//! A patient taken out of everything: readings, what is held, findings, alerts, messages, record, log-in.

use crate::{
    extract::{Body, Id},
    problem::{Answer, Problem},
    scope::Caller,
    state::Api,
};
use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use vitals::PatientId;

/// The patient's id once more: this cannot be undone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmation {
    confirm: String,
}

/// Erases a patient. Answers when nothing of theirs is left in any file of the installation; names the backups that may
/// still hold it. Meanwhile nothing is committed: about ten seconds a gigabyte.
#[utoipa::path(post, path = "/api/v1/patients/{id}/erase", tag = "patients", request_body = Confirmation,
    responses((status = 200, body = Object), (status = 404), (status = 422)))]
pub(super) async fn erase(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<PatientId>,
    Body(confirmation): Body<Confirmation>,
) -> Answer<Json<Value>> {
    caller.scope.patient(id)?;
    if confirmation.confirm != id.to_string() {
        return Err(Problem::invalid("confirm", "the patient's id once more"));
    }
    let done = api.store.erase_patient(id).await?;
    let backups: Vec<Value> = done
        .backups
        .iter()
        .map(|b| json!({"path": b.path, "madeAt": api.time(b.made_at), "expiresAt": api.time(b.expires_at)}))
        .collect();
    Ok(Json(json!({"patientId": id, "readings": done.readings, "records": done.records, "backups": backups})))
}
