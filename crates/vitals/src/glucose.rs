//! Formulas of blood glucose that charts and rules share. Values in mmol/L; conventions are those of the published cases.
//!
//! Numbers in, numbers out. Must never: know a patient or a clock.

use crate::{Timestamp, quantity::MG_DL_PER_MMOL_L};
use std::{collections::BTreeMap, time::Duration};

/// Kovatchev's transformation: squares of the low and of the high side; one of them is 0. Below 1 mg/dL as 1 mg/dL.
pub fn risk(mmol: f64) -> (f64, f64) {
    let f = (mmol * MG_DL_PER_MMOL_L).max(1.0).ln().powf(1.084) - 5.381;
    if f < 0.0 { (f * f, 0.0) } else { (0.0, f * f) }
}

/// A value's part in the low blood glucose index: `22.77·f²` on the low side, else 0.
pub fn low_risk(mmol: f64) -> f64 {
    22.77 * risk(mmol).0
}

/// A value's part in the high blood glucose index.
pub fn high_risk(mmol: f64) -> f64 {
    22.77 * risk(mmol).1
}

/// Glucose management indicator, %, of a mean in mmol/L: for continuous sensors only, never for single measurements.
pub fn management_indicator(mean: f64) -> f64 {
    3.31 + 0.02392 * mean * MG_DL_PER_MMOL_L
}

/// Percentiles of one bin of the day.
pub type Bin = (usize, Vec<f64>);

/// Ambulatory glucose profile: percentiles for each bin of the clock that has values; `hours` since midnight beside
/// each value.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a bin of the day
pub fn profile(hours: &[f64], mmol: &[f64], bin_hours: f64, percentiles: &[f64]) -> Vec<Bin> {
    let mut bins: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (hour, value) in hours.iter().zip(mmol) {
        bins.entry((hour / bin_hours).floor().max(0.0) as usize).or_default().push(*value);
    }
    let of = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        percentiles.iter().map(|p| percentile(&values, *p)).collect()
    };
    bins.into_iter().map(|(bin, values)| (bin, of(values))).collect()
}

/// Percentile `p` (0 to 100) of sorted values by linear interpolation (type 7); not a number of nothing.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // an index
pub fn percentile(order: &[f64], p: f64) -> f64 {
    let Some(last) = order.len().checked_sub(1) else { return f64::NAN };
    let at = (p / 100.0).clamp(0.0, 1.0) * last as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    order[below] + (order[above] - order[below]) * (at - at.floor())
}

/// What usually lies between two values of a sensor: the median, held between one and fifteen minutes.
pub fn interval(times: &[Timestamp]) -> Duration {
    let mut gaps: Vec<Duration> = times.windows(2).map(|w| w[1].since(w[0])).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(Duration::MAX);
    usual.clamp(Duration::from_mins(1), Duration::from_mins(15))
}

/// Share of `stretch` that a sensor's values stand for, each for one usual interval; at most 1.
#[allow(clippy::cast_precision_loss)] // counts of readings
pub fn coverage(times: &[Timestamp], stretch: Duration) -> f64 {
    (times.len() as f64 * interval(times).as_secs_f64() / stretch.as_secs_f64()).min(1.0)
}
