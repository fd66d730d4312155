//! Where an adapter's names are looked up: in an element, and in the message around it.

use super::{
    Part,
    adapter::{Adapter, Path, Scalar, UnitFrom, When},
    given,
};
use crate::json::{members, number, object, text};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};
use vitals::{Decimal, Reason, Unit};

type Members<'a> = [(Cow<'a, str>, &'a RawValue)];

/// Longest value of the message that is carried along with an element.
const LONGEST: usize = 200;

#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) adapter: &'a Adapter,
    root: &'a Members<'a>,
    /// `root` has whole paths as names.
    flat: bool,
    element: &'a Members<'a>,
}

/// What an element says of a measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Value,
    /// Only values that stand for "none".
    SaidNone,
    Nothing,
}

impl<'a> Scope<'a> {
    pub(super) const fn of_message(adapter: &'a Adapter, root: &'a Members<'a>) -> Self {
        Self { adapter, root, flat: false, element: &[] }
    }

    pub(super) const fn of_alone(adapter: &'a Adapter, root: &'a Members<'a>) -> Self {
        Self { adapter, root, flat: true, element: &[] }
    }

    pub(super) const fn with(self, element: &'a Members<'a>) -> Self {
        Self { element, ..self }
    }

    /// From the message's root, whether or not the path says so.
    pub(super) fn at_root(&self, path: &Path) -> Option<&'a RawValue> {
        if self.flat {
            return self.root.iter().find(|(key, _)| **key == *path.text).map(|(_, value)| *value);
        }
        self.walk(self.root, &path.parts)
    }

    fn get(&self, path: &Path) -> Option<&'a RawValue> {
        if path.root {
            return self.at_root(path).filter(|v| v.get().len() <= LONGEST);
        }
        self.walk(self.element, &path.parts)
    }

    fn walk(&self, all: &Members<'a>, parts: &[Box<str>]) -> Option<&'a RawValue> {
        let (first, rest) = parts.split_first()?;
        let mut found = self.member(all, first)?;
        for part in rest {
            let below = members(found.get()).ok()?;
            found = self.member(&below, part)?;
        }
        Some(found).filter(|v| given(v))
    }

    /// By its exact name; where case does not matter, by the only one that is the same but for case.
    fn member<'b>(&self, all: &[(Cow<'b, str>, &'b RawValue)], name: &str) -> Option<&'b RawValue> {
        if let Some((_, value)) = all.iter().find(|(key, _)| key == name) {
            return Some(value);
        }
        let mut alike = all.iter().filter(|(key, _)| self.adapter.ignore_case && key.eq_ignore_ascii_case(name));
        match (alike.next(), alike.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The first that is there.
    pub(super) fn first(&self, paths: &[Path]) -> Option<&'a RawValue> {
        paths.iter().find_map(|path| self.get(path))
    }

    pub(super) fn applies(&self, part: Part<'_>) -> Found {
        let (when, unless, names): (&Option<When>, &Option<When>, [&[Path]; 2]) = match part {
            Part::Pressure(p) => (&p.when, &p.unless, [&p.systolic, &p.diastolic]),
            Part::Glucose(g) => (&g.when, &g.unless, [&g.glucose, &[]]),
        };
        let holds = |when: &When| self.first(&when.names).and_then(scalar).is_some_and(|t| is_one_of(&t, &when.is));
        if !when.as_ref().is_none_or(holds) || unless.as_ref().is_some_and(holds) {
            return Found::Nothing;
        }
        let values = names.into_iter().filter_map(|paths| self.first(paths));
        values.fold(Found::Nothing, |so_far, value| match scalar(value) {
            Some(said) if is_one_of(&said, &self.adapter.numbers.absent) && so_far != Found::Value => Found::SaidNone,
            Some(said) if is_one_of(&said, &self.adapter.numbers.absent) => so_far,
            _ => Found::Value,
        })
    }

    /// A number with its digits; none where it is absent or stands for "none".
    pub(super) fn number(&self, paths: &[Path], scale: i8) -> Result<Option<Decimal>, Reason> {
        let Some(value) = self.first(paths) else { return Ok(None) };
        let numbers = &self.adapter.numbers;
        let Some(said) = scalar(value) else { return Err(Reason::NoValue) };
        if is_one_of(&said, &numbers.absent) {
            return Ok(None);
        }
        let found = match text(value) {
            Some(said) if numbers.text => said.trim().parse::<Decimal>().map(Some).map_err(|_| Reason::NoValue)?,
            _ => number(Some(value))?,
        };
        Ok(found.map(|n| n.scaled(scale.into())))
    }

    pub(super) fn unit(&self, unit: &UnitFrom) -> Option<Unit> {
        match unit {
            UnitFrom::Always(unit) => Some(*unit),
            UnitFrom::Told(told) => match self.first(&told.names) {
                None => told.default,
                Some(said) => self.word(&told.words, &scalar(said)?).copied(),
            },
        }
    }

    /// What a value stands for. Case matters in words no more than in names.
    pub(super) fn word<'w, T>(&self, words: &'w BTreeMap<String, T>, said: &str) -> Option<&'w T> {
        words.get(said).or_else(|| {
            let mut alike =
                words.iter().filter(|(word, _)| self.adapter.ignore_case && word.eq_ignore_ascii_case(said));
            alike.next().map(|(_, meaning)| meaning)
        })
    }

    /// What nobody here understood, as sent, and who read the rest.
    pub(super) fn kept(&self) -> Option<Box<str>> {
        let used = |name: &str| {
            self.adapter.paths().any(|p| !p.root && p.parts.len() == 1 && self.adapter.same_name(&p.parts[0], name))
        };
        let secret = |name: &str| {
            self.adapter.session.iter().any(|p| p.parts.first().is_some_and(|n| self.adapter.same_name(n, name)))
        };
        let rest: Vec<(&str, &RawValue)> = self
            .element
            .iter()
            .map(|(key, value)| (key.as_ref(), *value))
            .filter(|(key, value)| !used(key) && !secret(key) && !self.adapter.is_personal(key) && given(value))
            .collect();
        let by = format!("{} {}", self.adapter.profile(), self.adapter.version());
        let by = serde_json::to_string(&by).unwrap_or_default();
        let rest = object(&rest).map(|own| format!(",\"vendor\":{own}")).unwrap_or_default();
        Some(format!("{{\"adapter\":{by}{rest}}}").into())
    }
}

