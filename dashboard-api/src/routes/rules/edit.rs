//! Drafting, signing, undoing: two persons, a moment from which it holds, the former version kept.

use super::{ScopeBody, card, content, rights, shown};
use crate::{
    extract::{self, Body, Id, MaybeBody, Moment},
    links::{RuleContent, RuleReturn},
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;
use store::{EditState, NewRuleEdit, RuleEdit, RuleScope, StoreError};
use utoipa::ToSchema;
use vitals::Timestamp;

/// A rule as somebody wants it: a whole card, or some of its numbers.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewDraft {
    /// As GET shows it.
    #[schema(value_type = Option<Object>)]
    card: Option<Value>,
    /// Numbers by name; without a scope the others stay as they are, with one these are all that it has of its own.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// Everybody, where absent; a station or a group has numbers only.
    #[serde(default)]
    scope: ScopeBody,
    /// From when it shall hold; from its approval on, where absent.
    #[schema(value_type = Option<String>)]
    effective_from: Option<Moment>,
    /// Why.
    #[serde(default)]
    note: String,
}

/// Which draft, and from when.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Approval {
    #[serde(default)]
    scope: ScopeBody,
    /// As the author proposed, where absent.
    #[schema(value_type = Option<String>)]
    effective_from: Option<Moment>,
}

/// Where to go back, and why.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Undo {
    #[serde(default)]
    scope: ScopeBody,
    #[serde(default)]
    note: String,
}

/// Writes a draft (`If-Match`), in the place of the scope's present one. It has no effect until a second person approves.
#[utoipa::path(put, path = "/api/v1/rules/{id}", tag = "rules", request_body = NewDraft,
    responses((status = 200, body = super::RuleView), (status = 412), (status = 422), (status = 428)))]
pub(crate) async fn draft(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    headers: HeaderMap,
    Body(new): Body<NewDraft>,
) -> Answer<Response> {
    card(&api, &id).await?;
    let scope = new.scope.read(&caller)?;
    rights::draft(&caller, &scope)?;
    let known = api.store.rule_revision(id.clone()).await?;
    extract::if_match(&headers, known, true)?;
    let from = new.effective_from.map(|Moment(at)| at);
    not_past(&api, from)?;
    if new.note.chars().count() > 2000 {
        return Err(Problem::invalid("note", "at most 2000 characters"));
    }
    let content = content(new.card, new.parameters)?;
    let checked = (api.links.rules.check)(RuleContent { rule: id.clone(), scope: scope.clone(), content }).await?;
    let draft = NewRuleEdit {
        rule: id.clone(),
        scope,
        body: checked.body,
        note: new.note,
        author: caller.user.id,
        proposed_from: from,
    };
    api.store.draft_rule(draft, known, api.now()).await.map_err(refused)?;
    shown(&api, &caller, &id, StatusCode::OK).await
}

/// Signs a draft: somebody else than its author. `If-Match` is honoured where it is sent.
#[utoipa::path(post, path = "/api/v1/rules/{id}/approve", tag = "rules", request_body = Approval,
    responses((status = 200, body = super::RuleView), (status = 403), (status = 412), (status = 422)))]
pub(crate) async fn approve(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    headers: HeaderMap,
    MaybeBody(body): MaybeBody<Approval>,
) -> Answer<Response> {
    let (scope, known) = led(&api, &caller, &id, body.scope, &headers).await?;
    let draft = find(&api, &id, &scope, |e| e.state == EditState::Draft).await?;
    rights::sign(&api, &caller, &draft)?;
    let from = body.effective_from.map(|Moment(at)| at);
    not_past(&api, from.or(draft.proposed_from))?;
    // What it was drafted on may have changed since: it is checked as it stands now.
    let content = draft.body.clone().unwrap_or_default();
    let asked = RuleContent { rule: id.clone(), scope: scope.clone(), content };
    let base = (api.links.rules.check)(asked).await?.base;
    let signed = api.store.approve_rule(id.clone(), scope, caller.user.id, from, base, Some(known), api.now()).await;
    signed.map_err(refused)?;
    shown(&api, &caller, &id, StatusCode::OK).await
}

