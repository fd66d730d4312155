//! Good and bad packets, written by hand from the standards, and random ones.

use super::*;
use bytes::BytesMut;
use proptest::prelude::*;

fn text(s: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(s.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(s);
    out
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// What comes of whole packets: their heads and bodies.
fn read(version: Version, bytes: &[u8]) -> Result<String, Fault> {
    let head = head(bytes, 65_536)?.ok_or(Fault::Malformed)?;
    let body = bytes.get(head.header..head.total).ok_or(Fault::Malformed)?;
    decode(version, head, body).map(|p| format!("{p:?}"))
}

#[test]
fn the_fixed_header_is_judged_as_soon_as_it_is_there() {
    assert_eq!(head(b"", 100), Ok(None));
    assert_eq!(head(b"\x30", 100), Ok(None));
    assert_eq!(head(b"\x30\x80", 100), Ok(None));
    assert_eq!(head(b"\x30\x05", 100), Ok(Some(Head { first: 0x30, header: 2, total: 7 })));
    assert_eq!(head(b"\x30\x63", 100), Err(Fault::TooLarge));
    assert_eq!(head(b"\x32\xc1\x84\x3d", 65_536), Err(Fault::TooLarge), "a megabyte is refused by its length alone");
    assert_eq!(head(b"\x30\xff\xff\xff\xff", 100), Err(Fault::Malformed), "five bytes of length");
    assert_eq!(head(b"\x30\x81\x00", 100), Err(Fault::Malformed), "longer than it need be");
}

#[test]
fn first_bytes_that_no_client_may_send() {
    for (first, fault) in [
        (0x00, Fault::Malformed),
        (0x11, Fault::Malformed),
        (0x20, Fault::Protocol),
        (0x31, Fault::Retain),
        (0x33, Fault::Retain),
        (0x34, Fault::Qos),
        (0x3C, Fault::Qos),
        (0x36, Fault::Malformed),
        (0x38, Fault::Malformed),
        (0x41, Fault::Malformed),
        (0x60, Fault::Malformed),
        (0x80, Fault::Malformed),
        (0x83, Fault::Malformed),
        (0x90, Fault::Protocol),
        (0xA0, Fault::Malformed),
        (0xB0, Fault::Protocol),
        (0xC1, Fault::Malformed),
        (0xD0, Fault::Protocol),
        (0xE8, Fault::Malformed),
        (0xF1, Fault::Malformed),
    ] {
        assert_eq!(head(&[first], 100), Err(fault), "{first:#x}");
    }
}

#[test]
fn packets_that_break_a_rule() {
    use Version::{V4, V5};
    for (what, version, bytes, fault) in [
        ("publish without a topic", V4, b"\x30\x02\0\0".to_vec(), Fault::Protocol),
        ("publish with packet id 0", V4, b"\x32\x05\0\x01t\0\0".to_vec(), Fault::Malformed),
        ("publish cut in its topic", V4, b"\x30\x03\0\x05t".to_vec(), Fault::Malformed),
        ("topic with NUL", V4, b"\x30\x04\0\x02t\0".to_vec(), Fault::Malformed),
        ("topic that is not UTF-8", V4, b"\x30\x04\0\x02\xc3\x28".to_vec(), Fault::Malformed),
        ("topic with a surrogate", V4, b"\x30\x05\0\x03\xed\xa0\x80".to_vec(), Fault::Malformed),
        ("alias 0", V5, b"\x30\x07\0\x01t\x03\x23\0\0".to_vec(), Fault::Alias),
        ("two aliases", V5, b"\x30\x0a\0\x01t\x06\x23\0\x01\x23\0\x01".to_vec(), Fault::Protocol),
        ("properties beyond the packet", V5, b"\x30\x05\0\x01t\x09\x23".to_vec(), Fault::Malformed),
        ("a property of CONNECT", V5, b"\x30\x09\0\x01t\x05\x11\0\0\0\x01".to_vec(), Fault::Malformed),
        ("a subscription identifier up", V5, b"\x30\x06\0\x01t\x02\x0b\x01".to_vec(), Fault::Protocol),
        ("payload format 2", V5, b"\x30\x06\0\x01t\x02\x01\x02".to_vec(), Fault::Protocol),
        ("subscribe to nothing", V4, b"\x82\x02\0\x01".to_vec(), Fault::Protocol),
        ("subscribe with packet id 0", V4, b"\x82\x06\0\0\0\x01t\0".to_vec(), Fault::Malformed),
        ("subscribe at QoS 3", V4, b"\x82\x06\0\x01\0\x01t\x03".to_vec(), Fault::Malformed),
        ("3.1.1 options", V4, b"\x82\x06\0\x01\0\x01t\x04".to_vec(), Fault::Malformed),
        ("retain handling 3", V5, b"\x82\x07\0\x01\0\0\x01t\x30".to_vec(), Fault::Protocol),
        ("reserved options", V5, b"\x82\x07\0\x01\0\0\x01t\x40".to_vec(), Fault::Malformed),
        ("subscription identifier", V5, b"\x82\x09\0\x01\x02\x0b\x05\0\x01t\0".to_vec(), Fault::Identifier),
        ("unsubscribe from nothing", V4, b"\xa2\x02\0\x01".to_vec(), Fault::Protocol),
        ("ping with a body", V4, b"\xc0\x01x".to_vec(), Fault::Malformed),
        ("disconnect with a body", V4, b"\xe0\x01\0".to_vec(), Fault::Malformed),
        ("puback with more", V4, b"\x40\x03\0\x01\0".to_vec(), Fault::Malformed),
        ("a second connect", V4, b"\x10\x00".to_vec(), Fault::Protocol),
        ("pubrec", V4, b"\x50\x02\0\x01".to_vec(), Fault::Protocol),
        ("pubrel", V5, b"\x62\x02\0\x01".to_vec(), Fault::Protocol),
        ("auth in 3.1.1", V4, b"\xf0\x00".to_vec(), Fault::Malformed),
        ("auth without a method", V5, b"\xf0\x00".to_vec(), Fault::Protocol),
    ] {
        assert_eq!(read(version, &bytes), Err(fault), "{what}");
    }
}

#[test]
fn packets_that_keep_the_rules() {
    use Version::{V4, V5};
    for (version, bytes, shown) in [
        (V4, &b"\x30\x04\0\x01tx"[..], "Publish(Publish(None, 1 bytes))"),
        (V4, b"\x3a\x05\0\x01t\0\x07", "Publish(Publish(Some(7), 0 bytes))"),
        (V5, b"\x32\x09\0\0\0\x07\x03\x23\0\x01x", "Publish(Publish(Some(7), 1 bytes))"),
        (V5, b"\x30\x0d\0\x01t\x09\x26\0\x01a\0\x01b\x01\x01", "Publish(Publish(None, 0 bytes))"),
        (V4, b"\x40\x02\0\x09", "PubAck { pid: 9 }"),
        (V5, b"\x40\x04\0\x09\x10\0", "PubAck { pid: 9 }"),
        (V5, b"\x82\x07\0\x01\0\0\x01t\x2d", "Subscribe { pid: 1, filters: Filters([(\"t\", 1)]) }"),
        (V4, b"\xa2\x05\0\x01\0\x01t", "Unsubscribe { pid: 1, filters: Filters([(\"t\", 0)]) }"),
        (V4, b"\xc0\0", "Ping"),
        (V4, b"\xe0\0", "Disconnect { with_will: false, session_expiry: None }"),
        (V5, b"\xe0\x07\x04\x05\x11\0\0\0\x09", "Disconnect { with_will: true, session_expiry: Some(9) }"),
    ] {
        assert_eq!(read(version, bytes).as_deref(), Ok(shown), "{bytes:x?}");
    }
}

fn connect(name: &[u8], level: u8, flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    joined(&[&text(name), &[level, flags, 0, 60], &joined(rest)])
}

#[test]
fn connects_are_answered_by_their_protocol() {
    use Refusal::{Answer, Close};
    use Version::{V4, V5};
    let id = text(b"d");
    let bad = text(b"\xff");
    for (what, bytes, refusal) in [
        ("level 3", connect(b"MQIsdp", 3, 2, &[&id]), Answer(V4, 1)),
        ("level 3 of MQTT", connect(b"MQTT", 3, 2, &[&id]), Answer(V4, 1)),
        ("level 6", connect(b"MQTT", 6, 2, &[&id]), Answer(V5, 0x84)),
        ("another protocol", connect(b"HTTP", 4, 2, &[&id]), Close(Fault::Protocol)),
        ("reserved flag", connect(b"MQTT", 4, 3, &[&id]), Close(Fault::Malformed)),
        ("reserved flag in 5", connect(b"MQTT", 5, 3, &[&[0], &id]), Answer(V5, 0x81)),
        ("password without a name", connect(b"MQTT", 4, 0x42, &[&id, &id]), Close(Fault::Malformed)),
        ("will QoS 3", connect(b"MQTT", 4, 0x1E, &[&id, &id, &id]), Close(Fault::Malformed)),
        ("will QoS without a will", connect(b"MQTT", 4, 0x0A, &[&id]), Close(Fault::Malformed)),
        ("client id that is not UTF-8", connect(b"MQTT", 4, 2, &[&bad]), Answer(V4, 2)),
        ("client id that is not UTF-8, 5", connect(b"MQTT", 5, 2, &[&[0], &bad]), Answer(V5, 0x81)),
        ("bytes after the end", connect(b"MQTT", 4, 2, &[&id, b"x"]), Close(Fault::Malformed)),
        ("half", connect(b"MQTT", 4, 2, &[b"\0"]), Answer(V4, 2)),
        ("receive maximum 0", connect(b"MQTT", 5, 2, &[&[3, 0x21, 0, 0], &id]), Answer(V5, 0x82)),
        ("empty", Vec::new(), Close(Fault::Malformed)),
    ] {
        assert_eq!(decode_connect(&bytes).err(), Some(refusal), "{what}");
    }
    let five = connect(
        b"MQTT",
        5,
        0xC6,
        &[&[5, 0x11, 0, 0, 0, 9], &id, &[5, 0x18, 0, 0, 0, 7], &text(b"w"), &text(b"p"), &id, &text(b"s\xff")],
    );
    let c = decode_connect(&five).unwrap();
    let will = c.will.clone().unwrap();
    assert_eq!((c.version, c.clean, c.keep_alive, c.session_expiry), (V5, true, 60, 9));
    assert_eq!((c.user, c.password), (Some("d"), Some(&b"s\xff"[..])), "a password is bytes");
    assert_eq!((will.topic, will.payload, will.delay, will.qos, will.retain), ("w", &b"p"[..], 7, 0, false));
    assert!(!format!("{c:?} {will:?}").contains("s\\xff"));
}

proptest! {
    #[test]
    fn random_bytes_are_never_a_surprise(bytes in prop::collection::vec(any::<u8>(), 0..64), five in any::<bool>()) {
        let version = if five { Version::V5 } else { Version::V4 };
        if let Ok(Some(h)) = head(&bytes, 65_536) {
            prop_assert!(h.total <= 65_536 && h.header <= 5);
            if let Some(body) = bytes.get(h.header..h.total) {
                let _ = decode(version, h, body);
            }
        }
        let _ = decode_connect(&bytes);
    }

    #[test]
    fn changed_packets_are_never_a_surprise(at in 0..40_usize, byte in any::<u8>(), cut in 0..40_usize) {
        let packets: [&[u8]; 3] = [
            b"\x10\x1b\0\x04MQTT\x05\xc2\0\x3c\x05\x11\0\0\0\x09\0\x01d\0\x01d\0\x01p",
            b"\x82\x0c\0\x01\x05\x26\0\0\0\0\0\x01t\x01",
            b"\x32\x10\0\x01t\0\x07\x09\x26\0\x01a\0\x01b\x01\x01x",
        ];
        for packet in packets {
            let mut packet = packet.to_vec();
            let place = at % packet.len();
            packet[place] = byte;
            packet.truncate(packet.len() - cut % packet.len());
            let _ = read(Version::V5, &packet);
            let _ = decode_connect(packet.get(2..).unwrap_or_default());
        }
    }

    #[test]
    fn what_is_written_is_read_again(
        topic in "[a-z/]{1,20}", payload in prop::collection::vec(any::<u8>(), 0..300), pid in prop::option::of(1..=u16::MAX), dup in any::<bool>(),
        expiry in prop::option::of(any::<u32>()), five in any::<bool>(),
    ) {
        let version = if five { Version::V5 } else { Version::V4 };
        let mut out = BytesMut::new();
        let packet = encode::Downward { topic: &topic, payload: &payload, pid, dup: dup && pid.is_some(), expiry };
        packet.encode(&mut out, version);
        prop_assert!(out.len() <= packet.size(version));
        let h = head(&out, 65_536).unwrap().unwrap();
        prop_assert_eq!(h.total, out.len());
        let Packet::Publish(p) = decode(version, h, &out[h.header..]).unwrap() else { panic!("a publish was written") };
        prop_assert_eq!((p.topic, p.payload, p.pid), (topic.as_str(), &payload[..], pid));
    }
}
