//! Pure formulas: numbers in, numbers out. Conventions are those of `tests/clinical.json`, which every one of them meets.
//!
//! Distributions and quantiles come from `statrs`. A series is in order of time; what cannot be computed is `None` or not
//! a number, never a guess. Must never: know a patient, a card or a clock.

mod describe;
mod drift;
mod glucose;
mod shift;
mod space;
mod trend;

pub use describe::{Description, describe};
pub use drift::{Cusum, Ewma, cusum, ewma};
pub use glucose::{Indices, Mage, indices, mage};
pub use shift::{Interval, Prior, Shift, mean_interval, window_shift};
pub use space::{LocalTrend, Start, local_linear_trend};
pub use trend::{Line, MannKendall, Slope, hamed_rao, least_squares, mann_kendall, theil_sen};
pub use vitals::glucose::{Bin as Agp, high_risk, low_risk, percentile, profile as agp};
pub use vitals::week::{Session, Week, guideline as guideline_week};

/// mg/dL of glucose in one mmol/L.
pub const MG_PER_MMOL: f64 = 18.016;
/// mmHg in one kPa.
pub const MMHG_PER_KPA: f64 = 7.500_616_827_04;

pub(crate) mod distribution {
    //! The standard normal and Student's t.
    use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

    /// Cumulative normal.
    pub fn normal(z: f64) -> f64 {
        Normal::standard().cdf(z)
    }

    /// Upper tail of the normal.
    pub fn normal_above(z: f64) -> f64 {
        Normal::standard().sf(z)
    }

    /// Normal quantile.
    pub fn normal_quantile(p: f64) -> f64 {
        Normal::standard().inverse_cdf(p)
    }

    /// Cumulative t; not a number without degrees of freedom.
    pub fn student(t: f64, df: f64) -> f64 {
        StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |d| d.cdf(t))
    }

    /// Upper tail of t.
    pub fn student_above(t: f64, df: f64) -> f64 {
        StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |d| d.sf(t))
    }

    /// Quantile of t. `statrs` bisects it to nine digits; one step of Newton's method gives the rest.
    pub fn student_quantile(p: f64, df: f64) -> f64 {
        use statrs::distribution::Continuous;
        StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |d| {
            let mut t = d.inverse_cdf(p);
            for _ in 0..2 {
                let slope = d.pdf(t);
                if slope > 0.0 {
                    t -= (d.cdf(t) - p) / slope;
                }
            }
            t
        })
    }
}

pub use distribution::{normal, normal_above, normal_quantile, student, student_above, student_quantile};

/// A count as a number.
#[allow(clippy::cast_precision_loss, reason = "counts of readings")]
pub(crate) const fn count(n: usize) -> f64 {
    n as f64
}

/// A small whole number.
#[allow(clippy::cast_precision_loss, reason = "counts of days")]
pub(crate) const fn whole(n: i64) -> f64 {
    n as f64
}

/// Arithmetic mean; not a number of nothing.
pub(crate) fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / count(x.len())
}

/// Sum of squared distances from the mean.
pub(crate) fn squares(x: &[f64]) -> f64 {
    let m = mean(x);
    x.iter().map(|v| (v - m) * (v - m)).sum()
}

/// Standard deviation with n - 1; 0 of one value.
pub(crate) fn deviation(x: &[f64]) -> f64 {
    if x.len() < 2 { 0.0 } else { (squares(x) / (count(x.len()) - 1.0)).sqrt() }
}

/// A sorted copy.
pub(crate) fn sorted(x: &[f64]) -> Vec<f64> {
    let mut out = x.to_vec();
    out.sort_by(f64::total_cmp);
    out
}
