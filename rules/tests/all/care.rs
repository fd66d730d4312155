//! PREG-1 and FU-1: what a pregnancy changes, and who must be seen again.

use crate::story::{Story, at, bp, minutes, patient};
use std::time::Duration;
use vitals::{Patient, Plan, Reading, Recipient, Severity, Timestamp};

const START: &str = "2026-03-02T08:00:00+08:00";

fn pregnant() -> Story {
    let person = Patient { conditions: vec!["pregnancy".into()], ..patient(Plan::default(), at(START)) };
    Story::new(person, at(START))
}

/// Each pressure so many minutes after the start, as a message of its own.
fn measure(story: &mut Story, readings: &[(u64, i64, i64)]) {
    for (i, (minute, systolic, diastolic)) in readings.iter().enumerate() {
        story.goto(at(START).plus(minutes(*minute)));
        let seq = i64::try_from(i).unwrap() + 1;
        story.message(vec![bp(seq, story.now, *systolic, *diastolic)]);
    }
}

fn told(story: &Story, rule: &str) -> Vec<(Severity, Timestamp, Vec<Recipient>)> {
    let of = story.of(rule).into_iter().filter(|f| f.draft.severity > Severity::Info);
    of.map(|f| (f.draft.severity, f.draft.effective_at, f.draft.recipients.clone())).collect()
}

#[test]
fn in_a_pregnancy_140_twice_is_urgent_for_the_gp_and_the_specialist_and_the_default_rules_rest() {
    let mut story = pregnant();
    measure(&mut story, &[(0, 142, 86), (5, 141, 84)]);
    let when = at(START).plus(minutes(5));
    assert_eq!(told(&story, "PREG-1"), [(Severity::Urgent, when, vec![Recipient::Gp, Recipient::Specialist])]);
    assert!(story.of("BP-C1").is_empty());
    let asked = story.engine.world().commands.len();
    assert_eq!(asked, 1, "her meter is asked for a repeat");
}

#[test]
fn two_of_three_at_160_within_a_quarter_of_an_hour_are_critical_whatever_lies_between() {
    let critical = |readings: &[(u64, i64, i64)]| {
        let mut story = pregnant();
        measure(&mut story, readings);
        let found = told(&story, "PREG-1");
        found.into_iter().find(|f| f.0 == Severity::Critical).map(|f| f.1.since(at(START)).as_secs() / 60)
    };
    assert_eq!(critical(&[(0, 165, 100), (4, 161, 99)]), Some(4));
    assert_eq!(critical(&[(0, 165, 100), (4, 146, 92), (9, 163, 95)]), Some(9), "one of the pair asks on");
    assert_eq!(critical(&[(0, 145, 91), (4, 164, 95), (9, 162, 95)]), Some(9));
    assert_eq!(critical(&[(0, 165, 100), (4, 120, 80), (9, 165, 100)]), Some(9));
    assert_eq!(critical(&[(0, 165, 100), (20, 165, 100)]), None, "not within a quarter of an hour");
    assert_eq!(critical(&[(0, 150, 112), (4, 152, 111)]), Some(4), "the diastolic pressure alone is enough");
}

#[test]
fn a_single_high_one_in_a_pregnancy_is_cleared_by_two_normal_ones_or_goes_to_the_manager() {
    let mut story = pregnant();
    measure(&mut story, &[(0, 145, 91), (3, 128, 80), (5, 126, 78)]);
    story.goto(at(START).plus(minutes(90)));
    assert!(told(&story, "PREG-1").is_empty());
    let mut story = pregnant();
    measure(&mut story, &[(0, 162, 91)]);
    story.goto(at(START).plus(minutes(31)));
    let when = at(START).plus(minutes(30));
    assert_eq!(told(&story, "PREG-1"), [(Severity::Urgent, when, vec![Recipient::HealthManager])]);
}

#[test]
fn a_pregnancy_shuffled_or_late_ends_the_same() {
    let readings: Vec<Reading> = [(0, 165, 100), (4, 146, 92), (9, 163, 95), (700, 150, 90), (704, 149, 91)]
        .iter()
        .zip(1..)
        .map(|((minute, s, d), seq)| bp(seq, at(START).plus(minutes(*minute)), *s, *d))
        .collect();
    let brief = |story: &Story| -> Vec<_> { told(story, "PREG-1").into_iter().map(|f| (f.0, f.1)).collect() };
    let mut live = pregnant();
    for r in &readings {
        live.goto(r.measured_at);
        live.message(vec![r.clone()]);
    }
    live.goto(at(START).plus(minutes(900)));
    for order in [[4, 2, 0, 3, 1], [1, 0, 2, 4, 3], [2, 1, 0, 4, 3]] {
        let mut late = pregnant();
        late.goto(at(START).plus(minutes(800)));
        for i in order {
            late.message(vec![readings[i].clone()]);
        }
        late.goto(at(START).plus(minutes(900)));
        assert_eq!(brief(&late), brief(&live), "{order:?}");
    }
}

fn crisis() -> Story {
    let mut story = Story::new(patient(Plan::default(), at(START)), at(START));
    measure(&mut story, &[(0, 192, 114), (4, 190, 113)]);
    story
}

fn days(n: u64) -> Duration {
    minutes(n * 1440)
}

#[test]
fn nobody_saw_the_patient_again_the_manager_is_told_on_day_12_and_the_gp_on_day_14() {
    let mut story = crisis();
    // Called on the day itself: that answered the alarm.
    story.engine.world_mut().contacts.push(at(START).plus(minutes(40)));
    story.goto(at(START).plus(days(20)));
    let morning = |day: u64| at("2026-03-02T06:00:00+08:00").plus(days(day));
    let expected = [
        (Severity::Routine, morning(12), vec![Recipient::HealthManager]),
        (Severity::Routine, morning(14), vec![Recipient::Gp]),
    ];
    assert_eq!(told(&story, "FU-1"), expected);
    story.engine.world_mut().contacts.push(story.now);
    story.goto(story.now.plus(days(2)));
    let last = story.of("FU-1").pop().unwrap();
    assert!(last.draft.closes, "the record ends it");
}

#[test]
fn a_follow_up_stays_due_until_somebody_records_it_however_long_that_takes() {
    let mut story = crisis();
    story.goto(at(START).plus(days(100)));
    assert_eq!(story.of("FU-1").len(), 2, "told on day 12 and day 14, and closed by nothing");
    story.engine.world_mut().contacts.push(story.now);
    story.goto(story.now.plus(days(2)));
    assert!(story.of("FU-1").pop().unwrap().draft.closes, "the record ends it");
}

#[test]
fn who_was_seen_again_within_two_weeks_is_not_asked_about() {
    let mut story = crisis();
    story.engine.world_mut().contacts.push(at(START).plus(days(3)));
    story.goto(at(START).plus(days(30)));
    assert!(story.of("FU-1").is_empty());
}
