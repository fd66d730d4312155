//! Behaviours that the paho interoperability suite asks of every broker, told on a device's own topics, each for 3.1.1
//! and 5. The table from its tests to ours: `docs/mqtt-conformance.md`.

use crate::{client::*, undisturbed, world::*};
use std::time::{Duration, Instant};
use store::DeviceCommand;
use vitals::{Device, Timestamp};

const GOODBYE: &[u8] = b"\xe0\0";
/// Session Expiry Interval: an hour.
const AN_HOUR: &[u8] = b"\x11\0\0\x0e\x10";

/// A hello whose session outlives the connection.
fn kept(level: u8, id: &str) -> Hello<'_> {
    Hello { level, clean: false, properties: if level == 5 { AN_HOUR } else { b"" }, ..hello(id) }
}

pub(crate) fn command(id: &str, device: &Device, expires: i64) -> DeviceCommand {
    DeviceCommand { id: id.into(), device: device.key, body: id.into(), expires_at: Timestamp::from_seconds(expires) }
}

/// The sink has got these payloads, and nothing else.
pub(crate) async fn committed(w: &World, payloads: &[&str]) {
    let end = Instant::now() + Duration::from_secs(10);
    while w.sink.payloads() != payloads {
        assert!(Instant::now() < end, "{:?} instead of {payloads:?}", w.sink.payloads());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_session_publishes_at_qos_0_and_1_and_hears_of_both() {
    for level in [4, 5] {
        let w = World::new().await;
        w.device("d").await;
        let again = Hello { level, ..hello("d") };
        Client::login(&w, &again).await.0.say(GOODBYE).await;
        let (mut c, connack) = Client::login(&w, &again).await;
        assert_eq!(connack[0], 0, "nothing is kept of a clean session");
        let Packet(0x90, suback) = c.ask(&subscribe(level, 1, &[&receipts("d")])).await else { panic!("no SUBACK") };
        assert_eq!(suback.last(), Some(&1));
        let both = [publish(level, &readings("d"), 0, b"qos 0"), publish(level, &readings("d"), 7, b"qos 1")];
        c.say(&both.concat()).await;
        let (mut acknowledged, mut told) = (0, Vec::new());
        for _ in 0..3 {
            match c.hear().await {
                Packet(0x40, pid) => acknowledged += usize::from(pid == [0, 7]),
                other => {
                    let receipt = heard(other, level);
                    c.say(&receipt.ack()).await;
                    told.push(receipt.payload);
                }
            }
        }
        assert_eq!((acknowledged, told), (1, vec![b"receipt for qos 0".to_vec(), b"receipt for qos 1".to_vec()]));
        assert_eq!(c.ask(GOODBYE).await, Closed);
        committed(&w, &["qos 0", "qos 1"]).await;
    }
}

#[tokio::test]
async fn a_second_connect_or_another_protocols_name_ends_the_connection() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let four = hello("d").bytes();
        assert_eq!(Client::enter(&w, "d").await.ask(&four).await, Closed);
        let mut five = Client::enter5(&w, "d").await;
        assert_eq!((five.ask(&hello5("d").bytes()).await, five.hear().await), (Packet(0xE0, vec![0x82]), Closed));
        for level in [4, 5] {
            let mut other = Hello { level, ..hello("d") }.bytes();
            other.splice(2..8, text("hj"));
            other[1] -= 2;
            assert_eq!(Client::open(&w).await.ask(&other).await, Closed, "level {level}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_will_is_said_once_for_who_falls_silent_while_keep_alive_0_stays() {
    for level in [4, 5] {
        let w = World::new().await;
        w.device("d").await;
        w.device("patient").await;
        let user_properties: &[u8] = if level == 5 { b"\x26\0\x01a\0\x012\x26\0\x01c\0\x013" } else { b"" };
        let with_will = Hello {
            level,
            keep_alive: 1,
            will: Some(("hb/v1/devices/d/status", b"gone")),
            will_properties: user_properties,
            ..hello("d")
        };
        let mut patient = Client::login(&w, &Hello { level, keep_alive: 0, ..hello("patient") }).await.0;
        let mut silent = Client::login(&w, &with_will).await.0;
        let (begun, told) = (Instant::now(), silent.hear().await);
        assert!(begun.elapsed() > Duration::from_millis(1_300), "closed before its time: {:?}", begun.elapsed());
        assert_eq!(told, if level == 5 { Packet(0xE0, vec![0x8D]) } else { Closed });
        committed(&w, &["gone"]).await;
        patient.ping().await;
        // It is not said again when its owner comes back and leaves in order.
        Client::login(&w, &with_will).await.0.ask(GOODBYE).await;
        patient.ping().await;
        committed(&w, &["gone"]).await;
        assert_eq!(w.sink.wills.load(std::sync::atomic::Ordering::SeqCst), 1, "and it is known for a will");
    }
}

#[tokio::test]
async fn nobody_without_a_name_is_given_one() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        for (level, answer) in [(4, vec![0, 2]), (5, vec![0, 0x85, 0])] {
            for clean in [true, false] {
                let mut c = Client::open(&w).await;
                let nameless = Hello { id: "", user: Some("d"), level, clean, ..hello("d") };
                assert_eq!(c.ask(&nameless.bytes()).await, Packet(0x20, answer.clone()), "clean {clean}");
                assert_eq!(c.hear().await, Closed);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_came_for_an_absent_client_comes_with_its_session() {
    for level in [4, 5] {
        let w = World::new().await;
        let d = w.device("d").await;
        let mut c = Client::login(&w, &kept(level, "d")).await.0;
        c.ask(&subscribe(level, 1, &["hb/v1/devices/d/#"])).await;
        assert_eq!(c.ask(GOODBYE).await, Closed, "a goodbye does not end the session");
        w.store.queue_command(command("first", &d, 5_000)).await.unwrap();
        w.store.queue_command(command("second", &d, 5_000)).await.unwrap();
        let (mut back, connack) = Client::login(&w, &kept(level, "d")).await;
        assert_eq!(connack[0], 1, "session present");
        for expected in ["first", "second"] {
            let message = back.message(level).await;
            assert_eq!((message.topic, message.qos), (commands("d"), 1));
            assert_eq!(message.payload, expected.as_bytes(), "in order, without subscribing again");
        }
        assert!(back.is_silent().await);
    }
}

#[tokio::test]
async fn overlapping_filters_bring_one_copy_at_the_highest_qos() {
    for level in [4, 5] {
        let w = World::new().await;
        w.device("d").await;
        let mut c = Client::login(&w, &Hello { level, ..hello("d") }).await.0;
        let filters = [("hb/v1/devices/d/#", 0), (&receipts("d"), 1), ("hb/v1/devices/d/+", 0)];
        let Packet(0x90, suback) = c.ask(&subscribe_with(level, 1, &filters, b"")).await else { panic!("no SUBACK") };
        assert_eq!(suback[suback.len() - 3..], [0, 1, 0]);
        c.say(&publish(level, &readings("d"), 1, b"x")).await;
        assert_eq!(c.hear().await, puback(1));
        let receipt = c.message(level).await;
        assert_eq!((receipt.qos, &receipt.payload[..]), (1, &b"receipt for x"[..]));
        c.say(&receipt.ack()).await;
        assert!(c.is_silent().await, "one copy");
        assert!(matches!(c.ask(&unsubscribe(level, 2, &receipts("d"))).await, Packet(0xB0, _)));
        c.say(&publish(level, &readings("d"), 2, b"y")).await;
        assert_eq!(c.hear().await, puback(2));
        assert_eq!(c.message(level).await.qos, 0, "the wildcards are left");
        assert!(c.is_silent().await);
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_order_and_only_until_it_is() {
    for level in [4, 5] {
        let w = World::new().await;
        w.device("d").await;
        let mut c = Client::login(&w, &kept(level, "d")).await.0;
        c.ask(&subscribe(level, 1, &[&receipts("d")])).await;
        let mut first = Vec::new();
        for (pid, payload) in [(1, b"a"), (2, b"b")] {
            c.say(&publish(level, &readings("d"), pid, payload)).await;
            assert_eq!(c.hear().await, puback(pid));
            first.push(c.message(level).await);
        }
        assert_eq!(c.ask(GOODBYE).await, Closed);
        let mut back = Client::login(&w, &kept(level, "d")).await.0;
        for message in first {
            assert!(!message.dup);
            let repeat = back.message(level).await;
            assert_eq!(repeat, Heard { dup: true, ..message }, "the same message, marked as a repeat");
            back.say(&repeat.ack()).await;
        }
        back.ping().await;
        assert_eq!(back.ask(GOODBYE).await, Closed);
        let (mut last, connack) = Client::login(&w, &kept(level, "d")).await;
        assert_eq!(connack[0], 1);
        assert!(last.is_silent().await, "what was acknowledged does not come again");
    }
}

#[tokio::test]
async fn after_an_unsubscribe_the_other_topic_is_still_heard() {
    for level in [4, 5] {
        let w = World::new().await;
        let d = w.device("d").await;
        let mut c = Client::login(&w, &Hello { level, ..hello("d") }).await.0;
        c.ask(&subscribe(level, 1, &[&receipts("d"), &commands("d")])).await;
        let codes: &[u8] = if level == 5 { &[0, 2, 0, 0] } else { &[0, 2] };
        assert_eq!(c.ask(&unsubscribe(level, 2, &receipts("d"))).await, Packet(0xB0, codes.to_vec()));
        c.say(&publish(level, &readings("d"), 3, b"x")).await;
        assert_eq!(c.hear().await, puback(3));
        w.store.queue_command(command("still", &d, 5_000)).await.unwrap();
        let message = c.message(level).await;
        assert_eq!((message.topic, &message.payload[..]), (commands("d"), &b"still"[..]));
        assert!(c.is_silent().await, "a receipt that nobody listens for");
    }
}

#[tokio::test]
async fn no_wildcard_reaches_a_dollar_topic_since_both_are_nobodys() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        for level in [4, 5] {
            let mut c = Client::login(&w, &Hello { level, ..hello("d") }).await.0;
            let code = if level == 4 { 0x80 } else { 0x87 };
            for filter in ["+/+", "#", "$SYS/#", "$hb/v1/devices/d/receipts"] {
                let Packet(0x90, suback) = c.ask(&subscribe(level, 1, &[filter])).await else { panic!("no SUBACK") };
                assert_eq!(suback.last(), Some(&code), "{filter}");
            }
            let answer = c.ask(&publish(level, "$hb/v1/devices/d/readings", 2, b"no")).await;
            assert_eq!(answer, if level == 4 { Closed } else { Packet(0x40, vec![0, 2, 0x87]) });
        }
    })
    .await;
}
