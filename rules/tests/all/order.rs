//! Order, repeats and batches decide nothing but how soon something is known.

use crate::story::{Story, at, bg, bp, minutes, patient};
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};
use vitals::{Disposition, Plan, Reading, Severity, Status, Timestamp};

const START: &str = "2026-03-02T00:00:00+08:00";
const DAYS: u64 = 18;

#[derive(Clone, Debug)]
struct Session {
    day: u64,
    minute: u64,
    /// Minutes after the reading before, what is measured, flagged.
    readings: Vec<(u64, u8, bool)>,
}

fn sessions() -> impl Strategy<Value = Vec<Session>> {
    let reading = (1_u64..25, 0_u8..10, prop::bool::weighted(0.1));
    let session = (0..DAYS, 0_u64..1400, prop::collection::vec(reading, 1..5))
        .prop_map(|(day, minute, readings)| Session { day, minute, readings });
    prop::collection::vec(session, 1..14)
}

fn readings(sessions: &[Session]) -> Vec<Reading> {
    let mut out: Vec<Reading> = Vec::new();
    for s in sessions {
        let mut when = at(START).plus(minutes(s.day * 1440 + s.minute));
        for (gap, what, flagged) in &s.readings {
            when = when.plus(minutes(*gap));
            if out.iter().any(|r| r.measured_at == when) {
                continue; // two at one moment have no order to keep
            }
            let seq = i64::try_from(out.len()).unwrap() + 1;
            let mut reading = match what {
                0 | 1 => bp(seq, when, 186, 104),
                2 => bp(seq, when, 212, 124),
                3..=5 => bp(seq, when, 141, 88),
                6 => bp(seq, when, 84, 50),
                7 => bg(seq, when, 27),
                8 => bg(seq, when, 171),
                _ => bg(seq, when, 62),
            };
            if *flagged && *what < 7 {
                reading.disposition = Disposition::Flagged;
                reading.statuses.insert(Status::CuffLoose);
            }
            out.push(reading);
        }
    }
    out
}

fn begin() -> Story {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(2.0);
    Story::new(patient(plan, at(START)), at(START))
}

type Said = BTreeSet<(String, Timestamp, Vec<vitals::ReadingId>)>;

/// Everything that stands but the requests for a repeat, which a batch does not make.
fn said(story: &Story) -> Said {
    let evidence = |f: &vitals::Finding| -> serde_json::Value { serde_json::from_str(&f.draft.evidence).unwrap() };
    let lasting = story.standing().into_iter().filter(|f| evidence(f)["step"] != "asked");
    lasting.map(|f| (f.draft.rule.to_string(), f.draft.effective_at, f.draft.readings.clone())).collect()
}

fn agree(story: &Story, expected: &Said) -> Result<(), TestCaseError> {
    let found = said(story);
    let more: Vec<_> = found.difference(expected).collect();
    let less: Vec<_> = expected.difference(&found).collect();
    prop_assert!(more.is_empty() && less.is_empty(), "too much {more:?}\nmissing {less:?}");
    Ok(())
}

fn end() -> Timestamp {
    at(START).plus(Duration::from_secs(86_400 * (DAYS + 10)))
}

