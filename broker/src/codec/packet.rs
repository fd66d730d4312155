//! Every packet after CONNECT.

use super::{
    Fault, Head, Reader, Version, kind,
    properties::{self, Place},
};

/// A packet that keeps every rule of its protocol, borrowed from its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Publish(Publish<'a>),
    PubAck { pid: u16 },
    Subscribe { pid: u16, filters: Filters<'a> },
    Unsubscribe { pid: u16, filters: Filters<'a> },
    Ping,
    Disconnect { with_will: bool, session_expiry: Option<u32> },
}

/// PUBLISH. Retained ones and QoS 2 never come this far.
#[derive(PartialEq, Eq)]
pub(crate) struct Publish<'a> {
    /// None at QoS 0.
    pub(crate) pid: Option<u16>,
    /// Empty when an alias stands for it.
    pub(crate) topic: &'a str,
    pub(crate) alias: Option<u16>,
    pub(crate) payload: &'a [u8],
}

impl std::fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publish({:?}, {} bytes)", self.pid, self.payload.len())
    }
}

/// The filters of a SUBSCRIBE (each with its options) or UNSUBSCRIBE, checked whole before the first is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filters<'a>(Vec<(&'a str, u8)>);

impl<'a> Filters<'a> {
    /// Each filter with the QoS that is asked for (0 for UNSUBSCRIBE).
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, u8)> + '_ {
        self.0.iter().copied()
    }
}

/// The packet whose fixed header is `head` and whose bytes after it are `body`.
///
/// # Errors
/// [`Fault`]: the connection is to be ended.
pub(crate) fn decode<'a>(version: Version, head: Head, body: &'a [u8]) -> Result<Packet<'a>, Fault> {
    let mut r = Reader::new(body);
    match head.kind() {
        kind::PUBLISH => publish(version, head.first, r).map(Packet::Publish),
        kind::PUBACK => puback(version, r),
        kind::SUBSCRIBE => {
            let pid = r.pid()?;
            if version == Version::V5 && properties::read(&mut r, Place::Subscribe)?.subscription_identifier {
                return Err(Fault::Identifier);
            }
            Ok(Packet::Subscribe { pid, filters: filters(r, Some(version))? })
        }
        kind::UNSUBSCRIBE => {
            let pid = r.pid()?;
            if version == Version::V5 {
                properties::read(&mut r, Place::Plain)?;
            }
            Ok(Packet::Unsubscribe { pid, filters: filters(r, None)? })
        }
        kind::PINGREQ if r.is_empty() => Ok(Packet::Ping),
        kind::PINGREQ => Err(Fault::Malformed),
        kind::DISCONNECT => disconnect(version, r),
        kind::AUTH if version == Version::V4 => Err(Fault::Malformed),
        // A second CONNECT, the QoS 2 exchange that nobody began, AUTH without a method.
        _ => Err(Fault::Protocol),
    }
}

fn publish(version: Version, first: u8, mut r: Reader<'_>) -> Result<Publish<'_>, Fault> {
    let topic = r.text()?;
    let pid = if first & 0x06 == 0 { None } else { Some(r.pid()?) };
    let alias = if version == Version::V5 { properties::read(&mut r, Place::Publish)?.topic_alias } else { None };
    if topic.is_empty() && alias.is_none() {
        return Err(Fault::Protocol);
    }
    Ok(Publish { pid, topic, alias, payload: r.rest() })
}

fn puback(version: Version, mut r: Reader<'_>) -> Result<Packet<'static>, Fault> {
    let pid = r.pid()?;
    if version == Version::V5 && !r.is_empty() {
        r.u8()?;
        if !r.is_empty() {
            properties::read(&mut r, Place::PubAck)?;
        }
    }
    if r.is_empty() { Ok(Packet::PubAck { pid }) } else { Err(Fault::Malformed) }
}

fn disconnect(version: Version, mut r: Reader<'_>) -> Result<Packet<'static>, Fault> {
    let (mut with_will, mut session_expiry) = (false, None);
    if version == Version::V5 && !r.is_empty() {
        // Any code but 0 says that this is no ordinary end, so the will stands.
        with_will = r.u8()? != 0;
        if !r.is_empty() {
            session_expiry = properties::read(&mut r, Place::Disconnect)?.session_expiry;
        }
    }
    if r.is_empty() { Ok(Packet::Disconnect { with_will, session_expiry }) } else { Err(Fault::Malformed) }
}

/// `subscribe`: each filter has its options byte, by the rules of that version.
fn filters(mut r: Reader<'_>, subscribe: Option<Version>) -> Result<Filters<'_>, Fault> {
    let mut all = Vec::new();
    while !r.is_empty() {
        let filter = r.text()?;
        let qos = match subscribe {
            Some(version) => options(r.u8()?, version)?,
            None => 0,
        };
        all.push((filter, qos));
    }
    if all.is_empty() { Err(Fault::Protocol) } else { Ok(Filters(all)) }
}

const fn options(byte: u8, version: Version) -> Result<u8, Fault> {
    let reserved = match version {
        Version::V4 => byte & 0xFC,
        Version::V5 => byte & 0xC0,
    };
    if reserved != 0 || byte & 3 == 3 {
        return Err(Fault::Malformed);
    }
    // Retain handling 3 does not exist.
    if byte & 0x30 == 0x30 { Err(Fault::Protocol) } else { Ok(byte & 3) }
}
