//! Whether a concept is true of a patient at a moment. The judge's measure, and never the rules'.
//!
//! Goes in: what was scripted, the real days, the real values behind readings. Comes out: yes or no.
//! Scripted concepts hold from onset to the end of the effect and 14 days more (clinical reference, section 5). What a
//! patient simply is (a mean over the target, a real low) holds by the real values, a meter's own error allowed for.

use super::{
    home::{DayTruth, Home},
    line::{Fact, Worth},
    person::Pace,
    script::{Script, Span},
};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use vitals::{Timestamp, Zone};

const DAY: Duration = Duration::from_secs(86_400);
/// How long after its effect an alert still answers to a script.
const AFTER: Duration = Duration::from_secs(14 * 86_400);
/// Two coefficients of variation of a glucose meter.
const METER: f64 = 1.08;

/// Everything that is true of one patient. Written down, and read back to judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Truth {
    /// Its place in the cohort.
    pub index: u32,
    /// Its meters' ids: pressure, and glucose where there is one.
    pub devices: Vec<String>,
    /// Cell, or `panel`.
    pub cell: String,
    /// The story.
    pub script: Script,
    /// How often it measures.
    pub pace: Pace,
    /// When the record begins.
    pub begins: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
    /// When the script begins.
    pub onset: Timestamp,
    /// Age at onset, years.
    pub age: i16,
    /// First day of `days`.
    pub first: Date,
    /// Morning over evening, mmHg.
    pub morning_over_evening: f64,
    /// Hours that the pressure meter's clock is wrong.
    pub clock_hours: i64,
    /// Targets at home, mmHg.
    pub target: (f64, f64),
    /// One standard deviation of this person's readings, mmHg: a real pressure so near to a limit is not far from it.
    pub reading_sd: f64,
    /// What was scripted.
    pub spans: Vec<Span>,
    /// What was really so, day by day.
    pub days: Vec<DayTruth>,
    /// What is true of each reading.
    pub facts: Vec<Fact>,
    /// Who it is for the service; none where there was no service.
    pub patient: Option<String>,
}

impl Truth {
    /// Of a home whose time is over. `prefix` begins its meters' ids.
    pub fn of(home: &Home, prefix: &str) -> Self {
        let p = &home.person;
        let onset = home.onset();
        let on = onset.day(&Zone::default());
        let birthday = (on.month(), on.day()) < (p.born.month(), p.born.day());
        let mut devices = vec![p.meter(prefix, "bp")];
        devices.extend(p.glucose.map(|_| p.meter(prefix, "bg")));
        Self {
            index: p.index,
            devices,
            cell: p.group.name.to_owned(),
            script: p.group.script,
            pace: p.group.pace,
            begins: home.begins(),
            ends: home.ends(),
            onset,
            age: on.year() - p.born.year() - i16::from(birthday),
            first: p.enrolled,
            morning_over_evening: p.morning_over_evening,
            clock_hours: p.clock_hours,
            target: (135.0, 85.0),
            reading_sd: p.spread.2,
            spans: home.spans(),
            days: home.days.clone(),
            facts: home.facts.clone(),
            patient: None,
        }
    }

    /// Months of this patient.
    pub fn months(&self) -> f64 {
        self.ends.since(self.begins).as_secs_f64() / (30.437_5 * 86_400.0)
    }

