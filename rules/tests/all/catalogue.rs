//! What the catalogue asks beyond the commonest rules: repeats of low pressures, who measures seldom, two stages, meters that
//! need care, sensors, visits.

use crate::story::{Story, at, bg, bp, brief, minutes, patient};
use std::{collections::BTreeMap, sync::Arc};
use vitals::{
    Context, DeviceTime, Finding, Medication, MedicationClass, Patient, Plan, Reading, Recipient, Severity, Status,
    TimeQuality, Timestamp,
};

const START: &str = "2026-03-02T00:00:00+08:00";

fn day(n: u64, hour: u64) -> Timestamp {
    at(START).plus(minutes(n * 1440 + hour * 60))
}

fn evidence(f: &Finding) -> serde_json::Value {
    serde_json::from_str(&f.draft.evidence).unwrap()
}

fn said(story: &Story, rule: &str) -> Vec<(String, Severity, Vec<Recipient>)> {
    let step = |f: &Finding| evidence(f)["step"].as_str().unwrap().to_owned();
    story.of(rule).iter().map(|f| (step(f), f.draft.severity, f.draft.recipients.clone())).collect()
}

fn plan(per_week: f64) -> Plan {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(per_week);
    plan
}

fn live(plan: Plan, readings: Vec<Reading>) -> Story {
    let mut story = Story::new(patient(plan, at(START)), at(START));
    for r in readings {
        story.goto(r.measured_at);
        story.message(vec![r]);
    }
    let end = story.now.plus(minutes(36 * 60));
    story.goto(end);
    story
}

/// On two drugs for the pressure.
fn treated() -> Plan {
    let drug = |class| Medication { name: "x".into(), class, from: None, to: None };
    let medications = vec![drug(MedicationClass::Diuretic), drug(MedicationClass::BetaBlocker)];
    Plan { medications, ..Plan::default() }
}

fn dizzy(seq: i64, time: Timestamp, systolic: i64) -> Reading {
    let context = Context { symptoms: vec!["dizziness".into()], ..Context::default() };
    Reading { context, ..bp(seq, time, systolic, 62) }
}

#[test]
fn a_low_pressure_asks_its_meter_for_two_repeats_and_waits_for_half_an_hour() {
    let mut story = Story::new(patient(Plan::default(), at(START)), at(START));
    story.message(vec![bp(1, story.now, 86, 52)]);
    assert_eq!(said(&story, "BP-C2"), [("asked".to_owned(), Severity::Info, vec![Recipient::Patient])]);
    let body: serde_json::Value = serde_json::from_str(&story.engine.world().commands[0].body).unwrap();
    assert_eq!((&body["type"], &body["times"]), (&"remeasure".into(), &2.into()));
    story.goto(at(START).plus(minutes(4)));
    story.message(vec![bp(2, story.now, 85, 51)]);
    let told = said(&story, "BP-C2").pop().unwrap();
    assert_eq!(told, ("confirmed".to_owned(), Severity::Urgent, vec![Recipient::Gp, Recipient::HealthManager]));
}

#[test]
fn who_said_once_that_they_are_dizzy_need_not_say_it_with_each_repeat() {
    let told = |plan: Plan, first: Reading, then: i64| {
        let story = live(plan, vec![first, bp(2, day(0, 8).plus(minutes(3)), then, 60)]);
        story.of("BP-C2").iter().any(|f| f.draft.severity == Severity::Urgent)
    };
    assert!(told(treated(), dizzy(1, day(0, 8), 95), 96));
    assert!(!told(treated(), bp(1, day(0, 8), 95, 62), 96), "not dizzy");
    assert!(!told(Plan::default(), dizzy(1, day(0, 8), 95), 96), "not treated");
    assert!(!told(treated(), dizzy(1, day(0, 8), 95), 103), "back in range");
    // The repeat came first, or both a day late: the same is concluded.
    let mut late = Story::new(patient(treated(), at(START)), day(1, 0));
    late.message(vec![bp(2, day(0, 8).plus(minutes(3)), 96, 60)]);
    late.message(vec![dizzy(1, day(0, 8), 95)]);
    late.goto(day(1, 12));
    let live = live(treated(), vec![dizzy(1, day(0, 8), 95), bp(2, day(0, 8).plus(minutes(3)), 96, 60)]);
    let urgent = |s: &Story| s.of("BP-C2").into_iter().map(brief).filter(|b| b.1 == "urgent").collect::<Vec<_>>();
    assert_eq!(urgent(&late), urgent(&live));
}

/// Sessions of one week, by the days on which they are.
fn sessions(week: u64, days: &[u64], systolic: i64) -> Vec<Reading> {
    let one = |d: &u64| bp(i64::try_from(week * 10 + d).unwrap() + 1, day(week * 7 + d, 8), systolic, 80);
    days.iter().map(one).collect()
}

