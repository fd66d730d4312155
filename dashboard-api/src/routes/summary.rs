//! One patient's stretch of time in a few numbers: what a doctor types into a note, with how many readings it rests on.

use crate::{
    extract::{self, Id, Params},
    problem::{Answer, Problem},
    resolution::{self, Resolution},
    scope::Caller,
    state::Api,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::ReadingQuery;
use utoipa::{IntoParams, ToSchema};
use vitals::{
    PatientId, Targets, Zone,
    summary::{GLUCOSE_RANGE, Glucoses, HOME_TARGET, Pressures, Stats, Summary},
};

/// So far back where the caller does not say.
const USUAL: Duration = Duration::from_secs(90 * 24 * 3600);
/// Readings that one summary looks at, most; beyond it the caller asks for a shorter span.
const SUMMED: usize = 50_000;

/// Which stretch.
#[derive(Deserialize, IntoParams)]
pub(super) struct SummaryQuery {
    /// First moment of measurement; absent: 90 days before `to`.
    from: Option<String>,
    /// First moment no longer; absent: now.
    to: Option<String>,
}

/// How many, mean, spread of one quantity. `sd` is that of a sample (n - 1); none below two readings.
#[derive(Serialize, ToSchema)]
struct Numbers {
    count: u64,
    mean: f64,
    sd: Option<f64>,
    min: f64,
    max: f64,
}

/// Systolic and diastolic, mmHg; none without readings.
#[derive(Serialize, ToSchema)]
struct Pair {
    systolic: Option<Numbers>,
    diastolic: Option<Numbers>,
}

/// How much blood pressure goes up and down. Percent and mmHg.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Variability {
    /// Standard deviation in percent of the mean, systolic.
    systolic_cv: Option<f64>,
    /// Day-to-day in the morning.
    morning_systolic_cv: Option<f64>,
    /// Mean step from one systolic to the next.
    systolic_arv: Option<f64>,
    /// Mean of the morning less mean of the evening, systolic.
    morning_minus_evening: Option<f64>,
}

/// Blood pressure of the stretch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PressureSummary {
    unit: &'static str,
    /// Readings that the numbers rest on.
    used: u64,
    /// Left out: flagged by meter or clock.
    flagged: u64,
    /// Left out: not the patient's.
    excluded: u64,
    target: TargetPair,
    /// Share of readings with both numbers below the target, 0 to 1.
    in_target: Option<f64>,
    all: Pair,
    /// From 04:00, before 12:00.
    morning: Pair,
    /// From 16:00.
    evening: Pair,
    variability: Variability,
    by_week: Vec<PressureWeek>,
}

/// Home target, mmHg.
#[derive(Serialize, ToSchema)]
struct TargetPair {
    systolic: f64,
    diastolic: f64,
}

/// One week, by its Monday.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PressureWeek {
    week: String,
    used: u64,
    in_target: Option<f64>,
    systolic: Option<Numbers>,
    diastolic: Option<Numbers>,
}

/// Glucose of the stretch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GlucoseSummary {
    unit: &'static str,
    /// Readings that the shares rest on; `aboveRange` and `belowRange` of them are in no mean.
    used: u64,
    flagged: u64,
    excluded: u64,
    /// `HI`.
    above_range: u64,
    /// `LO`.
    below_range: u64,
    range: Range,
    /// Shares of `used`, 0 to 1.
    time_in_range: Option<Shares>,
    all: Option<Numbers>,
    fasting: Option<Numbers>,
    after_meal: Option<Numbers>,
    /// Percent of the mean.
    cv: Option<f64>,
    /// Low and high blood glucose index over single measurements; 30 a month are needed to say much.
    lbgi: Option<f64>,
    hbgi: Option<f64>,
    by_week: Vec<GlucoseWeek>,
}

/// mmol/L, ends included.
#[derive(Serialize, ToSchema)]
struct Range {
    low: f64,
    high: f64,
}

/// Of all readings.
#[derive(Serialize, ToSchema)]
struct Shares {
    below: f64,
    within: f64,
    above: f64,
}

/// One week, by its Monday.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GlucoseWeek {
    week: String,
    used: u64,
    time_in_range: Option<Shares>,
    glucose: Option<Numbers>,
}

/// A stretch of time in a few numbers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SummaryView {
    from: String,
    to: String,
    /// Whose mornings and Mondays these are.
    time_zone: String,
    /// None where nothing of the kind was measured.
    blood_pressure: Option<PressureSummary>,
    /// None where nothing of the kind was measured.
    blood_glucose: Option<GlucoseSummary>,
}

/// Means with their spread: all, morning, evening, by week; shares in target and in range; variability; what was left out.
#[utoipa::path(get, path = "/api/v1/patients/{id}/summary", tag = "readings", params(SummaryQuery),
    responses((status = 200, body = SummaryView)))]
