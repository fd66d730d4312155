//! What is not critical leaves neither at night nor on a day of rest, however it came to be due then.

use crate::{
    district::{District, at, config, start},
    open,
};
use runtime::Paced;
use store::{Action, DeliveryState};
use vitals::{Concept, Severity};

async fn to(d: &District, when: &str) {
    let minutes = at(when).since(d.store.clock().now()).as_secs() / 60;
    d.minutes(minutes).await;
}

#[tokio::test]
async fn an_urgent_that_failed_in_the_evening_waits_for_the_opening_and_does_not_expire() {
    let (_folder, sink, mut d) = open("06T21:50").await;
    sink.answers(|_| 503);
    d.raise(Severity::Urgent, 1).await;
    to(&d, "06T22:30").await;
    sink.answers(|_| 200);
    assert_eq!(sink.pages(), ["manager 1"], "tried in the evening");
    let alert = d.alert().await.id;
    let row = || async { d.store.deliveries_of(alert).await.unwrap().remove(0) };
    let held = row().await;
    assert_eq!((held.state, held.not_before), (DeliveryState::FailedTemp, at("09T08:00")));
    to(&d, "09T07:59").await;
    assert!(sink.pages().is_empty(), "two nights, a Saturday, a Sunday");
    to(&d, "09T08:00").await;
    assert_eq!(sink.pages(), ["manager 1"]);
    assert_eq!((row().await.state, row().await.attempts), (DeliveryState::Accepted, held.attempts + 1));
    d.close().await;
}

#[tokio::test]
async fn a_start_in_the_night_sends_nothing_that_was_left_over() {
    let (folder, sink, mut d) = open("02T21:50").await;
    sink.answers(|_| 503);
    d.raise(Severity::Urgent, 1).await;
    d.close().await;
    sink.answers(|_| 200);
    sink.pages();
    let (store, alerts, drain) = start(folder.path(), at("02T23:30"), config(&sink)).await;
    alerts.settle().await;
    assert!(sink.pages().is_empty());
    assert_eq!(alerts.next_due().await, Some(at("03T08:00")));
    store.clock().move_to(at("03T08:00")).unwrap();
    alerts.settle().await;
    assert_eq!(sink.pages(), ["manager 1"]);
    drain.stop();
}

#[tokio::test]
async fn a_digest_that_nobody_took_by_day_waits_too_and_a_critical_does_not() {
    let (_folder, sink, mut d) = open("02T18:00").await;
    let draft = d.draft(Severity::Routine, Concept::Adherence, 1);
    d.commit(vec![draft]).await;
    to(&d, "03T07:59").await;
    sink.answers(|_| 503);
    to(&d, "03T22:30").await;
    sink.answers(|_| 200);
    sink.pages();
    d.raise(Severity::Critical, 5).await;
    to(&d, "04T03:00").await;
    assert_eq!(sink.told("alert.digest"), []);
    assert!(sink.pages().contains(&"desk 4".to_owned()));
    to(&d, "04T08:00").await;
    assert_eq!(sink.told("alert.digest"), [("manager".into(), 0)]);
    d.close().await;
}

#[tokio::test]
async fn a_step_taken_by_hand_at_night_is_told_in_the_morning() {
    let (_folder, sink, mut d) = open("02T21:00").await;
    d.raise(Severity::Urgent, 1).await;
    assert_eq!(sink.pages(), ["manager 1"]);
    to(&d, "02T23:00").await;
    assert_eq!(d.act("manager", Action::Escalate, "k").await.unwrap().level, 2);
    d.alerts.settle().await;
    to(&d, "03T07:59").await;
    assert!(sink.pages().is_empty());
    to(&d, "03T08:00").await;
    assert_eq!(sink.pages(), ["duty 2"]);
    d.close().await;
}
