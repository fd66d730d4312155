//! What patients and their meters do, and what is concluded of it.

use crate::story;
use crate::story::{Story, at, beyond, bg, bp, brief, minutes, patient};
use std::{collections::BTreeMap, time::Duration};
use vitals::{Finding, GlucoseValue, Plan, Reading, Recipient, Severity, Verdict};

const START: &str = "2026-03-02T08:00:00+08:00";

fn quiet() -> Story {
    Story::new(patient(Plan::default(), at(START)), at(START))
}

fn planned(per_week: f64) -> Plan {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(per_week);
    plan
}

fn criticals(story: &Story) -> Vec<&Finding> {
    story.standing().into_iter().filter(|f| f.draft.severity == Severity::Critical).collect()
}

#[test]
fn one_high_reading_asks_its_meter_for_a_repeat_and_tells_no_staff() {
    let mut story = quiet();
    story.message(vec![bp(1, story.now, 188, 114)]);
    let asked = story.of("BP-C1");
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].draft.severity, &asked[0].draft.recipients[..]), (Severity::Info, &[Recipient::Patient][..]));
    let command = &story.engine.world().commands[0];
    let body: serde_json::Value = serde_json::from_str(&command.body).unwrap();
    assert_eq!(body["type"], "remeasure");
    assert_eq!((body["times"].as_u64(), body["afterSeconds"].as_u64()), (Some(2), Some(300)));
    assert_eq!(body["expiresAt"], "2026-03-02T08:30:00+08:00");
    assert_eq!(command.expires_at, at("2026-03-02T08:30:00+08:00"));
}

#[test]
fn whoever_does_not_answer_is_asked_once_more_and_whoever_answers_is_not() {
    let mut story = quiet();
    story.message(vec![bp(1, story.now, 188, 114)]);
    story.goto(at(START).plus(minutes(19)));
    assert_eq!(story.engine.world().commands.len(), 1);
    story = story.restart();
    story.goto(at(START).plus(minutes(29)));
    let again = &story.engine.world().commands[1];
    let body: serde_json::Value = serde_json::from_str(&again.body).unwrap();
    assert_eq!((body["times"].as_u64(), body["afterSeconds"].as_u64()), (Some(2), Some(60)));
    assert_eq!(again.expires_at, at(START).plus(minutes(30)));
    assert!(story.standing().iter().all(|f| f.draft.severity == Severity::Info), "nobody of the team is told yet");
    story.goto(at(START).plus(minutes(31)));
    assert_eq!((story.engine.world().commands.len(), brief(story.of("BP-C1")[1]).1), (2, "urgent"));
    let mut story = quiet();
    for (seq, minute, systolic) in [(1, 0, 188), (2, 6, 140), (3, 7, 139)] {
        story.goto(at(START).plus(minutes(minute)));
        story.message(vec![bp(seq, story.now, systolic, 84)]);
    }
    story.goto(at(START).plus(minutes(40)));
    assert_eq!(story.engine.world().commands.len(), 1);
}

#[test]
fn thirty_breaches_in_an_hour_are_one_critical_with_twenty_eight_more_readings() {
    let mut story = quiet();
    for i in 0..30 {
        story.message(vec![bp(i + 1, story.now, 186 + i % 5, 113)]);
        story.goto(story.now.plus(minutes(2)));
    }
    let found = criticals(&story);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].draft.readings.len(), 2);
    assert_eq!(story.attached(found[0].id), 28);
    let evidence: serde_json::Value = serde_json::from_str(&found[0].draft.evidence).unwrap();
    assert_eq!(evidence["readings"].as_array().unwrap().len(), 2);
    assert_eq!(evidence["parameters"][0]["value"], 180.0);
    assert_eq!(evidence["parameters"][0]["from"], "card");
}

#[test]
fn while_it_is_held_only_a_much_worse_confirmed_pair_speaks_again_and_after_six_hours_any() {
    let mut story = quiet();
    for (i, (minute, systolic)) in
        [(0, 190), (5, 188), (180, 189), (185, 187), (240, 215), (245, 214)].into_iter().enumerate()
    {
        story.goto(at(START).plus(minutes(minute)));
        story.message(vec![bp(i64::try_from(i).unwrap() + 1, story.now, systolic, 100)]);
    }
    let when: Vec<_> = criticals(&story).iter().map(|f| f.draft.effective_at.since(at(START)).as_secs() / 60).collect();
    assert_eq!(when, [5, 245]);
    for (seq, minute) in [(7, 245 + 361), (8, 245 + 366)] {
        story.goto(at(START).plus(minutes(minute)));
        story.message(vec![bp(seq, story.now, 185, 100)]);
    }
    assert_eq!(criticals(&story).len(), 3);
}

