//! The event sequences of the clinical reference, told to the pure evaluator: same rule, severity, recipients and time,
//! and nothing that is forbidden. A sequence about a rule that is not built yet is named and passed over.

use crate::story;
use crate::story::{Story, at, beyond, bg, bp, implausible, minutes, patient};
use rules::Rule;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use vitals::{Disposition, Entry, GlucoseValue, Medication, MedicationClass, Plan, Status, Targets, Timestamp};

fn plan(profile: &Value) -> Plan {
    let mut plan = Plan::default();
    let words = profile["plan"].as_str().unwrap();
    let rate = words.trim_start_matches("glucose ").trim_end_matches("/wk").parse().ok();
    if words.starts_with("glucose") {
        plan.measuring.glucose_per_week = rate;
    } else {
        plan.measuring.blood_pressure_per_week = rate;
    }
    plan.targets = Targets {
        home_systolic: profile["home_target"][0].as_f64(),
        home_diastolic: profile["home_target"][1].as_f64(),
        fasting_low: profile["fasting_target"][0].as_f64(),
        fasting_high: profile["fasting_target"][1].as_f64(),
        post_meal_high: profile["postmeal_max"].as_f64(),
    };
    if let (Some(s), Some(d)) = (profile["crit_high"][0].as_f64(), profile["crit_high"][1].as_f64()) {
        let own = BTreeMap::from([("systolic".to_owned(), s), ("diastolic".to_owned(), d)]);
        plan.parameters.insert("BP-C1".into(), own);
    }
    if let Some(low) = profile["crit_low_sbp"].as_f64() {
        plan.parameters.insert("BP-C2".into(), BTreeMap::from([("systolic".to_owned(), low)]));
    }
    for drug in profile["drugs"].as_array().into_iter().flatten() {
        let class = match drug.as_str().unwrap() {
            "metformin" => MedicationClass::Biguanide,
            "glimepiride" | "gliclazide" => MedicationClass::Sulfonylurea,
            "insulin" => MedicationClass::Insulin,
            _ => MedicationClass::CalciumChannelBlocker,
        };
        plan.medications.push(Medication { name: drug.to_string(), class, from: None, to: None });
    }
    plan
}

/// What ingest makes of an event: admitted, flagged or held (device protocol, section 3).
fn entry(event: &Value, seq: i64) -> Entry {
    let time = at(event["t"].as_str().unwrap());
    if event["kind"] == "glucose" {
        let low = event["raw"] == "LO";
        let reading = match (event["mmol"].as_f64(), low) {
            (Some(v), _) => bg(seq, time, rounded(v * 10.0)),
            (None, true) => beyond(seq, time, GlucoseValue::Low),
            (None, false) => beyond(seq, time, GlucoseValue::High),
        };
        return Entry::Reading(reading.into());
    }
    let (s, d) = (event["sbp"].as_i64().unwrap(), event["dbp"].as_i64().unwrap());
    if !(50..=280).contains(&s) || !(25..=180).contains(&d) || s - d < 10 {
        return Entry::Held(implausible(seq, time).into());
    }
    let mut reading = bp(seq, time, s, d);
    for flag in event["flags"].as_array().unwrap() {
        let status = match flag.as_str().unwrap() {
            "movement" => Status::BodyMovement,
            "cuff_loose" => Status::CuffLoose,
            "position" => Status::ImproperPosition,
            _ => Status::IrregularPulse,
        };
        reading.statuses.insert(status);
        if status != Status::IrregularPulse {
            reading.disposition = Disposition::Flagged;
        }
    }
    Entry::Reading(reading.into())
}

#[allow(clippy::cast_possible_truncation)]
fn rounded(v: f64) -> i64 {
    v.round() as i64
}

