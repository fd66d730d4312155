//! ADH-1 names what most likely lies behind a silence, and does not blame the patient for ours.

use crate::story;
use crate::story::{Story, at, bp, minutes, patient, service::Service};
use rules::{Link, Meter};
use std::time::Duration;
use vitals::{Finding, Plan, Recipient, Status, Timestamp, Verdict};

const START: &str = "2026-03-02T08:00:00+08:00";

fn hours(n: u64) -> Duration {
    minutes(n * 60)
}

fn daily() -> Plan {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(14.0);
    plan
}

fn evidence(f: &Finding) -> serde_json::Value {
    serde_json::from_str(&f.draft.evidence).unwrap()
}

/// One reading, then nothing for nine days; what is known of the way here is `link`.
fn silent(link: Link, low_battery: bool) -> Story {
    let mut story = Story::new(patient(daily(), at(START)), at(START));
    let mut reading = bp(1, story.now, 128, 80);
    if low_battery {
        reading.statuses.insert(Status::LowBattery);
    }
    story.message(vec![reading]);
    story.engine.world_mut().link = link;
    story.goto(at(START).plus(hours(9 * 24)));
    story
}

fn causes(story: &Story) -> Vec<String> {
    story.of("ADH-1").iter().map(|f| evidence(f)["cause"].as_str().unwrap().to_owned()).collect()
}

fn meter(meter: Meter) -> Link {
    Link { meter: Some(meter), ..Link::default() }
}

#[test]
fn nothing_points_anywhere_so_nothing_was_measured() {
    let story = silent(meter(Meter { battery: Some(80), ..Meter::default() }), false);
    assert_eq!(causes(&story), ["lapse", "lapse"]);
    let told = story.of("ADH-1");
    assert_eq!(told[0].draft.recipients, [Recipient::Patient]);
    assert_eq!(
        (told[1].draft.verdict, &told[1].draft.recipients[..]),
        (Verdict::Page, &[Recipient::HealthManager][..])
    );
    let said = evidence(told[1]);
    assert!(said["text"].as_str().unwrap().ends_with("most likely nothing was measured."), "{said}");
    assert!(said["textZh"].as_str().unwrap().ends_with("很可能没有测量。"), "{said}");
}

#[test]
fn a_low_battery_is_named_whether_the_meter_says_it_in_percent_or_with_its_last_reading() {
    let story = silent(meter(Meter { battery: Some(15), ..Meter::default() }), false);
    assert_eq!(causes(&story), ["battery", "battery"]);
    assert_eq!(evidence(story.of("ADH-1")[1])["numbers"]["batteryPercent"], 15.0);
    assert_eq!(causes(&silent(Link::default(), true)), ["battery", "battery"]);
    assert_eq!(causes(&silent(meter(Meter { battery: Some(16), ..Meter::default() }), false)), ["lapse", "lapse"]);
}

#[test]
fn a_connection_that_broke_off_is_the_networks_or_the_gateways() {
    let lost = |after: Duration, gateway| meter(Meter { battery: None, gateway, lost: Some(at(START).plus(after)) });
    assert_eq!(causes(&silent(lost(hours(5), false), false)), ["carrier", "carrier"]);
    assert_eq!(causes(&silent(lost(hours(5), true), false)), ["gateway", "gateway"]);
    assert_eq!(causes(&silent(lost(minutes(2), false), false)), ["lapse", "lapse"], "it switched itself off");
}

#[test]
fn our_own_outage_reminds_nobody_and_the_manager_reads_that_it_was_ours() {
    let down = |from: u64, to: u64| (at(START).plus(hours(from)), at(START).plus(hours(to)));
    let ours = Link { outages: vec![down(10, 40), down(80, 130)].into(), meter: None };
    let story = silent(ours.clone(), true);
    assert_eq!(causes(&story), ["outage", "outage"]);
    let told = story.of("ADH-1");
    assert_eq!(told[0].draft.verdict, Verdict::Note, "the patient hears nothing of it");
    assert_eq!(told[1].draft.recipients, [Recipient::HealthManager]);
    assert!(evidence(told[1])["textZh"].as_str().unwrap().contains("不是患者的责任"));
    assert_eq!(evidence(told[1])["numbers"]["outageHours"], 50.0);
    let short = Link { outages: vec![down(10, 20)].into(), meter: None };
    let story = silent(short, false);
    assert_eq!(causes(&story), ["lapse", "lapse"], "ten hours do not explain three days");
    assert_eq!(evidence(story.of("ADH-1")[0])["numbers"]["outageHours"], 10.0, "and are said all the same");
}

