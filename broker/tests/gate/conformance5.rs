//! What the paho interoperability suite asks of MQTT 5, told on a device's own topics. The table:
//! `docs/mqtt-conformance.md`.

use crate::{
    client::*,
    conformance::{command, committed},
    undisturbed,
    world::*,
};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use vitals::Timestamp;

const GOODBYE: &[u8] = b"\xe0\0";

/// Session Expiry Interval.
fn expiry(seconds: u32) -> Vec<u8> {
    [&[0x11][..], &seconds.to_be_bytes()].concat()
}

/// A DISCONNECT that changes the session's expiry.
fn goodbye(seconds: u32) -> Vec<u8> {
    packet(0xE0, &[&[0, 5][..], &expiry(seconds)].concat())
}

/// Says hello with this expiry and hears whether a session was there.
async fn present(w: &World, clean: bool, seconds: u32) -> (Client, bool) {
    let properties = expiry(seconds);
    let (c, connack) = Client::login(w, &Hello { clean, properties: &properties, ..hello5("d") }).await;
    (c, connack[0] == 1)
}

#[tokio::test]
async fn a_session_lives_as_long_as_connect_or_disconnect_said() {
    let w = World::new().await;
    w.device("d").await;
    let leave = async |(mut c, present): (Client, bool), last: &[u8]| {
        c.ask(&subscribe(5, 1, &[&receipts("d")])).await;
        assert_eq!(c.ask(last).await, Closed);
        present
    };
    assert!(!leave(present(&w, true, 0).await, GOODBYE).await);
    assert!(!leave(present(&w, false, 0).await, GOODBYE).await, "expiry 0 ends with the connection");
    assert!(!leave(present(&w, true, 60).await, GOODBYE).await);
    assert!(leave(present(&w, false, 1).await, GOODBYE).await, "kept");
    tokio::time::sleep(Duration::from_millis(1_500)).await; // what is tested is that time passes
    assert!(!leave(present(&w, false, 1).await, &goodbye(60)).await, "its second was over");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(leave(present(&w, false, 1).await, &goodbye(0)).await, "prolonged by DISCONNECT");
    assert!(!leave(present(&w, false, 0).await, GOODBYE).await, "ended by DISCONNECT");
    let mut c = present(&w, true, 0).await.0;
    assert_eq!(c.ask(&goodbye(60)).await, Packet(0xE0, vec![0x82]), "what was not kept cannot be prolonged");
}

#[tokio::test]
async fn properties_of_a_publish_are_taken_and_leave_its_bytes_as_they_were() {
    let w = World::new().await;
    w.device("d").await;
    let mut c = Client::enter5(&w, "d").await;
    c.ask(&subscribe(5, 1, &[&receipts("d")])).await;
    let all: [(&str, &[u8]); 5] = [
        ("user properties, twice the same", b"\x26\0\x01a\0\x012\x26\0\x01c\0\x013\x26\0\x01a\0\x012"),
        ("payload format and content type", b"\x01\x01\x03\0\x07My name"),
        ("bytes of no format", b"\x01\x00"),
        ("response topic and correlation", b"\x08\0\x06answer\x09\0\x03334"),
        ("message expiry", b"\x02\0\0\0\x01"),
    ];
    for (pid, (what, properties)) in (10..).zip(all) {
        c.say(&publish_with(5, &readings("d"), 0, what.as_bytes(), properties)).await;
        c.say(&publish_with(5, &readings("d"), pid, what.as_bytes(), properties)).await;
        let mut receipts_heard = 0;
        let mut acknowledged = false;
        while receipts_heard < 2 || !acknowledged {
            match c.hear().await {
                Packet(0x40, body) => acknowledged = body == pid.to_be_bytes(),
                other => {
                    let receipt = heard(other, 5);
                    assert!(receipt.properties.is_empty(), "a receipt is the gate's own message: {what}");
                    c.say(&receipt.ack()).await;
                    receipts_heard += 1;
                }
            }
        }
    }
    let twice: Vec<&str> = all.iter().flat_map(|(what, _)| [*what, *what]).collect();
    committed(&w, &twice).await;
    let wildcard = publish_with(5, &readings("d"), 1, b"no", b"\x08\0\x03a/#");
    assert_eq!(c.ask(&wildcard).await, Packet(0xE0, vec![0x82]), "nobody can answer on a wildcard");
}