#[test]
fn who_measures_twice_a_week_and_misses_some_is_judged_by_two_times_four_weeks() {
    let weeks = |n: u64, systolic: i64| -> Vec<Reading> {
        // Three sessions in one week, one in the next: never two good weeks.
        let of = |w: u64| sessions(w, if w.is_multiple_of(2) { &[0, 2, 4] } else { &[3] }, systolic);
        (0..n).flat_map(of).collect()
    };
    let story = live(plan(2.0), weeks(10, 142));
    let found = story.of("BP-S1");
    assert_eq!(said(&story, "BP-S1"), [("sustained".to_owned(), Severity::Routine, vec![Recipient::Gp])]);
    assert_eq!(found[0].draft.effective_at, at("2026-04-20T06:00:00+08:00"), "after seven weeks");
    assert_eq!((&evidence(found[0])["numbers"]["weeksEach"], found[0].draft.readings.len()), (&4.0.into(), 15));
    assert!(said(&live(plan(2.0), weeks(10, 131)), "BP-S1").is_empty());
    assert!(said(&live(plan(6.0), weeks(10, 142)), "BP-S1").is_empty(), "who is to measure often is asked for more");
    let every: Vec<Reading> = (0..3).flat_map(|w| sessions(w, &[0, 3], 142)).collect();
    let kept = live(plan(2.0), every);
    assert_eq!(
        kept.of("BP-S1")[0].draft.effective_at,
        at("2026-03-16T06:00:00+08:00"),
        "two weeks are enough for who kept the plan"
    );
}

/// Six a week for eleven weeks, then as `level` says of the day.
fn six_a_week(days: std::ops::Range<u64>, level: impl Fn(u64) -> i64) -> Vec<Reading> {
    let noise = |d: u64| [-6, 4, 0, -3, 7, 2, -4][usize::try_from(d % 7).unwrap()];
    let measured = days.filter(|d| d % 7 != 6);
    measured.map(|d| bp(i64::try_from(d).unwrap() + 1, day(d, 7), level(d) + noise(d), 80)).collect()
}

/// Two stages, and a target that BP-S1 does not reach.
fn staged() -> Plan {
    let mut plan = plan(6.0);
    plan.targets.home_systolic = Some(145.0);
    plan.parameters.insert("BP-T1".into(), BTreeMap::from([("stages".to_owned(), 2.0)]));
    plan
}

#[test]
fn in_two_stages_a_suspicion_asks_the_patient_for_a_week_and_only_that_week_tells_the_gp() {
    let rise = |d: u64| if d < 70 { 132 } else { 140 };
    let story = live(staged(), six_a_week(0..100, rise));
    let told = said(&story, "BP-T1");
    assert_eq!(told[0], ("asked".to_owned(), Severity::Info, vec![Recipient::Patient]));
    assert_eq!(told[1], ("shift".to_owned(), Severity::Routine, vec![Recipient::Gp]));
    assert_eq!(told.len(), 2);
    let found = story.of("BP-T1");
    let waited = found[1].draft.effective_at.since(found[0].draft.effective_at).as_secs() / 86_400;
    assert!((7..=14).contains(&waited), "{waited}");
    assert!(evidence(found[1])["numbers"]["weekDifference"].as_f64().unwrap() >= 4.0);
    let asked: Vec<serde_json::Value> =
        story.engine.world().commands.iter().map(|c| serde_json::from_str(&c.body).unwrap()).collect();
    assert_eq!((asked.len(), &asked[0]["type"], &asked[0]["days"]), (1, &"reminder".into(), &7.into()));
    // It was a passing week: nobody but the patient hears of it.
    let passing = |d: u64| if (70..76).contains(&d) { 141 } else { 132 };
    let told = said(&live(staged(), six_a_week(0..100, passing)), "BP-T1");
    assert_eq!(told.iter().map(|t| t.0.as_str()).collect::<Vec<_>>(), ["asked"]);
}

#[test]
fn in_two_stages_a_grave_rise_waits_for_no_week() {
    let story = live(staged(), six_a_week(0..90, |d| if d < 70 { 132 } else { 156 }));
    assert!(said(&story, "BP-T1").iter().any(|t| t.1 == Severity::Urgent));
}

