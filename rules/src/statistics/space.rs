//! A local linear trend by Kalman's filter: a level and a slope that wander. A missing day only predicts.

/// What is known before the first day.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Start {
    pub level: f64,
    pub slope: f64,
    pub level_variance: f64,
    pub slope_variance: f64,
}

/// The state after the last day that is in the series.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct LocalTrend {
    pub level: f64,
    pub slope: f64,
    pub level_variance: f64,
    pub covariance: f64,
    pub slope_variance: f64,
    pub log_likelihood: f64,
}

/// Filters a daily series. `noise`: variances of observation, level and slope.
pub fn local_linear_trend(days: &[Option<f64>], [observed, level, slope]: [f64; 3], start: Start) -> LocalTrend {
    let mut s = LocalTrend {
        level: start.level,
        slope: start.slope,
        level_variance: start.level_variance,
        covariance: 0.0,
        slope_variance: start.slope_variance,
        log_likelihood: 0.0,
    };
    for (i, day) in days.iter().enumerate() {
        if i > 0 {
            s.level += s.slope;
            s.level_variance += 2.0 * s.covariance + s.slope_variance + level;
            s.covariance += s.slope_variance;
            s.slope_variance += slope;
        }
        let Some(value) = day else { continue };
        let (error, variance) = (value - s.level, s.level_variance + observed);
        let (gain, slope_gain) = (s.level_variance / variance, s.covariance / variance);
        s.log_likelihood -= 0.5 * ((2.0 * std::f64::consts::PI * variance).ln() + error * error / variance);
        s.level += gain * error;
        s.slope += slope_gain * error;
        s.slope_variance -= slope_gain * s.covariance;
        s.covariance -= gain * s.covariance;
        s.level_variance -= gain * s.level_variance;
    }
    s
}
