//! A patient's plan: targets, measuring, medication, rule parameters. Two doctors may edit at once, so `If-Match` is required.

use crate::{
    extract::{self, Body, Id},
    problem::{Answer, Problem},
    scope::Caller,
    state::Api,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use vitals::{Patient, PatientId, Plan};

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
    responses((status = 200, body = Object), (status = 412), (status = 428)))]
pub(super) async fn replace(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<PatientId>,
    headers: HeaderMap,
    Body(plan): Body<Plan>,
) -> Answer<Response> {
    let (found, version) = caller.scope.patient(id)?;
    extract::if_match(&headers, version, true)?;
    check(&plan)?;
    let changed = Patient { plan: plan.clone(), ..Patient::clone(&found) };
    (api.links.rules.check_plan)(Arc::new(changed.clone())).await?;
    let version = api.store.update_patient(changed, Some(version)).await.map_err(super::organisations::stale)?;
    Ok(shown(&plan, version))
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
    if let (Some(low), Some(high)) = (t.fasting_low, t.fasting_high)
        && low >= high
    {
        return Err(Problem::invalid("targets.fastingHigh", "above fastingLow"));
    }
    if let (Some(systolic), Some(diastolic)) = (t.home_systolic, t.home_diastolic)
        && diastolic >= systolic
    {
        return Err(Problem::invalid("targets.homeDiastolic", "below homeSystolic"));
    }
    if let (Some(fasting), Some(after)) = (t.fasting_high, t.post_meal_high)
        && after < fasting
    {
        return Err(Problem::invalid("targets.postMealHigh", "not below fastingHigh"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: Answer<()>) -> String {
        answer.map_or_else(|problem| format!("{problem:?}"), |()| "fine".to_owned())
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
    }
}
