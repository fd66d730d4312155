//! Rehearsal over HTTP: the caller's own patients, an answer at the end, or lines of progress before it.
//!
//! A caller who goes away ends it. Must never: take a patient in whom the caller does not see.

use super::{RuleScope, content};
use crate::{
    extract::{Body, Moment},
    links::{RehearsalOrder, RuleContent, RuleFault},
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    body::{Body as Bytes, Bytes as Chunk},
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::{
    future::BoxFuture,
    stream::{self, StreamExt},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::watch;
use utoipa::ToSchema;
use vitals::{OrganisationId, Patient, PatientId, TeamId};

const LINES: &str = "application/x-ndjson";
/// How far the clock of who asks may be ahead of ours; their present is ours, then.
const AHEAD: Duration = Duration::from_secs(60);
/// A longer stretch of the past is asked for in pieces.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);
/// Progress is said no more often.
const SAY_EVERY: Duration = Duration::from_millis(200);

/// What to rehearse, on whom, over which stretch of the past.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Trial {
    /// One card as it would be.
    #[schema(value_type = Option<Object>)]
    card: Option<Value>,
    /// Numbers by rule and name, as in a plan: `{"BP-C1": {"systolic": 175}}`; `{"BP-C1": {}}` is the rule as it is.
    #[schema(value_type = Option<Object>)]
    parameters: Option<BTreeMap<String, Value>>,
    /// First moment.
    #[schema(value_type = String)]
    from: Moment,
    /// First moment no longer; not in the future.
    #[schema(value_type = String)]
    to: Moment,
    #[serde(default)]
    scope: TrialScope,
}

/// On whom; everybody whom the caller sees, where absent.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TrialScope {
    /// Its teams' patients, who get the numbers as their station's.
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
    /// Patients with this tag or condition, who get the numbers as their group's.
    tag: Option<String>,
    /// One team's patients.
    #[schema(value_type = Option<String>)]
    team_id: Option<TeamId>,
    /// One patient, who gets the numbers as their own.
    #[schema(value_type = Option<String>)]
    patient_id: Option<PatientId>,
}

/// What would have fired on stored history against what did. No effect at all. With `Accept: application/x-ndjson` lines
/// `{"done", "of"}` come first, and the last one is `{"report"}` or `{"problem"}`.
#[utoipa::path(post, path = "/api/v1/rules:rehearse", tag = "rules", request_body = Trial,
    responses((status = 200, body = Object), (status = 422), (status = 503)))]
pub(crate) async fn rehearse(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Body(trial): Body<Trial>,
) -> Answer<Response> {
    let (Moment(from), Moment(to)) = (trial.from, trial.to);
    let now = api.now();
    if to > now && to.since(now) > AHEAD {
        return Err(Problem::invalid("to", "not in the future: there is nothing stored"));
    }
    let to = to.min(now);
    if from >= to {
        return Err(Problem::invalid("to", "later than from"));
    }
    if to.since(from) > LONGEST {
        return Err(Problem::invalid("from", "at most 400 days before to"));
    }
    let patients = whom(&caller, &trial.scope)?;
    let edits = edits(trial.card, trial.parameters, &trial.scope)?;
    let (patients, edits) = match trial.scope.patient_id {
        Some(_) => own_numbers(&api, patients, edits).await?,
        None => (patients, edits),
    };
    let (progress, heard) = watch::channel((0, patients.len()));
    let order = RehearsalOrder { edits, from, to, patients, progress };
    let answer = (api.links.rules.rehearse)(order);
    let wants_lines = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(LINES));
    if wants_lines {
        return Ok(lines(answer, heard));
    }
    let report = answer.await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], report).into_response())
}

