//! One Observation: what it measured, when, and what is wrong with it.

use super::{
    SEQ_SYSTEM, SESSION_EXTENSION, SLOT_EXTENSION,
    codes::{self, Glucose, Subject, UCUM},
    find,
};
use crate::{
    json::{Members, list, members, number, object, text},
    reading_v1::{Item, SentTime},
};
use bytes::Bytes;
use serde_json::value::RawValue;
use vitals::{Decimal, DeviceTime, GlucoseValue, Reason, Status, Unit, Values};

/// 2^53 - 1: what every JSON implementation holds exactly.
const MAX_SEQ: i64 = (1 << 53) - 1;
const NOTE: usize = 500;
/// `<` is what a meter shows as LO only up to here, `>` as HI only from here (mmol/L): the limits of the narrowest
/// meters. Between them a bound says nothing about the person.
const LO_TO: f64 = 2.8;
const HI_FROM: f64 = 22.2;

/// Understood, or said of people: whose reading it is, the server knows.
const NOT_KEPT: [&str; 17] = [
    "resourceType",
    "code",
    "effectiveDateTime",
    "effectiveInstant",
    "valueQuantity",
    "subject",
    "focus",
    "encounter",
    "performer",
    "contained",
    "text",
    "meta",
    "hasMember",
    "derivedFrom",
    "partOf",
    "basedOn",
    "note",
];

/// References of one Observation to others.
pub(super) type Links = Vec<String>;

/// Beats a minute of an Observation that measured nothing else.
#[derive(Clone, Copy)]
pub(super) struct Pulse(pub(super) Decimal);

/// A quantity as sent.
struct Quantity {
    value: Decimal,
    /// -1 for below, 1 for above, 0 for the value itself.
    beyond: i8,
    ucum: Option<Box<str>>,
}

/// Reads a resource. A pulse alone comes with `kind_unknown`, and beside the item, so that its pressure can take it.
pub(super) fn decode(raw: &RawValue, payload: &Bytes) -> (Item, Option<Pulse>, Links) {
    let mut item = Item { raw: payload.slice_ref(raw.get().as_bytes()), ..Item::default() };
    let Ok(all) = members(raw.get()) else {
        item.faults.push(Reason::BrokenMessage);
        return (item, None, Links::new());
    };
    let member = |name: &str| find(&all, name);
    if member("resourceType").and_then(text).as_deref() != Some("Observation") {
        item.faults.push(Reason::KindUnknown);
        return (item, None, Links::new());
    }
    item.faults.extend(status(&all));
    // Whoever does not know these may not use the resource (FHIR R4, 2.4.1.1).
    let changed_meaning = member("modifierExtension").or(member("implicitRules")).is_some();
    let parts = components(&all);
    let subject = member("code").and_then(subject).filter(|_| !changed_meaning);
    match time(&all) {
        Ok(time) => item.time = time,
        Err(reason) => item.faults.push(reason),
    }
    match seq(&all) {
        Ok(seq) => item.seq = seq,
        Err(reason) => item.faults.push(reason),
    }
    item.user_slot = extension(&all, SLOT_EXTENSION).and_then(|v| v.get().parse().ok());
    item.session = extension(&all, SESSION_EXTENSION).and_then(text).map(Into::into);
    let (measured, pulse) = match subject {
        Some(Subject::Pressure) => (pressure(&parts), None),
        Some(Subject::Glucose(code)) => {
            item.context.specimen = code.specimen.map(Into::into);
            item.context.meal = meal(&parts).or(code.meal);
            if code.control {
                item.statuses.insert(Status::ControlSolution);
            }
            (glucose(&all, code), None)
        }
        Some(Subject::Pulse) => (Err(Reason::KindUnknown), beats(&all).ok().flatten().map(Pulse)),
        _ => (Err(Reason::KindUnknown), None),
    };
    match measured {
        Ok(measured) => item.measured = Some(measured),
        Err(reason) => item.faults.push(reason),
    }
    item.statuses = item.statuses.iter().chain(words(&parts)).collect();
    item.context.note = note(&all);
    item.context.extra = kept(&all);
    let pulse = pulse.filter(|_| item.faults == [Reason::KindUnknown]);
    (item, pulse, links(&all))
}

