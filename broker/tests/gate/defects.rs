//! Inputs that are known to have killed or wedged MQTT brokers, D1 to D12 (D8, D10 and D2's full house are told in
//! `down.rs`, `doors.rs` and `entry.rs`); here each leaves a neighbour and the router unharmed.

use crate::{client::*, undisturbed, world::*};
use std::time::Duration;

#[tokio::test]
async fn d1_a_topic_that_begins_outside_ascii() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut c = Client::enter(&w, "d").await;
        c.ask(&subscribe(4, 1, &["hb/v1/devices/d/#"])).await;
        assert_eq!(c.ask(&publish(4, "é/x", 1, b"x")).await, Closed);
    })
    .await;
}

#[tokio::test]
async fn d2_client_ids_with_special_characters_again_and_again() {
    let w = World::new().await;
    undisturbed(&w, async || {
        for id in ["+", "#", "$d", "a/b", "+", "#", "$d", "a/b"] {
            assert_eq!(Client::open(&w).await.ask(&hello(id).bytes()).await, Packet(0x20, vec![0, 5]), "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn d3_to_d5_there_are_no_shared_subscriptions() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let hello = Hello { clean: false, ..hello("d") };
        for _ in 0..3 {
            let mut c = Client::login(&w, &hello).await.0;
            let filters =
                ["$share/g/hb/v1/devices/d/receipts", "$share/g/hb/v1/devices/d/commands", "$share//x", "$share"];
            assert_eq!(c.ask(&subscribe(4, 1, &filters)).await, Packet(0x90, vec![0, 1, 0x80, 0x80, 0x80, 0x80]));
            c.say(&publish(4, &readings("d"), 1, b"unacknowledged")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn d6_a_slow_reader_is_taken_over_and_drains_after_its_successor_left() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut slow = Client::enter(&w, "d").await;
        slow.ask(&subscribe(4, 1, &["hb/v1/devices/d/receipts"])).await;
        for pid in 1..=300 {
            slow.say(&publish(4, &readings("d"), pid, &[b'x'; 2000])).await;
        }
        let mut successor = Client::enter(&w, "d").await;
        successor.ping().await;
        successor.say(b"\xe0\0").await;
        drop(successor);
        while let Packet(..) = slow.hear().await {}
        Client::enter(&w, "d").await.ping().await;
    })
    .await;
}

#[tokio::test]
async fn d7_an_old_connection_that_fails_late_does_not_take_its_successor_with_it() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        for _ in 0..10 {
            let old = Client::enter(&w, "d").await;
            let mut new = Client::enter(&w, "d").await;
            drop(old);
            new.ping().await;
            assert!(new.is_silent().await);
            new.ping().await;
        }
    })
    .await;
}

#[tokio::test]
async fn d9_packets_that_only_a_server_sends() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        for first in [0x20, 0x90, 0xB0, 0xD0] {
            let mut five = Client::enter5(&w, "d").await;
            assert_eq!(five.ask(&packet(first, &[0, 1, 0])).await, Packet(0xE0, vec![0x82]), "{first:#x}");
            assert_eq!(Client::enter(&w, "d").await.ask(&packet(first, &[0, 1])).await, Closed, "{first:#x}");
        }
        for (first, body) in [(0x50, &[0, 1][..]), (0x62, &[0, 1]), (0x70, &[0, 1]), (0xF0, &[])] {
            assert_eq!(
                Client::enter5(&w, "d").await.ask(&packet(first, body)).await,
                Packet(0xE0, vec![0x82]),
                "{first:#x}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn d11_thousands_of_foreign_names_leave_nothing_behind() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut c = Client::enter5(&w, "d").await;
        for n in 0..3_000 {
            let name = format!("hb/v1/devices/d{n}/receipts");
            assert_eq!(c.ask(&subscribe(5, 1, &[&name])).await, Packet(0x90, vec![0, 1, 0, 0x87]));
            assert_eq!(c.ask(&publish(5, &name, 1, b"no")).await, Packet(0x40, vec![0, 1, 0x87]));
        }
    })
    .await;
    assert_eq!(w.sink.payloads().len(), 1, "only the neighbour's");
}

#[tokio::test]
async fn d12_topics_and_packets_that_cannot_be() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        for topic in ["", "hb/v1/devices/d/re\0adings", "hb/v1/devices/+/readings", "hb/v1/devices/#"] {
            assert_eq!(Client::enter(&w, "d").await.ask(&publish(4, topic, 1, b"no")).await, Closed, "{topic:?}");
        }
        let mut nul = Client::enter5(&w, "d").await;
        assert_eq!(nul.ask(&publish(5, "a\0b", 1, b"no")).await, Packet(0xE0, vec![0x81]));
        assert_eq!(Client::enter(&w, "d").await.ask(&hello("d").bytes()).await, Closed, "a second CONNECT");
        assert_eq!(Client::enter5(&w, "d").await.ask(&hello5("d").bytes()).await, Packet(0xE0, vec![0x82]));
        let mut zero = publish(4, &readings("d"), 1, b"no");
        let at = zero.len() - 3;
        zero[at] = 0;
        assert_eq!(Client::enter(&w, "d").await.ask(&zero).await, Closed, "packet id 0");
        let mut c = Client::enter(&w, "d").await;
        let unknown = packet(0xA2, &[&[0, 5][..], &text("never/subscribed")].concat());
        assert_eq!(c.ask(&unknown).await, Packet(0xB0, vec![0, 5]));
    })
    .await;
    assert_eq!(w.sink.payloads(), ["still here"]);
}

#[tokio::test]
async fn random_bytes_after_a_login_harm_nobody() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64; // the same bytes every time
        for round in 0..200 {
            let mut c = Client::login(&w, &Hello { level: 4 + round % 2, ..hello("d") }).await.0;
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            c.say(&bytes).await;
            let _ = c.hear_within(Duration::from_millis(1)).await;
        }
    })
    .await;
}
