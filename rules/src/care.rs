//! Rules on how care goes on: ADH-2 (a trend while doses are missed), DQ-3 (a meter or its handling needs care).

use crate::{
    Point, Rule,
    daily::{Found, Look},
    days::{self, FaultDay},
    schedule,
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

/// DQ-3: many failed measurements in a week, a meter that always shows the same, a clock that is wrong, a low battery, or
/// somebody else who measures too. What was measured badly and then well in the same session is done with (the card of
/// DQ-2). A state that goes on (all but the failed measurements) is not told again for weeks: who must mend it knows.
pub(crate) fn quality(look: &Look<'_>) -> Option<Found> {
    let day = |n: i64| look.zone.start_of(schedule::days_after(look.date, -n));
    let (today, yesterday, week) = (day(0), day(1), day(7));
    let of_quality =
        |c: &&crate::conclusion::Concluded| c.rule == Rule::Dq1 || (c.rule == Rule::Dq2 && c.attached.is_empty());
    let within = look.concluded.iter().rev().filter(|c| of_quality(c) && c.effective_at < today);
    let failed: Vec<_> = within.take_while(|c| c.effective_at >= week).collect();
    let fresh = failed.first().is_some_and(|c| c.effective_at >= yesterday);
    let new_pressure = !look.pressures(1, 0).is_empty();
    let same = days::constant(look.pressures(14, 0));
    let faults = look.days.faults(look.ago(7), look.date);
    let sum = |of: fn(&FaultDay) -> u8| faults.iter().map(|d| f64::from(of(d))).sum::<f64>();
    let (clock, battery) = (sum(|d| d.clock), sum(|d| d.battery));
    let new_fault = faults.last().is_some_and(|d| d.date >= look.ago(1));
    let buttons = look.pressures(7, 0).iter().fold(0, |all, d| all | d.buttons).count_ones();
    let at_least = |n: f64, name| n >= look.number(name);
    let (step, from, uses): (_, _, fn(&Point) -> bool) = match () {
        () if fresh && at_least(count(failed.len()), "times") => ("quality", 7, |p| p.badly_measured),
        () if new_pressure && at_least(same, "constant") => ("constant", 14, |p| p.pressure().is_some()),
        () if new_fault && at_least(clock, "clock") => ("clock", 7, |p| p.clock_off > 0),
        () if new_fault && at_least(battery, "battery") => ("battery", 7, |p| p.low_battery),
        () if new_pressure && at_least(f64::from(buttons), "users") => ("second_user", 7, |p| p.button.is_some()),
        () => return None,
    };
    let mut found = Found::new(step, Severity::Routine, look.ago(from), uses);
    found.recipients = &[Recipient::HealthManager];
    found.numbers = vec![
        ("failed", count(failed.len())),
        ("equalPressures", same),
        ("clockWrong", clock),
        ("batteryLow", battery),
        ("userButtons", f64::from(buttons)),
    ];
    found.rests = (step != "quality").then(|| look.number("persists"));
    found.limit = format!("{} in 7 days, or {} equal", look.number("times"), look.number("constant"));
    Some(found)
}
