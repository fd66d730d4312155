//! What the service concluded, as an outsider sees it, and what of it a human must handle.
//!
//! Goes in: findings of one patient (contract: rules). Comes out: alerts. One open alert per patient and concept: a
//! finding while one is open joins it. An alert whose rule clears itself stays open until it clears, a critical one until
//! its patient was seen again; any other is handled within three days. Must never: count what only the patient is told.

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
/// Who had a critical finding is seen again within two weeks (national specification): here after one. Until then the
/// alert rests in follow-up, where only a person ends it (contract: alerts), and what repeats joins it.
pub const SEEN_AGAIN: Duration = Duration::from_secs(7 * 86_400);

/// The alerts of one patient's findings; `findings` ascend by `effective_at`.
pub fn alerts(findings: &[Seen]) -> Vec<Alert> {
    // Of each concept until when it is open, and how urgent it is by now.
    let mut open: BTreeMap<&str, (Option<Timestamp>, Severity)> = BTreeMap::new();
    let mut out = Vec::new();
    for f in findings {
        if f.closes {
            open.remove(f.concept.as_str());
        }
        if !f.is_told() {
            continue;
        }
        let lasting = if f.severity == Severity::Critical { SEEN_AGAIN } else { HANDLED };
        let clearing = CLEARING.contains(&f.rule.as_str());
        let until = if clearing { None } else { Some(f.effective_at.plus(lasting)) };
        let held = open.get(f.concept.as_str()).filter(|(until, _)| until.is_none_or(|until| f.effective_at < until));
        match held {
            // It is worse meanwhile: told again, and the same matter.
            Some((before, severity)) if f.severity > *severity => {
                let later = before.zip(until).map(|(a, b)| a.max(b));
                open.insert(&f.concept, (later, f.severity));
            }
            Some(_) => {}
            None => {
                out.push(Alert { at: f.effective_at, rule: f.rule.clone(), concept: f.concept.clone() });
                open.insert(&f.concept, (until, f.severity));
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
        let crisis = |day| Seen { severity: Severity::Critical, ..seen(day, "BP-C1", "bp_crisis", false) };
        assert_eq!(days(&[crisis(0), crisis(5), crisis(11), crisis(30)]), 3, "the visit is not put off");
        let unanswered = Seen { severity: Severity::Urgent, ..crisis(0) };
        assert_eq!(days(&[unanswered, crisis(2), crisis(8), crisis(9)]), 2, "what became critical waits for its visit");
        let patient = Seen { recipients: vec![Recipient::Patient], ..t1(0) };
        let note = Seen { verdict: Verdict::Note, ..t1(5) };
        assert_eq!(days(&[patient, note, t1(9)]), 1);
    }
}
