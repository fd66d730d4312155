//! The bars of the rules' contract, each with its interval and a verdict.
//!
//! Goes in: a [`Tally`]. Comes out: lines, and whether all hold. A verdict holds where the bar lies inside or on the good
//! side of the 95 % interval; too few patients are no verdict. Must never: leave out a bar.

use super::{
    interval::{Interval, rate, share},
    score::Tally,
};
use std::fmt;

/// Below so many patients a cell says nothing (contract: rules).
pub const ENOUGH: u64 = 300;

/// One bar held against the cohort.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was asked.
    pub what: String,
    /// Events or patients found, of how many or in how much time.
    pub count: String,
    /// As measured.
    pub measured: Interval,
    /// The bar, and whether the measure must reach it (else it must not exceed it).
    pub bar: (f64, bool),
    /// Shares are printed as per cent.
    pub is_share: bool,
    /// Patients behind it.
    pub patients: u64,
    /// Only told: not a bar of the contract.
    pub told_only: bool,
    /// Without exception: no interval softens it.
    pub strict: bool,
}

/// What a verdict says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It holds.
    Pass,
    /// It does not.
    Miss,
    /// Too few patients.
    Few,
    /// Not a bar.
    Told,
}

impl Verdict {
    /// The word for it; `enough` is the least number of patients of a verdict.
    pub fn word(&self, enough: u64) -> Word {
        let Interval { value, low, high } = self.measured;
        let (bar, at_least) = self.bar;
        let holds = match (self.strict, at_least) {
            (true, true) => value >= bar,
            (true, false) => value <= bar,
            (false, true) => high >= bar,
            (false, false) => low <= bar,
        };
        match (self.told_only, self.patients < enough, holds) {
            (true, ..) => Word::Told,
            (_, true, _) => Word::Few,
            (_, _, true) => Word::Pass,
            (_, _, false) => Word::Miss,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval { value, low, high } = self.measured;
        let (bar, at_least) = self.bar;
        let sign = if at_least { ">=" } else { "<=" };
        if self.is_share {
            let (v, l, h, b) = (value * 100.0, low * 100.0, high * 100.0, bar * 100.0);
            write!(f, "{:<58} {sign} {b:>5.1} %  {v:>6.1} % [{l:.1}, {h:.1}]  {}", self.what, self.count)
        } else {
            write!(f, "{:<58} {sign} {bar:>5.2}    {value:>6.3}   [{low:.3}, {high:.3}]  {}", self.what, self.count)
        }
    }
}

/// Every bar.
pub fn bars(t: &Tally) -> Vec<Verdict> {
    let mut out = vec![
        Verdict { strict: true, ..found(t, "confirmed crisis", "confirmed crises, at the second reading", 1.0) },
        Verdict { strict: true, ..found(t, "level-2 low", "level-2 lows, at the reading", 1.0) },
        Verdict {
            strict: true,
            ..happened(t, "critical from white coat", "criticals a patient-month, white coat", 0.0)
        },
        Verdict {
            strict: true,
            ..happened(t, "critical from device", "criticals a patient-month, device scripts", 0.0)
        },
    ];
    for pace in PACES {
        out.push(happened(t, &format!("BP-T1 null {pace}"), &format!("BP-T1 a patient-year, null, {pace}"), 0.7));
    }
    for (pace, step, drift) in [(PACES[0], 0.85, 0.90), (PACES[1], 0.70, 0.80), (PACES[2], 0.35, 0.55)] {
        out.push(found(t, &format!("step10 {pace}"), &format!("step +10 found by day 28, {pace}"), step));
        out.push(found(t, &format!("drift2 {pace}"), &format!("drift +2 a week found by day 56, {pace}"), drift));
    }
    for pace in PACES {
        let name = format!("BP-S1 controlled {pace}");
        out.push(happened(t, &name, &format!("BP-S1 a patient-year, true mean <= 130, {pace}"), 0.3));
    }
    for pace in PACES {
        let what = format!("BP-S1 at 145 within 3 weeks, {pace}, keeping the plan");
        out.push(found(t, &format!("sustained {pace}"), &what, 0.95));
    }
    let wrong: u64 = t.rules.values().map(|r| r.wrong + r.repeats).sum();
    let per_month = |what: &str, events, bar| Verdict {
        what: what.into(),
        count: format!("{events} in {:.0} patient-months", t.panel.time),
        measured: rate(events, t.panel.time),
        bar: (bar, false),
        is_share: false,
        patients: t.panel.patients,
        told_only: false,
        strict: false,
    };
    out.push(per_month("false alerts (repeats too) a patient-month, panel", wrong, 0.15));
    out.push(per_month("all alerts a patient-month, panel", t.panel.events, 0.30));
    // The least that rules could tell which find everything and are never wrong.
    let right: u64 = t.rules.values().map(|r| r.right).sum();
    out.push(Verdict {
        told_only: true,
        ..per_month("the right ones of them alone, a patient-month, panel", right, 0.30)
    });
    out.extend(told(t));
    out
}

const PACES: [&str; 3] = ["14/wk", " 6/wk", " 2/wk"];

/// What the clinical reference proposes or tells beside the contract's bars.
fn told(t: &Tally) -> Vec<Verdict> {
    let mut out = Vec::new();
    for pace in PACES {
        let rates = [
            ("BP-T1 null-weather", "BP-T1 a patient-year, season and wander", 2.0),
            ("BP-T2 titrated", "BP-T2 a patient-year after a raised dose", 0.3),
        ];
        for (name, what, bar) in rates {
            out.push(happened(t, &format!("{name} {pace}"), &format!("{what}, {pace}"), bar));
        }
        let shares = [
            ("step10-weather", "", "step +10 by day 28, season and wander"),
            ("drift2-weather", "", "drift +2 by day 56, season and wander"),
            ("step10", ", BP-T1 alone", "step +10 by day 28, BP-T1 alone"),
            ("drift2", ", BP-T1 alone", "drift +2 by day 56, BP-T1 alone"),
        ];
        for (name, tail, what) in shares {
            out.push(found(t, &format!("{name} {pace}{tail}"), &format!("{what}, {pace}"), 0.0));
        }
    }
    for script in super::script::Script::DEVICES {
        let name = format!("critical from {script:?}");
        out.push(happened(t, &name, &format!("criticals a patient-month, {script:?}"), 0.0));
    }
    out.retain(|v| v.patients > 0);
    out.iter_mut().for_each(|v| v.told_only = true);
    out
}

fn found(t: &Tally, name: &str, what: &str, bar: f64) -> Verdict {
    let row = t.found.get(name).cloned().unwrap_or_default();
    Verdict {
        what: what.into(),
        count: format!("{} of {}", row.within, row.of),
        measured: share(row.within, row.of),
        bar: (bar, true),
        is_share: true,
        patients: row.of,
        told_only: false,
        strict: false,
    }
}

fn happened(t: &Tally, name: &str, what: &str, bar: f64) -> Verdict {
    let row = t.rates.get(name).copied().unwrap_or_default();
    Verdict {
        what: what.into(),
        count: format!("{} in {:.1}, {} patients", row.events, row.time, row.patients),
        measured: rate(row.events, row.time),
        bar: (bar, false),
        is_share: false,
        patients: row.patients,
        told_only: false,
        strict: false,
    }
}
