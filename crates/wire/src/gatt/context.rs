//! Glucose Measurement Context 2A34: what a person was doing when a 2A18 was measured. Joined by its sequence number.

use super::{FrameError, octets::Octets, sfloat::Sfloat};

/// A 2A34. Codes are as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// That of its 2A18.
    pub sequence: u16,
    /// Extended flags.
    pub extended: Option<u8>,
    /// Which meal (1 breakfast … 7 brunch), and kilograms of carbohydrate.
    pub carbohydrate: Option<(u8, Sfloat)>,
    /// Relation to a meal: 1 before, 2 after, 3 fasting, 4 casual, 5 bedtime.
    pub meal: Option<u8>,
    /// Who tested (low nibble).
    pub tester: Option<u8>,
    /// Health (high nibble).
    pub health: Option<u8>,
    /// Seconds (65535: more), and intensity in percent.
    pub exercise: Option<(u16, u8)>,
    /// Which (1 rapid … 5 premixed insulin), how much, in litres rather than kilograms.
    pub medication: Option<(u8, Sfloat, bool)>,
    /// Percent.
    pub hba1c: Option<Sfloat>,
    /// Octets after everything that the flags announced.
    pub trailing: usize,
}

/// Reads a 2A34.
///
/// # Errors
/// [`FrameError::Truncated`].
pub fn decode(octets: &[u8]) -> Result<Context, FrameError> {
    let mut left = Octets(octets);
    let flags = left.u8()?;
    let sequence = left.u16()?;
    let extended = left.when(flags & 128 != 0, Octets::u8)?;
    let carbohydrate = left.when(flags & 1 != 0, |left| Ok((left.u8()?, left.sfloat()?)))?;
    let meal = left.when(flags & 2 != 0, Octets::u8)?;
    let nibbles = left.when(flags & 4 != 0, Octets::u8)?;
    let exercise = left.when(flags & 8 != 0, |left| Ok((left.u16()?, left.u8()?)))?;
    let medication = left.when(flags & 16 != 0, |left| Ok((left.u8()?, left.sfloat()?, flags & 32 != 0)))?;
    let hba1c = left.when(flags & 64 != 0, Octets::sfloat)?;
    Ok(Context {
        sequence,
        extended,
        carbohydrate,
        meal,
        tester: nibbles.map(|n| n & 15),
        health: nibbles.map(|n| n >> 4),
        exercise,
        medication,
        hba1c,
        trailing: left.0.len(),
    })
}
