//! Who left, or is reached elsewhere by now: what still waits for them does not go to where they were.

use crate::open;
use store::{DeliveryState, User};
use vitals::Severity;

#[tokio::test]
async fn what_waits_for_somebody_who_was_disabled_is_not_sent_and_the_step_goes_on_without_them() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    sink.answers(|_| 503);
    d.raise(Severity::Critical, 1).await;
    assert_eq!(sink.pages(), ["gp 1", "manager 1"]);
    let disable = async |name: &str| {
        let user = User::clone(&d.store.directory().user(d.people[name]).unwrap());
        d.store.update_user(User { disabled: true, ..user }).await.unwrap();
    };
    disable("gp").await;
    sink.answers(|m| if m.json["data"]["recipient"]["address"] == "manager" { 503 } else { 200 });
    d.minutes(1).await;
    assert_eq!(sink.pages(), ["manager 1"], "the other one is still tried");
    let rows = d.store.deliveries_of(d.alert().await.id).await.unwrap();
    let gp = rows.iter().find(|r| r.address == "gp").unwrap();
    assert_eq!((gp.state, gp.attempts), (DeliveryState::Failed, 2), "tried once, then refused");
    assert!(!sink.messages().iter().any(|m| m.json["data"]["reason"] == "dead_channel"), "no contact is to be mended");
    disable("manager").await;
    d.minutes(2).await;
    assert_eq!(sink.pages(), ["duty 2"], "nobody of the step is left");
    d.close().await;
}

#[tokio::test]
async fn a_page_follows_its_person_to_the_new_address_and_does_not_go_to_the_old_one() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    sink.answers(|_| 503);
    d.raise(Severity::Critical, 1).await;
    let mut gp = User::clone(&d.store.directory().user(d.people["gp"]).unwrap());
    gp.contacts[0].address = "gp-new".into();
    d.store.update_user(gp).await.unwrap();
    sink.answers(|_| 200);
    sink.pages();
    d.minutes(1).await;
    assert_eq!(sink.pages(), ["gp-new 1", "manager 1"]);
    d.close().await;
}
