//! The packets that a server sends, appended to one buffer for one write.

use super::Version;
use bytes::{BufMut, BytesMut};

/// What MQTT 5 clients are told in CONNACK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    /// Publishes that may be unacknowledged.
    pub(crate) receive_maximum: u16,
    /// Longest packet taken, in bytes.
    pub(crate) maximum_packet_size: u32,
    /// Topic aliases that the client may use.
    pub(crate) topic_alias_maximum: u16,
    /// Seconds, when it differs from what the client asked for.
    pub(crate) keep_alive: Option<u16>,
    /// Seconds, when it differs from what the client asked for.
    pub(crate) session_expiry: Option<u32>,
}

fn varint(out: &mut BytesMut, mut n: usize) {
    loop {
        let byte = u8::try_from(n & 0x7F).unwrap_or(0);
        n >>= 7;
        out.put_u8(if n > 0 { byte | 0x80 } else { byte });
        if n == 0 {
            return;
        }
    }
}

/// Text of at most 65,535 bytes; all topics that we make are far shorter.
fn text(out: &mut BytesMut, text: &str) {
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(&text.as_bytes()[..text.len().min(usize::from(u16::MAX))]);
}

/// CONNACK that lets in.
pub(crate) fn accepted(out: &mut BytesMut, version: Version, session_present: bool, announced: &Announced) {
    let present = u8::from(session_present);
    if version == Version::V4 {
        return out.put_slice(&[0x20, 2, present, 0]);
    }
    let mut p = BytesMut::with_capacity(40);
    p.put_u8(0x21);
    p.put_u16(announced.receive_maximum);
    p.put_slice(&[0x24, 1]); // Maximum QoS
    p.put_slice(&[0x25, 0]); // Retain Available
    p.put_u8(0x27);
    p.put_u32(announced.maximum_packet_size);
    p.put_u8(0x22);
    p.put_u16(announced.topic_alias_maximum);
    p.put_slice(&[0x29, 0]); // Subscription Identifiers Available
    p.put_slice(&[0x2A, 0]); // Shared Subscription Available
    if let Some(seconds) = announced.keep_alive {
        p.put_u8(0x13);
        p.put_u16(seconds);
    }
    if let Some(seconds) = announced.session_expiry {
        p.put_u8(0x11);
        p.put_u32(seconds);
    }
    out.put_u8(0x20);
    varint(out, 3 + p.len());
    out.put_slice(&[present, 0]);
    varint(out, p.len());
    out.put_slice(&p);
}

/// CONNACK that refuses.
pub(crate) fn refused(out: &mut BytesMut, version: Version, code: u8) {
    match version {
        Version::V4 => out.put_slice(&[0x20, 2, 0, code]),
        Version::V5 => out.put_slice(&[0x20, 3, 0, code, 0]),
    }
}

/// PUBACK; 3.1.1 knows success only.
pub(crate) fn puback(out: &mut BytesMut, version: Version, pid: u16, code: u8) {
    if version == Version::V5 && code != 0 {
        out.put_slice(&[0x40, 3]);
        out.put_u16(pid);
        out.put_u8(code);
    } else {
        out.put_slice(&[0x40, 2]);
        out.put_u16(pid);
    }
}

/// SUBACK.
pub(crate) fn suback(out: &mut BytesMut, version: Version, pid: u16, codes: &[u8]) {
    answers(out, 0x90, version, pid, codes);
}

/// UNSUBACK; 3.1.1 has no codes.
pub(crate) fn unsuback(out: &mut BytesMut, version: Version, pid: u16, codes: &[u8]) {
    answers(out, 0xB0, version, pid, if version == Version::V5 { codes } else { &[] });
}

fn answers(out: &mut BytesMut, first: u8, version: Version, pid: u16, codes: &[u8]) {
    let properties = usize::from(version == Version::V5);
    out.put_u8(first);
    varint(out, 2 + properties + codes.len());
    out.put_u16(pid);
    out.put_bytes(0, properties);
    out.put_slice(codes);
}

/// PINGRESP.
pub(crate) fn pong(out: &mut BytesMut) {
    out.put_slice(&[0xD0, 0]);
}

/// DISCONNECT; in 3.1.1 a server has none, it closes.
pub(crate) fn disconnect(out: &mut BytesMut, version: Version, code: u8) {
    if version == Version::V5 {
        out.put_slice(&[0xE0, 1, code]);
    }
}

/// A message on its way down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Downward<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// None: QoS 0.
    pub(crate) pid: Option<u16>,
    pub(crate) dup: bool,
    /// Seconds; MQTT 5 only.
    pub(crate) expiry: Option<u32>,
}

impl Downward<'_> {
    /// Length of the packet's body.
    fn body(&self, version: Version) -> usize {
        let properties = match (version, self.expiry) {
            (Version::V4, _) => 0,
            (Version::V5, None) => 1,
            (Version::V5, Some(_)) => 6,
        };
        2 + self.topic.len() + if self.pid.is_some() { 2 } else { 0 } + properties + self.payload.len()
    }

    /// At most so long is the whole packet.
    pub(crate) fn size(&self, version: Version) -> usize {
        5 + self.body(version)
    }

    /// PUBLISH.
    pub(crate) fn encode(&self, out: &mut BytesMut, version: Version) {
        out.reserve(self.size(version));
        out.put_u8(0x30 | if self.pid.is_some() { 0x02 } else { 0 } | if self.dup { 0x08 } else { 0 });
        varint(out, self.body(version));
        text(out, self.topic);
        if let Some(pid) = self.pid {
            out.put_u16(pid);
        }
        match (version, self.expiry) {
            (Version::V4, _) => {}
            (Version::V5, None) => out.put_u8(0),
            (Version::V5, Some(seconds)) => {
                out.put_slice(&[5, 0x02]);
                out.put_u32(seconds);
            }
        }
        out.put_slice(self.payload);
    }
}
