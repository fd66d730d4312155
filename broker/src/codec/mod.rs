//! MQTT packets, 3.1.1 and 5: bytes in, packets or a fault out, and the way back. Pure; no IO, no time.
//!
//! Goes in: what a stranger sent. Comes out: a packet that keeps every rule of the standard, borrowed from the bytes, or
//! a [`Fault`] that says which answer the standard has for it.
//! Must never: allocate for what a stranger only announced, or forgive.

mod connect;
pub(crate) mod encode;
mod packet;
mod properties;
mod reader;

pub(crate) use connect::{Connect, Refusal, V4_IDENTIFIER_REJECTED, Will, decode_connect};
pub(crate) use packet::{Filters, Packet, Publish, decode};

use reader::Reader;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1
    V4,
    /// 5
    V5,
}

/// Reason codes of MQTT 5 that the gate uses.
pub(crate) mod reason {
    pub(crate) const UNSPECIFIED: u8 = 0x80;
    pub(crate) const MALFORMED: u8 = 0x81;
    pub(crate) const PROTOCOL_ERROR: u8 = 0x82;
    pub(crate) const UNSUPPORTED_VERSION: u8 = 0x84;
    pub(crate) const CLIENT_ID_INVALID: u8 = 0x85;
    pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
    pub(crate) const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
    pub(crate) const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
    pub(crate) const SESSION_TAKEN_OVER: u8 = 0x8E;
    pub(crate) const SERVER_SHUTTING_DOWN: u8 = 0x8B;
    pub(crate) const TOPIC_FILTER_INVALID: u8 = 0x8F;
    pub(crate) const TOPIC_NAME_INVALID: u8 = 0x90;
    pub(crate) const TOPIC_ALIAS_INVALID: u8 = 0x94;
    pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
    pub(crate) const ADMINISTRATIVE_ACTION: u8 = 0x98;
    pub(crate) const RETAIN_NOT_SUPPORTED: u8 = 0x9A;
    pub(crate) const QOS_NOT_SUPPORTED: u8 = 0x9B;
    pub(crate) const IDENTIFIERS_NOT_SUPPORTED: u8 = 0xA1;
    pub(crate) const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
}

/// Packet types, the upper four bits of the first byte.
pub(crate) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const DISCONNECT: u8 = 14;
    pub(crate) const AUTH: u8 = 15;
}

/// What is wrong with the bytes; every fault ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The bytes break the format.
    #[error("malformed packet")]
    Malformed,
    /// A packet that has no place here.
    #[error("protocol error")]
    Protocol,
    /// The packet says that it is longer than the limit.
    #[error("packet too large")]
    TooLarge,
    /// QoS 2.
    #[error("QoS 2 is not supported")]
    Qos,
    /// RETAIN.
    #[error("retained messages are not supported")]
    Retain,
    /// A topic alias that was not offered or never set.
    #[error("topic alias invalid")]
    Alias,
    /// Subscription identifiers.
    #[error("subscription identifiers are not supported")]
    Identifier,
}

impl Fault {
    /// The reason code of MQTT 5.
    pub(crate) const fn reason(self) -> u8 {
        match self {
            Self::Malformed => reason::MALFORMED,
            Self::Protocol => reason::PROTOCOL_ERROR,
            Self::TooLarge => reason::PACKET_TOO_LARGE,
            Self::Qos => reason::QOS_NOT_SUPPORTED,
            Self::Retain => reason::RETAIN_NOT_SUPPORTED,
            Self::Alias => reason::TOPIC_ALIAS_INVALID,
            Self::Identifier => reason::IDENTIFIERS_NOT_SUPPORTED,
        }
    }

    /// For metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Protocol => "protocol_error",
            Self::TooLarge => "packet_too_large",
            Self::Qos => "qos_2",
            Self::Retain => "retain",
            Self::Alias => "topic_alias",
            Self::Identifier => "subscription_identifier",
        }
    }
}

/// The fixed header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Type and flags.
    pub(crate) first: u8,
    /// Length of the fixed header: where the body begins.
    pub(crate) header: usize,
    /// Length of the whole packet, header included.
    pub(crate) total: usize,
}

impl Head {
    /// The packet type.
    pub(crate) const fn kind(self) -> u8 {
        self.first >> 4
    }
}

/// Whether a client may begin a packet with this byte.
const fn check_first(first: u8) -> Result<(), Fault> {
    let flags = first & 0x0F;
    match first >> 4 {
        // QoS 3 does not exist, and a repeat of a QoS 0 message neither.
        kind::PUBLISH if flags & 0x06 == 0x06 || flags & 0x0E == 0x08 => Err(Fault::Malformed),
        kind::PUBLISH if flags & 0x06 == 0x04 => Err(Fault::Qos),
        kind::PUBLISH if flags & 1 == 1 => Err(Fault::Retain),
        kind::PUBLISH => Ok(()),
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE if flags != 2 => Err(Fault::Malformed),
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => Ok(()),
        kind::CONNECT | kind::PUBACK | kind::PUBREC | kind::PUBCOMP | kind::PINGREQ | kind::DISCONNECT | kind::AUTH
            if flags == 0 =>
        {
            Ok(())
        }
        0 => Err(Fault::Malformed),
        2 | 9 | 11 | 13 => Err(Fault::Protocol), // only a server sends these
        _ => Err(Fault::Malformed),
    }
}

/// The fixed header at the start of `bytes`; none while it is not whole.
///
/// # Errors
/// As soon as the bytes that are there cannot become a packet of at most `limit` bytes.
pub(crate) fn head(bytes: &[u8], limit: usize) -> Result<Option<Head>, Fault> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    check_first(first)?;
    let mut length = 0_usize;
    for (i, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            if i > 0 && byte == 0 {
                return Err(Fault::Malformed); // longer than it need be
            }
            let header = i + 2;
            let total = header + length;
            return if total > limit { Err(Fault::TooLarge) } else { Ok(Some(Head { first, header, total })) };
        }
    }
    if bytes.len() >= 5 { Err(Fault::Malformed) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
