//! ADH-1: no valid reading for too long. Three steps: the patient, the health manager, a note for the GP.
//!
//! A gap is a matter between two valid readings, whenever they arrived; a late reading inside it undoes what was said.

use crate::{Rule, conclusion::Conclusion, numbers::Numbers};
use std::time::Duration;
use vitals::{ReadingId, Recipient, Severity, Timestamp};

const WEEK_HOURS: f64 = 168.0;

/// How long the silence lasts before each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Steps(pub [Duration; 3]);

impl Steps {
    /// The longer of the card's hours and 2, 4, 8 planned gaps.
    pub(crate) fn of(numbers: &Numbers<'_>) -> Self {
        let gap = WEEK_HOURS / numbers.value("perWeek");
        let step = |name, gaps: f64| {
            let hours = numbers.value(name).max(gaps * gap);
            Duration::try_from_secs_f64(hours * 3600.0).unwrap_or(Duration::MAX)
        };
        Self([step("remind", 2.0), step("call", 4.0), step("inform", 8.0)])
    }

    /// When the step before the one at `at` was due; the silence's begin before the first.
    pub(crate) fn before(&self, since: Timestamp, at: Timestamp) -> Timestamp {
        self.0.iter().map(|d| since.plus(*d)).filter(|t| *t < at).max().unwrap_or(since)
    }

    /// The first step's moment after `done`, when silence began at `since`.
    pub(crate) fn next_after(&self, since: Timestamp, done: Timestamp) -> Option<Timestamp> {
        self.0.iter().map(|d| since.plus(*d)).find(|t| *t > done)
    }
}

/// What holds of the silence that began at `since` (after reading `last`, where there is one) and lasted to `until`.
pub(crate) fn judge(
    steps: &Steps,
    since: Timestamp,
    last: Option<ReadingId>,
    until: Timestamp,
) -> impl Iterator<Item = Conclusion> {
    steps.0.into_iter().enumerate().filter_map(move |(i, lasting)| {
        let effective_at = since.plus(lasting);
        if effective_at > until {
            return None;
        }
        let (step, severity, recipients): (_, _, &'static [Recipient]) = match i {
            0 => ("remind", Severity::Info, &[Recipient::Patient]),
            1 => ("call", Severity::Routine, &[Recipient::HealthManager]),
            _ => ("inform", Severity::Routine, &[Recipient::Gp]),
        };
        let hours = lasting.as_secs_f64() / 3600.0;
        Some(Conclusion {
            rule: Rule::Adh1,
            step,
            severity,
            effective_at,
            recipients,
            closes: false,
            readings: last.into_iter().collect(),
            excluded: Vec::new(),
            numbers: vec![("hours", hours)],
            limit: format!("{hours} h"),
            over: None,
            joined: Vec::new(),
            since,
            note: i == 2,
            cause: None,
        })
    })
}

/// The valid reading that ended a silence of which something was said.
pub(crate) fn resumed(at: Timestamp, reading: ReadingId) -> Conclusion {
    Conclusion {
        rule: Rule::Adh1,
        step: "resumed",
        severity: Severity::Info,
        effective_at: at,
        recipients: &[],
        closes: true,
        readings: vec![reading],
        excluded: Vec::new(),
        numbers: Vec::new(),
        limit: String::new(),
        over: None,
        joined: Vec::new(),
        since: at,
        note: false,
        cause: None,
    }
}
