//! What a finding, its retraction or three good readings do to an episode.

use super::{Case, Context, Effect, Memo, event};
use serde::Deserialize;
use std::collections::HashSet;
use store::{AlertState, Episode};
use vitals::{AlertId, Concept, Finding, ReadingId, Recipient, Severity, TeamId, Verdict};

/// Which readings are over the limit by themselves, where the finding says so; else all are.
fn over(evidence: &str) -> Option<Vec<ReadingId>> {
    #[derive(Deserialize)]
    struct Said {
        over: Vec<ReadingId>,
    }
    serde_json::from_str::<Said>(evidence).ok().map(|said| said.over)
}

/// How a finding counts here, and whether it was found late. What was measured more than 24 h ago is for the digest;
/// only a confirmed crisis or level-2 low found late is told, as an ordinary urgent, in opening hours.
fn weigh(finding: &Finding) -> (Severity, bool) {
    let draft = &finding.draft;
    match (draft.verdict, draft.concept) {
        (Verdict::Page, _) => (draft.severity, false),
        (Verdict::Note, Concept::GlucoseLowSevere) => (draft.severity.min(Severity::Urgent), true),
        (Verdict::Note, Concept::BpCrisis) if draft.readings.len() > 1 => (draft.severity.min(Severity::Urgent), true),
        (Verdict::Note, _) => (draft.severity.min(Severity::Routine), true),
    }
}

fn staff(finding: &Finding, late: bool) -> Vec<Recipient> {
    if late {
        return vec![Recipient::HealthManager];
    }
    finding.draft.recipients.iter().copied().filter(|r| *r != Recipient::Patient).collect()
}

impl Case {
    /// A new episode, or none where the finding asks nothing of staff. Call [`Case::raised`] next to begin it.
    pub(crate) fn open(
        id: AlertId,
        finding: &Finding,
        team: Option<TeamId>,
        chain: Vec<Vec<String>>,
        previous: Option<AlertId>,
    ) -> Option<Self> {
        let draft = &finding.draft;
        let (severity, _) = weigh(finding);
        if severity == Severity::Info || draft.closes || finding.retracted_at.is_some() {
            return None;
        }
        let episode = Episode {
            id,
            patient: draft.patient,
            team,
            concept: draft.concept,
            severity: Severity::Info,
            acked_severity: None,
            state: AlertState::Open,
            rule: draft.rule.clone(),
            raised_at: finding.decided_at,
            level: 0,
            cycle: 1,
            next_at: None,
            count: 0,
            owner: None,
            exhausted: false,
            snoozed_until: None,
            held_until: None,
            inhibited_by: None,
            previous,
            readings: Vec::new(),
            findings: Vec::new(),
            evidence: String::new(),
            chain,
            book: String::new(),
            version: 0,
        };
        Some(Self { episode, memo: Memo::default() })
    }

    /// A finding of this key: attached, and told where it is worse than what is known.
    pub(crate) fn raised(&mut self, finding: &Finding, ctx: &Context<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        let draft = &finding.draft;
        let (severity, late) = weigh(finding);
        let fresh = self.episode.findings.is_empty();
        let again = severity == Severity::Critical && self.is_another(finding);
        if draft.closes {
            out.push(event("attached", None, format!("{}: cleared", draft.rule)));
            // What came in late may say that something was over before that became true which is true now.
            if !self.critical() && draft.effective_at >= self.memo.since {
                out.push(event("auto_resolved", None, format!("{}: cleared", draft.rule)));
                self.close(AlertState::AutoResolved, None, &mut out);
            }
            return out;
        }
        self.attach_readings(&draft.readings, over(&draft.evidence).as_deref());
        if !self.episode.findings.contains(&finding.id) {
            self.episode.findings.push(finding.id);
        }
        if severity > Severity::Info {
            if !self.memo.standing.contains(&finding.id) {
                self.memo.standing.push(finding.id);
            }
            self.memo.since = self.memo.since.max(draft.effective_at);
        }
        if severity == Severity::Critical {
            self.memo.critical_at = self.memo.critical_at.max(draft.effective_at);
        }
        if severity <= self.episode.severity && !again {
            out.push(event("attached", None, &*draft.rule));
            if severity == self.episode.severity && !late {
                self.name(staff(finding, late));
                self.begin_fresh(finding, ctx, &mut out);
            }
            return out;
        }
        let acknowledged = !self.episode.state.is_unacknowledged();
        out.push(match (fresh, again) {
            (true, _) => event("raised", None, format!("{} {}", draft.rule, severity.as_str())),
            (_, true) => {
                let word = if acknowledged { "unacknowledged" } else { "woken" };
                event(word, None, format!("{} {} once more", draft.rule, severity.as_str()))
            }
            _ => event("severity_raised", None, format!("{} to {}", self.episode.severity.as_str(), severity.as_str())),
        });
        self.episode.severity = severity;
        self.episode.rule = draft.rule.clone();
        self.episode.evidence = draft.evidence.clone();
        self.episode.snoozed_until = None;
        self.memo.decided_at = finding.decided_at;
        self.memo.late = late;
        self.memo.to.clear();
        self.name(staff(finding, late));
        if acknowledged || again {
            self.next_cycle();
        }
        if !fresh {
            out.push(Effect::Withdraw);
        }
        self.begin(ctx, &mut out);
        out
    }

