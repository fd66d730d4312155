//! Numbers that a station or a group of its patients has of its own: the file `numbers.toml` beside the cards.
//!
//! Goes in: TOML and the cards. Comes out: one value for each rule, number, station and group, or an error naming file,
//! line and remedy. Must never: move a number out of its card's bounds, or one that only the platform may set.

use crate::{
    Card, Error, Rule,
    card::{Owner, Unit, line_at},
    cards::Origin,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use vitals::{OrganisationId, Patient};

/// The name of the file.
pub(crate) const FILE: &str = "numbers.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    number: Vec<Spanned<Entry>>,
}

/// One number as the file says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rule: String,
    name: String,
    unit: Unit,
    value: f64,
    /// Whose patients; everybody's where it is absent.
    station: Option<OrganisationId>,
    /// A tag or condition of the patient; all of the station where it is absent.
    group: Option<String>,
    /// Who decided so, or where it is written.
    source: String,
}

/// One number of one rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Own {
    name: String,
    station: Option<OrganisationId>,
    group: Option<String>,
    value: f64,
    source: String,
}

impl Own {
    /// How near it is to this patient; none where it is not theirs. A group of a station is nearer than a group of
    /// everybody, a group nearer than a station.
    fn nearness(&self, patient: &Patient) -> Option<u8> {
        let station = self.station.is_some();
        if station && self.station != patient.organisation {
            return None;
        }
        let Some(group) = &self.group else { return Some(0) };
        patient.tags.iter().chain(&patient.conditions).any(|word| word == group).then_some(1 + u8::from(station))
    }
}

/// Every number of the file, by rule.
pub(crate) type Owned = BTreeMap<Rule, Vec<Own>>;

/// What holds for a patient where the file says something of it: the nearest; of two that are equally near (two groups),
/// the one that stands first in the file.
pub(crate) fn find<'a>(all: &'a [Own], name: &str, patient: &Patient) -> Option<(f64, Origin, &'a str)> {
    let mine = all.iter().filter(|own| own.name == name);
    let nearest = mine.filter_map(|own| own.nearness(patient).map(|n| (n, own))).rev().max_by_key(|(n, _)| *n)?;
    let (near, own) = nearest;
    Some((own.value, if near > 0 { Origin::Group } else { Origin::Station }, &own.source))
}

/// Reads and checks the file.
///
/// # Errors
/// [`Error::Card`], naming the line of the entry.
pub(crate) fn parse(file: &str, text: &str, card: impl Fn(Rule) -> Option<Card>) -> Result<Owned, Error> {
    let refuse = |offset: usize, what: String, remedy: &'static str| Error::Card {
        file: file.to_owned(),
        line: line_at(text, offset),
        what,
        remedy,
    };
    let parsed: File = toml::from_str(text).map_err(|e| {
        let what = e.message().lines().next().unwrap_or_default().to_owned();
        let remedy = "An entry is a [[number]] with rule, name, unit, value, source, and station or group or both";
        refuse(e.span().map_or(0, |span| span.start), what, remedy)
    })?;
    let mut all = Owned::new();
    for entry in parsed.number {
        let at = entry.span().start;
        let entry = entry.into_inner();
        let label = format!("{} {:?}", entry.rule, entry.name);
        let rule = Rule::parse(&entry.rule)
            .ok_or_else(|| refuse(at, format!("no rule {:?}", entry.rule), "Use an id of the catalogue"))?;
        let card = card(rule);
        let Some(known) = card.as_ref().and_then(|card| card.parameter(&entry.name)) else {
            return Err(refuse(at, format!("{label} is no number of that card"), "Use a name that the card has"));
        };
        if known.unit != entry.unit {
            let what = format!("{label} is in {}, not in {}", known.unit.as_str(), entry.unit.as_str());
            return Err(refuse(at, what, "Give the value in the card's unit"));
        }
        if known.owner == Owner::Platform {
            let what = format!("{label} may be set by the platform only");
            return Err(refuse(at, what, "Change it in a card of your own, for everybody, or leave it out"));
        }
        if !(known.min..=known.max).contains(&entry.value) {
            let what = format!("{label} = {} is not within {} and {}", entry.value, known.min, known.max);
            return Err(refuse(at, what, "Stay within the card's bounds"));
        }
        if entry.station.is_none() && entry.group.is_none() {
            let what = format!("{label} names neither a station nor a group");
            return Err(refuse(at, what, "Name one, or change the card"));
        }
        let own = Own {
            name: entry.name,
            station: entry.station,
            group: entry.group,
            value: entry.value,
            source: entry.source,
        };
        let mine = all.entry(rule).or_default();
        if mine.iter().any(|o| o.name == own.name && o.station == own.station && o.group == own.group) {
            return Err(refuse(at, format!("{label} is there twice for the same patients"), "Remove one"));
        }
        mine.push(own);
    }
    Ok(all)
}
