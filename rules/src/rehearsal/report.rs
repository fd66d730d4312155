//! What would have fired against what did: counts, patients, weeks, examples. Pure.

use super::Rehearsal;
use crate::{Rule, Text};
use jiff::{ToSpan, civil::Date};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use vitals::{Finding, PatientId, Recipient, Severity, Timestamp, Verdict, Zone, days_after};

/// Days in a patient-month.
const MONTH: f64 = 30.4375;

/// One patient's two histories.
pub(super) struct Outcome {
    pub(super) patient: PatientId,
    pub(super) did: Vec<Finding>,
    pub(super) would: Vec<Finding>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Patients asked for.
    pub in_scope: usize,
    /// Patients judged.
    pub judged: usize,
    /// Whether these are all.
    pub complete: bool,
}

/// What came of one set of cards.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Conclusions that stand at the end, of any severity.
    pub findings: usize,
    /// Those of them that were told to somebody who treats: not written down only, more than `info`.
    pub told: usize,
    /// Patients of whom something was told.
    pub patients: usize,
    /// Told in a week, on average.
    pub per_week: f64,
    /// Told of a patient in a month, on average over everybody judged.
    pub per_patient_month: f64,
    /// Told, by severity.
    pub critical: usize,
    /// As above.
    pub urgent: usize,
    /// As above.
    pub routine: usize,
    /// Concluded and taken back within the stretch.
    pub retracted: usize,
}

/// One rule's two columns.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleRow {
    /// Which.
    pub rule_id: String,
    /// Whether it is on trial.
    pub proposed: bool,
    /// As it was.
    pub did: Counts,
    /// As it would have been.
    pub would: Counts,
    /// Conclusions in both, of the same severity.
    pub same: usize,
    /// In both, of another severity.
    pub changed: usize,
    /// Only as it would have been.
    pub new: usize,
    /// Only as it was.
    pub gone: usize,
}

/// Told of the rules on trial in one week.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeekRow {
    /// Its Monday.
    pub week: String,
    /// As it was.
    pub did: usize,
    /// As it would have been.
    pub would: usize,
}

/// One difference.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// `new gone changed`.
    pub change: &'static str,
    /// Which rule.
    pub rule_id: String,
    /// Of whom.
    pub patient_id: PatientId,
    /// When it became true.
    pub effective_at: String,
    /// How urgent it was; none where it was not.
    pub did: Option<Severity>,
    /// How urgent it would have been.
    pub would: Option<Severity>,
    /// Numbers and limit, as the finding's evidence has them.
    pub evidence: serde_json::Value,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// First moment.
    pub from: String,
    /// First moment no longer.
    pub to: String,
    /// On whom.
    pub patients: Judged,
    /// Rules with any conclusion, and those on trial.
    pub rules: Vec<RuleRow>,
    /// Every week of the stretch.
    pub weeks: Vec<WeekRow>,
    /// Some of the differences.
    pub examples: Vec<Example>,
    /// The answer in a sentence.
    pub says: Text,
    /// What the comparison takes as it is today, because the past of it is not kept.
    pub caveats: &'static [&'static str],
}

#[derive(Default)]
struct Column {
    counts: Counts,
    patients: BTreeSet<PatientId>,
}

impl Column {
    fn add(&mut self, f: &Finding, to: Timestamp) {
        if f.retracted_at.is_some_and(|at| at < to) {
            self.counts.retracted += 1;
            return;
        }
        self.counts.findings += 1;
        if is_told(f) {
            self.patients.insert(f.draft.patient);
            self.counts.told += 1;
            match f.draft.severity {
                Severity::Critical => self.counts.critical += 1,
                Severity::Urgent => self.counts.urgent += 1,
                _ => self.counts.routine += 1,
            }
        }
    }

    fn counts(&self, weeks: f64, months: f64) -> Counts {
        let per = |of: f64| if of > 0.0 { round(count(self.counts.told) / of) } else { 0.0 };
        let patients = self.patients.len();
        Counts { patients, per_week: per(weeks), per_patient_month: per(months), ..self.counts.clone() }
    }
}

fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::from(u32::MAX), f64::from)
}

/// Told to somebody who treats.
fn is_told(f: &Finding) -> bool {
    let d = &f.draft;
    d.verdict == Verdict::Page && d.severity > Severity::Info && d.recipients.iter().any(|r| *r != Recipient::Patient)
}

#[derive(Default)]
struct Row {
    did: Column,
    would: Column,
    same: usize,
    changed: usize,
    new: usize,
    gone: usize,
}

/// Gathers one patient after the other.
pub(super) struct Tally<'a> {
    asked: &'a Rehearsal,
    zone: Zone,
    rows: BTreeMap<String, Row>,
    weeks: BTreeMap<Date, [usize; 2]>,
    examples: BTreeMap<&'static str, Vec<Example>>,
    days: f64,
    total: [(usize, BTreeSet<PatientId>); 2],
}

impl<'a> Tally<'a> {
    pub(super) fn new(asked: &'a Rehearsal, zone: Zone) -> Self {
        let mut weeks = BTreeMap::new();
        let (mut week, end) = (monday(asked.from, &zone), asked.to);
        while zone.start_of(week) < end {
            weeks.insert(week, [0, 0]);
            let Ok(next) = week.checked_add(7.days()) else { break };
            week = next;
        }
        let rows = asked.proposed.iter().map(|r| (r.id().to_owned(), Row::default())).collect();
        Self { asked, zone, rows, weeks, examples: BTreeMap::new(), days: 0.0, total: Default::default() }
    }

