//! Many readings in a few numbers: means with their spread, morning and evening, shares. Pure.
//!
//! Goes in: readings in order of measurement, one at a time. Comes out: sums that can be joined, so that a week is its
//! days joined and all is its weeks joined. Excluded and flagged readings are counted and stay out of every mean.
//! Must never: judge, or keep a single value longer than the sum needs it.

use crate::{Disposition, GlucoseLevel, Meal, MealName, Reading, Targets, Zone, glucose};

/// Local hours that are morning: before noon, after the night.
pub const MORNING: std::ops::Range<i8> = 4..12;
/// Local hours that are evening.
pub const EVENING: std::ops::Range<i8> = 16..24;
/// Home target where the plan has none, mmHg: systolic and diastolic (rules contract).
pub const HOME_TARGET: (f64, f64) = (135.0, 85.0);
/// Glucose in range, mmol/L, both ends included (clinical reference).
pub const GLUCOSE_RANGE: (f64, f64) = (3.9, 10.0);
/// Below it is level 2 (clinical reference), mmol/L.
pub const VERY_LOW: f64 = 3.0;
/// Above it is level 2, mmol/L.
pub const VERY_HIGH: f64 = 13.9;

/// Millionths of a unit in one unit: sums are whole numbers, so that they are exact in any order and however joined.
pub const MICRO: f64 = 1e6;
/// Parts of the risk sums in one.
const NANO: f64 = 1e9;

/// Count, sum and extremes of one quantity, in millionths of its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many.
    pub n: u64,
    /// Of all values.
    pub sum: i64,
    /// Of the squares of all values.
    pub squares: i128,
    /// Least; 0 when there is none.
    pub least: i64,
    /// Greatest; 0 when there is none.
    pub greatest: i64,
}

/// A value in millionths of its unit.
#[allow(clippy::cast_possible_truncation)] // `as` holds it within range
fn micro(value: f64) -> i64 {
    (value * MICRO).round() as i64
}

#[allow(clippy::cast_precision_loss)] // readings are far below 2^52 millionths
fn unit(micros: i64) -> f64 {
    micros as f64 / MICRO
}

impl Stats {
    /// One more.
    pub fn add(&mut self, value: f64) {
        let v = micro(value);
        self.join(&Self { n: 1, sum: v, squares: i128::from(v) * i128::from(v), least: v, greatest: v });
    }

    /// All of another, as if each had been added.
    pub fn join(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            *self = *other;
            return;
        }
        self.n += other.n;
        self.sum = self.sum.saturating_add(other.sum);
        self.squares += other.squares;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }

    /// Mean; 0 when there is none.
    #[allow(clippy::cast_precision_loss)]
    pub fn mean(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.sum as f64 / self.n as f64 / MICRO }
    }

    /// Least; 0 when there is none.
    pub fn min(&self) -> f64 {
        unit(self.least)
    }

    /// Greatest; 0 when there is none.
    pub fn max(&self) -> f64 {
        unit(self.greatest)
    }

    /// Standard deviation of a sample (n - 1); none below two.
    #[allow(clippy::cast_precision_loss)]
    pub fn sd(&self) -> Option<f64> {
        let apart = i128::from(self.n) * self.squares - i128::from(self.sum) * i128::from(self.sum);
        (self.n > 1).then(|| (apart.max(0) as f64 / (self.n * (self.n - 1)) as f64).sqrt() / MICRO)
    }

    /// Coefficient of variation, percent; none below two.
    pub fn cv(&self) -> Option<f64> {
        self.sd().filter(|_| self.sum != 0).map(|sd| 100.0 * sd / self.mean())
    }
}

fn joined<'a>(parts: impl IntoIterator<Item = &'a Stats>) -> Stats {
    let mut all = Stats::default();
    parts.into_iter().for_each(|part| all.join(part));
    all
}

/// From one reading to the next, in millionths: what average real variability is made of. One step less than readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// First and last value; none without readings.
    pub ends: Option<(i64, i64)>,
    /// Of the absolute differences.
    pub sum: i64,
}

impl Steps {
    fn add(&mut self, value: f64) {
        let v = micro(value);
        self.join(&Self { ends: Some((v, v)), sum: 0 });
    }

    fn join(&mut self, later: &Self) {
        let Some((first, last)) = later.ends else { return };
        self.sum = self.sum.saturating_add(later.sum);
        self.ends = match self.ends {
            Some((begin, end)) => {
                self.sum = self.sum.saturating_add((first - end).abs());
                Some((begin, last))
            }
            None => Some((first, last)),
        };
    }
}

