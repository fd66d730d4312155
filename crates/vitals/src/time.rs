//! Moments and zones. A moment is a number; only the shells know what time it is.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Microseconds since 1970-01-01T00:00:00Z. Range: years 0001 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 date and time with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time with an offset, such as 2026-03-01T07:10:02+08:00")]
pub struct TimeError;

const MIN: i64 = -62_135_596_800_000_000;
const MAX: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The earliest moment.
    pub const MIN: Self = Self(MIN);
    /// The latest moment.
    pub const MAX: Self = Self(MAX);

    /// From microseconds since the epoch, held within the years 0001 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(MIN, MAX))
    }

    /// From whole seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// `self - earlier` in microseconds; negative when `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// `self - earlier`, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Later by `by`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Earlier by `by`, at least [`Timestamp::MIN`].
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// RFC 3339, offset required.
    ///
    /// # Errors
    /// [`TimeError`] for anything else, impossible dates included.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        // jiff also reads `2026-03-01T07:00+08[Asia/Shanghai]`; the contract does not.
        let bytes = text.as_bytes();
        if bytes.len() < 20 || !matches!(bytes[10], b'T' | b't') || text.contains('[') {
            return Err(TimeError);
        }
        text.parse::<jiff::Timestamp>().map(|t| Self::from_micros(t.as_microsecond())).map_err(|_| TimeError)
    }

    /// RFC 3339 in `zone`, with as many decimals as the moment has (none, milli- or microseconds).
    pub fn to_rfc3339(self, zone: &Zone) -> String {
        let at = self.in_zone(zone);
        let micros = self.0.rem_euclid(1_000_000);
        let format = if micros == 0 {
            "%Y-%m-%dT%H:%M:%S%:z"
        } else if micros % 1000 == 0 {
            "%Y-%m-%dT%H:%M:%S.%3f%:z"
        } else {
            "%Y-%m-%dT%H:%M:%S.%6f%:z"
        };
        at.strftime(format).to_string()
    }

    /// The calendar and the clock on the wall in `zone`.
    pub fn in_zone(self, zone: &Zone) -> jiff::Zoned {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or_default().to_zoned(zone.0.clone())
    }

    /// The calendar day in `zone`, as `2026-03-01`.
    pub fn day(self, zone: &Zone) -> jiff::civil::Date {
        self.in_zone(zone).date()
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339(&Zone::utc()))
    }
}

/// A time zone by its IANA name. Default: Asia/Shanghai.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(jiff::tz::TimeZone);

impl Zone {
    /// By IANA name (`Asia/Shanghai`), from the zone data built into the program.
    ///
    /// # Errors
    /// [`TimeError`] when there is no such zone.
    pub fn named(name: &str) -> Result<Self, TimeError> {
        jiff::tz::TimeZone::get(name).map(Self).map_err(|_| TimeError)
    }

    /// Coordinated universal time.
    pub const fn utc() -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }

    /// The IANA name, or `UTC`.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The moment at which a clock on the wall in this zone shows `wall`; of two such moments the first.
    pub fn moment(&self, wall: jiff::civil::DateTime) -> Timestamp {
        self.0.to_timestamp(wall).map_or(Timestamp::MIN, |t| Timestamp::from_micros(t.as_microsecond()))
    }

    /// Midnight at the start of `day`.
    pub fn start_of(&self, day: jiff::civil::Date) -> Timestamp {
        self.moment(day.at(0, 0, 0, 0))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::named("Asia/Shanghai").unwrap_or_else(|_| Self::utc())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_goes_in_and_out() {
        let zone = Zone::default();
        for text in ["2026-03-01T07:12:03.123+08:00", "2026-03-01T07:12:03+08:00"] {
            assert_eq!(Timestamp::parse_rfc3339(text).unwrap().to_rfc3339(&zone), text);
        }
        for bad in ["2026-02-30T07:00:00+08:00", "2026-03-01T07:00:00", "2026-03-01", "now", "2026-03-01 07:00:00Z"] {
            assert!(Timestamp::parse_rfc3339(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_wall_clock_has_a_zone() {
        let zone = Zone::default();
        let wall = jiff::civil::date(2026, 3, 2).at(8, 0, 0, 0);
        assert_eq!(zone.moment(wall).to_rfc3339(&Zone::utc()), "2026-03-02T00:00:00+00:00");
    }
}
