//! Trends of a series: Mann-Kendall, its Hamed-Rao variance, Theil-Sen's slope, least squares.

use super::{count, distribution, mean, percentile, sorted, squares};

/// Mann-Kendall's test; the variance is corrected for ties, `z` for continuity.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct MannKendall {
    pub s: f64,
    pub variance: f64,
    pub z: f64,
    /// Two-sided.
    pub p: f64,
    pub tau_a: f64,
}

/// `-1`, `0` or `1`; unlike `signum`, 0 of 0.
fn sign(v: f64) -> f64 {
    if v == 0.0 { 0.0 } else { v.signum() }
}

fn pairs(x: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    x.iter().enumerate().flat_map(move |(i, a)| x[i + 1..].iter().map(move |b| (*a, *b)))
}

/// Sizes of the groups of equal values.
fn ties(x: &[f64]) -> Vec<f64> {
    sorted(x).chunk_by(|a, b| a == b).map(|g| count(g.len())).collect()
}

fn tested(s: f64, variance: f64) -> (f64, f64) {
    let z = if s == 0.0 { 0.0 } else { (s - sign(s)) / variance.sqrt() };
    (z, 2.0 * distribution::normal_above(z.abs()))
}

/// The test on values in order of time. None of fewer than two.
pub fn mann_kendall(x: &[f64]) -> Option<MannKendall> {
    if x.len() < 2 {
        return None;
    }
    let n = count(x.len());
    let s: f64 = pairs(x).map(|(a, b)| sign(b - a)).sum();
    let of = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let variance = (of(n) - ties(x).into_iter().map(of).sum::<f64>()) / 18.0;
    let (z, p) = tested(s, variance);
    Some(MannKendall { s, variance, z, p, tau_a: s / (0.5 * n * (n - 1.0)) })
}

/// Ranks from 1; equal values share their mean rank.
fn ranks(x: &[f64]) -> Vec<f64> {
    let below = |v: f64| count(x.iter().filter(|o| **o < v).count());
    let equal = |v: f64| count(x.iter().filter(|o| **o == v).count());
    x.iter().map(|v| below(*v) + f64::midpoint(equal(*v), 1.0)).collect()
}

/// Mann-Kendall with the variance of Hamed and Rao: lags of the ranks of the detrended series that are significant at
/// `alpha`. Named for what it is, not recommended: it can shrink the variance (clinical reference, section 0).
pub fn hamed_rao(x: &[f64], alpha: f64) -> Option<MannKendall> {
    let plain = mann_kendall(x)?;
    let n = count(x.len());
    let order: Vec<f64> = (0..x.len()).map(count).collect();
    let slope = theil_sen(&order, x)?.per_day;
    let detrended: Vec<f64> = x.iter().zip(&order).map(|(v, i)| v - (i + 1.0) * slope).collect();
    let ranked = ranks(&detrended);
    let (m, all) = (mean(&ranked), squares(&ranked));
    let bound = distribution::normal_quantile(1.0 - alpha / 2.0) / n.sqrt();
    let lag = |k: usize| ranked.iter().zip(&ranked[k..]).map(|(a, b)| (a - m) * (b - m)).sum::<f64>() / all;
    let mut sum = 0.0;
    for k in 1..x.len() {
        let (r, i) = (lag(k), count(k));
        if r.abs() > bound {
            sum += (n - i) * (n - i - 1.0) * (n - i - 2.0) * r;
        }
    }
    let variance = plain.variance * (1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum);
    let (z, p) = tested(plain.s, variance);
    Some(MannKendall { variance, z, p, ..plain })
}

/// Theil-Sen's line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Slope {
    pub per_day: f64,
    /// `median(x) - slope·median(t)`.
    pub intercept: f64,
    pub low95: f64,
    pub high95: f64,
    /// Kendall's tau-b.
    pub tau_b: f64,
}

/// The median of all slopes between two times, with Sen's 95 % interval. None without two different times.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the slopes")]
pub fn theil_sen(days: &[f64], x: &[f64]) -> Option<Slope> {
    let points: Vec<(f64, f64)> = days.iter().copied().zip(x.iter().copied()).collect();
    let mut slopes = Vec::new();
    let (mut concordance, mut equal_days, mut equal_values, mut all) = (0.0, 0.0, 0.0, 0.0);
    for (i, a) in points.iter().enumerate() {
        for b in &points[i + 1..] {
            let (dt, dx) = (b.0 - a.0, b.1 - a.1);
            if dt != 0.0 {
                slopes.push(dx / dt);
            }
            concordance += sign(dt) * sign(dx);
            equal_days += f64::from(u8::from(dt == 0.0));
            equal_values += f64::from(u8::from(dx == 0.0));
            all += 1.0;
        }
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let median = |v: &[f64]| percentile(&sorted(v), 50.0);
    let per_day = percentile(&slopes, 50.0);
    let n = count(points.len());
    let of = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let tied = |v: &[f64]| ties(v).into_iter().map(of).sum::<f64>();
    let deviation = ((of(n) - tied(days) - tied(x)) / 18.0).max(0.0).sqrt();
    let z = distribution::normal_quantile(0.025);
    let total = count(slopes.len());
    // Halves go to the even side, as the reference implementation rounds.
    let upper = (((total - z * deviation) / 2.0).round_ties_even()).min(total - 1.0);
    let lower = (((total + z * deviation) / 2.0).round_ties_even() - 1.0).max(0.0);
    Some(Slope {
        per_day,
        intercept: median(x) - per_day * median(days),
        low95: slopes[lower as usize],
        high95: slopes[upper as usize],
        tau_b: concordance / ((all - equal_days) * (all - equal_values)).sqrt(),
    })
}

/// A line by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Line {
    pub slope: f64,
    pub error: f64,
    pub t: f64,
    /// Two-sided.
    pub p: f64,
    pub r2: f64,
}

/// None of fewer than three points or of one time only.
pub fn least_squares(days: &[f64], x: &[f64]) -> Option<Line> {
    let n = count(x.len());
    let (mt, mx) = (mean(days), mean(x));
    let (tt, xx) = (squares(days), squares(x));
    if x.len() < 3 || x.len() != days.len() || tt == 0.0 {
        return None;
    }
    let tx: f64 = days.iter().zip(x).map(|(t, v)| (t - mt) * (v - mx)).sum();
    let slope = tx / tt;
    let rest = xx - slope * tx;
    let error = (rest / (n - 2.0) / tt).sqrt();
    let t = slope / error;
    Some(Line { slope, error, t, p: 2.0 * distribution::student_above(t.abs(), n - 2.0), r2: 1.0 - rest / xx })
}
