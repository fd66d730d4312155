//! The cards in force: the built-in ones, each replaced by a file of the same id where a folder is given.

use crate::{
    Card, Error, Rule,
    card::{Owner, fill, line_at},
    numbers::{self, Owned},
};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use store::CardRecord;
use vitals::Patient;

const BUILT_IN: [(&str, &str); 24] = [
    ("bp-c1.toml", include_str!("../../config/rules/bp-c1.toml")),
    ("bp-c2.toml", include_str!("../../config/rules/bp-c2.toml")),
    ("bp-s1.toml", include_str!("../../config/rules/bp-s1.toml")),
    ("glu-c1.toml", include_str!("../../config/rules/glu-c1.toml")),
    ("glu-c2.toml", include_str!("../../config/rules/glu-c2.toml")),
    ("glu-c3.toml", include_str!("../../config/rules/glu-c3.toml")),
    ("adh-1.toml", include_str!("../../config/rules/adh-1.toml")),
    ("dq-1.toml", include_str!("../../config/rules/dq-1.toml")),
    ("dq-2.toml", include_str!("../../config/rules/dq-2.toml")),
    ("bp-t1.toml", include_str!("../../config/rules/bp-t1.toml")),
    ("bp-t2.toml", include_str!("../../config/rules/bp-t2.toml")),
    ("bp-s2.toml", include_str!("../../config/rules/bp-s2.toml")),
    ("bp-s3.toml", include_str!("../../config/rules/bp-s3.toml")),
    ("bp-v1.toml", include_str!("../../config/rules/bp-v1.toml")),
    ("pul-1.toml", include_str!("../../config/rules/pul-1.toml")),
    ("glu-h1.toml", include_str!("../../config/rules/glu-h1.toml")),
    ("glu-s1.toml", include_str!("../../config/rules/glu-s1.toml")),
    ("glu-s2.toml", include_str!("../../config/rules/glu-s2.toml")),
    ("glu-t1.toml", include_str!("../../config/rules/glu-t1.toml")),
    ("glu-v1.toml", include_str!("../../config/rules/glu-v1.toml")),
    ("adh-2.toml", include_str!("../../config/rules/adh-2.toml")),
    ("dq-3.toml", include_str!("../../config/rules/dq-3.toml")),
    ("preg-1.toml", include_str!("../../config/rules/preg-1.toml")),
    ("fu-1.toml", include_str!("../../config/rules/fu-1.toml")),
];

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

/// Every card in force, and what stations and groups have of their own. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cards(Arc<Set>);

#[derive(Clone, Debug)]
struct Set {
    cards: BTreeMap<Rule, (Card, Origin)>,
    own: Owned,
}

impl Cards {
    /// The built-in cards.
    ///
    /// # Errors
    /// [`Error::Card`] when this program was built with a broken one.
    pub fn built_in() -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for (file, text) in BUILT_IN {
            let (rule, card) = Card::parse(&format!("config/rules/{file}"), text)?;
            all.insert(rule, (card, Origin::Card));
        }
        in_order(&all, &Read::new())?;
        Ok(Self(Arc::new(Set { cards: all, own: Owned::new() })))
    }

    /// The built-in cards, each replaced by the `.toml` file in `folder` that has its id, with the numbers of stations and
    /// groups from `numbers.toml` there.
    ///
    /// # Errors
    /// [`Error::Folder`] and [`Error::Card`]; nothing is replaced then.
    pub fn load(folder: Option<&Path>) -> Result<Self, Error> {
        let built_in = Self::built_in()?;
        let Some(folder) = folder else { return Ok(built_in) };
        let unreadable =
            |reason: std::io::Error| Error::Folder { folder: folder.display().to_string(), reason: reason.to_string() };
        let mut set = (*built_in.0).clone();
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .collect();
        files.sort();
        let (mut own, mut read) = (None, Read::new());
        for path in files {
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            let shown = path.display().to_string();
            if path.file_name().is_some_and(|name| name == numbers::FILE) {
                own = Some((shown, text));
                continue;
            }
            let (rule, card) = Card::parse(&shown, &text)?;
            set.cards.insert(rule, (card, Origin::Platform));
            read.insert(rule, (shown, text));
        }
        in_order(&set.cards, &read)?;
        if let Some((file, text)) = own {
            set.own = numbers::parse(&file, &text, |rule| set.cards.get(&rule).map(|(card, _)| card.clone()))?;
        }
        Ok(Self(Arc::new(set)))
    }

    /// One card. Every rule has one.
    pub fn get(&self, rule: Rule) -> Option<&Card> {
        self.0.cards.get(&rule).map(|(card, _)| card)
    }

    /// Every card, by rule.
    pub fn iter(&self) -> impl Iterator<Item = &Card> {
        self.0.cards.values().map(|(card, _)| card)
    }

    /// As data, for whoever lists them.
    pub fn records(&self) -> Vec<CardRecord> {
        let record = |card: &Card| CardRecord {
            id: card.id.clone(),
            version: card.version,
            body: serde_json::to_string(card).unwrap_or_default(),
        };
        self.iter().map(record).collect()
    }

    /// The numbers of one rule for one patient.
    pub fn numbers<'a>(&'a self, rule: Rule, patient: &'a Patient) -> Option<Numbers<'a>> {
        let (card, origin) = self.0.cards.get(&rule)?;
        let own = self.0.own.get(&rule).map_or(&[][..], Vec::as_slice);
        Some(Numbers { card, origin: *origin, own, patient })
    }
}

