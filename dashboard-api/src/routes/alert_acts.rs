//! What people do with alerts. The book decides whether it can be; here stands who may ask.

use super::alerts::{self, AlertDetail};
use crate::{
    extract::{self, Moment},
    guard::{self, Named},
    problem::{Answer, Problem},
    scope::{Caller, Scope},
    state::{Api, Inner},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};
use store::{Action, Command, CommandError, Episode, OnceKey, Role};
use utoipa::ToSchema;
use vitals::{AlertId, Severity, UserId};

/// Longest `Idempotency-Key`.
const LONGEST_KEY: usize = 255;
/// Most alerts of one bulk action.
const MOST: usize = 200;
/// Why a person cannot be given an alert: the same words for whoever does not exist and for whoever may not see it.
const NOT_THEIRS: &str = "give somebody of the patient's team, or whom a step called";

/// Members of every action's body; each action reads its own.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActionBody {
    /// `unack`.
    reason: Option<String>,
    /// `assign`.
    #[schema(value_type = Option<String>)]
    user_id: Option<UserId>,
    /// `snooze`.
    minutes: Option<i64>,
    /// `follow-up`: when the patient was spoken to.
    #[schema(value_type = Option<String>)]
    contacted_at: Option<Moment>,
    /// `follow-up`: `phone`, `visit`, …
    how: Option<String>,
    note: Option<String>,
    /// `follow-up`: the next one.
    #[schema(value_type = Option<String>)]
    due_at: Option<Moment>,
    /// `resolve`: `treated referred false_reading unreachable other`.
    outcome: Option<String>,
    /// `comment`, `feedback`.
    text: Option<String>,
}

fn action(api: &Inner, name: &str, body: ActionBody) -> Answer<Action> {
    let needed = |field: &'static str| Problem::invalid(field, "is missing");
    let words = |field: &'static str, text: Option<String>, most: usize| match text {
        Some(text) if text.chars().count() > most => Err(Problem::invalid(field, format!("at most {most} characters"))),
        text => Ok(text.filter(|t| !t.trim().is_empty())),
    };
    Ok(match name {
        "ack" => Action::Ack,
        "unack" => Action::Unack { reason: words("reason", body.reason, 500)? },
        "assign" => {
            let user = body.user_id.ok_or_else(|| needed("userId"))?;
            if api.directory().user(user).is_none_or(|u| u.disabled) {
                return Err(Problem::invalid("userId", NOT_THEIRS));
            }
            Action::Assign { user }
        }
        "snooze" => Action::Snooze { minutes: body.minutes.ok_or_else(|| needed("minutes"))? },
        "escalate" => Action::Escalate,
        "follow-up" => Action::FollowUp {
            contacted_at: body.contacted_at.ok_or_else(|| needed("contactedAt"))?.0,
            how: words("how", body.how, 100)?.ok_or_else(|| needed("how"))?,
            note: words("note", body.note, 2000)?,
            due_at: body.due_at.map(|m| m.0),
        },
        "resolve" => Action::Resolve {
            outcome: body.outcome.ok_or_else(|| needed("outcome"))?,
            note: words("note", body.note, 2000)?,
        },
        "comment" => Action::Comment { text: words("text", body.text, 2000)?.ok_or_else(|| needed("text"))? },
        "feedback" => Action::Feedback { text: words("text", body.text.or(body.note), 2000)?.unwrap_or_default() },
        _ => return Err(Problem::not_found()),
    })
}

/// A doctor or manager acts on their teams' alerts; whoever a step called acts on that one; a specialist then reads,
/// comments, acknowledges and logs the call that the acknowledgement promises.
fn may(caller: &Caller, called: bool, action: &str) -> Answer<()> {
    if caller.is(Role::Gp) || caller.is(Role::HealthManager) {
        return Ok(());
    }
    let light = matches!(action, "ack" | "unack" | "comment" | "follow-up");
    let allowed = if caller.is_admin() {
        called
    } else if caller.is(Role::Specialist) {
        action == "comment" || (called && light)
    } else {
        called && light
    };
    if allowed { Ok(()) } else { Err(Problem::forbidden()) }
}

fn key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|t| (1..=LONGEST_KEY).contains(&t.len()));
    text.map(|t| Some(t.to_owned())).ok_or_else(|| Problem::bad("Idempotency-Key: 1 to 255 visible characters"))
}

/// What the key stands for: the action and everything in the body. Bodies that are equal as JSON are the same body.
fn once(key: Option<String>, action: &str, body: &[u8]) -> Answer<Option<OnceKey>> {
    let Some(key) = key else { return Ok(None) };
    let body: Value = extract::parse(body)?;
    let digest: [u8; 32] = Sha256::digest(format!("{action}\n{body}")).into();
    Ok(Some(OnceKey { key, digest: hex::encode(digest) }))
}

