//! What is in force when: the installed cards, and over them what two persons signed, each from its own moment on.
//!
//! Goes in: cards, edits as the store keeps them, a moment. Comes out: cards, or why an edit is refused, naming field and
//! remedy. Must never: read a clock; let a number leave the bounds of the installed card.

use crate::{Card, Cards, Error, Owner, Rule, cards::overlap, numbers::Layer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use store::{CardRecord, RuleEdit, RuleScope, rule_edit_in_force};
use vitals::Timestamp;

/// What an edit says: a whole card, or some of its numbers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// The platform's card.
    Card(Box<Card>),
    /// Numbers by name.
    Parameters(BTreeMap<String, f64>),
}

impl Content {
    /// From a JSON object's text.
    ///
    /// # Errors
    /// [`Error::Edit`], naming the member.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut reader).map_err(|e| {
            let field = e.path().to_string();
            let words = e.into_inner().to_string();
            let what = words.split(" at line ").next().unwrap_or_default().to_owned();
            Error::Edit {
                field,
                what,
                remedy: "Send {\"card\": …} as GET shows it, or {\"parameters\": {name: number}}",
            }
        })
    }
}

/// The installed cards and every edit.
#[derive(Clone, Debug)]
pub struct Force {
    installed: Cards,
    edits: BTreeMap<String, Vec<RuleEdit>>,
}

impl Force {
    /// Of these cards and edits.
    pub fn new(installed: Cards, edits: Vec<RuleEdit>) -> Self {
        let mut by_rule: BTreeMap<String, Vec<RuleEdit>> = BTreeMap::new();
        edits.into_iter().for_each(|e| by_rule.entry(e.rule.clone()).or_default().push(e));
        Self { installed, edits: by_rule }
    }

    /// The cards in force at `at`. An edit that this program cannot run (it was signed under another version of it), or
    /// that stands against other cards than it was signed beside, is left out and said in the log: what was installed
    /// holds.
    pub fn at(&self, at: Timestamp) -> Cards {
        let mut held: Vec<&RuleEdit> = Vec::new();
        for edits in self.edits.values() {
            let scopes: BTreeSet<&RuleScope> = edits.iter().map(|e| &e.scope).collect();
            // The platform's first: a layer is checked against the card that it lies over.
            held.extend(scopes.into_iter().filter_map(|scope| rule_edit_in_force(edits, scope, at)));
        }
        loop {
            let mut cards = self.installed.clone();
            held.retain(|edit| match self.apply(&mut cards, edit) {
                Ok(()) => true,
                Err(e) => leave_out(edit, &e),
            });
            let against = |e: &RuleEdit| in_order(&cards, &e.rule, &e.scope).err().map(|fault| (e.id, fault));
            // What was signed last gives way.
            let Some((last, fault)) = held.iter().filter_map(|e| against(e)).max_by_key(|(id, _)| *id) else {
                return cards;
            };
            held.retain(|edit| edit.id != last || leave_out(edit, &fault));
        }
    }

    /// Checks what a rollback would bring back, `None` for what stood before any edit, beside what holds at `at` and beside
    /// whatever is signed for later; the installed card's version.
    ///
    /// # Errors
    /// [`Error::Edit`], naming field and remedy.
    pub fn check_return(&self, at: Timestamp, id: &str, scope: &RuleScope, body: Option<&str>) -> Result<u32, Error> {
        let base = self.card(&self.installed, id)?.2.version;
        let mut next = Some(at);
        while let Some(moment) = next {
            let mut others = self.clone();
            if let Some(edits) = others.edits.get_mut(id) {
                edits.retain(|e| e.scope != *scope || !e.has_begun(at));
            }
            let cards = others.at(moment);
            match body {
                Some(body) => drop(self.with(&cards, id, scope, Content::parse(body)?)?),
                None => in_order(&cards, id, scope)?,
            }
            next = self.next_after(moment);
        }
        Ok(base)
    }

    /// The next moment after `at` at which other cards are in force.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let signed = self.edits.values().flatten().filter(|e| e.state == store::EditState::Approved);
        signed.filter_map(|e| e.effective_from).filter(|from| *from > at).min()
    }

    fn apply(&self, cards: &mut Cards, edit: &RuleEdit) -> Result<(), Error> {
        let Some(body) = &edit.body else { return Ok(()) };
        let version = edit.version.unwrap_or_default();
        self.put(cards, &edit.rule, &edit.scope, Content::parse(body)?, version)
    }

    /// The card in force and the installed one, whose bounds an edit keeps.
    fn card<'a>(&'a self, cards: &'a Cards, rule: &str) -> Result<(Rule, &'a Card, &'a Card), Error> {
        let found = Rule::parse(rule).and_then(|r| Some((r, cards.get(r)?, self.installed.get(r)?)));
        found.ok_or_else(|| edit_error("id", format!("there is no rule {rule:?}"), "Use an id that GET /rules lists"))
    }

    fn put(&self, cards: &mut Cards, id: &str, scope: &RuleScope, content: Content, version: u32) -> Result<(), Error> {
        let (rule, present, installed) = self.card(cards, id)?;
        if *scope == RuleScope::default() {
            let card = Card { version, ..whole(present, installed, content)? };
            cards.put(rule, card);
        } else {
            let Content::Parameters(values) = content else {
                let what = "a card is the platform's".to_owned();
                return Err(edit_error("card", what, "Send {\"parameters\": …} for a station or a group"));
            };
            for (name, value) in &values {
                check_value(present, name, *value, Owner::Station)?;
            }
            cards.put_layer(rule, Layer { scope: scope.clone(), version, values });
        }
        Ok(())
    }

    /// Cards as they would be with an edit, for a rehearsal or to show a draft.
    ///
    /// # Errors
    /// [`Error::Edit`], naming field and remedy.
    pub fn with(&self, cards: &Cards, id: &str, scope: &RuleScope, content: Content) -> Result<Cards, Error> {
        let version = self.card(cards, id)?.1.version;
        let mut cards = cards.clone();
        self.put(&mut cards, id, scope, content, version)?;
        in_order(&cards, id, scope)?;
        Ok(cards)
    }

    /// Checks an edit, beside what holds at `at` and beside whatever is signed for later, and says it whole: the
    /// platform's numbers as the card that they make.
    ///
    /// # Errors
    /// [`Error::Edit`], naming field and remedy.
    pub fn check(&self, at: Timestamp, id: &str, scope: &RuleScope, content: Content) -> Result<Checked, Error> {
        let present = self.at(at);
        let cards = self.with(&present, id, scope, content.clone())?;
        let mut next = self.next_after(at);
        while let Some(later) = next {
            self.with(&self.at(later), id, scope, content.clone())?;
            next = self.next_after(later);
        }
        let (rule, card, installed) = self.card(&cards, id)?;
        let body = if *scope == RuleScope::default() { Content::Card(Box::new(card.clone())) } else { content };
        let body = serde_json::to_string(&body).unwrap_or_default();
        let shown = cards.records().into_iter().find(|r| r.id == rule.id());
        let shown = shown.unwrap_or_else(|| CardRecord { id: id.to_owned(), version: 0, body: "{}".to_owned() });
        Ok(Checked { body, shown, base: installed.version })
    }
}

