//! BP-S1: the weekly mean at or over the target in two consecutive weeks.
//!
//! A session is readings at most 30 minutes apart; its value is their mean; a week's mean is the mean of its sessions.
//! Who is to measure about twice a week and missed too much of one of the two weeks is judged by two times four weeks.

use crate::{
    Error, Point, Rule,
    conclusion::Conclusion,
    daily::Over,
    days::PressureDay,
    numbers::Numbers,
    person::{HOLD, Person, Scene, World},
    schedule,
    statistics::count,
};
use std::time::Duration;
use vitals::{Recipient, Severity, Timestamp};

/// Means are sums of few decimals kept with seven digits; a mean "exactly at the target" must not fall below it.
const ROUNDING: f64 = 1e-4;

/// The sessions of one week, or of four.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Week {
    /// Sessions that began in it.
    pub sessions: f64,
    pub days: usize,
    pub systolic: f64,
    pub diastolic: f64,
}

impl Week {
    /// Of its days.
    pub(crate) fn of(days: &[PressureDay]) -> Self {
        let parts: f64 = days.iter().map(|d| f64::from(d.sessions)).sum();
        let mean = |of: fn(&PressureDay) -> f32| {
            days.iter().map(|d| f64::from(of(d)) * f64::from(d.sessions)).sum::<f64>() / parts
        };
        Self {
            sessions: days.iter().map(PressureDay::begun).sum(),
            days: days.len(),
            systolic: mean(|d| d.systolic),
            diastolic: mean(|d| d.diastolic),
        }
    }
}

/// What was concluded before, newest last: when, how urgent, and whether it was an all-clear.
pub(crate) type Before = (Timestamp, Severity, bool);

/// Two stretches one after the other, and how many sessions each should have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    each: [Week; 2],
    planned: f64,
    /// Of one stretch.
    weeks: f64,
}

impl Spans {
    fn are_enough(&self, numbers: &Numbers<'_>) -> bool {
        self.each.iter().all(|w| {
            w.sessions + ROUNDING >= self.planned * numbers.value("share")
                && w.sessions >= 1.0
                && count(w.days) >= numbers.value("days")
        })
    }

    /// Two weeks where they tell enough, else two times four weeks for who is to measure seldom. `week`: from so many
    /// weeks ago until so many.
    fn of(numbers: &Numbers<'_>, planned: f64, week: impl Fn(i64, i64) -> Week) -> Option<Self> {
        let weeks = Self { each: [week(2, 1), week(1, 0)], planned, weeks: 1.0 };
        if weeks.are_enough(numbers) {
            return Some(weeks);
        }
        // Without anything new nothing new is said.
        if planned > numbers.value("seldom") || weeks.each[1].days == 0 {
            return None;
        }
        let months = Self { each: [week(8, 4), week(4, 0)], planned: planned * 4.0, weeks: 4.0 };
        months.are_enough(numbers).then_some(months)
    }
}

/// What holds at one Monday's evaluation.
pub(crate) fn judge(slot: Timestamp, spans: &Spans, numbers: &Numbers<'_>, before: &[Before]) -> Option<Conclusion> {
    let number = |name: &str| numbers.value(name);
    let (systolic, diastolic) = (number("homeSystolic"), number("homeDiastolic"));
    let [first, second] = spans.each;
    let at_or_over = |w: &Week, by: (f64, f64)| {
        w.systolic + ROUNDING >= systolic + by.0 || w.diastolic + ROUNDING >= diastolic + by.1
    };
    let hold = Duration::try_from_secs_f64(number("hold") * 86_400.0).unwrap_or_default();
    let raised = before.iter().rev().find(|b| !b.2);
    let numbers_found = vec![
        ("week1Systolic", first.systolic),
        ("week1Diastolic", first.diastolic),
        ("week1Sessions", first.sessions),
        ("week2Systolic", second.systolic),
        ("week2Diastolic", second.diastolic),
        ("week2Sessions", second.sessions),
        ("planned", spans.planned),
        ("weeksEach", spans.weeks),
    ];
    let told = |step, severity, recipients, closes| Conclusion {
        rule: Rule::BpS1,
        step,
        severity,
        effective_at: slot,
        recipients,
        closes,
        readings: Vec::new(),
        excluded: Vec::new(),
        numbers: numbers_found.clone(),
        limit: format!(">= {systolic}/{diastolic} mmHg"),
        over: None,
        joined: Vec::new(),
        since: slot,
        note: false,
        cause: None,
    };
    if at_or_over(&first, (0.0, 0.0)) && at_or_over(&second, (0.0, 0.0)) {
        let far = at_or_over(&second, (number("urgentSystolic"), number("urgentDiastolic")));
        let severity = if far { Severity::Urgent } else { Severity::Routine };
        let silenced = raised.is_some_and(|(at, held, _)| slot < at.plus(hold) && *held >= severity);
        return (!silenced).then(|| told("sustained", severity, &[Recipient::Gp], false));
    }
    let margin = number("margin");
    let below = |w: &Week| w.systolic < systolic - margin && w.diastolic < diastolic - margin;
    let open = before.last().is_some_and(|b| !b.2);
    (open && below(&first) && below(&second)).then(|| told("cleared", Severity::Info, &[], true))
}

