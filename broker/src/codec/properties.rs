//! The properties of MQTT 5 packets: each known one once, in its place, with a value that is allowed.

use super::{Fault, Reader};

/// Properties, by what carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Publish,
    /// PUBACK and UNSUBSCRIBE carry nothing that concerns us.
    Plain,
    PubAck,
    Subscribe,
    Disconnect,
}

/// The properties that the gate acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) session_expiry: Option<u32>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) maximum_packet_size: Option<u32>,
    pub(super) will_delay: Option<u32>,
    pub(super) topic_alias: Option<u16>,
    pub(super) authentication_method: bool,
    /// It stood there; a server that does not offer it must refuse.
    pub(super) subscription_identifier: bool,
}

const PAYLOAD_FORMAT: u8 = 0x01;
const MESSAGE_EXPIRY: u8 = 0x02;
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
const SESSION_EXPIRY: u8 = 0x11;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const REQUEST_PROBLEM: u8 = 0x17;
const WILL_DELAY: u8 = 0x18;
const REQUEST_RESPONSE: u8 = 0x19;
const REASON_STRING: u8 = 0x1F;
const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
const TOPIC_ALIAS: u8 = 0x23;
const USER_PROPERTY: u8 = 0x26;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

fn belongs(id: u8, place: Place) -> bool {
    use Place::{Connect, Disconnect, PubAck, Publish, Subscribe, Will};
    match id {
        USER_PROPERTY => true,
        PAYLOAD_FORMAT | MESSAGE_EXPIRY | CONTENT_TYPE | RESPONSE_TOPIC | CORRELATION_DATA => {
            matches!(place, Publish | Will)
        }
        SUBSCRIPTION_IDENTIFIER => place == Subscribe,
        SESSION_EXPIRY => matches!(place, Connect | Disconnect),
        AUTHENTICATION_METHOD
        | AUTHENTICATION_DATA
        | REQUEST_PROBLEM
        | REQUEST_RESPONSE
        | RECEIVE_MAXIMUM
        | TOPIC_ALIAS_MAXIMUM
        | MAXIMUM_PACKET_SIZE => place == Connect,
        WILL_DELAY => place == Will,
        TOPIC_ALIAS => place == Publish,
        REASON_STRING => matches!(place, PubAck | Disconnect),
        _ => false,
    }
}

/// The properties at the reader, their length first.
pub(super) fn read(r: &mut Reader<'_>, place: Place) -> Result<Properties, Fault> {
    let length = r.varint()?;
    let mut r = Reader::new(r.take(length)?);
    let mut found = Properties::default();
    let mut seen = 0_u64;
    while !r.is_empty() {
        let id = r.u8()?;
        if !belongs(id, place) {
            // A known property in a foreign place is as malformed as an unknown one: its length is not ours to guess.
            return Err(if id == SUBSCRIPTION_IDENTIFIER { Fault::Protocol } else { Fault::Malformed });
        }
        if id != USER_PROPERTY {
            if seen & (1 << id) != 0 {
                return Err(Fault::Protocol);
            }
            seen |= 1 << id;
        }
        one(&mut r, id, &mut found)?;
    }
    if seen & (1 << AUTHENTICATION_DATA) != 0 && !found.authentication_method {
        return Err(Fault::Protocol);
    }
    Ok(found)
}

fn one(r: &mut Reader<'_>, id: u8, found: &mut Properties) -> Result<(), Fault> {
    match id {
        PAYLOAD_FORMAT | REQUEST_PROBLEM | REQUEST_RESPONSE => {
            if r.u8()? > 1 {
                return Err(Fault::Protocol);
            }
        }
        MESSAGE_EXPIRY => drop(r.u32()?),
        SESSION_EXPIRY => found.session_expiry = Some(r.u32()?),
        WILL_DELAY => found.will_delay = Some(r.u32()?),
        CONTENT_TYPE | REASON_STRING => drop(r.text()?),
        RESPONSE_TOPIC => {
            if r.text()?.contains(['+', '#']) {
                return Err(Fault::Protocol);
            }
        }
        CORRELATION_DATA | AUTHENTICATION_DATA => drop(r.binary()?),
        AUTHENTICATION_METHOD => {
            r.text()?;
            found.authentication_method = true;
        }
        SUBSCRIPTION_IDENTIFIER => {
            if r.varint()? == 0 {
                return Err(Fault::Protocol);
            }
            found.subscription_identifier = true;
        }
        RECEIVE_MAXIMUM => found.receive_maximum = Some(nonzero(r.u16()?)?),
        TOPIC_ALIAS_MAXIMUM => drop(r.u16()?),
        TOPIC_ALIAS => match r.u16()? {
            0 => return Err(Fault::Alias),
            alias => found.topic_alias = Some(alias),
        },
        MAXIMUM_PACKET_SIZE => match r.u32()? {
            0 => return Err(Fault::Protocol),
            size => found.maximum_packet_size = Some(size),
        },
        USER_PROPERTY => {
            r.text()?;
            r.text()?;
        }
        _ => return Err(Fault::Malformed),
    }
    Ok(())
}

const fn nonzero(n: u16) -> Result<u16, Fault> {
    if n == 0 { Err(Fault::Protocol) } else { Ok(n) }
}