/// An alert is given to somebody to whom it exists.
async fn fits(api: &Inner, episode: &Episode, action: &Action) -> Answer<()> {
    let Action::Assign { user: id } = action else { return Ok(()) };
    let user = api.directory().user(*id);
    let theirs = user.is_some_and(|u| Scope::treats(&u, episode.patient, api.directory()))
        || api.store.was_called(episode.id, *id).await?;
    if theirs { Ok(()) } else { Err(Problem::invalid("userId", NOT_THEIRS)) }
}

async fn run(
    api: &Inner,
    caller: &Caller,
    episode: &Episode,
    action: Action,
    once: Option<OnceKey>,
) -> Answer<Episode> {
    fits(api, episode, &action).await?;
    let command = Command { alert: episode.id, action, by: caller.user.id, once };
    Ok((api.links.act)(command).await?)
}

/// Acts: `ack unack assign snooze escalate follow-up resolve comment feedback`; 409 with the present state when it cannot be.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/{action}", tag = "alerts", request_body = ActionBody,
    responses((status = 200, body = AlertDetail), (status = 409), (status = 422)))]
pub(super) async fn act(
    State(api): State<Api>,
    caller: Caller,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Json<AlertDetail>> {
    let id: AlertId = id.parse().map_err(|_| Problem::not_found())?;
    let (episode, called) = alerts::find(&api, &caller, id).await?;
    // Before the body: whoever may not act is not told how it would be done.
    may(&caller, called, &name)?;
    let body: &[u8] = if body.trim_ascii().is_empty() { b"{}" } else { &body };
    let action = action(&api, &name, extract::parse(body)?)?;
    let once = once(key(&headers)?, &name, body)?;
    let episode = run(&api, &caller, &episode, action, once).await?;
    alerts::detail(&api, &episode).await.map(Json)
}

/// One action on many alerts.
#[derive(Deserialize, ToSchema)]
pub(super) struct Bulk {
    action: String,
    #[schema(value_type = Vec<String>)]
    ids: Vec<String>,
    #[schema(value_type = Option<Object>)]
    body: Option<Box<RawValue>>,
}

/// What became of each.
#[derive(Serialize, ToSchema)]
pub(super) struct BulkDone {
    items: Vec<BulkItem>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
pub(super) struct BulkItem {
    id: String,
    /// As if it had been asked alone.
    status: u16,
}

/// One action on many; never resolves criticals.
#[utoipa::path(post, path = "/api/v1/alerts:bulk", tag = "alerts", request_body = Bulk,
    responses((status = 200, body = BulkDone)))]
pub(super) async fn bulk(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer<(Extension<Named>, Json<BulkDone>)> {
    let bulk: Bulk = extract::parse(&bytes)?;
    if bulk.ids.len() > MOST {
        return Err(Problem::invalid("ids", format!("at most {MOST}")));
    }
    let text = bulk.body.as_deref().map_or("{}", RawValue::get);
    // Read once, so that a body that is wrong for all is an error of the call.
    action(&api, &bulk.action, extract::parse(text.as_bytes())?).map_err(|p| match p.status().as_u16() {
        404 => Problem::invalid("action", "ack unack assign snooze escalate follow-up resolve comment feedback"),
        _ => p,
    })?;
    let once = once(key(&headers)?, "bulk", &bytes)?;
    // The key is the whole call's: other alerts under it are another body, even where none was in the first.
    if let Some(once) = &once
        && !api.store.take_once(caller.user.id, once.clone(), api.now()).await?
    {
        return Err(CommandError::KeyReused.into());
    }
    let (mut items, mut named) = (Vec::with_capacity(bulk.ids.len()), Vec::with_capacity(bulk.ids.len()));
    for id in bulk.ids {
        let one = once.as_ref().map(|o| OnceKey { key: format!("{}:{id}", o.key), digest: o.digest.clone() });
        let status = match bulk_one(&api, &caller, &bulk.action, &id, text, one).await {
            Ok(()) => 200,
            Err(problem) => problem.status().as_u16(),
        };
        named.push((id.clone(), StatusCode::from_u16(status).unwrap_or_default()));
        items.push(BulkItem { id, status });
    }
    let named = Named { action: guard::act_word(&bulk.action), each: named };
    Ok((Extension(named), Json(BulkDone { items })))
}

async fn bulk_one(api: &Inner, caller: &Caller, name: &str, id: &str, body: &str, once: Option<OnceKey>) -> Answer<()> {
    let id: AlertId = id.parse().map_err(|_| Problem::not_found())?;
    let (episode, called) = alerts::find(api, caller, id).await?;
    may(caller, called, name)?;
    if name == "resolve" && episode.severity == Severity::Critical {
        return Err(Problem::conflict("a critical is resolved one by one"));
    }
    let action = action(api, name, extract::parse(body.as_bytes())?)?;
    run(api, caller, &episode, action, once).await.map(drop)
}
