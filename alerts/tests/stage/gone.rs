//! Addresses that say that they are gone: one such moment must not end in silence.

use crate::{
    district::{District, config, patient, start, user},
    open,
    sink::Sink,
};
use runtime::Paced;
use store::{DeliveryState, Organisation, Role};
use vitals::{Concept, Severity};

/// The next crisis, of another patient.
async fn another(d: &mut District, reading: u64) {
    let mut draft = d.draft(Severity::Critical, Concept::BpCrisis, reading);
    draft.patient = patient(&d.store, d.team, d.station).await;
    d.commit(vec![draft]).await;
}

fn gone(sink: &Sink, who: &'static [&'static str]) {
    sink.answers(|m| {
        let address = m.json["data"]["recipient"]["address"].as_str().unwrap_or_default();
        if who.contains(&address) { 410 } else { 200 }
    });
}

/// The same answer to every page. Warnings wait: one that is taken, or refused, says something of the head's address.
fn pages_get(sink: &Sink, answer: u16) {
    sink.answers(move |m| if m.json["type"] == "alert.notification" { answer } else { 503 });
}

#[tokio::test]
async fn a_crisis_in_which_every_address_was_gone_does_not_silence_the_next() {
    let (folder, sink, mut d) = open("02T09:05").await;
    pages_get(&sink, 410);
    d.raise(Severity::Critical, 1).await;
    let all = ["gp 1", "manager 1", "duty 2", "head 3", "specialist 3", "desk 4"];
    assert_eq!(sink.pages(), all, "each step at once, for nobody of the one before is left");
    d.minutes(15).await;
    assert_eq!(sink.pages(), ["desk 4"], "still gone: asked again every 15 minutes");
    d.minutes(14).await;
    pages_get(&sink, 200);
    assert!(sink.pages().is_empty());
    d.minutes(1).await;
    assert_eq!(sink.pages(), ["desk 4"]);
    let dead = d.store.dead_addresses();
    assert!(dead.len() == 5 && dead.iter().all(|a| a.0 != d.people["desk"]), "what takes a message lives: {dead:?}");
    another(&mut d, 5).await;
    assert_eq!(sink.pages(), ["desk 4"], "the one who is known to live");
    let now = d.store.clock().now();
    d.close().await;
    let (store, alerts, drain) = start(folder.path(), now, config(&sink)).await;
    alerts.settle().await;
    assert_eq!(store.dead_addresses(), dead, "and it is written down");
    drain.stop();
}

#[tokio::test]
async fn a_new_crisis_tries_every_step_when_nobody_at_all_is_left() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    pages_get(&sink, 410);
    d.raise(Severity::Critical, 1).await;
    assert_eq!(d.store.dead_addresses().len(), 6);
    sink.pages();
    pages_get(&sink, 200);
    another(&mut d, 5).await;
    assert_eq!(sink.pages(), ["gp 1", "manager 1"]);
    assert_eq!(d.store.dead_addresses().len(), 4);
    // An urgent is no reason to try an address that is gone.
    let mut draft = d.draft(Severity::Urgent, Concept::GlucoseLow, 9);
    draft.recipients = vec![vitals::Recipient::Specialist];
    d.commit(vec![draft]).await;
    assert!(sink.pages().is_empty());
    d.close().await;
}

#[tokio::test]
async fn a_desk_that_was_gone_is_called_again_beside_whoever_is_left() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    gone(&sink, &["desk"]);
    d.raise(Severity::Critical, 1).await;
    d.minutes(30).await;
    assert_eq!(sink.pages(), ["gp 1", "manager 1", "duty 2", "head 3", "specialist 3", "desk 4"]);
    d.minutes(15).await;
    let again = ["desk 4", "head 4", "specialist 4"];
    assert_eq!(sink.pages(), again, "it is still gone, so whoever else is left is called too");
    sink.answers(|_| 200);
    d.minutes(15).await;
    assert_eq!(sink.pages(), again);
    assert!(d.store.dead_addresses().is_empty());
    d.minutes(15).await;
    assert_eq!(sink.pages(), ["desk 4"], "from now on the desk alone, as ever");
    d.close().await;
}

#[tokio::test]
async fn whoever_is_gone_every_day_is_told_of_every_day() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    let second = user(&d.store, "second", Role::RegionAdmin, d.region).await;
    let region = Organisation::clone(&d.store.directory().organisation(d.region).unwrap());
    let duty = vec![d.people["desk"], second];
    d.store.update_organisation(Organisation { duty, ..region }).await.unwrap();
    gone(&sink, &["desk", "second"]);
    d.raise(Severity::Critical, 1).await;
    d.minutes(60).await;
    let told = || sink.messages().iter().filter(|m| m.json["data"]["reason"] == "dead_channel").count();
    assert_eq!(told(), 2, "once a day");
    d.minutes(24 * 60).await;
    assert_eq!(told(), 4);
    let rows = d.store.deliveries_of(d.alert().await.id).await.unwrap();
    assert!(rows.iter().all(|r| r.attempts == 1 && r.state != DeliveryState::FailedTemp), "each call is one request");
    d.close().await;
}
