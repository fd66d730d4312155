//! Who a virtual patient is: drawn once from the distributions of the clinical reference, section 5.
//!
//! Goes in: a seed, a number, a group. Comes out: levels, spreads, habits, plan. Must never: read a clock.

use super::{
    draw::{between, log_normal, normal},
    panel::Scenario,
    script::Script,
};
use crate::dice::Dice;
use jiff::{ToSpan as _, civil::Date};
use serde::{Deserialize, Serialize};

/// Planned blood-pressure sessions a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Morning and evening, every day.
    Fourteen,
    /// Morning and evening, three days.
    Six,
    /// Morning and evening of one day, or a morning and an evening of two (one patient in two each).
    Two,
}

impl Pace {
    /// All.
    pub const ALL: [Self; 3] = [Self::Fourteen, Self::Six, Self::Two];

    /// Sessions a week.
    pub const fn per_week(self) -> u32 {
        match self {
            Self::Fourteen => 14,
            Self::Six => 6,
            Self::Two => 2,
        }
    }
}

/// What a group of patients has in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Name of the cell, or `panel`.
    pub name: &'static str,
    /// The story.
    pub script: Script,
    /// How often they measure.
    pub pace: Pace,
    /// Whether season and slow wander move them.
    pub weather: bool,
    /// Days from enrolment to the end.
    pub days: u32,
}

/// A virtual patient's constants.
#[derive(Clone, Debug)]
pub struct Person {
    /// Its place in the cohort.
    pub index: u32,
    /// Its group.
    pub group: Group,
    /// Rural, else urban: the season differs.
    pub rural: bool,
    /// Person mean, mmHg.
    pub mean: (f64, f64),
    /// Spread of days, sessions, readings, mmHg.
    pub spread: (f64, f64, f64),
    /// Correlation of one day's effect with the next day's.
    pub autocorrelation: f64,
    /// First reading of a session over the second, mmHg.
    pub first_over_second: f64,
    /// Morning over evening, mmHg.
    pub morning_over_evening: f64,
    /// Half the range from summer to winter, mmHg.
    pub season: f64,
    /// Spread of the slow wander, mmHg.
    pub wander: f64,
    /// Share of readings that are far too high.
    pub gross: f64,
    /// Hours that the pressure meter's clock is wrong.
    pub clock_hours: i64,
    /// Of the day, minutes: habitual morning and evening.
    pub habits: (f64, f64),
    /// Which weekday is the first to measure on, 0 Monday.
    pub weekday: i8,
    /// Measures twice on one day rather than once on two (pace two only).
    pub one_day: bool,
    /// Stops measuring on this day for so many days.
    pub pause: Option<(f64, f64)>,
    /// What a diabetic has more.
    pub glucose: Option<Sugar>,
    /// Half of those who stop a drug say so.
    pub reports_missed: bool,
    /// First day of the record.
    pub enrolled: Date,
    /// Day of birth.
    pub born: Date,
    /// Day on which the script begins, counted from enrolment.
    pub onset: f64,
}

/// A diabetic's constants.
#[derive(Clone, Copy, Debug)]
pub struct Sugar {
    /// Median fasting glucose, mmol/L.
    pub fasting: f64,
    /// Between-day coefficient of variation.
    pub variation: f64,
    /// How far this person's rises after meals are from everybody's, mmol/L.
    pub rise: f64,
    /// Fasting readings a week.
    pub fasting_per_week: u32,
    /// Readings after meals a week.
    pub meals_per_week: u32,
    /// Takes insulin or a sulfonylurea.
    pub can_go_low: bool,
}

impl Sugar {
    /// Without insulin or a sulfonylurea the body's own answer holds glucose up: of what lies below 4.4 mmol/L a quarter
    /// is left, so that 3.9 is all but never reached.
    pub fn held_up(&self, value: f64) -> f64 {
        let missing = (4.4 - value).max(0.0);
        if self.can_go_low { value } else { value + 0.75 * missing }
    }

    /// Readings a week.
    pub const fn per_week(&self) -> u32 {
        self.fasting_per_week + self.meals_per_week
    }
}

/// Of the spread of rises after meals (2.9 mmol/L) half the variance lies between persons, half between a person's meals.
pub(super) const RISE_SD: f64 = 2.05;

/// Correlation of a day's effect with the next day's, unless a scenario says another.
pub(super) const AUTOCORRELATION: f64 = 0.2;

impl Person {
    /// Drawn. `dice` is the person's own stream; `first` the day on which the cohort begins.
    pub fn draw(dice: &Dice, index: u32, group: Group, rural: bool, first: Date, scenario: &Scenario) -> Self {
        let mut d = dice.fork(1);
        let mean = mean(&mut d, group.script);
        let factor = log_normal(&mut d, 1.0, 0.3);
        let day = 6.0 + 0.3 * (mean.0 - 134.0) / 10.0;
        let season = if rural { 6.0 } else { normal(&mut d, 4.5, 2.0) };
        let diabetic = d.chance(0.4) || group.script.needs_glucose();
        let enrolled = first.saturating_add(i64::from(index % 7).days());
        let born = enrolled.saturating_sub((365 * 50 + whole_below(&mut d, 365 * 35)).days());
        let wrong_clock = d.chance(0.03);
        Self {
            index,
            group,
            rural,
            mean,
            spread: (day.max(3.0) * factor, 4.0 * factor, 5.0 * factor),
            autocorrelation: scenario.autocorrelation,
            first_over_second: between(&mut d, 3.0, 4.0),
            morning_over_evening: normal(&mut d, 2.0, 4.0),
            season: if group.weather { season } else { 0.0 },
            wander: if group.weather { 3.0 } else { 0.0 },
            gross: between(&mut d, 0.005, 0.01),
            clock_hours: match (wrong_clock, d.chance(0.5)) {
                (false, _) => 0,
                (true, true) => 8,
                (true, false) => -8,
            },
            habits: (between(&mut d, 375.0, 525.0), between(&mut d, 1095.0, 1245.0)),
            weekday: i8::try_from(d.below(7)).unwrap_or(0),
            one_day: d.chance(0.5),
            pause: d.chance(0.05).then(|| (between(&mut d, 20.0, 330.0), between(&mut d, 15.0, 45.0))),
            glucose: diabetic.then(|| sugar(&mut d, group.script)),
            reports_missed: d.chance(0.5),
            enrolled,
            born,
            onset: if group.script == Script::Sustained { 0.0 } else { onset(&mut d, scenario.onset) },
        }
    }