#[test]
fn symptoms_that_are_told_with_the_repeat_are_a_crisis_whatever_the_repeat_shows() {
    let felt = |mut reading: vitals::Reading| {
        reading.context.symptoms = vec!["chest_pain".into()];
        reading
    };
    let mut story = quiet();
    story.message(vec![bp(1, story.now, 186, 92)]);
    story.goto(at("2026-03-02T08:05:00+08:00"));
    story.message(vec![felt(bp(2, story.now, 165, 90))]);
    assert_eq!(criticals(&story).len(), 1);
    let mut other = quiet();
    other.message(vec![felt(bp(1, other.now, 165, 90))]);
    assert!(other.standing().is_empty(), "nobody had asked");
}

#[test]
fn a_pair_that_begins_within_the_hold_and_ends_after_it_is_a_crisis_of_its_own() {
    let seconds = at("2026-03-02T14:06:00+08:00");
    let halves = [at("2026-03-02T14:01:00+08:00"), seconds];
    let live = {
        let mut story = quiet();
        story.message(vec![bp(1, story.now, 186, 112)]);
        story.goto(at("2026-03-02T08:05:00+08:00"));
        story.message(vec![bp(2, story.now, 188, 113)]);
        for (seq, when) in [3, 4].into_iter().zip(halves) {
            story.goto(when);
            story.message(vec![bp(seq, when, 190, 113)]);
        }
        story
    };
    let late = {
        let mut story = quiet();
        story.goto(at("2026-03-02T15:00:00+08:00"));
        let first = [at(START), at("2026-03-02T08:05:00+08:00")];
        let all = first.into_iter().chain(halves).zip(1..).map(|(when, seq)| bp(seq, when, 188, 113)).collect();
        story.message(all);
        story
    };
    for story in [&live, &late] {
        let when: Vec<_> = criticals(story).iter().map(|f| f.draft.effective_at).collect();
        assert_eq!(when, [at("2026-03-02T08:05:00+08:00"), seconds], "the hold of six hours ended at 14:05");
    }
    let mut alone = quiet();
    for (seq, when) in [(1, START), (2, "2026-03-02T08:05:00+08:00"), (3, "2026-03-02T14:01:00+08:00")] {
        alone.goto(at(when));
        alone.message(vec![bp(seq, at(when), 188, 113)]);
    }
    alone.goto(at("2026-03-02T16:00:00+08:00"));
    assert_eq!(criticals(&alone).len(), 1);
    assert_eq!(alone.of("BP-C1").len(), 2, "asked, confirmed; what lies within the hold alone only joins it");
}

#[test]
fn a_repeat_that_was_only_uploaded_late_takes_the_unconfirmed_back() {
    let mut story = quiet();
    story.message(vec![bp(1, story.now, 186, 112)]);
    story.goto(at("2026-03-02T09:00:00+08:00"));
    assert!(story.of("BP-C1").iter().any(|f| f.draft.severity == Severity::Urgent));
    story.message(vec![bp(2, at("2026-03-02T08:10:00+08:00"), 188, 113)]);
    let after = story.of("BP-C1");
    assert!(!after.iter().any(|f| f.draft.severity == Severity::Urgent), "it was confirmed after all");
    assert_eq!(criticals(&story)[0].draft.effective_at, at("2026-03-02T08:10:00+08:00"));
    assert_eq!(criticals(&story)[0].draft.verdict, Verdict::Page);
}

#[test]
fn a_restart_while_a_repeat_is_awaited_forgets_nothing_and_says_nothing_twice() {
    let mut story = quiet();
    story.message(vec![bp(1, story.now, 186, 112)]);
    story.goto(story.now.plus(minutes(10)));
    let mut story = story.restart();
    story.goto(at(START).plus(minutes(29)));
    assert_eq!(story.of("BP-C1").len(), 1, "only the request");
    story.goto(at(START).plus(minutes(31)));
    let urgent = story.of("BP-C1");
    let urgent = urgent.iter().find(|f| f.draft.severity == Severity::Urgent).unwrap();
    assert_eq!(urgent.draft.at, at("2026-03-02T08:30:00+08:00"));
    let bodies =
        story.engine.world().commands.iter().map(|c| serde_json::from_str::<serde_json::Value>(&c.body).unwrap());
    let asked: Vec<_> =
        bodies.map(|body| [body["id"].clone(), body["repeatAt"].clone(), body["repeatOf"].clone()]).collect();
    assert_eq!(asked.len(), 2, "asked, and once more");
    assert_eq!(asked[0][1], "2026-03-02T08:20:00+08:00", "at two thirds of the time");
    assert_eq!((&asked[1][2], &asked[1][1]), (&asked[0][0], &serde_json::Value::Null));
    assert!(story.engine.world().timers.is_empty());
}

