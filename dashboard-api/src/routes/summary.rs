//! One patient's stretch of time in a few numbers: what a doctor types into a note, with how many readings it rests on.

use crate::{
    extract::{self, Id, Params},
    figures::{
        glucose::{self, GlucoseSummary},
        pressure::{self, PressureSummary},
        sensor::{self, FORTNIGHT, SensorSummary},
    },
    problem::Answer,
    resolution,
    scope::Caller,
    state::Api,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use store::{DaysQuery, ReadingQuery};
use utoipa::{IntoParams, ToSchema};
use vitals::{Kind, PatientId, Reading, Timestamp, summary::Summary};

/// So far back where the caller does not say.
const USUAL: Duration = Duration::from_secs(90 * 24 * 3600);
/// Readings that the clock and a sensor's profile look at, most: a fortnight of one a minute.
const MOST: usize = 14 * 24 * 60;

/// Which stretch.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SummaryQuery {
    /// First moment of measurement; absent: 90 days before `to`.
    from: Option<String>,
    /// First moment no longer; absent: now.
    to: Option<String>,
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
    /// Single measurements; none where nothing of the kind was measured.
    blood_glucose: Option<GlucoseSummary>,
    /// A continuous sensor's last 14 days of the stretch; none where none was worn.
    glucose_sensor: Option<SensorSummary>,
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
    let basis = api.store.basis(&patient);
    let (zone, targets) = (basis.zone.clone(), basis.targets);
    let days = api.store.readings().days(DaysQuery { patient: patient.id, from, to, basis }).await?;
    let weeks = resolution::weeks(&days);
    let mut all = Summary::default();
    days.values().for_each(|day| all.join(day));
    // Only the clock and a profile need the values themselves; where a sensor was worn its fortnight is enough.
    let back = if all.sensor.count() > 0 { FORTNIGHT } else { USUAL };
    let recent = if all.glucose.count() + all.sensor.count() > 0 {
        glucoses(&api, patient.id, from.max(to.minus(back)), to).await?
    } else {
        Vec::new()
    };
    Ok(Json(SummaryView {
        from: from.to_rfc3339(&zone),
        to: to.to_rfc3339(&zone),
        time_zone: zone.name().to_owned(),
        blood_pressure: pressure::of(&days, &weeks, &targets),
        blood_glucose: glucose::of(&all.glucose, &weeks, &recent, &zone),
        glucose_sensor: sensor::of(&recent, to, &zone),
    }))
}

async fn glucoses(
    api: &crate::state::Inner,
    patient: PatientId,
    from: Timestamp,
    to: Timestamp,
) -> Answer<Vec<Arc<Reading>>> {
    let q = ReadingQuery { patient, kind: Some(Kind::BloodGlucose), from, to, after: None, limit: MOST };
    Ok(api.store.readings().range(q).await?)
}
