//! What a run found, and its verdict. JSON on disk; the same numbers on the terminal and on the page.

use super::{
    Run,
    plan::Plan,
    scenario::{Scenario, Thresholds},
    tally::{PhaseTally, Snapshot, Tally, ms},
};
use crate::codec::Version;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// A latency distribution in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    fn of(h: &Histogram<u64>) -> Self {
        let at = |q: f64| ms(h.value_at_quantile(q));
        let (mean, max) = (h.mean() / 1000.0, ms(h.max()));
        Self { count: h.len(), mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, p999, max, .. } = self;
        write!(f, "p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms")
    }
}

/// One phase, in readings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct PhaseReport {
    pub name: String,
    pub judged: bool,
    pub seconds: f64,
    pub planned: u64,
    pub acked: u64,
    /// Of them repeats that the plan wanted.
    pub duplicates: u64,
    /// Acknowledged before the phase ended, a second.
    pub rate: f64,
    pub puback: Latency,
}

/// One limit and whether it held.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct Judgement {
    pub limit: String,
    pub found: f64,
    pub bound: f64,
    pub ok: bool,
}

/// One second of the run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct Second {
    pub second: u64,
    pub planned: u64,
    pub acked: u64,
    pub waiting: u64,
    pub connected: u64,
    pub p50: f64,
    pub p99: f64,
    pub lag: f64,
}

/// Everything.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct Report {
    pub scenario: Scenario,
    pub seed: u64,
    pub plan_sha256: String,
    pub ended_at: String,
    pub target: String,
    pub mqtt: u8,
    pub threads: u32,
    pub machine: Machine,
    /// The judged phases together.
    pub puback: Latency,
    pub rate: f64,
    pub planned: u64,
    pub acked: u64,
    pub lost: u64,
    pub phases: Vec<PhaseReport>,
    pub connect: Latency,
    pub connects: u64,
    pub failed_connects: u64,
    pub refused_connects: u64,
    pub lost_connections: u64,
    pub cuts: u64,
    pub refused_publishes: u64,
    pub resent: u64,
    pub lag: Latency,
    pub judgements: Vec<Judgement>,
    /// The generator kept its own plan; otherwise no figure here means anything.
    pub valid: bool,
    /// Valid, and every limit held.
    pub passed: bool,
    pub timeline: Vec<Second>,
}

/// Where it ran.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[allow(missing_docs)]
pub struct Machine {
    pub processors: usize,
    pub kernel: String,
}

impl Machine {
    fn this() -> Self {
        let uname = rustix::system::uname();
        let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
        }
    }
}

impl Report {
    pub(super) fn new(scenario: &Scenario, plan: &Plan, run: &Run, total: &Tally, timeline: Vec<Snapshot>) -> Self {
        let phases: Vec<_> = scenario.phases.iter().zip(&total.phases).map(|(p, t)| phase(p, t)).collect();
        let judged = || scenario.phases.iter().zip(&total.phases).filter(|(p, _)| p.judged);
        let mut latency = total.lag.clone();
        latency.reset();
        for (_, tally) in judged() {
            // Equal bounds everywhere, so this cannot fail.
            let _ = latency.add(&tally.latency);
        }
        let seconds: f64 = judged().map(|(p, _)| p.seconds).sum();
        let rate = per_second(judged().map(|(_, t)| t.acked_in_time).sum(), seconds);
        let (puback, lag) = (Latency::of(&latency), Latency::of(&total.lag));
        let judgements = judge(&scenario.thresholds, rate, &puback, total.lost);
        let valid = lag.p99 <= scenario.thresholds.max_lag_p99_ms;
        Self {
            passed: valid && judgements.iter().all(|j| j.ok),
            valid,
            scenario: scenario.clone(),
            seed: plan.seed,
            plan_sha256: plan.hash(),
            ended_at: crate::history::clock_text(vitals::Timestamp::from_micros(
                jiff::Timestamp::now().as_microsecond(),
            )),
            target: run.target.to_string(),
            mqtt: if run.version == Version::V5 { 5 } else { 4 },
            threads: run.threads,
            machine: Machine::this(),
            puback,
            rate,
            planned: phases.iter().map(|p| p.planned).sum(),
            acked: phases.iter().map(|p| p.acked).sum(),
            lost: total.lost,
            phases,
            connect: Latency::of(&total.connect),
            connects: total.connects,
            failed_connects: total.failed_connects,
            refused_connects: total.refused_connects,
            lost_connections: total.lost_connections,
            cuts: total.cuts,
            refused_publishes: total.refused,
            resent: total.resent,
            lag,
            judgements,
            timeline: timeline.iter().map(second).collect(),
        }
    }

