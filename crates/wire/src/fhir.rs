//! FHIR R4, JSON: an Observation, or a Bundle of them (contract: device protocol, section 2; HL7 FHIR R4 4.0.1).
//!
//! Goes in: the payload of `…/fhir`. Comes out: a [`Message`] as from a JSON message, one [`Item`] for each blood
//! pressure panel or glucose, with its faults beside it.
//! Must never: take the word of a resource for whose reading it is (`subject` and its kin are not even kept with the
//! reading), guess a unit, a code or a time, understand only half of a resource: a `modifierExtension` is a fault.

mod codes;
mod observation;

use crate::{
    json::{Members, list, members, text},
    reading_v1::{Item, MOST_READINGS, Message, Unreadable},
};
use bytes::Bytes;
use observation::{Links, Pulse};
use serde_json::value::RawValue;
use vitals::{Reason, Values};

/// Where a device's own number stands: an `identifier` with this system.
pub const SEQ_SYSTEM: &str = "urn:hearthbeat:seq";
/// An `extension` with a whole number: which person's button.
pub const SLOT_EXTENSION: &str = "urn:hearthbeat:user-slot";
/// An `extension` with a text: a kiosk's one-use token.
pub const SESSION_EXTENSION: &str = "urn:hearthbeat:session";

/// Reads an Observation or a Bundle.
///
/// # Errors
/// [`Unreadable`] when it cannot be read as a whole: broken JSON, another resource, over 200 Observations.
pub fn decode(payload: &Bytes) -> Result<Message, Unreadable> {
    let unreadable = |reason, id| Unreadable { reason, id };
    let whole = std::str::from_utf8(payload).ok().and_then(|t| serde_json::from_str::<&RawValue>(t.trim()).ok());
    let whole = whole.ok_or_else(|| unreadable(Reason::BrokenMessage, None))?;
    let all = members(whole.get()).map_err(|_| unreadable(Reason::BrokenMessage, None))?;
    let member = |name: &str| find(&all, name);
    let id: Option<Box<str>> =
        member("id").and_then(text).filter(|t| (1..=64).contains(&t.chars().count())).map(Into::into);
    match member("resourceType").and_then(text).as_deref() {
        Some("Observation") => {
            let item = observation::decode(whole, payload).0;
            Ok(Message { id, items: vec![Item { raw: payload.clone(), ..item }], ..Message::default() })
        }
        Some("Bundle") => {
            let broken = || unreadable(Reason::BrokenMessage, id.clone());
            let entries = match member("entry") {
                None => Vec::new(),
                Some(entries) => list(entries).ok_or_else(broken)?,
            };
            let read = entries.iter().map(|entry| Entry::read(entry, payload)).collect::<Vec<_>>();
            let items = joined(read);
            if items.len() > MOST_READINGS {
                return Err(broken());
            }
            Ok(Message { id, items, ..Message::default() })
        }
        _ => Err(unreadable(Reason::KindUnknown, id)),
    }
}

fn find<'a>(all: &Members<'a>, name: &str) -> Option<&'a RawValue> {
    all.iter().find(|(key, _)| key == name).map(|(_, value)| *value).filter(|v| v.get() != "null")
}

/// One entry of a Bundle.
struct Entry<'a> {
    /// Under which others refer to it.
    names: Vec<String>,
    resource: Option<&'a RawValue>,
    item: Item,
    pulse: Option<Pulse>,
    links: Links,
    /// A pulse that went into its pressure.
    taken: bool,
}

impl<'a> Entry<'a> {
    fn read(entry: &'a RawValue, payload: &Bytes) -> Self {
        let all = members(entry.get()).unwrap_or_default();
        let mut names: Vec<String> = find(&all, "fullUrl").and_then(text).map(Into::into).into_iter().collect();
        let Some(resource) = find(&all, "resource") else {
            let item = Item {
                faults: vec![Reason::BrokenMessage],
                raw: payload.slice_ref(entry.get().as_bytes()),
                ..Item::default()
            };
            return Self { names, resource: None, item, pulse: None, links: Links::default(), taken: false };
        };
        let (item, pulse, links) = observation::decode(resource, payload);
        let id = members(resource.get()).ok().and_then(|all| find(&all, "id").and_then(text).map(String::from));
        names.extend(id.map(|id| format!("Observation/{id}")));
        Self { names, resource: Some(resource), item, pulse, links, taken: false }
    }

    fn refers_to(&self, other: &Self) -> bool {
        self.links.iter().any(|link| other.names.contains(link))
    }
}

/// The readings of a Bundle, oldest first as sent. A pulse with an Observation of its own joins the pressure that one of
/// the two says it belongs to (`hasMember`, `derivedFrom`); a pulse alone is no reading that this product knows.
fn joined(mut entries: Vec<Entry<'_>>) -> Vec<Item> {
    let is_pressure = |e: &Entry<'_>| matches!(e.item.measured, Some((Values::Pressure { .. }, _)));
    for i in 0..entries.len() {
        let Some(Pulse(beats)) = entries[i].pulse else { continue };
        let mut owners = (0..entries.len())
            .filter(|j| is_pressure(&entries[*j]))
            .filter(|j| entries[i].refers_to(&entries[*j]) || entries[*j].refers_to(&entries[i]));
        let (Some(owner), None) = (owners.next(), owners.next()) else { continue };
        let (Some(of_pulse), Some(of_pressure)) = (entries[i].resource, entries[owner].resource) else { continue };
        // Held, the two lie together, so that a replay finds what the first arrival found.
        let raw = Bytes::from(together(&entries[owner], of_pressure, &entries[i], of_pulse));
        let item = &mut entries[owner].item;
        item.raw = raw;
        if let Some((Values::Pressure { pulse, .. }, _)) = &mut item.measured {
            match *pulse {
                None => *pulse = Some(beats),
                Some(own) if own.normalized() == beats.normalized() => {}
                Some(_) => item.faults.push(Reason::DecodeMismatch),
            }
        }
        entries[i].taken = true;
    }
    entries.into_iter().filter(|e| !e.taken).map(|e| e.item).collect()
}

/// A Bundle of a pressure and its pulse.
fn together(owner: &Entry<'_>, pressure: &RawValue, other: &Entry<'_>, pulse: &RawValue) -> String {
    let entry = |e: &Entry<'_>, resource: &RawValue| {
        let url = e.names.first().filter(|n| !n.starts_with("Observation/"));
        let url = url.map(|u| format!("\"fullUrl\":{},", serde_json::to_string(u).unwrap_or_default()));
        format!("{{{}\"resource\":{}}}", url.unwrap_or_default(), resource.get())
    };
    format!(r#"{{"resourceType":"Bundle","entry":[{},{}]}}"#, entry(owner, pressure), entry(other, pulse))
}

#[cfg(test)]
mod tests;
