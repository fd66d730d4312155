//! A rule card: fixed slots, a closed vocabulary, no expressions. TOML in, [`Card`] out, or an error naming file, line
//! and remedy. Must never: hold a number that has no name, unit, bounds, owner and source.

use crate::{Cause, Error, catalogue::Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vitals::Concept;

/// What a rule may ask of the readings. Closed: a card cannot say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Predicate {
    Any,
    KOfN,
    WindowMean,
    Consecutive,
    WindowShift,
    CountDays,
    Absence,
    Cv,
    RiskIndex,
    Flag,
    Unacked,
    Symptom,
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Subject {
    BloodPressure,
    BloodGlucose,
    Any,
}

/// The unit of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Unit {
    #[serde(rename = "mmHg")]
    MmHg,
    #[serde(rename = "mmHg2")]
    MmHgSquared,
    #[serde(rename = "mmol/L")]
    MmolPerL,
    #[serde(rename = "min")]
    Minutes,
    #[serde(rename = "h")]
    Hours,
    #[serde(rename = "d")]
    Days,
    #[serde(rename = "years")]
    Years,
    #[serde(rename = "count")]
    Count,
    #[serde(rename = "per_week")]
    PerWeek,
    #[serde(rename = "per_min")]
    PerMinute,
    #[serde(rename = "ratio")]
    Ratio,
    #[serde(rename = "%")]
    Percent,
}

impl Unit {
    /// As the card writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MmHg => "mmHg",
            Self::MmHgSquared => "mmHg2",
            Self::MmolPerL => "mmol/L",
            Self::Minutes => "min",
            Self::Hours => "h",
            Self::Days => "d",
            Self::Years => "years",
            Self::Count => "count",
            Self::PerWeek => "per_week",
            Self::PerMinute => "per_min",
            Self::Ratio => "ratio",
            Self::Percent => "%",
        }
    }
}

/// Who may change a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Owner {
    Platform,
    Station,
    Patient,
}

/// One named number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// As plans and texts name it.
    pub name: String,
    /// Never guessed.
    pub unit: Unit,
    /// Used where nobody said otherwise.
    pub default: f64,
    /// Hard lower bound.
    pub min: f64,
    /// Hard upper bound.
    pub max: f64,
    /// Who may change it.
    pub owner: Owner,
    /// Where the number comes from.
    pub source: String,
}

/// A text in both languages. `{name}` stands for a parameter's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Text {
    #[serde(rename = "zh-CN")]
    pub zh_cn: String,
    pub en: String,
}

/// A rule as a medical lead signs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Which rule.
    pub id: String,
    /// Counts edits.
    pub version: u32,
    /// What an alert of it is about.
    pub concept: Concept,
    /// What it looks at.
    pub kind: Subject,
    /// What it asks.
    pub predicate: Predicate,
    /// Where the rule comes from.
    pub guideline: String,
    /// A few words.
    pub title: Text,
    /// For a GP.
    pub text: Text,
    /// What would end it.
    pub clears: Text,
    /// What it says of each cause, where the rule names one; those of the built-in card where there is none.
    #[serde(default, rename = "cause", skip_serializing_if = "BTreeMap::is_empty")]
    pub causes: BTreeMap<Cause, Text>,
    /// Its numbers.
    #[serde(default, rename = "parameter", alias = "parameters")]
    pub parameters: Vec<Parameter>,
}

impl Card {
    /// Reads and checks one card; `file` is for messages.
    ///
    /// # Errors
    /// [`Error::Card`] for an unknown key, id, predicate or unit, a missing number, a default outside its bounds, or a
    /// text that names a parameter which the card does not have.
    pub fn parse(file: &str, text: &str) -> Result<(Rule, Self), Error> {
        let card: Self = toml::from_str(text).map_err(|e| Error::Card {
            file: file.to_owned(),
            line: e.span().map_or(1, |span| line_at(text, span.start)),
            what: e.message().lines().next().unwrap_or_default().to_owned(),
            remedy: "A card has only the slots of config/rules/bp-c1.toml, and every number has \
                     name, unit, default, min, max, owner and source",
        })?;
        match card.check() {
            Ok(rule) => Ok((rule, card)),
            Err(Fault { near, what, remedy, .. }) => {
                let line = text.find(&near).map_or(1, |at| line_at(text, at));
                Err(Error::Card { file: file.to_owned(), line, what, remedy })
            }
        }
    }