#[test]
fn a_restart_after_the_deadline_says_it_then() {
    let mut story = quiet();
    story.message(vec![bp(1, story.now, 186, 112)]);
    story.now = at("2026-03-02T10:00:00+08:00"); // nobody was running at 08:30
    let story = story.restart();
    let found = story.of("BP-C1");
    let urgent = found.iter().find(|f| f.draft.severity == Severity::Urgent).unwrap();
    assert_eq!(urgent.draft.at, at("2026-03-02T10:00:00+08:00"));
    assert_eq!(urgent.draft.effective_at, at("2026-03-02T08:30:00+08:00"));
}

#[test]
fn symptoms_make_it_critical_at_once() {
    let mut story = quiet();
    let mut reading = bp(1, story.now, 186, 104);
    reading.context.symptoms = vec!["chest_pain".into()];
    story.message(vec![reading]);
    assert_eq!(criticals(&story).len(), 1);
}

#[test]
fn a_patients_own_limit_holds_within_the_cards_bounds() {
    let own = |systolic| {
        let mut plan = Plan::default();
        plan.parameters.insert("BP-C1".into(), BTreeMap::from([("systolic".to_owned(), systolic)]));
        let mut story = Story::new(patient(plan, at(START)), at(START));
        story.message(vec![bp(1, story.now, 172, 90), bp(2, story.now.plus(minutes(1)), 173, 90)]);
        criticals(&story).len()
    };
    assert_eq!(own(170.0), 1);
    assert_eq!(own(175.0), 0);
    assert_eq!(own(900.0), 0);
    assert_eq!(own(1.0), 1, "160 is the lowest that a plan may say");
}

#[test]
fn a_buffered_crisis_is_one_finding_and_an_old_one_is_the_managers() {
    let mut story = quiet();
    let ago = |m: u64| at(START).minus(minutes(m));
    story.message(vec![bp(1, ago(10), 186, 112), bp(2, ago(6), 184, 110), bp(3, ago(2), 190, 115)]);
    assert_eq!(story.standing().len(), 1);
    assert_eq!(criticals(&story)[0].draft.effective_at, ago(6));
    assert_eq!(story.attached(criticals(&story)[0].id), 1);

    let mut story = quiet();
    story.message(vec![bp(1, ago(3000), 186, 112), bp(2, ago(2995), 184, 110)]);
    let found = story.of("BP-C1");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].draft.severity, found[0].draft.verdict), (Severity::Urgent, Verdict::Note));
    assert_eq!(found[0].draft.recipients, [Recipient::HealthManager]);

    let mut story = quiet();
    story.message(vec![bp(1, ago(3000), 186, 112)]);
    let found = story.of("BP-C1");
    assert_eq!(
        (found.len(), found[0].draft.severity),
        (1, Severity::Routine),
        "an old unconfirmed one is for the digest"
    );
}

#[test]
fn a_severe_low_is_told_at_once_joins_for_a_day_and_recovers() {
    let mut story = quiet();
    for (seq, minute, tenths) in [(1, 0, 27), (2, 15, 29), (3, 32, 48), (4, 600, 26)] {
        story.goto(at(START).plus(minutes(minute)));
        story.message(vec![bg(seq, story.now, tenths)]);
    }
    let found = story.of("GLU-C1");
    let shown: Vec<_> = found.iter().map(|f| brief(f)).map(|(_, severity, when, _)| (severity, when)).collect();
    assert_eq!(shown, [("critical", at(START)), ("info", at(START).plus(minutes(32)))]);
    assert_eq!(story.attached(found[0].id), 2);
    assert!(!found[1].draft.closes, "a person has to act");
}

#[test]
fn beyond_the_meter_is_critical_on_both_sides() {
    let mut story = quiet();
    story.message(vec![beyond(1, story.now, GlucoseValue::High)]);
    assert_eq!(brief(criticals(&story)[0]).0, "GLU-C3");
    story.goto(story.now.plus(minutes(120)));
    story.message(vec![beyond(2, story.now, GlucoseValue::Low)]);
    assert_eq!(criticals(&story).len(), 2);
}

#[test]
fn silence_reminds_the_patient_then_the_manager_then_is_noted_and_a_reading_ends_it() {
    let mut story = Story::new(patient(planned(14.0), at(START)), at(START));
    story.message(vec![bp(1, story.now, 128, 78)]);
    story.goto(story.now.plus(Duration::from_secs(15 * 86_400)));
    let said: Vec<_> =
        story.of("ADH-1").iter().map(|f| (f.draft.at.since(at(START)).as_secs() / 3600, f.draft.verdict)).collect();
    assert_eq!(said, [(72, Verdict::Page), (168, Verdict::Page), (336, Verdict::Note)]);
    story.message(vec![bp(2, story.now, 128, 78)]);
    let after = story.of("ADH-1");
    assert_eq!(after.len(), 4);
    assert!(after[3].draft.closes);
}

