//! Readings that turn out to be somebody else's, while other things of the same patient wait or go on.

use crate::story::{Story, at, bg, bp, brief, minutes, patient, service::Service};
use std::time::Duration;
use store::FindingBatch;
use vitals::{Concept, FindingDraft, PatientId, Plan, Reading, ReadingId, Recipient, Severity, Timestamp, Verdict};

const START: &str = "2026-03-02T08:00:00+08:00";

fn twice_a_day() -> Plan {
    let mut plan = Plan::default();
    plan.measuring.blood_pressure_per_week = Some(14.0);
    plan
}

fn days(n: u64) -> Duration {
    minutes(n * 1440)
}

/// At 10:20 the meter uploads a crisis of 08:00 and 08:05; a reading of 10:00 is judged already.
fn late_crisis(now: Timestamp) -> Vec<Reading> {
    let two_hours_ago = now.minus(minutes(140));
    vec![bp(50, two_hours_ago, 190, 115), bp(51, two_hours_ago.plus(minutes(5)), 192, 116)]
}

/// A day later, after a reading of 20 minutes ago.
fn story() -> Story {
    let mut story = Story::new(patient(twice_a_day(), at(START)), at(START));
    story.goto(at(START).plus(days(1)).plus(minutes(120)));
    story.message(vec![bp(1, story.now, 128, 80)]);
    story.goto(story.now.plus(minutes(20)));
    story
}

fn told(story: &Story, rule: &str) -> Vec<(&'static str, bool)> {
    story.of(rule).into_iter().map(brief).map(|(_, severity, _, note)| (severity, note)).collect()
}

#[test]
fn a_reading_that_is_moved_hushes_no_late_crisis_that_waits() {
    for gains in [true, false] {
        let mut story = story();
        let other = bp(7, story.now.minus(minutes(600)), 131, 82);
        if !gains {
            story.message(vec![other.clone()]);
        }
        story.arrives(late_crisis(story.now));
        story.moved(other, gains);
        story.clean();
        assert_eq!(told(&story, "BP-C1"), [("critical", false)], "gains: {gains}");
    }
}

#[test]
fn what_a_moved_reading_silenced_hushes_no_late_crisis() {
    let mut story = story();
    let wrong = [bp(7, story.now.minus(minutes(150)), 188, 114), bp(8, story.now.minus(minutes(148)), 188, 114)];
    story.message(wrong.to_vec());
    assert_eq!(told(&story, "BP-C1"), [("critical", false)]);
    story.arrives(late_crisis(story.now));
    let [first, second] = wrong;
    story.moved_all(vec![(first, false), (second, false)]);
    story.clean();
    let found = story.of("BP-C1");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].draft.readings, [50, 51].map(ReadingId::new), "it stands on the patient's own readings");
    assert_eq!(told(&story, "BP-C1"), [("critical", false)]);
}

#[test]
fn a_crisis_that_comes_while_a_hand_over_waits_for_its_turn_is_told() {
    let mut story = story();
    let old = bp(7, story.now.minus(days(3)), 131, 82);
    story.moved(old, true);
    story.arrives(late_crisis(story.now));
    story.clean();
    assert_eq!(told(&story, "BP-C1"), [("critical", false)]);
}

#[test]
fn readings_that_find_a_patient_who_waits_page_nobody_for_the_morning_that_they_change() {
    let mut story = Story::new(patient(twice_a_day(), at(START)), at(START));
    // Monday, three hours after the look at two weeks in which nothing came.
    story.goto(at(START).plus(days(14)).plus(minutes(60)));
    story.message(vec![bp(100, story.now, 128, 80)]);
    story.arrives(vec![bp(101, story.now.minus(minutes(30)), 127, 80)]);
    let found: Vec<_> =
        (0..28).map(|i| (bp(i + 1, at(START).plus(minutes(720 * i.unsigned_abs())), 152, 80), true)).collect();
    story.moved_all(found);
    story.clean();
    assert_eq!(told(&story, "BP-S1"), [("routine", true)], "a note, as re-attribution is");
}

