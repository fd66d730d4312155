//! As much MQTT 3.1.1 and 5 as a meter speaks: packets written into a buffer, packets read out of one.
//!
//! Goes in: bytes. Comes out: bytes, or borrowed packets. Own code and not a client library, because a load generator
//! beside the server must cost next to nothing, and because an outsider should not share the server's mistakes.
//! Must never: allocate per packet, do IO, or accept a length that is not one.

/// Which protocol level a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1 (level 4).
    V4,
    /// MQTT 5.
    V5,
}

/// What a broker may send to a meter.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Answer to CONNECT; 0 is welcome.
    ConnAck(u8),
    /// A message is durable, or (version 5, from 0x80) refused.
    PubAck {
        /// Packet id.
        pid: u16,
        /// Reason; 0 in 3.1.1.
        reason: u8,
    },
    /// One code per filter; from 0x80 refused.
    SubAck(&'a [u8]),
    /// A message for this client.
    Publish {
        /// Topic.
        topic: &'a str,
        /// Payload.
        payload: &'a [u8],
        /// Packet id, for QoS 1.
        pid: Option<u16>,
    },
    /// Answer to a ping.
    PingResp,
    /// The broker closes (version 5), with its reason.
    Disconnect(u8),
}

/// The bytes are no MQTT that a meter understands; the connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an MQTT packet that a meter can expect")]
pub struct Broken;

fn put_len(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let low = u8::try_from(n & 0x7f).unwrap_or(0);
        n >>= 7;
        out.push(if n > 0 { low | 0x80 } else { low });
        if n == 0 {
            return;
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&text[..text.len().min(usize::from(u16::MAX))]);
}

/// CONNECT with a clean session; the device id is client id and user name. Without a secret none is sent.
pub fn connect(out: &mut Vec<u8>, version: Version, id: &str, secret: Option<&str>, keep_alive: u16) {
    let mut body = Vec::with_capacity(64);
    put_text(&mut body, b"MQTT");
    body.push(if version == Version::V5 { 5 } else { 4 });
    body.push(if secret.is_some() { 0xc2 } else { 0x02 });
    body.extend_from_slice(&keep_alive.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    put_text(&mut body, id.as_bytes());
    if let Some(secret) = secret {
        put_text(&mut body, id.as_bytes());
        put_text(&mut body, secret.as_bytes());
    }
    out.push(0x10);
    put_len(out, body.len());
    out.extend_from_slice(&body);
}

/// PUBLISH at QoS 1; `again` sets DUP.
pub fn publish(out: &mut Vec<u8>, version: Version, topic: &str, payload: &[u8], pid: u16, again: bool) {
    let properties = usize::from(version == Version::V5);
    out.push(if again { 0x3a } else { 0x32 });
    put_len(out, 2 + topic.len() + 2 + properties + payload.len());
    put_text(out, topic.as_bytes());
    out.extend_from_slice(&pid.to_be_bytes());
    if version == Version::V5 {
        out.push(0);
    }
    out.extend_from_slice(payload);
}

/// SUBSCRIBE to `filters` at QoS 1.
pub fn subscribe(out: &mut Vec<u8>, version: Version, pid: u16, filters: &[&str]) {
    let mut body = pid.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        put_text(&mut body, filter.as_bytes());
        body.push(1);
    }
    out.push(0x82);
    put_len(out, body.len());
    out.extend_from_slice(&body);
}

/// PUBACK of a message received.
pub fn puback(out: &mut Vec<u8>, pid: u16) {
    out.extend_from_slice(&[0x40, 2]);
    out.extend_from_slice(&pid.to_be_bytes());
}

