//! A patient's days as they are written down between starts.
//!
//! Goes in: [`Days`] and the numbers that they rest on. Comes out: bytes; of bytes that say the same of the same numbers and
//! zone the days again, of any others nothing. Must never: fail: what cannot be read is summed from the readings.

use crate::{
    days::{Days, FaultDay, GlucoseDay, PressureDay, SensorDay, Terms},
    sums::Sums,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use vitals::{Timestamp, Zone};

/// Raised whenever the same readings come to other sums, or a day's fields change: what was written before is not read.
const VERSION: u8 = 1;

/// What is written down of a patient's days, as far as memory knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Row {
    /// Nobody has looked since the start.
    #[default]
    Unread,
    /// Nothing.
    Missing,
    /// What is known up to this midnight, and right.
    Right(Timestamp),
    /// Something that is not right any more, or may not be.
    Wrong,
}

impl Row {
    /// What is written rests on other readings or other numbers from now on.
    pub(crate) fn spoil(&mut self) {
        if *self != Self::Missing {
            *self = Self::Wrong;
        }
    }

    /// Whether what is written must go; asked once.
    pub(crate) fn must_go(&mut self) -> bool {
        let wrong = *self == Self::Wrong;
        if wrong {
            *self = Self::Missing;
        }
        wrong
    }
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    zone: Cow<'a, str>,
    terms: Terms,
    /// Microseconds since 1970 of the midnights between which the days are complete.
    from: i64,
    to: i64,
    pressures: Cow<'a, [PressureDay]>,
    glucoses: Cow<'a, [GlucoseDay]>,
    sensors: Cow<'a, [SensorDay]>,
    faults: Cow<'a, [FaultDay]>,
}

/// Days as bytes; none where they cannot be written, which costs time at the next start and nothing else.
pub(crate) fn encode(days: &Days, terms: &Terms, zone: &Zone) -> Option<Vec<u8>> {
    let (sums, (from, to)) = (days.sums(), days.span());
    let body = Body {
        zone: zone.name().into(),
        terms: *terms,
        from: from.as_micros(),
        to: to.as_micros(),
        pressures: (&*sums.pressures).into(),
        glucoses: (&*sums.glucoses).into(),
        sensors: (&*sums.sensors).into(),
        faults: (&*sums.faults).into(),
    };
    postcard::to_extend(&body, vec![VERSION]).ok()
}

/// The days that `bytes` say; none where they rest on other numbers or another zone, or cannot be read.
pub(crate) fn decode(bytes: &[u8], terms: &Terms, zone: &Zone) -> Option<(Sums, (Timestamp, Timestamp))> {
    let (VERSION, rest) = bytes.split_first().map(|(version, rest)| (*version, rest))? else { return None };
    let body: Body<'_> = postcard::from_bytes(rest).ok()?;
    if *body.zone != *zone.name() || body.terms != *terms {
        return None;
    }
    let sums = Sums {
        pressures: body.pressures.into_owned(),
        glucoses: body.glucoses.into_owned(),
        sensors: body.sensors.into_owned(),
        faults: body.faults.into_owned(),
    };
    Some((sums, (Timestamp::from_micros(body.from), Timestamp::from_micros(body.to))))
}

/// A day as a number: year, month and day.
pub(crate) mod date {
    use jiff::civil::Date;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
    pub(crate) fn serialize<S: Serializer>(date: &Date, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i32((i32::from(date.year()) * 16 + i32::from(date.month())) * 32 + i32::from(date.day()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Date, D::Error> {
        let (rest, day) = apart(i32::deserialize(from)?, 32);
        let (year, month) = apart(rest, 16);
        let parts = i16::try_from(year).ok().zip(i8::try_from(month).ok()).zip(i8::try_from(day).ok());
        let date = parts.and_then(|((year, month), day)| Date::new(year, month, day).ok());
        date.ok_or_else(|| D::Error::custom("a day beyond the calendar"))
    }

    const fn apart(n: i32, by: i32) -> (i32, i32) {
        (n.div_euclid(by), n.rem_euclid(by))
    }
}
