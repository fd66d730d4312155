//! The 16-bit number of IEEE 11073-20601: 4 bits of exponent, 12 of mantissa, both signed, and five patterns that are
//! no number. It carries its own digits: 0xF014 is `2.0`, not `2`.

use vitals::Decimal;

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sfloat {
    /// mantissa x 10^exponent.
    Number {
        /// -2048..=2047.
        mantissa: i16,
        /// -8..=7.
        exponent: i8,
    },
    /// The measurement failed (0x07FF).
    NotANumber,
    /// Not at this resolution (0x0800).
    NotAtThisResolution,
    /// Beyond the range, upwards (0x07FE).
    PlusInfinity,
    /// Beyond the range, downwards (0x0802).
    MinusInfinity,
    /// 0x0801.
    Reserved,
}

impl Sfloat {
    /// From the 16 bits.
    pub const fn from_raw(raw: u16) -> Self {
        match raw {
            0x07FF => Self::NotANumber,
            0x0800 => Self::NotAtThisResolution,
            0x07FE => Self::PlusInfinity,
            0x0802 => Self::MinusInfinity,
            0x0801 => Self::Reserved,
            // A shift of signed numbers carries the sign of both halves.
            _ => Self::Number {
                mantissa: (raw << 4).cast_signed() >> 4,
                exponent: raw.to_be_bytes()[0].cast_signed() >> 4,
            },
        }
    }

    /// The number with its digits, times 10^`places`; none for what is no number.
    pub fn decimal(self, places: i8) -> Option<Decimal> {
        let Self::Number { mantissa, exponent } = self else { return None };
        let exponent = i16::from(exponent) + i16::from(places);
        let Ok(zeros) = u32::try_from(exponent) else { return Some(Decimal::new(i64::from(mantissa), exponent)) };
        // Digits before the point are written out: 1 x 10^2 is 100. At most 2047 x 10^12 here.
        Some(Decimal::new(i64::from(mantissa) * 10_i64.pow(zeros.min(14)), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: u16) -> String {
        Sfloat::from_raw(raw).decimal(0).map_or_else(|| "none".into(), |d| d.to_string())
    }

    #[test]
    fn digits_come_from_the_exponent() {
        for (raw, expected) in [
            (0xF014, "2.0"),
            (0x1002, "20"),
            (0xFE94, "-36.4"),
            (0xB06F, "0.00111"),
            (0x700A, "100000000"),
            (0x17FF, "20470"),
            (0x07FD, "2045"),
            (0x0803, "-2045"),
            (0xFFFF, "-0.1"),
            (0x0000, "0"),
        ] {
            assert_eq!(text(raw), expected, "{raw:#06x}");
        }
        assert_eq!(Sfloat::from_raw(0xC04E).decimal(3).unwrap().to_string(), "7.8");
        assert_eq!(Sfloat::from_raw(0xB068).decimal(5).unwrap().to_string(), "104");
    }

    #[test]
    fn only_five_patterns_are_no_numbers() {
        let none: Vec<u16> = (0..=u16::MAX).filter(|raw| Sfloat::from_raw(*raw).decimal(0).is_none()).collect();
        assert_eq!(none, [0x07FE, 0x07FF, 0x0800, 0x0801, 0x0802]);
    }
}
