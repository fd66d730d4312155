//! BP-S1: the weekly mean at or over the target in two consecutive weeks.
//!
//! A session is readings at most 30 minutes apart; its value is their mean; a week's mean is the mean of its sessions.

use crate::{Point, Rule, cards::Numbers, conclusion::Conclusion};
use std::time::Duration;
use vitals::{ReadingId, Recipient, Severity, Timestamp, Zone};

/// Means are sums of few decimals; a mean "exactly at the target" must not fall below it by rounding.
const ROUNDING: f64 = 1e-6;

/// One week's sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Week {
    pub sessions: usize,
    pub days: usize,
    pub systolic: f64,
    pub diastolic: f64,
    pub readings: Vec<ReadingId>,
}

/// Valid blood pressures of one week, in order, as sessions.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn week(points: &[Point], gap: Duration, zone: &Zone) -> Week {
    let mut week = Week::default();
    let mut last: Option<Timestamp> = None;
    let mut session: Vec<(f64, f64)> = Vec::new();
    let mut days = Vec::new();
    let close = |session: &mut Vec<(f64, f64)>, week: &mut Week| {
        if !session.is_empty() {
            let n = session.len() as f64;
            week.systolic += session.iter().map(|v| v.0).sum::<f64>() / n;
            week.diastolic += session.iter().map(|v| v.1).sum::<f64>() / n;
            week.sessions += 1;
            session.clear();
        }
    };
    for p in points.iter().filter(|p| p.valid) {
        let Some(value) = p.pressure() else { continue };
        if last.is_none_or(|l| p.at.since(l) > gap) {
            close(&mut session, &mut week);
        }
        session.push(value);
        week.readings.push(p.id);
        last = Some(p.at);
        let day = p.at.day(zone);
        if days.last() != Some(&day) {
            days.push(day);
        }
    }
    close(&mut session, &mut week);
    week.days = days.len();
    if week.sessions > 0 {
        week.systolic /= week.sessions as f64;
        week.diastolic /= week.sessions as f64;
    }
    week
}

/// What was concluded before, newest last: when, how urgent, and whether it was an all-clear.
pub(crate) type Before = (Timestamp, Severity, bool);

/// What holds at one Monday's evaluation.
pub(crate) fn judge(
    slot: Timestamp,
    weeks: [Week; 2],
    numbers: &Numbers<'_>,
    planned: f64,
    before: &[Before],
) -> Option<Conclusion> {
    let number = |name: &str| numbers.value(name);
    let (systolic, diastolic) = (number("homeSystolic"), number("homeDiastolic"));
    let enough = |w: &Week| {
        count(w.sessions) + ROUNDING >= planned * number("share") && w.sessions >= 1 && count(w.days) >= number("days")
    };
    if !weeks.iter().all(enough) {
        return None;
    }
    let [first, second] = weeks;
    let at_or_over = |w: &Week, by: (f64, f64)| {
        w.systolic + ROUNDING >= systolic + by.0 || w.diastolic + ROUNDING >= diastolic + by.1
    };
    let hold = Duration::try_from_secs_f64(number("hold") * 86_400.0).unwrap_or_default();
    let raised = before.iter().rev().find(|b| !b.2);
    let numbers_found = vec![
        ("week1Systolic", first.systolic),
        ("week1Diastolic", first.diastolic),
        ("week1Sessions", count(first.sessions)),
        ("week2Systolic", second.systolic),
        ("week2Diastolic", second.diastolic),
        ("week2Sessions", count(second.sessions)),
        ("planned", planned),
    ];
    let told = |step, severity, recipients, closes| Conclusion {
        rule: Rule::BpS1,
        step,
        severity,
        effective_at: slot,
        recipients,
        closes,
        readings: first.readings.iter().chain(&second.readings).copied().collect(),
        excluded: Vec::new(),
        numbers: numbers_found.clone(),
        limit: format!(">= {systolic}/{diastolic} mmHg"),
        joined: Vec::new(),
        since: slot,
        note: false,
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

#[allow(clippy::cast_precision_loss)]
fn count(n: usize) -> f64 {
    n as f64
}
