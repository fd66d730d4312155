//! Truth against what the service concluded: one patient at a time, summed over patients and seeds.
//!
//! Goes in: a [`Truth`] and its findings. Comes out: counts, to be printed by `table` and held against bars by `bars`.
//! Must never: forgive a finding because a rule could not have known better.

use super::{
    line::{Fact, Worth},
    script::Script,
    seen::{Alert, Seen, alerts},
    truth::Truth,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use vitals::{Severity, Timestamp};

/// In which two of three readings confirm.
const HALF_HOUR: Duration = Duration::from_secs(1800);

const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

/// Alerts of one rule on the panel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRule {
    /// Alerts to the team.
    pub alerts: u64,
    /// Of them, right, and the first of their rule for that patient within the script.
    pub right: u64,
    /// Right again, while the same script lasts: noise, by the reference.
    pub repeats: u64,
    /// Neither.
    pub wrong: u64,
    /// Findings told to the team, those that joined an open alert included.
    pub told: u64,
}

/// How often something scripted was found, and how late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Patients or events.
    pub of: u64,
    /// Found within the bar's time.
    pub within: u64,
    /// Days from onset to the finding, of all that were ever found.
    pub delays: Vec<f64>,
}

/// Events in patient-time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// How many.
    pub events: u64,
    /// Patient-years, or patient-months where said.
    pub time: f64,
    /// Patients.
    pub patients: u64,
}

/// Sums over patients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// By rule, on the panel.
    pub rules: BTreeMap<String, OfRule>,
    /// Naive per-reading alarms by limit, on the panel: alarms, and those whose real value is within the limit.
    pub naive: BTreeMap<String, (u64, u64)>,
    /// Alarms a patient-month on the panel, right or wrong, per 500 patients and day.
    pub panel: Rate,
    /// What was scripted, by name.
    pub found: BTreeMap<String, Found>,
    /// What should not happen, by name.
    pub rates: BTreeMap<String, Rate>,
    /// Readings made.
    pub readings: u64,
}

impl Tally {
    /// Adds another.
    pub fn merge(&mut self, other: Self) {
        for (k, v) in other.rules {
            let mine = self.rules.entry(k).or_default();
            mine.alerts += v.alerts;
            mine.right += v.right;
            mine.repeats += v.repeats;
            mine.wrong += v.wrong;
            mine.told += v.told;
        }
        for (k, v) in other.naive {
            let mine = self.naive.entry(k).or_default();
            *mine = (mine.0 + v.0, mine.1 + v.1);
        }
        for (k, v) in other.found {
            let mine = self.found.entry(k).or_default();
            mine.of += v.of;
            mine.within += v.within;
            mine.delays.extend(v.delays);
        }
        for (k, v) in other.rates {
            self.rates.entry(k).or_default().add(v);
        }
        self.panel.add(other.panel);
        self.readings += other.readings;
    }

    /// Judges one patient. `findings` are those that stand.
    pub fn take(&mut self, truth: &Truth, mut findings: Vec<Seen>) {
        findings.sort();
        self.readings += u64::try_from(truth.facts.len()).unwrap_or(0);
        self.take_at_once(truth, &findings);
        self.take_misled(truth, &findings);
        match truth.cell.as_str() {
            "panel" => self.take_panel(truth, &findings),
            _ => self.take_cell(truth, &findings),
        }
    }

    fn find(&mut self, name: String, found: Option<Timestamp>, onset: Timestamp, limit: Duration) {
        let row = self.found.entry(name).or_default();
        row.of += 1;
        if let Some(at) = found {
            row.within += u64::from(at.since(onset) <= limit);
            row.delays.push(at.since(onset).as_secs_f64() / 86_400.0);
        }
    }

    fn happen(&mut self, name: String, events: usize, time: f64) {
        let events = u64::try_from(events).unwrap_or(0);
        self.rates.entry(name).or_default().add(Rate { events, time, patients: 1 });
    }

