//! From decoded frames to readings: units, the meter's words, its clock.

use super::{
    blood_pressure::{self, Enhanced, PulseRange},
    cgm, context,
    datetime::Shown,
    glucose,
    sfloat::Sfloat,
};
use crate::{
    reading_v1::{Item, SentTime},
    topic::Characteristic,
};
use bytes::Bytes;
use jiff::{SignedDuration, civil::DateTime};
use std::fmt::Write;
use vitals::{Context, Decimal, DeviceTime, GlucoseValue, Meal, MealName, Reason, Status, Unit, Values};

/// The user index that means nobody.
const UNKNOWN_USER: u8 = 0xFF;
/// An offset between the clocks that the meter could not count any more, either way.
const OVERRUN: [i16; 2] = [i16::MAX, i16::MIN];
/// The reserved meal code with which a family of meters marks ketone records.
const KETONE: u8 = 6;

/// What a 2A34 adds to the reading with its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Of its 2A18.
    pub seq: i64,
    /// Relation to meals.
    pub meal: Option<Meal>,
    /// Which meal.
    pub meal_name: Option<MealName>,
    /// The meter says by a reserved code that the reading is no glucose at all.
    pub not_glucose: bool,
    /// Its octets, in hexadecimal.
    pub hex: Box<str>,
}

impl Joining {
    pub(super) fn of(context: &context::Context, octets: &[u8]) -> Self {
        let meal = context.meal.and_then(|code| match code {
            1 => Some(Meal::BeforeMeal),
            2 => Some(Meal::AfterMeal),
            3 => Some(Meal::Fasting),
            4 => Some(Meal::Casual),
            5 => Some(Meal::Bedtime),
            _ => None,
        });
        let meal_name = context.carbohydrate.and_then(|(code, _)| match code {
            1 => Some(MealName::Breakfast),
            2 => Some(MealName::Lunch),
            3 | 6 => Some(MealName::Dinner),
            4 => Some(MealName::Snack),
            _ => None,
        });
        let not_glucose = context.meal == Some(KETONE);
        Self { seq: i64::from(context.sequence), meal, meal_name, not_glucose, hex: hex(octets) }
    }
}

impl Joining {
    /// Says more of a reading. What is known already stays.
    pub fn join(&self, context: &mut Context) {
        context.meal = context.meal.or(self.meal);
        context.meal_name = context.meal_name.or(self.meal_name);
        let frame = format!(r#"{MARK}{}"}}"#, self.hex);
        context.extra = Some(match context.extra.as_deref() {
            Some(own) => format!("{},{frame}}}", &own[..own.len().saturating_sub(1)]).into(),
            None => format!("{{{frame}}}").into(),
        });
    }

    /// Whether a reading has been joined with a 2A34 already: with this one, or with another.
    pub fn known(&self, context: &Context) -> Known {
        let joined = context.extra.as_deref().and_then(|e| e.split_once(MARK)).map(|(_, rest)| rest);
        match joined {
            None => Known::Nothing,
            Some(rest) if rest.strip_prefix(&*self.hex).is_some_and(|r| r.starts_with('"')) => Known::This,
            Some(_) => Known::Another,
        }
    }
}

/// What a reading was joined with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// With no 2A34.
    Nothing,
    /// With the same octets.
    This,
    /// With other octets.
    Another,
}

/// How a joined frame stands in a reading's own words.
const MARK: &str = r#""context":{"char":"2a34","hex":""#;

fn hex(octets: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * octets.len());
    octets.iter().for_each(|o| _ = write!(text, "{o:02x}"));
    text.into()
}

