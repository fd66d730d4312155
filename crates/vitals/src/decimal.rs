//! A number with the digits that were sent: `6.20` stays `6.20`.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Mantissa and power of ten. `6.20` is 620 x 10^-2 and prints as `6.20`; `1e2` prints as `1e2`.
///
/// Equality is by digits (`6.2 != 6.20`); compare [`Decimal::value`] for the quantity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decimal {
    mantissa: i64,
    exponent: i16,
}

/// The text is not a JSON number, or has more than 18 significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number of at most 18 digits")]
pub struct DecimalError;

const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

impl Decimal {
    /// `mantissa` x 10^`exponent`.
    pub const fn new(mantissa: i64, exponent: i16) -> Self {
        Self { mantissa, exponent }
    }

    /// The nearest double, for arithmetic.
    pub fn value(self) -> f64 {
        // Both operands are exact doubles here, so that one operation rounds once.
        if let (Ok(small), Some(power)) =
            (i32::try_from(self.mantissa), POWERS.get(usize::from(self.exponent.unsigned_abs())))
        {
            return if self.exponent < 0 { f64::from(small) / power } else { f64::from(small) * power };
        }
        // Parsing the decimal text rounds once; multiplying by a power of ten would round twice.
        format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// The integer, where it is written as one: `138`, but neither `138.0` nor `1.38e2`.
    pub const fn as_integer(self) -> Option<i64> {
        if self.exponent == 0 { Some(self.mantissa) } else { None }
    }

    /// The same digits with the point moved: `54` scaled by -1 is `5.4`.
    pub const fn scaled(self, power: i16) -> Self {
        Self { mantissa: self.mantissa, exponent: self.exponent.saturating_add(power) }
    }

    /// Mantissa and power of ten without trailing zeros: the same for `6.2` and `6.20`, another for another quantity.
    pub const fn normalized(self) -> (i64, i16) {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        if mantissa == 0 {
            return (0, 0);
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent = exponent.saturating_add(1);
        }
        (mantissa, exponent)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    /// Takes the JSON number grammar: `-?digits[.digits][(e|E)[+-]digits]`.
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i16>().map_err(|_| DecimalError)?),
            None => (text, 0),
        };
        let (negative, digits) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(DecimalError),
            Some(parts) => parts,
            None => (digits, ""),
        };
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) || whole.len() + fraction.len() > 18 {
            return Err(DecimalError);
        }
        let mut mantissa = 0_i64;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return Err(DecimalError);
            }
            mantissa = mantissa * 10 + i64::from(byte - b'0');
        }
        let places = i16::try_from(fraction.len()).map_err(|_| DecimalError)?;
        let exponent = exponent.checked_sub(places).filter(|e| (-400..=400).contains(e)).ok_or(DecimalError)?;
        Ok(Self { mantissa: if negative { -mantissa } else { mantissa }, exponent })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs();
        if self.exponent == 0 {
            return write!(f, "{sign}{digits}");
        }
        if self.exponent > 0 || self.exponent < -30 {
            return write!(f, "{sign}{digits}e{}", self.exponent);
        }
        let places = usize::from(self.exponent.unsigned_abs());
        let text = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = text.split_at(text.len() - places);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl fmt::Debug for Decimal {
    /// Measured values stay out of logs, so a debug print shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decimal(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_survive() {
        for text in ["138", "6.2", "6.20", "0.5", "0.05", "17.931746", "-3", "1e2", "0"] {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), text);
        }
        for text in ["138", "6.2", "6.20", "0.05", "-3", "1e2", "17.931746", "2147483648.5", "1e-20"] {
            assert_eq!(text.parse::<Decimal>().unwrap().value().to_bits(), text.parse::<f64>().unwrap().to_bits());
        }
        assert!((("17.931746".parse::<Decimal>().unwrap()).value() - 17.931746).abs() < 1e-12);
    }

    #[test]
    fn an_integer_is_what_is_written_as_one() {
        for (text, integer) in [("138", Some(138)), ("-3", Some(-3)), ("0", Some(0)), ("138.0", None), ("1e2", None)] {
            assert_eq!(text.parse::<Decimal>().unwrap().as_integer(), integer, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ".", "1.", ".5", "01", "1e", "NaN", "1_0", "1234567890123456789", "+1", "0x1", "1e999"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }
}
