//! CONNECT: the only packet that may come first, and the only one that says which protocol is spoken.

use super::{
    Fault, Reader, Version,
    properties::{self, Place},
    reason,
};

/// A CONNECT that keeps every rule of its protocol. Debug shows neither user name nor password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Connect<'a> {
    pub(crate) version: Version,
    /// Clean session or clean start.
    pub(crate) clean: bool,
    /// Seconds; 0 asks for the server's.
    pub(crate) keep_alive: u16,
    pub(crate) client_id: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a [u8]>,
    pub(crate) will: Option<Will<'a>>,
    /// Seconds; MQTT 5 only.
    pub(crate) session_expiry: u32,
    /// QoS 1 messages that the client takes at a time.
    pub(crate) receive_maximum: u16,
    /// Longest packet that the client takes.
    pub(crate) maximum_packet_size: usize,
    /// It wants an exchange that the gate does not know.
    pub(crate) authentication_method: bool,
}

/// What the client wants said when it is lost.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Will<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Seconds.
    pub(crate) delay: u32,
}

impl std::fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("version", &self.version).field("client_id", &self.client_id).finish()
    }
}

impl std::fmt::Debug for Will<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Will")
    }
}

/// Why a CONNECT is not one; what can be said to the client about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No CONNECT at all, or of no protocol that has an answer for it: closed.
    Close(Fault),
    /// CONNACK with this code, then closed.
    Answer(Version, u8),
}

/// CONNACK codes of 3.1.1.
pub(crate) const V4_UNACCEPTABLE_VERSION: u8 = 1;
pub(crate) const V4_IDENTIFIER_REJECTED: u8 = 2;

/// The CONNECT in `body`.
///
/// # Errors
/// [`Refusal`], with the answer that the protocol has.
pub(crate) fn decode_connect(body: &[u8]) -> Result<Connect<'_>, Refusal> {
    let mut r = Reader::new(body);
    let name = r.binary().map_err(Refusal::Close)?;
    let level = r.u8().map_err(Refusal::Close)?;
    let version = match (name, level) {
        (b"MQTT", 4) => Version::V4,
        (b"MQTT", 5) => Version::V5,
        (b"MQTT", 6..) => return Err(Refusal::Answer(Version::V5, reason::UNSUPPORTED_VERSION)),
        (b"MQTT" | b"MQIsdp", _) => return Err(Refusal::Answer(Version::V4, V4_UNACCEPTABLE_VERSION)),
        _ => return Err(Refusal::Close(Fault::Protocol)),
    };
    rest(version, r).map_err(|fault| match (version, fault) {
        (Version::V5, (_, fault)) => Refusal::Answer(version, fault.reason()),
        (Version::V4, (Field::ClientId, _)) => Refusal::Answer(version, V4_IDENTIFIER_REJECTED),
        (Version::V4, (Field::Other, fault)) => Refusal::Close(fault),
    })
}

/// Where the fault lies; 3.1.1 has an answer for one place only.
#[derive(Clone, Copy)]
enum Field {
    ClientId,
    Other,
}

impl From<Fault> for (Field, Fault) {
    fn from(fault: Fault) -> Self {
        (Field::Other, fault)
    }
}

struct Flags(u8);

impl Flags {
    fn read(r: &mut Reader<'_>, version: Version) -> Result<Self, Fault> {
        let flags = Self(r.u8()?);
        let reserved = flags.has(0x01);
        let will_without_will = !flags.has(0x04) && flags.0 & 0x38 != 0;
        let password_without_user = version == Version::V4 && flags.has(0x40) && !flags.has(0x80);
        if reserved || will_without_will || password_without_user || flags.will_qos() == 3 {
            return Err(Fault::Malformed);
        }
        Ok(flags)
    }

    const fn has(&self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    const fn will_qos(&self) -> u8 {
        self.0 >> 3 & 3
    }
}

fn rest(version: Version, mut r: Reader<'_>) -> Result<Connect<'_>, (Field, Fault)> {
    let flags = Flags::read(&mut r, version)?;
    let keep_alive = r.u16()?;
    let asked = if version == Version::V5 { properties::read(&mut r, Place::Connect)? } else { Default::default() };
    let client_id = r.text().map_err(|fault| (Field::ClientId, fault))?;
    let will = if flags.has(0x04) { Some(will(version, &flags, &mut r)?) } else { None };
    let user = if flags.has(0x80) { Some(r.text()?) } else { None };
    let password = if flags.has(0x40) { Some(r.binary()?) } else { None };
    if !r.is_empty() {
        return Err(Fault::Malformed.into());
    }
    Ok(Connect {
        version,
        clean: flags.has(0x02),
        keep_alive,
        client_id,
        user,
        password,
        will,
        session_expiry: asked.session_expiry.unwrap_or(0),
        receive_maximum: asked.receive_maximum.unwrap_or(u16::MAX),
        maximum_packet_size: asked.maximum_packet_size.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        authentication_method: asked.authentication_method,
    })
}

fn will<'a>(version: Version, flags: &Flags, r: &mut Reader<'a>) -> Result<Will<'a>, Fault> {
    let asked = if version == Version::V5 { properties::read(r, Place::Will)? } else { Default::default() };
    let topic = r.text()?;
    let payload = r.binary()?;
    let delay = asked.will_delay.unwrap_or(0);
    Ok(Will { topic, payload, qos: flags.will_qos(), retain: flags.has(0x20), delay })
}
