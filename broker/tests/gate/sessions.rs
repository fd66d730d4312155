//! Take-over, revocation, keep alive, kept sessions, wills, the end.

use crate::{client::*, world::*};
use runtime::DrainHandle;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

#[tokio::test]
async fn the_second_connection_of_a_device_takes_over_and_nobody_else_can() {
    let w = World::new().await;
    w.device("d").await;
    w.device("thief").await;
    let mut four = Client::enter(&w, "d").await;
    let stolen = Hello { user: Some("thief"), ..hello("d") };
    assert_eq!(Client::open(&w).await.ask(&stolen.bytes()).await, Packet(0x20, vec![0, 5]));
    four.ping().await;
    let mut five = Client::enter5(&w, "d").await;
    assert_eq!(four.hear().await, Closed);
    let mut last = Client::enter5(&w, "d").await;
    assert_eq!(five.hear().await, Packet(0xE0, vec![0x8E]));
    assert_eq!(five.hear().await, Closed);
    last.ping().await;
    assert_eq!(last.ask(&publish(5, &readings("d"), 3, b"x")).await, puback(3));
}

#[tokio::test]
async fn many_take_overs_at_once_leave_exactly_one() {
    let w = World::new().await;
    w.device("d").await;
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut c = Client::open(&w).await;
        c.say(&Hello { clean: false, ..hello("d") }.bytes()).await;
        all.push(c);
    }
    let mut alive = 0;
    for mut c in all {
        while let Packet(..) = c.hear_within(Duration::from_millis(300)).await {}
        alive += usize::from(c.ask(b"\xc0\0").await == Packet(0xD0, Vec::new()));
    }
    assert_eq!(alive, 1);
}

#[tokio::test]
async fn a_revoked_or_renewed_credential_ends_the_live_session() {
    let w = World::new().await;
    let (a, b) = (w.device("a").await, w.device("b").await);
    let (mut live_a, mut live_b) = (Client::enter5(&w, "a").await, Client::enter(&w, "b").await);
    w.store.update_device(vitals::Device { model: Some("new".into()), ..a.clone() }).await.unwrap();
    live_a.ping().await;
    w.store.update_device(vitals::Device { revoked: true, ..a }).await.unwrap();
    assert_eq!(live_a.hear().await, Packet(0xE0, vec![0x98]));
    w.store.update_device(vitals::Device { secret_hash: Some([7; 32]), ..b }).await.unwrap();
    assert_eq!(live_b.hear().await, Closed);
    assert_eq!(Client::open(&w).await.ask(&hello("a").bytes()).await, Packet(0x20, vec![0, 5]));
}

