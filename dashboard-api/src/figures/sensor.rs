//! What a continuous sensor says: the fortnight's report (international consensus): time in range, GMI, the day's profile.

use super::{Extremes, Numbers, Range, Shares, extremes, numbers, shares};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;
use vitals::{
    Disposition, GlucoseLevel, Reading, Targets, Timestamp, Zone,
    glucose::{self, management_indicator, profile},
    summary::{Summary, is_of_sensor},
};

/// The report's stretch.
pub(crate) const FORTNIGHT: Duration = Duration::from_secs(14 * 86_400);
/// Share of the fortnight that must be covered before anything is said of the mean in the long run.
const ENOUGH: f64 = 0.7;
/// Hours of one piece of the profile.
const PIECE: f64 = 0.5;
const PERCENTILES: [f64; 5] = [5.0, 25.0, 50.0, 75.0, 95.0];

/// A sensor's fortnight.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SensorSummary {
    unit: &'static str,
    from: String,
    to: String,
    used: u64,
    flagged: u64,
    /// Days with at least one value.
    days: usize,
    /// Between one value and the next, as a rule.
    interval_minutes: f64,
    /// Share of the fortnight that values stand for, 0 to 1.
    coverage: f64,
    range: Range,
    time_in_range: Option<Shares>,
    extremes: Option<Extremes>,
    all: Option<Numbers>,
    /// Percent of the mean.
    cv: Option<f64>,
    /// Glucose management indicator, percent; none below 14 days or 70 % coverage.
    gmi: Option<f64>,
    lbgi: Option<f64>,
    hbgi: Option<f64>,
    /// Ambulatory glucose profile, by half hours of the day.
    profile: Vec<ProfilePiece>,
}

/// One half hour of the day, over all days.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProfilePiece {
    /// Hours since midnight.
    hour: f64,
    count: usize,
    p5: f64,
    p25: f64,
    p50: f64,
    p75: f64,
    p95: f64,
}

/// None where no sensor measured. `readings` in order of measurement, of the fortnight that ends with `to`.
pub(crate) fn of(readings: &[Arc<Reading>], to: Timestamp, zone: &Zone) -> Option<SensorSummary> {
    let mut sums = Summary::default();
    let (mut times, mut hours, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for r in readings.iter().filter(|r| is_of_sensor(r)) {
        sums.add(r, zone, &Targets::default());
        if let (Some(GlucoseLevel::Mmol(value)), Disposition::Stored) = (r.glucose(), r.disposition) {
            times.push(r.measured_at);
            hours.push(hour(r.measured_at, zone));
            values.push(value);
        }
    }
    let s = &sums.sensor;
    if s.count() + s.flagged == 0 {
        return None;
    }
    let mut days: Vec<_> = times.iter().map(|at| at.day(zone)).collect();
    days.dedup();
    let interval = glucose::interval(&times);
    let coverage = glucose::coverage(&times, FORTNIGHT);
    let risk = s.risk_indices();
    let piece = |(bin, p): (usize, Vec<f64>)| {
        let hour = f64::from(u16::try_from(bin).unwrap_or(u16::MAX)) * PIECE;
        let count = hours.iter().filter(|h| (hour..hour + PIECE).contains(*h)).count();
        let [p5, p25, p50, p75, p95] = p.try_into().ok()?;
        Some(ProfilePiece { hour, count, p5, p25, p50, p75, p95 })
    };
    let enough = coverage >= ENOUGH && days.len() >= 14;
    Some(SensorSummary {
        unit: "mmol/L",
        from: to.minus(FORTNIGHT).to_rfc3339(zone),
        to: to.to_rfc3339(zone),
        used: s.count(),
        flagged: s.flagged,
        days: days.len(),
        interval_minutes: interval.as_secs_f64() / 60.0,
        coverage,
        range: Range::USUAL,
        time_in_range: shares(s),
        extremes: extremes(s),
        all: numbers(&s.all()),
        cv: s.all().cv(),
        gmi: enough.then(|| management_indicator(s.all().mean())),
        lbgi: risk.map(|r| r.0),
        hbgi: risk.map(|r| r.1),
        profile: profile(&hours, &values, PIECE, &PERCENTILES).into_iter().filter_map(piece).collect(),
    })
}

/// Hours since midnight on the wall.
fn hour(at: Timestamp, zone: &Zone) -> f64 {
    let wall = at.in_zone(zone);
    f64::from(wall.hour()) + f64::from(wall.minute()) / 60.0 + f64::from(wall.second()) / 3600.0
}
