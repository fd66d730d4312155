//! Many readings in a few numbers: means with their spread, morning and evening, shares. Pure.
//!
//! Goes in: readings in order of measurement, one at a time. Comes out: sums that can be joined, so that a week is its
//! days joined and all is its weeks joined. Excluded and flagged readings are counted and stay out of every mean.
//! Must never: judge, or keep a single value longer than the sum needs it.

use crate::{Disposition, GlucoseLevel, Meal, Reading, Targets, Zone};

/// Local hours that are morning: before noon, after the night.
pub const MORNING: std::ops::Range<i8> = 4..12;
/// Local hours that are evening.
pub const EVENING: std::ops::Range<i8> = 16..24;
/// Home target where the plan has none, mmHg: systolic and diastolic (rules contract).
pub const HOME_TARGET: (f64, f64) = (135.0, 85.0);
/// Glucose in range, mmol/L, both ends included (clinical reference).
pub const GLUCOSE_RANGE: (f64, f64) = (3.9, 10.0);
/// mg/dL in one mmol/L, as the formulas of the risk indices have it.
const MG_DL: f64 = 18.016;

/// Count, mean, spread, extremes of one quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// How many.
    pub n: u64,
    /// Mean; 0 when there is none.
    pub mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
    /// Least; 0 when there is none.
    pub min: f64,
    /// Greatest; 0 when there is none.
    pub max: f64,
}

impl Stats {
    /// One more.
    pub fn add(&mut self, value: f64) {
        self.join(&Self { n: 1, mean: value, squares: 0.0, min: value, max: value });
    }

    /// All of another, as if each had been added (Chan's formula: stable, unlike sums of squares).
    #[allow(clippy::cast_precision_loss)] // counts are far below 2^52
    pub fn join(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            *self = *other;
            return;
        }
        let (a, b) = (self.n as f64, other.n as f64);
        let apart = other.mean - self.mean;
        self.mean += apart * b / (a + b);
        self.squares += other.squares + apart * apart * a * b / (a + b);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.n += other.n;
    }

    /// Standard deviation of a sample (n - 1); none below two.
    #[allow(clippy::cast_precision_loss)]
    pub fn sd(&self) -> Option<f64> {
        (self.n > 1).then(|| (self.squares / (self.n - 1) as f64).max(0.0).sqrt())
    }

    /// Coefficient of variation, percent; none below two.
    pub fn cv(&self) -> Option<f64> {
        self.sd().filter(|_| self.mean != 0.0).map(|sd| 100.0 * sd / self.mean)
    }
}

/// Mean step between one reading and the next (average real variability).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Steps {
    ends: Option<(f64, f64)>,
    n: u64,
    sum: f64,
}

impl Steps {
    fn add(&mut self, value: f64) {
        self.join(&Self { ends: Some((value, value)), n: 0, sum: 0.0 });
    }

    fn join(&mut self, later: &Self) {
        let Some((first, last)) = later.ends else { return };
        self.n += later.n;
        self.sum += later.sum;
        self.ends = match self.ends {
            Some((begin, end)) => {
                self.n += 1;
                self.sum += (first - end).abs();
                Some((begin, last))
            }
            None => Some((first, last)),
        };
    }

    /// Mean of the absolute differences; none below two readings.
    #[allow(clippy::cast_precision_loss)]
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

/// Blood pressures, mmHg.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressures {
    /// Systolic and diastolic of all that count.
    pub all: [Stats; 2],
    /// Of those measured in the morning.
    pub morning: [Stats; 2],
    /// Of those measured in the evening.
    pub evening: [Stats; 2],
    /// From one systolic to the next.
    pub steps: Steps,
    /// Both numbers below the target.
    pub in_target: u64,
    /// Left out of means: flagged.
    pub flagged: u64,
    /// Left out: not of the patient (control solution).
    pub excluded: u64,
}

/// Glucose, mmol/L.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Glucoses {
    /// All numbers that count.
    pub all: Stats,
    /// Measured fasting.
    pub fasting: Stats,
    /// Measured after a meal.
    pub after_meal: Stats,
    /// Beyond the meter's range, above: in no mean, in every share.
    pub above_range: u64,
    /// Beyond the meter's range, below: in no mean, in every share.
    pub below_range: u64,
    /// Numbers within [`GLUCOSE_RANGE`].
    pub in_range: u64,
    /// Numbers below it.
    pub low: u64,
    /// Numbers above it.
    pub high: u64,
    /// Sums of risk on the low and on the high side.
    risk: (f64, f64),
    /// Left out of means: flagged.
    pub flagged: u64,
    /// Left out: control solution.
    pub excluded: u64,
}

impl Glucoses {
    /// Low and high blood glucose index, over all numbers that count (mg/dL form, 22.77 x mean of f²); none without any.
    #[allow(clippy::cast_precision_loss)]
    pub fn risk_indices(&self) -> Option<(f64, f64)> {
        let n = self.all.n as f64;
        (self.all.n > 0).then(|| (22.77 * self.risk.0 / n, 22.77 * self.risk.1 / n))
    }

    fn add(&mut self, level: GlucoseLevel, meal: Option<Meal>) {
        let value = match level {
            GlucoseLevel::AboveRange => return self.above_range += 1,
            GlucoseLevel::BelowRange => return self.below_range += 1,
            GlucoseLevel::Mmol(value) => value,
        };
        self.all.add(value);
        match meal {
            Some(Meal::Fasting) => self.fasting.add(value),
            Some(Meal::AfterMeal) => self.after_meal.add(value),
            _ => {}
        }
        match value {
            v if v < GLUCOSE_RANGE.0 => self.low += 1,
            v if v > GLUCOSE_RANGE.1 => self.high += 1,
            _ => self.in_range += 1,
        }
        let f = (value * MG_DL).max(1.0).ln().powf(1.084) - 5.381;
        if f < 0.0 {
            self.risk.0 += f * f;
        } else {
            self.risk.1 += f * f;
        }
    }
}