    /// Whether this program can run it.
    pub(crate) fn check(&self) -> Result<Rule, Fault> {
        let Some(rule) = Rule::parse(&self.id) else {
            let what = format!("no rule {:?}", self.id);
            return Err(Fault::new("id", "id", what, "Use an id of the catalogue that this version runs"));
        };
        if self.predicate != rule.predicate() {
            return Err(Fault::new(
                "predicate",
                "predicate",
                format!("{} cannot be judged with this predicate", self.id),
                "Take the predicate of the built-in card; what a rule asks is part of the program",
            ));
        }
        for (name, unit) in rule.parameters() {
            if !self.parameters.iter().any(|p| p.name == *name && p.unit == *unit) {
                let what = format!("parameter {name:?} in {} is missing", unit.as_str());
                return Err(Fault::new("parameters", "id", what, "Add a [[parameter]] with that name and unit"));
            }
        }
        for p in &self.parameters {
            self.check_parameter(rule, p)?;
        }
        let wanted = if rule == Rule::Adh1 { Cause::ALL.len() } else { 0 };
        if !self.causes.is_empty() && self.causes.len() != wanted {
            let what = format!("{} has words for {} causes, not for {wanted}", self.id, self.causes.len());
            return Err(Fault::new("cause", "[cause.", what, "Give every cause of config/rules/adh-1.toml, or none"));
        }
        let said = [("title", &self.title), ("text", &self.text), ("clears", &self.clears)];
        for (field, t) in said.into_iter().chain(self.causes.values().map(|t| ("cause", t))) {
            for words in [&t.zh_cn, &t.en] {
                if let Some(name) = unknown_placeholder(words, &self.parameters) {
                    let what = format!("the text names {{{name}}}, which is no parameter of this card");
                    return Err(Fault::new(field, &format!("{{{name}}}"), what, "Name one of the card's parameters"));
                }
            }
        }
        Ok(rule)
    }

    fn check_parameter(&self, rule: Rule, p: &Parameter) -> Result<(), Fault> {
        let (field, near) = (format!("parameters.{}", p.name), format!("name = {:?}", p.name));
        let fault = |what: String, remedy| Err(Fault::new(&field, &near, what, remedy));
        if !rule.parameters().iter().any(|(name, _)| p.name == *name) {
            return fault(format!("{} has no parameter {:?}", self.id, p.name), "Remove it");
        }
        if self.parameters.iter().filter(|other| other.name == p.name).count() > 1 {
            return fault(format!("parameter {:?} is there twice", p.name), "Remove one");
        }
        if !(p.min <= p.default && p.default <= p.max) {
            let what = format!("the default of {:?} is not within min and max", p.name);
            return fault(what, "Give min <= default <= max");
        }
        Ok(())
    }

    /// A parameter by name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }
}

/// Why a card is refused: which slot, what to look for in its file, what is wrong, what to do.
#[derive(Debug)]
pub(crate) struct Fault {
    pub field: String,
    near: String,
    pub what: String,
    pub remedy: &'static str,
}

impl Fault {
    fn new(field: &str, near: &str, what: String, remedy: &'static str) -> Self {
        Self { field: field.to_owned(), near: near.to_owned(), what, remedy }
    }
}

pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
}

fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name))
}

fn unknown_placeholder<'a>(text: &'a str, known: &[Parameter]) -> Option<&'a str> {
    placeholders(text).find(|name| !known.iter().any(|p| p.name == *name))
}

/// `text` with each `{name}` replaced by what `value` says of it.
pub(crate) fn fill(text: &str, value: impl Fn(&str) -> f64) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, tail)) = after.split_once('}') else { break };
        let number = value(name);
        out.push_str(&format!("{}", (number * 100.0).round() / 100.0));
        rest = tail;
    }
    out.push_str(rest);
    out
}
