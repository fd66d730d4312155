//! A patient's plan: targets, measuring, medication, rule parameters. Two doctors may edit at once, so `If-Match` is required.

use crate::{
    extract::{self, Id},
    problem::{Answer, Problem},
    scope::Caller,
    state::Api,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
use std::sync::Arc;
use vitals::{Patient, PatientId, Plan, Targets, summary::HOME_TARGET};

fn shown(plan: &Plan, version: i64) -> Response {
    ([(header::ETAG, extract::etag(version))], Json(plan)).into_response()
}

/// The plan; a new patient has an empty one.
#[utoipa::path(get, path = "/api/v1/patients/{id}/plan", tag = "plan", responses((status = 200, body = Object)))]
pub(super) async fn read(caller: Caller, Id(id): Id<PatientId>) -> Answer<Response> {
    let (patient, version) = caller.scope.patient(id)?;
    Ok(shown(&patient.plan, version))
}

/// Replaces the plan (`If-Match`).
#[utoipa::path(put, path = "/api/v1/patients/{id}/plan", tag = "plan", request_body = Object,
    responses((status = 200, body = Object), (status = 412), (status = 422), (status = 428)))]
pub(super) async fn replace(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<PatientId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Response> {
    let (found, version) = caller.scope.patient(id)?;
    extract::if_match(&headers, version, true)?;
    known(&extract::parse(&body)?)?;
    let plan: Plan = extract::parse(&body)?;
    check(&plan)?;
    let changed = Patient { plan: plan.clone(), ..Patient::clone(&found) };
    (api.links.rules.check_plan)(Arc::new(changed.clone())).await?;
    let version = api.store.update_patient(changed, Some(version)).await.map_err(super::organisations::stale)?;
    Ok(shown(&plan, version))
}

/// A plan is replaced whole: a list in its place, or a member spelt wrongly, would wipe what it was to change. The
/// parameters' names are the cards'.
fn known(body: &Value) -> Answer<()> {
    const TARGETS: &[&str] = &["homeSystolic", "homeDiastolic", "fastingLow", "fastingHigh", "postMealHigh"];
    let plan = members(body, "", &["targets", "measuring", "medications", "parameters"])?;
    let part = |name: &str, names: &[&str]| plan.get(name).map_or(Ok(()), |v| members(v, name, names).map(drop));
    part("targets", TARGETS)?;
    part("measuring", &["bloodPressurePerWeek", "glucosePerWeek"])?;
    for (i, drug) in plan.get("medications").and_then(Value::as_array).into_iter().flatten().enumerate() {
        members(drug, &format!("medications[{i}]"), &["name", "class", "from", "to"])?;
    }
    Ok(())
}

/// The members of an object that has none but these.
fn members<'a>(value: &'a Value, place: &str, names: &[&str]) -> Answer<&'a Map<String, Value>> {
    let Some(members) = value.as_object() else {
        let place = if place.is_empty() { "the plan" } else { place };
        return Err(Problem::bad(format!("{place}: must be an object")).with("field", place));
    };
    match members.keys().find(|k| !names.contains(&k.as_str())) {
        None => Ok(members),
        Some(wrong) => {
            let like = |name: &str| strsim::jaro_winkler(wrong, name);
            let nearest = names.iter().max_by(|a, b| like(a).total_cmp(&like(b))).copied().unwrap_or_default();
            let dot = if place.is_empty() { "" } else { "." };
            let remedy = format!("a plan has no such member; did you mean {nearest}?");
            Err(Problem::invalid(&format!("{place}{dot}{}", short(wrong)), remedy))
        }
    }
}

