//! One window against another, and how well a mean is known when days resemble each other.

use super::{count, deviation, distribution::student_quantile, mean, squares};

/// What is known of the spread before looking: as if so many days with this variance had been seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Days.
    pub degrees: f64,
    /// Unit of the values, squared.
    pub variance: f64,
}

/// A recent window against a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Shift {
    pub recent: f64,
    pub reference: f64,
    pub difference: f64,
    /// Standard deviation, shrunk towards the prior.
    pub deviation: f64,
    pub z: f64,
}

/// `s² = (nu·v + SS1 + SS0) / (nu + n1 + n0 - 2)`, `z = difference / (s·sqrt(1/n1 + 1/n0))`. None where a window is empty.
pub fn window_shift(recent: &[f64], reference: &[f64], prior: Prior) -> Option<Shift> {
    if recent.is_empty() || reference.is_empty() {
        return None;
    }
    let (n1, n0) = (count(recent.len()), count(reference.len()));
    let degrees = prior.degrees + n1 + n0 - 2.0;
    let deviation = ((prior.degrees * prior.variance + squares(recent) + squares(reference)) / degrees.max(1.0)).sqrt();
    let (recent, reference) = (mean(recent), mean(reference));
    let difference = recent - reference;
    let z = difference / (deviation * (1.0 / n1 + 1.0 / n0).sqrt());
    Some(Shift { recent, reference, difference, deviation, z })
}

/// A mean of values whose neighbours resemble each other.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Interval {
    pub mean: f64,
    /// As many independent values would tell as much.
    pub effective: f64,
    pub error: f64,
    pub low95: f64,
    pub high95: f64,
    /// Lower bound of the two-sided 80 % interval.
    pub low80: f64,
}

/// `n_eff = n(1 - rho)/(1 + rho)`, at least 2; Student's t with `n_eff - 1` degrees of freedom.
pub fn mean_interval(x: &[f64], rho: f64) -> Option<Interval> {
    if x.len() < 2 || !(-1.0..1.0).contains(&rho) || rho <= -1.0 {
        return None;
    }
    let effective = (count(x.len()) * (1.0 - rho) / (1.0 + rho)).max(2.0);
    let mean = mean(x);
    let error = deviation(x) / effective.sqrt();
    let t = |p| student_quantile(p, effective - 1.0) * error;
    Some(Interval { mean, effective, error, low95: mean - t(0.975), high95: mean + t(0.975), low80: mean - t(0.9) })
}
