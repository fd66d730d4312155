//! Date Time of the Bluetooth SIG: seven octets, no zone.

use super::{FrameError, octets::Octets};
use jiff::civil::DateTime;

/// What a meter's clock showed, as its octets say. Nothing is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stamp {
    /// 0: unknown.
    pub year: u16,
    /// 0: unknown.
    pub month: u8,
    /// 0: unknown.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

/// What a stamp is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A date and time that exist.
    Wall(DateTime),
    /// A part of the date is unknown: the clock was never set.
    Unset,
    /// 30 February, hour 24 and the like.
    Impossible,
}

impl Stamp {
    pub(super) fn read(octets: &mut Octets<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            year: octets.u16()?,
            month: octets.u8()?,
            day: octets.u8()?,
            hour: octets.u8()?,
            minute: octets.u8()?,
            second: octets.u8()?,
        })
    }

    /// What it says.
    pub fn shown(self) -> Shown {
        if self.year == 0 || self.month == 0 || self.day == 0 {
            return Shown::Unset;
        }
        let small = |n: u8| i8::try_from(n).unwrap_or(i8::MAX);
        let wall = i16::try_from(self.year).ok().filter(|y| (1582..=9999).contains(y)).and_then(|year| {
            let (hour, minute, second) = (small(self.hour), small(self.minute), small(self.second));
            DateTime::new(year, small(self.month), small(self.day), hour, minute, second, 0).ok()
        });
        wall.map_or(Shown::Impossible, Shown::Wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(octets: [u8; 7]) -> Shown {
        Stamp::read(&mut Octets(&octets)).unwrap().shown()
    }

    #[test]
    fn a_date_exists_is_unknown_or_is_impossible() {
        assert_eq!(shown([0xEA, 0x07, 3, 1, 7, 11, 40]), Shown::Wall(jiff::civil::date(2026, 3, 1).at(7, 11, 40, 0)));
        for unset in [[0, 0, 3, 1, 7, 11, 40], [0xEA, 0x07, 0, 1, 7, 11, 40], [0xEA, 0x07, 3, 0, 7, 11, 40]] {
            assert_eq!(shown(unset), Shown::Unset);
        }
        for impossible in [
            [0xEA, 0x07, 2, 30, 7, 11, 40],
            [0xEA, 0x07, 3, 1, 24, 0, 0],
            [0xEA, 0x07, 3, 1, 7, 11, 200],
            [0x2D, 0x06, 3, 1, 7, 11, 40],
            [0xFF, 0xFF, 3, 1, 7, 11, 40],
        ] {
            assert_eq!(shown(impossible), Shown::Impossible, "{impossible:?}");
        }
    }
}
