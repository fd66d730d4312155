//! Awkward but true: a patient who moves, one whose date of birth nobody knows, ten years of readings at once.

use crate::story::{Story, at, bg, bp, minutes, patient};
use std::{sync::Arc, time::Duration};
use vitals::{Patient, Plan, Reading, Recipient, Severity, Timestamp, Verdict};

const START: &str = "2026-03-02T08:00:00+08:00";

fn days(n: u64) -> Duration {
    minutes(n * 1440)
}

/// Two sessions a day from the start on, at 08:00 and 20:00 in Shanghai.
fn weeks_at(systolic: i64, from: Timestamp, n: u64) -> Vec<Reading> {
    (0..n * 2).map(|i| bp(i64::try_from(i).unwrap() + 1, from.plus(minutes(i * 720)), systolic, 80)).collect()
}

#[test]
fn who_moves_has_mornings_and_weeks_on_the_new_wall_and_keeps_what_was_concluded() {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(14.0);
    let person = patient(plan, at(START));
    let mut story = Story::new(person.clone(), at(START));
    for reading in weeks_at(150, at(START), 16) {
        story.goto(reading.measured_at);
        story.message(vec![reading]);
    }
    let before: Vec<_> = story.of("BP-S1").iter().map(|f| f.id).collect();
    assert_eq!(before.len(), 1, "two high weeks in Shanghai");
    let moved = Arc::new(Patient { time_zone: Some("Europe/London".into()), ..person });
    story.engine.world_mut().patient = Some(moved.clone());
    let now = story.now;
    story.engine.refresh(moved, now).unwrap();
    let first_there = at("2026-03-18T06:00:00+00:00");
    assert!(story.engine.next_due().is_some_and(|due| due <= first_there), "the mornings of London are looked at");
    story.goto(at("2026-03-25T12:00:00+00:00"));
    let after: Vec<_> = story.of("BP-S1").iter().map(|f| f.id).collect();
    assert_eq!(after, before, "nothing is said twice because somebody moved");
}

#[test]
fn whoever_moves_east_on_a_monday_before_six_loses_no_week() {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(14.0);
    let person = Patient { time_zone: Some("Asia/Urumqi".into()), ..patient(plan, at(START)) };
    let mut story = Story::new(person.clone(), at(START));
    for reading in weeks_at(150, at(START), 14) {
        story.goto(reading.measured_at);
        story.message(vec![reading]);
    }
    // Monday, 05:00 in Urumqi and 07:00 in Shanghai: the morning of neither wall comes any more.
    story.goto(at("2026-03-16T07:00:00+08:00"));
    assert!(story.of("BP-S1").is_empty());
    let moved = Arc::new(Patient { time_zone: Some("Asia/Shanghai".into()), ..person });
    story.engine.world_mut().patient = Some(moved.clone());
    let now = story.now;
    story.engine.refresh(moved, now).unwrap();
    story.entries(Vec::new());
    let told: Vec<_> = story.of("BP-S1").iter().map(|f| f.draft.effective_at).collect();
    assert_eq!(told, [at("2026-03-16T06:00:00+08:00")]);
}

#[test]
fn without_a_date_of_birth_nobody_is_taken_for_old() {
    let told = |born: Option<&str>| {
        let person = Patient { birth_date: born.map(|b| b.parse().unwrap()), ..patient(Plan::default(), at(START)) };
        let mut story = Story::new(person, at(START));
        story.message(vec![bg(1, story.now, 35)]);
        story.goto(at(START).plus(minutes(45)));
        story.of("GLU-C2").iter().any(|f| f.draft.severity == Severity::Urgent)
    };
    assert!(told(Some("1950-01-01")), "no recheck at 76 is the manager's matter");
    assert!(!told(Some("1990-01-01")));
    assert!(!told(None));
}

#[test]
fn ten_years_in_one_message_page_nobody_and_end_as_they_would_have_in_pieces() {
    let begin = at("2016-03-07T08:00:00+08:00");
    let mut readings: Vec<Reading> = (0..522)
        .flat_map(|week: i64| {
            let monday = begin.plus(days(7 * week.unsigned_abs()));
            // Two high months in the fourth year.
            let systolic = if (180..190).contains(&week) { 152 } else { 126 };
            (0..3).map(move |i| bp(week * 3 + i + 1, monday.plus(days(2 * i.unsigned_abs())), systolic, 79))
        })
        .collect();
    let crisis = begin.plus(days(2000));
    readings.push(bp(100_001, crisis, 196, 118));
    readings.push(bp(100_002, crisis.plus(minutes(5)), 194, 116));
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(3.0);
    let run = |piece: usize| {
        let enrolled = Patient { enrolled_at: begin.minus(days(1)), ..patient(plan.clone(), at(START)) };
        let mut story = Story::new(enrolled, at(START));
        for message in readings.chunks(piece) {
            story.message(message.to_vec());
        }
        story
    };
    let story = run(readings.len());
    assert!(
        story
            .engine
            .world()
            .told
            .iter()
            .all(|f| f.draft.verdict == Verdict::Note || f.draft.severity < Severity::Urgent)
    );
    let grave: Vec<_> = story.standing().into_iter().filter(|f| f.draft.severity >= Severity::Urgent).collect();
    assert_eq!(grave.len(), 1, "the confirmed crisis, for the manager, in opening hours");
    assert_eq!((&*grave[0].draft.rule, &grave[0].draft.recipients[..]), ("BP-C1", &[Recipient::HealthManager][..]));
    assert!(!story.of("BP-S1").is_empty(), "the high months are in the record");
    let brief = |story: &Story| -> Vec<_> {
        let lasting = story.standing().into_iter().filter(|f| !f.draft.evidence.contains("\"step\":\"asked\""));
        lasting.map(|f| (f.draft.rule.to_string(), f.draft.effective_at, f.draft.readings.len())).collect()
    };
    assert_eq!(brief(&run(97)), brief(&story));
}
