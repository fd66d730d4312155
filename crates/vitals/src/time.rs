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
        if let Some(plain) = plain_rfc3339(bytes) {
            return Ok(plain);
        }
        text.parse::<jiff::Timestamp>().map(|t| Self::from_micros(t.as_microsecond())).map_err(|_| TimeError)
    }

    /// RFC 3339 in `zone`, with as many decimals as the moment has (none, milli- or microseconds).
    pub fn to_rfc3339(self, zone: &Zone) -> String {
        let micros = self.0.rem_euclid(1_000_000);
        let at = jiff::Timestamp::from_microsecond(self.0).unwrap_or_default();
        let offset = zone.offset(at);
        let (wall, seconds) = (offset.to_datetime(at), offset.seconds());
        if seconds % 60 != 0 || !(0..=9999).contains(&wall.year()) {
            return self.rare_rfc3339(zone);
        }
        // Once for every receipt: by hand, because a format string is read anew each time.
        let mut out = String::with_capacity(32);
        digits(&mut out, i64::from(wall.year()), 4);
        let rest =
            [('-', wall.month()), ('-', wall.day()), ('T', wall.hour()), (':', wall.minute()), (':', wall.second())];
        for (before, n) in rest {
            out.push(before);
            digits(&mut out, i64::from(n), 2);
        }
        if micros != 0 {
            out.push('.');
            let (n, places) = if micros % 1000 == 0 { (micros / 1000, 3) } else { (micros, 6) };
            digits(&mut out, n, places);
        }
        out.push(if seconds < 0 { '-' } else { '+' });
        let minutes = i64::from(seconds.abs() / 60);
        digits(&mut out, minutes / 60, 2);
        out.push(':');
        digits(&mut out, minutes % 60, 2);
        out
    }

    /// Years and offsets that no clock of today shows.
    fn rare_rfc3339(self, zone: &Zone) -> String {
        let micros = self.0.rem_euclid(1_000_000);
        let format = if micros == 0 {
            "%Y-%m-%dT%H:%M:%S%:z"
        } else if micros % 1000 == 0 {
            "%Y-%m-%dT%H:%M:%S.%3f%:z"
        } else {
            "%Y-%m-%dT%H:%M:%S.%6f%:z"
        };
        self.in_zone(zone).strftime(format).to_string()
    }

    /// The calendar and the clock on the wall in `zone`.
    pub fn in_zone(self, zone: &Zone) -> jiff::Zoned {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or_default().to_zoned(zone.rules.clone())
    }

    /// The calendar day in `zone`, as `2026-03-01`.
    pub fn day(self, zone: &Zone) -> jiff::civil::Date {
        let at = jiff::Timestamp::from_microsecond(self.0).unwrap_or_default();
        zone.offset(at).to_datetime(at).date()
    }
}

impl Timestamp {
    /// The hour that a clock on the wall in `zone` shows, 0 to 23.
    pub fn hour(self, zone: &Zone) -> i8 {
        let at = jiff::Timestamp::from_microsecond(self.0).unwrap_or_default();
        zone.offset(at).to_datetime(at).hour()
    }
}

/// `n` with leading zeros.
fn digits(out: &mut String, n: i64, places: u32) {
    for place in (0..places).rev() {
        out.push(char::from_digit(u32::try_from(n / 10_i64.pow(place) % 10).unwrap_or(0), 10).unwrap_or('0'));
    }
}

/// `2026-03-01T07:10:02[.123456](Z|+08:00)`, the form that nearly every sender uses, ten times faster than the general
/// parser. None for every other form, and for what may be wrong: the general parser decides.
fn plain_rfc3339(text: &[u8]) -> Option<Timestamp> {
    let wall = plain_wall(text.get(..19)?)?;
    let mut rest = &text[19..];
    let mut micros = 0;
    if let [b'.', fraction @ ..] = rest {
        let places = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=6).contains(&places) {
            return None;
        }
        micros = number(&fraction[..places])? * [100_000, 10_000, 1_000, 100, 10, 1][places - 1];
        rest = &fraction[places..];
    }
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    let utc = jiff::tz::Offset::UTC.to_timestamp(wall).ok()?.as_microsecond();
    (1..9999).contains(&wall.year()).then(|| Timestamp::from_micros(utc + micros - offset * 1_000_000))
}

/// `2026-03-01T07:10:02`, exactly; none for every other form.
fn plain_wall(text: &[u8]) -> Option<jiff::civil::DateTime> {
    if text.len() != 19 || [text[4], text[7], text[10], text[13], text[16]] != *b"--T::" {
        return None;
    }
    let two = |at: usize| number(&text[at..at + 2]).and_then(|n| i8::try_from(n).ok());
    let year = i16::try_from(number(&text[..4])?).ok()?;
    jiff::civil::DateTime::new(year, two(5)?, two(8)?, two(11)?, two(14)?, two(17)?, 0).ok()
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339(&Zone::utc()))
    }
}

