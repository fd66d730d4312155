//! Publishes: what is committed, what is acknowledged, when, and in which order.

use crate::{client::*, undisturbed, world::*};
use broker::Config;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_puback_waits_for_the_commit_and_leaves_in_order_of_arrival() {
    let w = World::new().await;
    w.device("d").await;
    for level in [4, 5] {
        let mut c = Client::login(&w, &Hello { level, ..hello("d") }).await.0;
        w.sink.holding.store(true, Ordering::SeqCst);
        let all: Vec<u8> =
            (1..=80_u16).flat_map(|pid| publish(level, &readings("d"), pid, &pid.to_be_bytes())).collect();
        c.say(&all).await;
        until("80 under way", || w.sink.held() == 80).await;
        assert!(c.is_silent().await, "a PUBACK before the commit");
        for left in (1..80).rev() {
            w.sink.release(left); // the last first
        }
        assert!(c.is_silent().await, "a PUBACK out of order");
        w.sink.release(0);
        for pid in 1..=80 {
            assert_eq!(c.hear().await, puback(pid));
        }
        w.sink.holding.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn beyond_its_window_a_client_is_read_later_and_nothing_is_lost() {
    let mut config = config();
    config.limits.in_flight = 64;
    let w = World::with(config).await;
    w.device("d").await;
    let mut c = Client::enter(&w, "d").await;
    w.sink.holding.store(true, Ordering::SeqCst);
    let all: Vec<u8> = (1..=500_u16).flat_map(|pid| publish(4, &readings("d"), pid, b"x")).collect();
    c.say(&all).await;
    until("the window is full", || w.sink.held() == 64).await;
    assert!(c.is_silent().await);
    assert_eq!(w.sink.held(), 64, "more than the window is under way");
    w.sink.holding.store(false, Ordering::SeqCst);
    for _ in 0..64 {
        w.sink.release(0);
    }
    for pid in 1..=500 {
        assert_eq!(c.hear().await, puback(pid));
    }
}

#[tokio::test]
async fn what_cannot_be_made_durable_ends_in_a_close_without_puback() {
    let w = World::with(Config { ack_timeout: 1, ..config() }).await;
    w.device("d").await;
    undisturbed(&w, async || {
        w.sink.failing.store(true, Ordering::SeqCst);
        assert_eq!(Client::enter(&w, "d").await.ask(&publish(4, &readings("d"), 1, b"x")).await, Closed);
        let told = Client::enter5(&w, "d").await.ask(&publish(5, &readings("d"), 1, b"x")).await;
        assert_eq!(told, Packet(0xE0, vec![0x80]));
        w.sink.failing.store(false, Ordering::SeqCst);
        w.sink.holding.store(true, Ordering::SeqCst);
        let (mut slow, begun) = (Client::enter(&w, "d").await, Instant::now());
        assert_eq!(slow.ask(&publish(4, &readings("d"), 1, b"x")).await, Closed);
        assert!(begun.elapsed() >= Duration::from_millis(900), "closed before its time");
        w.sink.holding.store(false, Ordering::SeqCst);
    })
    .await;
}

#[tokio::test]
async fn qos_0_is_committed_too_even_when_the_sender_leaves_at_once() {
    let w = World::new().await;
    w.device("d").await;
    let mut c = Client::enter(&w, "d").await;
    c.say(&[publish(4, &readings("d"), 0, b"zero"), b"\xe0\0".to_vec()].concat()).await;
    drop(c);
    until("the message", || w.sink.payloads().iter().any(|p| p == "zero")).await;
}

#[tokio::test]
async fn every_up_topic_goes_to_the_sink_and_no_other() {
    let w = World::new().await;
    w.device("d").await;
    w.device_of("g", vitals::DeviceKind::Gateway, None).await;
    let mut c = Client::enter(&w, "d").await;
    for (pid, tail) in (1..).zip(["readings", "gatt/2a35", "fhir", "vendor/acme", "hello", "status"]) {
        assert_eq!(c.ask(&publish(4, &format!("hb/v1/devices/d/{tail}"), pid, tail.as_bytes())).await, puback(pid));
    }
    let mut g = Client::enter(&w, "g").await;
    assert_eq!(g.ask(&publish(4, "hb/v1/gateways/g/readings", 1, b"g")).await, puback(1));
    assert_eq!(g.ask(&publish(4, "hb/v1/devices/g/readings", 1, b"no")).await, Closed);
    let taken: Vec<String> = w.sink.taken.lock().unwrap().iter().map(|(d, tail, _)| format!("{d} {tail}")).collect();
    assert_eq!(taken, ["d readings", "d gatt/2a35", "d fhir", "d vendor/acme", "d hello", "d status", "g readings"]);
}

#[tokio::test]
async fn a_refused_topic_is_told_in_5_and_closes_in_3_1_1() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut five = Client::enter5(&w, "d").await;
        for (pid, topic) in (1..).zip([
            "hb/v1/devices/other/readings",
            "é/readings",
            "readings",
            "hb/v1/devices//readings",
            "$SYS/x",
            "hb/v1/devices/d/receipts",
            "hb/v1/devices/d/diary",
            "$share/g/hb/v1/devices/d/readings",
        ]) {
            let [high, low] = u16::to_be_bytes(pid);
            assert_eq!(five.ask(&publish(5, topic, pid, b"no")).await, Packet(0x40, vec![high, low, 0x87]), "{topic}");
            assert_eq!(Client::enter(&w, "d").await.ask(&publish(4, topic, 1, b"no")).await, Closed, "{topic}");
            five = Client::enter5(&w, "d").await;
        }
        assert_eq!(five.ask(&publish(5, "hb/v1/devices/+/readings", 7, b"no")).await, Packet(0x40, vec![0, 7, 0x90]));
        // The refusal keeps its place among the answers, and what follows is served.
        let mixed =
            [publish(5, &readings("d"), 1, b"yes"), publish(5, "x", 2, b"no"), publish(5, &readings("d"), 3, b"yes")];
        five.say(&mixed.concat()).await;
        assert_eq!(five.hear().await, puback(1));
        assert_eq!(five.hear().await, Packet(0x40, vec![0, 2, 0x87]));
        assert_eq!(five.hear().await, puback(3));
        assert_eq!(five.ask(&publish(5, "x", 0, b"no")).await, Packet(0xE0, vec![0x87]), "QoS 0 has no PUBACK");
    })
    .await;
    assert!(w.sink.payloads().iter().all(|p| p != "no"), "a refused message was committed");
}