    /// Confirmed crises and level-2 lows, whoever has them and however they came about.
    fn take_at_once(&mut self, truth: &Truth, findings: &[Seen]) {
        let critical = |concept: &str, from: Timestamp, to: Timestamp| {
            let fits = |f: &&Seen| f.concept == concept && f.severity == Severity::Critical;
            findings
                .iter()
                .filter(fits)
                .find(|f| f.effective_at >= from && f.effective_at <= to)
                .map(|f| f.effective_at)
        };
        for (first, second) in crises(truth, |f| (f.shown, f.shown_low)) {
            // A critical alert holds for 6 hours: what follows within them joins it.
            let from = first.minus(Duration::from_secs(6 * 3600));
            let at = critical("bp_crisis", from, second).map(|at| at.max(second));
            self.find("confirmed crisis".into(), at, second, Duration::ZERO);
        }
        let low = |f: &&Fact| !f.pressure && f.worth == Worth::Clean && f.shown < 3.0;
        for f in truth.facts.iter().filter(low) {
            let at = critical("glucose_low_severe", f.told.minus(days(1)), f.told).map(|at| at.max(f.told));
            self.find("level-2 low".into(), at, f.told, Duration::ZERO);
        }
    }

    /// Criticals while somebody is anxious or a meter misleads, with nothing real behind them.
    fn take_misled(&mut self, truth: &Truth, findings: &[Seen]) {
        let script = truth.script;
        let name = match script {
            Script::WhiteCoat => "white coat",
            _ if script.is_device() => "device",
            _ => return,
        };
        let until = script.lasts().map_or(truth.ends, |d| truth.onset.plus(Duration::from_secs_f64(86_400.0 * d)));
        let within = |f: &&Seen| f.effective_at >= truth.onset && f.effective_at <= until;
        // Not its doing: what is really so, and what the same readings would have come to without it.
        let anyway = crises(truth, |f| f.plain);
        let anyway = |f: &Seen| {
            let within = |(_, second): &(Timestamp, Timestamp)| {
                *second <= f.effective_at && f.effective_at.since(*second) <= HALF_HOUR
            };
            f.concept == "bp_crisis" && anyway.iter().any(within)
        };
        let critical =
            |f: &&Seen| f.severity == Severity::Critical && !truth.holds(&f.concept, f.effective_at) && !anyway(f);
        let events = findings.iter().filter(within).filter(critical).count();
        self.happen(
            format!("critical from {name}"),
            events,
            until.since(truth.onset).as_secs_f64() / (30.437_5 * 86_400.0),
        );
    }

    fn take_panel(&mut self, truth: &Truth, findings: &[Seen]) {
        let months = truth.months();
        let all = judged(truth, findings);
        for (alert, worth) in &all {
            let row = self.rules.entry(alert.rule.clone()).or_default();
            row.alerts += 1;
            match worth {
                Judgement::Right => row.right += 1,
                Judgement::Repeat => row.repeats += 1,
                Judgement::Wrong => row.wrong += 1,
            }
        }
        for f in findings.iter().filter(|f| f.is_told()) {
            self.rules.entry(f.rule.clone()).or_default().told += 1;
        }
        self.panel.add(Rate { events: u64::try_from(all.len()).unwrap_or(0), time: months, patients: 1 });
        self.take_naive(truth);
        self.take_scripts(truth, findings);
    }

    /// The per-reading limits that the reference found in use, over the same readings.
    fn take_naive(&mut self, truth: &Truth) {
        for f in &truth.facts {
            for (name, limit) in NAIVE {
                if f.worth != Worth::Control && limit(f.pressure, f.shown, f.shown_low) {
                    let row = self.naive.entry(name.to_owned()).or_default();
                    row.0 += 1;
                    row.1 += u64::from(f.worth == Worth::Other || !limit(f.pressure, f.truth, f.truth_low));
                }
            }
        }
    }