#[test]
fn a_meter_that_kept_its_readings_takes_the_silence_back() {
    let mut story = Story::new(patient(planned(14.0), at(START)), at(START));
    story.message(vec![bp(1, story.now, 128, 78)]);
    story.goto(story.now.plus(Duration::from_secs(8 * 86_400)));
    assert_eq!(story.of("ADH-1").len(), 2);
    let daily = |day: i64| bp(10 + day, at(START).plus(Duration::from_secs(86_400 * day.unsigned_abs())), 128, 78);
    story.message((1..8).map(daily).collect());
    assert!(story.of("ADH-1").is_empty(), "{:?}", story.of("ADH-1").iter().map(|f| brief(f)).collect::<Vec<_>>());
}

#[test]
fn two_readings_a_week_are_given_a_week_and_a_patient_without_a_meter_is_left_alone() {
    let mut story = quiet();
    story.goto(story.now.plus(Duration::from_secs(13 * 86_400)));
    let said: Vec<_> = story.of("ADH-1").iter().map(|f| f.draft.at.since(at(START)).as_secs() / 86_400).collect();
    assert_eq!(said, [7]);
    let memory = story::Memory { patient: Some(patient(Plan::default(), at(START)).into()), ..Default::default() };
    let mut story = Story::on(memory, at(START));
    story.goto(story.now.plus(Duration::from_secs(60 * 86_400)));
    assert!(story.standing().is_empty());
}

fn week(first_seq: i64, monday: &str, systolic: i64) -> Vec<Reading> {
    let monday = at(monday);
    (0..6).map(|i| bp(first_seq + i, monday.plus(minutes(12 * 60 * i.unsigned_abs())), systolic, 80)).collect()
}

#[test]
fn two_high_weeks_tell_the_gp_once_in_four_weeks_and_two_low_ones_clear_it() {
    let mut story = Story::new(patient(planned(6.0), at(START)), at(START));
    let mondays = [
        ("2026-03-02T08:00:00+08:00", 142),
        ("2026-03-09T08:00:00+08:00", 141),
        ("2026-03-16T08:00:00+08:00", 143),
        ("2026-03-23T08:00:00+08:00", 128),
        ("2026-03-30T08:00:00+08:00", 127),
    ];
    for (i, (monday, systolic)) in mondays.into_iter().enumerate() {
        for reading in week(100 * (i64::try_from(i).unwrap() + 1), monday, systolic) {
            story.goto(reading.measured_at);
            story.message(vec![reading]);
        }
    }
    story.goto(at("2026-04-06T07:00:00+08:00"));
    let said: Vec<_> = story.of("BP-S1").iter().map(|f| (brief(f).1, brief(f).2, f.draft.closes)).collect();
    assert_eq!(
        said,
        [("routine", at("2026-03-16T06:00:00+08:00"), false), ("info", at("2026-04-06T06:00:00+08:00"), true)]
    );
}

#[test]
fn four_of_six_planned_sessions_are_enough_and_three_are_not() {
    let told = |sessions: usize| {
        let mut story = Story::new(patient(planned(6.0), at(START)), at(START));
        for (seq, monday) in [(100, "2026-03-02T08:00:00+08:00"), (200, "2026-03-09T08:00:00+08:00")] {
            for reading in week(seq, monday, 150).into_iter().take(sessions) {
                story.goto(reading.measured_at);
                story.message(vec![reading]);
            }
        }
        story.goto(at("2026-03-16T06:00:00+08:00"));
        story.of("BP-S1").len()
    };
    assert_eq!((told(4), told(3)), (1, 0));
}

#[test]
fn far_over_the_target_is_urgent() {
    let mut story = Story::new(patient(planned(6.0), at(START)), at(START));
    for (seq, monday) in [(100, "2026-03-02T08:00:00+08:00"), (200, "2026-03-09T08:00:00+08:00")] {
        story.goto(at(monday).plus(Duration::from_secs(5 * 86_400)));
        story.message(week(seq, monday, 161));
    }
    story.goto(at("2026-03-16T06:00:00+08:00"));
    assert_eq!(brief(story.of("BP-S1")[0]).1, "urgent");
}

#[test]
fn a_flagged_reading_asks_for_a_better_one_once_a_session() {
    let mut story = quiet();
    for (seq, minute) in [(1, 0), (2, 6), (3, 60)] {
        story.goto(at(START).plus(minutes(minute)));
        let mut reading = bp(seq, story.now, 195, 118);
        reading.disposition = vitals::Disposition::Flagged;
        reading.statuses.insert(vitals::Status::BodyMovement);
        story.message(vec![reading]);
    }
    assert!(story.of("BP-C1").is_empty());
    assert_eq!(story.of("DQ-2").len(), 2);
    assert_eq!(story.engine.world().commands.len(), 2);
}
