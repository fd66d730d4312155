//! Identifiers. Random 63-bit numbers inside, opaque text (`p_…`) outside.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::Arc};

/// The text is not an identifier of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of this kind")]
pub struct IdError;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const WIDTH: usize = 13;

fn encode(mut value: u64) -> [u8; WIDTH] {
    let mut out = [b'0'; WIDTH];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[usize::try_from(value & 31).unwrap_or(0)];
        value >>= 5;
    }
    out
}

fn decode(text: &str) -> Option<u64> {
    if text.len() != WIDTH {
        return None;
    }
    let mut value = 0_u64;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|&a| a == byte)?;
        value = value.checked_mul(32)?.checked_add(u64::try_from(digit).ok()?)?;
    }
    (value <= i64::MAX.unsigned_abs()).then_some(value)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// From any number; the top bit is dropped so that it fits a signed database column.
            pub const fn new(value: u64) -> Self {
                Self(value & (u64::MAX >> 1))
            }
            /// As a database column.
            pub const fn as_i64(self) -> i64 {
                self.0.cast_signed()
            }
            /// From a database column.
            pub const fn from_i64(value: i64) -> Self {
                Self::new(value.cast_unsigned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(std::str::from_utf8(&encode(self.0)).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix).and_then(decode).map(Self).ok_or(IdError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u64(self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    std::borrow::Cow::<str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
                } else {
                    u64::deserialize(d).map(Self::new)
                }
            }
        }
    };
}

id!(/// A person who measures.
    PatientId, "p_");
id!(/// A person who logs in: doctor, manager, administrator, patient.
    UserId, "u_");
id!(/// A family-doctor team.
    TeamId, "t_");
id!(/// Region, centre or station.
    OrganisationId, "o_");
id!(/// Who wore which meter from when to when.
    BindingId, "b_");
id!(/// One episode that a human must handle.
    AlertId, "a_");
id!(/// What a rule concluded.
    FindingId, "f_");
id!(/// A stored reading; its position in the journal, so ids grow in order of commitment.
    ReadingId, "r_");
id!(/// The store's own short key of a device, for rows that exist millions of times.
    DeviceKey, "k_");

/// A device's, gateway's or kiosk's public name: 1-64 of `A-Z a-z 0-9 . _ -` (contract: device protocol, section 2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) { Ok(Self(text.into())) } else { Err(IdError) }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_out_and_come_back() {
        for n in [0, 1, 31, 32, u64::from(u32::MAX), i64::MAX.cast_unsigned()] {
            let id = PatientId::new(n);
            assert_eq!(id.to_string().parse::<PatientId>(), Ok(id));
            assert_eq!(PatientId::from_i64(id.as_i64()), id);
        }
        assert!("p_nobody".parse::<PatientId>().is_err());
        assert!(PatientId::new(1).to_string().parse::<UserId>().is_err());
    }

    #[test]
    fn device_ids_are_plain() {
        assert!("bp-1.A_z".parse::<DeviceId>().is_ok());
        for bad in ["", "a/b", "+", "#", "é", &"x".repeat(65)] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
    }
}
