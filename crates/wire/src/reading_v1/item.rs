//! One reading's members. Nothing here recurses: values that nobody knows are carried as text.

use super::{Item, SentTime};
use crate::{
    gatt::{self, Frame},
    json::{is_null, number, object, open_members, text},
    topic::Characteristic,
};
use bytes::Bytes;
use serde_json::value::RawValue;
use vitals::{Context, Decimal, DeviceTime, GlucoseValue, Kind, Meal, MealName, Reason, Status, Unit, Values};

/// What the contract gives a meaning.
const KNOWN: &[&str] = &[
    "seq",
    "time",
    "kind",
    "unit",
    "systolic",
    "diastolic",
    "map",
    "pulse",
    "glucose",
    "session",
    "raw",
    "device",
    "userSlot",
    "status",
    "meal",
    "mealName",
    "specimen",
    "medicationTaken",
    "note",
    "symptoms",
];
/// Longest note that is a note; longer ones are kept whole, as an unknown member is.
const NOTE: usize = 500;
/// Most codes that a patient chooses at once; more are kept as an unknown member is.
const SYMPTOMS: usize = 64;
/// 2^53 - 1: what every JSON implementation holds exactly.
const MAX_SEQ: i64 = (1 << 53) - 1;

/// The numbers as they come in, before their kind is known.
#[derive(Default)]
struct Raw<'a> {
    kind: Option<&'a RawValue>,
    unit: Option<&'a RawValue>,
    systolic: Option<&'a RawValue>,
    diastolic: Option<&'a RawValue>,
    map: Option<&'a RawValue>,
    pulse: Option<&'a RawValue>,
    glucose: Option<&'a RawValue>,
}

pub(super) fn decode(raw: &RawValue, payload: &Bytes) -> Item {
    let mut item = Item { raw: payload.slice_ref(raw.get().as_bytes()), ..Item::default() };
    if !raw.get().starts_with('{') {
        item.faults.push(Reason::SeqInvalid); // not an object: it has no number either
        return item;
    }
    let Ok(members) = open_members(raw.get(), KNOWN) else {
        item.faults.push(Reason::BrokenMessage);
        return item;
    };
    let mut values = Raw::default();
    let mut unknown: Vec<(&str, &RawValue)> = Vec::new();
    let mut framed = None;
    for (key, value) in &members {
        let value = *value;
        match key.as_ref() {
            "seq" => match seq(value) {
                Ok(seq) => item.seq = seq,
                Err(reason) => item.faults.push(reason),
            },
            "time" => match time(value) {
                Ok(time) => item.time = time,
                Err(reason) => item.faults.push(reason),
            },
            "kind" => values.kind = Some(value),
            "unit" => values.unit = Some(value),
            "systolic" => values.systolic = Some(value),
            "diastolic" => values.diastolic = Some(value),
            "map" => values.map = Some(value),
            "pulse" => values.pulse = Some(value),
            "glucose" => values.glucose = Some(value),
            // A token that is none stands for nothing; a reading without one is nobody's, which is the careful end.
            "session" => item.session = text(value).map(Into::into),
            "raw" => {
                framed = Some(value);
                unknown.push(("raw", value));
            }
            other => {
                if !take_context(&mut item, other, value) && !is_null(value) {
                    unknown.push((other, value));
                }
            }
        }
    }
    match measured(&values) {
        Ok(measured) => item.measured = Some(measured),
        Err(reason) => item.faults.push(reason),
    }
    if let Some(framed) = framed.filter(|f| !is_null(f)) {
        check_against_frame(&mut item, framed);
    }
    item.context.extra = object(&unknown);
    item
}

/// The frame that came beside the members is decoded here too. Its words count as the reading's own, so that none is
/// lost; its numbers must be those of the members.
fn check_against_frame(item: &mut Item, value: &RawValue) {
    match frame(value) {
        Framed::Unknown => {}
        Framed::Reading(framed) => {
            let agrees = match (&item.measured, &framed.measured) {
                (Some(said), Some(framed)) => gatt::compare(said, framed),
                // What is wrong with the members is said already.
                (None, _) => true,
                (Some(_), None) => false,
            };
            // Whose button it was decides whose reading it is. Who leaves it out on one side says nothing else.
            let same_user = item.user_slot.zip(framed.user_slot).is_none_or(|(said, framed)| said == framed);
            item.statuses = item.statuses.iter().chain(framed.statuses.iter()).collect();
            if !(agrees && same_user) {
                item.faults.push(Reason::DecodeMismatch);
            }
        }
        Framed::Unreadable => item.faults.push(Reason::DecodeMismatch),
    }
}

enum Framed {
    /// Of a characteristic that nobody here reads: kept, as an unknown member is.
    Unknown,
    Reading(Box<Item>),
    Unreadable,
}

fn frame(value: &RawValue) -> Framed {
    let Ok(members) = open_members(value.get(), &["char", "hex"]) else { return Framed::Unreadable };
    let member = |name: &str| members.iter().find(|(key, _)| key == name).and_then(|(_, value)| text(value));
    let (Some(uuid), Some(hex)) = (member("char"), member("hex")) else { return Framed::Unreadable };
    let Some(characteristic) = Characteristic::parse(&uuid.to_ascii_lowercase()) else { return Framed::Unknown };
    let Some(octets) = octets(&hex) else { return Framed::Unreadable };
    match gatt::decode(characteristic, &octets) {
        Frame::Readings(items) => match <[Item; 1]>::try_from(items) {
            Ok([item]) => Framed::Reading(Box::new(item)),
            Err(_) => Framed::Unreadable,
        },
        Frame::Context(_) => Framed::Unknown,
        Frame::Unreadable(_) => Framed::Unreadable,
    }
}