/// Readings of one patient in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Blood pressure.
    pub pressure: Pressures,
    /// Glucose.
    pub glucose: Glucoses,
}

impl Summary {
    /// The next reading in order of measurement. `zone` says when it is morning, `targets` what is in target.
    pub fn add(&mut self, reading: &Reading, zone: &Zone, targets: &Targets) {
        if let Some(level) = reading.glucose() {
            let beyond = !matches!(level, GlucoseLevel::Mmol(_));
            match reading.disposition {
                Disposition::Excluded => self.glucose.excluded += 1,
                // `HI` and `LO` are flagged because they are beyond the meter, and count all the same.
                Disposition::Flagged if !beyond => self.glucose.flagged += 1,
                _ => self.glucose.add(level, reading.context.meal),
            }
        }
        let Some((systolic, diastolic)) = reading.pressure() else { return };
        let sums = &mut self.pressure;
        match reading.disposition {
            Disposition::Excluded => return sums.excluded += 1,
            Disposition::Flagged => return sums.flagged += 1,
            Disposition::Stored => {}
        }
        let put = |stats: &mut [Stats; 2]| {
            stats[0].add(systolic);
            stats[1].add(diastolic);
        };
        put(&mut sums.all);
        let hour = reading.measured_at.hour(zone);
        if MORNING.contains(&hour) {
            put(&mut sums.morning);
        } else if EVENING.contains(&hour) {
            put(&mut sums.evening);
        }
        sums.steps.add(systolic);
        let below = |target: Option<f64>, usual: f64, value: f64| value < target.unwrap_or(usual);
        let in_target = below(targets.home_systolic, HOME_TARGET.0, systolic)
            && below(targets.home_diastolic, HOME_TARGET.1, diastolic);
        sums.in_target += u64::from(in_target);
    }

    /// All of a later stretch, as if each reading had been added.
    pub fn join(&mut self, later: &Self) {
        let (a, b) = (&mut self.pressure, &later.pressure);
        for i in 0..2 {
            a.all[i].join(&b.all[i]);
            a.morning[i].join(&b.morning[i]);
            a.evening[i].join(&b.evening[i]);
        }
        a.steps.join(&b.steps);
        a.in_target += b.in_target;
        a.flagged += b.flagged;
        a.excluded += b.excluded;
        let (a, b) = (&mut self.glucose, &later.glucose);
        a.all.join(&b.all);
        a.fasting.join(&b.fasting);
        a.after_meal.join(&b.after_meal);
        a.above_range += b.above_range;
        a.below_range += b.below_range;
        a.in_range += b.in_range;
        a.low += b.low;
        a.high += b.high;
        a.risk = (a.risk.0 + b.risk.0, a.risk.1 + b.risk.1);
        a.flagged += b.flagged;
        a.excluded += b.excluded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-6 * b.abs().max(1.0)
    }

    #[test]
    fn they_are_the_numbers_of_the_published_cases() {
        let systolic = [152, 137, 141, 130, 156, 128, 145, 146, 135, 141, 146, 132, 153, 151].map(f64::from);
        let (mut stats, mut steps) = (Stats::default(), Steps::default());
        systolic.iter().for_each(|v| {
            stats.add(*v);
            steps.add(*v);
        });
        assert!(near(stats.mean, 142.357_142_9) && near(stats.sd().unwrap(), 9.000_915_704));
        assert!(near(stats.cv().unwrap(), 6.322_770_69) && near(steps.mean().unwrap(), 12.384_615_38));
        let mmol = [
            6.9, 7.5, 7.8, 6.4, 5.4, 3.9, 9.6, 7.8, 5.0, 5.6, 4.9, 7.8, 6.7, 6.5, 6.6, 6.2, 7.0, 7.7, 4.9, 6.3, 6.3,
            8.3, 7.2, 7.7, 6.6, 6.1, 5.3, 4.0,
        ];
        let mut sums = Glucoses::default();
        mmol.iter().for_each(|v| sums.add(GlucoseLevel::Mmol(*v), None));
        let (low, high) = sums.risk_indices().unwrap();
        assert!(near(low, 0.798_304_302_9) && near(high, 0.737_460_396_6), "{low} {high}");
        assert_eq!((sums.low, sums.in_range, sums.high), (0, 28, 0));
    }

    #[test]
    fn joined_in_pieces_is_added_one_by_one() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i * 7919 % 263) / 3.0).collect();
        for cut in 0..values.len() {
            let (mut whole, mut left, mut right) = (Stats::default(), Stats::default(), Stats::default());
            let (mut all, mut before, mut after) = (Steps::default(), Steps::default(), Steps::default());
            for (i, v) in values.iter().enumerate() {
                whole.add(*v);
                all.add(*v);
                if i < cut { &mut left } else { &mut right }.add(*v);
                if i < cut { &mut before } else { &mut after }.add(*v);
            }
            left.join(&right);
            before.join(&after);
            assert!(near(left.mean, whole.mean) && near(left.sd().unwrap(), whole.sd().unwrap()));
            assert_eq!(
                (left.n, left.min.to_bits(), left.max.to_bits()),
                (whole.n, whole.min.to_bits(), whole.max.to_bits())
            );
            assert!(near(before.mean().unwrap(), all.mean().unwrap()));
        }
    }
}
