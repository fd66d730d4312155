//! Who is let in, and what those hear who are not.

use crate::{client::*, undisturbed, world::*};
use broker::Config;
use std::time::Duration;

#[tokio::test]
async fn a_refused_credential_hears_so_whatever_is_wrong_with_it() {
    let w = World::new().await;
    let (d, _) = (w.device("d").await, w.device("other").await);
    w.store.update_device(vitals::Device { id: "gone".parse().unwrap(), ..w.device("gone").await }).await.unwrap();
    let mut revoked = w.device("revoked").await;
    revoked.revoked = true;
    w.store.update_device(revoked).await.unwrap();
    undisturbed(&w, async || {
        for level in [4, 5] {
            let code = if level == 4 { 5 } else { 0x87 };
            let base = Hello { level, ..hello(d.id.as_str()) };
            for (what, hello) in [
                ("wrong password", Hello { password: Some("wrong"), ..base.clone() }),
                ("empty password", Hello { password: Some(""), ..base.clone() }),
                ("no password", Hello { password: None, ..base.clone() }),
                ("nothing", Hello { user: None, password: None, ..base.clone() }),
                ("unknown device", Hello { level, ..hello("nobody") }),
                ("no id at all", Hello { level, ..hello("a/b") }),
                ("another's name", Hello { user: Some("other"), ..base.clone() }),
                ("revoked", Hello { level, ..hello("revoked") }),
                ("a foreign will", Hello { will: Some(("hb/v1/devices/other/status", b"x")), ..base.clone() }),
            ] {
                let mut c = Client::open(&w).await;
                let Packet(0x20, body) = c.ask(&hello.bytes()).await else { panic!("{what}: no CONNACK") };
                assert_eq!(body[..2], [0, code], "{what} at level {level}");
                assert_eq!(c.hear().await, Closed, "{what}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_connect_is_answered_where_the_protocol_can() {
    let w = World::new().await;
    w.device("d").await;
    undisturbed(&w, async || {
        for (what, bytes, answer) in [
            ("level 3", Hello { level: 3, ..hello("d") }.bytes(), Packet(0x20, vec![0, 1])),
            ("level 6", Hello { level: 6, ..hello("d") }.bytes(), Packet(0x20, vec![0, 0x84, 0])),
            ("empty client id", hello("").bytes(), Packet(0x20, vec![0, 2])),
            ("empty client id, 5", hello5("").bytes(), Packet(0x20, vec![0, 0x85, 0])),
            (
                "authentication method",
                Hello { properties: b"\x15\0\x01x", ..hello5("d") }.bytes(),
                Packet(0x20, vec![0, 0x8C, 0]),
            ),
            (
                "will at QoS 2",
                {
                    let mut b = Hello { will: Some(("hb/v1/devices/d/status", b"")), ..hello5("d") }.bytes();
                    b[9] |= 0x10;
                    b
                },
                Packet(0x20, vec![0, 0x9B, 0]),
            ),
            (
                "retained will",
                {
                    let mut b = Hello { will: Some(("hb/v1/devices/d/status", b"")), ..hello5("d") }.bytes();
                    b[9] |= 0x20;
                    b
                },
                Packet(0x20, vec![0, 0x9A, 0]),
            ),
            ("a ping first", b"\xc0\0".to_vec(), Closed),
            ("a publish first", publish(4, &readings("d"), 1, b"x"), Closed),
            ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Closed),
            ("TLS", b"\x16\x03\x01\x02\0\x01".to_vec(), Closed),
            ("a gigabyte", b"\x10\xff\xff\xff\x7f".to_vec(), Closed),
        ] {
            let mut c = Client::open(&w).await;
            assert_eq!(c.ask(&bytes).await, answer, "{what}");
            assert_eq!(c.hear().await, Closed, "{what}");
        }
    })
    .await;
    assert!(w.sink.payloads().iter().all(|p| p == "still here"), "something was committed without a login");
}

#[tokio::test]
async fn half_a_connect_and_silence_are_closed_in_time() {
    let w = World::with(Config { connect_timeout: 1, ..config() }).await;
    w.device("d").await;
    undisturbed(&w, async || {
        for bytes in [&b""[..], b"\x10", &hello("d").bytes()[..9]] {
            let mut c = Client::open(&w).await;
            assert_eq!(c.say(bytes).await.hear_within(Duration::from_secs(4)).await, Closed, "{bytes:x?}");
        }
    })
    .await;
}

#[tokio::test]
async fn limits_are_announced_and_keep_alive_0_gets_the_servers() {
    let w = World::new().await;
    w.device("d").await;
    let (_, body) = Client::login(&w, &Hello { keep_alive: 0, ..hello5("d") }).await;
    let all: &[&[u8]] = &[
        &[0x21, 1, 0],       // Receive Maximum
        &[0x24, 1],          // Maximum QoS
        &[0x25, 0],          // Retain Available
        &[0x27, 0, 1, 0, 0], // Maximum Packet Size
        &[0x22, 0, 16],      // Topic Alias Maximum
        &[0x29, 0],
        &[0x2A, 0],
        &[0x13, 1, 44], // Server Keep Alive
    ];
    assert_eq!(body[3..], all.concat());
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_the_others_stay() {
    let mut config = config();
    config.limits.connections = 3;
    let w = World::with(config).await;
    for id in ["a", "b"] {
        w.device(id).await;
    }
    undisturbed(&w, async || {
        let (mut a, mut b) = (Client::enter(&w, "a").await, Client::enter(&w, "b").await);
        for _ in 0..20 {
            assert_eq!(Client::open(&w).await.ask(&hello("a").bytes()).await, Closed);
        }
        assert_eq!(w.gate.connections(), 3);
        a.ping().await;
        b.ping().await;
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_is_a_real_error() {
    let w = World::new().await;
    let address = w.gate.addresses().mqtt.unwrap().to_string();
    let taken = Config { mqtt: address.clone(), ..config() };
    let error = broker::start(taken, w.store.clone(), w.sink.clone(), &w.root).await.unwrap_err().to_string();
    assert!(error.contains("broker.mqtt") && error.contains(&address), "{error}");
    for (wrong, word) in [
        (Config { mqtt: "1883".into(), ..config() }, "127.0.0.1:1883"),
        (Config { ack_timeout: 0, ..config() }, "ack_timeout"),
        (Config { mqtts: "127.0.0.1:0".into(), ..config() }, "cert_file"),
    ] {
        let error = broker::start(wrong, w.store.clone(), w.sink.clone(), &w.root).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

async fn from(last: u8, w: &World) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    Client::over(socket.connect(w.gate.addresses().mqtt.unwrap()).await.unwrap())
}

#[tokio::test]
async fn silent_callers_of_one_address_keep_no_other_address_out() {
    let limits = broker::Limits { handshakes: 16, ..broker::Limits::default() };
    let w = World::with(broker::Config { limits, ..config() }).await;
    w.device("d").await;
    w.device("e").await;
    let mut crowd = Vec::new();
    for _ in 0..16 {
        crowd.push(from(1, &w).await);
    }
    assert_eq!(from(1, &w).await.hear().await, Closed, "its own address has the most");
    let mut c = from(2, &w).await;
    assert_eq!(c.ask(&hello("d").bytes()).await, Packet(0x20, vec![0, 0]));
    assert_eq!(crowd[0].hear().await, Closed, "the oldest of the crowd made room");
    assert!(crowd[1].is_silent().await);
    // Who is logged in is no stranger any more.
    let mut own = from(1, &w).await;
    assert_eq!(own.ask(&hello("e").bytes()).await, Packet(0x20, vec![0, 0]));
    c.ping().await;
}

#[tokio::test]
async fn a_storm_waits_its_turn_and_another_address_goes_first() {
    let limits = broker::Limits { connect_rate: 20, ..broker::Limits::default() };
    let w = World::with(broker::Config { limits, ..config() }).await;
    w.device("d").await;
    let mut storm = Vec::new();
    for _ in 0..60 {
        storm.push(from(1, &w).await); // twenty at once, the others over two seconds
    }
    let begun = std::time::Instant::now();
    let mut c = from(2, &w).await;
    assert_eq!(c.ask(&hello("d").bytes()).await, Packet(0x20, vec![0, 0]));
    assert!(begun.elapsed() < std::time::Duration::from_millis(900), "took {:?}", begun.elapsed());
}
