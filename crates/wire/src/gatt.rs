//! Bluetooth characteristic values (contract: device protocol, section 3, "a frame"; Bluetooth SIG services 1808, 1810,
//! 181F).
//!
//! Goes in: the octets of one value, as a phone or gateway forwards them. Comes out: [`Item`]s as from a JSON message,
//! so that everything after the decoding is the same; or a meal context; or why nothing can be read.
//! Must never: panic, whatever it is given; guess a unit; take a special value (NaN and its kin) for a number; look
//! beyond the octets that it was given.

pub mod blood_pressure;
pub mod cgm;
pub mod context;
pub mod datetime;
pub mod glucose;
mod items;
mod octets;
pub mod sfloat;

pub use items::{Joining, Known, compare};

use crate::{reading_v1::Item, topic::Characteristic};
use bytes::Bytes;
use vitals::Reason;

/// Why a value cannot be read by its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends before what its flags announce.
    #[error("the frame ends before what its flags announce")]
    Truncated,
    /// A record's own size does not fit its fields or the frame.
    #[error("a record's size does not fit")]
    BadSize,
}

impl FrameError {
    /// The contract's word.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Truncated | Self::BadSize => Reason::Truncated,
        }
    }
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Readings; more than one only from a continuous monitor.
    Readings(Vec<Item>),
    /// What a glucose reading is to be joined with.
    Context(Joining),
    /// Nothing that can be used: to be held whole.
    Unreadable(Reason),
}

/// Reads one value.
pub fn decode(characteristic: Characteristic, octets: &Bytes) -> Frame {
    let read = match characteristic {
        Characteristic::BloodPressure2a35 => {
            blood_pressure::decode(octets).map(|m| vec![items::pressure(&m, characteristic, octets)])
        }
        Characteristic::EnhancedBloodPressure2b34 => {
            blood_pressure::decode_enhanced(octets).map(|m| vec![items::enhanced(&m, octets)])
        }
        Characteristic::Glucose2a18 => glucose::decode(octets).map(|m| vec![items::glucose(&m, octets)]),
        Characteristic::Cgm2aa7 => cgm::decode(octets).map(|records| items::continuous(&records, octets)),
        Characteristic::GlucoseContext2a34 => {
            return match context::decode(octets) {
                Ok(context) if context.trailing > 0 => Frame::Unreadable(Reason::TrailingBytes),
                Ok(context) => Frame::Context(Joining::of(&context, octets)),
                Err(e) => Frame::Unreadable(e.reason()),
            };
        }
    };
    read.map_or_else(|e| Frame::Unreadable(e.reason()), Frame::Readings)
}