/// A name as it was sent, cut: nobody's sentence is echoed whole.
fn short(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

/// What no card could take; a rule's parameters are held against their card by the rules.
fn check(plan: &Plan) -> Answer<()> {
    let within = |field: &str, value: Option<f64>, low: f64, high: f64| match value {
        Some(v) if !v.is_finite() || v < low || v > high => Err(Problem::invalid(field, format!("{low} to {high}"))),
        _ => Ok(()),
    };
    let t = &plan.targets;
    within("targets.homeSystolic", t.home_systolic, 90.0, 220.0)?;
    within("targets.homeDiastolic", t.home_diastolic, 40.0, 140.0)?;
    within("targets.fastingLow", t.fasting_low, 2.0, 15.0)?;
    within("targets.fastingHigh", t.fasting_high, 3.0, 25.0)?;
    within("targets.postMealHigh", t.post_meal_high, 4.0, 30.0)?;
    check_order(t)?;
    within("measuring.bloodPressurePerWeek", plan.measuring.blood_pressure_per_week, 0.0, 168.0)?;
    within("measuring.glucosePerWeek", plan.measuring.glucose_per_week, 0.0, 168.0)?;
    for (i, drug) in plan.medications.iter().enumerate() {
        if drug.name.trim().is_empty() || drug.name.chars().count() > 200 {
            return Err(Problem::invalid(&format!("medications[{i}].name"), "1 to 200 characters"));
        }
        if let (Some(from), Some(to)) = (drug.from, drug.to)
            && to < from
        {
            return Err(Problem::invalid(&format!("medications[{i}].to"), "not before from"));
        }
    }
    if plan.medications.len() > 100 || plan.parameters.len() > 100 {
        return Err(Problem::invalid("medications", "at most 100"));
    }
    for (rule, values) in &plan.parameters {
        if let Some((name, _)) = values.iter().find(|(_, v)| !v.is_finite()) {
            return Err(Problem::invalid(&format!("parameters.{rule}.{name}"), "a number"));
        }
    }
    Ok(())
}

/// A target as it will hold: the plan's, or else the usual one.
struct Held {
    name: &'static str,
    own: Option<f64>,
    usual: f64,
}

impl Held {
    fn value(&self) -> f64 {
        self.own.unwrap_or(self.usual)
    }

    /// Refuses whichever of the two the plan sets; `words` say how each must lie to the other.
    fn against(&self, words: &str, other: &Self, theirs: &str) -> Answer<()> {
        let (wrong, words, other) = if self.own.is_some() { (self, words, other) } else { (other, theirs, self) };
        let usual = if other.own.is_none() {
            format!(", which is {} unless the plan sets it", other.usual)
        } else {
            String::new()
        };
        Err(Problem::invalid(&format!("targets.{}", wrong.name), format!("{words} {}{usual}", other.name)))
    }
}

/// Targets that contradict each other, or the usual one that holds where the plan sets none.
fn check_order(t: &Targets) -> Answer<()> {
    let held = |name, own, usual| Held { name, own, usual };
    let systolic = held("homeSystolic", t.home_systolic, HOME_TARGET.0);
    let diastolic = held("homeDiastolic", t.home_diastolic, HOME_TARGET.1);
    let low = held("fastingLow", t.fasting_low, 4.4);
    let fasting = held("fastingHigh", t.fasting_high, 7.0);
    let after = held("postMealHigh", t.post_meal_high, 10.0);
    if diastolic.value() >= systolic.value() {
        diastolic.against("below", &systolic, "above")?;
    }
    if low.value() >= fasting.value() {
        fasting.against("above", &low, "below")?;
    }
    if after.value() < fasting.value() {
        after.against("not below", &fasting, "not above")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: Answer<()>) -> String {
        answer.map_or_else(|problem| format!("{problem:?}"), |()| "fine".to_owned())
    }

    #[test]
    fn what_is_no_plan_is_refused_and_the_nearest_member_named() {
        let said = |text: &str| said(known(&serde_json::from_str(text).unwrap()));
        assert_eq!(said(r#"{"targets": {"homeSystolic": 135}, "measuring": {}, "medications": []}"#), "fine");
        assert_eq!(said(r#"{"parameters": {"BP-C1": {"anything": 1}}}"#), "fine");
        for text in ["[]", "null", r#"{"targets": []}"#, r#"{"medications": [[]]}"#] {
            assert!(said(text).contains("must be an object"), "{text}");
        }
        let wrong = said(r#"{"targets": {"homeSystolc": 135}}"#);
        assert!(wrong.contains("targets.homeSystolc") && wrong.contains("did you mean homeSystolic?"), "{wrong}");
        assert!(said(r#"{"target": {}}"#).contains("did you mean targets?"));
    }

    #[test]
    fn targets_that_contradict_each_other_are_refused_by_name() {
        let with = |change: fn(&mut vitals::Targets)| {
            let mut plan = Plan::default();
            change(&mut plan.targets);
            said(check(&plan))
        };
        assert_eq!(with(|t| (t.home_systolic, t.home_diastolic) = (Some(135.0), Some(85.0))), "fine");
        let crossed = with(|t| (t.home_systolic, t.home_diastolic) = (Some(95.0), Some(100.0)));
        assert!(crossed.contains("targets.homeDiastolic: below homeSystolic"), "{crossed}");
        let fasting = with(|t| (t.fasting_low, t.fasting_high) = (Some(7.0), Some(4.4)));
        assert!(fasting.contains("targets.fastingHigh: above fastingLow"), "{fasting}");
        let meal = with(|t| (t.fasting_high, t.post_meal_high) = (Some(9.0), Some(8.0)));
        assert!(meal.contains("targets.postMealHigh: not below fastingHigh"), "{meal}");
        // Where the plan sets one of the two, the usual other one holds.
        for (change, words) in [
            (
                (|t| t.fasting_low = Some(8.0)) as fn(&mut vitals::Targets),
                "targets.fastingLow: below fastingHigh, which is 7 unless the plan sets it",
            ),
            (|t| t.fasting_high = Some(4.0), "targets.fastingHigh: above fastingLow, which is 4.4"),
            (|t| t.fasting_high = Some(11.0), "targets.fastingHigh: not above postMealHigh, which is 10"),
            (|t| t.post_meal_high = Some(6.0), "targets.postMealHigh: not below fastingHigh, which is 7"),
            (|t| t.home_diastolic = Some(140.0), "targets.homeDiastolic: below homeSystolic, which is 135"),
        ] {
            let wrong = with(change);
            assert!(wrong.contains(words), "{wrong}");
        }
        assert_eq!(with(|t| (t.fasting_low, t.fasting_high) = (Some(8.0), Some(9.0))), "fine");
        assert_eq!(with(|t| t.home_systolic = Some(90.0)), "fine");
    }
}
