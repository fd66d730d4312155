//! A reading as it lies in `series`: what its key says is not said again, and what nearly every reading has in common
//! takes one bit. About a third of what the journal needs for the same reading.
//!
//! Goes in: a reading. Comes out: bytes; and, with the key under which they lie, exactly the same reading.
//! Must never: lose a digit or a letter of what was sent.

use super::row::{self, FORMAT, PACKED};
use crate::StoreError;
use jiff::{
    civil::{Date, Time},
    tz::Offset,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use vitals::{
    Context, DeviceKey, DeviceTime, Disposition, Meal, MealName, PatientId, Reading, ReadingId, Statuses, TimeQuality,
    Timestamp, Unit, Values, Zone,
};

/// The step from version 3 of the file to version 4: the tables stay, but an older program cannot read what is new in
/// them. Older bodies stay as they are.
pub(super) const SCHEMA: &str = "";

/// The body of a reading in the file.
#[derive(Serialize, Deserialize)]
struct Packed {
    /// By [`Bits`].
    bits: u32,
    device: [u8; 8],
    seq: i64,
    epoch: u32,
    /// Microseconds from the measurement to its receipt.
    delay: i64,
    /// Seconds from the measurement, in the zone that was sent, to what the device's clock showed.
    clock: i64,
    /// Quarters of an hour east of Greenwich.
    east: i8,
    values: Values,
    rest: Option<Box<Rest>>,
}

/// What few readings have.
#[derive(Serialize, Deserialize, Default)]
struct Rest {
    user_slot: Option<u8>,
    statuses: Statuses,
    flags: Vec<Box<str>>,
    historical: bool,
    /// Without meals, which have bits of their own.
    context: Context,
    /// As sent, where it is not the common form.
    device_time: Option<Box<str>>,
}

/// How the device told its time; all but the first with or without a fraction of the second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Not at all, or in a form that is kept as sent.
    Otherwise = 0,
    /// `2026-03-01T07:12:09`.
    Plain = 1,
    /// The same with `+08:00`.
    Offset = 2,
    /// The same with `Z`.
    Utc = 3,
}

/// Small numbers, each with its width in bits, lowest first.
struct Bits(u32, u32);

impl Bits {
    fn put(&mut self, value: usize, width: u32) {
        self.0 |= u32::try_from(value).unwrap_or(0) << self.1;
        self.1 += width;
    }

    fn take(&mut self, width: u32) -> usize {
        let value = self.0 & ((1 << width) - 1);
        self.0 >>= width;
        value as usize
    }
}

const QUALITIES: [TimeQuality; 4] =
    [TimeQuality::Exact, TimeQuality::Corrected, TimeQuality::Assumed, TimeQuality::Received];
const DISPOSITIONS: [Disposition; 3] = [Disposition::Stored, Disposition::Flagged, Disposition::Excluded];
const UNITS: [Unit; 4] = [Unit::MmHg, Unit::KPa, Unit::MmolPerL, Unit::MgPerDl];
const TOLD: [Told; 4] = [Told::Otherwise, Told::Plain, Told::Offset, Told::Utc];

fn place<T: PartialEq>(all: &[T], value: &T) -> usize {
    all.iter().position(|v| v == value).unwrap_or(0)
}

/// An ordinary reading's body needs no room of its own.
pub(super) type Body = SmallVec<[u8; 36]>;

pub(super) fn encode(r: &Reading) -> Result<Body, StoreError> {
    let measured = r.measured_at.as_micros();
    let common = r.device_time.as_ref().and_then(|text| clock(&text.0, measured));
    let (told, wall, east, digits) = common.unwrap_or((Told::Otherwise, 0, 0, 0));
    let rest = has_rest(r, common.is_some()).then(|| {
        Box::new(Rest {
            user_slot: r.user_slot,
            statuses: r.statuses,
            flags: r.flags.clone(),
            historical: r.historical,
            context: Context { meal: None, meal_name: None, ..r.context.clone() },
            device_time: if common.is_some() { None } else { r.device_time.as_ref().map(|t| t.0.clone()) },
        })
    });
    let mut bits = Bits(0, 0);
    bits.put(place(&QUALITIES, &r.time_quality), 2);
    bits.put(place(&DISPOSITIONS, &r.disposition), 2);
    bits.put(place(&UNITS, &r.unit), 2);
    bits.put(told as usize, 2);
    bits.put(r.context.meal.map_or(0, |m| place(Meal::ALL, &m) + 1), 3);
    bits.put(r.context.meal_name.map_or(0, |m| place(MealName::ALL, &m) + 1), 3);
    bits.put(digits, 3);
    let packed = Packed {
        bits: bits.0,
        device: r.device.as_i64().to_le_bytes(),
        seq: r.seq,
        epoch: r.epoch,
        delay: r.received_at.as_micros().wrapping_sub(measured),
        clock: if told == Told::Otherwise { 0 } else { wall - shown(measured, east) },
        east,
        values: r.values.clone(),
        rest,
    };
    row::written(&packed, |bytes| {
        let mut body = Body::with_capacity(1 + bytes.len());
        body.push(PACKED);
        body.extend_from_slice(bytes);
        body
    })
}

