//! CGM Measurement 2AA7: one value may hold several records, each with its own size.

use super::{FrameError, octets::Octets, sfloat::Sfloat};
use std::ops::Range;

/// Size, flags, glucose, offset.
const LEAST: usize = 6;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies in the value.
    pub place: Range<usize>,
    /// Always mg/dL.
    pub glucose: Sfloat,
    /// Minutes from the start of the session, which another characteristic tells.
    pub offset: u16,
    /// Session stopped, battery low, wrong sensor, malfunction, device alert, general fault.
    pub status: Option<u8>,
    /// Time sync needed, calibration (3 bits), temperature high, temperature low.
    pub calibration: Option<u8>,
    /// Beyond the limits that a person has set.
    pub warning: Option<u8>,
    /// mg/dL a minute.
    pub trend: Option<Sfloat>,
    /// Percent.
    pub quality: Option<Sfloat>,
    /// As sent, and as computed.
    pub crc: Option<(u16, u16)>,
}

/// Reads all records. One with a wrong checksum is read like the others; its `crc` says so.
///
/// # Errors
/// [`FrameError::Truncated`] for an empty value, [`FrameError::BadSize`].
pub fn decode(octets: &[u8]) -> Result<Vec<Record>, FrameError> {
    let mut records = Vec::new();
    let mut start = 0;
    while let Some(size) = octets.get(start) {
        let end = start + usize::from(*size);
        let body = octets.get(start..end).filter(|b| b.len() >= LEAST).ok_or(FrameError::BadSize)?;
        records.push(record(body, start..end)?);
        start = end;
    }
    if records.is_empty() { Err(FrameError::Truncated) } else { Ok(records) }
}

fn record(body: &[u8], place: Range<usize>) -> Result<Record, FrameError> {
    let fields = || {
        let mut left = Octets(body);
        let (_size, flags) = (left.u8()?, left.u8()?);
        let (glucose, offset) = (left.sfloat()?, left.u16()?);
        let status = left.when(flags & 128 != 0, Octets::u8)?;
        let calibration = left.when(flags & 64 != 0, Octets::u8)?;
        let warning = left.when(flags & 32 != 0, Octets::u8)?;
        let trend = left.when(flags & 1 != 0, Octets::sfloat)?;
        let quality = left.when(flags & 2 != 0, Octets::sfloat)?;
        let sum = left.when(!left.0.is_empty(), Octets::u16)?;
        let crc = sum.map(|sent| (sent, checksum(&body[..body.len().saturating_sub(2)])));
        let rest = left.0.len();
        Ok((Record { place, glucose, offset, status, calibration, warning, trend, quality, crc }, rest))
    };
    // What does not fit its own size is a wrong size, whichever side is wrong.
    match fields() {
        Ok((record, 0)) => Ok(record),
        Ok(_) | Err(FrameError::Truncated | FrameError::BadSize) => Err(FrameError::BadSize),
    }
}

/// CRC-16/MCRF4XX: polynomial 0x1021 reflected, seed 0xFFFF.
fn checksum(octets: &[u8]) -> u16 {
    octets.iter().fold(0xFFFF, |crc, octet| {
        (0..8).fold(crc ^ u16::from(*octet), |crc, _| if crc & 1 != 0 { crc >> 1 ^ 0x8408 } else { crc >> 1 })
    })
}
