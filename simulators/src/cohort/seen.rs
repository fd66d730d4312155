//! What the service concluded, as an outsider sees it, and what of it a human must handle.
//!
//! Goes in: findings of one patient (contract: rules). Comes out: alerts. One open alert per patient and concept: a
//! finding while one is open joins it. An alert whose rule clears itself stays open until it clears; any other is
//! handled within three days. Must never: count what only the patient is told.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use vitals::{Recipient, Severity, Timestamp, Verdict};

/// A finding that stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// When it became true.
    pub effective_at: Timestamp,
    /// Which rule.
    #[serde(rename = "ruleId")]
    pub rule: String,
    /// What it is about.
    pub concept: String,
    /// How urgent.
    pub severity: Severity,
    /// Told, or only written down.
    pub verdict: Verdict,
    /// To whom.
    pub recipients: Vec<Recipient>,
    /// It is an all-clear.
    pub closes: bool,
}

impl Seen {
    /// Somebody of the team is told.
    pub fn is_told(&self) -> bool {
        let clinician = self.recipients.iter().any(|r| *r != Recipient::Patient);
        clinician && !self.closes && self.severity > Severity::Info && self.verdict == Verdict::Page
    }
}

/// What a human must handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// When its first finding became true.
    pub at: Timestamp,
    /// The rule of that finding.
    pub rule: String,
    /// What it is about.
    pub concept: String,
}

/// Rules whose alerts clear themselves (clinical reference, section 6).
const CLEARING: [&str; 3] = ["BP-S1", "GLU-S1", "ADH-1"];
/// In which a team has handled anything else: a routine's three working days.
const HANDLED: Duration = Duration::from_secs(3 * 86_400);

/// The alerts of one patient's findings; `findings` ascend by `effective_at`.
pub fn alerts(findings: &[Seen]) -> Vec<Alert> {
    let mut open: BTreeMap<&str, Option<Timestamp>> = BTreeMap::new();
    let mut out = Vec::new();
    for f in findings {
        let held =
            open.get(f.concept.as_str()).copied().filter(|until| until.is_none_or(|until| f.effective_at < until));
        if f.closes {
            open.remove(f.concept.as_str());
        } else if f.is_told() {
            let clearing = CLEARING.contains(&f.rule.as_str());
            let until = if clearing { None } else { Some(f.effective_at.plus(HANDLED)) };
            if held.is_none() {
                out.push(Alert { at: f.effective_at, rule: f.rule.clone(), concept: f.concept.clone() });
                open.insert(&f.concept, until);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(day: u64, rule: &str, concept: &str, closes: bool) -> Seen {
        Seen {
            effective_at: Timestamp::from_seconds(1_700_000_000).plus(Duration::from_secs(day * 86_400)),
            rule: rule.into(),
            concept: concept.into(),
            severity: if closes { Severity::Info } else { Severity::Routine },
            verdict: Verdict::Page,
            recipients: vec![Recipient::Gp],
            closes,
        }
    }

    #[test]
    fn an_open_alert_takes_in_its_repeats_and_a_cleared_one_does_not() {
        let s1 = |day, closes| seen(day, "BP-S1", "bp_sustained", closes);
        let t1 = |day| seen(day, "BP-T1", "bp_trend_up", false);
        let days = |findings: &[Seen]| alerts(findings).len();
        assert_eq!(days(&[s1(0, false), s1(28, false), s1(56, false)]), 1);
        assert_eq!(days(&[s1(0, false), s1(14, true), s1(56, false)]), 2);
        assert_eq!(days(&[t1(0), t1(1), t1(28)]), 2);
        let patient = Seen { recipients: vec![Recipient::Patient], ..t1(0) };
        let note = Seen { verdict: Verdict::Note, ..t1(5) };
        assert_eq!(days(&[patient, note, t1(9)]), 1);
    }
}
