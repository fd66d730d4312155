//! The cards in force: the built-in ones, each replaced by a file of the same id where a folder is given.

use crate::{
    Card, Error, Rule,
    card::{Owner, fill, line_at},
    catalogue::CardNumber,
    force,
    numbers::{Layer, Numbers, Origin, TARGETS},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};
use store::{CardRecord, RuleScope};
use vitals::{OrganisationId, Patient};

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

/// Patients who have the same numbers, plans apart: of an organisation, with some tags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kin {
    organisation: Option<OrganisationId>,
    tags: Vec<String>,
}

/// Every card in force, and what stations and groups have of their own. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cards(Arc<Set>);

#[derive(Clone, Debug)]
struct Set {
    cards: BTreeMap<Rule, (Card, Origin)>,
    /// The weakest first.
    layers: BTreeMap<Rule, Vec<Layer>>,
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
        Ok(Self(Arc::new(Set { cards: all, layers: BTreeMap::new() })))
    }

    /// The built-in cards, each replaced by the `.toml` file in `folder` that has its id.
    ///
    /// # Errors
    /// [`Error::Folder`] and [`Error::Card`]; nothing is replaced then.
    pub fn load(folder: Option<&Path>) -> Result<Self, Error> {
        let (cards, faults) = Self::load_all(folder)?;
        faults.into_iter().next().map_or(Ok(cards), Err)
    }

    /// The same with every card that is broken, so that all can be mended at once.
    pub(crate) fn load_all(folder: Option<&Path>) -> Result<(Self, Vec<Error>), Error> {
        let (built_in, mut faults) = (Self::built_in()?, Vec::new());
        let Some(folder) = folder else { return Ok((built_in, faults)) };
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
        let mut read = Read::new();
        for path in files {
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            let shown = path.display().to_string();
            if path.file_name().is_some_and(|name| name == "numbers.toml") {
                faults.push(Error::Card {
                    file: shown,
                    line: 1,
                    what: "numbers of stations and groups have no file".into(),
                    remedy: "Take it out and send them as edits: PUT /api/v1/rules/{id} with a scope, signed by a second \
                             person",
                });
                continue;
            }
            match Card::parse(&shown, &text) {
                Ok((rule, card)) => {
                    set.put(rule, card);
                    read.insert(rule, (shown, text));
                }
                Err(fault) => faults.push(fault),
            }
        }
        faults.extend(in_order(&set.cards, &read).err());
        Ok((Self(Arc::new(set)), faults))
    }

    /// These cards, each replaced by the card of its id in `path`: a file, or a folder of `.toml` files.
    ///
    /// # Errors
    /// [`Error::Folder`] and [`Error::Card`]; nothing is replaced then.
    pub fn with_files(&self, path: &Path) -> Result<Self, Error> {
        let (mut these, mut read) = (self.clone(), Read::new());
        for (rule, card, from) in files(path)? {
            these.put(rule, card);
            read.insert(rule, from);
        }
        in_order(&these.0.cards, &read)?;
        Ok(these)
    }

    /// The cards in `path`: a file, or a folder of `.toml` files.
    ///
    /// # Errors
    /// [`Error::Folder`] and [`Error::Card`].
    pub fn files(path: &Path) -> Result<Vec<(Rule, Card)>, Error> {
        Ok(files(path)?.into_iter().map(|(rule, card, _)| (rule, card)).collect())
    }

    /// Whether a patient may have the rule parameters of their plan.
    ///
    /// # Errors
    /// [`Error::Edit`], naming the member and the remedy.
    pub fn check_plan(&self, patient: &Patient) -> Result<(), Error> {
        for (id, values) in &patient.plan.parameters {
            let card = Rule::parse(id).and_then(|rule| self.get(rule)).ok_or_else(|| Error::Edit {
                field: format!("parameters.{id}"),
                what: "there is no such rule".into(),
                remedy: "Use an id that GET /rules lists",
            })?;
            for (name, value) in values {
                force::check_value(card, name, *value, Owner::Patient).map_err(|e| match e {
                    Error::Edit { what, remedy, .. } => {
                        Error::Edit { field: format!("parameters.{id}.{name}"), what, remedy }
                    }
                    e => e,
                })?;
            }
        }
        for rule in Rule::ALL {
            let Some(numbers) = self.numbers(rule, patient) else { continue };
            for (name, target) in TARGETS {
                let Some((value, p)) = target(&patient.plan.targets).zip(numbers.card.parameter(name)) else {
                    continue;
                };
                if !(p.min..=p.max).contains(&value) {
                    return Err(Error::Edit {
                        field: format!("targets.{name}"),
                        what: format!("outside the bounds {} to {} {} of {}", p.min, p.max, p.unit.as_str(), rule.id()),
                        remedy: "Stay within them",
                    });
                }
            }
        }
        let number = |(rule, name)| self.numbers(rule, patient).map(|n| n.get(name));
        for [near, far] in Rule::crossed(|n| number(n).map(|(value, _)| value)) {
            let planned =
                |(rule, name): CardNumber| number((rule, name)).is_some_and(|(_, from)| from == Origin::Patient);
            let Some((rule, name)) = [near.0, far.0].into_iter().find(|n| planned(*n)) else { continue };
            return Err(Error::Edit {
                field: format!("parameters.{}.{name}", rule.id()),
                what: overlap([near, far]),
                remedy: "Move one of the two numbers, or the target",
            });
        }
        Ok(())
    }

    /// Replaces a card; it is the platform's from here on.
    pub(crate) fn put(&mut self, rule: Rule, card: Card) {
        Arc::make_mut(&mut self.0).put(rule, card);
    }

    /// Gives a scope values of its own, in the place of those that it had.
    pub(crate) fn put_layer(&mut self, rule: Rule, layer: Layer) {
        let layers = Arc::make_mut(&mut self.0).layers.entry(rule).or_default();
        layers.retain(|l| l.scope != layer.scope);
        layers.push(layer);
        layers.sort_by(|a, b| a.rank().cmp(&b.rank()));
    }

    /// Everybody within a scope whose numbers may differ: of each organisation that has numbers of its own, with none,
    /// one or two of the tags that have.
    pub(crate) fn kin_of(&self, scope: &RuleScope) -> Vec<Kin> {
        let scopes = || self.0.layers.values().flatten().map(|layer| &layer.scope);
        let organisations: BTreeSet<_> = match scope.organisation {
            Some(one) => [Some(one)].into(),
            None => scopes().map(|s| s.organisation).chain([None]).collect(),
        };
        let tags: BTreeSet<&String> = scopes().filter_map(|s| s.tag.as_ref()).collect();
        let mut sets: BTreeSet<Vec<String>> = BTreeSet::new();
        for (first, second) in tags.iter().flat_map(|a| tags.iter().map(move |b| (*a, *b))) {
            for some in [vec![], vec![first], vec![first, second]] {
                let mut all: Vec<String> = some.into_iter().chain(scope.tag.as_ref()).cloned().collect();
                all.sort();
                all.dedup();
                sets.insert(all);
            }
        }
        sets.insert(scope.tag.iter().cloned().collect());
        let with = |organisation| sets.iter().map(move |tags| Kin { organisation, tags: tags.clone() });
        organisations.into_iter().flat_map(with).collect()
    }

    /// The pairs of numbers that are the wrong way round for some patients, plans apart.
    pub(crate) fn crossed(&self, kin: &Kin) -> impl Iterator<Item = [(CardNumber, f64); 2]> {
        Rule::crossed(|(rule, name)| {
            let mine = |l: &&Layer| l.is_of(kin.organisation, |tag| kin.tags.contains(tag));
            let mut layers = self.0.layers.get(&rule).into_iter().flatten().rev().filter(mine);
            let own = layers.find_map(|layer| layer.values.get(name).copied());
            own.or_else(|| Some(self.get(rule)?.parameter(name)?.default))
        })
    }

    /// One card. Every rule has one.
    pub fn get(&self, rule: Rule) -> Option<&Card> {
        self.0.cards.get(&rule).map(|(card, _)| card)
    }

    /// Every card, by rule.
    pub fn iter(&self) -> impl Iterator<Item = &Card> {
        self.0.cards.values().map(|(card, _)| card)
    }

    /// As data, for whoever lists them: numbers with their bounds, and what the card says to a doctor with them.
    pub fn records(&self) -> Vec<CardRecord> {
        let record = |(card, origin): &(Card, Origin)| CardRecord {
            id: card.id.clone(),
            version: card.version,
            body: serde_json::to_string(&Shown::of(card, *origin)).unwrap_or_default(),
        };
        self.0.cards.values().map(record).collect()
    }

    /// The numbers of one rule for one patient.
    pub fn numbers<'a>(&'a self, rule: Rule, patient: &'a Patient) -> Option<Numbers<'a>> {
        let (card, origin) = self.0.cards.get(&rule)?;
        let layers = self.0.layers.get(&rule).map_or(&[][..], Vec::as_slice);
        Some(Numbers { card, origin: *origin, layers, patient })
    }
}