/// Part of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayPart {
    /// [`MORNING`].
    Morning,
    /// [`EVENING`].
    Evening,
    /// Any other hour.
    Other,
}

impl DayPart {
    /// In which part of the day a clock on the wall in `zone` is.
    pub fn of(at: crate::Timestamp, zone: &Zone) -> Self {
        match at.hour(zone) {
            hour if MORNING.contains(&hour) => Self::Morning,
            hour if EVENING.contains(&hour) => Self::Evening,
            _ => Self::Other,
        }
    }
}

/// Blood pressures, mmHg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressures {
    /// Systolic and diastolic by [`DayPart`].
    pub parts: [[Stats; 2]; 3],
    /// From one systolic to the next.
    pub steps: Steps,
    /// Both numbers below the target.
    pub in_target: u64,
    /// Left out of means: flagged.
    pub flagged: u64,
    /// Left out: not of the patient (control solution).
    pub excluded: u64,
}

impl Pressures {
    /// Systolic and diastolic of one part of the day.
    pub const fn part(&self, part: DayPart) -> &[Stats; 2] {
        &self.parts[part as usize]
    }

    /// Systolic and diastolic of all that count.
    pub fn all(&self) -> [Stats; 2] {
        [0, 1].map(|i| joined(self.parts.iter().map(|part| &part[i])))
    }

    /// How many count.
    pub fn count(&self) -> u64 {
        self.parts.iter().map(|part| part[0].n).sum()
    }

    /// Average real variability, systolic: mean step from one reading to the next; none below two readings.
    #[allow(clippy::cast_precision_loss)]
    pub fn variability(&self) -> Option<f64> {
        let steps = self.count().checked_sub(1).filter(|n| *n > 0)?;
        Some(unit(self.steps.sum) / steps as f64)
    }

    fn join(&mut self, later: &Self) {
        for (part, more) in self.parts.iter_mut().flatten().zip(later.parts.iter().flatten()) {
            part.join(more);
        }
        self.steps.join(&later.steps);
        self.in_target += later.in_target;
        self.flagged += later.flagged;
        self.excluded += later.excluded;
    }
}

/// Place of a glucose value in the day's meals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MealSlot {
    /// Before breakfast too.
    Fasting,
    /// After breakfast.
    AfterBreakfast,
    /// Before lunch.
    BeforeLunch,
    /// After lunch.
    AfterLunch,
    /// Before dinner.
    BeforeDinner,
    /// After dinner.
    AfterDinner,
    /// Before sleep.
    Bedtime,
    /// In the night.
    Night,
    /// Before a meal that was not named, or a snack.
    BeforeMeal,
    /// After a meal that was not named, or a snack.
    AfterMeal,
    /// Nothing was said.
    Unsaid,
}

impl MealSlot {
    /// Every one, in the order of the day.
    pub const ALL: [Self; 11] = [
        Self::Fasting,
        Self::AfterBreakfast,
        Self::BeforeLunch,
        Self::AfterLunch,
        Self::BeforeDinner,
        Self::AfterDinner,
        Self::Bedtime,
        Self::Night,
        Self::BeforeMeal,
        Self::AfterMeal,
        Self::Unsaid,
    ];

    /// In words that a page can put into its language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fasting => "fasting",
            Self::AfterBreakfast => "after_breakfast",
            Self::BeforeLunch => "before_lunch",
            Self::AfterLunch => "after_lunch",
            Self::BeforeDinner => "before_dinner",
            Self::AfterDinner => "after_dinner",
            Self::Bedtime => "bedtime",
            Self::Night => "night",
            Self::BeforeMeal => "before_meal",
            Self::AfterMeal => "after_meal",
            Self::Unsaid => "unsaid",
        }
    }

    /// From what came with the value.
    pub const fn of(meal: Option<Meal>, name: Option<MealName>) -> Self {
        match (meal, name) {
            (Some(Meal::Fasting), _) | (Some(Meal::BeforeMeal), Some(MealName::Breakfast)) => Self::Fasting,
            (Some(Meal::AfterMeal), Some(MealName::Breakfast)) => Self::AfterBreakfast,
            (Some(Meal::BeforeMeal), Some(MealName::Lunch)) => Self::BeforeLunch,
            (Some(Meal::AfterMeal), Some(MealName::Lunch)) => Self::AfterLunch,
            (Some(Meal::BeforeMeal), Some(MealName::Dinner)) => Self::BeforeDinner,
            (Some(Meal::AfterMeal), Some(MealName::Dinner)) => Self::AfterDinner,
            (Some(Meal::Bedtime), _) => Self::Bedtime,
            (Some(Meal::Night), _) => Self::Night,
            (Some(Meal::BeforeMeal), _) => Self::BeforeMeal,
            (Some(Meal::AfterMeal), _) => Self::AfterMeal,
            (Some(Meal::Casual) | None, _) => Self::Unsaid,
        }
    }

    const fn is_after_meal(self) -> bool {
        matches!(self, Self::AfterBreakfast | Self::AfterLunch | Self::AfterDinner | Self::AfterMeal)
    }
}