fn octets(hex: &str) -> Option<Bytes> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let octet = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    if rest.is_empty() { pairs.iter().map(octet).collect() } else { None }
}

fn seq(value: &RawValue) -> Result<Option<i64>, Reason> {
    if is_null(value) {
        return Ok(None);
    }
    match value.get().parse().ok().or_else(|| whole(value.get())) {
        Some(seq) if (0..=MAX_SEQ).contains(&seq) && !value.get().starts_with('-') => Ok(Some(seq)),
        _ => Err(Reason::SeqInvalid),
    }
}

/// `4711.0` and `4.711e3` are integers too.
fn whole(text: &str) -> Option<i64> {
    let (mantissa, exponent) = text.parse::<Decimal>().ok()?.normalized();
    10_i64.checked_pow(exponent.try_into().ok()?)?.checked_mul(mantissa)
}

fn time(value: &RawValue) -> Result<Option<(DeviceTime, SentTime)>, Reason> {
    if is_null(value) {
        return Ok(None);
    }
    let text = text(value).ok_or(Reason::TimeInvalid)?;
    let sent = SentTime::parse(&text).ok_or(Reason::TimeInvalid)?;
    Ok(Some((DeviceTime(text.into()), sent)))
}

fn measured(raw: &Raw<'_>) -> Result<(Values, Unit), Reason> {
    let kind = raw.kind.and_then(text).and_then(|t| Kind::parse(&t)).ok_or(Reason::KindUnknown)?;
    let unit = raw.unit.and_then(text).and_then(|t| Unit::parse(&t)).filter(|u| u.kind() == kind);
    let unit = unit.ok_or(Reason::UnitUnknown)?;
    let values = match kind {
        Kind::BloodPressure => Values::Pressure {
            systolic: number(raw.systolic)?.ok_or(Reason::NoValue)?,
            diastolic: number(raw.diastolic)?.ok_or(Reason::NoValue)?,
            map: number(raw.map)?,
            pulse: number(raw.pulse)?,
        },
        Kind::BloodGlucose => Values::Glucose(match raw.glucose.and_then(text).as_deref() {
            Some("HI") => GlucoseValue::High,
            Some("LO") => GlucoseValue::Low,
            _ => GlucoseValue::Value(number(raw.glucose)?.ok_or(Reason::NoValue)?),
        }),
    };
    Ok((values, unit))
}

/// Takes a member that the contract knows; false when it is unknown, or known with a value that means nothing here.
fn take_context(item: &mut Item, key: &str, value: &RawValue) -> bool {
    let context: &mut Context = &mut item.context;
    match key {
        "device" => item.device = text(value).and_then(|t| t.parse().ok()),
        "userSlot" => item.user_slot = value.get().parse().ok(),
        "status" => return take_statuses(item, value),
        "meal" => context.meal = text(value).and_then(|t| Meal::parse(&t)),
        "mealName" => context.meal_name = text(value).and_then(|t| MealName::parse(&t)),
        "specimen" => context.specimen = text(value).filter(|t| t.len() <= 64).map(Into::into),
        "medicationTaken" => {
            context.medication_taken = match value.get() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            }
        }
        "note" => context.note = text(value).filter(|t| t.chars().count() <= NOTE).map(Into::into),
        "symptoms" => {
            let codes: Vec<String> = serde_json::from_str(value.get()).unwrap_or_default();
            if codes.len() <= SYMPTOMS {
                context.symptoms = codes.into_iter().map(Into::into).collect();
            }
            return !context.symptoms.is_empty();
        }
        _ => return false,
    }
    match key {
        "device" => item.device.is_some(),
        "userSlot" => item.user_slot.is_some(),
        "meal" => context.meal.is_some(),
        "mealName" => context.meal_name.is_some(),
        "specimen" => context.specimen.is_some(),
        "medicationTaken" => context.medication_taken.is_some(),
        _ => context.note.is_some(),
    }
}

/// Known words; the whole list is kept beside them when one is unknown.
fn take_statuses(item: &mut Item, value: &RawValue) -> bool {
    let Ok(words) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else { return false };
    let known: Vec<Status> = words.iter().filter_map(|w| text(w).and_then(|t| Status::parse(&t))).collect();
    let all_known = known.len() == words.len();
    item.statuses = known.into_iter().collect();
    all_known
}

/// Members of the message that nobody knows, as `_message` among those of a reading.
pub(super) fn keep_unknown_of_message(item: &mut Item, unknown: &[(&str, &RawValue)]) {
    let Some(message) = object(unknown) else { return };
    let extra = match item.context.extra.as_deref() {
        Some(own) => format!("{},\"_message\":{message}}}", &own[..own.len() - 1]),
        None => format!("{{\"_message\":{message}}}"),
    };
    item.context.extra = Some(extra.into());
}
