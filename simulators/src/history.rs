//! People who measure at home: who they are, and what their meters would have recorded.
//!
//! Goes in: a seed, a number of people, days. Comes out: persons, and series of readings in order of time. A simple
//! form of the virtual cohort (Ohasama and Kadoorie figures for pressure, Shanghai for glucose): person mean, day,
//! session and reading noise, a higher first reading, morning and evening, season, gaps. An unscripted history holds no
//! crisis and no severe low. Must never: read a clock; give two series for one seed.

use crate::{
    dice::{Dice, whole},
    message::{MOST_READINGS, Reading, Values, message},
};
use jiff::civil::{Date, Weekday};
use vitals::{Decimal, Meal, MealName, Timestamp, Unit, Zone};

mod names;

/// A group of persons.
#[derive(Clone, Debug)]
pub struct Cohort {
    persons: Vec<Person>,
}

/// Sex as the API says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sex {
    /// Female.
    Female,
    /// Male.
    Male,
}

impl Sex {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
        }
    }
}

/// One invented person. Debug prints no name and no value.
#[derive(Clone)]
pub struct Person {
    seed: u64,
    /// 0, 1, 2 … within the cohort.
    pub index: usize,
    /// An invented Chinese name.
    pub name: String,
    /// Sex.
    pub sex: Sex,
    /// Date of birth, 40 to 85 years before 2026.
    pub birth_date: Date,
    /// Has a glucose meter too.
    pub diabetic: bool,
    /// Pressure sessions planned a week: 14, 6 or 2.
    pub sessions_per_week: u8,
    /// Glucose readings planned a week.
    pub glucose_per_week: u8,
    pressure: Pressure,
    glucose: Glucose,
    adherence: f64,
}

#[derive(Clone)]
struct Pressure {
    systolic: f64,
    diastolic: f64,
    pulse: f64,
    noise: f64,
    evening: f64,
    first: f64,
    season: f64,
}

#[derive(Clone)]
struct Glucose {
    fasting: f64,
    between_days: f64,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Person({})", self.index)
    }
}

impl Cohort {
    /// `n` persons from a seed; person `i` is the same in a cohort of any size.
    pub fn new(seed: u64, n: usize) -> Self {
        let dice = Dice::new(seed);
        Self { persons: (0..n).map(|i| Person::new(&dice, i)).collect() }
    }

    /// Everybody.
    pub fn persons(&self) -> &[Person] {
        &self.persons
    }
}

/// What a person's meters hold, each oldest first, each counting `seq` from 1.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of the blood-pressure meter.
    pub pressure: Vec<Reading>,
    /// Of the glucose meter; empty for who has none.
    pub glucose: Vec<Reading>,
}

impl Person {
    fn new(cohort: &Dice, index: usize) -> Self {
        let seed = cohort.fork(u64::try_from(index).unwrap_or(0)).next();
        let mut dice = Dice::new(seed);
        let z = dice.normal(0.0, 1.0);
        let sex = if dice.chance(0.55) { Sex::Female } else { Sex::Male };
        let day = i16::try_from(dice.below(365)).unwrap_or(0) + 1;
        let year = 1941 + i16::try_from(dice.below(45)).unwrap_or(0);
        let systolic = (134.0 + 11.0 * z).clamp(108.0, 156.0);
        let noise = dice.normal(0.0, 0.3).exp() * (1.0 + 0.03 * (systolic - 134.0) / 6.0);
        let sessions_per_week = [14, 6, 2][index % 3];
        let diabetic = dice.chance(0.4);
        Self {
            seed,
            index,
            name: names::name(&mut dice, sex),
            sex,
            birth_date: Date::new(year, 1, 1)
                .and_then(|d| d.checked_add(jiff::Span::new().days(i64::from(day) - 1)))
                .unwrap_or_default(),
            diabetic,
            sessions_per_week,
            glucose_per_week: if diabetic { [7, 3, 2][index % 3] } else { 0 },
            pressure: Pressure {
                systolic,
                diastolic: (79.0 + 8.0 * (0.6 * z + 0.8 * dice.normal(0.0, 1.0))).clamp(60.0, 94.0),
                pulse: dice.normal(71.0, 7.0).clamp(52.0, 92.0),
                noise: noise.clamp(0.5, 2.0),
                evening: dice.normal(-2.0, 4.0),
                first: dice.normal(3.5, 1.5).max(0.0),
                season: dice.normal(4.5, 2.0).max(0.0),
            },
            glucose: Glucose {
                fasting: (7.3 * dice.normal(0.0, 0.18).exp()).clamp(4.8, 11.0),
                between_days: dice.normal(0.12, 0.03).clamp(0.05, 0.2),
            },
            adherence: dice.normal(0.88, 0.08).clamp(0.55, 1.0),
        }
    }

