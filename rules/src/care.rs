//! Rules on how care goes on: ADH-2 (a trend while doses are missed), DQ-3 (a meter or its handling needs care).

use crate::{
    Point, Rule,
    daily::{Found, Look},
    days, schedule,
    statistics::count,
};
use vitals::{Recipient, Severity};

/// ADH-2: a rising trend was told of this morning, and the patient said that doses were missed.
pub(crate) fn missed(look: &Look<'_>) -> Option<Found> {
    if !look.rising {
        return None;
    }
    let pressures = look.pressures(14, 0).iter().map(|d| f64::from(d.missed));
    let missed: f64 = pressures.chain(look.glucoses(14, 0).iter().map(|d| f64::from(d.missed))).sum();
    (missed >= look.number("missed")).then(|| {
        let mut found = Found::new("missed", Severity::Routine, look.ago(14), |p| p.missed_dose);
        found.recipients = &[Recipient::HealthManager];
        found.numbers = vec![("missedDoses", missed)];
        found.limit = format!(">= {}", look.number("missed"));
        found
    })
}

/// DQ-3: many failed measurements in a week, or a meter that always shows the same. What was measured badly and then well
/// in the same session is done with (the card of DQ-2).
pub(crate) fn quality(look: &Look<'_>) -> Option<Found> {
    let day = |n: i64| look.zone.start_of(schedule::days_after(look.date, -n));
    let (today, yesterday, week) = (day(0), day(1), day(7));
    let of_quality =
        |c: &&crate::conclusion::Concluded| c.rule == Rule::Dq1 || (c.rule == Rule::Dq2 && c.attached.is_empty());
    let within = look.concluded.iter().rev().filter(|c| of_quality(c) && c.effective_at < today);
    let failed: Vec<_> = within.take_while(|c| c.effective_at >= week).collect();
    let fresh = failed.first().is_some_and(|c| c.effective_at >= yesterday);
    let same = days::constant(look.pressures(14, 0));
    let constant = same >= look.number("constant") && !look.pressures(1, 0).is_empty();
    let often = fresh && count(failed.len()) >= look.number("times");
    (often || constant).then(|| {
        let uses: fn(&Point) -> bool = if often { |p| p.badly_measured } else { |p| p.pressure().is_some() };
        let mut found = Found::new("quality", Severity::Routine, look.ago(if often { 7 } else { 14 }), uses);
        found.recipients = &[Recipient::HealthManager];
        found.numbers = vec![("failed", count(failed.len())), ("equalPressures", same)];
        found.limit = format!("{} in 7 days, or {} equal", look.number("times"), look.number("constant"));
        found
    })
}