/// Whether a reading has anything of a [`Rest`]. Nearly none has, so nothing is copied to find out.
fn has_rest(r: &Reading, common_time: bool) -> bool {
    let Context { meal: _, meal_name: _, specimen, symptoms, medication_taken, note, extra } = &r.context;
    let said = specimen.is_some() || !symptoms.is_empty() || medication_taken.is_some() || note.is_some();
    let flagged = r.user_slot.is_some() || r.statuses != Statuses::default() || !r.flags.is_empty() || r.historical;
    said || flagged || extra.is_some() || (!common_time && r.device_time.is_some())
}

/// A reading from the columns `owner, measured, id, b` of `series`, the first of which is the `at`-th of the row.
pub(super) fn reading(r: &rusqlite::Row<'_>, at: usize) -> Result<Reading, StoreError> {
    let number = |i: usize| r.get::<_, i64>(at + i).map_err(super::tables::fault);
    let body = r.get_ref(at + 3).map_err(super::tables::fault)?.as_blob().unwrap_or_default();
    match body.first() {
        Some(&FORMAT) => row::decode(body),
        _ => decode(number(0)?, number(1)?, number(2)?, body),
    }
}

/// The reading with this body and what its key says.
pub(super) fn decode(owner: i64, measured: i64, id: i64, body: &[u8]) -> Result<Reading, StoreError> {
    let packed: Packed = row::decode_as(PACKED, body)?;
    let mut bits = Bits(packed.bits, 0);
    let time_quality = QUALITIES[bits.take(2)];
    let disposition = DISPOSITIONS.get(bits.take(2)).copied().unwrap_or(Disposition::Excluded);
    let unit = UNITS[bits.take(2)];
    let told = TOLD[bits.take(2)];
    let meal = bits.take(3).checked_sub(1).and_then(|i| Meal::ALL.get(i)).copied();
    let meal_name = bits.take(3).checked_sub(1).and_then(|i| MealName::ALL.get(i)).copied();
    let digits = bits.take(3).min(DIGITS);
    let rest = packed.rest.map(|rest| *rest).unwrap_or_default();
    let device_time = match told {
        Told::Otherwise => rest.device_time,
        _ => Some(text(told, packed.clock + shown(measured, packed.east), (measured, digits), packed.east)),
    };
    Ok(Reading {
        id: ReadingId::from_i64(id),
        device: DeviceKey::from_i64(i64::from_le_bytes(packed.device)),
        epoch: packed.epoch,
        seq: packed.seq,
        user_slot: rest.user_slot,
        patient: (owner >= 0).then(|| PatientId::from_i64(owner)),
        measured_at: Timestamp::from_micros(measured),
        received_at: Timestamp::from_micros(measured.wrapping_add(packed.delay)),
        device_time: device_time.map(DeviceTime),
        time_quality,
        disposition,
        values: packed.values,
        unit,
        statuses: rest.statuses,
        flags: rest.flags,
        historical: rest.historical,
        context: Context { meal, meal_name, ..rest.context },
    })
}

/// What a clock so far east shows at this moment, as seconds since 1970 there.
fn shown(measured: i64, east: i8) -> i64 {
    measured.div_euclid(1_000_000) + i64::from(east) * 900
}

/// Digits of a fraction that says no more than a moment does.
const DIGITS: usize = 6;

/// The first `digits` digits of the fraction of the second in which it was measured. Since version 11 of the file: phones and
/// gateways tell milliseconds, and those are the measurement's own where the clock was right.
fn fraction(measured: i64, digits: usize) -> i64 {
    (digits..DIGITS).fold(measured.rem_euclid(1_000_000), |left, _| left / 10)
}