#[test]
fn a_wrong_clock_a_low_battery_and_a_second_user_are_the_managers_once_a_fortnight() {
    let meter = |change: &dyn Fn(u64, &mut Reading)| -> Vec<(String, Severity, Vec<Recipient>)> {
        let mut readings: Vec<Reading> = six_a_week(0..12, |_| 128);
        for r in &mut readings {
            let d = r.measured_at.since(at(START)).as_secs() / 86_400;
            change(d, r);
        }
        said(&live(plan(6.0), readings), "DQ-3")
    };
    let manager = |step: &str| vec![(step.to_owned(), Severity::Routine, vec![Recipient::HealthManager])];
    assert!(meter(&|_, _| {}).is_empty());
    // Its wall clock is 25 minutes slow; the gateway's pair put it right.
    let slow = |d: u64, r: &mut Reading| {
        r.time_quality = TimeQuality::Corrected;
        r.device_time = Some(DeviceTime(format!("2026-03-{:02}T06:35:00", d + 2).into()));
    };
    assert_eq!(meter(&slow), manager("clock"));
    let a_little = |d: u64, r: &mut Reading| {
        r.time_quality = TimeQuality::Corrected;
        r.device_time = Some(DeviceTime(format!("2026-03-{:02}T06:52:00", d + 2).into()));
    };
    assert!(meter(&a_little).is_empty(), "eight minutes");
    let low = |d: u64, r: &mut Reading| {
        if d >= 5 {
            r.statuses.insert(Status::LowBattery);
        }
    };
    assert_eq!(meter(&low), manager("battery"));
    assert_eq!(meter(&|d, r| r.user_slot = Some(if d < 8 { 1 } else { 2 })), manager("second_user"));
    assert!(meter(&|_, r| r.user_slot = Some(2)).is_empty());
}

/// A sensor's value every quarter of an hour for some days.
fn sensor(days: u64, tenths: impl Fn(u64) -> i64) -> Vec<Reading> {
    let one = |i: u64| {
        let context = Context { specimen: Some("interstitial".into()), ..Context::default() };
        Reading { context, ..bg(i64::try_from(i).unwrap() + 1, at(START).plus(minutes(15 * i)), tenths(i)) }
    };
    (0..days * 96).map(one).collect()
}

fn by_day(readings: Vec<Reading>) -> Story {
    let mut story = Story::new(patient(Plan::default(), at(START)), at(START));
    for message in readings.chunks(96) {
        story.goto(message.last().unwrap().measured_at);
        story.message(message.to_vec());
    }
    let end = story.now.plus(minutes(12 * 60));
    story.goto(end);
    story
}

#[test]
fn a_sensor_that_varies_much_over_a_fortnight_is_told_and_its_values_are_in_no_index_of_finger_sticks() {
    // Never low, and from 4.2 to 14.2 each day: a variation coefficient of 38 %.
    let wave = |i: u64| 92 + [0, 35, 50, 35, 0, -35, -50, -35][usize::try_from(i / 12 % 8).unwrap()];
    let story = by_day(sensor(15, wave));
    assert_eq!(said(&story, "GLU-V1"), [("variation".to_owned(), Severity::Routine, vec![Recipient::Gp])]);
    let numbers = &evidence(story.of("GLU-V1")[0])["numbers"];
    assert!((36.0..40.0).contains(&numbers["variation"].as_f64().unwrap()), "{numbers}");
    assert!(numbers["coverage"].as_f64().unwrap() >= 70.0, "{numbers}");
    assert!(story.of("GLU-V1")[0].draft.readings.is_empty(), "thousands of readings: the numbers say it");
    assert!(said(&by_day(sensor(9, wave)), "GLU-V1").is_empty(), "not worn for long enough");
    assert!(said(&by_day(sensor(15, |i| 80 + i64::try_from(i % 9).unwrap())), "GLU-V1").is_empty());
}

#[test]
fn the_visit_of_the_quarter_is_reckoned_from_the_last_one_that_was_recorded() {
    let visited = |date: &str| Patient { visited_on: Some(date.parse().unwrap()), ..patient(plan(2.0), at(START)) };
    let mut story = Story::new(visited("2026-01-10"), at(START));
    story.goto(day(80, 0));
    let expected = [
        ("visit_due".to_owned(), Severity::Routine, vec![Recipient::HealthManager]),
        ("visit_overdue".to_owned(), Severity::Routine, vec![Recipient::Gp]),
    ];
    assert_eq!(said(&story, "FU-1"), expected);
    assert_eq!(story.of("FU-1")[0].draft.effective_at, at("2026-04-12T06:00:00+08:00"), "92 days after");
    let seen = Arc::new(visited("2026-05-20"));
    story.engine.world_mut().patient = Some(seen.clone());
    let now = story.now;
    story.engine.refresh(seen, now).unwrap();
    story.goto(day(82, 0));
    assert!(story.of("FU-1").pop().unwrap().draft.closes, "the record ends it");
    let mut unknown = Story::new(patient(plan(2.0), at(START)), at(START));
    unknown.goto(day(200, 0));
    assert!(unknown.of("FU-1").is_empty(), "whose visits are kept elsewhere is not asked about");
}
