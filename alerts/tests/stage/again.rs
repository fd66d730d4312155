//! A crisis that comes after the acknowledgement of the last one is told anew, in messages of its own.

use crate::{district::at, open};
use std::collections::BTreeSet;
use store::{Action, AlertState};
use vitals::Severity;

#[tokio::test]
async fn another_crisis_after_the_acknowledgement_is_new_messages_in_the_same_alert() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    d.raise(Severity::Critical, 1).await;
    d.act("gp", Action::Ack, "k1").await.unwrap();
    d.contact("gp", "k2").await;
    let first = d.alert().await;
    let before: BTreeSet<String> = sink.messages().into_iter().map(|m| m.id).collect();
    assert_eq!(sink.pages(), ["gp 1", "manager 1"]);
    d.minutes(35).await;
    d.raise(Severity::Critical, 11).await;
    let anew: Vec<_> = sink.messages().into_iter().filter(|m| m.json["type"] == "alert.notification").collect();
    assert_eq!(sink.pages(), ["gp 1", "manager 1"]);
    for m in anew {
        assert!(!before.contains(&m.id), "a webhook-id is never used for other news");
        assert_eq!(m.json["data"]["alertId"], first.id.to_string());
        assert_eq!((&m.json["data"]["cycle"], &m.json["data"]["level"]), (&2.into(), &1.into()));
        assert_eq!(m.json["data"]["raisedAt"], "2026-03-02T09:40:00+08:00");
    }
    let alert = d.alert().await;
    assert_eq!((alert.id, alert.state, alert.owner), (first.id, AlertState::Notified, None));
    assert_eq!((alert.cycle, alert.count, alert.next_at), (2, 4, Some(at("02T09:50"))));
    d.raise(Severity::Critical, 21).await;
    assert!(sink.pages().is_empty(), "nobody has acknowledged this one yet");
    d.minutes(10).await;
    assert_eq!(sink.pages(), ["duty 2"]);
    d.act("duty", Action::Ack, "k3").await.unwrap();
    d.contact("duty", "k4").await;
    d.minutes(24 * 60).await;
    assert!(sink.pages().is_empty());
    d.close().await;
}
