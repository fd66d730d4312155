//! The file that says how one vendor's payload is read. TOML, checked as a whole when it is loaded: an unknown key, an
//! unknown word, a path that is none is an error with its line.

use jiff::civil::DateTime;
use serde::Deserialize;
use std::collections::BTreeMap;
use vitals::{DeviceId, Meal, MealName, Status, Unit};

/// One profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    pub(super) profile: Profile,
    pub(super) version: Version,
    /// What it is for, for those who list adapters.
    pub title: String,
    /// Where the vendor describes the payload.
    #[serde(default)]
    pub source: Option<String>,
    /// `HP` and `hp` are one name.
    #[serde(default)]
    pub(super) ignore_case: bool,
    /// Where the elements lie: the first of these that is an object or a list of objects.
    #[serde(default = "whole")]
    pub(super) elements: Vec<Path>,
    #[serde(default)]
    pub(super) message_id: Vec<Path>,
    #[serde(default)]
    pub(super) seq: Vec<Path>,
    /// A kiosk's one-use token.
    #[serde(default)]
    pub(super) session: Vec<Path>,
    /// Members of the message, or of an element, that name a person: kept nowhere.
    #[serde(default)]
    pub(super) personal: Vec<String>,
    #[serde(default)]
    pub(super) time: Option<Time>,
    #[serde(default)]
    pub(super) numbers: Numbers,
    #[serde(default)]
    pub(super) user_slot: Option<Words<u8>>,
    #[serde(default)]
    pub(super) meal: Option<Words<Word<Meal>>>,
    #[serde(default)]
    pub(super) meal_name: Option<Words<Word<MealName>>>,
    #[serde(default)]
    pub(super) status: Vec<StatusWords>,
    #[serde(default)]
    pub(super) blood_pressure: Vec<Pressure>,
    #[serde(default)]
    pub(super) blood_glucose: Vec<Glucose>,
}

/// What is wrong with a file: where and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct AdapterError {
    /// As it was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// With the remedy.
    pub reason: String,
}

impl Adapter {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub fn parse(file: &str, text: &str) -> Result<Self, AdapterError> {
        let fault = |at: usize, reason: String| AdapterError {
            file: file.to_owned(),
            line: text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1,
            reason,
        };
        let adapter: Self = toml::from_str(text)
            .map_err(|e| fault(e.span().map_or(0, |span| span.start), e.message().trim().to_owned()))?;
        let place = |key: &str| {
            let at = text.lines().scan(0, |at, line| {
                let start = *at;
                *at += line.len() + 1;
                Some((start, line))
            });
            at.into_iter().find(|(_, line)| line.trim_start().starts_with(key)).map_or(0, |(start, _)| start)
        };
        if adapter.blood_pressure.is_empty() && adapter.blood_glucose.is_empty() {
            return Err(fault(0, "it reads nothing: add [[blood_pressure]] or [[blood_glucose]]".into()));
        }
        if adapter.elements.is_empty() {
            return Err(fault(
                place("elements"),
                "elements: give at least one path, or leave it out for [\".\"]".into(),
            ));
        }
        if let Some(time) = &adapter.time
            && let Err(reason) = time.check()
        {
            return Err(fault(place("[time]"), reason));
        }
        let kinds = adapter.blood_pressure.iter().map(|p| (&p.unit, vitals::Kind::BloodPressure));
        for (unit, kind) in kinds.chain(adapter.blood_glucose.iter().map(|g| (&g.unit, vitals::Kind::BloodGlucose))) {
            if unit.all().any(|u| u.kind() != kind) {
                return Err(fault(place("unit"), format!("unit: none of {}", kind.as_str())));
            }
        }
        Ok(adapter)
    }

    /// The PROFILE of the topic.
    pub fn profile(&self) -> &str {
        &self.profile.0
    }

    /// Raised with every change; written beside each reading.
    pub const fn version(&self) -> u32 {
        self.version.0
    }
}

fn whole() -> Vec<Path> {
    vec![Path { text: ".".into(), root: false, parts: Vec::new() }]
}

macro_rules! from_text {
    ($name:ident, $text:ident, $read:expr, $what:literal) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from($text: String) -> Result<Self, String> {
                $read.ok_or_else(|| format!("{:?}: {}", $text, $what))
            }
        }
    };
}

/// The last level of the topic.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Profile(String);
from_text!(
    Profile,
    t,
    t.parse::<DeviceId>().ok().map(|id| Self(id.as_str().into())),
    "write 1-64 of A-Z a-z 0-9 . _ -"
);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Version(u32);

impl TryFrom<u32> for Version {
    type Error = String;
    fn try_from(n: u32) -> Result<Self, String> {
        if n == 0 { Err("version: begin with 1".into()) } else { Ok(Self(n)) }
    }
}

/// `.` the element, `a.b` a member of a member of it, `/a.b` the same from the message's root.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(super) struct Path {
    pub(super) text: Box<str>,
    pub(super) root: bool,
    pub(super) parts: Vec<Box<str>>,
}

impl TryFrom<String> for Path {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (root, rest) = text.strip_prefix('/').map_or((false, text.as_str()), |rest| (true, rest));
        let parts: Vec<Box<str>> = if rest == "." { Vec::new() } else { rest.split('.').map(Into::into).collect() };
        if parts.len() > 8 || parts.iter().any(|p| p.is_empty()) {
            return Err(format!(
                "{text:?}: no path; write \"name\", \"outer.name\", \"/outer.name\" from the root, or \".\""
            ));
        }
        Ok(Self { text: text.as_str().into(), root, parts })
    }
}

/// A word of the contract.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Word<T>(pub(super) T)
where
    Word<T>: TryFrom<String, Error = String>;

