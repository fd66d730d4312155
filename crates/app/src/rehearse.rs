//! `rehearse`: cards against stored history, on a stopped service; nothing is written.

use crate::{
    Done, Failure,
    arguments::RehearseOptions,
    config,
    folder::{self, Owned},
};
use rules::{Bounds, Cards, Rehearsal, Report, Rule};
use runtime::{Clock, Drain};
use std::{fmt::Write, io::IsTerminal, ops::ControlFlow, time::Duration};
use store::Store;
use vitals::{OrganisationId, Timestamp, Zone};

/// Prints what would have been concluded against what was.
pub(crate) fn rehearse(options: &RehearseOptions) -> Done {
    let (config, _) = config::load(options.config.as_deref())?;
    let zone = Zone::named(&config.site.time_zone).map_err(|e| Failure::failed("site.time_zone", e))?;
    let (from, to) = (moment("--from", &options.from, &zone)?, moment("--to", &options.to, &zone)?);
    if from >= to {
        return Err(Failure::Configuration("--to: must be later than --from".into()));
    }
    let wrong = |e: rules::Error| Failure::Configuration(e.to_string());
    let installed = Cards::load(config.rules.folder.as_deref()).map_err(wrong)?;
    // A card that is refused is said before anything is opened.
    let proposed = on_trial(options)?;
    let data = &options.data.data_dir;
    let _owned = Owned::take(data, "use POST /api/v1/rules:rehearse while it runs")?;
    let (_handle, drain) = Drain::new();
    let now = folder::last_test_time(data).unwrap_or_else(Clock::wall);
    let store = Store::open(data, Clock::manual(now), &drain)?.in_zone(zone);
    let failed = |e: rules::Error| Failure::failed("rehearsal", e);
    let cards = crate::rulebook::in_force(&store, installed, now).map_err(failed)?;
    let cards = cards.with_files(&options.rules).map_err(wrong)?;
    let mut patients = store.directory().patients();
    if let Some(text) = &options.organisation {
        let place: OrganisationId =
            text.parse().map_err(|_| Failure::Configuration("--organisation: not an organisation's id".into()))?;
        patients.retain(|p| p.organisation == Some(place));
    }
    let bounds =
        Bounds { patients: options.patients, time: Duration::from_secs(60 * options.minutes), ..Bounds::default() };
    let asked = Rehearsal { cards, proposed, from, to, patients, bounds };
    let terminal = std::io::stderr().is_terminal();
    let mut told = |done: usize, of: usize| {
        if terminal && (done.is_multiple_of(50) || done + 1 == of) {
            eprint!("\r{done} of {of} patients");
        }
        ControlFlow::Continue(())
    };
    let report = rules::rehearse(&store, &asked, &mut told).map_err(failed)?;
    if terminal {
        eprintln!();
    }
    let text = if options.json {
        serde_json::to_string_pretty(&report).map_err(|e| Failure::failed("report", e))? + "\n"
    } else {
        as_text(&report)
    };
    crate::check::print_all(text.as_bytes())
}

/// The rules whose cards are in the file or folder.
fn on_trial(options: &RehearseOptions) -> Result<Vec<Rule>, Failure> {
    let wrong = |e: rules::Error| Failure::Configuration(e.to_string());
    let rules = Cards::files(&options.rules).map_err(wrong)?;
    if rules.is_empty() {
        return Err(Failure::Configuration(format!("--rules {}: there is no .toml card", options.rules.display())));
    }
    Ok(rules.into_iter().map(|(rule, _)| rule).collect())
}

/// A day of the site, or a moment with its offset.
fn moment(flag: &str, text: &str, zone: &Zone) -> Result<Timestamp, Failure> {
    // The moment first: a day is read from a moment too, and the hour would be lost.
    if let Ok(at) = Timestamp::parse_rfc3339(text) {
        return Ok(at);
    }
    let day = text.parse::<jiff::civil::Date>().map_err(|_| {
        Failure::Configuration(format!("{flag}: write a day, 2026-01-01, or a moment, 2026-01-01T06:00:00+08:00"))
    })?;
    Ok(zone.start_of(day))
}

fn as_text(report: &Report) -> String {
    let mut text = format!("{}\n{}\n\n", report.says.en, report.says.zh_cn);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{:<8} {:>10} {:>10} {:>10} {:>10} {:>6} {:>6} {:>6} {:>8}",
        "rule", "told did", "would", "patients", "would", "same", "new", "gone", "changed"
    );
    for row in &report.rules {
        let _ = writeln!(
            text,
            "{:<8} {:>10} {:>10} {:>10} {:>10} {:>6} {:>6} {:>6} {:>8}{}",
            row.rule_id,
            row.did.told,
            row.would.told,
            row.did.patients,
            row.would.patients,
            row.same,
            row.new,
            row.gone,
            row.changed,
            if row.proposed { "  on trial" } else { "" }
        );
    }
    if !report.patients.complete {
        let _ = writeln!(
            text,
            "\n{} of {} patients were judged: a sample by their random identity",
            report.patients.judged, report.patients.in_scope
        );
    }
    for e in &report.examples {
        let _ = writeln!(text, "{:<8} {} {} {} {}", e.change, e.rule_id, e.patient_id, e.effective_at, e.evidence);
    }
    text.push_str("\nPlans and bindings are taken as they are today; nothing was written.\n");
    text
}
