//! Inputs that are known to have killed or wedged MQTT brokers, D1 to D12, a test each (D10 is in `doors.rs`, where
//! certificates are); each leaves a neighbour and the router unharmed.

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
async fn d2_client_ids_that_were_refused_come_again_and_again() {
    let mut config = config();
    config.limits.connections = 3;
    let w = World::with(config).await;
    w.device("d").await;
    w.device("e").await;
    undisturbed(&w, async || {
        for id in ["+", "#", "$d", "a/b", "+", "#", "$d", "a/b"] {
            let mut c = Client::open(&w).await;
            assert_eq!((c.ask(&hello(id).bytes()).await, c.hear().await), (Packet(0x20, vec![0, 5]), Closed), "{id}");
        }
        while w.gate.connections() > 1 {
            tokio::task::yield_now().await; // the last of them is on its way out
        }
        let (mut d, e) = (Client::enter(&w, "d").await, Client::enter(&w, "e").await);
        for _ in 0..5 {
            assert_eq!(Client::open(&w).await.ask(&hello("d").bytes()).await, Closed, "the house is full");
        }
        d.ping().await;
        drop(e);
        while w.gate.connections() > 2 {
            tokio::task::yield_now().await;
        }
        Client::enter(&w, "d").await.ping().await;
    })
    .await;
}

/// Says hello with a session that is kept.
async fn returning(w: &World) -> (Client, bool) {
    let (c, connack) = Client::login(w, &Hello { clean: false, ..hello("d") }).await;
    (c, connack[0] == 1)
}

const GROUP: &str = "$share/g/hb/v1/devices/d/receipts";

#[tokio::test]
async fn d3_the_only_reader_is_lost_with_messages_unacknowledged() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut c = returning(&w).await.0;
        let Packet(0x90, suback) = c.ask(&subscribe(4, 1, &[GROUP, &receipts("d")])).await else { panic!("no SUBACK") };
        assert_eq!(suback[2..], [0x80, 1], "there are no groups");
        for pid in 1..=5 {
            c.say(&publish(4, &readings("d"), pid, &[b'0' + u8::try_from(pid).unwrap()])).await;
            assert_eq!(c.hear().await, puback(pid));
            c.message(4).await;
        }
        drop(c);
        for _ in 0..3 {
            let (mut back, present) = returning(&w).await;
            assert!(present);
            for n in b'1'..=b'5' {
                assert_eq!(back.message(4).await.payload.last(), Some(&n), "all of them, in order");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn d4_two_filters_under_one_name_lose_nothing() {
    let w = World::new().await;
    let d = w.device("d").await;
    undisturbed(&w, async || {
        let mut c = returning(&w).await.0;
        let filters = [GROUP, "$share/g/hb/v1/devices/d/commands", &receipts("d"), &commands("d")];
        assert_eq!(c.ask(&subscribe(4, 1, &filters)).await, Packet(0x90, vec![0, 1, 0x80, 0x80, 1, 1]));
        let mut told = Vec::new();
        for pid in 1..=6 {
            let queued = crate::conformance::command(&format!("c{pid}"), &d, 5_000);
            w.store.queue_command(queued).await.unwrap();
            c.say(&publish(4, &readings("d"), pid, &[b'0' + u8::try_from(pid).unwrap()])).await;
            let mut of_this = 0;
            while of_this < 2 {
                if let got @ Packet(0x30..=0x3F, _) = c.hear().await {
                    let message = heard(got, 4);
                    c.say(&message.ack()).await;
                    told.push(message.topic);
                    of_this += 1;
                }
            }
        }
        let of = |topic: String| told.iter().filter(|t| **t == topic).count();
        assert_eq!((of(receipts("d")), of(commands("d"))), (6, 6));
    })
    .await;
}

#[tokio::test]
async fn d5_a_reader_that_died_returns_and_unsubscribes() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut c = returning(&w).await.0;
        c.ask(&subscribe(4, 1, &[&receipts("d")])).await;
        for pid in 1..=10 {
            c.say(&publish(4, &readings("d"), pid, b"x")).await;
            assert_eq!(c.hear().await, puback(pid));
            c.message(4).await;
        }
        drop(c);
        let mut back = returning(&w).await.0;
        for n in 1..=10 {
            let message = back.message(4).await;
            assert!(message.dup, "message {n}");
            back.say(&message.ack()).await;
        }
        assert_eq!(back.ask(&unsubscribe(4, 2, &receipts("d"))).await, Packet(0xB0, vec![0, 2]));
        assert_eq!(back.ask(&publish(4, &readings("d"), 3, b"unheard")).await, puback(3));
        assert!(back.is_silent().await);
        back.ask(&subscribe(4, 4, &[&receipts("d")])).await;
        assert_eq!(back.ask(&publish(4, &readings("d"), 5, b"heard")).await, puback(5));
        assert_eq!(back.message(4).await.payload, b"receipt for heard");
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
async fn d8_a_publish_full_of_properties_reaches_a_3_1_1_subscription() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut c = returning(&w).await.0;
        c.ask(&subscribe(4, 1, &[&receipts("d")])).await;
        drop(c);
        let properties = b"\x01\x01\x02\0\0\0\x09\x03\0\x01t\x08\0\x01r\x09\0\x01c\x26\0\x01k\0\x01v";
        let kept = Hello { clean: false, properties: b"\x11\0\0\0\x3c", ..hello5("d") };
        let mut five = Client::login(&w, &kept).await.0;
        five.say(&publish_with(5, &readings("d"), 1, b"x", properties)).await;
        assert_eq!(five.hear().await, puback(1));
        drop(five);
        for _ in 0..2 {
            assert_eq!(returning(&w).await.0.message(4).await.payload, b"receipt for x");
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