impl TryFrom<String> for Word<Meal> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Meal::parse(&text).map(Self).ok_or_else(|| unknown(&text, Meal::ALL.iter().map(|m| m.as_str())))
    }
}

impl TryFrom<String> for Word<MealName> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        MealName::parse(&text).map(Self).ok_or_else(|| unknown(&text, MealName::ALL.iter().map(|m| m.as_str())))
    }
}

/// A status, or `ok`: nothing to be said.
impl TryFrom<String> for Word<Option<Status>> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "ok" {
            return Ok(Self(None));
        }
        let all = || std::iter::once("ok").chain(Status::ALL.iter().map(|s| s.as_str()));
        Status::parse(&text).map(|s| Self(Some(s))).ok_or_else(|| unknown(&text, all()))
    }
}

fn unknown<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> String {
    format!("{text:?}: one of {}", known.collect::<Vec<_>>().join(" "))
}

/// Names, and what their values mean; a value that is not in `words` means nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words<T> {
    pub(super) names: Vec<Path>,
    /// None: the value itself is meant (a user's number).
    #[serde(default = "BTreeMap::new")]
    pub(super) words: BTreeMap<String, T>,
}

/// The meter's words: by value, or by the bits of a number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusWords {
    pub(super) names: Vec<Path>,
    #[serde(default)]
    pub(super) words: BTreeMap<String, Word<Option<Status>>>,
    #[serde(default)]
    pub(super) bits: BTreeMap<Bit, Word<Option<Status>>>,
    /// What a value stands for that is not in `words`; without it such a value is only kept.
    #[serde(default)]
    pub(super) otherwise: Option<Word<Option<Status>>>,
}

/// 0 to 31.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(super) struct Bit(pub(super) u32);
from_text!(Bit, t, t.parse::<u32>().ok().filter(|n| *n < 32).map(Self), "a bit is a number from 0 to 31");

/// When it was measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Time {
    pub(super) names: Vec<Path>,
    pub(super) form: Form,
    /// Of `wall`, in strftime's letters.
    #[serde(default)]
    pub(super) pattern: Option<String>,
}

impl Time {
    fn check(&self) -> Result<(), String> {
        match (self.form, &self.pattern) {
            (Form::Wall, None) => Err("time.pattern: needed with form = \"wall\", e.g. \"%Y-%m-%d %H:%M:%S\"".into()),
            (Form::Wall, Some(pattern)) => {
                let sample = jiff::civil::date(2026, 3, 4).at(5, 6, 7, 0);
                let written = jiff::fmt::strtime::format(pattern, sample).map_err(|e| format!("time.pattern: {e}"))?;
                let read = DateTime::strptime(pattern, &written).map_err(|e| format!("time.pattern: {e}"))?;
                // Seconds may be left out; a day and an hour may not.
                if read.date() == sample.date() && (read.hour(), read.minute()) == (5, 6) {
                    Ok(())
                } else {
                    Err("time.pattern: it does not say year, month, day, hour and minute".into())
                }
            }
            (_, Some(_)) => Err("time.pattern: only with form = \"wall\"".into()),
            (_, None) => Ok(()),
        }
    }
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// Seconds since 1970.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
    /// The wall clock, counted as if it were UTC.
    WallEpochS,
    /// The same in milliseconds.
    WallEpochMs,
    /// As in the contract's `time`.
    Rfc3339,
    /// The wall clock by a pattern of its own.
    Wall,
}

/// How numbers are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Numbers {
    /// `"6.2"` is a number too.
    pub(super) text: bool,
    /// Values that stand for "none": 65535, "--".
    pub(super) absent: Vec<Scalar>,
    /// Values that stand for HI.
    pub(super) high: Vec<Scalar>,
    /// Values that stand for LO.
    pub(super) low: Vec<Scalar>,
}

/// A value to compare with.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Text(String),
    Whole(i64),
}

/// The unit: always said, never guessed.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum UnitFrom {
    Always(Unit),
    Told(Told),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub(super) names: Vec<Path>,
    pub(super) words: BTreeMap<String, Unit>,
    /// Where none of the names is there; a word that is unknown is unknown all the same.
    #[serde(default)]
    pub(super) default: Option<Unit>,
}

impl UnitFrom {
    fn all(&self) -> impl Iterator<Item = Unit> + '_ {
        let (always, told) = match self {
            Self::Always(unit) => (Some(*unit), None),
            Self::Told(told) => (told.default, Some(told.words.values().copied())),
        };
        always.into_iter().chain(told.into_iter().flatten())
    }
}

/// Only elements in which a member has one of these values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    pub(super) names: Vec<Path>,
    pub(super) is: Vec<Scalar>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pressure {
    #[serde(default)]
    pub(super) when: Option<When>,
    #[serde(default)]
    pub(super) unless: Option<When>,
    pub(super) unit: UnitFrom,
    /// Power of ten: -1 for tenths.
    #[serde(default)]
    pub(super) scale: i8,
    pub(super) systolic: Vec<Path>,
    pub(super) diastolic: Vec<Path>,
    #[serde(default)]
    pub(super) map: Vec<Path>,
    #[serde(default)]
    pub(super) pulse: Vec<Path>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Glucose {
    #[serde(default)]
    pub(super) when: Option<When>,
    #[serde(default)]
    pub(super) unless: Option<When>,
    pub(super) unit: UnitFrom,
    /// Power of ten: -2 for hundredths.
    #[serde(default)]
    pub(super) scale: i8,
    pub(super) glucose: Vec<Path>,
    #[serde(default)]
    pub(super) specimen: Option<String>,
    /// When this member itself says the meal (`fasting_glucose`).
    #[serde(default)]
    pub(super) meal: Option<Word<Meal>>,
}
