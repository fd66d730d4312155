//! A tally as text: by rule, by script, naive thresholds, bars.
//!
//! Goes in: a [`Tally`]. Comes out: lines of Markdown-free plain text, the same for the same tally.

use super::{
    bars::{Word, bars},
    interval::{rate, share},
    score::Tally,
};
use std::fmt::Write as _;

/// Everything that is known, and how many bars were missed. `enough`: patients that a cell must have for a verdict.
pub fn table(t: &Tally, enough: u64) -> (String, usize) {
    let mut out = String::new();
    let p = &t.panel;
    let _ = writeln!(out, "{} readings; panel: {} patients, {:.0} patient-months", t.readings, p.patients, p.time);
    if p.patients > 0 {
        by_rule(t, &mut out);
        naive(t, &mut out);
    }
    scripts(t, &mut out);
    let missed = verdicts(t, enough, &mut out);
    (out, missed)
}

fn by_rule(t: &Tally, out: &mut String) {
    let months = t.panel.time;
    let _ =
        writeln!(out, "\nalerts to the team on the panel (per patient-month, exact Poisson 95 %; PPV, Wilson 95 %)");
    let _ = writeln!(
        out,
        "{:<8} {:>7} {:>26} {:>7} {:>7} {:>7} {:>26} {:>22}",
        "rule", "alerts", "a patient-month", "right", "repeat", "wrong", "wrong a patient-month", "PPV %"
    );
    let mut all = super::score::OfRule::default();
    for (name, r) in &t.rules {
        row(out, name, r, months);
        all.alerts += r.alerts;
        all.right += r.right;
        all.repeats += r.repeats;
        all.wrong += r.wrong;
        all.told += r.told;
    }
    row(out, "all", &all, months);
    let day = rate(all.alerts, months * 30.437_5 / 500.0);
    let _ = writeln!(
        out,
        "a day for 500 patients: {:.1}; findings told, those that joined an open alert too: {} ({:.3} a patient-month)",
        day.value,
        all.told,
        rate(all.told, months).value
    );
}

fn row(out: &mut String, name: &str, r: &super::score::OfRule, months: f64) {
    let (all, wrong, ppv) = (rate(r.alerts, months), rate(r.wrong, months), share(r.right, r.alerts));
    let _ = writeln!(
        out,
        "{name:<8} {:>7} {:>26} {:>7} {:>7} {:>7} {:>26} {:>22}",
        r.alerts,
        format!("{:.4} [{:.4}, {:.4}]", all.value, all.low, all.high),
        r.right,
        r.repeats,
        r.wrong,
        format!("{:.4} [{:.4}, {:.4}]", wrong.value, wrong.low, wrong.high),
        format!("{:.1} [{:.1}, {:.1}]", 100.0 * ppv.value, 100.0 * ppv.low, 100.0 * ppv.high),
    );
}

fn naive(t: &Tally, out: &mut String) {
    let _ = writeln!(out, "\nnaive alarms on single readings, the same readings of the panel");
    let ours = rate(t.panel.events, t.panel.time).value;
    for (name, (alarms, wrong)) in &t.naive {
        let (all, false_) = (rate(*alarms, t.panel.time), rate(*wrong, t.panel.time));
        let _ = writeln!(
            out,
            "{name:<28} {alarms:>8}  {:>7.3} a patient-month [{:.3}, {:.3}], with nothing real behind it {:.3}; {:.1} x all our alerts",
            all.value,
            all.low,
            all.high,
            false_.value,
            all.value / ours
        );
    }
}

fn scripts(t: &Tally, out: &mut String) {
    let _ = writeln!(out, "\nfound, by script (share within its time, Wilson 95 %; days of all found: median, 90 %)");
    for (name, f) in &t.found {
        let i = share(f.within, f.of);
        let mut delays = f.delays.clone();
        delays.sort_unstable_by(f64::total_cmp);
        let quantile = |q: f64| {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a place in a list"
            )]
            let place = (q * delays.len() as f64) as usize;
            delays.get(place).copied().unwrap_or(f64::NAN)
        };
        let _ = writeln!(
            out,
            "{name:<32} {:>6} of {:>6}  {:>5.1} % [{:.1}, {:.1}]  median {:.1} d, 90 % {:.1} d",
            f.within,
            f.of,
            100.0 * i.value,
            100.0 * i.low,
            100.0 * i.high,
            quantile(0.5),
            quantile(0.9)
        );
    }
}

fn verdicts(t: &Tally, enough: u64, out: &mut String) -> usize {
    let _ =
        writeln!(out, "\nbars of the rules' contract (95 % intervals; a verdict from {enough} patients or events on)");
    let mut missed = 0;
    for v in bars(t) {
        let word = match v.word(enough) {
            Word::Pass => "PASS",
            Word::Miss => {
                missed += 1;
                "MISS"
            }
            Word::Few => "few ",
            Word::Told => "told",
        };
        let _ = writeln!(out, "{word}  {v}");
    }
    let _ = writeln!(out, "{missed} missed");
    missed
}