    /// The verdict in a word.
    pub const fn verdict(&self) -> &'static str {
        match (self.valid, self.passed) {
            (false, _) => "INVALID (the generator itself lagged)",
            (true, true) => "PASS",
            (true, false) => "FAIL",
        }
    }
}

impl fmt::Display for Report {
    /// Plain lines for a terminal or a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        writeln!(
            text,
            "{}: {} devices, seed {}, plan {:.12}",
            self.scenario.name, self.scenario.devices, self.seed, self.plan_sha256
        )?;
        for p in &self.phases {
            let note = if p.judged { "" } else { "  (not judged)" };
            writeln!(
                text,
                "  {:<12} {:>9.0} readings/s acked  {}/{} readings{note}",
                p.name, p.rate, p.acked, p.planned
            )?;
            writeln!(text, "  {:<12} PUBACK  {}", "", p.puback)?;
        }
        writeln!(text, "  connects {}  {}", self.connects, self.connect)?;
        writeln!(
            text,
            "  connects failed {} refused {}  connections lost {} cut {}  publishes refused {}  readings resent {}",
            self.failed_connects,
            self.refused_connects,
            self.lost_connections,
            self.cuts,
            self.refused_publishes,
            self.resent
        )?;
        writeln!(text, "  generator's lag  {}", self.lag)?;
        for j in &self.judgements {
            let word = if j.ok { "ok  " } else { "MISS" };
            writeln!(text, "  {word} {}: {:.2} (limit {})", j.limit, j.found, j.bound)?;
        }
        write!(text, "{}", self.verdict())?;
        f.write_str(&text)
    }
}

#[allow(clippy::cast_precision_loss, reason = "readings of a run are far below 2^53")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(f64::MIN_POSITIVE)
}

fn phase(scenario: &super::scenario::Phase, tally: &PhaseTally) -> PhaseReport {
    PhaseReport {
        name: scenario.name.clone(),
        judged: scenario.judged,
        seconds: scenario.seconds,
        planned: tally.planned,
        acked: tally.acked,
        duplicates: tally.duplicates,
        rate: per_second(tally.acked_in_time, scenario.seconds),
        puback: Latency::of(&tally.latency),
    }
}

fn judge(limits: &Thresholds, rate: f64, puback: &Latency, lost: u64) -> Vec<Judgement> {
    let mut out = Vec::new();
    if let Some(bound) = limits.min_rate {
        out.push(Judgement {
            limit: "readings acknowledged a second, at least".into(),
            found: rate,
            bound,
            ok: rate >= bound,
        });
    }
    if let Some(bound) = limits.puback_p99_ms {
        let ok = puback.count > 0 && puback.p99 <= bound;
        out.push(Judgement { limit: "PUBACK p99 in ms, at most".into(), found: puback.p99, bound, ok });
    }
    let ok = lost <= limits.max_lost;
    out.push(Judgement {
        limit: "readings without a PUBACK, at most".into(),
        found: per_second(lost, 1.0),
        bound: per_second(limits.max_lost, 1.0),
        ok,
    });
    out
}

fn second(s: &Snapshot) -> Second {
    Second {
        second: s.second,
        planned: s.planned,
        acked: s.acked,
        waiting: s.waiting,
        connected: s.connected,
        p50: ms(s.latency.value_at_quantile(0.5)),
        p99: ms(s.latency.value_at_quantile(0.99)),
        lag: ms(s.lag),
    }
}
