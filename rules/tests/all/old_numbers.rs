//! What was concluded by a plan that has changed since: it stands, whatever comes late.

use crate::story::{Story, at, bg, bp, brief, minutes, patient};
use std::sync::Arc;
use vitals::{Finding, Meal, Patient, Plan, Reading, Timestamp};

/// A Monday.
const START: &str = "2026-03-02T08:00:00+08:00";

fn on(day: u64, hour: u64) -> Timestamp {
    at(START).plus(minutes(day * 1440 + hour * 60))
}

fn plan() -> Plan {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(14.0);
    plan.measuring.glucose_per_week = Some(7.0);
    plan.targets.home_systolic = Some(135.0);
    plan.targets.fasting_high = Some(7.0);
    plan
}

/// Four weeks of high fasting glucose, two of high pressure but for Sunday evening; the look of Monday morning.
fn two_weeks() -> Story {
    let mut story = Story::new(patient(plan(), at(START)), at(START));
    for n in 0..55_u64 {
        let when = on(n / 2, (n % 2) * 12);
        story.goto(when);
        let mut said = Vec::new();
        if n >= 28 {
            said.push(bp(n.cast_signed() + 1, when, 138, 80));
        }
        if n % 2 == 0 {
            let meal = vitals::Context { meal: Some(Meal::Fasting), ..vitals::Context::default() };
            said.push(Reading { context: meal, ..bg(n.cast_signed() + 101, when, 90) });
        }
        story.message(said);
    }
    story.goto(on(28, 1));
    story
}

fn targets(story: &mut Story, systolic: f64, fasting: f64) {
    let mut plan = plan();
    plan.targets.home_systolic = Some(systolic);
    plan.targets.fasting_high = Some(fasting);
    let changed = Arc::new(Patient { plan, ..patient(Plan::default(), at(START)) });
    story.engine.world_mut().patient = Some(changed.clone());
    let now = story.now;
    story.engine.refresh(changed, now).unwrap();
}

/// Findings of means that stand, without all-clears.
fn means(story: &Story) -> Vec<(String, &'static str, Timestamp, bool)> {
    let of_mean = |f: &&Finding| matches!(&*f.draft.rule, "BP-S1" | "GLU-S1") && !f.draft.closes;
    story.standing().into_iter().filter(of_mean).map(brief).collect()
}

#[test]
fn a_late_reading_takes_nothing_back_that_was_concluded_by_another_plan() {
    for restarts in [false, true] {
        let mut story = two_weeks();
        let before = means(&story);
        let rules: Vec<&str> = before.iter().map(|f| f.0.as_str()).collect();
        assert_eq!(rules, ["GLU-S1", "BP-S1"]);
        story.goto(on(29, 1));
        targets(&mut story, 145.0, 11.0);
        if restarts {
            story = story.restart();
        }
        story.goto(on(30, 1));
        story.message(vec![bp(500, on(27, 12), 137, 80), bg(501, on(2, 4), 70)]);
        assert_eq!(means(&story), before, "it stands, restarts: {restarts}");
        // By the same plan it is taken back, as ever.
        let mut same = two_weeks();
        same.goto(on(30, 1));
        same.message((0..4).map(|i| bp(500 + i, on(21 + i.unsigned_abs(), 6), 100, 70)).collect());
        assert!(!means(&same).iter().any(|f| f.0 == "BP-S1"), "the week was not high");
    }
}

#[test]
fn what_stands_on_a_reading_that_does_not_count_any_more_is_taken_back_by_any_plan() {
    let mut story = two_weeks();
    targets(&mut story, 145.0, 7.0);
    story.goto(on(29, 1));
    story.exclude(bp(40, on(19, 12), 138, 80));
    assert!(!means(&story).iter().any(|f| f.0 == "BP-S1"));
}
