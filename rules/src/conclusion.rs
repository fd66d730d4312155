//! From a step that holds to a finding that can be written: evidence, lateness, identity.

use crate::{
    Cause, Rule,
    numbers::{self, Numbers},
};
use serde_json::{Value as Json, json};
use std::time::Duration;
use vitals::{
    Excluded, Finding, FindingDraft, FindingId, PatientId, ReadingId, Recipient, Severity, Timestamp, Verdict, Zone,
};

/// Measured longer ago than this when it is concluded: written down, not told (rules contract).
pub(crate) const HORIZON: Duration = Duration::from_secs(24 * 3600);

/// Something that holds, before it is compared with what was concluded already.
#[derive(Clone, Debug)]
pub(crate) struct Conclusion {
    pub rule: Rule,
    /// How it came about; a word of the evidence.
    pub step: &'static str,
    pub severity: Severity,
    pub effective_at: Timestamp,
    pub recipients: &'static [Recipient],
    pub closes: bool,
    pub readings: Vec<ReadingId>,
    pub excluded: Vec<Excluded>,
    pub numbers: Vec<(&'static str, f64)>,
    /// In words, with the unit.
    pub limit: String,
    /// Which of the readings are over the limit by themselves, where the rule speaks of means; else all are.
    pub over: Option<Vec<ReadingId>>,
    /// Joined while it was held.
    pub joined: Vec<ReadingId>,
    /// Since when the state lasts that it speaks of (absence: the last valid reading).
    pub since: Timestamp,
    /// Only written down, whenever it is concluded.
    pub note: bool,
    /// What most likely lies behind it, where that is asked.
    pub cause: Option<Cause>,
}

/// What the evaluator remembers of a finding that stands.
#[derive(Clone, Debug)]
pub(crate) struct Concluded {
    pub id: FindingId,
    pub rule: Rule,
    pub severity: Severity,
    pub effective_at: Timestamp,
    pub readings: Vec<ReadingId>,
    pub attached: std::collections::HashSet<ReadingId>,
    pub step: Box<str>,
    pub worst: (f64, f64),
    pub since: Timestamp,
    /// Of recent readings that found another patient: nobody was told, so it silences nobody.
    pub muted: bool,
    /// Of the numbers by which it was judged.
    pub mark: u64,
}

impl Concluded {
    /// Whether `c` says the same of the same readings, however late it is said.
    pub(crate) fn is(&self, c: &Conclusion) -> bool {
        self.rule == c.rule
            && self.effective_at == c.effective_at
            && *self.step == *c.step
            && self.readings == c.readings
    }

    /// A step on the way, or an all-clear: silences nothing.
    pub(crate) fn is_info(&self) -> bool {
        matches!(&*self.step, "asked" | "again" | "cleared" | "recovered" | "resumed" | "flagged" | "implausible")
    }