    /// Share of planned sessions that are done `day` days after enrolment: 90 %, falling to 70 % by month 12.
    pub fn adherence(&self, day: f64) -> f64 {
        (0.9 - 0.2 * day / 365.0).max(0.7)
    }

    /// Name of the pressure meter (`bp`) or the glucose meter (`bg`) within a run.
    pub fn meter(&self, prefix: &str, kind: &str) -> String {
        format!("{prefix}-{:05}-{kind}", self.index)
    }

    /// Systolic, season and drugs apart, `date` being a day of the year: the peak is in the middle of January.
    pub fn season_on(&self, date: Date) -> f64 {
        let day = f64::from(date.day_of_year()) - 15.0;
        self.season * (std::f64::consts::TAU * day / 365.25).cos()
    }

    /// The plan in the contract's JSON, written down at enrolment. A raised dose stands in it with its day.
    pub fn plan(&self) -> serde_json::Value {
        let drug = |name: &str, class: &str, from: Date| serde_json::json!({"name": name, "class": class, "from": from, "to": null});
        let long_ago = self.enrolled.saturating_sub(900.days());
        let mut drugs = vec![drug("amlodipine", "calcium_channel_blocker", long_ago)];
        let mut measuring = serde_json::json!({"bloodPressurePerWeek": self.group.pace.per_week()});
        if let Some(sugar) = self.glucose {
            drugs.push(drug("metformin", "biguanide", long_ago));
            if sugar.can_go_low {
                drugs.push(drug("glimepiride", "sulfonylurea", long_ago));
            }
            measuring["glucosePerWeek"] = sugar.per_week().into();
        }
        if self.group.script == Script::Titrated {
            drugs.push(drug("hydrochlorothiazide", "diuretic", self.day(self.onset)));
        }
        serde_json::json!({
            "targets": {"homeSystolic": 135, "homeDiastolic": 85, "fastingLow": 4.4, "fastingHigh": 7.0, "postMealHigh": 10.0},
            "measuring": measuring, "medications": drugs,
        })
    }

    /// The date `day` days after enrolment.
    #[allow(clippy::cast_possible_truncation, reason = "a day of the study")]
    pub fn day(&self, day: f64) -> Date {
        self.enrolled.saturating_add((day as i64).days())
    }
}

/// Person means: N(134, 11) over N(79, 8), r 0.6.
fn mean(d: &mut Dice, script: Script) -> (f64, f64) {
    if script == Script::Sustained {
        return (145.0, 92.0);
    }
    loop {
        let (a, b) = (normal(d, 0.0, 1.0), normal(d, 0.0, 1.0));
        let (s, low) = (134.0 + 11.0 * a, 79.0 + 8.0 * (0.6 * a + 0.8 * b));
        let possible = s - low >= 25.0 && low >= 45.0;
        let fits = match script {
            Script::Controlled => (100.0..=130.0).contains(&s) && low <= 80.0,
            Script::WhiteCoat => s < 135.0 && low < 85.0, // nothing is wrong
            _ => true,
        };
        if possible && fits {
            return (s, low);
        }
    }
}

fn onset(d: &mut Dice, (from, to): (u32, u32)) -> f64 {
    between(d, f64::from(from), f64::from(to) + 1.0).floor()
}

fn sugar(d: &mut Dice, script: Script) -> Sugar {
    let often = d.chance(0.5);
    Sugar {
        fasting: log_normal(d, 7.3, 0.2),
        variation: log_normal(d, 0.12, 0.55).min(0.4),
        fasting_per_week: if often { 7 } else { 3 },
        meals_per_week: if often { 3 } else { 2 },
        can_go_low: d.chance(0.3) || script == Script::Hypo,
        rise: normal(d, 0.0, RISE_SD),
    }
}

fn whole_below(d: &mut Dice, n: u64) -> i64 {
    i64::try_from(d.below(n)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_takes_something_that_lowers_glucose_goes_low() {
        let sugar = |can_go_low| Sugar {
            fasting: 5.0,
            variation: 0.2,
            rise: 0.0,
            fasting_per_week: 7,
            meals_per_week: 3,
            can_go_low,
        };
        assert!((sugar(true).held_up(2.6) - 2.6).abs() < 1e-9);
        assert!((sugar(false).held_up(2.6) - 3.95).abs() < 1e-9);
        assert!((sugar(false).held_up(6.1) - 6.1).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_wrong_with_who_is_only_anxious() {
        let means = (0..200).map(|n| mean(&mut Dice::new(n), Script::WhiteCoat));
        assert!(means.into_iter().all(|(systolic, diastolic)| systolic < 135.0 && diastolic < 85.0));
    }
}