/// Form, what the clock showed, its zone and digits of its fraction, when the text is exactly of a form that [`text`] writes.
fn clock(text: &str, measured: i64) -> Option<(Told, i64, i8, usize)> {
    // For every reading that is merged: read byte by byte, for that is what takes the least time.
    let (wall, rest) = text.as_bytes().split_first_chunk::<19>()?;
    if [wall[4], wall[7], wall[10], wall[13], wall[16]] != *b"--T::" {
        return None;
    }
    let two = |at: usize| {
        let (tens, ones) = (wall[at].wrapping_sub(b'0'), wall[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then_some((tens * 10 + ones).cast_signed())
    };
    let time = Time::new(two(11)?, two(14)?, two(17)?, 0).ok()?;
    let day = Date::new(i16::from(two(0)?) * 100 + i16::from(two(2)?), two(5)?, two(8)?).ok()?;
    // The last day of the year 9999 is no moment, and cannot be written again.
    let seconds = Offset::UTC.to_timestamp(day.to_datetime(time)).ok()?.as_second();
    let (digits, zone) = told_fraction(rest, measured)?;
    match zone {
        b"" => Some((Told::Plain, seconds, 0, digits)),
        b"Z" => Some((Told::Utc, seconds, 0, digits)),
        [sign @ (b'+' | b'-'), h1 @ b'0'..=b'9', h0 @ b'0'..=b'9', b':', m1 @ b'0'..=b'5', m0 @ b'0'..=b'9'] => {
            let minutes = (i32::from(h1 - b'0') * 10 + i32::from(h0 - b'0')) * 60
                + i32::from(m1 - b'0') * 10
                + i32::from(m0 - b'0');
            // `-00:00` says something else than `+00:00`, and some clocks know odd minutes: both are kept as sent.
            if minutes % 15 != 0 || minutes > 18 * 60 || (*sign == b'-' && minutes == 0) {
                return None;
            }
            let quarters = i8::try_from(minutes / 15).ok()?;
            Some((Told::Offset, seconds, if *sign == b'-' { -quarters } else { quarters }, digits))
        }
        _ => None,
    }
}

/// How many digits of a fraction there are, and what comes after them; none when it is not that of the measurement.
fn told_fraction(text: &[u8], measured: i64) -> Option<(usize, &[u8])> {
    let Some(after) = text.strip_prefix(b".") else { return Some((0, text)) };
    let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
    let (told, zone) = after.split_at(digits);
    let value = told.iter().take(DIGITS).fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    ((1..=DIGITS).contains(&digits) && value == fraction(measured, digits)).then_some((digits, zone))
}

/// `2026-03-01T07:12:09`, of seconds since 1970.
fn plain(wall: i64) -> String {
    let at = Timestamp::from_seconds(wall);
    if at.as_micros() == wall.saturating_mul(1_000_000) {
        let mut text = at.to_rfc3339(&Zone::utc());
        text.truncate(19);
        return text;
    }
    // A clock may show the year 0000, which is no moment.
    let d = Offset::UTC.to_datetime(jiff::Timestamp::from_second(wall).unwrap_or_default());
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", d.year(), d.month(), d.day(), d.hour(), d.minute(), d.second())
}

fn text(told: Told, wall: i64, (measured, digits): (i64, usize), east: i8) -> Box<str> {
    let mut text = plain(wall);
    if digits > 0 {
        text.push_str(&format!(".{:0digits$}", fraction(measured, digits)));
    }
    match told {
        Told::Utc => text.push('Z'),
        Told::Offset => {
            let (sign, quarters) = if east < 0 { ('-', east.unsigned_abs()) } else { ('+', east.unsigned_abs()) };
            text.push_str(&format!("{sign}{:02}:{:02}", quarters / 4, quarters % 4 * 15));
        }
        Told::Plain | Told::Otherwise => {}
    }
    text.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vitals::{Decimal, GlucoseValue, Status};

    fn ordinary(values: Values, unit: Unit, device_time: Option<&str>) -> Reading {
        Reading {
            id: ReadingId::new(20_000_000),
            device: DeviceKey::new(u64::MAX),
            epoch: 0,
            seq: 4711,
            user_slot: None,
            patient: Some(PatientId::new(u64::MAX)),
            measured_at: Timestamp::from_seconds(1_772_320_300),
            received_at: Timestamp::from_micros(1_772_320_323_123_456),
            device_time: device_time.map(|t| DeviceTime(t.into())),
            time_quality: TimeQuality::Exact,
            disposition: Disposition::Stored,
            values,
            unit,
            statuses: Statuses::default(),
            flags: vec![],
            historical: false,
            context: Context::default(),
        }
    }

    fn pressure() -> Values {
        Values::Pressure {
            systolic: Decimal::new(138, 0),
            diastolic: Decimal::new(88, 0),
            map: None,
            pulse: Some(Decimal::new(62, 0)),
        }
    }

    fn back(r: &Reading) -> (Reading, usize) {
        let body = encode(r).unwrap();
        let owner = row::owner(r.patient, r.device);
        (decode(owner, r.measured_at.as_micros(), r.id.as_i64(), &body).unwrap(), body.len())
    }

    #[test]
    fn an_ordinary_reading_takes_little_room() {
        let (again, size) = back(&ordinary(pressure(), Unit::MmHg, Some("2026-03-01T07:11:40+08:00")));
        assert_eq!(again, ordinary(pressure(), Unit::MmHg, Some("2026-03-01T07:11:40+08:00")));
        assert!(size <= 34, "{size}");
    }

    #[test]
    fn the_fraction_of_a_right_clock_takes_no_room() {
        let mut r = ordinary(pressure(), Unit::MmHg, None);
        r.measured_at = Timestamp::from_micros(1_772_320_300_049_900);
        for (text, small) in [
            ("2026-03-01T07:11:40.0+08:00", true),
            ("2026-03-01T07:11:40.049+08:00", true),
            ("2026-03-01T07:11:40.0499+08:00", true),
            ("2026-02-28T23:11:40.049900Z", true),
            ("2026-03-01T07:09:33.049", true),
            ("2026-03-01T07:11:40.050+08:00", false),
            ("2026-03-01T07:11:40.0499000+08:00", false),
            ("2026-03-01T07:11:40.+08:00", false),
            ("2026-03-01T07:11:40.04９+08:00", false),
        ] {
            r.device_time = Some(DeviceTime(text.into()));
            let (again, size) = back(&r);
            assert_eq!((&again, size <= 36), (&r, small), "{text} {size}");
        }
        let before_1970 = Timestamp::from_micros(-1);
        let r =
            Reading { measured_at: before_1970, device_time: Some(DeviceTime("1969-12-31T23:59:59.999Z".into())), ..r };
        assert_eq!(back(&r).0, r);
    }

    #[test]
    fn every_way_to_write_a_time_comes_back_as_it_was_sent() {
        for text in [
            "2026-03-01T07:11:40",
            "2026-03-01T07:11:40Z",
            "2026-03-01T07:11:40z",
            "2026-03-01t07:11:40Z",
            "2026-03-01T07:11:40-00:00",
            "2026-03-01T07:11:40+00:00",
            "2026-03-01T07:11:40+05:45",
            "2026-03-01T07:11:40-09:30",
            "2026-03-01T07:11:40+08:07",
            "2026-03-01T07:11:40.5+08:00",
            "2026-03-01T07:11:60+08:00",
            "2026-02-30T07:11:40+08:00",
            "0000-01-01T00:00:00",
            "9999-12-31T23:59:59-18:00",
            "2000-01-01T00:00:00",
            "",
            "七点",
        ] {
            let r = ordinary(pressure(), Unit::MmHg, Some(text));
            assert_eq!(back(&r).0, r, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_reading_comes_back(
            (owned, seq, epoch, slot, measured, delay) in
                (any::<bool>(), any::<i64>(), any::<u32>(), any::<Option<u8>>(), -4_000_000_000_000_000_i64..4_000_000_000_000_000, -1_000_000_000_000_i64..1_000_000_000_000),
            (quality, disposition, unit, status, meal, name) in (0..4_usize, 0..3_usize, 0..4_usize, 0..17_usize, 0..7_usize, 0..5_usize),
            (mantissa, exponent, extra) in (any::<i64>(), any::<i16>(), any::<u8>()),
            time in proptest::option::of("[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,7})?(Z|[+-][01][0-9]:(00|15|30|45|07))?|.{0,12}"),
        ) {
            let number = Decimal::new(mantissa, exponent);
            let values = match extra % 4 {
                0 => Values::Glucose(GlucoseValue::High),
                1 => Values::Glucose(GlucoseValue::Value(number)),
                2 => Values::Pressure { systolic: number, diastolic: number, map: Some(number), pulse: None },
                _ => pressure(),
            };
            let mut r = ordinary(values, UNITS[unit], time.as_deref());
            if !owned { r.patient = None; }
            r.seq = seq;
            r.epoch = epoch;
            r.user_slot = slot;
            r.measured_at = Timestamp::from_micros(measured);
            r.received_at = Timestamp::from_micros(measured + delay);
            r.time_quality = QUALITIES[quality];
            r.disposition = DISPOSITIONS[disposition];
            if let Some(status) = Status::ALL.get(status) { r.statuses.insert(*status); }
            r.context.meal = Meal::ALL.get(meal).copied();
            r.context.meal_name = MealName::ALL.get(name).copied();
            if extra & 4 != 0 { r.flags.push("zone_suspect".into()); }
            if extra & 8 != 0 { r.context.note = Some("饭后".into()); }
            r.historical = extra & 16 != 0;
            prop_assert_eq!(back(&r).0, r);
        }
    }
}