#[test]
fn a_pair_that_finds_a_patient_with_something_late_pages_nobody() {
    let mut story = story();
    story.arrives(vec![bp(50, story.now.minus(minutes(140)), 128, 80)]);
    let pair = [bp(7, story.now.minus(minutes(90)), 188, 114), bp(8, story.now.minus(minutes(88)), 188, 114)];
    story.moved_all(pair.map(|r| (r, true)).to_vec());
    story.clean();
    assert_eq!(told(&story, "BP-C1"), [("routine", true)]);
    assert!(story.engine.world().commands.is_empty());
}

#[test]
fn a_question_that_found_its_patient_pages_nobody_after_a_restart_either() {
    let mut story = story();
    story.moved(bp(7, story.now.minus(minutes(5)), 185, 112), true);
    story.clean();
    assert_eq!(told(&story, "BP-C1"), [("info", true)], "asked, for nobody to hear");
    story.goto(story.now.plus(minutes(10)));
    let mut story = story.restart();
    story.goto(story.now.plus(minutes(60)));
    assert_eq!(told(&story, "BP-C1"), [("info", true)]);
    assert!(story.engine.world().commands.is_empty());
}

/// As it was written while the position waited for another patient's turn.
fn severe_low(patient: PatientId, reading: ReadingId) -> FindingDraft {
    FindingDraft {
        patient,
        rule: "GLU-C1".into(),
        rule_version: 1,
        concept: Concept::GlucoseLowSevere,
        severity: Severity::Critical,
        verdict: Verdict::Page,
        at: at(START),
        effective_at: at(START),
        recipients: vec![Recipient::HealthManager],
        closes: false,
        readings: vec![reading],
        excluded: Vec::new(),
        evidence: r#"{"step":"alone","severity":"critical","numbers":{}}"#.into(),
    }
}

#[tokio::test]
async fn what_was_written_ahead_of_the_position_goes_with_its_reading_after_a_crash() {
    for behind in [10, 17_000] {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::open(folder.path(), at(START)).await;
        let (person, other, stranger) = (service.person().await, service.person().await, service.stranger().await);
        service.close().await;
        Service::asleep(folder.path(), at(START), async |store| {
            // Position 0; then the low, on which a finding stands; before it died the reading was given to whose it is.
            for chunk in (0..behind).collect::<Vec<i64>>().chunks(1000) {
                let when = |n: i64| at(START).minus(Duration::from_secs(20_000 - n.unsigned_abs()));
                let many = chunk.iter().map(|n| bp(n + 1, when(*n), 120, 80)).collect();
                Service::keep(&store, stranger, many).await;
            }
            Service::keep(&store, person, vec![bg(1, at(START), 24)]).await;
            let id = ReadingId::from_i64((*store.readings().committed().borrow()).cast_signed());
            let new = vec![(severe_low(person.0, id), at(START))];
            store.commit_findings(FindingBatch { new, ..FindingBatch::default() }).await.unwrap();
            store.readings().reassign(id, other.0).await.unwrap();
        })
        .await;
        let service = Service::open(folder.path(), at(START).plus(minutes(1))).await;
        service.goto(at(START).plus(minutes(2))).await;
        assert_eq!(service.severities(person.0).await, [""; 0], "withdrawn, {behind} entries on");
        assert_eq!(service.severities(other.0).await, ["critical"]);
        service.close().await;
    }
}

#[test]
fn what_the_loss_of_readings_uncovers_pages_nobody_whatever_else_waits() {
    let mut story = story();
    let ago = |n: u64| story.now.minus(minutes(n));
    let normal = [bp(8, ago(95), 121, 80), bp(9, ago(94), 122, 80)];
    let over = bp(7, ago(100), 185, 112);
    let late = bp(50, ago(110), 128, 80);
    story.message(vec![over, normal[0].clone(), normal[1].clone()]);
    assert!(story.of("BP-C1").iter().all(|f| f.draft.severity == Severity::Info), "answered");
    story.arrives(vec![late]);
    story.moved_all(normal.map(|r| (r, false)).to_vec());
    story.clean();
    assert_eq!(told(&story, "BP-C1"), [("routine", true)], "not answered after all, and that is a note");
}
