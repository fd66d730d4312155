//! The stage with a real store and a real web server: who is told, once, in which bytes, and after a crash.

#![allow(clippy::unwrap_used, missing_docs)]

mod again;
mod clock;
mod district;
mod gone;
mod left;
mod muted;
mod night;
mod ranges;
mod roster;
mod sink;
mod slow;

use district::{District, at, config, patient, start};
use runtime::{Clock, Drain, Paced};
use sink::Sink;
use std::{collections::HashMap, time::Duration};
use store::{Action, AlertState, Command, CommandError, Contact, DeliveryState, LinkError, Role, Store};
use vitals::{Concept, Severity};

async fn open(now: &str) -> (tempfile::TempDir, Sink, District) {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::open().await;
    let district = District::open(folder.path(), now, &sink).await;
    (folder, sink, district)
}

#[tokio::test]
async fn a_crisis_pages_level_one_once_climbs_and_stops_at_the_acknowledgement() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    d.raise(Severity::Critical, 1).await;
    let first = sink.messages();
    assert_eq!(sink.pages(), ["gp 1", "manager 1"]);
    let alert = d.alert().await;
    assert_eq!((alert.state, alert.level, alert.count), (AlertState::Notified, 1, 2));
    assert_eq!(alert.next_at, Some(at("02T09:15")));
    for m in &first {
        let text = String::from_utf8(m.bytes.clone()).unwrap();
        assert!(!text.contains("Li Guifang") && !text.contains("1390000"));
        let data = &m.json["data"];
        assert_eq!(data["alertId"], alert.id.to_string());
        assert_eq!(data["concept"], "bp_crisis");
        assert_eq!(data["raisedAt"], "2026-03-02T09:05:00+08:00");
        assert!(data["ackUrl"].as_str().unwrap().starts_with("https://clinic.example/api/v1/a/"));
    }
    d.minutes(9).await;
    assert!(sink.pages().is_empty());
    d.minutes(1).await;
    assert_eq!(sink.pages(), ["duty 2"]);
    d.act("duty", Action::Ack, "k1").await.unwrap();
    d.contact("duty", "k2").await;
    d.alerts.settle().await;
    assert_eq!(sink.told("alert.acknowledged"), [("gp".to_owned(), 2), ("manager".to_owned(), 2)]);
    d.minutes(24 * 60).await;
    assert!(sink.pages().is_empty());
    let deliveries = d.store.deliveries_of(alert.id).await.unwrap();
    assert!(deliveries.iter().all(|d| d.state == DeliveryState::Accepted && d.attempts == 1));
    assert!(d.store.was_called(alert.id, d.people["duty"]).await.unwrap());
    assert!(!d.store.was_called(alert.id, d.people["desk"]).await.unwrap());
    let words: Vec<String> = d.store.timeline(alert.id).await.unwrap().into_iter().map(|t| t.event).collect();
    assert_eq!(words, ["raised", "notified", "escalated", "notified", "acknowledged", "follow_up"]);
    d.close().await;
}

#[tokio::test]
async fn the_first_page_leaves_within_milliseconds_on_system_time() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::open().await;
    let mut d = District::open(folder.path(), "02T09:05", &sink).await;
    let (handle, root) = Drain::new();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (people, draft) = (d.people.clone(), d.draft(Severity::Critical, Concept::BpCrisis, 1));
    d.commit(Vec::new()).await;
    d.close().await;
    let store = Store::open(folder.path(), Clock::system(), &root).unwrap();
    let _alerts = alerts::start(config(&sink), "http://x".into(), store.clone(), &root).await.unwrap();
    let begun = std::time::Instant::now();
    let new = vec![(draft, store.clock().now())];
    store.commit_findings(store::FindingBatch { position: 9, new, ..Default::default() }).await.unwrap();
    let both = async {
        while sink.told("alert.notification").len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(people.len(), 6);
    handle.stop();
}

#[tokio::test]
async fn a_failing_sink_gets_the_same_bytes_ever_later_until_it_takes_them() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    let tries = std::sync::Mutex::new(HashMap::<String, u32>::new());
    sink.answers(move |m| {
        let mut tries = tries.lock().unwrap();
        let n = tries.entry(m.id.clone()).or_default();
        *n += 1;
        if *n <= 3 { 500 } else { 200 }
    });
    d.raise(Severity::Critical, 1).await;
    let mut seen: HashMap<String, Vec<(u64, Vec<u8>)>> = HashMap::new();
    for second in 0..60 {
        d.store.clock().move_to(at("02T09:05").plus(Duration::from_secs(second))).unwrap();
        d.alerts.settle().await;
        for m in sink.messages() {
            let tries = seen.entry(m.id).or_default();
            if !tries.iter().any(|(at, _)| *at == second) && tries.len() < sink_count(&sink, &m.bytes) {
                tries.push((second, m.bytes));
            }
        }
    }
    assert_eq!(seen.len(), 2);
    for tries in seen.values() {
        let times: Vec<u64> = tries.iter().map(|t| t.0).collect();
        assert_eq!(times, [0, 5, 15, 35]);
        assert!(tries.windows(2).all(|w| w[0].1 == w[1].1), "other bytes");
    }
    let deliveries = d.store.deliveries_of(d.alert().await.id).await.unwrap();
    assert!(deliveries.iter().all(|d| d.attempts == 4 && d.state == DeliveryState::Accepted));
    d.close().await;
}