/// An item with the frame's octets beside it, so that a wrong decode can be repaired.
fn item(characteristic: Characteristic, octets: Bytes, trailing: usize) -> Item {
    let mut item = Item::default();
    item.context.extra =
        Some(format!(r#"{{"raw":{{"char":"{}","hex":"{}"}}}}"#, characteristic.as_str(), hex(&octets)).into());
    item.raw = octets;
    if trailing > 0 {
        item.faults.push(Reason::TrailingBytes);
    }
    item
}

fn set_time(item: &mut Item, shown: Shown) {
    match shown {
        Shown::Wall(wall) => item.time = Some((DeviceTime(wall.to_string().into()), SentTime::Wall(wall))),
        Shown::Unset => {}
        Shown::Impossible => item.faults.push(Reason::TimeInvalid),
    }
}

pub(super) fn pressure(m: &blood_pressure::Measurement, from: Characteristic, octets: &Bytes) -> Item {
    let mut item = item(from, octets.clone(), m.trailing);
    if let Some(stamp) = m.stamp {
        set_time(&mut item, stamp.shown());
    }
    item.user_slot = m.user.filter(|u| *u != UNKNOWN_USER);
    if let Some(word) = m.status {
        let words = [
            (word.body_movement(), Status::BodyMovement),
            (word.cuff_loose(), Status::CuffLoose),
            (word.irregular_pulse(), Status::IrregularPulse),
            (word.pulse_range() == PulseRange::Above, Status::PulseTooHigh),
            (word.pulse_range() == PulseRange::Below, Status::PulseTooLow),
            (word.improper_position(), Status::ImproperPosition),
        ];
        item.statuses = words.into_iter().filter(|(set, _)| *set).map(|(_, s)| s).collect();
    }
    let unit = if m.kilopascal { Unit::KPa } else { Unit::MmHg };
    match (m.systolic.decimal(0), m.diastolic.decimal(0)) {
        (Some(systolic), Some(diastolic)) => {
            let (map, pulse) = (m.mean.decimal(0), m.pulse.and_then(|p| p.decimal(0)));
            item.measured = Some((Values::Pressure { systolic, diastolic, map, pulse }, unit));
        }
        _ => item.faults.push(Reason::NoValue),
    }
    item
}

pub(super) fn enhanced(m: &Enhanced, octets: &Bytes) -> Item {
    let mut item = pressure(&m.measurement, Characteristic::EnhancedBloodPressure2b34, octets);
    if let Some(seconds) = m.shown_seconds.or(m.seconds) {
        let epoch = jiff::civil::date(m.epoch, 1, 1).at(0, 0, 0, 0);
        let wall = epoch.checked_add(SignedDuration::from_secs(i64::from(seconds)));
        set_time(&mut item, wall.map_or(Shown::Impossible, Shown::Wall));
    }
    item
}

pub(super) fn glucose(m: &glucose::Measurement, octets: &Bytes) -> Item {
    let mut item = item(Characteristic::Glucose2a18, octets.clone(), m.trailing);
    item.seq = Some(i64::from(m.sequence));
    set_time(&mut item, shown_time(m));
    let word = m.status.unwrap_or(glucose::Word(0));
    let words = [
        (0, Status::LowBattery),
        (1, Status::SensorMalfunction),
        (2, Status::SampleInsufficient),
        (3, Status::StripError),
        (4, Status::StripError),
        (7, Status::TemperatureHigh),
        (8, Status::TemperatureLow),
        (9, Status::ReadInterrupted),
        (10, Status::GeneralFault),
        (11, Status::TimeFault),
    ];
    item.statuses = words.into_iter().filter(|(bit, _)| word.bit(*bit)).map(|(_, s)| s).collect();
    let mut number = None;
    if let Some(sample) = m.sample {
        if sample.is_control_solution() {
            item.statuses.insert(Status::ControlSolution);
        }
        item.context.specimen = specimen(sample.fluid).map(Into::into);
        // 1 kg/L is 10^5 mg/dL, 1 mol/L is 10^3 mmol/L: the digits stay, only the point moves.
        number = value(sample.concentration, if m.mole { 3 } else { 5 });
    }
    let value = match (word.too_high(), word.too_low()) {
        (true, false) => Some(GlucoseValue::High),
        (false, true) => Some(GlucoseValue::Low),
        (false, false) => number,
        // Above and below at once is no result.
        (true, true) => None,
    };
    match value {
        Some(value) => {
            let unit = if m.mole { Unit::MmolPerL } else { Unit::MgPerDl };
            item.measured = Some((Values::Glucose(value), unit));
        }
        None => item.faults.push(Reason::NoValue),
    }
    item
}

/// Beyond the range is `HI` or `LO`; no number is no value.
fn value(number: Sfloat, places: i8) -> Option<GlucoseValue> {
    match number {
        Sfloat::PlusInfinity => Some(GlucoseValue::High),
        Sfloat::MinusInfinity => Some(GlucoseValue::Low),
        other => other.decimal(places).map(GlucoseValue::Value),
    }
}

/// The clock that the person sees.
fn shown_time(m: &glucose::Measurement) -> Shown {
    let minutes = m.offset.unwrap_or(0);
    match m.base.shown() {
        Shown::Wall(_) if OVERRUN.contains(&minutes) => Shown::Unset,
        Shown::Wall(base) => base
            .checked_add(SignedDuration::from_mins(i64::from(minutes)))
            .map_or(Shown::Impossible, |wall: DateTime| Shown::Wall(wall)),
        other => other,
    }
}

const fn specimen(fluid: u8) -> Option<&'static str> {
    match fluid {
        1 | 2 => Some("capillary"),
        3 | 4 => Some("venous"),
        5 | 6 => Some("arterial"),
        7 | 8 => Some("undetermined"),
        9 => Some("interstitial"),
        _ => None,
    }
}

/// Records have no time of their own: the session's start is told elsewhere.
pub(super) fn continuous(records: &[cgm::Record], octets: &Bytes) -> Vec<Item> {
    let of = |r: &cgm::Record| {
        let mut item = item(Characteristic::Cgm2aa7, octets.slice(r.place.clone()), 0);
        if r.crc.is_some_and(|(sent, computed)| sent != computed) {
            item.faults.push(Reason::BrokenMessage);
        }
        let (status, calibration) = (r.status.unwrap_or(0), r.calibration.unwrap_or(0));
        let words = [
            (status & 2 != 0, Status::LowBattery),
            (status & 0b1100 != 0, Status::SensorMalfunction),
            (status & 32 != 0, Status::GeneralFault),
            (calibration & 16 != 0, Status::TemperatureHigh),
            (calibration & 32 != 0, Status::TemperatureLow),
        ];
        item.statuses = words.into_iter().filter(|(set, _)| *set).map(|(_, s)| s).collect();
        item.context.specimen = Some("interstitial".into());
        match value(r.glucose, 0) {
            Some(value) => item.measured = Some((Values::Glucose(value), Unit::MgPerDl)),
            None => item.faults.push(Reason::NoValue),
        }
        item
    };
    records.iter().map(of).collect()
}

/// Whether a message's own members can be the frame that came beside them. What the members leave out is no
/// difference; what they say beyond the frame is.
pub fn compare(said: &(Values, Unit), framed: &(Values, Unit)) -> bool {
    let ((said, unit), (framed, framed_unit)) = (said, framed);
    let same = |a: Decimal, b: Decimal| {
        if unit == framed_unit {
            return a.normalized() == b.normalized();
        }
        // Converted by the sender: as far apart as one digit of the unit that was written.
        let digit = match unit {
            Unit::MmHg => 0.5,
            Unit::KPa => 0.05 * 7.500_62,
            Unit::MmolPerL => 0.05,
            Unit::MgPerDl => 0.5 / 18.0,
        };
        (unit.canonical(a.value()) - framed_unit.canonical(b.value())).abs() <= digit * 1.02
    };
    let optional = |a: Option<Decimal>, b: Option<Decimal>, same: &dyn Fn(Decimal, Decimal) -> bool| match (a, b) {
        (None, _) => true,
        (Some(a), Some(b)) => same(a, b),
        (Some(_), None) => false,
    };
    match (said, framed) {
        (
            Values::Pressure { systolic: s, diastolic: d, map, pulse },
            Values::Pressure { systolic: fs, diastolic: fd, map: fmap, pulse: fpulse },
        ) => {
            let beats = |a: Decimal, b: Decimal| a.normalized() == b.normalized();
            same(*s, *fs) && same(*d, *fd) && optional(*map, *fmap, &same) && optional(*pulse, *fpulse, &beats)
        }
        (Values::Glucose(GlucoseValue::Value(a)), Values::Glucose(GlucoseValue::Value(b))) => same(*a, *b),
        (Values::Glucose(a), Values::Glucose(b)) => a == b,
        _ => false,
    }
}