    /// Facts measured in `from..=to`, by real time.
    fn facts(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &Fact> {
        // Answers may be a few minutes out of order: the window is looked through, not searched.
        let begin = self.facts.partition_point(|f| f.at < from.minus(DAY));
        self.facts[begin..].iter().take_while(move |f| f.at <= to.plus(DAY)).filter(move |f| f.at >= from && f.at <= to)
    }

    /// Mean of the real days before the day of `at`.
    fn real(&self, at: Timestamp, days: i32) -> Option<DayTruth> {
        let until = (at.day(&Zone::default()) - self.first).get_days().max(0);
        let [from, to] = [until - days, until].map(|n| usize::try_from(n).unwrap_or(0).min(self.days.len()));
        let span = self.days.get(from..to).filter(|s| !s.is_empty())?;
        let n = f64::from(u32::try_from(span.len()).unwrap_or(u32::MAX));
        let sum = span.iter().fold(DayTruth::default(), |a, d| DayTruth {
            systolic: a.systolic + d.systolic,
            diastolic: a.diastolic + d.diastolic,
            fasting: a.fasting + d.fasting,
        });
        Some(DayTruth { systolic: sum.systolic / n, diastolic: sum.diastolic / n, fasting: sum.fasting / n })
    }

    fn scripted(&self, concept: &str, at: Timestamp) -> bool {
        let names = |s: &&Span| s.concepts.iter().any(|c| c == concept);
        self.spans.iter().filter(names).any(|s| s.from <= at && at <= s.to.plus(AFTER))
    }

    /// Whether a finding of this concept, effective at `at`, is right.
    pub fn holds(&self, concept: &str, at: Timestamp) -> bool {
        self.scripted(concept, at) || self.is_so(concept, at)
    }

    fn is_so(&self, concept: &str, at: Timestamp) -> bool {
        let ago = |days: u32| at.minus(DAY * days);
        let real = |days, test: &dyn Fn(&DayTruth) -> bool| self.real(at, days).is_some_and(|d| test(&d));
        let pressure = |from, test: &dyn Fn(&Fact) -> bool| self.facts(from, at).any(|f| f.pressure && test(f));
        let glucose = |from, test: &dyn Fn(f64) -> bool| {
            self.facts(from, at).any(|f| !f.pressure && f.worth != Worth::Control && test(f.truth))
        };
        let (target, error) = (self.target, self.reading_sd);
        match concept {
            "bp_crisis" | "follow_up_due" => {
                let from = ago(if concept == "bp_crisis" { 1 } else { 15 });
                pressure(from, &|f| f.truth >= 180.0 - error || f.truth_low >= 110.0 - error)
            }
            "bp_low" => pressure(ago(1), &|f| f.truth < 90.0 + error),
            "bp_sustained" => real(14, &|d| d.systolic >= target.0 || d.diastolic >= target.1),
            "bp_overtreated" => real(7, &|d| d.systolic < if self.age >= 65 { 110.0 } else { 100.0 }),
            "bp_morning" => {
                let half = self.morning_over_evening / 2.0;
                half >= 5.0 && real(14, &|d| d.systolic + half >= target.0 && d.systolic - half < target.0)
            }
            "glucose_low_severe" => glucose(ago(1), &|v| v < 3.0 * METER),
            "glucose_low" => glucose(ago(1), &|v| v <= 3.9 * METER),
            "glucose_low_pattern" => glucose(ago(14), &|v| v <= 3.9 * METER),
            "glucose_variability" => glucose(ago(30), &|v| v <= 3.9 * METER),
            "glucose_high_critical" => glucose(ago(1), &|v| v >= 16.7 / METER),
            "glucose_fasting_high" => real(28, &|d| d.fasting > 7.0),
            "glucose_postmeal_high" => {
                let meals = || self.facts(ago(14), at).filter(|f| !f.pressure && !f.fasting && f.worth == Worth::Clean);
                meals().map(|f| f.truth - 10.0).sum::<f64>() > 0.0
            }
            "adherence" => {
                let days = if self.pace == Pace::Two { 14 } else { 7 };
                // The silence counts from the moment after the last reading.
                self.facts(ago(days).plus(Duration::from_secs(1)), at).next().is_none()
            }
            "device_quality" => {
                let bad = |f: &&Fact| matches!(f.worth, Worth::Flagged | Worth::Sentinel);
                self.clock_hours != 0 || self.facts(ago(8), at).filter(bad).count() >= 3
            }
            _ => false,
        }
    }
}
