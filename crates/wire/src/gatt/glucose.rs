//! Glucose Measurement 2A18.

use super::{FrameError, datetime::Stamp, octets::Octets, sfloat::Sfloat};

/// A 2A18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Counted by the meter, never renumbered; wraps at 65535.
    pub sequence: u16,
    /// The meter's base clock.
    pub base: Stamp,
    /// Minutes from the base clock to the one that the person sees; only this one is ever set by hand.
    pub offset: Option<i16>,
    /// mol/L; kg/L where not. Means nothing without a concentration, but is said all the same.
    pub mole: bool,
    /// How much, of what, from where.
    pub sample: Option<Sample>,
    /// See [`Word`].
    pub status: Option<Word>,
    /// A 2A34 with the same sequence number follows.
    pub context_follows: bool,
    /// Flag bits that mean nothing yet, as sent.
    pub reserved: u8,
    /// Octets after everything that the flags announced.
    pub trailing: usize,
}

/// A concentration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In kg/L or mol/L.
    pub concentration: Sfloat,
    /// 1-10; 10 is control solution.
    pub fluid: u8,
    /// 1-4 and 15; 4 is control solution.
    pub location: u8,
}

impl Sample {
    /// A test of the meter, not of a person.
    pub const fn is_control_solution(self) -> bool {
        self.fluid == 10 || self.location == 4
    }
}

/// The sensor status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u16);

impl Word {
    /// Whether bit `n` is set.
    pub const fn bit(self, n: u16) -> bool {
        self.0 >> n & 1 != 0
    }
    /// Above what the meter can show: HI.
    pub const fn too_high(self) -> bool {
        self.bit(5)
    }
    /// Below what the meter can show: LO.
    pub const fn too_low(self) -> bool {
        self.bit(6)
    }
}

/// Reads a 2A18.
///
/// # Errors
/// [`FrameError::Truncated`].
pub fn decode(octets: &[u8]) -> Result<Measurement, FrameError> {
    let mut left = Octets(octets);
    let flags = left.u8()?;
    let sequence = left.u16()?;
    let base = Stamp::read(&mut left)?;
    let offset = left.when(flags & 1 != 0, Octets::i16)?;
    let sample = left.when(flags & 2 != 0, |left| {
        let concentration = left.sfloat()?;
        let nibbles = left.u8()?;
        Ok(Sample { concentration, fluid: nibbles & 15, location: nibbles >> 4 })
    })?;
    let status = left.when(flags & 8 != 0, Octets::u16)?.map(Word);
    Ok(Measurement {
        sequence,
        base,
        offset,
        mole: flags & 4 != 0,
        sample,
        status,
        context_follows: flags & 16 != 0,
        reserved: flags & 0b1110_0000,
        trailing: left.0.len(),
    })
}
