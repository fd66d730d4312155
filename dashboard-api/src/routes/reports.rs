//! Reports over many people: whom the caller sees, summed up by day or week. Nobody's own values.

use crate::{
    extract::{self, Params},
    problem::{Answer, Problem},
    resolution::Resolution,
    scope::Caller,
    state::Api,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use store::{PopulationQuery, Spread, Stretch, Stride};
use utoipa::{IntoParams, ToSchema};
use vitals::Kind;

/// So far back where the caller does not say.
const USUAL: Duration = Duration::from_secs(90 * 24 * 3600);
/// Days of one report by day, most; by week seven times that.
const MOST: u64 = 800;

/// Which readings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PopulationParams {
    /// `blood_pressure` (default) or `blood_glucose`.
    kind: Option<String>,
    /// First moment of measurement; absent: 90 days before `to`.
    from: Option<String>,
    /// First moment no longer; absent: now.
    to: Option<String>,
    /// `week` (default) or `day`, of the site's zone.
    resolution: Option<String>,
}

/// Of all readings that count.
#[derive(Serialize, ToSchema)]
struct Numbers {
    mean: f64,
    min: f64,
    max: f64,
}

/// A day or week in which somebody measured.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StretchView {
    /// Its first day.
    day: String,
    /// People who measured.
    patients: u64,
    /// Of them, those whose mean is in target: below 135/85 mmHg, or 3.9 to 10.0 mmol/L.
    controlled: u64,
    /// Readings that count.
    readings: u64,
    /// Of them, those in target.
    in_target: u64,
    /// Of them, beyond the meter's range: in no mean.
    beyond_range: u64,
    flagged: u64,
    excluded: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    systolic: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diastolic: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    glucose: Option<Numbers>,
}

/// Where the figures come from.
#[derive(Serialize, ToSchema)]
struct SourceView {
    /// `embedded` or `questdb`; the figures are the same.
    series: &'static str,
    /// Everything received before this moment is counted.
    through: String,
    /// Why it was not the analysts' database, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'static str>,
}

/// By day or week, ascending.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PopulationView {
    kind: &'static str,
    unit: &'static str,
    from: String,
    to: String,
    time_zone: String,
    /// Without those in which nobody measured.
    items: Vec<StretchView>,
    source: SourceView,
}

/// Everybody whom the caller sees: who measured, how much, where the means lie. For planning, not for treating.
#[utoipa::path(get, path = "/api/v1/reports/population", tag = "reports", params(PopulationParams),
    responses((status = 200, body = PopulationView)))]
pub(super) async fn population(
    State(api): State<Api>,
    caller: Caller,
    Params(asked): Params<PopulationParams>,
) -> Answer<Json<PopulationView>> {
    let kind = asked.kind.as_deref().unwrap_or(Kind::BloodPressure.as_str());
    let kind = Kind::parse(kind).ok_or_else(|| Problem::bad("kind: blood_pressure or blood_glucose"))?;
    let to = extract::moment("to", asked.to.as_deref())?.unwrap_or_else(|| api.now());
    let from = extract::moment("from", asked.from.as_deref())?.unwrap_or_else(|| to.minus(USUAL));
    let (stride, days) = match Resolution::parse(Some(asked.resolution.as_deref().unwrap_or("week")))? {
        Resolution::Day => (Stride::Day, MOST),
        Resolution::Week => (Stride::Week, MOST * 7),
        Resolution::Raw => return Err(Problem::bad("resolution: day or week")),
    };
    if to.since(from) > Duration::from_secs(days * 24 * 3600) {
        return Err(Problem::bad(format!("from, to: at most {days} days at this resolution")));
    }
    let zone = api.zone().clone();
    let whose = caller.scope.patient_ids().map(Arc::new);
    let query = PopulationQuery { kind, from, to, stride, zone: zone.clone(), whose };
    let found = api.store.population(query).await?;
    Ok(Json(PopulationView {
        kind: kind.as_str(),
        unit: if kind == Kind::BloodPressure { "mmHg" } else { "mmol/L" },
        from: from.to_rfc3339(&zone),
        to: to.to_rfc3339(&zone),
        time_zone: zone.name().to_owned(),
        items: found.stretches.iter().map(|s| view(kind, s)).collect(),
        source: SourceView {
            series: found.source.series,
            through: found.source.through.to_rfc3339(&zone),
            instead: found.source.instead,
        },
    }))
}

fn view(kind: Kind, s: &Stretch) -> StretchView {
    let numbers = |s: &Option<Spread>| s.map(|s| Numbers { mean: s.mean, min: s.min, max: s.max });
    let pressure = kind == Kind::BloodPressure;
    let (first, second) = (numbers(&s.first), numbers(&s.second));
    let (systolic, glucose) = if pressure { (first, None) } else { (None, first) };
    StretchView {
        day: s.day.to_string(),
        patients: s.patients,
        controlled: s.controlled,
        readings: s.readings,
        in_target: s.in_target,
        beyond_range: s.beyond,
        flagged: s.flagged,
        excluded: s.excluded,
        systolic,
        diastolic: second,
        glucose,
    }
}
