//! A stretch of time in the numbers that a doctor reads: what the API shows of sums and of readings. Pure.
//!
//! Goes in: days and weeks of sums, and readings where a percentile needs them. Comes out: what is rendered as JSON.
//! Must never: average single measurements with a sensor's, or show a number without how many readings it rests on.

pub(crate) mod glucose;
pub(crate) mod pressure;
pub(crate) mod sensor;

use serde::Serialize;
use utoipa::ToSchema;
use vitals::summary::{GLUCOSE_RANGE, Glucoses, Stats, VERY_HIGH, VERY_LOW};

/// How many, mean, spread of one quantity. `sd` is that of a sample (n - 1); none below two readings.
#[derive(Serialize, ToSchema)]
pub(crate) struct Numbers {
    count: u64,
    mean: f64,
    sd: Option<f64>,
    min: f64,
    max: f64,
}

/// Limits of the shares, mmol/L; the ends of `low` to `high` belong to the range.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Range {
    low: f64,
    high: f64,
    very_low: f64,
    very_high: f64,
}

impl Range {
    const USUAL: Self = Self { low: GLUCOSE_RANGE.0, high: GLUCOSE_RANGE.1, very_low: VERY_LOW, very_high: VERY_HIGH };
}

/// Of all readings, 0 to 1; they add up to 1.
#[derive(Serialize, ToSchema)]
pub(crate) struct Shares {
    below: f64,
    within: f64,
    above: f64,
}

/// Of all readings, 0 to 1: parts of `below` and of `above`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Extremes {
    /// Below 3.0 mmol/L; `LO` too.
    very_low: f64,
    /// Above 13.9 mmol/L; `HI` too.
    very_high: f64,
}

fn shares(s: &Glucoses) -> Option<Shares> {
    let of = s.count();
    Some(Shares {
        below: share(s.low + s.below_range, of)?,
        within: share(s.in_range(), of)?,
        above: share(s.high + s.above_range, of)?,
    })
}

fn extremes(s: &Glucoses) -> Option<Extremes> {
    let of = s.count();
    Some(Extremes {
        very_low: share(s.very_low + s.below_range, of)?,
        very_high: share(s.very_high + s.above_range, of)?,
    })
}

#[allow(clippy::cast_precision_loss)] // counts are far below 2^52
fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

fn numbers(s: &Stats) -> Option<Numbers> {
    (s.n > 0).then(|| Numbers { count: s.n, mean: s.mean(), sd: s.sd(), min: s.min(), max: s.max() })
}
