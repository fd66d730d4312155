//! Vendors' own payloads, read as a file says (contract: device protocol, section 2, `vendor/PROFILE`).
//!
//! Goes in: an [`Adapter`] and a JSON payload. Comes out: a [`Message`] as from a JSON message of our own, one [`Item`]
//! for each measurement, with its faults beside it.
//! Must never: guess (no unit that the adapter does not give, no number where it says "none"), keep a member that the
//! adapter calls personal, run anything that a file says.

mod adapter;
mod scope;

pub use adapter::{Adapter, AdapterError};

use crate::{
    json::{is_null, list, members, object},
    reading_v1::{Item, MOST_READINGS, Message, SentTime, Unreadable},
};
use adapter::{Form, Glucose, Pressure, Time};
use bytes::Bytes;
use jiff::{Timestamp as Moment, civil::DateTime, tz::Offset};
use scope::{Found, Scope, scalar};
use serde_json::value::RawValue;
use vitals::{Decimal, DeviceTime, GlucoseValue, Reason, Status, Timestamp, Unit, Values};

/// An element as it is held by itself: with what it needs of the message, and which of its measurements is meant.
const ALONE: &str = "hb:element";
const ALONE_ROOT: &str = "hb:root";
const ALONE_PART: &str = "hb:part";
/// 2^53 - 1: what every JSON implementation holds exactly.
const MAX_SEQ: i64 = (1 << 53) - 1;