/// False, and said in the log.
fn leave_out(edit: &RuleEdit, why: &Error) -> bool {
    tracing::error!(rule = edit.rule, version = edit.version, error = %why, "a signed edit is left out");
    false
}

/// An edit that may be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// To be stored.
    pub body: String,
    /// The card as it would be shown.
    pub shown: CardRecord,
    /// The installed card's version.
    pub base: u32,
}

fn edit_error(field: &str, what: String, remedy: &'static str) -> Error {
    Error::Edit { field: field.to_owned(), what, remedy }
}

/// The card that an edit makes of the platform's present one.
fn whole(present: &Card, installed: &Card, content: Content) -> Result<Card, Error> {
    let card = match content {
        Content::Card(card) => *card,
        Content::Parameters(values) => {
            let mut card = present.clone();
            for (name, value) in values {
                let found = card.parameters.iter_mut().find(|p| p.name == name);
                found.ok_or_else(|| unknown(present, &name))?.default = value;
            }
            card
        }
    };
    if card.id != installed.id {
        return Err(edit_error("id", "it is another rule's card".into(), "Send the card of the rule in the address"));
    }
    if (card.concept, card.kind) != (installed.concept, installed.kind) {
        let remedy = "Leave concept and kind as GET shows them; they are part of the program";
        return Err(edit_error("concept", "a rule stays about what it is about".into(), remedy));
    }
    for p in &card.parameters {
        let Some(hard) = installed.parameter(&p.name) else { return Err(unknown(installed, &p.name)) };
        let within = |v: f64| v >= hard.min && v <= hard.max; // also false for what is no number
        if ![p.min, p.max, p.default].into_iter().all(within) {
            let what = format!("outside the hard bounds {} to {} {}", hard.min, hard.max, hard.unit.as_str());
            return Err(edit_error(&format!("parameters.{}", p.name), what, "Stay within them"));
        }
    }
    card.check().map_err(|fault| edit_error(&fault.field, fault.what, fault.remedy))?;
    Ok(card)
}

/// Whether the numbers of a rule lie as they must beside each other and beside other rules', for everybody in the scope:
/// for all of them, if it is the platform's.
fn in_order(cards: &Cards, id: &str, scope: &RuleScope) -> Result<(), Error> {
    for kin in cards.kin_of(scope) {
        let mut about = cards.crossed(&kin).filter(|[near, far]| near.0.0.id() == id || far.0.0.id() == id);
        if let Some([near, far]) = about.next() {
            let name = if far.0.0.id() == id { far.0.1 } else { near.0.1 };
            let what = overlap([near, far]);
            return Err(edit_error(&format!("parameters.{name}"), what, "Move one of the two numbers"));
        }
    }
    Ok(())
}

/// Whether a number may be had by whoever is below the platform: a station (or a group), or a patient.
pub(crate) fn check_value(card: &Card, name: &str, value: f64, by: Owner) -> Result<(), Error> {
    let Some(p) = card.parameter(name) else { return Err(unknown(card, name)) };
    let field = format!("parameters.{name}");
    let may = p.owner == Owner::Patient || (p.owner == Owner::Station && by == Owner::Station);
    if !may {
        let (what, remedy) = match p.owner {
            Owner::Platform => ("it is the platform's to change", "Leave it out, or edit the card without a scope"),
            _ => ("it is the station's to change", "Leave it out, or have the station change it"),
        };
        return Err(edit_error(&field, what.into(), remedy));
    }
    if !(p.min..=p.max).contains(&value) {
        let what = format!("outside the bounds {} to {} {}", p.min, p.max, p.unit.as_str());
        return Err(edit_error(&field, what, "Stay within them"));
    }
    Ok(())
}

fn unknown(card: &Card, name: &str) -> Error {
    let known: Vec<&str> = card.parameters.iter().map(|p| p.name.as_str()).collect();
    let what = format!("{} has no parameter {name:?}; it has {}", card.id, known.join(", "));
    edit_error(&format!("parameters.{name}"), what, "Name one of them")
}