#[tokio::test]
async fn a_command_waits_no_longer_than_it_is_good_and_says_how_long_that_is() {
    let w = World::new().await;
    let d = w.device("d").await;
    let properties = expiry(3_600);
    let hello = Hello { clean: false, properties: &properties, ..hello5("d") };
    let mut c = Client::login(&w, &hello).await.0;
    c.ask(&subscribe(5, 1, &[&commands("d")])).await;
    assert_eq!(c.ask(GOODBYE).await, Closed);
    w.store.queue_command(command("too late", &d, 1_005)).await.unwrap();
    w.store.queue_command(command("in time", &d, 1_060)).await.unwrap();
    w.store.clock().move_to(Timestamp::from_seconds(1_010)).unwrap();
    let mut back = Client::login(&w, &hello).await.0;
    let message = back.message(5).await;
    assert_eq!(message.payload, b"in time");
    let (name, left) = message.properties.split_at(1);
    let left = u32::from_be_bytes(left.try_into().unwrap());
    assert!(name == [2] && (1..=50).contains(&left), "{left} s of the 60 that it had");
    assert!(back.is_silent().await, "the other is no longer worth doing");
}

#[tokio::test]
async fn subscription_options_are_taken_and_the_own_publish_never_comes_back() {
    let w = World::new().await;
    w.device("d").await;
    const NO_LOCAL: u8 = 0x04;
    const AS_PUBLISHED: u8 = 0x08;
    for (pid, handling) in (1..).zip([0x00, 0x10, 0x20]) {
        let mut c = Client::enter5(&w, "d").await;
        let filters = [("hb/v1/devices/d/#", 1 | NO_LOCAL | AS_PUBLISHED | handling)];
        assert_eq!(c.ask(&subscribe_with(5, 1, &filters, b"")).await, Packet(0x90, vec![0, 1, 0, 1]));
        assert!(c.is_silent().await, "nothing is retained");
        c.say(&publish(5, &readings("d"), pid, b"x")).await;
        assert_eq!(c.hear().await, puback(pid));
        let receipt = c.message(5).await;
        assert_eq!((receipt.topic, &receipt.payload[..]), (receipts("d"), &b"receipt for x"[..]));
        assert!(c.is_silent().await, "the publish itself");
    }
}

#[tokio::test]
async fn a_topic_alias_is_never_0_and_ends_with_its_connection() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let mut zero = Client::enter5(&w, "d").await;
        let told = zero.ask(&publish_with(5, &readings("d"), 1, b"no", b"\x23\0\0")).await;
        assert_eq!((told, zero.hear().await), (Packet(0xE0, vec![0x94]), Closed));
        let properties = expiry(3_600);
        let hello = Hello { clean: false, properties: &properties, ..hello5("d") };
        let mut c = Client::login(&w, &hello).await.0;
        assert_eq!(c.ask(&publish_with(5, &readings("d"), 1, b"one", b"\x23\0\x01")).await, puback(1));
        assert_eq!(c.ask(&publish_with(5, "", 2, b"two", b"\x23\0\x01")).await, puback(2));
        assert_eq!(c.ask(GOODBYE).await, Closed);
        let (mut back, connack) = Client::login(&w, &hello).await;
        assert_eq!(connack[0], 1, "the session is kept, the alias is not");
        assert_eq!(back.ask(&publish(5, &readings("d"), 3, b"three")).await, puback(3));
        assert_eq!(back.ask(&publish_with(5, "", 4, b"no", b"\x23\0\x01")).await, Packet(0xE0, vec![0x82]));
    })
    .await;
    committed(&w, &["one", "two", "three", "still here"]).await;
}

