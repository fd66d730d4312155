//! DQ-1: a value that could not be believed was held aside. DQ-2: a pressure was measured badly and should be repeated.

use crate::{Point, Rule, conclusion::Conclusion};
use std::time::Duration;
use vitals::{Excluded, Held, Kind, Reason, Recipient, Severity};

fn base(rule: Rule, step: &'static str, at: vitals::Timestamp, excluded: Excluded) -> Conclusion {
    Conclusion {
        rule,
        step,
        severity: Severity::Info,
        effective_at: at,
        recipients: &[],
        closes: false,
        readings: Vec::new(),
        excluded: vec![excluded],
        numbers: Vec::new(),
        limit: String::new(),
        joined: Vec::new(),
        since: at,
        note: false,
    }
}

/// DQ-1 of a held entry; none where something else was wrong with it (its time, its form).
pub(crate) fn held(held: &Held) -> Option<Conclusion> {
    let failed = |r: &&Reason| matches!(r, Reason::Implausible | Reason::NoValue | Reason::Status(_));
    let reason = held.reasons.iter().find(failed)?;
    let at = held.measured_at.unwrap_or(held.received_at);
    let excluded = Excluded { reading_id: held.id, reason: reason.as_str().to_owned() };
    Some(base(Rule::Dq1, "implausible", at, excluded))
}

/// DQ-2 of each session in `points` (all blood pressures of some days, in order): its first badly measured reading.
pub(crate) fn sessions(points: &[Point], gap: Duration) -> Vec<Conclusion> {
    let mut out = Vec::new();
    let mut last = None;
    let mut said = false;
    for p in points.iter().filter(|p| p.kind() == Kind::BloodPressure) {
        if last.is_none_or(|l| p.at.since(l) > gap) {
            said = false;
        }
        last = Some(p.at);
        if p.badly_measured && !said {
            said = true;
            let reason = p.reason.unwrap_or("flagged").to_owned();
            let mut c = base(Rule::Dq2, "flagged", p.at, Excluded { reading_id: p.id, reason });
            c.recipients = &[Recipient::Patient];
            c.readings = vec![p.id];
            out.push(c);
        }
    }
    out
}
