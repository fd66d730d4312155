//! The numbers of one rule for one patient, and where each came from: the card, the station, a group, the plan.
//!
//! Goes in: a card, what stations and groups signed, a patient. Comes out: a number within the card's bounds, with its
//! origin. Must never: take a value of somebody who does not own the number.

use crate::{
    Card,
    card::{Owner, fill},
};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};
use store::RuleScope;
use vitals::{OrganisationId, Patient, Targets};

/// Where a number came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The built-in card.
    Card,
    /// A card of the installation.
    Platform,
    /// The patient's station.
    Station,
    /// A group of patients.
    Group,
    /// The patient's plan.
    Patient,
}

impl Origin {
    /// The word in the evidence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Platform => "platform",
            Self::Station => "station",
            Self::Group => "group",
            Self::Patient => "patient",
        }
    }
}

/// What a station or a group has of its own, signed by two persons.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    pub scope: RuleScope,
    /// Of the rule, as this layer made it.
    pub version: u32,
    pub values: BTreeMap<String, f64>,
}

impl Layer {
    /// Higher wins: a group before a station, a group of one station before the same group everywhere. Of two groups
    /// of one patient the first by name wins.
    pub(crate) fn rank(&self) -> (bool, bool, std::cmp::Reverse<&Option<String>>) {
        (self.scope.tag.is_some(), self.scope.organisation.is_some(), std::cmp::Reverse(&self.scope.tag))
    }

    pub(crate) fn is_of(&self, organisation: Option<OrganisationId>, carries: impl FnOnce(&String) -> bool) -> bool {
        self.scope.organisation.is_none_or(|o| organisation == Some(o)) && self.scope.tag.as_ref().is_none_or(carries)
    }

    pub(crate) fn holds_for(&self, patient: &Patient) -> bool {
        let carries = |tag: &String| patient.tags.contains(tag) || patient.conditions.contains(tag);
        self.is_of(patient.organisation, carries)
    }
}

/// Targets of a plan that are parameters of cards under the same name.
pub(crate) type Target = (&'static str, fn(&Targets) -> Option<f64>);
pub(crate) const TARGETS: [Target; 4] = [
    ("homeSystolic", |t| t.home_systolic),
    ("homeDiastolic", |t| t.home_diastolic),
    ("fastingHigh", |t| t.fasting_high),
    ("postMealHigh", |t| t.post_meal_high),
];

/// Of a rule's version and numbers; they may have been written down and read.
pub(crate) fn mark<'n>(version: u32, numbers: impl Iterator<Item = (&'n str, Option<f64>)>) -> u64 {
    let mut hash = DefaultHasher::new();
    version.hash(&mut hash);
    for (name, value) in numbers {
        // As text: what is written and read may differ in the last digit.
        let value = value.filter(|v| v.is_finite()).map(|v| format!("{v:.6}"));
        (name, value).hash(&mut hash);
    }
    hash.finish()
}

/// A card's numbers as they hold for one patient.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    /// The card.
    pub card: &'a Card,
    /// Of the card itself.
    pub(crate) origin: Origin,
    /// The weakest first.
    pub(crate) layers: &'a [Layer],
    pub(crate) patient: &'a Patient,
}

impl Numbers<'_> {
    /// The rule's version for this patient: that of the newest among the card and what their station and groups have.
    pub fn version(&self) -> u32 {
        self.mine().map(|layer| layer.version).fold(self.card.version, u32::max)
    }

    fn mine(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().rev().filter(|layer| layer.holds_for(self.patient))
    }

    /// A number and where it came from. A patient's own value counts only for numbers that a patient may own, held
    /// within the card's bounds. Not a number for a name that the card does not have (checked when the card is loaded).
    pub fn get(&self, name: &str) -> (f64, Origin) {
        let Some(p) = self.card.parameter(name) else { return (f64::NAN, self.origin) };
        if let Some(value) = self.planned(name).filter(|v| p.owner == Owner::Patient && v.is_finite()) {
            return (value.clamp(p.min, p.max), Origin::Patient);
        }
        let signed = if self.layers.is_empty() || p.owner == Owner::Platform {
            None
        } else {
            self.mine().find_map(|layer| Some((layer, *layer.values.get(name)?)))
        };
        if let Some((layer, value)) = signed {
            let origin = if layer.scope.tag.is_some() { Origin::Group } else { Origin::Station };
            return (value.clamp(p.min, p.max), origin);
        }
        (p.default, self.origin)
    }

    /// Where a number is written: the plan, the edit that two persons signed, or the card's source.
    pub(crate) fn source(&self, p: &'_ crate::Parameter) -> String {
        let signed = || self.mine().find(|layer| layer.values.contains_key(&p.name));
        match self.get(&p.name).1 {
            Origin::Patient => "plan".to_owned(),
            Origin::Station | Origin::Group => {
                signed().map_or_else(|| p.source.clone(), |layer| format!("version {}", layer.version))
            }
            Origin::Card | Origin::Platform => p.source.clone(),
        }
    }

    /// The number alone.
    pub fn value(&self, name: &str) -> f64 {
        self.get(name).0
    }

    /// What tells them from any others.
    pub(crate) fn mark(&self) -> u64 {
        mark(self.version(), self.card.parameters.iter().map(|p| (p.name.as_str(), Some(self.value(&p.name)))))
    }

    /// The card's text with this patient's numbers.
    pub fn fill(&self, text: &str) -> String {
        fill(text, |name| self.value(name))
    }

    fn planned(&self, name: &str) -> Option<f64> {
        let plan = &self.patient.plan;
        if let Some(value) = plan.parameters.get(&self.card.id).and_then(|own| own.get(name)) {
            return Some(*value);
        }
        if name == "perWeek" {
            let both = [plan.measuring.blood_pressure_per_week, plan.measuring.glucose_per_week];
            return both.into_iter().flatten().filter(|n| *n > 0.0).reduce(f64::max);
        }
        TARGETS.iter().find(|(target, _)| *target == name).and_then(|(_, of)| of(&plan.targets))
    }
}