#[test]
fn the_cause_is_that_of_the_time_not_of_the_day_on_which_late_readings_come() {
    let mut story = Story::new(patient(daily(), at(START)), at(START));
    story.engine.world_mut().link = meter(Meter { battery: Some(5), ..Meter::default() });
    story.goto(at(START).plus(hours(24)));
    // A buffer of two readings ten days apart arrives with the second.
    story.goto(at(START).plus(hours(20 * 24)));
    let ago = |days: u64| at(START).plus(hours(24 * days));
    story.message(vec![bp(1, ago(1), 128, 80), bp(2, ago(11), 128, 80)]);
    let between: Vec<_> = story.of("ADH-1").into_iter().filter(|f| f.draft.effective_at < ago(11)).collect();
    let named: Vec<_> = between.iter().filter_map(|f| evidence(f)["cause"].as_str().map(str::to_owned)).collect();
    assert!(!named.is_empty() && named.iter().all(|c| c == "lapse"), "{named:?}");
}

async fn cause_in_service(service: &Service, person: vitals::PatientId) -> Vec<String> {
    let all = service.store.findings_of(person, Some("ADH-1".into()), None, None, None, 10).await.unwrap();
    all.iter().filter_map(|f| evidence(f)["cause"].as_str().map(str::to_owned)).collect()
}

fn day(n: u64) -> Timestamp {
    at(story::service::START).plus(hours(24 * n))
}

#[tokio::test]
async fn a_service_that_was_down_for_days_says_so_and_one_that_ran_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), day(0)).await;
    let (person, meter) = service.person().await;
    service.message((person, meter), vec![bp(1, day(0), 128, 80)]).await;
    service.goto(day(1)).await;
    service.close().await;
    let service = Service::open(folder.path(), day(4)).await;
    service.goto(day(4).plus(minutes(1))).await;
    assert_eq!(cause_in_service(&service, person).await, ["outage"]);
    service.goto(day(7)).await;
    assert_eq!(cause_in_service(&service, person).await, ["outage", "lapse"], "down for 24 of the next 96 hours");
    service.close().await;
}

#[tokio::test]
async fn the_will_of_a_gateway_is_the_cause_until_it_speaks_again() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), day(0)).await;
    let (person, meter) = service.person().await;
    let (_, gateway) = service.stranger().await;
    service.store.set_gateway_devices(gateway, [meter].into()).await.unwrap();
    service.message((person, meter), vec![bp(1, day(0), 128, 80)]).await;
    service.goto(day(1)).await;
    service.store.note_status(gateway, None, true).await.unwrap();
    service.goto(day(4)).await;
    assert_eq!(cause_in_service(&service, person).await, ["gateway"]);
    service.store.note_status(gateway, Some(100), false).await.unwrap();
    service.goto(day(8)).await;
    assert_eq!(cause_in_service(&service, person).await, ["gateway", "lapse"]);
    service.close().await;
}

/// What is said of silences: the step, on which day, on which readings.
fn said(story: &Story) -> Vec<(String, u64, Vec<i64>)> {
    let on = |f: &Finding| f.draft.effective_at.since(at(START)).as_secs() / 86_400;
    let ids = |f: &Finding| f.draft.readings.iter().map(|r| r.as_i64()).collect();
    let step = |f: &Finding| evidence(f)["step"].as_str().unwrap().to_owned();
    story.of("ADH-1").into_iter().map(|f| (step(f), on(f), ids(f))).collect()
}

fn steps(told: &[(&str, u64, i64)]) -> Vec<(String, u64, Vec<i64>)> {
    told.iter().map(|(step, on, id)| ((*step).to_owned(), *on, vec![*id])).collect()
}