    /// From the store; none for a rule that this program does not know.
    pub(crate) fn load(finding: &Finding, attached: Vec<ReadingId>) -> Option<Self> {
        let draft = &finding.draft;
        let evidence: Json = serde_json::from_str(&draft.evidence).unwrap_or_default();
        let number = |name: &str| evidence["numbers"][name].as_f64().unwrap_or(f64::MIN);
        let numbers = evidence["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let numbers = numbers.iter().map(|p| (p["name"].as_str().unwrap_or_default(), p["value"].as_f64()));
        let mark = numbers::mark(draft.rule_version, numbers);
        let since = evidence["since"].as_str().and_then(|t| Timestamp::parse_rfc3339(t).ok());
        Some(Self {
            id: finding.id,
            rule: Rule::parse(&draft.rule)?,
            // A late finding is told more quietly than it was judged; what it silences follows the judgement.
            severity: evidence["severity"].as_str().and_then(Severity::parse).unwrap_or(draft.severity),
            effective_at: draft.effective_at,
            readings: draft.readings.clone(),
            attached: attached.into_iter().collect(),
            step: evidence["step"].as_str().unwrap_or_default().into(),
            worst: (number("systolic"), number("diastolic")),
            since: since.unwrap_or(draft.effective_at),
            muted: draft.verdict == Verdict::Note && draft.at.since(draft.effective_at) <= HORIZON,
            mark,
        })
    }
}

impl Conclusion {
    /// As it is told at `now`. Older than a day: a note, at most `routine`; only a confirmed crisis or a level-2 low
    /// found late still goes to the health manager as `urgent`.
    pub(crate) fn draft(&self, patient: PatientId, numbers: &Numbers<'_>, zone: &Zone, now: Timestamp) -> FindingDraft {
        let late = now.since(self.effective_at) > HORIZON;
        let grave = matches!(self.rule, Rule::BpC1 | Rule::GluC1) && self.severity == Severity::Critical;
        let (severity, recipients) = match (late, grave) {
            (false, _) => (self.severity, self.recipients),
            (true, true) => (Severity::Urgent, &[Recipient::HealthManager][..]),
            (true, false) => (self.severity.min(Severity::Routine), self.recipients),
        };
        FindingDraft {
            patient,
            rule: self.rule.id().into(),
            rule_version: numbers.version(),
            concept: numbers.card.concept,
            severity,
            verdict: if late || self.note { Verdict::Note } else { Verdict::Page },
            at: now,
            effective_at: self.effective_at,
            recipients: recipients.to_vec(),
            closes: self.closes,
            readings: self.readings.clone(),
            excluded: self.excluded.clone(),
            evidence: self.evidence(numbers, zone).to_string(),
        }
    }

    /// To remember it by.
    pub(crate) fn concluded(&self, id: FindingId, mark: u64) -> Concluded {
        let number = |name: &str| self.numbers.iter().find(|(n, _)| *n == name).map_or(f64::MIN, |(_, v)| *v);
        Concluded {
            id,
            rule: self.rule,
            severity: self.severity,
            effective_at: self.effective_at,
            readings: self.readings.clone(),
            attached: self.joined.iter().copied().collect(),
            step: self.step.into(),
            worst: (number("systolic"), number("diastolic")),
            since: self.since,
            muted: self.note,
            mark,
        }
    }

    fn evidence(&self, numbers: &Numbers<'_>, zone: &Zone) -> Json {
        let card = numbers.card;
        let parameters: Vec<Json> = card
            .parameters
            .iter()
            .map(|p| {
                let (value, from) = numbers.get(&p.name);
                json!({"name": p.name, "value": value, "unit": p.unit.as_str(), "from": from.as_str(),
                    "source": numbers.source(p)})
            })
            .collect();
        let computed: serde_json::Map<String, Json> =
            self.numbers.iter().map(|(n, v)| ((*n).to_owned(), json!((v * 100.0).round() / 100.0))).collect();
        let words = |cause| card.causes.get(&cause);
        let because = self.cause.and_then(words).map(|t| (numbers.fill(&t.zh_cn), format!(" {}", numbers.fill(&t.en))));
        let (because_zh, because) = because.unwrap_or_default();
        let mut evidence = json!({
            "card": card.id, "version": numbers.version(), "step": self.step, "severity": self.severity,
            "title": card.title.en, "titleZh": card.title.zh_cn,
            "text": numbers.fill(&card.text.en) + &because, "textZh": numbers.fill(&card.text.zh_cn) + &because_zh,
            "parameters": parameters, "readings": self.readings, "excluded": self.excluded,
            "numbers": computed, "limit": self.limit, "over": self.over.as_ref().unwrap_or(&self.readings), "since": self.since.to_rfc3339(zone),
            "guideline": card.guideline,
            "clears": numbers.fill(&card.clears.en), "clearsZh": numbers.fill(&card.clears.zh_cn),
        });
        if let Some(cause) = self.cause {
            evidence["cause"] = json!(cause.as_str());
        }
        evidence
    }
}