#[tokio::test]
async fn beyond_the_receive_maximum_a_client_is_read_later_and_not_closed() {
    let w = World::new().await;
    w.device("d").await;
    w.sink.holding.store(true, Ordering::SeqCst);
    let (mut c, connack) = Client::login(&w, &hello5("d")).await;
    assert_eq!(connack[3], 0x21, "Receive Maximum comes first");
    let maximum = u16::from_be_bytes([connack[4], connack[5]]);
    let all: Vec<u8> = (1..=maximum + 1).flat_map(|pid| publish(5, &readings("d"), pid, b"x")).collect();
    c.say(&all).await;
    while w.sink.held() < usize::from(maximum) {
        tokio::task::yield_now().await;
    }
    assert!(c.is_silent().await, "neither a PUBACK nor a DISCONNECT");
    assert_eq!(w.sink.held(), usize::from(maximum));
    w.sink.holding.store(false, Ordering::SeqCst);
    (0..maximum).for_each(|_| w.sink.release(0));
    for pid in 1..=maximum + 1 {
        assert_eq!(c.hear().await, puback(pid));
    }
}

#[tokio::test]
async fn a_delayed_will_waits_for_its_delay_or_the_sessions_end_and_for_nobody_who_returns() {
    let w = World::new().await;
    w.device("d").await;
    // (delay, session expiry, said within these milliseconds)
    for (delay, session, earliest, latest) in [(1_u32, 60_u32, 900, 4_000), (60, 1, 900, 4_000), (60, 0, 0, 900)] {
        let before = w.sink.payloads().len();
        let (properties, will_properties) = (expiry(session), [&[0x18][..], &delay.to_be_bytes()].concat());
        let hello = Hello {
            properties: &properties,
            will: Some(("hb/v1/devices/d/status", b"lost")),
            will_properties: &will_properties,
            ..hello5("d")
        };
        let (c, begun) = (Client::login(&w, &hello).await.0, Instant::now());
        drop(c);
        while w.sink.payloads().len() == before {
            assert!(begun.elapsed() < Duration::from_secs(10), "delay {delay}, session {session}: no will");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = begun.elapsed().as_millis();
        assert!((earliest..latest).contains(&took), "delay {delay}, session {session}: after {took} ms");
    }
    let before = w.sink.payloads().len();
    let hello = Hello {
        properties: b"\x11\0\0\0\x3c",
        will: Some(("hb/v1/devices/d/status", b"lost")),
        will_properties: b"\x18\0\0\0\x01",
        ..hello5("d")
    };
    drop(Client::login(&w, &hello).await.0);
    let mut back = Client::login(&w, &Hello { will: None, ..hello }).await.0;
    tokio::time::sleep(Duration::from_millis(2_300)).await; // the delay, and the gate's look at what is due
    back.ping().await;
    assert_eq!(w.sink.payloads().len(), before, "who returned in time is not reported lost");
}

#[tokio::test]
async fn a_subscription_identifier_is_refused_as_announced() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        let (mut c, connack) = Client::login(&w, &hello5("d")).await;
        assert!(connack.windows(2).any(|pair| pair == [0x29, 0]), "Subscription Identifiers Available: 0");
        let told = c.ask(&subscribe_with(5, 1, &[(&receipts("d"), 1)], b"\x0b\x03")).await;
        assert_eq!((told, c.hear().await), (Packet(0xE0, vec![0xA1]), Closed));
    })
    .await;
}

#[tokio::test]
async fn topic_aliases_that_a_client_offers_are_not_used() {
    let w = World::new().await;
    w.device("d").await;
    let mut c = Client::login(&w, &Hello { properties: b"\x22\0\x05", ..hello5("d") }).await.0;
    c.ask(&subscribe(5, 1, &[&receipts("d")])).await;
    for pid in 1..=3 {
        c.say(&publish(5, &readings("d"), pid, b"x")).await;
        assert_eq!(c.hear().await, puback(pid));
        let receipt = c.message(5).await;
        assert_eq!((receipt.topic, receipt.properties), (receipts("d"), vec![]), "a whole topic every time");
    }
}