impl Person {
    /// Judges one Monday's evaluation, as the schedule asks.
    pub(crate) fn weekly<W: World>(&mut self, scene: &mut Scene<'_, W>, slot: Timestamp) -> Result<(), Error> {
        if self.last_valid.is_none_or(|(at, _)| at < schedule::weeks(slot, &self.zone)[1]) {
            return Ok(());
        }
        self.judge_weeks(scene, slot, slot)
    }

    /// Judges every Monday evaluation from `first` to `last` anew.
    pub(crate) fn judge_weeks<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        first: Timestamp,
        last: Timestamp,
    ) -> Result<(), Error> {
        let first = schedule::weekly_from(first, &self.zone);
        if first > last {
            return Ok(());
        }
        self.remember(scene, first.minus(HOLD))?;
        self.know_days(scene.world, first, last)?;
        let patient = self.patient.clone();
        let Some(numbers) = scene.cards.numbers(Rule::BpS1, &patient) else { return Ok(()) };
        if self.limits.pregnant {
            return Ok(());
        }
        let zone = self.zone.clone();
        // No plan means 2 sessions a week (rules contract).
        let planned = patient.plan.measuring.blood_pressure_per_week.filter(|n| *n > 0.0).unwrap_or(2.0);
        let mut before: Vec<Before> = self
            .concluded
            .iter()
            .filter(|c| c.rule == Rule::BpS1 && c.effective_at < first)
            .map(|c| (c.effective_at, c.severity, c.is_info()))
            .collect();
        let is_pressure: fn(&Point) -> bool = |p| p.pressure().is_some();
        let mut expected = Vec::new();
        let mut slot = first;
        let kept = self.kept(scene.world, &numbers, (Rule::BpS1, first, last))?;
        while slot <= last {
            self.look(1);
            if let Some(old) = kept.iter().find(|c| c.effective_at == slot) {
                before.push((slot, old.severity, old.is_info()));
                slot = schedule::week_after(slot, &zone);
                continue;
            }
            let end = slot.day(&zone);
            let ago = |weeks: i64| schedule::days_after(end, -7 * weeks);
            let week = |from, to| Week::of(self.days.pressures(ago(from), ago(to)));
            let spans = Spans::of(&numbers, planned, week);
            let told = spans.as_ref().and_then(|spans| judge(slot, spans, &numbers, &before).map(|c| (spans, c)));
            if let Some((spans, mut found)) = told {
                before.push((slot, found.severity, found.step == "cleared"));
                let over = Over::Pressure(numbers.value("homeSystolic"), numbers.value("homeDiastolic"));
                let stretch = if spans.weeks > 1.0 { 8 } else { 2 };
                let stretch = (zone.start_of(ago(stretch)), zone.start_of(end));
                let evidence = self.evidence(scene.world, stretch, is_pressure, Some(over))?;
                (found.readings, found.excluded, found.over) = (evidence.readings, evidence.excluded, evidence.over);
                expected.push(found);
            }
            slot = schedule::week_after(slot, &zone);
        }
        self.settle(scene, Rule::BpS1, (first, last), &expected, |c| !kept.iter().any(|k| k.id == c.id));
        Ok(())
    }
}