/// Where a card was read, for messages.
type Read = BTreeMap<Rule, (String, String)>;

/// Severities that overlap cannot be told apart: what is more urgent must lie beyond what is less.
fn in_order(cards: &BTreeMap<Rule, (Card, Origin)>, read: &Read) -> Result<(), Error> {
    for [nearer, farther] in Rule::ORDER {
        let of = |(rule, name): (Rule, &str)| Some(cards.get(&rule)?.0.parameter(name)?.default);
        let (Some(near), Some(far)) = (of(nearer), of(farther)) else { continue };
        if near < far {
            continue;
        }
        let (rule, name) = if read.contains_key(&farther.0) { farther } else { nearer };
        let (file, line) = read.get(&rule).map_or_else(
            || (format!("config/rules/{}.toml", rule.id().to_lowercase()), 1),
            |(file, text)| {
                let at = text.find(&format!("name = {name:?}")).unwrap_or_default();
                (file.clone(), line_at(text, at))
            },
        );
        let says = |(rule, name): (Rule, &str), value| format!("{} {name} = {value}", rule.id());
        let what = format!("{} is not below {}: severities overlap", says(nearer, near), says(farther, far));
        return Err(Error::Card { file, line, what, remedy: "Move one of the two numbers" });
    }
    Ok(())
}

/// A card's numbers as they hold for one patient.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    /// The card.
    pub card: &'a Card,
    origin: Origin,
    own: &'a [numbers::Own],
    patient: &'a Patient,
}

impl Numbers<'_> {
    /// A number and where it came from. A patient's own value counts only for numbers that a patient may own, held
    /// within the card's bounds. Not a number for a name that the card does not have (checked when the card is loaded).
    pub fn get(&self, name: &str) -> (f64, Origin) {
        let Some(p) = self.card.parameter(name) else { return (f64::NAN, self.origin) };
        if let Some(value) = self.planned(name).filter(|v| p.owner == Owner::Patient && v.is_finite()) {
            return (value.clamp(p.min, p.max), Origin::Patient);
        }
        numbers::find(self.own, name, self.patient).map_or((p.default, self.origin), |(value, from, _)| (value, from))
    }

    /// Where a number is written: the plan, the file of stations and groups, or the card's source.
    pub(crate) fn source(&self, p: &'_ crate::Parameter) -> String {
        match self.get(&p.name).1 {
            Origin::Patient => "plan".to_owned(),
            Origin::Station | Origin::Group => {
                numbers::find(self.own, &p.name, self.patient).map_or_else(|| p.source.clone(), |(.., s)| s.to_owned())
            }
            Origin::Card | Origin::Platform => p.source.clone(),
        }
    }

    /// The number alone.
    pub fn value(&self, name: &str) -> f64 {
        self.get(name).0
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
        match name {
            "homeSystolic" => plan.targets.home_systolic,
            "homeDiastolic" => plan.targets.home_diastolic,
            "fastingHigh" => plan.targets.fasting_high,
            "postMealHigh" => plan.targets.post_meal_high,
            "perWeek" => {
                let both = [plan.measuring.blood_pressure_per_week, plan.measuring.glucose_per_week];
                both.into_iter().flatten().filter(|n| *n > 0.0).reduce(f64::max)
            }
            _ => None,
        }
    }
}