    /// What came late waits for the station to open; what is as bad and is of now waits for the night only.
    fn begin_fresh(&mut self, finding: &Finding, ctx: &Context<'_>, out: &mut Vec<Effect>) {
        if self.memo.late && self.episode.held_until.is_some() {
            self.memo.late = false;
            self.memo.decided_at = finding.decided_at;
            self.episode.rule = finding.draft.rule.clone();
            self.episode.evidence = finding.draft.evidence.clone();
            self.begin(ctx, out);
        }
    }

    /// A critical beside the one that somebody has in hand or put to sleep: nobody has answered this one. The rules
    /// hold back what is no worse, so it is worse or comes after the hold.
    fn is_another(&self, finding: &Finding) -> bool {
        let (episode, draft) = (&self.episode, &finding.draft);
        let answered = !episode.state.is_unacknowledged() || episode.snoozed_until.is_some();
        if episode.severity < Severity::Critical || !answered || finding.retracted_at.is_some() {
            return false;
        }
        // When readings come in another order, the same crisis is concluded anew: of readings that are known, or of some
        // of them and no later.
        let known = |reading: &ReadingId| episode.readings.contains(reading);
        let no_later = draft.effective_at <= self.memo.critical_at;
        !(draft.readings.iter().all(known) || no_later && draft.readings.iter().any(known))
    }

    fn name(&mut self, staff: Vec<Recipient>) {
        for recipient in staff {
            if !self.memo.to.contains(&recipient) {
                self.memo.to.push(recipient);
            }
        }
    }

    /// Adds readings; of those that are new, each that is over the limit counts once. `over`: which are; none says all.
    fn attach_readings(&mut self, readings: &[ReadingId], over: Option<&[ReadingId]>) {
        let known: HashSet<ReadingId> = self.episode.readings.iter().copied().collect();
        for reading in readings.iter().filter(|r| !known.contains(r)) {
            self.episode.readings.push(*reading);
            let counts = over.is_none_or(|over| over.contains(reading));
            self.episode.count = self.episode.count.saturating_add(u32::from(counts));
        }
    }

    /// More readings joined a finding of this episode; nobody is told.
    pub(crate) fn joined(&mut self, readings: &[ReadingId]) -> Vec<Effect> {
        self.attach_readings(readings, None);
        vec![event("attached", None, format!("{} more", readings.len()))]
    }

    /// A finding no longer holds. A critical stays: only a person ends it.
    pub(crate) fn retracted(&mut self, finding: &Finding) -> Vec<Effect> {
        if !self.episode.findings.contains(&finding.id) {
            return Vec::new();
        }
        let stood = self.memo.standing.len();
        self.memo.standing.retain(|id| *id != finding.id);
        let mut out = vec![event("retracted", None, &*finding.draft.rule)];
        if self.memo.standing.is_empty() && stood > 0 && !self.critical() {
            out.push(event("auto_resolved", None, "its finding was retracted"));
            self.close(AlertState::AutoResolved, None, &mut out);
        }
        out
    }

    /// Enough consecutive readings came out in range. Never ends a critical.
    pub(crate) fn back_in_range(&mut self) -> Vec<Effect> {
        let mut out = Vec::new();
        if !self.critical() && self.episode.state.is_active() {
            out.push(event("auto_resolved", None, "back in range"));
            self.close(AlertState::AutoResolved, None, &mut out);
        }
        out
    }
}
