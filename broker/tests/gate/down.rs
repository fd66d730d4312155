//! What comes down: receipts, commands, live copies; and who may subscribe to what.

use crate::{client::*, world::*};
use bytes::Bytes;
use std::time::Duration;
use store::{DeviceCommand, Organisation, OrganisationKind};
use vitals::{Device, DeviceKind, OrganisationId, Timestamp};
use wire::topic::{self, Live};

fn command(id: &str, device: &Device, expires: i64) -> DeviceCommand {
    let body = format!("{{\"id\":\"{id}\"}}");
    DeviceCommand { id: id.into(), device: device.key, body, expires_at: Timestamp::from_seconds(expires) }
}

/// The payload of a publish at QoS 1 whose topic is `topic`; its packet id.
fn message(got: Got, level: u8, topic: &str) -> (Vec<u8>, u16) {
    let message = heard(got, level);
    assert_eq!((message.qos, message.topic.as_str()), (1, topic));
    (message.payload, message.pid)
}

#[tokio::test]
async fn only_the_own_down_topics_can_be_subscribed() {
    let w = World::new().await;
    w.device("d").await;
    let (mut four, mut five) = (Client::enter(&w, "d").await, None);
    let filters = [
        ("#", 0x87),
        ("hb/v1/devices/+/receipts", 0x87),
        ("hb/v1/devices/other/receipts", 0x87),
        ("hb/v1/devices/d/readings", 0x87),
        ("hb/v1/live/o_0000000000001/readings", 0x87),
        ("$share/g/hb/v1/devices/d/receipts", 0x87),
        ("a#", 0x8F),
        ("a/#/b", 0x8F),
        ("hb/v1/devices/d/receipts", 1),
        ("hb/v1/devices/d/+", 1),
        ("hb/v1/devices/d/#", 1),
    ];
    let names: Vec<&str> = filters.iter().map(|(f, _)| *f).collect();
    for level in [4, 5] {
        let c = if level == 4 { &mut four } else { five.insert(Client::enter5(&w, "d").await) };
        let Packet(0x90, body) = c.ask(&subscribe(level, 7, &names)).await else { panic!("no SUBACK") };
        let codes: Vec<u8> =
            filters.iter().map(|(_, code)| if level == 4 && *code > 1 { 0x80 } else { *code }).collect();
        assert_eq!(body[if level == 4 { 2 } else { 3 }..], codes);
    }
    let mut five = five.unwrap();
    let gone = |filter: &str| packet(0xA2, &[&[0, 9, 0][..], &text(filter)].concat());
    assert_eq!(five.ask(&gone("hb/v1/devices/d/+")).await, Packet(0xB0, vec![0, 9, 0, 0]));
    assert_eq!(
        five.ask(&gone("nonsense")).await,
        Packet(0xB0, vec![0, 9, 0, 0x11]),
        "an unknown filter is answered too"
    );
}

#[tokio::test]
async fn receipts_follow_their_puback_within_what_the_client_takes() {
    let w = World::new().await;
    w.device("d").await;
    let topic = "hb/v1/devices/d/receipts";
    // Receive Maximum 2, Maximum Packet Size 60.
    let small = Hello { properties: b"\x21\0\x02\x27\0\0\0\x3c", ..hello5("d") };
    let mut c = Client::login(&w, &small).await.0;
    c.ask(&subscribe(5, 1, &[topic])).await;
    let long = vec![b'x'; 100];
    let all: Vec<u8> = [&b"a"[..], &long, b"b", b"c"]
        .iter()
        .zip(1..)
        .flat_map(|(p, pid)| publish(5, &readings("d"), pid, p))
        .collect();
    c.say(&all).await;
    let mut got = Vec::new();
    for _ in 0..6 {
        got.push(c.hear().await);
    }
    assert_eq!(got.iter().filter(|g| matches!(g, Packet(0x40, _))).count(), 4, "{got:x?}");
    let mut seen: Vec<(Vec<u8>, u16)> =
        got.into_iter().filter(|g| matches!(g, Packet(0x32, _))).map(|g| message(g, 5, topic)).collect();
    assert!(c.is_silent().await, "two are under way, no more");
    c.say(&packet(0x40, &seen[0].1.to_be_bytes())).await;
    seen.push(message(c.hear().await, 5, topic));
    let texts: Vec<&[u8]> = seen.iter().map(|(p, _)| &p[..]).collect();
    assert_eq!(texts, [b"receipt for a", b"receipt for b", b"receipt for c"], "the one that is too long is left out");
}