impl Set {
    fn put(&mut self, rule: Rule, mut card: Card) {
        // A card that was written before it had words for causes.
        if let Some((before, _)) = self.cards.get(&rule).filter(|_| card.causes.is_empty()) {
            card.causes.clone_from(&before.causes);
        }
        self.cards.insert(rule, (card, Origin::Platform));
    }
}

/// A card as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    version: u32,
    concept: vitals::Concept,
    kind: crate::Subject,
    predicate: crate::Predicate,
    guideline: &'a str,
    /// `card` or `platform`.
    from: &'static str,
    title: &'a crate::Text,
    text: crate::Text,
    clears: crate::Text,
    parameters: &'a [crate::Parameter],
    /// The card as it may be edited and sent back.
    card: &'a Card,
}

impl<'a> Shown<'a> {
    fn of(card: &'a Card, origin: Origin) -> Self {
        let said = |text: &str| fill(text, |name| card.parameter(name).map_or(f64::NAN, |p| p.default));
        let both = |t: &crate::Text| crate::Text { zh_cn: said(&t.zh_cn), en: said(&t.en) };
        Self {
            id: &card.id,
            version: card.version,
            concept: card.concept,
            kind: card.kind,
            predicate: card.predicate,
            guideline: &card.guideline,
            from: origin.as_str(),
            title: &card.title,
            text: both(&card.text),
            clears: both(&card.clears),
            parameters: &card.parameters,
            card,
        }
    }
}