    /// The number from which everything about this person follows.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// `hypertension`, and `diabetes` for who has it.
    pub fn conditions(&self) -> Vec<&'static str> {
        if self.diabetic { vec!["hypertension", "diabetes"] } else { vec!["hypertension"] }
    }

    /// What the meters recorded in the `days` before `until`, at home in the default zone (Asia/Shanghai).
    pub fn history(&self, days: u16, until: Timestamp) -> History {
        let zone = Zone::default();
        let mut out = History::default();
        let mut dice = Dice::new(self.seed).fork(1);
        let (mut day_effect, mut wander) = (0.0, dice.normal(0.0, 3.0));
        let mut date = until.day(&zone).saturating_sub(jiff::Span::new().days(days));
        let first = date;
        while date <= until.day(&zone) {
            let noise = 6.0 * self.pressure.noise;
            day_effect = 0.2 * day_effect + dice.normal(0.0, noise * 0.98);
            wander += -wander / 45.0 + dice.normal(0.0, 3.0 * (2.0_f64 / 45.0).sqrt());
            let weekend = if matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) { -1.0 } else { 0.0 };
            let newness = if date == first { 2.8 } else { 0.0 };
            let level = day_effect + wander + weekend + newness + self.season(date);
            for evening in [false, true] {
                // The dice roll the same number of times for every plan, so that plans can be compared.
                let kept = dice.chance(self.adherence);
                let at = moment(&zone, date, if evening { 20 } else { 7 }, &mut dice);
                let session = level + dice.normal(0.0, 4.0) + if evening { self.pressure.evening } else { 0.0 };
                let pair = [
                    self.pressure_values(session + self.pressure.first, &mut dice),
                    self.pressure_values(session, &mut dice),
                ];
                if kept && self.plans_pressure(date, evening) {
                    for (n, values) in (0_u64..).zip(pair) {
                        push(&mut out.pressure, at.plus(std::time::Duration::from_secs(90 * n)), until, values);
                    }
                }
            }
            self.glucose_day(&zone, date, until, &mut dice, &mut out.glucose);
            date = date.saturating_add(jiff::Span::new().days(1));
        }
        out
    }

    fn glucose_day(&self, zone: &Zone, date: Date, until: Timestamp, dice: &mut Dice, out: &mut Vec<Reading>) {
        let fasting = self.glucose.fasting * (1.0 + dice.normal(0.0, self.glucose.between_days));
        let kept = dice.chance(self.adherence);
        let after = dice.chance(0.3);
        let (hour, name, rise) = dice.one_of(&[
            (9, Some(MealName::Breakfast), 1.9),
            (13, Some(MealName::Lunch), 1.1),
            (19, Some(MealName::Dinner), 0.9),
        ]);
        let morning = moment(zone, date, 6, dice);
        let later = moment(zone, date, hour, dice);
        let risen = fasting + (rise + dice.normal(0.0, 1.6_f64)).max(-0.5);
        let values = [fasting, risen].map(|mmol| mmol * (1.0 + dice.normal(0.0, 0.04)));
        if self.diabetic && kept && planned(self.glucose_per_week, date) {
            push(out, morning, until, glucose(values[0], Meal::Fasting, None));
            if after {
                push(out, later, until, glucose(values[1], Meal::AfterMeal, name));
            }
        }
    }

    /// A measurement out of turn.
    pub fn now(&self, at: Timestamp, dice: &mut Dice) -> Values {
        let level = self.season(at.day(&Zone::default())) + dice.normal(0.0, 7.0 * self.pressure.noise);
        self.pressure_values(level, dice)
    }

    /// A measurement in a hypertensive crisis (over 180/110).
    #[allow(clippy::unused_self, reason = "a crisis is this person's, whatever the mean was")]
    pub fn crisis(&self, dice: &mut Dice) -> Values {
        Values::Pressure {
            systolic: number(dice.normal(187.0, 2.0).clamp(183.0, 198.0)),
            diastolic: number(dice.normal(113.0, 1.0).clamp(111.0, 118.0)),
            pulse: Some(number(dice.normal(92.0, 4.0).clamp(75.0, 115.0))),
        }
    }

    fn pressure_values(&self, level: f64, dice: &mut Dice) -> Values {
        let noise = self.pressure.noise;
        let systolic = self.pressure.systolic + level + dice.normal(0.0, 5.0 * noise);
        let diastolic = self.pressure.diastolic + 0.5 * level + dice.normal(0.0, 3.0 * noise);
        let diastolic = diastolic.clamp(48.0, 105.0);
        Values::Pressure {
            systolic: number(systolic.clamp(diastolic + 20.0, 176.0).max(92.0)),
            diastolic: number(diastolic),
            pulse: Some(number((self.pressure.pulse + dice.normal(0.0, 4.0)).clamp(45.0, 110.0))),
        }
    }

    /// Highest in mid-January.
    fn season(&self, date: Date) -> f64 {
        let turn = f64::from(date.day_of_year() - 15) / 365.25;
        self.pressure.season * (std::f64::consts::TAU * turn).cos()
    }

    fn plans_pressure(&self, date: Date, evening: bool) -> bool {
        match self.sessions_per_week {
            14 => true,
            2 => planned(2, date) && !evening,
            _ => planned(3, date),
        }
    }
}

