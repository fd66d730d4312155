//! Worse is never told more quietly: a reading that is made worse lowers no severity and takes no alert away.
//!
//! "Worse" is farther beyond the limits that a rule guards: a higher pressure, a lower glucose among lows, a higher among
//! highs. What is told is counted by patient and concept, for there is one open alert of each.

use crate::story::{Story, at, bg, bp, minutes, patient};
use proptest::prelude::*;
use std::collections::BTreeMap;
use vitals::{Concept, Plan, Reading, Severity, Timestamp};

const START: &str = "2026-03-02T00:00:00+08:00";

/// What a session's readings are.
#[derive(Clone, Copy, Debug)]
enum Kind {
    HighPressure,
    LowPressure,
    LowGlucose,
    HighGlucose,
}

/// One kind of reading, minutes apart, in steps from harmless to extreme.
#[derive(Clone, Debug)]
struct Course {
    kind: Kind,
    pregnant: bool,
    readings: Vec<(u64, i64)>,
}

fn courses() -> impl Strategy<Value = Course> {
    let kind =
        prop_oneof![Just(Kind::HighPressure), Just(Kind::LowPressure), Just(Kind::LowGlucose), Just(Kind::HighGlucose)];
    let readings = prop::collection::vec((prop_oneof![1_u64..12, 20_u64..90, 300_u64..2000], 0_i64..9), 1..8);
    (kind, any::<bool>(), readings).prop_map(|(kind, pregnant, readings)| Course { kind, pregnant, readings })
}

fn reading(kind: Kind, seq: i64, time: Timestamp, step: i64) -> Reading {
    match kind {
        Kind::HighPressure => bp(seq, time, 128 + 12 * step, 78 + 6 * step),
        Kind::LowPressure => bp(seq, time, 118 - 5 * step, 70 - 3 * step),
        Kind::LowGlucose => bg(seq, time, 61 - 5 * step),
        Kind::HighGlucose => bg(seq, time, 88 + 20 * step),
    }
}

/// The highest severity that anybody was told for each concept.
fn told(course: &Course) -> BTreeMap<Concept, Severity> {
    let mut person = patient(Plan::default(), at(START));
    if course.pregnant {
        person.conditions.push("pregnancy".into());
    }
    let mut story = Story::new(person, at(START));
    let mut time = at(START).plus(minutes(8 * 60));
    for (seq, (gap, step)) in (1..).zip(&course.readings) {
        time = time.plus(minutes(*gap));
        story.goto(time);
        story.message(vec![reading(course.kind, seq, time, *step)]);
    }
    story.goto(time.plus(minutes(180)));
    let mut all = BTreeMap::new();
    for f in story.standing() {
        let severity = all.entry(f.draft.concept).or_insert(f.draft.severity);
        *severity = f.draft.severity.max(*severity);
    }
    all.retain(|_, severity| *severity > Severity::Info);
    all
}

/// Concepts that take another's place as a value gets worse.
fn answers(worse: &BTreeMap<Concept, Severity>, concept: Concept) -> Option<Severity> {
    let also = match concept {
        Concept::GlucoseLow => Some(Concept::GlucoseLowSevere),
        _ => None,
    };
    [Some(concept), also].into_iter().flatten().filter_map(|c| worse.get(&c).copied()).max()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("CASES").map_or(400, |n| n.parse().unwrap()), failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(std::env::var("SEED").map_or(11, |n| n.parse().unwrap())), ..ProptestConfig::default() })]

    #[test]
    fn a_reading_made_worse_lowers_no_severity_and_takes_no_alert_away(
        course in courses(),
        which in any::<prop::sample::Index>(),
        by in 1_i64..4,
    ) {
        let mut worse = course.clone();
        let place = which.index(worse.readings.len());
        worse.readings[place].1 = (worse.readings[place].1 + by).min(9);
        let (before, after) = (told(&course), told(&worse));
        for (concept, severity) in before {
            let now = answers(&after, concept);
            prop_assert!(now.is_some_and(|now| now >= severity), "{concept:?}: {severity:?} became {now:?}");
        }
    }
}
