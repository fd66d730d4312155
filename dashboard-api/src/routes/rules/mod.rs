//! The cards in force, what is drafted over them, and what was in force before.

pub(super) mod edit;
pub(super) mod rehearse;
mod rights;

use super::organisations::Paging;
use crate::{
    cursor::Page,
    extract::{self, Id, Params},
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use std::collections::BTreeSet;
use store::{CardRecord, EditState, RuleEdit, RuleScope, rule_edit_in_force};
use utoipa::ToSchema;
use vitals::{OrganisationId, Timestamp};

/// Former versions shown with a rule.
const HISTORY: usize = 50;

/// A rule: the card in force with its numbers and what it says, and what people changed of it.
#[derive(Serialize, ToSchema)]
#[schema(value_type = Object)]
#[serde(transparent)]
pub(super) struct RuleView(Whole);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    card: serde_json::Map<String, Value>,
    /// Counts changes of drafts and versions; the ETag.
    revision: i64,
    /// Values of stations and groups that hold now.
    values: Vec<EditView>,
    /// Written, not signed.
    drafts: Vec<EditView>,
    /// Signed, not yet in force.
    scheduled: Vec<EditView>,
    /// Once in force, the newest first; only with a single rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<EditView>>,
    /// What the caller may do at the level of the platform.
    may: May,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct May {
    draft: bool,
    approve: bool,
    /// Organisations of whose values the caller may write a draft.
    places: Vec<Place>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    organisation_id: OrganisationId,
    name: String,
}

impl May {
    fn new(api: &Inner, caller: &Caller) -> Self {
        let all = RuleScope::default();
        let mine = |id| rights::draft(caller, &RuleScope { organisation: Some(id), tag: None }).is_ok();
        let places = api.directory().organisations().into_iter().filter(|o| mine(o.id));
        Self {
            draft: rights::draft(caller, &all).is_ok(),
            approve: rights::lead(caller, &all).is_ok(),
            places: places.map(|o| Place { organisation_id: o.id, name: o.name.clone() }).collect(),
        }
    }
}

/// An edit, as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EditView {
    scope: ScopeView,
    version: Option<u32>,
    state: &'static str,
    /// `{"card": …}` or `{"parameters": …}`; null: as if this scope had never been edited.
    content: Option<Box<RawValue>>,
    note: String,
    author: Option<String>,
    drafted_at: String,
    proposed_from: Option<String>,
    approver: Option<String>,
    approved_at: Option<String>,
    effective_from: Option<String>,
    rollback: bool,
    /// Whether the caller wrote it: somebody else signs.
    own: bool,
    may_approve: bool,
    may_withdraw: bool,
    may_undo: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeView {
    organisation_id: Option<OrganisationId>,
    organisation: Option<String>,
    tag: Option<String>,
}

/// For whom, as a caller says it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ScopeBody {
    /// The patients of this organisation's teams.
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
    /// Patients with this tag or condition.
    tag: Option<String>,
}

impl ScopeBody {
    /// The scope, if the caller may know of it.
    fn read(self, caller: &Caller) -> Answer<RuleScope> {
        if let Some(id) = self.organisation_id {
            caller
                .scope
                .organisation(id)
                .map_err(|_| Problem::invalid("scope.organisationId", "name one that is within yours"))?;
        }
        let tag = self.tag.map(|t| t.trim().to_owned());
        if tag.as_ref().is_some_and(|t| t.is_empty() || t.chars().count() > 100) {
            return Err(Problem::invalid("scope.tag", "1 to 100 characters"));
        }
        Ok(RuleScope { organisation: self.organisation_id, tag })
    }
}

impl EditView {
    fn new(api: &Inner, caller: &Caller, e: &RuleEdit) -> Self {
        let time = |at: Option<Timestamp>| at.map(|t| api.time(t));
        let waits = e.state == EditState::Draft || !e.has_begun(api.now());
        Self {
            scope: ScopeView {
                organisation_id: e.scope.organisation,
                organisation: e
                    .scope
                    .organisation
                    .and_then(|id| api.directory().organisation(id))
                    .map(|o| o.name.clone()),
                tag: e.scope.tag.clone(),
            },
            version: e.version,
            state: e.state.as_str(),
            content: e.body.clone().and_then(|body| RawValue::from_string(body).ok()),
            note: e.note.clone(),
            author: api.name_of(Some(e.author)),
            drafted_at: api.time(e.drafted_at),
            proposed_from: time(e.proposed_from),
            approver: api.name_of(e.approver),
            approved_at: time(e.approved_at),
            effective_from: time(e.effective_from),
            rollback: e.returns_to.is_some(),
            own: e.author == caller.user.id,
            may_approve: e.state == EditState::Draft && rights::sign(api, caller, e).is_ok(),
            may_undo: !waits && rights::lead(caller, &e.scope).is_ok(),
            may_withdraw: waits && rights::withdraw(api, caller, e).is_ok(),
        }
    }
}