fn sink_count(sink: &Sink, bytes: &[u8]) -> usize {
    sink.messages().iter().filter(|m| m.bytes == bytes).count()
}

#[tokio::test]
async fn a_dead_address_falls_to_the_next_contact_and_a_dead_step_to_the_next() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    let gp = d.store.directory().user(d.people["gp"]).unwrap();
    let mut gp = store::User::clone(&gp);
    gp.contacts.push(Contact { channel: "sink".into(), address: "gp-phone".into(), critical: true });
    d.store.update_user(gp).await.unwrap();
    sink.answers(|m| match m.json["data"]["recipient"]["address"].as_str() {
        Some("gp" | "manager") => 410,
        _ => 200,
    });
    d.raise(Severity::Critical, 1).await;
    assert_eq!(sink.told("alert.notification"), [("gp".into(), 1), ("gp-phone".into(), 1), ("manager".into(), 1)]);
    assert_eq!(sink.told("service.warning").len(), 2, "the head learns of two dead addresses");
    d.act("gp", Action::Ack, "k").await.unwrap();
    let resolve = Action::Resolve { outcome: "treated".into(), note: None };
    d.act("gp", resolve, "k2").await.unwrap();
    d.alerts.settle().await;
    sink.pages();
    // From now on the dead ones are not even tried.
    d.minutes(1).await;
    d.raise(Severity::Critical, 5).await;
    assert_eq!(sink.pages(), ["gp-phone 1"]);
    sink.answers(|m| if m.json["data"]["recipient"]["address"] == "gp-phone" { 410 } else { 200 });
    let resolve = Action::Resolve { outcome: "treated".into(), note: None };
    d.act("gp", Action::Ack, "k3").await.unwrap();
    d.act("gp", resolve, "k4").await.unwrap();
    d.minutes(1).await;
    sink.pages();
    d.raise(Severity::Critical, 9).await;
    assert_eq!(sink.pages(), ["gp-phone 1", "duty 2"], "nobody of level one is left: level two at once");
    d.close().await;
}

#[tokio::test]
async fn books_that_do_not_balance_are_told_to_operations_once_a_day_and_to_nobody_else() {
    let (_folder, sink, d) = open("02T09:05").await;
    district::user(&d.store, "operator", Role::Ops, d.region).await;
    for _ in 0..3 {
        d.alerts.warn_of_books().await.unwrap();
        d.alerts.settle().await;
    }
    let told: Vec<_> = sink.messages().iter().map(|m| m.json["data"]["reason"].clone()).collect();
    assert_eq!((sink.told("service.warning"), told), (vec![("operator".into(), 0)], vec!["books_mismatch".into()]));
    d.minutes(24 * 60).await;
    d.alerts.warn_of_books().await.unwrap();
    d.alerts.settle().await;
    assert_eq!(sink.told("service.warning").len(), 2, "it is still so the next day");
    d.close().await;
}

#[tokio::test]
async fn a_contact_that_is_not_for_criticals_is_not_used_for_one() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    for name in ["gp", "manager"] {
        let mut user = store::User::clone(&d.store.directory().user(d.people[name]).unwrap());
        user.contacts[0].critical = false;
        d.store.update_user(user).await.unwrap();
    }
    d.raise(Severity::Critical, 1).await;
    let head = || ("head".to_owned(), 0);
    assert_eq!(sink.told("service.warning"), [head(), head()], "of the step, and of the alert that skipped it");
    assert_eq!(sink.pages(), ["duty 2"]);
    d.close().await;
}

#[tokio::test]
async fn forty_routines_are_one_digest() {
    let (_folder, sink, mut d) = open("02T18:00").await;
    let mut drafts = Vec::new();
    for n in 0..40 {
        let mut draft = d.draft(Severity::Routine, Concept::Adherence, n * 10);
        draft.patient = patient(&d.store, d.team, d.station).await;
        drafts.push(draft);
    }
    d.commit(drafts).await;
    d.minutes(13 * 60 + 59).await;
    assert!(sink.messages().is_empty());
    d.minutes(30).await;
    let all = sink.messages();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].json["type"], "alert.digest");
    assert_eq!(all[0].json["data"]["items"].as_array().unwrap().len(), 40);
    assert_eq!(all[0].json["data"]["recipient"]["address"], "manager");
    d.close().await;
}

