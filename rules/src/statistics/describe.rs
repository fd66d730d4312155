//! A series in a few numbers.

use super::{count, deviation, mean, percentile, sorted};

/// What describes a series.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Description {
    pub n: usize,
    pub mean: f64,
    /// With n - 1.
    pub deviation: f64,
    /// Variation coefficient, %.
    pub variation: f64,
    /// Average real variability: mean of the absolute successive differences.
    pub successive: f64,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub p10: f64,
    pub p90: f64,
    /// Root of the mean squared successive difference.
    pub rmssd: f64,
}

/// Describes `x`, in order of time. None of nothing.
pub fn describe(x: &[f64]) -> Option<Description> {
    let order = sorted(x);
    let (min, max) = (*order.first()?, *order.last()?);
    let steps: Vec<f64> = x.windows(2).map(|w| w[1] - w[0]).collect();
    let per_step = |sum: f64| if steps.is_empty() { 0.0 } else { sum / count(steps.len()) };
    let (mean, deviation) = (mean(x), deviation(x));
    Some(Description {
        n: x.len(),
        mean,
        deviation,
        variation: 100.0 * deviation / mean,
        successive: per_step(steps.iter().map(|s| s.abs()).sum()),
        median: percentile(&order, 50.0),
        min,
        max,
        p10: percentile(&order, 10.0),
        p90: percentile(&order, 90.0),
        rmssd: per_step(steps.iter().map(|s| s * s).sum()).sqrt(),
    })
}