/// Brings back, at once, what held before the version in force: one step, one person, who may sign.
#[utoipa::path(post, path = "/api/v1/rules/{id}/rollback", tag = "rules", request_body = Undo,
    responses((status = 200, body = super::RuleView), (status = 403), (status = 409), (status = 412), (status = 422)))]
pub(crate) async fn roll_back(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    headers: HeaderMap,
    MaybeBody(body): MaybeBody<Undo>,
) -> Answer<Response> {
    let (scope, known) = led(&api, &caller, &id, body.scope, &headers).await?;
    // What comes back was signed beside other numbers than those of today.
    let back = api.store.rule_before(id.clone(), scope.clone(), api.now()).await.map_err(refused)?;
    let asked = RuleReturn { rule: id.clone(), scope: scope.clone(), body: back };
    let base = (api.links.rules.check_return)(asked).await?;
    let by = (caller.user.id, body.note.chars().take(2000).collect());
    api.store.roll_back_rule(id.clone(), scope, by, base, Some(known), api.now()).await.map_err(refused)?;
    shown(&api, &caller, &id, StatusCode::OK).await
}

/// Takes back a draft, or what is signed and has no effect yet.
#[utoipa::path(post, path = "/api/v1/rules/{id}/withdraw", tag = "rules", request_body = Undo,
    responses((status = 200, body = super::RuleView), (status = 403), (status = 404), (status = 412)))]
pub(crate) async fn withdraw(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    headers: HeaderMap,
    MaybeBody(body): MaybeBody<Undo>,
) -> Answer<Response> {
    card(&api, &id).await?;
    let scope = body.scope.read(&caller)?;
    let known = seen(&api, &id, &headers).await?;
    let now = api.now();
    let waits = |e: &RuleEdit| e.state == EditState::Draft || (e.state == EditState::Approved && !e.has_begun(now));
    let edit = find(&api, &id, &scope, waits).await?;
    rights::withdraw(&api, &caller, &edit)?;
    api.store.withdraw_rule(id.clone(), scope, Some(known), now).await.map_err(refused)?;
    shown(&api, &caller, &id, StatusCode::OK).await
}

/// For whom a lead of that scope acts, and on which revision of the rule.
async fn led(
    api: &Inner,
    caller: &Caller,
    id: &str,
    scope: ScopeBody,
    headers: &HeaderMap,
) -> Answer<(RuleScope, i64)> {
    card(api, id).await?;
    let scope = scope.read(caller)?;
    rights::lead(caller, &scope)?;
    Ok((scope, seen(api, id, headers).await?))
}

/// The revision that this request is about: the present one, which `If-Match` must name where it is sent.
async fn seen(api: &Inner, id: &str, headers: &HeaderMap) -> Answer<i64> {
    let known = api.store.rule_revision(id.to_owned()).await?;
    extract::if_match(headers, known, false)?;
    Ok(known)
}

/// The newest edit of a scope that is `wanted`, or 404.
async fn find(api: &Inner, id: &str, scope: &RuleScope, wanted: impl Fn(&RuleEdit) -> bool) -> Answer<RuleEdit> {
    let edits = api.store.rule_edits().await?;
    let found = edits.into_iter().rev().find(|e| e.rule == id && e.scope == *scope && wanted(e));
    found.ok_or_else(Problem::not_found)
}

fn not_past(api: &Inner, from: Option<Timestamp>) -> Answer<()> {
    match from.filter(|at| *at < api.now()) {
        Some(_) => {
            Err(Problem::invalid("effectiveFrom", "it has passed: name a later moment, or leave it out for now"))
        }
        None => Ok(()),
    }
}

fn refused(e: StoreError) -> Problem {
    match e {
        StoreError::Conflict(words) if words.contains("author") => {
            Problem::new(StatusCode::FORBIDDEN, "forbidden", words)
        }
        StoreError::Conflict(words) if words.contains("passed") => {
            Problem::invalid("effectiveFrom", "it has passed: name a later moment, or leave it out for now")
        }
        e => crate::routes::organisations::stale(e),
    }
}