fn live(mut readings: Vec<Reading>) -> Story {
    readings.sort_by_key(|r| r.measured_at);
    let mut story = begin();
    for r in readings {
        story.goto(r.measured_at);
        story.message(vec![r]);
    }
    story.goto(end());
    story
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("CASES").map_or(200, |n| n.parse().unwrap()), failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(std::env::var("SEED").map_or(7, |n| n.parse().unwrap())), ..ProptestConfig::default() })]

    #[test]
    fn a_week_late_shuffled_doubled_and_in_pieces_ends_the_same(
        plan in sessions(),
        seed in any::<u64>(),
        piece in 1_usize..9,
    ) {
        let all = readings(&plan);
        let expected = said(&live(all.clone()));
        let mut shuffled = all.clone();
        shuffled.sort_by_key(|r| r.id.as_i64().cast_unsigned().wrapping_mul(seed | 1).rotate_left(17));
        let mut story = begin();
        story.goto(end().minus(Duration::from_secs(86_400)));
        for message in shuffled.chunks(piece) {
            story.message(message.to_vec());
            story.message(message.to_vec());
        }
        story.goto(end());
        agree(&story, &expected)?;
    }

    #[test]
    fn delays_of_days_and_restarts_end_the_same(
        plan in sessions(),
        seed in any::<u64>(),
        restart_at in 0_usize..40,
    ) {
        let all = readings(&plan);
        let expected = said(&live(all.clone()));
        let mut arrivals: Vec<(Timestamp, Reading)> = all
            .into_iter()
            .map(|r| {
                let delay = (r.id.as_i64().cast_unsigned().wrapping_mul(seed | 1) >> 7) % 4000;
                (r.measured_at.plus(minutes(delay)), r)
            })
            .collect();
        arrivals.sort_by_key(|(when, r)| (*when, r.id));
        let mut story = begin();
        for (i, (when, reading)) in arrivals.into_iter().enumerate() {
            if i == restart_at {
                story = story.restart();
            }
            story.goto(when);
            story.message(vec![reading]);
        }
        story.goto(end());
        agree(&story, &expected)?;
    }

    #[test]
    fn readings_that_were_stored_and_not_judged_when_the_process_died_end_the_same(
        plan in sessions(),
        deaths in prop::collection::vec((0_usize..30, 0_u64..50), 1..6),
    ) {
        let mut all = readings(&plan);
        all.sort_by_key(|r| r.measured_at);
        let expected = said(&live(all.clone()));
        let mut story = begin();
        for (i, reading) in all.into_iter().enumerate() {
            story.goto(reading.measured_at);
            story = match deaths.iter().find(|(at, _)| *at == i) {
                Some((_, down)) => story.dies_with(vec![reading], minutes(*down)),
                None => {
                    story.message(vec![reading]);
                    story
                }
            };
        }
        story.goto(end());
        agree(&story, &expected)?;
    }

    #[test]
    fn whatever_order_readings_come_in_nothing_stands_asked_that_was_not_asked_in_order(
        plan in sessions(),
        seed in any::<u64>(),
    ) {
        let all = readings(&plan);
        let asked = |story: &Story| -> BTreeSet<(String, Timestamp)> {
            let asks = |f: &&vitals::Finding| f.draft.evidence.contains(r#""step":"asked""#);
            story.standing().into_iter().filter(asks).map(|f| (f.draft.rule.to_string(), f.draft.effective_at)).collect()
        };
        let expected = asked(&live(all.clone()));
        let mut shuffled = all;
        shuffled.sort_by_key(|r| (r.measured_at.day(&vitals::Zone::default()), r.id.as_i64().cast_unsigned().wrapping_mul(seed | 1).rotate_left(17)));
        let mut story = begin();
        for reading in shuffled {
            story.goto(reading.measured_at);
            story.message(vec![reading]);
        }
        story.goto(end());
        let found = asked(&story);
        let more: Vec<_> = found.difference(&expected).collect();
        prop_assert!(more.is_empty(), "asked too much: {more:?}");
    }

    #[test]
    fn nothing_is_concluded_from_a_flagged_reading_and_only_worse_speaks_while_it_is_held(plan in sessions()) {
        let all = readings(&plan);
        let flagged: Vec<_> =
            all.iter().filter(|r| r.disposition == Disposition::Flagged).map(|r| r.id).collect();
        let story = live(all);
        for f in story.standing().iter().filter(|f| &*f.draft.rule != "DQ-2") {
            prop_assert!(!f.draft.readings.iter().any(|r| flagged.contains(r)), "{}", f.draft.rule);
        }
        let lows = story.of("GLU-C1");
        let lows: Vec<_> = lows.iter().filter(|f| f.draft.severity == Severity::Critical).collect();
        for pair in lows.windows(2) {
            prop_assert!(pair[1].draft.effective_at.since(pair[0].draft.effective_at) >= minutes(24 * 60));
        }
    }
}