/// The rule with everything that the caller may know of its edits.
fn view(
    api: &Inner,
    caller: &Caller,
    (card, revision): (&CardRecord, i64),
    all: &[RuleEdit],
    history: bool,
) -> Answer<RuleView> {
    let Ok(Value::Object(shown)) = serde_json::from_str(&card.body) else { return Err(Problem::not_found()) };
    let now = api.now();
    let known = |e: &&RuleEdit| e.rule == card.id && e.scope.organisation.is_none_or(|o| caller.scope.knows(o));
    let edits: Vec<RuleEdit> = all.iter().filter(known).cloned().collect();
    let show = |e: &RuleEdit| EditView::new(api, caller, e);
    let scopes: BTreeSet<&RuleScope> = edits.iter().map(|e| &e.scope).filter(|s| **s != RuleScope::default()).collect();
    let values = scopes.into_iter().filter_map(|scope| rule_edit_in_force(&edits, scope, now));
    let signed = |e: &&RuleEdit| e.state == EditState::Approved;
    let mut begun: Vec<&RuleEdit> = edits.iter().filter(|e| e.has_begun(now)).collect();
    begun.sort_by_key(|e| std::cmp::Reverse((e.effective_from, e.id)));
    Ok(RuleView(Whole {
        card: shown,
        revision,
        values: values.filter(|e| e.body.is_some()).map(show).collect(),
        drafts: edits.iter().filter(|e| e.state == EditState::Draft).map(show).collect(),
        scheduled: edits.iter().filter(signed).filter(|e| !e.has_begun(now)).map(show).collect(),
        history: history.then(|| begun.into_iter().take(HISTORY).map(show).collect()),
        may: May::new(api, caller),
    }))
}

/// One rule's answer, with its ETag.
async fn shown(api: &Inner, caller: &Caller, id: &str, status: StatusCode) -> Answer<Response> {
    let card = card(api, id).await?;
    // The revision first: an edit that comes in between makes the ETag stale, never the answer.
    let revision = api.store.rule_revision(id.to_owned()).await?;
    let view = view(api, caller, (&card, revision), &api.store.rule_edits().await?, true)?;
    Ok((status, [(header::ETAG, extract::etag(revision))], Json(view)).into_response())
}

async fn card(api: &Inner, id: &str) -> Answer<CardRecord> {
    let cards = (api.links.rules.cards)(()).await?;
    cards.into_iter().find(|c| c.id == id).ok_or_else(Problem::not_found)
}

/// Every card in force, with what is drafted and signed of it.
#[utoipa::path(get, path = "/api/v1/rules", tag = "rules", params(Paging), responses((status = 200, body = Page<RuleView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<RuleView>>> {
    let page = paging.page((api.links.rules.cards)(()).await?, |c: &CardRecord| c.id.clone())?;
    let mut items = Vec::with_capacity(page.items.len());
    for card in &page.items {
        let revision = api.store.rule_revision(card.id.clone()).await?;
        let edits = api.store.rule_edits().await?;
        items.push(view(&api, &caller, (card, revision), &edits, false)?);
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// One, with its former versions.
#[utoipa::path(get, path = "/api/v1/rules/{id}", tag = "rules", responses((status = 200, body = RuleView)))]
pub(super) async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<String>) -> Answer<Response> {
    shown(&api, &caller, &id, StatusCode::OK).await
}

/// A card or some numbers, as one content; exactly one of them.
fn content(card: Option<Value>, parameters: Option<Value>) -> Answer<String> {
    match (card, parameters) {
        (Some(card), None) => Ok(json!({ "card": card }).to_string()),
        (None, Some(parameters)) => Ok(json!({ "parameters": parameters }).to_string()),
        _ => Err(Problem::invalid("card", "send either card or parameters")),
    }
}
