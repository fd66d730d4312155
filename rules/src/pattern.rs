//! GLU-H1: a pattern of low glucose. Judged with each low reading, for it cannot wait until the morning.

use crate::{Point, Rule, cards::Numbers, conclusion::Conclusion, statistics::count};
use std::time::Duration;
use vitals::{Recipient, Severity, Timestamp, Zone};

/// How far back a low counts, and how long a conclusion silences.
pub(crate) fn spans(numbers: &Numbers<'_>) -> (Duration, Duration) {
    let days = |name| Duration::try_from_secs_f64(numbers.value(name) * 86_400.0).unwrap_or_default();
    (days("window"), days("hold"))
}

/// What holds of the lows measured from `from` on. `points`: from `window` before it. `held`: the newest conclusion before.
pub(crate) fn judge(
    points: &[Point],
    numbers: &Numbers<'_>,
    from: Timestamp,
    held: Option<Timestamp>,
    insulin: impl Fn(Timestamp) -> bool,
    zone: &Zone,
) -> Vec<Conclusion> {
    let (limit, severe) = (numbers.value("limit"), numbers.value("severe"));
    let (window, hold) = spans(numbers);
    let glucose = |p: &Point| p.glucose().unwrap_or(f64::NAN);
    let lows: Vec<&Point> = points.iter().filter(|p| p.valid && glucose(p) < limit).collect();
    let mut held = held;
    let mut out = Vec::new();
    for (i, low) in lows.iter().enumerate().filter(|(_, p)| p.at >= from) {
        if held.is_some_and(|at| low.at < at.plus(hold)) {
            continue;
        }
        // Whole days on the patient's wall: the last of them is the low's own.
        let first = lows[..=i].partition_point(|p| p.at.plus(window) <= low.at);
        let within = &lows[first..=i];
        let mut days: Vec<_> = within.iter().map(|p| p.at.day(zone)).collect();
        days.dedup();
        let twice = within.iter().filter(|p| glucose(p) < severe).count();
        let midnight = zone.start_of(low.at.day(zone));
        let night = low.at.since(midnight).as_secs_f64() < numbers.value("night") * 3600.0;
        let step = match () {
            () if count(days.len()) >= numbers.value("days") => "days",
            () if twice >= 2 && glucose(low) < severe => "severe",
            () if night => "night",
            () => continue,
        };
        let recipients: &[Recipient] = if insulin(low.at) {
            &[Recipient::Gp, Recipient::HealthManager, Recipient::Specialist]
        } else {
            &[Recipient::Gp, Recipient::HealthManager]
        };
        held = Some(low.at);
        out.push(Conclusion {
            rule: Rule::GluH1,
            step,
            severity: Severity::Urgent,
            effective_at: low.at,
            recipients,
            closes: false,
            readings: within.iter().map(|p| p.id).collect(),
            excluded: Vec::new(),
            numbers: vec![("days", count(days.len())), ("lows", count(within.len())), ("severe", count(twice))],
            limit: format!("< {limit} mmol/L"),
            joined: Vec::new(),
            since: within[0].at,
            note: false,
        });
    }
    out
}