#[test]
fn a_silence_ends_with_the_first_reading_of_a_new_meter_or_of_a_later_enrolment() {
    for (enrolled, delay) in [(false, 0), (true, 0), (false, 30)] {
        let person = patient(daily(), at(START));
        let mut story = Story::new(person.clone(), at(START));
        story.message(vec![bp(1, story.now, 128, 80)]);
        story.goto(at(START).plus(hours(9 * 24)));
        let told = [("remind", 3, 1), ("call", 7, 1)];
        assert_eq!(said(&story), steps(&told));
        let now = story.now;
        let person = match enrolled {
            true => vitals::Patient { enrolled_at: now, ..person },
            false => person,
        };
        story.engine.world_mut().bound = Some(if enrolled { at(START) } else { now });
        story.engine.world_mut().patient = Some(std::sync::Arc::new(person.clone()));
        story.engine.refresh(std::sync::Arc::new(person), now).unwrap();
        let measured = at(START).plus(hours(10 * 24));
        story.goto(measured.plus(hours(delay)));
        story.message(vec![bp(2, measured, 128, 80)]);
        let ended = [told[0], told[1], ("resumed", 10, 2)];
        assert_eq!(said(&story), steps(&ended), "enrolled: {enrolled}, {delay} hours late");
        // What follows ends nothing more, in order or not.
        story.goto(story.now.plus(hours(3)));
        story.message(vec![bp(3, story.now, 128, 80)]);
        story.message(vec![bp(4, measured.plus(hours(1)), 128, 80)]);
        assert_eq!(said(&story), steps(&ended), "enrolled: {enrolled}, {delay} hours late");
    }
}

/// Readings on some days; the wrong one goes on the day `goes`, moved or excluded, or it never came. What stands in the end.
fn without(wrong: u64, goes: u64, after: &[u64], how: Option<bool>, to: u64) -> Vec<(String, u64, Vec<i64>)> {
    let mut story = Story::new(patient(daily(), at(START)), at(START));
    let on = |n: u64| at(START).plus(hours(24 * n));
    let reading = |n: u64| bp(i64::try_from(n).unwrap() + 1, on(n), 128, 80);
    for day in 0..=to {
        story.goto(on(day).plus(minutes(1)));
        if day == 0 || after.contains(&day) || (day == wrong && how.is_some()) {
            story.message(vec![reading(day)]);
        }
        if day == goes {
            let paged = story.engine.world().told.len();
            match how {
                Some(true) => story.moved(reading(wrong), false),
                Some(false) => story.exclude(reading(wrong)),
                None => {}
            }
            if how == Some(true) {
                let told = &story.engine.world().told[paged..];
                assert!(told.iter().all(|f| f.draft.verdict == Verdict::Note), "re-attribution pages nobody");
            }
        }
    }
    said(&story)
}

#[test]
fn a_silence_is_as_if_the_reading_that_went_had_never_come() {
    // (the wrong reading's day, when it goes, readings after it, until)
    let cases: [(u64, u64, &[u64], u64); 8] = [
        (8, 9, &[], 10),          // it ended an open silence
        (8, 9, &[], 20),          // and the schedule goes on
        (1, 9, &[], 10),          // what was said stood on it
        (1, 9, &[12], 20),        // and the next reading ends it
        (8, 20, &[18], 20),       // a step that never came because of it
        (2, 9, &[4], 10),         // it hid a silence
        (2, 9, &[6], 10),         // it was one end of a silence
        (8, 8, &[9, 10, 11], 12), // and nothing but the first reading ends it
    ];
    for (wrong, goes, after, to) in cases {
        let never = without(wrong, goes, after, None, to);
        for how in [true, false] {
            let went = without(wrong, goes, after, Some(how), to);
            assert_eq!(went, never, "of day {wrong}, gone on day {goes}, {after:?} after it, moved: {how}");
        }
    }
}

#[tokio::test]
async fn nobody_is_silent_after_the_end_of_a_binding_that_was_written_ahead() {
    for restarts in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut service = Service::open(folder.path(), day(0)).await;
        let (person, meter) = service.stranger().await;
        service.bind_until((person, meter), Some(day(2))).await;
        service.message((person, meter), vec![bp(1, day(0), 128, 80)]).await;
        service.goto(day(1)).await;
        if restarts {
            service.close().await;
            service = Service::open(folder.path(), day(1)).await;
        }
        service.goto(day(9)).await;
        assert_eq!(cause_in_service(&service, person).await, [""; 0], "the meter was given back, restarts: {restarts}");
        service.close().await;
    }
}