/// Glucose, mmol/L.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glucoses {
    /// Numbers by [`MealSlot`].
    pub slots: [Stats; 11],
    /// Beyond the meter's range, above: in no mean, in every share.
    pub above_range: u64,
    /// Beyond the meter's range, below: in no mean, in every share.
    pub below_range: u64,
    /// Numbers below [`VERY_LOW`].
    pub very_low: u64,
    /// Numbers below [`GLUCOSE_RANGE`], the very low too.
    pub low: u64,
    /// Numbers above it, the very high too.
    pub high: u64,
    /// Numbers above [`VERY_HIGH`].
    pub very_high: u64,
    /// Sums of risk on the low and on the high side, in billionths.
    pub risk: (u64, u64),
    /// Left out of means: flagged.
    pub flagged: u64,
    /// Left out: control solution.
    pub excluded: u64,
}

impl Glucoses {
    /// Values of one place in the day's meals.
    pub const fn slot(&self, slot: MealSlot) -> &Stats {
        &self.slots[slot as usize]
    }

    /// All numbers that count.
    pub fn all(&self) -> Stats {
        joined(&self.slots)
    }

    /// Measured after any meal.
    pub fn after_meal(&self) -> Stats {
        joined(MealSlot::ALL.iter().filter(|slot| slot.is_after_meal()).map(|slot| self.slot(*slot)))
    }

    /// All that the shares rest on: numbers, `HI` and `LO`.
    pub fn count(&self) -> u64 {
        self.slots.iter().map(|s| s.n).sum::<u64>() + self.above_range + self.below_range
    }

    /// Numbers within [`GLUCOSE_RANGE`].
    pub fn in_range(&self) -> u64 {
        self.slots.iter().map(|s| s.n).sum::<u64>() - self.low - self.high
    }

    /// Low and high blood glucose index, over all numbers that count (mg/dL form, 22.77 x mean of f²); none without any.
    #[allow(clippy::cast_precision_loss)]
    pub fn risk_indices(&self) -> Option<(f64, f64)> {
        let n: u64 = self.slots.iter().map(|s| s.n).sum();
        let index = |sum: u64| 22.77 * (sum as f64 / NANO) / n as f64;
        (n > 0).then(|| (index(self.risk.0), index(self.risk.1)))
    }

    fn add(&mut self, level: GlucoseLevel, slot: MealSlot) {
        let value = match level {
            GlucoseLevel::AboveRange => return self.above_range += 1,
            GlucoseLevel::BelowRange => return self.below_range += 1,
            GlucoseLevel::Mmol(value) => value,
        };
        self.slots[slot as usize].add(value);
        self.very_low += u64::from(value < VERY_LOW);
        self.low += u64::from(value < GLUCOSE_RANGE.0);
        self.high += u64::from(value > GLUCOSE_RANGE.1);
        self.very_high += u64::from(value > VERY_HIGH);
        let (low, high) = glucose::risk(value);
        self.risk.0 += nano(low);
        self.risk.1 += nano(high);
    }