pub(super) async fn read(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<PatientId>,
    Params(query): Params<SummaryQuery>,
) -> Answer<Json<SummaryView>> {
    let (patient, _) = caller.scope.patient(id)?;
    let to = extract::moment("to", query.to.as_deref())?.unwrap_or_else(|| api.now());
    let from = extract::moment("from", query.from.as_deref())?.unwrap_or_else(|| to.minus(USUAL));
    let wanted = ReadingQuery { patient: patient.id, kind: None, from, to, after: None, limit: SUMMED };
    let readings = api.store.readings().range(wanted).await?;
    if readings.len() == SUMMED {
        return Err(Problem::bad("from, to: too many readings for one summary; ask for a shorter span"));
    }
    let zone = patient.time_zone.as_deref().and_then(|z| Zone::named(z).ok()).unwrap_or_else(|| api.zone().clone());
    let targets = patient.plan.targets;
    let weeks: Vec<(String, Summary)> = resolution::summaries(&readings, Resolution::Week, &zone, &targets)
        .into_iter()
        .map(|(monday, sums)| (monday.to_string(), sums))
        .collect();
    let mut all = Summary::default();
    weeks.iter().for_each(|(_, week)| all.join(week));
    Ok(Json(SummaryView {
        from: from.to_rfc3339(&zone),
        to: to.to_rfc3339(&zone),
        time_zone: zone.name().to_owned(),
        blood_pressure: pressure(&all.pressure, &weeks, &targets),
        blood_glucose: glucose(&all.glucose, &weeks),
    }))
}

fn pressure(s: &Pressures, weeks: &[(String, Summary)], targets: &Targets) -> Option<PressureSummary> {
    let used = s.all[0].n;
    if used + s.flagged + s.excluded == 0 {
        return None;
    }
    let apart = s.morning[0].mean - s.evening[0].mean;
    let week = |(monday, s): &(String, Summary)| {
        let s = &s.pressure;
        (s.all[0].n > 0).then(|| PressureWeek {
            week: monday.clone(),
            used: s.all[0].n,
            in_target: share(s.in_target, s.all[0].n),
            systolic: numbers(&s.all[0]),
            diastolic: numbers(&s.all[1]),
        })
    };
    Some(PressureSummary {
        unit: "mmHg",
        used,
        flagged: s.flagged,
        excluded: s.excluded,
        target: TargetPair {
            systolic: targets.home_systolic.unwrap_or(HOME_TARGET.0),
            diastolic: targets.home_diastolic.unwrap_or(HOME_TARGET.1),
        },
        in_target: share(s.in_target, used),
        all: pair(&s.all),
        morning: pair(&s.morning),
        evening: pair(&s.evening),
        variability: Variability {
            systolic_cv: s.all[0].cv(),
            morning_systolic_cv: s.morning[0].cv(),
            systolic_arv: s.steps.mean(),
            morning_minus_evening: (s.morning[0].n > 0 && s.evening[0].n > 0).then_some(apart),
        },
        by_week: weeks.iter().filter_map(week).collect(),
    })
}

fn glucose(s: &Glucoses, weeks: &[(String, Summary)]) -> Option<GlucoseSummary> {
    if counted(s) + s.flagged + s.excluded == 0 {
        return None;
    }
    let risk = s.risk_indices();
    let week = |(monday, s): &(String, Summary)| {
        let s = &s.glucose;
        (counted(s) > 0).then(|| GlucoseWeek {
            week: monday.clone(),
            used: counted(s),
            time_in_range: shares(s),
            glucose: numbers(&s.all),
        })
    };
    Some(GlucoseSummary {
        unit: "mmol/L",
        used: counted(s),
        flagged: s.flagged,
        excluded: s.excluded,
        above_range: s.above_range,
        below_range: s.below_range,
        range: Range { low: GLUCOSE_RANGE.0, high: GLUCOSE_RANGE.1 },
        time_in_range: shares(s),
        all: numbers(&s.all),
        fasting: numbers(&s.fasting),
        after_meal: numbers(&s.after_meal),
        cv: s.all.cv(),
        lbgi: risk.map(|r| r.0),
        hbgi: risk.map(|r| r.1),
        by_week: weeks.iter().filter_map(week).collect(),
    })
}

const fn counted(s: &Glucoses) -> u64 {
    s.all.n + s.above_range + s.below_range
}

fn shares(s: &Glucoses) -> Option<Shares> {
    let of = counted(s);
    Some(Shares {
        below: share(s.low + s.below_range, of)?,
        within: share(s.in_range, of)?,
        above: share(s.high + s.above_range, of)?,
    })
}

#[allow(clippy::cast_precision_loss)] // counts are far below 2^52
fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

fn pair(s: &[Stats; 2]) -> Pair {
    Pair { systolic: numbers(&s[0]), diastolic: numbers(&s[1]) }
}

fn numbers(s: &Stats) -> Option<Numbers> {
    (s.n > 0).then(|| Numbers { count: s.n, mean: s.mean, sd: s.sd(), min: s.min, max: s.max })
}