/// What an adapter can read in one element.
#[derive(Clone, Copy)]
enum Part<'a> {
    Pressure(&'a Pressure),
    Glucose(&'a Glucose),
}

impl Adapter {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Unreadable`] when it cannot be read as a whole: broken JSON, another shape than the profile's, over 200
    /// measurements.
    pub fn decode(&self, payload: &Bytes) -> Result<Message, Unreadable> {
        let unreadable = |reason| Unreadable { reason, id: None };
        let broken = || unreadable(Reason::BrokenMessage);
        let root = std::str::from_utf8(payload).ok().and_then(|t| serde_json::from_str::<&RawValue>(t.trim()).ok());
        let root = root.ok_or_else(broken)?;
        let all = if root.get().starts_with('{') { members(root.get()).map_err(|_| broken())? } else { Vec::new() };
        if let Some((_, element)) = all.iter().find(|(key, _)| key == ALONE) {
            return Ok(self.decode_alone(&all, element, payload));
        }
        let scope = Scope::of_message(self, &all);
        let mut elements: Vec<&RawValue> = Vec::new();
        for path in &self.elements {
            let Some(found) = (if path.parts.is_empty() { Some(root) } else { scope.at_root(path) }) else { continue };
            match found.get().as_bytes().first() {
                Some(b'{') => elements.push(found),
                Some(b'[') => elements.extend(list(found).unwrap_or_default()),
                _ => continue,
            }
            break;
        }
        let empty_list = root.get().starts_with('[') && elements.is_empty();
        if elements.is_empty() && !empty_list {
            return Err(unreadable(Reason::KindUnknown));
        }
        let mut items: Vec<(Item, String, &RawValue)> = Vec::new();
        for element in elements {
            items.extend(self.element(&all, element).into_iter().map(|(item, part)| (item, part, element)));
        }
        if items.len() > MOST_READINGS {
            return Err(broken());
        }
        let id = self.message_id.iter().find_map(|p| scope.at_root(p)).and_then(scalar);
        let id = id.filter(|t| (1..=64).contains(&t.chars().count())).map(Into::into);
        let single = items.len() == 1;
        let kept = |(mut item, part, element): (Item, String, &RawValue)| {
            item.raw = if single { self.without_persons(payload) } else { self.alone(&scope, &part, element) };
            item
        };
        Ok(Message { id, items: items.into_iter().map(kept).collect(), ..Message::default() })
    }

    /// The bytes that may be kept: without the members of the message that name a person.
    pub fn without_persons(&self, payload: &Bytes) -> Bytes {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let Ok(all) = members(text.trim()) else { return payload.clone() };
        if !all.iter().any(|(key, _)| self.is_personal(key)) {
            return payload.clone();
        }
        let rest: Vec<_> = all.iter().filter(|(k, _)| !self.is_personal(k)).map(|(k, v)| (k.as_ref(), *v)).collect();
        object(&rest).map_or_else(|| Bytes::from_static(b"{}"), |text| Bytes::from(String::from(text)))
    }

    fn is_personal(&self, name: &str) -> bool {
        self.personal.iter().any(|p| self.same_name(p, name))
    }

    fn same_name(&self, a: &str, b: &str) -> bool {
        if self.ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
    }

    /// An element that was held by itself.
    fn decode_alone(
        &self,
        all: &[(std::borrow::Cow<'_, str>, &RawValue)],
        element: &RawValue,
        payload: &Bytes,
    ) -> Message {
        let find = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        let root = find(ALONE_ROOT).and_then(|r| members(r.get()).ok()).unwrap_or_default();
        let part = find(ALONE_PART).and_then(scalar).unwrap_or_default();
        let scope = Scope::of_alone(self, &root);
        let mut items = self.read(&scope, element);
        let wanted = |(_, name): &(Item, String)| part.is_empty() || *name == part;
        if items.iter().any(wanted) {
            items.retain(wanted);
        }
        let items = items.into_iter().map(|(item, _)| Item { raw: payload.clone(), ..item }).collect();
        Message { items, ..Message::default() }
    }

    /// What is held of one of several.
    fn alone(&self, scope: &Scope<'_>, part: &str, element: &RawValue) -> Bytes {
        let needed: Vec<(&str, &RawValue)> = self
            .root_paths()
            .filter_map(|p| Some((&*p.text, scope.at_root(p).filter(|v| scalar(v).is_some())?)))
            .collect();
        let own = members(element.get()).unwrap_or_default();
        let own: Vec<_> = own.iter().filter(|(k, _)| !self.is_personal(k)).map(|(k, v)| (k.as_ref(), *v)).collect();
        let own = object(&own).unwrap_or_else(|| element.get().into());
        let root = object(&needed).map(|r| format!(",\"{ALONE_ROOT}\":{r}")).unwrap_or_default();
        let part = serde_json::to_string(part).unwrap_or_default();
        Bytes::from(format!("{{\"{ALONE}\":{own}{root},\"{ALONE_PART}\":{part}}}"))
    }

    fn element(&self, all: &[(std::borrow::Cow<'_, str>, &RawValue)], element: &RawValue) -> Vec<(Item, String)> {
        self.read(&Scope::of_message(self, all), element)
    }

    /// The measurements of one element; at least one item, so that nothing is passed over in silence.
    fn read(&self, scope: &Scope<'_>, element: &RawValue) -> Vec<(Item, String)> {
        let fault = |reason| vec![(Item { faults: vec![reason], ..Item::default() }, String::new())];
        if !element.get().starts_with('{') {
            return fault(Reason::KindUnknown);
        }
        let Ok(own) = members(element.get()) else { return fault(Reason::BrokenMessage) };
        let scope = scope.with(&own);
        let mut said_none = false;
        let mut parts = Vec::new();
        for (name, part) in self.parts() {
            match scope.applies(part) {
                Found::Value => parts.push((name, part)),
                Found::SaidNone => said_none = true,
                Found::Nothing => {}
            }
        }
        if parts.is_empty() {
            let mut item = self.about(&scope);
            item.faults.push(if said_none { Reason::NoValue } else { Reason::KindUnknown });
            return vec![(item, String::new())];
        }
        let several = parts.len() > 1;
        let item = |(name, part)| {
            let mut item = self.about(&scope);
            if several {
                // One number cannot be two readings': each is known by minute and values.
                item.seq = None;
            }
            match scope.measured(part) {
                Ok(measured) => item.measured = Some(measured),
                Err(reason) => item.faults.push(reason),
            }
            if let Part::Glucose(glucose) = part {
                item.context.specimen = glucose.specimen.as_deref().map(Into::into);
                item.context.meal = glucose.meal.map(|m| m.0).or(item.context.meal);
            }
            (item, name)
        };
        parts.into_iter().map(item).collect()
    }

    fn parts(&self) -> impl Iterator<Item = (String, Part<'_>)> {
        let pressure =
            self.blood_pressure.iter().enumerate().map(|(i, p)| (format!("blood_pressure.{i}"), Part::Pressure(p)));
        let glucose =
            self.blood_glucose.iter().enumerate().map(|(i, g)| (format!("blood_glucose.{i}"), Part::Glucose(g)));
        pressure.chain(glucose)
    }

    /// Everything of an item but its numbers.
    fn about(&self, scope: &Scope<'_>) -> Item {
        let mut item = Item::default();
        match self.time.as_ref().map_or(Ok(None), |time| scope.time(time)) {
            Ok(time) => item.time = time,
            Err(reason) => item.faults.push(reason),
        }
        match scope.first(&self.seq).map(scalar) {
            None => {}
            Some(text) => match text.and_then(|t| whole(&t)).filter(|n| (0..=MAX_SEQ).contains(n)) {
                Some(seq) => item.seq = Some(seq),
                None => item.faults.push(Reason::SeqInvalid),
            },
        }
        item.session = scope.first(&self.session).and_then(scalar).map(Into::into);
        if let Some(slot) = &self.user_slot {
            let said = scope.first(&slot.names).and_then(scalar);
            item.user_slot = said.and_then(|t| scope.word(&slot.words, &t).copied().or_else(|| t.parse().ok()));
        }
        let word = |names| scope.first(names).and_then(scalar);
        item.context.meal =
            self.meal.as_ref().and_then(|m| word(&m.names).and_then(|t| scope.word(&m.words, &t).map(|w| w.0)));
        item.context.meal_name =
            self.meal_name.as_ref().and_then(|m| word(&m.names).and_then(|t| scope.word(&m.words, &t).map(|w| w.0)));
        item.statuses = self.status.iter().flat_map(|words| scope.statuses(words)).collect();
        item.context.extra = scope.kept();
        item
    }
}

impl Scope<'_> {
    fn statuses(&self, words: &adapter::StatusWords) -> Vec<Status> {
        let Some(said) = self.first(&words.names).and_then(scalar) else { return Vec::new() };
        let bits = whole(&said).filter(|_| !words.bits.is_empty());
        let set =
            words.bits.iter().filter(|(bit, _)| bits.is_some_and(|n| n >> bit.0 & 1 == 1)).filter_map(|(_, w)| w.0);
        let word = match self.word(&words.words, &said) {
            Some(word) => word.0,
            None if bits.is_some() => None,
            None => words.otherwise.and_then(|w| w.0),
        };
        set.chain(word).collect()
    }

    fn measured(&self, part: Part<'_>) -> Result<(Values, Unit), Reason> {
        let unit = self.unit(match part {
            Part::Pressure(p) => &p.unit,
            Part::Glucose(g) => &g.unit,
        });
        let values = match part {
            Part::Pressure(p) => Values::Pressure {
                systolic: self.number(&p.systolic, p.scale)?.ok_or(Reason::NoValue)?,
                diastolic: self.number(&p.diastolic, p.scale)?.ok_or(Reason::NoValue)?,
                map: self.number(&p.map, p.scale)?,
                pulse: self.number(&p.pulse, 0)?,
            },
            Part::Glucose(g) => {
                let said = self.first(&g.glucose).and_then(scalar);
                let is = |list| said.as_deref().is_some_and(|t| scope::is_one_of(t, list));
                Values::Glucose(if is(&self.adapter.numbers.high) {
                    GlucoseValue::High
                } else if is(&self.adapter.numbers.low) {
                    GlucoseValue::Low
                } else {
                    GlucoseValue::Value(self.number(&g.glucose, g.scale)?.ok_or(Reason::NoValue)?)
                })
            }
        };
        unit.map(|unit| (values, unit)).ok_or(Reason::UnitUnknown)
    }

    fn time(&self, time: &Time) -> Result<Option<(DeviceTime, SentTime)>, Reason> {
        let Some(said) = self.first(&time.names) else { return Ok(None) };
        let said = scalar(said).ok_or(Reason::TimeInvalid)?;
        if scope::is_one_of(&said, &self.adapter.numbers.absent) {
            return Ok(None);
        }
        let sent = match time.form {
            Form::Rfc3339 => SentTime::parse(&said),
            Form::Wall => {
                let pattern = time.pattern.as_deref().unwrap_or_default();
                DateTime::strptime(pattern, said.as_bytes()).ok().map(SentTime::Wall)
            }
            Form::EpochS | Form::WallEpochS => micros(&said, 6).and_then(|at| counted(at, time.form)),
            Form::EpochMs | Form::WallEpochMs => micros(&said, 3).and_then(|at| counted(at, time.form)),
        };
        sent.map(|sent| Some((DeviceTime(said.into()), sent))).ok_or(Reason::TimeInvalid)
    }
}

/// A count of seconds (x 10^6) or milliseconds (x 10^3) in microseconds; fractions are taken.
fn micros(said: &str, power: i16) -> Option<i64> {
    let (mut mantissa, exponent) = said.parse::<Decimal>().ok()?.normalized();
    let mut exponent = exponent.checked_add(power)?;
    while exponent < 0 && mantissa != 0 {
        mantissa /= 10; // finer than a microsecond
        exponent += 1;
    }
    (0..exponent).try_fold(mantissa, |n, _| n.checked_mul(10))
}

fn counted(micros: i64, form: Form) -> Option<SentTime> {
    let moment = Moment::from_microsecond(micros).ok()?;
    Some(match form {
        Form::WallEpochS | Form::WallEpochMs => SentTime::Wall(Offset::UTC.to_datetime(moment)),
        _ => SentTime::Moment(Timestamp::from_micros(micros)),
    })
}

fn whole(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Whether these bytes are one element of a message, as it is held by itself.
pub fn is_alone(bytes: &Bytes) -> bool {
    let all = std::str::from_utf8(bytes).ok().and_then(|text| members(text.trim()).ok());
    all.is_some_and(|all| all.iter().any(|(key, _)| key == ALONE))
}

/// Whether `value` is there at all.
fn given(value: &RawValue) -> bool {
    !is_null(value)
}

#[cfg(test)]
mod tests;
