//! The stage on a real store in a folder: what it concludes is durable together with the position it stands on.

use crate::story;
use crate::story::{
    at, bp, minutes,
    service::{START, Service},
};
use runtime::Paced;
use std::time::Duration;
use store::FindingChange;
use vitals::{Plan, Severity};

#[tokio::test]
async fn a_crisis_is_a_finding_with_its_command_and_the_position_moves_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.person().await;
    service.message(person, vec![bp(1, service.clock.now(), 188, 114)]).await;
    service.goto(at(START).plus(minutes(5))).await;
    assert_eq!(service.severities(person.0).await, ["info"]);
    let waiting = service.store.pending_commands(person.1, service.clock.now()).await.unwrap();
    assert_eq!(waiting.len(), 1);
    service.message(person, vec![bp(2, service.clock.now(), 190, 115)]).await;
    service.message(person, vec![bp(3, service.clock.now().plus(minutes(1)), 190, 115)]).await;
    service.rules.settle().await;
    assert!(!service.rules.settle().await, "nothing is left to do");
    assert_eq!(service.severities(person.0).await, ["info", "critical"]);
    assert_eq!(service.store.rules_position().await.unwrap(), *service.store.readings().committed().borrow());
    let events = service.store.findings_after(0, 10).await.unwrap();
    assert_eq!(events.iter().map(|e| e.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(events[1].finding.draft.severity, Severity::Critical);
    assert_eq!(events[1].finding.decided_at, at("2026-03-02T08:05:00+08:00"));
    assert!(matches!(&events[2].kind, FindingChange::Attached(more) if more.len() == 1));
    assert_eq!(*service.store.finding_changes().borrow(), 3);
    assert_eq!(service.store.cards().await.unwrap().len(), rules::Rule::ALL.len());
    service.close().await;
}

#[tokio::test]
async fn what_was_asked_before_a_restart_is_asked_on_and_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.person().await;
    service.message(person, vec![bp(1, service.clock.now(), 188, 114)]).await;
    service.goto(at(START).plus(minutes(10))).await;
    service.close().await;

    let service = Service::open(folder.path(), at(START).plus(minutes(12))).await;
    let due = service.rules.next_due().await;
    assert_eq!(due, Some(at("2026-03-02T08:20:00+08:00")), "the patient is reminded before the time is over");
    service.goto(at(START).plus(minutes(31))).await;
    assert_eq!(service.severities(person.0).await, ["info", "urgent"]);
    service.close().await;

    let service = Service::open(folder.path(), at(START).plus(minutes(60))).await;
    service.goto(at(START).plus(minutes(90))).await;
    assert_eq!(service.severities(person.0).await, ["info", "urgent"]);
    service.close().await;
}

#[tokio::test]
async fn silence_and_mondays_that_passed_while_nobody_ran_are_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.person().await;
    for day in 0..13_i64 {
        let morning = at(START).plus(Duration::from_secs(86_400 * day.unsigned_abs()));
        service.goto(morning).await;
        let evening = morning.plus(minutes(10 * 60));
        service.message(person, vec![bp(2 * day + 1, morning, 140 + day % 3, 80)]).await;
        service.goto(evening).await;
        service.message(person, vec![bp(2 * day + 2, evening, 141, 80)]).await;
    }
    service.rules.settle().await;
    assert_eq!(service.severities(person.0).await, [""; 0]);
    service.close().await;

    // Down from Saturday the 14th to Thursday the 19th.
    let service = Service::open(folder.path(), at("2026-03-19T09:00:00+08:00")).await;
    service.goto(at("2026-03-19T09:01:00+08:00")).await;
    let all = service.store.findings_of(person.0, None, None, None, None, 100).await.unwrap();
    let said: Vec<_> = all.iter().map(|f| (&*f.draft.rule, f.draft.effective_at)).collect();
    assert!(said.contains(&("BP-S1", at("2026-03-16T06:00:00+08:00"))), "{said:?}");
    assert!(said.contains(&("ADH-1", at("2026-03-17T18:00:00+08:00"))), "{said:?}");
    assert_eq!(said.len(), 2);
    service.close().await;
}