/// A file's name and its text, for messages.
type Source = (String, String);

/// Where each card was read.
type Read = BTreeMap<Rule, Source>;

/// The cards in `path`, each with where it was read.
fn files(path: &Path) -> Result<Vec<(Rule, Card, Source)>, Error> {
    let unreadable =
        |reason: std::io::Error| Error::Folder { folder: path.display().to_string(), reason: reason.to_string() };
    let mut files = vec![path.to_owned()];
    if !path.is_file() {
        let all = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unreadable)?;
        files = all.into_iter().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
        files.sort();
    }
    let card = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).map_err(unreadable)?;
        let file = path.display().to_string();
        Card::parse(&file, &text).map(|(rule, card)| (rule, card, (file, text)))
    };
    files.into_iter().map(card).collect()
}

/// Severities that overlap cannot be told apart: what is more urgent must lie beyond what is less.
fn in_order(cards: &BTreeMap<Rule, (Card, Origin)>, read: &Read) -> Result<(), Error> {
    let of = |(rule, name): CardNumber| Some(cards.get(&rule)?.0.parameter(name)?.default);
    let Some([near, far]) = Rule::crossed(of).next() else { return Ok(()) };
    let (rule, name) = if read.contains_key(&far.0.0) { far.0 } else { near.0 };
    let (file, line) = read.get(&rule).map_or_else(
        || (format!("config/rules/{}.toml", rule.id().to_lowercase()), 1),
        |(file, text)| {
            let at = text.find(&format!("name = {name:?}")).unwrap_or_default();
            (file.clone(), line_at(text, at))
        },
    );
    Err(Error::Card { file, line, what: overlap([near, far]), remedy: "Move one of the two numbers" })
}

/// What is wrong with a pair of numbers, in words.
pub(crate) fn overlap([near, far]: [(CardNumber, f64); 2]) -> String {
    let says = |((rule, name), value): (CardNumber, f64)| format!("{} {name} = {value}", rule.id());
    format!("{} is not below {}: severities or steps overlap", says(near), says(far))
}