/// PINGREQ.
pub const PING: [u8; 2] = [0xc0, 0];
/// DISCONNECT, valid in both versions.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// The first packet of `bytes` and its length; none while it is not whole.
///
/// # Errors
/// [`Broken`] when no further byte can make it a packet.
pub fn parse(bytes: &[u8], version: Version) -> Result<Option<(Packet<'_>, usize)>, Broken> {
    let Some((&head, rest)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0_usize;
    let mut at = 0;
    loop {
        let Some(&byte) = rest.get(at) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * at);
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if at == 4 {
            return Err(Broken);
        }
    }
    let Some(body) = rest.get(at..at + length) else { return Ok(None) };
    Ok(Some((packet(head, body, version)?, 1 + at + length)))
}

fn packet(head: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Broken> {
    let byte = |i: usize| body.get(i).copied().ok_or(Broken);
    match head >> 4 {
        2 => Ok(Packet::ConnAck(byte(1)?)),
        4 => Ok(Packet::PubAck {
            pid: u16::from_be_bytes([byte(0)?, byte(1)?]),
            reason: body.get(2).copied().unwrap_or(0),
        }),
        9 => {
            let rest = body.get(2..).ok_or(Broken)?;
            Ok(Packet::SubAck(if version == Version::V5 { skip_properties(rest)? } else { rest }))
        }
        3 => publish_in(head, body, version),
        13 => Ok(Packet::PingResp),
        14 => Ok(Packet::Disconnect(body.first().copied().unwrap_or(0))),
        _ => Err(Broken),
    }
}

fn publish_in(head: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Broken> {
    let (&[a, b], rest) = body.split_first_chunk().ok_or(Broken)?;
    let (topic, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([a, b]))).ok_or(Broken)?;
    let topic = std::str::from_utf8(topic).map_err(|_| Broken)?;
    let mut pid = None;
    if head & 0x06 != 0 {
        let (&id, after) = rest.split_first_chunk().ok_or(Broken)?;
        pid = Some(u16::from_be_bytes(id));
        rest = after;
    }
    let payload = if version == Version::V5 { skip_properties(rest)? } else { rest };
    Ok(Packet::Publish { topic, payload, pid })
}

fn skip_properties(bytes: &[u8]) -> Result<&[u8], Broken> {
    let mut length = 0_usize;
    for at in 0..4 {
        let byte = bytes.get(at).ok_or(Broken)?;
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1 + length..).ok_or(Broken);
        }
    }
    Err(Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_whole_or_wait() {
        let mut out = Vec::new();
        publish(&mut out, Version::V4, "hb/v1/devices/a/commands", &[b'x'; 300], 7, false);
        for cut in 0..out.len() {
            assert_eq!(parse(&out[..cut], Version::V4), Ok(None), "{cut}");
        }
        let (packet, used) = parse(&out, Version::V4).unwrap().unwrap();
        assert_eq!(used, out.len());
        assert_eq!(packet, Packet::Publish { topic: "hb/v1/devices/a/commands", payload: &[b'x'; 300], pid: Some(7) });
    }

    #[test]
    fn both_versions_of_an_answer() {
        assert_eq!(parse(&[0x40, 2, 1, 2], Version::V4), Ok(Some((Packet::PubAck { pid: 258, reason: 0 }, 4))));
        assert_eq!(
            parse(&[0x40, 4, 0, 9, 0x87, 0, 0xff], Version::V5),
            Ok(Some((Packet::PubAck { pid: 9, reason: 0x87 }, 6)))
        );
        assert_eq!(parse(&[0x90, 4, 0, 1, 0, 0x80], Version::V5), Ok(Some((Packet::SubAck(&[0x80]), 6))));
        assert_eq!(parse(&[0x20, 2, 0, 5], Version::V4), Ok(Some((Packet::ConnAck(5), 4))));
    }

    #[test]
    fn nonsense_is_broken() {
        assert_eq!(parse(&[0x40, 0xff, 0xff, 0xff, 0xff, 1], Version::V4), Err(Broken));
        assert_eq!(parse(&[0x00, 0], Version::V4), Err(Broken));
        assert_eq!(parse(&[0x40, 1, 0], Version::V4), Err(Broken));
        assert_eq!(parse(&[0x30, 3, 0, 9, b'a'], Version::V4), Err(Broken));
    }
}