#[tokio::test]
async fn an_action_counts_once_under_its_key() {
    let (_folder, _sink, mut d) = open("02T09:05").await;
    d.raise(Severity::Critical, 1).await;
    let first = d.act("gp", Action::Ack, "key").await.unwrap();
    let again = d.act("gp", Action::Ack, "key").await.unwrap();
    assert_eq!((again.state, again.version), (AlertState::Acknowledged, first.version));
    let comment = Action::Comment { text: "seen".into() };
    assert!(matches!(d.act("gp", comment.clone(), "key").await, Err(CommandError::KeyReused)));
    let once = Some(store::OnceKey { key: "key".into(), digest: "a member that the action does not read".into() });
    let other = Command { alert: first.id, action: Action::Ack, by: d.people["gp"], once };
    assert!(matches!(d.alerts.act(other).await, Err(CommandError::KeyReused)));
    d.act("manager", comment.clone(), "key").await.unwrap();
    d.act("manager", comment, "key").await.unwrap();
    let lines = d.store.timeline(first.id).await.unwrap();
    assert_eq!(lines.iter().filter(|l| l.event == "comment").count(), 1, "keys are per user");
    let nobody = Command { alert: vitals::AlertId::new(1), action: Action::Ack, by: d.people["gp"], once: None };
    assert!(matches!(d.alerts.act(nobody).await, Err(CommandError::NotFound)));
    let assign = Action::Assign { user: vitals::UserId::new(1) };
    assert!(matches!(d.act("gp", assign, "k9").await, Err(CommandError::Invalid { field: "userId", .. })));
    d.close().await;
}

#[tokio::test]
async fn after_a_restart_everything_goes_on_and_nothing_is_sent_twice() {
    let (folder, sink, mut d) = open("02T09:05").await;
    // The sink takes nothing: two pages wait when the process ends.
    sink.answers(|_| 503);
    d.raise(Severity::Critical, 1).await;
    let before: Vec<_> = sink.messages().into_iter().map(|m| (m.id, m.bytes)).collect();
    assert_eq!(before.len(), 2);
    let alert = d.alert().await;
    d.close().await;
    sink.answers(|_| 200);
    let (store, alerts, drain) = start(folder.path(), at("02T09:06"), config(&sink)).await;
    alerts.settle().await;
    let after: Vec<_> = sink.messages().into_iter().skip(2).map(|m| (m.id, m.bytes)).collect();
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|m| before.contains(m)), "the same keys, the same bytes");
    assert_eq!(store.episode(alert.id).await.unwrap().unwrap().next_at, alert.next_at);
    drain.stop();
    drop((store, alerts));
    drain.drained(Duration::from_secs(8)).await;
    // Two hours without the service: one message at the level that it is by now.
    sink.pages();
    let (store, alerts, drain) = start(folder.path(), at("02T11:06"), config(&sink)).await;
    alerts.settle().await;
    assert_eq!(sink.pages(), ["desk 4"]);
    assert_eq!(store.alerts_position().await.unwrap(), 1);
    drain.stop();
}

#[tokio::test]
async fn a_link_is_bound_to_person_and_cycle() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    d.raise(Severity::Critical, 1).await;
    let message = sink.messages().into_iter().find(|m| m.json["data"]["recipient"]["address"] == "gp").unwrap();
    let url = message.json["data"]["ackUrl"].as_str().unwrap().to_owned();
    let token = url.rsplit('/').next().unwrap();
    let link = d.alerts.read_link(token).await.unwrap();
    assert_eq!((link.alert, link.user, link.cycle), (d.alert().await.id, d.people["gp"], 1));
    assert_eq!(d.alerts.read_link(&format!("{token}x")).await, Err(LinkError::Tampered));
    d.act("gp", Action::Ack, "a").await.unwrap();
    d.minutes(60).await;
    assert_eq!(d.alerts.read_link(token).await, Err(LinkError::OldCycle));
    d.minutes(73 * 60).await;
    assert_eq!(d.alerts.read_link(token).await, Err(LinkError::Expired));
    let mut gp = store::User::clone(&d.store.directory().user(d.people["gp"]).unwrap());
    gp.disabled = true;
    d.store.update_user(gp).await.unwrap();
    d.close().await;
}

#[tokio::test]
async fn a_new_breach_after_the_end_is_a_new_alert_that_knows_the_old() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    d.raise(Severity::Critical, 1).await;
    let first = d.alert().await;
    d.act("gp", Action::Ack, "a").await.unwrap();
    d.act("gp", Action::Resolve { outcome: "treated".into(), note: None }, "b").await.unwrap();
    sink.pages();
    d.minutes(60).await;
    d.raise(Severity::Critical, 7).await;
    assert_eq!(sink.pages(), ["gp 1", "manager 1"]);
    let second = d.alert().await;
    assert_ne!(second.id, first.id);
    assert_eq!(second.previous, Some(first.id));
    let resolved = d.store.episode(first.id).await.unwrap().unwrap();
    assert_eq!(resolved.state, AlertState::Resolved);
    d.close().await;
}
