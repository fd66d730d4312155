//! What speaks while something is held, what a person's closing ends, and by the drugs of which day it is judged.

use crate::story::{Story, at, bg, bp, minutes, patient};
use jiff::civil::date;
use vitals::{Medication, MedicationClass, Plan, Reading};

const START: &str = "2026-03-02T08:00:00+08:00";

fn quiet() -> Story {
    Story::new(patient(Plan::default(), at(START)), at(START))
}

fn taking(class: MedicationClass, from: Option<(i8, i8)>, to: Option<(i8, i8)>) -> Story {
    let day = |d: Option<(i8, i8)>| d.map(|(month, day)| date(2026, month, day));
    let medications = vec![Medication { name: String::new(), class, from: day(from), to: day(to) }];
    let plan = Plan { medications, ..Plan::default() };
    Story::new(patient(plan, at(START)), at(START))
}

/// Steps of one rule that stand: what, how urgent, when.
fn steps(story: &Story, rule: &str) -> Vec<(String, &'static str, String)> {
    let step = |evidence: &str| -> String {
        let evidence: serde_json::Value = serde_json::from_str(evidence).unwrap();
        evidence["step"].as_str().unwrap().to_owned()
    };
    let zone = vitals::Zone::default();
    let when = |f: &vitals::Finding| f.draft.effective_at.to_rfc3339(&zone)[5..16].to_owned();
    story.of(rule).iter().map(|f| (step(&f.draft.evidence), f.draft.severity.as_str(), when(f))).collect()
}

fn say(story: &mut Story, minute: u64, reading: impl FnOnce(vitals::Timestamp) -> Reading) {
    story.goto(at(START).plus(minutes(minute)));
    story.message(vec![reading(story.now)]);
}

fn fainting(seq: i64, when: vitals::Timestamp) -> Reading {
    let mut reading = bp(seq, when, 82, 55);
    reading.context.symptoms.push("fainting".into());
    reading
}

#[test]
fn fainting_speaks_through_the_hold_of_an_urgent_low() {
    let mut story = quiet();
    say(&mut story, 0, |t| bp(1, t, 85, 55));
    say(&mut story, 5, |t| bp(2, t, 84, 55));
    say(&mut story, 60, |t| bp(3, t, 84, 55));
    assert_eq!(steps(&story, "BP-C2").last().unwrap().1, "urgent", "one more of the same is evidence");
    say(&mut story, 125, |t| fainting(4, t));
    assert_eq!(steps(&story, "BP-C2").last().unwrap(), &("alone".to_owned(), "critical", "03-02T10:05".to_owned()));
    let mut late = quiet();
    say(&mut late, 125, |t| fainting(4, t));
    for (seq, minute, systolic) in [(1, 0, 85), (2, 5, 84), (3, 60, 84)] {
        late.message(vec![bp(seq, at(START).plus(minutes(minute)), systolic, 55)]);
    }
    let lasting = |story: &Story| -> Vec<_> { steps(story, "BP-C2").into_iter().filter(|s| s.0 != "asked").collect() };
    assert_eq!(lasting(&late), lasting(&story));
}

#[test]
fn two_confirmed_high_glucoses_within_a_day_are_critical_whatever_was_unanswered_before() {
    let mut story = quiet();
    say(&mut story, 0, |t| bg(1, t, 170));
    for (n, hour) in [(0, 3), (1, 7)] {
        say(&mut story, hour * 60, |t| bg(10 * n + 2, t, 175));
        say(&mut story, hour * 60 + 20, |t| bg(10 * n + 3, t, 176));
        story = story.restart();
    }
    let found = steps(&story, "GLU-C3");
    let told: Vec<_> = found.iter().filter(|s| s.0 != "asked").map(|s| (s.0.as_str(), s.1)).collect();
    assert_eq!(told, [("expired", "urgent"), ("again", "info"), ("confirmed", "critical")]);
    // More than a day apart they are two, and neither is critical.
    let mut story = quiet();
    for (n, hour) in [(0, 3), (1, 28)] {
        say(&mut story, hour * 60, |t| bg(10 * n + 2, t, 175));
        say(&mut story, hour * 60 + 20, |t| bg(10 * n + 3, t, 176));
    }
    assert!(steps(&story, "GLU-C3").iter().all(|s| s.1 != "critical"));
}

#[test]
fn what_comes_after_a_person_closed_the_alert_is_told_again() {
    let crisis = |story: &mut Story, seq: i64, minute: u64| {
        say(story, minute, |t| bp(seq, t, 190, 112));
        say(story, minute + 5, |t| bp(seq + 1, t, 191, 112));
    };
    let confirmed = |story: &Story| steps(story, "BP-C1").iter().filter(|s| s.0 == "confirmed").count();
    for close in [false, true] {
        let mut story = quiet();
        crisis(&mut story, 1, 0);
        story.goto(at(START).plus(minutes(60)));
        if close {
            story.close_alerts();
        }
        story = story.restart();
        crisis(&mut story, 3, 120);
        assert_eq!(confirmed(&story), if close { 2 } else { 1 }, "{:?}", steps(&story, "BP-C1"));
        // A reading of before that comes late takes nothing back.
        story.message(vec![bp(9, at(START).plus(minutes(2)), 188, 111)]);
        assert_eq!(confirmed(&story), if close { 2 } else { 1 });
    }
}

#[test]
fn a_severe_low_after_the_last_ones_alert_was_closed_is_critical_again() {
    let mut story = quiet();
    say(&mut story, 0, |t| bg(1, t, 24));
    say(&mut story, 20, |t| bg(2, t, 60));
    story.close_alerts();
    say(&mut story, 480, |t| bg(3, t, 21));
    let lows: Vec<_> = steps(&story, "GLU-C1").into_iter().filter(|s| s.1 == "critical").collect();
    assert_eq!(lows.len(), 2, "{lows:?}");
}

#[test]
fn a_low_is_judged_by_the_drugs_of_its_day_whenever_it_comes() {
    let urgent = |story: &Story| steps(story, "GLU-C2").iter().any(|s| s.1 == "urgent" || s.1 == "routine");
    // (first day, last day, expected on Thursday the 5th)
    for (from, to, expected) in [(Some((3, 4)), None, true), (None, Some((3, 3)), false), (Some((3, 10)), None, false)]
    {
        let thursday = 3 * 1440;
        let mut live = taking(MedicationClass::Insulin, from, to);
        say(&mut live, thursday, |t| bg(1, t, 35));
        live.goto(at(START).plus(minutes(thursday + 60)));
        assert_eq!(urgent(&live), expected, "live, {from:?} to {to:?}");
        let mut late = taking(MedicationClass::Insulin, from, to);
        late.goto(at(START).plus(minutes(thursday + 7 * 1440)));
        late.message(vec![bg(1, at(START).plus(minutes(thursday)), 35)]);
        assert_eq!(urgent(&late), expected, "late, {from:?} to {to:?}");
    }
}