/// Whether a plan of so many days a week has this day.
fn planned(days: u8, date: Date) -> bool {
    let day = date.weekday().to_monday_zero_offset();
    match days {
        7.. => true,
        3..=6 => matches!(day, 0 | 2 | 4),
        2 => matches!(day, 2 | 6),
        1 => day == 6,
        0 => false,
    }
}

fn moment(zone: &Zone, date: Date, hour: i8, dice: &mut Dice) -> Timestamp {
    let minute = i8::try_from(dice.below(50)).unwrap_or(0);
    let second = i8::try_from(dice.below(60)).unwrap_or(0);
    zone.moment(date.at(hour, minute, second, 0))
}

fn push(out: &mut Vec<Reading>, at: Timestamp, until: Timestamp, values: Values) {
    if at < until {
        let seq = u64::try_from(out.len()).unwrap_or(0) + 1;
        out.push(Reading { seq, time: clock_text(at), values });
    }
}

/// A moment as a meter at home writes it: to the second, with its offset.
pub fn clock_text(at: Timestamp) -> String {
    Timestamp::from_seconds(at.as_micros().div_euclid(1_000_000)).to_rfc3339(&Zone::default())
}

fn number(x: f64) -> Decimal {
    Decimal::new(whole(x), 0)
}

fn glucose(mmol: f64, meal: Meal, meal_name: Option<MealName>) -> Values {
    let tenths = whole(mmol.clamp(4.0, 15.5) * 10.0);
    Values::Glucose { glucose: Decimal::new(tenths, -1), unit: Unit::MmolPerL, meal: Some(meal), meal_name }
}

/// A series as backfill messages of the greatest size allowed, oldest first.
pub fn messages(readings: &[Reading]) -> Vec<Vec<u8>> {
    readings.chunks(MOST_READINGS).map(|part| message(part, None, true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until() -> Timestamp {
        Timestamp::parse_rfc3339("2026-03-02T08:00:00+08:00").unwrap()
    }

    fn systolic(r: &Reading) -> f64 {
        match r.values {
            Values::Pressure { systolic, .. } => systolic.value(),
            Values::Glucose { .. } => f64::NAN,
        }
    }

    #[test]
    fn a_seed_gives_one_history() {
        let text = |n| {
            let cohort = Cohort::new(42, n);
            let history = cohort.persons()[4].history(90, until());
            (cohort.persons()[4].name.clone(), messages(&history.pressure), messages(&history.glucose))
        };
        assert_eq!(text(5), text(200));
    }

    #[test]
    fn histories_are_plausible() {
        let cohort = Cohort::new(1, 200);
        let (mut all, mut count) = (0.0, 0.0);
        for person in cohort.persons() {
            let history = person.history(90, until());
            let times: Vec<_> = history.pressure.iter().map(|r| Timestamp::parse_rfc3339(&r.time).unwrap()).collect();
            assert!(times.windows(2).all(|w| w[0] < w[1]) && times.iter().all(|t| *t < until()));
            assert!(history.pressure.iter().zip(1..).all(|(r, n)| r.seq == n));
            assert!(history.pressure.iter().all(|r| systolic(r) < 180.0), "no crisis without a script");
            assert_eq!(history.glucose.is_empty(), !person.diabetic);
            all += history.pressure.iter().map(systolic).sum::<f64>();
            count += f64::from(u32::try_from(history.pressure.len()).unwrap());
        }
        assert!((128.0..142.0).contains(&(all / count)), "{}", all / count);
        assert!(count > 200.0 * 50.0, "{count}");
        let diabetic = cohort.persons().iter().filter(|p| p.diabetic).count();
        assert!((55..105).contains(&diabetic), "{diabetic}");
    }
}
