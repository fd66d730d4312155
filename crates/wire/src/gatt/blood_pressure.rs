//! Blood Pressure Measurement 2A35, and its enhanced sister 2B34.

use super::{FrameError, datetime::Stamp, octets::Octets, sfloat::Sfloat};

/// Flags that mean nothing yet: recorded, ignored.
const RESERVED: u8 = 0b1110_0000;

/// A 2A35.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// kPa; mmHg where not.
    pub kilopascal: bool,
    /// Systolic.
    pub systolic: Sfloat,
    /// Diastolic.
    pub diastolic: Sfloat,
    /// Mean arterial pressure.
    pub mean: Sfloat,
    /// The meter's clock.
    pub stamp: Option<Stamp>,
    /// Beats a minute.
    pub pulse: Option<Sfloat>,
    /// Which person's button; 255 is unknown.
    pub user: Option<u8>,
    /// See [`Word`].
    pub status: Option<Word>,
    /// Flag bits that mean nothing yet, as sent.
    pub reserved: u8,
    /// Octets after everything that the flags announced.
    pub trailing: usize,
}

/// A 2B34: as a 2A35, with seconds for a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enhanced {
    /// What it shares with a 2A35; its `stamp` is none.
    pub measurement: Measurement,
    /// Year whose first moment the seconds are counted from: 1900 or 2000.
    pub epoch: i16,
    /// The base clock.
    pub seconds: Option<u32>,
    /// The clock that the person sees.
    pub shown_seconds: Option<u32>,
}

/// The measurement status. A clear bit says "not detected" only of a meter that can detect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u16);

/// Where the pulse lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PulseRange {
    Within,
    Above,
    Below,
    Reserved,
}

impl Word {
    /// The body moved.
    pub const fn body_movement(self) -> bool {
        self.0 & 1 != 0
    }
    /// The cuff was too loose.
    pub const fn cuff_loose(self) -> bool {
        self.0 & 2 != 0
    }
    /// The pulse was irregular.
    pub const fn irregular_pulse(self) -> bool {
        self.0 & 4 != 0
    }
    /// Where the pulse lay.
    pub const fn pulse_range(self) -> PulseRange {
        match self.0 >> 3 & 3 {
            0 => PulseRange::Within,
            1 => PulseRange::Above,
            2 => PulseRange::Below,
            _ => PulseRange::Reserved,
        }
    }
    /// The cuff was in the wrong place.
    pub const fn improper_position(self) -> bool {
        self.0 & 32 != 0
    }
}

/// Reads a 2A35.
///
/// # Errors
/// [`FrameError::Truncated`].
pub fn decode(octets: &[u8]) -> Result<Measurement, FrameError> {
    let mut left = Octets(octets);
    let flags = left.u8()?;
    let (systolic, diastolic, mean) = (left.sfloat()?, left.sfloat()?, left.sfloat()?);
    let stamp = left.when(flags & 2 != 0, Stamp::read)?;
    let (pulse, user, status) = tail(&mut left, flags)?;
    Ok(Measurement {
        kilopascal: flags & 1 != 0,
        systolic,
        diastolic,
        mean,
        stamp,
        pulse,
        user,
        status,
        reserved: flags & RESERVED,
        trailing: left.0.len(),
    })
}

/// Reads a 2B34.
///
/// # Errors
/// [`FrameError::Truncated`].
pub fn decode_enhanced(octets: &[u8]) -> Result<Enhanced, FrameError> {
    let mut left = Octets(octets);
    let flags = left.u8()?;
    let (systolic, diastolic, mean) = (left.sfloat()?, left.sfloat()?, left.sfloat()?);
    let seconds = left.when(flags & 2 != 0, Octets::u32)?;
    let (pulse, user, status) = tail(&mut left, flags)?;
    let shown_seconds = left.when(flags & 32 != 0, Octets::u32)?;
    let measurement = Measurement {
        kilopascal: flags & 1 != 0,
        systolic,
        diastolic,
        mean,
        stamp: None,
        pulse,
        user,
        status,
        reserved: flags & 0b1000_0000,
        trailing: left.0.len(),
    };
    Ok(Enhanced { measurement, epoch: if flags & 64 != 0 { 2000 } else { 1900 }, seconds, shown_seconds })
}

type Tail = (Option<Sfloat>, Option<u8>, Option<Word>);

/// Pulse, user and status, which both have in the same place.
fn tail(left: &mut Octets<'_>, flags: u8) -> Result<Tail, FrameError> {
    let pulse = left.when(flags & 4 != 0, Octets::sfloat)?;
    let user = left.when(flags & 8 != 0, Octets::u8)?;
    let status = left.when(flags & 16 != 0, Octets::u16)?;
    Ok((pulse, user, status.map(Word)))
}