#[tokio::test]
async fn commands_come_at_once_or_at_the_next_connection_until_they_are_acknowledged() {
    let w = World::new().await;
    let d = w.device("d").await;
    let topic = "hb/v1/devices/d/commands";
    w.store.queue_command(command("before", &d, 5_000)).await.unwrap();
    w.store.queue_command(command("expired", &d, 999)).await.unwrap();
    let mut c = Client::enter5(&w, "d").await;
    assert!(c.is_silent().await, "nobody subscribed");
    assert!(matches!(c.ask(&subscribe(5, 1, &[topic])).await, Packet(0x90, _)));
    let Packet(0x32, raw) = c.hear().await else { panic!("no command") };
    let expiry = &raw[2 + topic.len() + 2..][..6];
    assert_eq!(expiry[..2], [5, 2], "a message expiry goes with it");
    w.store.queue_command(command("live", &d, 5_000)).await.unwrap();
    let (body, pid) = message(c.hear().await, 5, topic);
    assert_eq!(body, b"{\"id\":\"live\"}");
    c.say(&packet(0x40, &pid.to_be_bytes())).await;
    c.ping().await;
    let acknowledged = async {
        loop {
            let left = w.store.pending_commands(d.key, Timestamp::from_seconds(1_000)).await.unwrap();
            if left.iter().map(|c| c.id.as_str()).eq(["before"]) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), acknowledged).await.unwrap();
    drop(c);
    let mut back = Client::enter(&w, "d").await;
    back.ask(&subscribe(4, 1, &["hb/v1/devices/d/+"])).await;
    assert_eq!(message(back.hear().await, 4, topic).0, b"{\"id\":\"before\"}", "it was not acknowledged");
    assert!(back.is_silent().await, "and the other was");
}

async fn organisation(w: &World, kind: OrganisationKind, parent: Option<OrganisationId>) -> OrganisationId {
    let id = OrganisationId::new(0);
    let new = Organisation { id, name: "x".into(), kind, parent, duty: vec![], opening: None, version: 0 };
    w.store.create_organisation(new).await.unwrap().id
}

#[tokio::test]
async fn a_service_client_hears_live_copies_of_its_own_and_what_lies_below() {
    let w = World::new().await;
    let centre = organisation(&w, OrganisationKind::Centre, None).await;
    let station = organisation(&w, OrganisationKind::Station, Some(centre)).await;
    let other = organisation(&w, OrganisationKind::Station, None).await;
    w.device_of("wall", DeviceKind::Service, Some(centre)).await;
    w.device_of("desk", DeviceKind::Service, Some(other)).await;
    let (mut wall, mut desk) = (Client::enter5(&w, "wall").await, Client::enter(&w, "desk").await);
    let (at_station, at_centre) = (topic::live(station, Live::Readings), topic::live(centre, Live::Readings));
    let Packet(0x90, body) =
        wall.ask(&subscribe(5, 1, &[&at_station, &topic::live(other, Live::Readings), "hb/v1/live/#"])).await
    else {
        panic!()
    };
    assert_eq!(body[3..], [0, 0x87, 0x87]);
    let Packet(0x90, body) = desk.ask(&subscribe(4, 1, &[&at_station, &topic::live(other, Live::Alerts)])).await else {
        panic!()
    };
    assert_eq!(body[2..], [0x80, 0]);
    w.gate.publish_live(topic::live(other, Live::Readings), Bytes::from_static(b"not theirs"));
    w.gate.publish_live(at_station.clone(), Bytes::from_static(b"first"));
    w.gate.publish_live(topic::live(other, Live::Alerts), Bytes::from_static(b"alarm"));
    let expected = [&text(&at_station)[..], b"\0first"].concat();
    assert_eq!(wall.hear().await, Packet(0x30, expected));
    assert_eq!(desk.hear().await, Packet(0x30, [&text(&topic::live(other, Live::Alerts))[..], b"alarm"].concat()));
    wall.ask(&subscribe(5, 2, &[&at_centre])).await;
    w.gate.publish_live(at_station.clone(), Bytes::from_static(b"second"));
    let heard = [wall.hear().await, wall.hear().await];
    assert!(
        heard.contains(&Packet(0x30, [&text(&at_centre)[..], b"\0second"].concat())),
        "what lies below counts: {heard:x?}"
    );
    assert_eq!(wall.ask(&publish(5, "hb/v1/devices/wall/readings", 1, b"no")).await, Packet(0x40, vec![0, 1, 0x87]));
    assert!(w.sink.payloads().is_empty(), "a service client published");
    drop((wall, desk));
}

#[tokio::test]
async fn a_service_client_that_reads_nothing_costs_its_own_copies_only() {
    let w = World::new().await;
    let station = organisation(&w, OrganisationKind::Station, None).await;
    for id in ["deaf", "good"] {
        w.device_of(id, DeviceKind::Service, Some(station)).await;
    }
    let topic = topic::live(station, Live::Alerts);
    let (mut deaf, mut good) = (Client::enter(&w, "deaf").await, Client::enter(&w, "good").await);
    for c in [&mut deaf, &mut good] {
        c.ask(&subscribe(4, 1, &[&topic])).await;
    }
    let payload = Bytes::from(vec![b'x'; 30_000]);
    for n in 0..1_500 {
        w.gate.publish_live(topic.clone(), payload.clone());
        assert!(matches!(good.hear().await, Packet(0x30, _)), "copy {n}");
    }
    good.ping().await;
    assert!(w.gate.router_alive());
}
