//! What is not stored is held, with its reason and its bytes.

use crate::{DeviceKey, PatientId, ReadingId, Status, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Why something is held (contract: device protocol, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Reason {
    BrokenMessage,
    VersionUnknown,
    KindUnknown,
    SeqInvalid,
    TimeInvalid,
    UnitUnknown,
    NoValue,
    Implausible,
    Conflict,
    Clock,
    DecodeMismatch,
    Truncated,
    TrailingBytes,
    NotAllowed,
    /// The meter said that the measurement failed.
    Status(Status),
}

impl Reason {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BrokenMessage => "broken_message",
            Self::VersionUnknown => "version_unknown",
            Self::KindUnknown => "kind_unknown",
            Self::SeqInvalid => "seq_invalid",
            Self::TimeInvalid => "time_invalid",
            Self::UnitUnknown => "unit_unknown",
            Self::NoValue => "no_value",
            Self::Implausible => "implausible",
            Self::Conflict => "conflict",
            Self::Clock => "clock",
            Self::DecodeMismatch => "decode_mismatch",
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::NotAllowed => "not_allowed",
            Self::Status(status) => status.as_str(),
        }
    }
}

/// A reading, or a whole message, that is held back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Position in the journal; the API writes it `q_…`.
    pub id: ReadingId,
    /// Who sent it.
    pub device: DeviceKey,
    /// Epoch of the device in which it came.
    pub epoch: u32,
    /// Its `seq`, where it had a valid one.
    pub seq: Option<i64>,
    /// Whose it would have been, where that is known.
    pub patient: Option<PatientId>,
    /// Measurement time, where it had a usable one.
    pub measured_at: Option<Timestamp>,
    /// When the server had it.
    pub received_at: Timestamp,
    /// At least one.
    pub reasons: Vec<Reason>,
    /// The reading's own JSON, or the whole message where that could not be read, as sent.
    pub bytes: Vec<u8>,
    /// The tail of the topic on which it came (`readings`, `gatt/2a35`), so that it can be replayed.
    pub route: Cow<'static, str>,
}

impl std::fmt::Debug for Held {
    /// Without the bytes: they are a patient's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("id", &self.id).field("reasons", &self.reasons).finish_non_exhaustive()
    }
}