#[tokio::test]
async fn what_the_gate_does_not_do_is_refused_and_earlier_answers_still_come() {
    let w = World::new().await;
    w.device("d").await;
    let topic = readings("d");
    undisturbed(&w, async || {
        let mut bent = publish(4, &topic, 7, b"no");
        let mut bent5 = publish(5, &topic, 7, b"no");
        for (what, first, code) in [("QoS 2", 0x34, 0x9B), ("retained", 0x33, 0x9A), ("QoS 3", 0x36, 0x81)] {
            (bent[0], bent5[0]) = (first, first);
            let mut four = Client::enter(&w, "d").await;
            four.say(&[publish(4, &topic, 1, b"yes"), bent.clone()].concat()).await;
            assert_eq!((four.hear().await, four.hear().await), (puback(1), Closed), "{what}");
            let mut five = Client::enter5(&w, "d").await;
            five.say(&[publish(5, &topic, 1, b"yes"), bent5.clone()].concat()).await;
            assert_eq!((five.hear().await, five.hear().await), (puback(1), Packet(0xE0, vec![code])), "{what}");
            assert_eq!(five.hear().await, Closed, "{what}");
        }
    })
    .await;
    assert!(w.sink.payloads().iter().all(|p| p != "no"));
}

#[tokio::test]
async fn a_megabyte_is_refused_before_it_is_read() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let big = publish(5, &readings("d"), 7, &vec![b'x'; 1_000_000]);
        assert_eq!(Client::enter5(&w, "d").await.ask(&big[..4]).await, Packet(0xE0, vec![0x95]), "by its length alone");
        let mut five = Client::enter5(&w, "d").await;
        assert_eq!(five.ask(&big).await, Packet(0xE0, vec![0x95]), "and heard although all was sent");
        assert_eq!(
            Client::enter(&w, "d").await.ask(&publish(4, &readings("d"), 7, &vec![b'x'; 1_000_000])).await,
            Closed
        );
        let fits = publish(4, &readings("d"), 8, &vec![b'x'; 65_536 - 40]);
        assert_eq!(Client::enter(&w, "d").await.ask(&fits).await, puback(8), "64 KiB is allowed");
    })
    .await;
}

#[tokio::test]
async fn topic_aliases_are_honoured() {
    let w = World::new().await;
    w.device("d").await;
    let mut c = Client::enter5(&w, "d").await;
    assert_eq!(c.ask(&publish_with(5, &readings("d"), 1, b"a", b"\x23\0\x10")).await, puback(1));
    assert_eq!(c.ask(&publish_with(5, "", 2, b"b", b"\x23\0\x10")).await, puback(2));
    assert_eq!(c.ask(&publish_with(5, "foreign", 3, b"c", b"\x23\0\x10")).await, Packet(0x40, vec![0, 3, 0x87]));
    assert_eq!(c.ask(&publish_with(5, "", 4, b"d", b"\x23\0\x10")).await, Packet(0x40, vec![0, 4, 0x87]));
    assert_eq!(w.sink.payloads(), ["a", "b"]);
    assert_eq!(c.ask(&publish_with(5, "", 5, b"e", b"\x23\0\x03")).await, Packet(0xE0, vec![0x82]), "never set");
    let mut c = Client::enter5(&w, "d").await;
    assert_eq!(
        c.ask(&publish_with(5, &readings("d"), 1, b"f", b"\x23\0\x11")).await,
        Packet(0xE0, vec![0x94]),
        "not offered"
    );
}

#[tokio::test]
async fn above_its_rate_a_device_is_read_later_and_nobody_is_dropped() {
    let mut config = config();
    (config.limits.device_rate, config.limits.device_burst) = (50, 10);
    let w = World::with(config).await;
    w.device("d").await;
    undisturbed(&w, async || {
        let (mut c, begun) = (Client::enter(&w, "d").await, Instant::now());
        let all: Vec<u8> = (1..=40_u16).flat_map(|pid| publish(4, &readings("d"), pid, b"x")).collect();
        c.say(&all).await;
        for pid in 1..=40 {
            assert_eq!(c.hear().await, puback(pid));
        }
        let took = begun.elapsed();
        assert!(
            took > Duration::from_millis(500),
            "30 messages above the burst at 50 a second came through in {took:?}"
        );
    })
    .await;
}
