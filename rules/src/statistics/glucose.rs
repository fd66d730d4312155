//! Indices of blood glucose. Values in mmol/L.

use super::{MG_PER_MMOL, count, deviation, mean};
use vitals::glucose::{high_risk, low_risk, management_indicator};

/// What describes glucose values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Indices {
    /// Values.
    pub n: usize,
    /// mmol/L.
    pub mean: f64,
    /// mmol/L, with n - 1.
    pub deviation: f64,
    /// Variation coefficient, %.
    pub variation: f64,
    /// Glucose management indicator, %: for continuous meters only.
    pub gmi: f64,
    /// Estimated HbA1c, %.
    pub estimated_a1c: f64,
    /// `0.001·(mean + SD)²` in mg/dL.
    pub j: f64,
    /// Low blood glucose index, over all readings.
    pub low: f64,
    /// High blood glucose index, over all readings.
    pub high: f64,
    /// The low index by the formula in mmol/L.
    pub low_mmol: f64,
    /// The high index by the formula in mmol/L.
    pub high_mmol: f64,
    /// Schlichtkrull's M against 90 mg/dL.
    pub m: f64,
    /// % of the values below 3.0, 3.0 to 3.9, 3.9 to 10.0 (both included), over 10.0, over 13.9, from 16.7 mmol/L.
    pub shares: [f64; 6],
}

/// Indices of values in mmol/L. None of nothing.
pub fn indices(mmol: &[f64]) -> Option<Indices> {
    if mmol.is_empty() {
        return None;
    }
    let n = count(mmol.len());
    let over = |f: &dyn Fn(f64) -> f64| mmol.iter().map(|v| f(*v)).sum::<f64>() / n;
    let share = |f: &dyn Fn(f64) -> bool| 100.0 * over(&|v| f64::from(u8::from(f(v))));
    let (mean, deviation) = (mean(mmol), deviation(mmol));
    let mg = mean * MG_PER_MMOL;
    let scaled = |v: f64| 1.794 * (v.ln().powf(1.026) - 1.861);
    let squared = |f: f64| 10.0 * f * f;
    Some(Indices {
        n: mmol.len(),
        mean,
        deviation,
        variation: 100.0 * deviation / mean,
        gmi: management_indicator(mean),
        estimated_a1c: (mg + 46.7) / 28.7,
        j: 0.001 * (mg + deviation * MG_PER_MMOL).powi(2),
        low: over(&low_risk),
        high: over(&high_risk),
        low_mmol: over(&|v| squared(scaled(v).min(0.0))),
        high_mmol: over(&|v| squared(scaled(v).max(0.0))),
        m: over(&|v| 1000.0 * (v * MG_PER_MMOL / 90.0).log10().abs().powi(3)),
        shares: [
            share(&|v| v < 3.0),
            share(&|v| (3.0..3.9).contains(&v)),
            share(&|v| (3.9..=10.0).contains(&v)),
            share(&|v| v > 10.0),
            share(&|v| v > 13.9),
            share(&|v| v >= 16.7),
        ],
    })
}

/// Mean amplitude of glycaemic excursions.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Mage {
    pub deviation: f64,
    pub mage: f64,
    pub excursions: usize,
}

/// Service's measure: excursions between turning points that are over one standard deviation, in the direction of the
/// first of them. None where there is no such excursion. For continuous meters only.
pub fn mage(mmol: &[f64]) -> Option<Mage> {
    let deviation = deviation(mmol);
    let mut turning: Vec<f64> = Vec::new();
    for value in mmol {
        match turning.as_slice() {
            [.., last] if value == last => {}
            [.., before, last] if (last - before) * (value - last) > 0.0 => {
                turning.pop();
                turning.push(*value);
            }
            _ => turning.push(*value),
        }
    }
    let moves = turning.windows(2).map(|w| w[1] - w[0]).filter(|m| m.abs() > deviation);
    let moves: Vec<f64> = moves.collect();
    let first = *moves.first()?;
    let same: Vec<f64> = moves.into_iter().filter(|m| m * first > 0.0).map(f64::abs).collect();
    Some(Mage { deviation, mage: mean(&same), excursions: same.len() })
}