#[tokio::test]
async fn the_same_batch_twice_changes_nothing_and_a_retraction_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.person().await;
    service.message(person, vec![bp(1, service.clock.now(), 188, 114)]).await;
    service.goto(at(START).plus(minutes(45))).await;
    assert_eq!(service.severities(person.0).await, ["info", "urgent"]);
    let urgent = service.store.findings_after(0, 10).await.unwrap().remove(1).finding;
    let batch = store::FindingBatch {
        new: vec![(urgent.draft.clone(), urgent.decided_at)],
        attach: vec![(urgent.id, vec![vitals::ReadingId::new(9)]); 2],
        ..Default::default()
    };
    service.store.commit_findings(batch.clone()).await.unwrap();
    service.store.commit_findings(batch).await.unwrap();
    assert_eq!(service.store.findings_after(2, 10).await.unwrap().len(), 1, "one reading attached, once");
    service
        .message(person, vec![bp(2, at(START).plus(minutes(9)), 120, 80), bp(3, at(START).plus(minutes(10)), 120, 80)])
        .await;
    service.rules.settle().await;
    let events = service.store.findings_after(3, 10).await.unwrap();
    assert_eq!(events.iter().filter(|e| e.kind == FindingChange::Retracted).count(), 1);
    assert_eq!(service.severities(person.0).await, ["info", "info"]);
    service.close().await;
}

#[tokio::test]
async fn a_reading_that_finds_its_patient_pages_nobody_but_counts_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.stranger().await;
    service.message(person, vec![bp(1, at(START), 188, 114), bp(2, at(START).plus(minutes(1)), 189, 114)]).await;
    service.goto(at(START).plus(minutes(2))).await;
    service.bind(person).await;
    service.goto(at(START).plus(minutes(3))).await;
    let noted = service.store.findings_of(person.0, None, None, None, None, 10).await.unwrap();
    let noted: Vec<_> = noted.iter().map(|f| (&*f.draft.rule, f.draft.verdict, f.draft.severity)).collect();
    assert_eq!(noted, [("BP-C1", vitals::Verdict::Note, Severity::Routine)], "written down, and nobody is paged");
    service.message(person, vec![bp(3, service.clock.now(), 120, 80)]).await;
    service.rules.settle().await;
    assert_eq!(service.severities(person.0).await, ["routine"], "an ordinary reading pages nobody either");
    service.message(person, vec![bp(4, service.clock.now().plus(minutes(1)), 190, 115)]).await;
    service.rules.settle().await;
    assert_eq!(service.severities(person.0).await, ["routine", "critical"], "one more that is over the limit does");
    service.close().await;
}

#[tokio::test]
async fn a_reading_that_was_somebody_elses_is_withdrawn_there_and_noted_here_and_pages_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.person().await;
    service.message(person, vec![bp(1, at(START), 188, 114), bp(2, at(START).plus(minutes(1)), 189, 114)]).await;
    service.goto(at(START).plus(minutes(30 * 60))).await;
    assert_eq!(service.severities(person.0).await, ["critical"]);
    let other = service.store.create_patient(story::patient(Plan::default(), at(START))).await.unwrap().id;
    for id in 1..=2 {
        let all = service.store.readings().unassigned(None, 1).await.unwrap();
        assert!(all.is_empty());
        service.store.readings().reassign(vitals::ReadingId::new(id), other).await.unwrap();
    }
    service.goto(at(START).plus(minutes(31 * 60))).await;
    assert_eq!(service.severities(person.0).await, [""; 0], "withdrawn");
    let noted = service.store.findings_of(other, Some("BP-C1".into()), None, None, None, 10).await.unwrap();
    let noted: Vec<_> = noted.iter().filter(|f| f.retracted_at.is_none()).collect();
    assert!(noted.iter().all(|f| f.draft.verdict == vitals::Verdict::Note && f.draft.severity <= Severity::Routine));
    assert!(!noted.is_empty());
    service.close().await;
}