/// A value counts once it is final; one that was withdrawn, or may still change, is no value.
fn status(all: &Members<'_>) -> Option<Reason> {
    match find(all, "status").and_then(text).as_deref() {
        Some("final" | "amended" | "corrected") => None,
        Some("registered" | "preliminary" | "cancelled" | "entered-in-error" | "unknown") => Some(Reason::NoValue),
        _ => Some(Reason::BrokenMessage),
    }
}

/// System and code of each coding of a concept.
fn codings(concept: &RawValue) -> Vec<(String, String)> {
    let Ok(concept) = members(concept.get()) else { return Vec::new() };
    let codings = find(&concept, "coding").and_then(list).unwrap_or_default();
    let coding = |coding: &&RawValue| {
        let coding = members(coding.get()).ok()?;
        Some((find(&coding, "system").and_then(text)?.into(), find(&coding, "code").and_then(text)?.into()))
    };
    codings.iter().filter_map(coding).collect()
}

/// What a concept stands for; none when its codings say different things.
fn subject(concept: &RawValue) -> Option<Subject> {
    let mut known = codings(concept).into_iter().filter_map(|(system, code)| codes::subject(&system, &code));
    let first = known.next()?;
    known.try_fold(first, |known, next| match (known, next) {
        (Subject::Glucose(a), Subject::Glucose(b)) => both(a, b).map(Subject::Glucose),
        (a, b) => (a == b).then_some(a),
    })
}

/// What two codes of one glucose say together; none when they contradict each other.
fn both(a: Glucose, b: Glucose) -> Option<Glucose> {
    fn one<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => None,
            (a, b) => Some(a.or(b)),
        }
    }
    Some(Glucose {
        unit: one(a.unit, b.unit)?,
        specimen: one(a.specimen, b.specimen)?,
        meal: one(a.meal, b.meal)?,
        control: a.control || b.control,
    })
}

fn components<'a>(all: &Members<'a>) -> Vec<(Option<Subject>, Members<'a>)> {
    let parts = find(all, "component").and_then(list).unwrap_or_default();
    let part = |raw: &'a RawValue| {
        let part = members(raw.get()).ok()?;
        Some((find(&part, "code").and_then(subject), part))
    };
    parts.into_iter().filter_map(part).collect()
}

/// The one component of this kind; none where it is absent.
///
/// # Errors
/// When there are several: nobody knows which one is meant.
fn only<'p, 'a>(parts: &'p [(Option<Subject>, Members<'a>)], what: Subject) -> Result<Option<&'p Members<'a>>, Reason> {
    let mut found = parts.iter().filter(|(subject, _)| *subject == Some(what)).map(|(_, part)| part);
    match (found.next(), found.next()) {
        (part, None) => Ok(part),
        _ => Err(Reason::NoValue),
    }
}

fn quantity(holder: &Members<'_>) -> Result<Option<Quantity>, Reason> {
    let Some(raw) = find(holder, "valueQuantity") else { return Ok(None) };
    if find(holder, "dataAbsentReason").is_some() {
        return Err(Reason::NoValue); // a value, and why there is none
    }
    let all = members(raw.get()).map_err(|_| Reason::NoValue)?;
    let beyond = match find(&all, "comparator").and_then(text).as_deref() {
        None if find(&all, "comparator").is_none() => 0,
        Some("<" | "<=") => -1,
        Some(">" | ">=") => 1,
        _ => return Err(Reason::NoValue),
    };
    let is_ucum = find(&all, "system").and_then(text).as_deref() == Some(UCUM);
    let ucum = find(&all, "code").and_then(text).filter(|_| is_ucum).map(Into::into);
    Ok(number(find(&all, "value"))?.map(|value| Quantity { value, beyond, ucum }))
}

