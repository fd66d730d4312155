//! 95 % intervals: Wilson for shares, exact Poisson for rates.

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF as _, Normal};

/// A share with its Wilson interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Of the sample; NaN of none.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const fn number(n: u64) -> f64 {
    n as f64
}

/// `found` of `all`.
pub fn share(found: u64, all: u64) -> Interval {
    if all == 0 {
        return Interval { value: f64::NAN, low: 0.0, high: 1.0 };
    }
    let (n, z) = (number(all), Normal::standard().inverse_cdf(0.975));
    let p = number(found) / n;
    let scale = 1.0 + z * z / n;
    let middle = (p + z * z / (2.0 * n)) / scale;
    let half = z / scale * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let low = if found == 0 { 0.0 } else { middle - half };
    let high = if found == all { 1.0 } else { middle + half };
    Interval { value: p, low, high }
}

/// `events` in `time`, per unit of time; exact by the quantiles of the chi-squared distribution.
pub fn rate(events: u64, time: f64) -> Interval {
    let quantile = |p: f64, degrees: f64| ChiSquared::new(degrees).map_or(f64::NAN, |d| d.inverse_cdf(p) / 2.0);
    let low = if events == 0 { 0.0 } else { quantile(0.025, 2.0 * number(events)) };
    let high = quantile(0.975, 2.0 * number(events) + 2.0);
    Interval { value: number(events) / time, low: low / time, high: high / time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 5e-4, "{a} is not {b}");
        // 81 of 263: Newcombe 1998, table I, method 3.
        let i = share(81, 263);
        near(i.low, 0.2553);
        near(i.high, 0.3662);
        let none = share(0, 20);
        near(none.low, 0.0);
        near(none.high, 0.1611);
        // Poisson limits of 10 events: 4.795 to 18.390; of none: 0 to 3.689.
        let i = rate(10, 1.0);
        near(i.low, 4.7954);
        near(i.high, 18.3904);
        near(rate(0, 1.0).high, 3.6889);
    }
}