/// Returns when the days of a patient are written down, or are not any more.
async fn written(service: &Service, patient: vitals::PatientId, is: bool) {
    while service.store.patient_days_blocking(patient).unwrap().is_some() != is {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn days_are_written_after_their_morning_and_go_with_what_changes_them() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let (person, other) = (service.person().await, service.person().await);
    for (id, who) in [(1, person), (2, other)] {
        service.message(who, vec![bp(id, service.clock.now(), 128, 80)]).await;
    }
    service.goto(at(START).plus(minutes(24 * 60))).await;
    written(&service, person.0, true).await;
    written(&service, other.0, true).await;
    service.close().await;

    let service = Service::open(folder.path(), at(START).plus(minutes(25 * 60))).await;
    service.rules.settle().await;
    written(&service, person.0, true).await;
    service.message(person, vec![bp(3, at(START).plus(minutes(60)), 131, 80)]).await;
    service.rules.settle().await;
    written(&service, person.0, false).await;
    written(&service, other.0, true).await;
    service.goto(at(START).plus(minutes(48 * 60))).await;
    written(&service, person.0, true).await;

    service.store.readings().reassign(vitals::ReadingId::new(1), other.0).await.unwrap();
    service.rules.settle().await;
    service.goto(at(START).plus(minutes(49 * 60))).await;
    let moves = service.store.readings().moves_after_blocking(0).unwrap();
    let told: Vec<_> = moves.readings.unwrap().iter().map(|h| (h.before, h.reading.patient)).collect();
    assert_eq!((moves.number, told), (1, vec![(Some(person.0), Some(other.0))]));
    service.message(person, vec![bp(4, service.clock.now(), 131, 80)]).await;
    service.rules.settle().await;
    written(&service, person.0, false).await;
    written(&service, other.0, false).await;
    assert_eq!(service.store.rules_state_blocking().unwrap().moves, 1);

    service.goto(at(START).plus(minutes(73 * 60))).await;
    written(&service, person.0, true).await;
    service.store.erase_patient(person.0).await.unwrap();
    written(&service, person.0, false).await;
    service.close().await;
}

#[tokio::test]
async fn cards_are_loaded_again_while_it_runs_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cards = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.person().await;
    let config = rules::Config { folder: Some(cards.path().to_owned()) };
    let card = include_str!("../../../config/rules/bp-c1.toml");
    std::fs::write(cards.path().join("a.toml"), card.replacen("default = 180", "default = 170", 1)).unwrap();
    service.rules.reload(&config).unwrap();
    service.rules.settle().await;
    service.message(person, vec![bp(1, service.clock.now(), 172, 90)]).await;
    service.rules.settle().await;
    assert_eq!(service.severities(person.0).await, ["info"], "the new limit asks for a repeat");
    std::fs::write(cards.path().join("b.toml"), "id = 3").unwrap();
    assert!(service.rules.reload(&config).unwrap_err().to_string().contains("b.toml, line 1"));
    service.message(person, vec![bp(2, service.clock.now().plus(minutes(2)), 173, 90)]).await;
    service.rules.settle().await;
    assert_eq!(service.severities(person.0).await, ["info", "critical"], "the last good set stays");
    service.close().await;
}

#[tokio::test]
async fn no_question_ends_while_its_answer_is_stored_and_not_read_yet() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let (person, stranger) = (service.person().await, service.stranger().await);
    service.close().await;
    Service::asleep(folder.path(), at(START), async |store| {
        Service::keep(&store, person, vec![bp(1, at(START), 185, 112)]).await;
        for n in 0..17_i64 {
            let many = (n * 1000..(n + 1) * 1000).map(|i| bp(i + 1, at(START), 120, 80)).collect();
            Service::keep(&store, stranger, many).await;
        }
        store.clock().move_to(at(START).plus(minutes(5))).unwrap();
        Service::keep(&store, person, vec![bp(2, store.clock().now(), 186, 113)]).await;
    })
    .await;
    let service = Service::open(folder.path(), at(START).plus(minutes(60))).await;
    service.goto(at(START).plus(minutes(61))).await;
    assert_eq!(service.severities(person.0).await, ["info", "critical"]);
    let events = service.store.findings_after(0, 10).await.unwrap();
    let told: Vec<_> = events.iter().map(|e| (e.kind == FindingChange::Raised, e.finding.draft.severity)).collect();
    assert_eq!(told, [(true, Severity::Info), (true, Severity::Critical)], "nothing is said and taken back");
    service.close().await;
}

#[tokio::test]
async fn nothing_joins_a_finding_that_an_erasure_took() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(folder.path(), at(START)).await;
    let person = service.person().await;
    for minute in [0, 2] {
        service.goto(at(START).plus(minutes(minute))).await;
        service.message(person, vec![bp(1 + minute.cast_signed(), service.clock.now(), 188, 114)]).await;
    }
    service.rules.settle().await;
    let crisis = service.store.findings_after(0, 10).await.unwrap().pop().unwrap().finding;
    service.store.erase_patient(person.0).await.unwrap();
    // What was in memory when it happened.
    let attach = vec![(crisis.id, vec![vitals::ReadingId::new(9)])];
    service.store.commit_findings(store::FindingBatch { attach, ..Default::default() }).await.unwrap();
    let registry = rusqlite::Connection::open(folder.path().join("registry.db")).unwrap();
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table} WHERE finding = {}", crisis.id.as_i64());
        registry.query_row(&sql, [], |r| r.get(0)).unwrap()
    };
    assert_eq!((count("finding_attached"), count("finding_event")), (0, 0));
    service.close().await;
}