    /// How often each script of the panel was found by a rule that is about it, and how late.
    fn take_scripts(&mut self, truth: &Truth, findings: &[Seen]) {
        let (concepts, limit): (&[&str], u64) = match truth.script {
            Script::Step10 | Script::Step15 => (&["bp_trend_up", "bp_sustained"], 28),
            Script::Drift1 => (&["bp_trend_up", "bp_sustained"], 84),
            Script::Drift2 => (&["bp_trend_up", "bp_sustained"], 56),
            Script::Sustained => (&["bp_sustained"], 28),
            Script::OverTreated => (&["bp_trend_down", "bp_overtreated", "bp_low"], 56),
            Script::Hypo => (&["glucose_low_severe", "glucose_low", "glucose_low_pattern"], 40),
            Script::Metformin20 | Script::Metformin30 => (&["glucose_trend_up", "glucose_fasting_high"], 56),
            Script::Silent7 => (&["adherence"], 8),
            Script::Silent14 => (&["adherence"], 15),
            Script::ClockFast | Script::LooseCuff | Script::Sentinel => (&["device_quality"], 14),
            _ => return,
        };
        let at = found_or_open(findings, concepts, truth.onset);
        self.find(format!("panel {:?}", truth.script), at, truth.onset, days(limit));
    }

    fn take_cell(&mut self, truth: &Truth, findings: &[Seen]) {
        let name = format!("{} {:>2}/wk", truth.cell, truth.pace.per_week());
        let years = truth.months() / 12.0;
        let of = |rule: &str| findings.iter().filter(|f| f.rule == rule && !f.closes).count();
        match truth.cell.as_str() {
            "null" | "null-weather" => self.happen(format!("BP-T1 {name}"), of("BP-T1"), years),
            "controlled" => self.happen(format!("BP-S1 {name}"), of("BP-S1"), years),
            "titrated" => self.happen(format!("BP-T2 {name}"), of("BP-T2"), years),
            "sustained" if keeps_the_plan(truth) => {
                let at = findings.iter().find(|f| f.rule == "BP-S1" && !f.closes).map(|f| f.effective_at);
                self.find(name, at, truth.begins, days(21));
            }
            cell if cell.starts_with("step10") => {
                let alone = found_or_open(findings, &["bp_trend_up"], truth.onset);
                self.find(format!("{name}, BP-T1 alone"), alone, truth.onset, days(28));
                let at = found_or_open(findings, &["bp_trend_up", "bp_sustained"], truth.onset);
                self.find(name, at, truth.onset, days(28));
            }
            cell if cell.starts_with("drift2") => {
                let alone = found_or_open(findings, &["bp_trend_up"], truth.onset);
                self.find(format!("{name}, BP-T1 alone"), alone, truth.onset, days(56));
                let at = found_or_open(findings, &["bp_trend_up", "bp_sustained"], truth.onset);
                self.find(name, at, truth.onset, days(56));
            }
            _ => {}
        }
    }
}

/// What an alert is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It is so, and nobody had been told.
    Right,
    /// It is so, and was told already while the same script lasts.
    Repeat,
    /// It is not so.
    Wrong,
}

/// One patient's alerts, each held against the truth.
pub fn judged(truth: &Truth, findings: &[Seen]) -> Vec<(Alert, Judgement)> {
    let mut scripted: Vec<String> = Vec::new();
    let mut judge = |alert: &Alert| {
        if !truth.holds(&alert.concept, alert.at) {
            Judgement::Wrong
        } else if truth.is_point(&alert.concept) && scripted.contains(&alert.concept) {
            Judgement::Repeat
        } else {
            scripted.push(alert.concept.clone());
            Judgement::Right
        }
    };
    alerts(findings).into_iter().map(|alert| (alert.clone(), judge(&alert))).collect()
}

impl Rate {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.time += other.time;
        self.patients += other.patients;
    }
}

impl Truth {
    /// Whether a concept is scripted here, so that a second alert of it is a repeat and not a new state.
    fn is_point(&self, concept: &str) -> bool {
        self.spans.iter().any(|s| s.concepts.iter().any(|c| c == concept))
    }
}

/// A limit on what is shown: is it a pressure, its upper and its lower number.
type Limit = fn(bool, f64, f64) -> bool;

