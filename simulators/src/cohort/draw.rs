//! Draws from named distributions: one uniform number in, one quantile out, so that a seed is a promise.
//!
//! Goes in: a stream of dice. Comes out: normal and log-normal numbers by the quantile functions of `statrs`.
//! Must never: draw in a way that depends on how often it is asked elsewhere.

use crate::dice::Dice;
use statrs::distribution::{ContinuousCDF as _, Normal};

/// The standard normal quantile of the next uniform number, held away from both ends.
pub(super) fn standard(dice: &mut Dice) -> f64 {
    let p = dice.unit().clamp(1e-12, 1.0 - 1e-12);
    Normal::standard().inverse_cdf(p)
}

/// Normal.
pub(super) fn normal(dice: &mut Dice, mean: f64, sd: f64) -> f64 {
    mean + sd * standard(dice)
}

/// Log-normal with this median; `sd` is that of the logarithm.
pub(super) fn log_normal(dice: &mut Dice, median: f64, sd: f64) -> f64 {
    median * (sd * standard(dice)).exp()
}

/// Log-normal with this mean and standard deviation of the numbers themselves.
pub(super) fn skewed(dice: &mut Dice, mean: f64, sd: f64) -> f64 {
    let variance = (1.0 + (sd / mean).powi(2)).ln();
    (mean.ln() - variance / 2.0 + variance.sqrt() * standard(dice)).exp()
}

/// Uniform in `from..to`.
pub(super) fn between(dice: &mut Dice, from: f64, to: f64) -> f64 {
    from + (to - from) * dice.unit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_spreads_are_those_that_were_asked_for() {
        let mut dice = Dice::new(5);
        let n = 20_000;
        let of = |values: Vec<f64>| {
            let count = f64::from(u32::try_from(values.len()).unwrap());
            let mean = values.iter().sum::<f64>() / count;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            (mean, variance.sqrt())
        };
        let (mean, sd) = of((0..n).map(|_| normal(&mut dice, 134.0, 11.0)).collect());
        assert!((mean - 134.0).abs() < 0.3 && (sd - 11.0).abs() < 0.3, "{mean} {sd}");
        let (mean, sd) = of((0..n).map(|_| skewed(&mut dice, 4.0, 2.9)).collect());
        assert!((mean - 4.0).abs() < 0.1 && (sd - 2.9).abs() < 0.2, "{mean} {sd}");
    }
}