    pub(super) fn add(&mut self, outcome: &Outcome) {
        let to = self.asked.to;
        let lived = self.asked.patients.iter().find(|p| p.id == outcome.patient).map(|p| p.enrolled_at);
        self.days += to.since(lived.map_or(self.asked.from, |at| at.max(self.asked.from))).as_secs_f64() / 86_400.0;
        for (side, findings) in [&outcome.did, &outcome.would].into_iter().enumerate() {
            for f in findings {
                let row = self.rows.entry(f.draft.rule.to_string()).or_default();
                let column = if side == 0 { &mut row.did } else { &mut row.would };
                column.add(f, to);
                let proposed = self.asked.proposed.iter().any(|r| r.id() == &*f.draft.rule);
                if proposed && is_told(f) && f.retracted_at.is_none_or(|at| at >= to) {
                    self.weeks.entry(monday(f.draft.at, &self.zone)).or_default()[side] += 1;
                    self.total[side].0 += 1;
                    self.total[side].1.insert(outcome.patient);
                }
            }
        }
        self.compare(outcome);
    }

    fn compare(&mut self, outcome: &Outcome) {
        let to = self.asked.to;
        let standing = |all: &'_ [Finding]| -> Vec<Finding> {
            all.iter().filter(|f| f.retracted_at.is_none_or(|at| at >= to)).cloned().collect()
        };
        let mut gone = standing(&outcome.did);
        for f in standing(&outcome.would) {
            let row = self.rows.entry(f.draft.rule.to_string()).or_default();
            if let Some(i) = gone.iter().position(|g| g.id == f.id) {
                gone.swap_remove(i);
                row.same += 1;
                continue;
            }
            let alike = |g: &Finding| g.draft.rule == f.draft.rule && g.draft.effective_at == f.draft.effective_at;
            match gone.iter().position(alike).map(|i| gone.swap_remove(i)) {
                Some(was) => {
                    row.changed += 1;
                    self.example("changed", Some(&was), Some(&f));
                }
                None => {
                    row.new += 1;
                    self.example("new", None, Some(&f));
                }
            }
        }
        for f in gone {
            self.rows.entry(f.draft.rule.to_string()).or_default().gone += 1;
            self.example("gone", Some(&f), None);
        }
    }

    fn example(&mut self, change: &'static str, did: Option<&Finding>, would: Option<&Finding>) {
        let Some(shown) = would.or(did) else { return };
        let list = self.examples.entry(change).or_default();
        // What would be told goes before what would only be written down.
        if list.len() >= self.asked.bounds.examples && !is_told(shown) {
            return;
        }
        let evidence: serde_json::Value = serde_json::from_str(&shown.draft.evidence).unwrap_or_default();
        let example = Example {
            change,
            rule_id: shown.draft.rule.to_string(),
            patient_id: shown.draft.patient,
            effective_at: shown.draft.effective_at.to_rfc3339(&self.zone),
            did: did.map(|f| f.draft.severity),
            would: would.map(|f| f.draft.severity),
            evidence: serde_json::json!({"limit": evidence["limit"], "numbers": evidence["numbers"]}),
        };
        let told = is_told(shown);
        let place = if told { list.iter().position(|e| e.did.max(e.would) <= Some(Severity::Info)) } else { None };
        list.insert(place.unwrap_or(list.len()), example);
        list.truncate(self.asked.bounds.examples);
    }

    pub(super) fn report(self, patients: Judged) -> Report {
        let span = self.asked.to.since(self.asked.from).as_secs_f64() / 86_400.0;
        let (weeks, months) = (span / 7.0, self.days / MONTH);
        let rule = |(rule_id, row): (String, Row)| RuleRow {
            proposed: self.asked.proposed.iter().any(|r: &Rule| r.id() == rule_id),
            did: row.did.counts(weeks, months),
            would: row.would.counts(weeks, months),
            same: row.same,
            changed: row.changed,
            new: row.new,
            gone: row.gone,
            rule_id,
        };
        let mut rules: Vec<RuleRow> = self.rows.into_iter().map(rule).collect();
        rules.sort_by_key(|r| !r.proposed);
        let share = self.asked.bounds.examples.div_ceil(self.examples.len().max(1));
        let examples = self.examples.into_values().flat_map(|list| list.into_iter().take(share)).collect();
        let [(did, of_did), (would, of_would)] = &self.total;
        let says = says(span, patients.judged, (*did, of_did.len()), (*would, of_would.len()));
        Report {
            from: self.asked.from.to_rfc3339(&self.zone),
            to: self.asked.to.to_rfc3339(&self.zone),
            patients,
            rules,
            weeks: self
                .weeks
                .into_iter()
                .map(|(week, [did, would])| WeekRow { week: week.to_string(), did, would })
                .collect(),
            examples,
            says,
            caveats: &["plansAsOfToday", "stationMediansAsPublished"],
        }
    }
}

fn says(days: f64, patients: usize, did: (usize, usize), would: (usize, usize)) -> Text {
    let days = days.round();
    Text {
        zh_cn: format!(
            "{days} 天内 {patients} 名患者:按现行规则通知医务人员 {} 次(涉及 {} 人);按拟议规则为 {} 次(涉及 {} 人)。",
            did.0, did.1, would.0, would.1
        ),
        en: format!(
            "Over {days} days and {patients} patients, clinicians were told {} times about {} of them; \
             they would have been told {} times about {}.",
            did.0, did.1, would.0, would.1
        ),
    }
}

fn monday(at: Timestamp, zone: &Zone) -> Date {
    let day = at.day(zone);
    days_after(day, -i64::from(day.weekday().to_monday_zero_offset()))
}