/// `day` and some days; itself where the calendar ends.
pub fn days_after(day: jiff::civil::Date, days: i64) -> jiff::civil::Date {
    // By way of seconds: a span is ten times slower, and the rules count days by the million.
    let utc = jiff::tz::Offset::UTC;
    let midnight = utc.to_timestamp(day.at(0, 0, 0, 0)).map(jiff::Timestamp::as_second);
    let moved = midnight.and_then(|at| jiff::Timestamp::from_second(at.saturating_add(days.saturating_mul(86_400))));
    moved.map_or(day, |at| utc.to_datetime(at).date())
}

/// A time zone by its IANA name. Default: Asia/Shanghai.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    rules: jiff::tz::TimeZone,
    steady: Option<Steady>,
}

/// Since when a zone's clocks have not been set any more, as in most of Asia: from there on no table need be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Steady {
    since: jiff::Timestamp,
    offset: jiff::tz::Offset,
}

impl Steady {
    fn of(rules: &jiff::tz::TimeZone) -> Option<Self> {
        let last = rules.preceding(jiff::Timestamp::MAX).next();
        let since = last.map_or(jiff::Timestamp::MIN, |transition| transition.timestamp());
        // A zone that changes every year does so up to the end of the calendar.
        let ended = since.as_second() < 4_102_444_800;
        ended.then(|| Self { since, offset: rules.to_offset(since) })
    }
}

impl Zone {
    /// By IANA name (`Asia/Shanghai`), from the zone data built into the program.
    ///
    /// # Errors
    /// [`TimeError`] when there is no such zone.
    pub fn named(name: &str) -> Result<Self, TimeError> {
        let rules = jiff::tz::TimeZone::get(name).map_err(|_| TimeError)?;
        Ok(Self { steady: Steady::of(&rules), rules })
    }

    /// Coordinated universal time.
    pub const fn utc() -> Self {
        let steady = Steady { since: jiff::Timestamp::MIN, offset: jiff::tz::Offset::UTC };
        Self { rules: jiff::tz::TimeZone::UTC, steady: Some(steady) }
    }

    /// The IANA name, or `UTC`.
    pub fn name(&self) -> &str {
        self.rules.iana_name().unwrap_or("UTC")
    }

    fn offset(&self, at: jiff::Timestamp) -> jiff::tz::Offset {
        self.steady.filter(|s| at >= s.since).map_or_else(|| self.rules.to_offset(at), |s| s.offset)
    }

    /// The moment at which a clock on the wall in this zone shows `wall`; of two such moments the first.
    pub fn moment(&self, wall: jiff::civil::DateTime) -> Timestamp {
        // No clock is set back by more than a day: what lies a day behind the last change lies behind it.
        let plain = self.steady.and_then(|s| {
            let at = s.offset.to_timestamp(wall).ok()?;
            (at.as_second() - 86_400 >= s.since.as_second()).then_some(at)
        });
        let at = plain.or_else(|| self.rules.to_timestamp(wall).ok());
        at.map_or(Timestamp::MIN, |t| Timestamp::from_micros(t.as_microsecond()))
    }

    /// What a clock on the wall shows, from `2026-03-01T07:10:02`; none for any other form.
    pub fn plain_wall(text: &str) -> Option<jiff::civil::DateTime> {
        plain_wall(text.as_bytes())
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
    use jiff::ToSpan;

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
    fn the_short_ways_say_what_the_long_ways_say() {
        let zones = ["Asia/Shanghai", "America/St_Johns", "Europe/Berlin", "UTC", "Asia/Kathmandu", "Asia/Pyongyang"]
            .map(|n| Zone::named(n).unwrap());
        let mut micros = -60_000_000_000_000_000_i64;
        while micros < 250_000_000_000_000_000 {
            micros += 1_234_567_891_234_560 + micros.rem_euclid(999_983) * 1000;
            for (zone, cut) in zones.iter().flat_map(|z| [(z, 1), (z, 1000), (z, 1_000_000)]) {
                let at = Timestamp::from_micros(micros - micros.rem_euclid(cut));
                let text = at.to_rfc3339(zone);
                assert_eq!(text, at.rare_rfc3339(zone));
                let zoned = at.in_zone(zone);
                assert_eq!((at.day(zone), at.hour(zone)), (zoned.date(), zoned.hour()));
                assert_eq!(
                    zone.moment(zoned.datetime()).0,
                    zone.rules.to_timestamp(zoned.datetime()).unwrap().as_microsecond()
                );
                for days in [-400, -1, 0, 1, 40] {
                    assert_eq!(days_after(zoned.date(), days), zoned.date().saturating_add(days.days()));
                }
                if let Some(plain) = plain_rfc3339(text.as_bytes()) {
                    assert_eq!(plain, at, "{text}");
                    assert_eq!(text.parse::<jiff::Timestamp>().unwrap().as_microsecond(), at.0);
                }
            }
        }
        for odd in [
            "2026-02-29T07:00:00Z",
            "2026-03-01T07:00:60Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T07:00:00+24:00",
            "2026-03-01T07:00:00.1234567Z",
        ] {
            assert_eq!(plain_rfc3339(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn the_wall_clock_has_a_zone() {
        let zone = Zone::default();
        let wall = jiff::civil::date(2026, 3, 2).at(8, 0, 0, 0);
        assert_eq!(zone.moment(wall).to_rfc3339(&Zone::utc()), "2026-03-02T00:00:00+00:00");
    }
}