/// Naive alarms on single readings.
pub const NAIVE: [(&str, Limit); 5] = [
    ("BP >= 180/110", |p, s, d| p && (s >= 180.0 || d >= 110.0)),
    ("BP >= 140/90", |p, s, d| p && (s >= 140.0 || d >= 90.0)),
    ("glucose <= 3.9", |p, g, _| !p && g <= 3.9),
    ("glucose >= 16.7", |p, g, _| !p && g >= 16.7),
    ("level 3: 180/110, 3.9, 16.7", |p, a, b| if p { a >= 180.0 || b >= 110.0 } else { a <= 3.9 || a >= 16.7 }),
];

/// The first finding from onset on that is about it; the onset itself where a BP-S1 or GLU-S1 was open then: the doctor
/// had been told, and its openness silences the trend.
fn found_or_open(findings: &[Seen], concepts: &[&str], onset: Timestamp) -> Option<Timestamp> {
    let about = |f: &&Seen| concepts.contains(&f.concept.as_str()) && !f.closes;
    let after = findings.iter().filter(about).find(|f| f.effective_at >= onset).map(|f| f.effective_at);
    let open = ["bp_sustained", "glucose_fasting_high"].iter().filter(|c| concepts.contains(c)).any(|concept| {
        let before = findings.iter().rev().find(|f| f.concept == *concept && f.effective_at < onset);
        before.is_some_and(|f| !f.closes && onset < f.effective_at.plus(days(28)))
    });
    if open { Some(onset) } else { after }
}

/// Two of three readings in a row over 180/110 within 30 minutes, by meters whose clock is right: when the first and the
/// second of the two were measured. Readings that the meter flagged do not count.
fn crises(truth: &Truth, numbers: fn(&Fact) -> (f64, f64)) -> Vec<(Timestamp, Timestamp)> {
    let counts =
        |f: &&Fact| f.pressure && f.at == f.told && matches!(f.worth, Worth::Clean | Worth::Gross | Worth::Other);
    let over = |f: &Fact| {
        let (systolic, diastolic) = numbers(f);
        systolic >= 180.0 || diastolic >= 110.0
    };
    let all: Vec<&Fact> = truth.facts.iter().filter(counts).collect();
    let near = |a: &Fact, b: &Fact| b.told.since(a.told) <= HALF_HOUR;
    let mut out = Vec::new();
    for (i, first) in all.iter().enumerate().filter(|(_, f)| over(f)) {
        let next = all.iter().skip(i + 1).take(2).take_while(|f| near(first, f));
        if let Some(second) = next.into_iter().find(|f| over(f)) {
            out.push((first.told, second.told));
        }
    }
    out
}

/// Two thirds of the planned sessions on at least two days in both weeks that end on one of the Mondays within three
/// weeks (contract: rules).
fn keeps_the_plan(truth: &Truth) -> bool {
    let zone = vitals::Zone::default();
    let counts = |f: &&Fact| f.pressure && f.at == f.told && f.worth != Worth::Flagged;
    let needed = f64::from(truth.pace.per_week()) * 2.0 / 3.0;
    let week = |from: jiff::civil::Date, to: jiff::civil::Date| {
        let (from, to) = (zone.start_of(from), zone.start_of(to));
        let mut last: Option<Timestamp> = None;
        let (mut sessions, mut days) = (0_u32, Vec::new());
        for f in truth.facts.iter().filter(counts).filter(|f| f.at >= from && f.at < to) {
            sessions += u32::from(last.is_none_or(|l| f.at.since(l) > Duration::from_secs(1800)));
            last = Some(f.at);
            days.push(f.at.day(&zone));
        }
        days.dedup();
        f64::from(sessions) + 1e-6 >= needed && days.len() >= 2
    };
    let begins = truth.first;
    let after = |n: i64| begins.saturating_add(jiff::Span::new().days(n));
    let mondays = (14..=21).map(after).filter(|d| d.weekday() == jiff::civil::Weekday::Monday);
    let mut mondays = mondays.filter(|d| zone.moment(d.at(6, 0, 0, 0)).since(truth.begins) <= days(21));
    mondays.any(|monday| {
        let before = |n: i64| monday.saturating_sub(jiff::Span::new().days(n));
        week(before(14), before(7)) && week(before(7), monday)
    })
}