    /// All of another stretch, as if each value had been added.
    pub fn join(&mut self, later: &Self) {
        for (slot, more) in self.slots.iter_mut().zip(&later.slots) {
            slot.join(more);
        }
        self.above_range += later.above_range;
        self.below_range += later.below_range;
        self.very_low += later.very_low;
        self.low += later.low;
        self.high += later.high;
        self.very_high += later.very_high;
        self.risk.0 += later.risk.0;
        self.risk.1 += later.risk.1;
        self.flagged += later.flagged;
        self.excluded += later.excluded;
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a square; `as` holds it within range
fn nano(square: f64) -> u64 {
    (square * NANO).round() as u64
}

/// Readings of one patient in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Blood pressure.
    pub pressure: Pressures,
    /// Single measurements of glucose.
    pub glucose: Glucoses,
    /// Values of a continuous sensor: never averaged with single measurements (clinical reference).
    pub sensor: Glucoses,
}

impl Summary {
    /// The next reading in order of measurement. `zone` says when it is morning, `targets` what is in target.
    pub fn add(&mut self, reading: &Reading, zone: &Zone, targets: &Targets) {
        if let Some(level) = reading.glucose() {
            let beyond = !matches!(level, GlucoseLevel::Mmol(_));
            let (sums, slot) = if is_of_sensor(reading) {
                (&mut self.sensor, MealSlot::Unsaid)
            } else {
                (&mut self.glucose, MealSlot::of(reading.context.meal, reading.context.meal_name))
            };
            match reading.disposition {
                Disposition::Excluded => sums.excluded += 1,
                // `HI` and `LO` are flagged because they are beyond the meter, and count all the same.
                Disposition::Flagged if !beyond => sums.flagged += 1,
                _ => sums.add(level, slot),
            }
        }
        let Some((systolic, diastolic)) = reading.pressure() else { return };
        let sums = &mut self.pressure;
        match reading.disposition {
            Disposition::Excluded => return sums.excluded += 1,
            Disposition::Flagged => return sums.flagged += 1,
            Disposition::Stored => {}
        }
        let part = &mut sums.parts[DayPart::of(reading.measured_at, zone) as usize];
        part[0].add(systolic);
        part[1].add(diastolic);
        sums.steps.add(systolic);
        let target = home_target(targets);
        sums.in_target += u64::from(systolic < target.0 && diastolic < target.1);
    }

    /// All of a later stretch, as if each reading had been added.
    pub fn join(&mut self, later: &Self) {
        self.pressure.join(&later.pressure);
        self.glucose.join(&later.glucose);
        self.sensor.join(&later.sensor);
    }
}

/// Whether a continuous sensor measured it, under the skin.
pub fn is_of_sensor(reading: &Reading) -> bool {
    reading.context.specimen.as_deref() == Some("interstitial")
}

/// Systolic and diastolic target at home, mmHg: the plan's, or [`HOME_TARGET`].
pub fn home_target(targets: &Targets) -> (f64, f64) {
    (targets.home_systolic.unwrap_or(HOME_TARGET.0), targets.home_diastolic.unwrap_or(HOME_TARGET.1))
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
        let mut sums = Pressures::default();
        systolic.iter().for_each(|v| {
            sums.parts[0][0].add(*v);
            sums.steps.add(*v);
        });
        let stats = sums.all()[0];
        assert!(near(stats.mean(), 142.357_142_9) && near(stats.sd().unwrap(), 9.000_915_704));
        assert!(near(stats.cv().unwrap(), 6.322_770_69) && near(sums.variability().unwrap(), 12.384_615_38));
        let mmol = [
            6.9, 7.5, 7.8, 6.4, 5.4, 3.9, 9.6, 7.8, 5.0, 5.6, 4.9, 7.8, 6.7, 6.5, 6.6, 6.2, 7.0, 7.7, 4.9, 6.3, 6.3,
            8.3, 7.2, 7.7, 6.6, 6.1, 5.3, 4.0,
        ];
        let mut sums = Glucoses::default();
        mmol.iter().for_each(|v| sums.add(GlucoseLevel::Mmol(*v), MealSlot::Unsaid));
        let (low, high) = sums.risk_indices().unwrap();
        assert!(near(low, 0.798_304_302_9) && near(high, 0.737_460_396_6), "{low} {high}");
        assert_eq!((sums.low, sums.in_range(), sums.high), (0, 28, 0));
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
            assert_eq!((left, before), (whole, all));
        }
    }

    #[test]
    fn a_meal_that_is_named_has_a_place_in_the_day() {
        let place = |meal, name| MealSlot::of(Some(meal), name).as_str();
        assert_eq!(place(Meal::BeforeMeal, Some(MealName::Breakfast)), "fasting");
        assert_eq!(place(Meal::AfterMeal, Some(MealName::Lunch)), "after_lunch");
        assert_eq!(place(Meal::AfterMeal, Some(MealName::Snack)), "after_meal");
        assert_eq!(MealSlot::of(None, Some(MealName::Lunch)), MealSlot::Unsaid);
        assert!(MealSlot::ALL.iter().enumerate().all(|(i, slot)| *slot as usize == i));
    }
}