impl Adapter {
    /// Every path in the file.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let units = self.blood_pressure.iter().map(|p| &p.unit).chain(self.blood_glucose.iter().map(|g| &g.unit));
        let whens = self
            .blood_pressure
            .iter()
            .flat_map(|p| [&p.when, &p.unless])
            .chain(self.blood_glucose.iter().flat_map(|g| [&g.when, &g.unless]));
        let units = units.filter_map(|u| match u {
            UnitFrom::Told(told) => Some(&told.names),
            UnitFrom::Always(_) => None,
        });
        let numbers = self
            .blood_pressure
            .iter()
            .flat_map(|p| [&p.systolic, &p.diastolic, &p.map, &p.pulse])
            .chain(self.blood_glucose.iter().map(|g| &g.glucose));
        [&self.seq, &self.session]
            .into_iter()
            .chain(self.time.iter().map(|t| &t.names))
            .chain(self.user_slot.iter().map(|s| &s.names))
            .chain(self.meal.iter().map(|m| &m.names))
            .chain(self.meal_name.iter().map(|m| &m.names))
            .chain(self.status.iter().map(|s| &s.names))
            .chain(units)
            .chain(whens.flatten().map(|w| &w.names))
            .chain(numbers)
            .flatten()
    }

    pub(super) fn root_paths(&self) -> impl Iterator<Item = &Path> {
        self.paths().filter(|p| p.root)
    }
}

/// A text, a number or a truth value as text; none for lists, objects and null.
pub(super) fn scalar<'a>(value: &'a RawValue) -> Option<Cow<'a, str>> {
    match value.get().as_bytes().first() {
        Some(b'"') => text(value),
        Some(b'{' | b'[') | None => None,
        Some(_) => given(value).then(|| Cow::Borrowed(value.get())),
    }
}

/// By text, or by number: 65535 is 65535.0.
pub(super) fn is_one_of(said: &str, list: &[Scalar]) -> bool {
    let number = said.parse::<Decimal>().ok().map(Decimal::normalized);
    list.iter().any(|one| match one {
        Scalar::Text(text) => text == said,
        Scalar::Whole(n) => number == Some(Decimal::new(*n, 0).normalized()),
    })
}