fn whom(caller: &Caller, scope: &TrialScope) -> Answer<Vec<Arc<Patient>>> {
    if let Some(id) = scope.patient_id {
        return Ok(vec![caller.scope.patient(id)?.0]);
    }
    let mut patients = caller.scope.patients();
    if let Some(place) = scope.organisation_id {
        patients.retain(|p| p.organisation == Some(place));
    }
    if let Some(tag) = &scope.tag {
        patients.retain(|p| p.tags.contains(tag) || p.conditions.contains(tag));
    }
    if let Some(team) = scope.team_id {
        patients.retain(|p| p.team == Some(team));
    }
    if patients.is_empty() {
        return Err(Problem::invalid("scope", "it holds no patient of yours"));
    }
    Ok(patients)
}

fn edits(
    card: Option<Value>,
    parameters: Option<BTreeMap<String, Value>>,
    scope: &TrialScope,
) -> Answer<Vec<RuleContent>> {
    let rule_scope = RuleScope { organisation: scope.organisation_id, tag: scope.tag.clone() };
    match (card, parameters) {
        (Some(card), None) => {
            let rule = card["id"].as_str().unwrap_or_default().to_owned();
            // A card is everybody's, on whomever it is tried.
            let content = content(Some(card), None)?;
            Ok(vec![RuleContent { rule, scope: RuleScope::default(), content }])
        }
        (None, Some(all)) => {
            let edit = |(rule, values): (String, Value)| {
                let nothing = values.as_object().is_some_and(serde_json::Map::is_empty);
                let content = if nothing { String::new() } else { content(None, Some(values))? };
                Ok(RuleContent { rule, scope: rule_scope.clone(), content })
            };
            all.into_iter().map(edit).collect()
        }
        _ => Err(Problem::invalid("card", "send either card or parameters")),
    }
}

/// Numbers tried on one patient are their own, as a plan would have them.
async fn own_numbers(
    api: &Inner,
    patients: Vec<Arc<Patient>>,
    mut edits: Vec<RuleContent>,
) -> Answer<(Vec<Arc<Patient>>, Vec<RuleContent>)> {
    let mut tried: Vec<Patient> = patients.iter().map(|p| Patient::clone(p)).collect();
    for edit in &mut edits {
        let body: Value = serde_json::from_str(&edit.content).unwrap_or_default();
        let Some(values) = body["parameters"].as_object() else { continue };
        edit.content.clear();
        for (name, value) in values {
            let field = format!("parameters.{}.{name}", edit.rule);
            let value = value.as_f64().ok_or_else(|| Problem::invalid(&field, "a number"))?;
            for patient in &mut tried {
                patient.plan.parameters.entry(edit.rule.clone()).or_default().insert(name.clone(), value);
            }
        }
    }
    let tried: Vec<Arc<Patient>> = tried.into_iter().map(Arc::new).collect();
    for patient in &tried {
        (api.links.rules.check_plan)(patient.clone()).await?;
    }
    Ok((tried, edits))
}

type Running = BoxFuture<'static, Result<String, RuleFault>>;

/// Lines as they come; who stops reading drops the rehearsal.
fn lines(answer: Running, heard: watch::Receiver<(usize, usize)>) -> Response {
    let steps = stream::unfold(Some((answer, heard)), |state| async move {
        let (mut answer, mut heard) = state?;
        let told = tokio::select! {
            report = &mut answer => return Some((last(report), None)),
            () = tokio::time::sleep(SAY_EVERY) => *heard.borrow_and_update(),
        };
        Some((json!({"done": told.0, "of": told.1}).to_string(), Some((answer, heard))))
    });
    // Fused: what compresses the answer asks once more after its end.
    let body = Bytes::from_stream(steps.map(|line| Ok::<_, Infallible>(Chunk::from(line + "\n"))).fuse());
    ([(header::CONTENT_TYPE, LINES)], body).into_response()
}

fn last(report: Result<String, RuleFault>) -> String {
    match report {
        Ok(report) => format!("{{\"report\":{report}}}"),
        Err(fault) => json!({"problem": Problem::from(fault).words()}).to_string(),
    }
}