/// A pressure in its unit. A bound is no pressure.
fn pressure_of(part: Option<&Members<'_>>) -> Result<Option<(Decimal, Unit)>, Reason> {
    let Some(found) = part.map(quantity).transpose()?.flatten() else { return Ok(None) };
    if found.beyond != 0 {
        return Err(Reason::NoValue);
    }
    let unit = found.ucum.as_deref().and_then(codes::unit).filter(|u| u.kind() == vitals::Kind::BloodPressure);
    unit.map(|unit| Some((found.value, unit))).ok_or(Reason::UnitUnknown)
}

fn pressure(parts: &[(Option<Subject>, Members<'_>)]) -> Result<(Values, Unit), Reason> {
    let of = |what| only(parts, what).and_then(pressure_of);
    let (systolic, unit) = of(Subject::Systolic)?.ok_or(Reason::NoValue)?;
    let (diastolic, other) = of(Subject::Diastolic)?.ok_or(Reason::NoValue)?;
    let map = of(Subject::Mean)?;
    if unit != other || map.is_some_and(|(_, of_map)| unit != of_map) {
        return Err(Reason::UnitUnknown);
    }
    let pulse = only(parts, Subject::Pulse)?.map(beats).transpose()?.flatten();
    Ok((Values::Pressure { systolic, diastolic, map: map.map(|(value, _)| value), pulse }, unit))
}

/// Beats a minute, of a component or of an Observation of its own.
fn beats(holder: &Members<'_>) -> Result<Option<Decimal>, Reason> {
    let Some(found) = quantity(holder)? else { return Ok(None) };
    match (found.beyond, found.ucum.as_deref().is_some_and(codes::is_per_minute)) {
        (0, true) => Ok(Some(found.value)),
        (0, false) => Err(Reason::UnitUnknown),
        _ => Err(Reason::NoValue),
    }
}

fn glucose(all: &Members<'_>, code: Glucose) -> Result<(Values, Unit), Reason> {
    let shown = off_scale(all)?;
    let Some(found) = quantity(all)? else {
        // No number: beyond the range of the meter, if it says so, in the unit of the code's property.
        let value = shown.ok_or(Reason::NoValue)?;
        return code.unit.map(|unit| (Values::Glucose(value), unit)).ok_or(Reason::UnitUnknown);
    };
    let unit = found.ucum.as_deref().and_then(codes::unit).filter(|u| u.kind() == vitals::Kind::BloodGlucose);
    // A code for moles with a mass, or the other way round: one of the two is wrong, and the factor is 18.
    let unit = unit.filter(|u| code.unit.is_none_or(|of_code| of_code == *u)).ok_or(Reason::UnitUnknown)?;
    let bound = unit.canonical(found.value.value());
    let value = match (found.beyond, shown) {
        (0, None) => GlucoseValue::Value(found.value),
        (-1, None | Some(GlucoseValue::Low)) | (0, Some(GlucoseValue::Low)) if bound <= LO_TO => GlucoseValue::Low,
        (1, None | Some(GlucoseValue::High)) | (0, Some(GlucoseValue::High)) if bound >= HI_FROM => GlucoseValue::High,
        _ => return Err(Reason::NoValue),
    };
    Ok((Values::Glucose(value), unit))
}

/// HI or LO as a reason for there being no value, or as an interpretation (`>` and `<`: off scale).
fn off_scale(all: &Members<'_>) -> Result<Option<GlucoseValue>, Reason> {
    let absent = find(all, "dataAbsentReason").map(codings).unwrap_or_default();
    let said = find(all, "interpretation").and_then(list).unwrap_or_default().into_iter().flat_map(codings);
    let word = |code: &str| match code {
        "positive-infinity" | ">" => Some(GlucoseValue::High),
        "negative-infinity" | "<" => Some(GlucoseValue::Low),
        _ => None,
    };
    let mut words = absent.into_iter().chain(said).filter_map(|(_, code)| word(&code));
    let first = words.next();
    if words.any(|other| Some(other) != first) { Err(Reason::NoValue) } else { Ok(first) }
}

fn meal(parts: &[(Option<Subject>, Members<'_>)]) -> Option<vitals::Meal> {
    let part = only(parts, Subject::MealRelation).ok().flatten()?;
    let value = find(part, "valueCodeableConcept")?;
    codings(value).iter().find_map(|(system, code)| codes::meal(system, code))
}

/// The meter's words: components whose value is `Y`.
fn words(parts: &[(Option<Subject>, Members<'_>)]) -> impl Iterator<Item = Status> {
    parts.iter().filter_map(|(subject, part)| match subject {
        Some(Subject::Word(word)) => {
            let value = find(part, "valueCodeableConcept").map(codings).unwrap_or_default();
            let set = value.iter().any(|(_, code)| code == "Y")
                || find(part, "valueBoolean").is_some_and(|v| v.get() == "true");
            set.then_some(*word)
        }
        _ => None,
    })
}

/// A day, a month or a stretch of time is no moment.
fn time(all: &Members<'_>) -> Result<Option<(DeviceTime, SentTime)>, Reason> {
    let kinds = ["effectiveDateTime", "effectiveInstant", "effectivePeriod", "effectiveTiming"];
    let mut found = kinds.into_iter().filter_map(|kind| find(all, kind).map(|value| (kind, value)));
    let Some((kind, value)) = found.next() else { return Ok(None) };
    let sent = text(value).filter(|_| found.next().is_none()).ok_or(Reason::TimeInvalid)?;
    match (kind, SentTime::parse(&sent)) {
        ("effectiveDateTime", Some(time)) | ("effectiveInstant", Some(time @ SentTime::Moment(_))) => {
            Ok(Some((DeviceTime(sent.into()), time)))
        }
        _ => Err(Reason::TimeInvalid),
    }
}

fn seq(all: &Members<'_>) -> Result<Option<i64>, Reason> {
    let identifiers = find(all, "identifier").and_then(list).unwrap_or_default();
    let value = |identifier: &RawValue| -> Option<Option<String>> {
        let identifier = members(identifier.get()).ok()?;
        (find(&identifier, "system").and_then(text)? == SEQ_SYSTEM)
            .then(|| find(&identifier, "value").and_then(text).map(String::from))
    };
    let mut numbers = identifiers.into_iter().filter_map(value);
    let Some(first) = numbers.next() else { return Ok(None) };
    let digits = first.filter(|t| numbers.next().is_none() && t.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|t| t.parse::<i64>().ok()).filter(|n| *n <= MAX_SEQ);
    number.map(Some).ok_or(Reason::SeqInvalid)
}

/// The value of an extension, whatever its type.
fn extension<'a>(all: &Members<'a>, url: &str) -> Option<&'a RawValue> {
    let extensions = find(all, "extension").and_then(list)?;
    extensions.into_iter().find_map(|extension| {
        let extension = members(extension.get()).ok()?;
        (find(&extension, "url").and_then(text)? == url)
            .then(|| extension.iter().find(|(key, _)| key.starts_with("value")).map(|(_, value)| *value))?
    })
}

fn note(all: &Members<'_>) -> Option<Box<str>> {
    let notes = find(all, "note").and_then(list)?;
    let [note] = notes[..] else { return None };
    let note = members(note.get()).ok()?;
    find(&note, "text").and_then(text).filter(|t| t.chars().count() <= NOTE).map(Into::into)
}

fn links(all: &Members<'_>) -> Links {
    let references = ["hasMember", "derivedFrom"].into_iter().filter_map(|name| find(all, name).and_then(list));
    let reference =
        |raw: &RawValue| members(raw.get()).ok().and_then(|r| find(&r, "reference").and_then(text).map(Into::into));
    references.flatten().filter_map(reference).collect()
}

/// What nobody here understood, as sent, under `fhir`; the token of a kiosk is a secret and not kept.
fn kept(all: &Members<'_>) -> Option<Box<str>> {
    let secret = extension(all, SESSION_EXTENSION).is_some();
    let rest: Vec<(&str, &RawValue)> = all
        .iter()
        .map(|(key, value)| (key.as_ref(), *value))
        .filter(|(key, value)| !NOT_KEPT.contains(key) && value.get() != "null" && !(secret && *key == "extension"))
        .collect();
    object(&rest).map(|own| format!("{{\"fhir\":{own}}}").into())
}