#[tokio::test]
async fn silence_of_one_and_a_half_keep_alives_closes_and_a_ping_keeps() {
    let w = World::new().await;
    w.device("silent").await;
    w.device("pinging").await;
    let mut silent = Client::login(&w, &Hello { keep_alive: 1, ..hello5("silent") }).await.0;
    let mut pinging = Client::login(&w, &Hello { keep_alive: 1, ..hello("pinging") }).await.0;
    let begun = Instant::now();
    let told = loop {
        match silent.hear_within(Duration::from_millis(300)).await {
            Silent => pinging.ping().await,
            other => break other,
        }
    };
    assert_eq!(told, Packet(0xE0, vec![0x8D]));
    assert!((1.3..3.0).contains(&begun.elapsed().as_secs_f64()), "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_kept_session_brings_receipts_without_subscribing_again() {
    let w = World::new().await;
    w.device("d").await;
    for level in [4, 5] {
        let expiry = b"\x11\0\0\x0e\x10";
        let properties: &[u8] = if level == 5 { expiry } else { b"" };
        let kept = Hello { level, clean: false, properties, ..hello("d") };
        let (mut c, first) = Client::login(&w, &kept).await;
        assert_eq!(first[0], 0, "nothing is kept yet");
        let Packet(0x90, suback) = c.ask(&subscribe(level, 1, &[&receipts("d")])).await else { panic!("no SUBACK") };
        assert_eq!(suback.last(), Some(&1));
        // A receipt that is not acknowledged comes again, as a repeat.
        c.say(&publish(level, &readings("d"), 1, b"one")).await;
        assert_eq!(c.hear().await, puback(1));
        assert!(matches!(c.hear().await, Packet(0x32, _)));
        drop(c);
        let (mut back, present) = Client::login(&w, &kept).await;
        assert_eq!(present[0], 1, "session present");
        let Packet(0x3A, again) = back.hear().await else { panic!("no repeat") };
        assert!(again.ends_with(b"receipt for one"));
        let pid_at = 2 + receipts("d").len();
        back.say(&packet(0x40, &again[pid_at..pid_at + 2])).await;
        back.say(&publish(level, &readings("d"), 2, b"two")).await;
        assert_eq!(back.hear().await, puback(2));
        assert!(matches!(back.hear().await, Packet(0x32, body) if body.ends_with(b"receipt for two")));
        drop(back);
        let (mut fresh, none) = Client::login(&w, &Hello { level, ..hello("d") }).await;
        assert_eq!(none[0], 0, "a clean start forgets");
        assert_eq!(fresh.ask(&publish(level, &readings("d"), 3, b"three")).await, puback(3));
        assert!(fresh.is_silent().await, "no receipt without a subscription");
        drop(fresh);
        assert_eq!(Client::login(&w, &kept).await.1[0], 0, "nothing was kept of a clean session");
        Client::login(&w, &Hello { level, ..hello("d") }).await;
    }
}

#[tokio::test]
async fn what_a_kept_session_hears_outlives_a_restart() {
    let w = World::new().await;
    for id in ["kept", "clean", "brief"] {
        w.device(id).await;
    }
    let lasting = |id: &'static str| Hello { clean: false, ..hello(id) };
    let brief = Hello { clean: false, properties: &[0x11, 0, 0, 0, 0], ..hello5("brief") };
    let (mut kept, _) = Client::login(&w, &lasting("kept")).await;
    let (mut clean, mut short) = (Client::enter(&w, "clean").await, Client::login(&w, &brief).await.0);
    for (c, level, id) in [(&mut kept, 4, "kept"), (&mut clean, 4, "clean"), (&mut short, 5, "brief")] {
        assert!(matches!(c.ask(&subscribe(level, 7, &[&receipts(id)])).await, Packet(0x90, _)));
    }
    let w = w.restarted().await;
    let (mut kept, connack) = Client::login(&w, &lasting("kept")).await;
    assert_eq!(connack, [1, 0], "the session is there");
    assert_eq!(kept.ask(&publish(4, &readings("kept"), 9, b"x")).await, puback(9));
    assert!(matches!(kept.hear().await, Packet(0x32, _)), "its receipt, without subscribing again");
    assert_eq!(Client::login(&w, &lasting("clean")).await.1[0], 0);
    assert_eq!(Client::login(&w, &brief).await.1[0], 0);
    // A clean start forgets it for good.
    Client::enter(&w, "kept").await.ping().await;
    let w = w.restarted().await;
    assert_eq!(Client::login(&w, &lasting("kept")).await.1, [0, 0]);
}

#[tokio::test]
async fn a_take_over_hands_the_session_on() {
    let w = World::new().await;
    w.device("d").await;
    let kept = Hello { clean: false, ..hello("d") };
    let mut first = Client::login(&w, &kept).await.0;
    first.ask(&subscribe(4, 1, &["hb/v1/devices/d/#"])).await;
    let (mut second, present) = Client::login(&w, &kept).await;
    assert_eq!(present[0], 1);
    second.say(&publish(4, &readings("d"), 1, b"x")).await;
    assert_eq!(second.hear().await, puback(1));
    assert!(matches!(second.hear().await, Packet(0x32, _)));
}

#[tokio::test]
async fn a_will_is_said_when_the_client_is_lost_and_not_when_it_says_goodbye() {
    let w = World::new().await;
    w.device("d").await;
    let with_will = Hello { will: Some(("hb/v1/devices/d/status", b"lost")), ..hello("d") };
    Client::login(&w, &with_will).await.0.say(b"\xe0\0").await;
    let lost = Client::login(&w, &with_will).await.0;
    assert!(w.sink.payloads().is_empty(), "a goodbye and a will");
    drop(lost);
    let end = Instant::now() + Duration::from_secs(5);
    while w.sink.payloads() != ["lost"] {
        assert!(Instant::now() < end, "no will: {:?}", w.sink.payloads());
        tokio::task::yield_now().await;
    }
}

/// The stages are told to stop and everybody is waited for.
async fn stop(drain: &DrainHandle) -> Vec<&'static str> {
    drain.stop();
    drain.drained(Duration::from_secs(9)).await
}

#[tokio::test]
async fn the_end_finishes_what_is_under_way_and_takes_nobody_new() {
    let w = World::new().await;
    for id in ["busy", "idle"] {
        w.device(id).await;
    }
    let mut connecting = Client::open(&w).await;
    let (mut busy, mut idle) = (Client::enter5(&w, "busy").await, Client::enter(&w, "idle").await);
    w.sink.holding.store(true, Ordering::SeqCst);
    busy.say(&publish(5, &readings("busy"), 1, b"x")).await;
    while w.sink.held() == 0 {
        tokio::task::yield_now().await;
    }
    let address = w.gate.addresses().mqtt.unwrap();
    let World { gate, drain, sink, store, root, _folder } = w;
    let closing = async {
        assert_eq!((idle.hear().await, connecting.hear().await), (Closed, Closed));
        drop((idle, connecting));
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the door is still open");
        sink.release(0);
        assert_eq!(busy.hear().await, puback(1), "what was under way is acknowledged");
        assert_eq!((busy.hear().await, busy.hear().await), (Packet(0xE0, vec![0x8B]), Closed));
        drop(busy);
    };
    let begun = Instant::now();
    let (late, ()) = tokio::join!(
        async {
            drop(store);
            stop(&drain).await
        },
        closing
    );
    let gates: Vec<_> =
        late.into_iter().filter(|name| name.starts_with("gate") || name.starts_with("router")).collect();
    assert!(gates.is_empty() && gate.connections() == 0, "late: {gates:?}");
    assert!(begun.elapsed() < Duration::from_secs(12));
    drop(root);
}
