//! The audit, for auditors and the first administrator.

use crate::{
    cursor::{self, Page},
    extract::Params,
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use store::{AuditRecord, Role};
use utoipa::{IntoParams, ToSchema};
use vitals::UserId;

/// Paging.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Who did it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Actor {
    #[schema(value_type = Option<String>)]
    user_id: Option<UserId>,
    username: Option<String>,
    role: Option<String>,
}

/// A row of the chain.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditView {
    seq: i64,
    at: String,
    actor: Actor,
    action: String,
    path: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
    from: Option<String>,
    /// `ok not_found denied`.
    result: &'static str,
    previous_hash: String,
    hash: String,
}

fn view(api: &Inner, r: AuditRecord) -> AuditView {
    AuditView {
        seq: r.seq,
        at: api.time(r.row.at),
        actor: Actor { user_id: r.row.user, username: r.row.username, role: r.row.role },
        action: r.row.action,
        path: r.row.path,
        reference: r.row.reference,
        from: r.row.source,
        result: r.row.result,
        previous_hash: r.previous_hash,
        hash: r.hash,
    }
}

/// Every row, in the order of the chain.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditQuery), responses((status = 200, body = Page<AuditView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<AuditQuery>,
) -> Answer<Json<Page<AuditView>>> {
    if !caller.is(Role::Auditor) && !caller.scope.sees_all() {
        return Err(Problem::forbidden());
    }
    let limit = cursor::limit(query.limit)?;
    let after: Option<i64> = cursor::read(query.cursor.as_deref())?;
    // Rows still on their way belong to what has already been answered.
    api.trail.flush().await;
    let page = cursor::page(api.store.audit(after.unwrap_or(0), limit + 1).await?, limit, |r| r.seq);
    let items = page.items.into_iter().map(|r| view(&api, r)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}