fn play(scenario: &Value) -> Story {
    let events: Vec<&Value> = scenario["events"].as_array().unwrap().iter().filter(|e| e["kind"] != "ack").collect();
    let first = at(events[0]["t"].as_str().unwrap());
    let start = first.minus(minutes(12 * 60));
    let mut story = Story::new(patient(plan(&scenario["profile"]), start), start);
    let arrival = |e: &Value| at(e.get("received").unwrap_or(&e["t"]).as_str().unwrap());
    let mut seen: Vec<String> = Vec::new();
    let mut queue: Vec<(Timestamp, bool, Entry)> = Vec::new();
    for e in &events {
        let mut bare = (*e).clone();
        bare.as_object_mut().unwrap().remove("received");
        let key = bare.to_string();
        let known = seen.iter().position(|k| *k == key).unwrap_or_else(|| {
            seen.push(key);
            seen.len() - 1
        });
        queue.push((arrival(e), e.get("received").is_some(), entry(e, i64::try_from(known).unwrap() + 1)));
    }
    queue.sort_by_key(|(when, ..)| *when);
    let mut rest = queue.into_iter().peekable();
    while let Some((when, buffered, e)) = rest.next() {
        let mut message = vec![e];
        while buffered && let Some((_, _, more)) = rest.next_if(|(w, b, _)| *b && *w == when) {
            message.push(more);
        }
        story.goto(when);
        story.entries(message);
    }
    let wanted = scenario["expect"].as_array().unwrap().iter().map(|w| at(w["at"].as_str().unwrap()));
    let end = wanted.chain([story.now]).max().unwrap();
    story.goto(end.plus(minutes(45)));
    story
}

fn complaints(scenario: &Value, story: &Story) -> Vec<String> {
    let mut left = story.standing();
    let mut out = Vec::new();
    for want in scenario["expect"].as_array().unwrap() {
        let when = at(want["at"].as_str().unwrap());
        let to: BTreeSet<&str> = want["to"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        // "earlier evaluations inside the 14 days may fire first: accept any 06:00 from day 44 to day 56"
        let wide = scenario["note"].as_str().is_some_and(|n| n.contains("accept any 06:00 from day 44 to day 56"));
        let early = if wide { 12 * 86_400_000_000 } else { 0 };
        let hit = left.iter().position(|f| {
            let d = &f.draft;
            want["rule"] == *d.rule
                && want["severity"] == d.severity.as_str()
                && (-early - 60_000_000..=60_000_000).contains(&d.at.micros_since(when))
                && d.recipients.iter().map(|r| r.as_str()).collect::<BTreeSet<_>>() == to
                && (d.closes || want["closes"] != true)
        });
        match hit {
            Some(index) => drop(left.remove(index)),
            None => out.push(format!("missing {want}")),
        }
    }
    for bad in scenario["must_not"].as_array().unwrap() {
        let (rule, severity) = bad.as_str().unwrap().split_once(':').unwrap();
        let there = story
            .engine
            .world()
            .told
            .iter()
            .filter(|f| &*f.draft.rule == rule && f.draft.severity.as_str() == severity);
        out.extend(there.map(|f| format!("forbidden {bad} at {:?}", f.draft.at)));
    }
    out
}

#[test]
fn every_sequence_ends_as_the_reference_says() {
    let file: Value = serde_json::from_str(include_str!("scenarios.json")).unwrap();
    let (mut played, mut wrong) = (0, Vec::new());
    for scenario in file["scenarios"].as_array().unwrap() {
        let named = scenario["expect"].as_array().unwrap().iter().map(|w| w["rule"].as_str().unwrap().to_owned());
        let forbidden = scenario["must_not"].as_array().unwrap().iter();
        let forbidden = forbidden.map(|b| b.as_str().unwrap().split(':').next().unwrap().to_owned());
        let missing: BTreeSet<String> =
            named.chain(forbidden).filter(|rule| rule != "RESP-1" && Rule::parse(rule).is_none()).collect();
        let id = scenario["id"].as_str().unwrap();
        if !missing.is_empty() {
            println!("{id} passed over: {missing:?} not built yet");
            continue;
        }
        let mut scenario = scenario.clone();
        // RESP-1 is the ladder of the alerts, no finding.
        scenario["expect"].as_array_mut().unwrap().retain(|w| w["rule"] != "RESP-1");
        played += 1;
        let story = play(&scenario);
        let seen: Vec<_> = story.standing().iter().map(|f| story::brief(f)).collect();
        wrong.extend(complaints(&scenario, &story).into_iter().map(|c| format!("{id}: {c}; there is {seen:?}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(played == 22, "only {played} played");
}
