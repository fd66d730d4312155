//! JSON as a device sends it: members with their values unread, numbers with their digits.
//!
//! Must never: recurse into what a device sent, lose a digit, choose between two members of one name that means something.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};
use vitals::{Decimal, Reason};

pub(crate) type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;
/// Members, and the elements of the one that was asked for as a list.
pub(crate) type Found<'a> = (Members<'a>, Option<Vec<&'a RawValue>>);

/// The members of a JSON object, values unread.
///
/// # Errors
/// When it is not an object, has very many members, or one comes twice: then nobody knows which of the two is meant.
pub(crate) fn members(text: &str) -> Result<Members<'_>, serde_json::Error> {
    read(text, Object::default()).map(|(members, _)| members)
}

/// The same of an object in which only `known` members mean something. Of the others there may be as many as a message
/// has room for, and what comes twice is there twice.
///
/// # Errors
/// When it is not an object, or one of `known` comes twice.
pub(crate) fn open_members<'a>(text: &'a str, known: &[&str]) -> Result<Members<'a>, serde_json::Error> {
    read(text, Object { known: Some(known), list: None }).map(|(members, _)| members)
}

/// The same, and the elements of one of `known` that is a list, in one look at the text; none where it is not there.
///
/// # Errors
/// As of [`open_members`], and when the member is no list.
pub(crate) fn open_members_and_list<'a>(
    text: &'a str,
    known: &[&str],
    list: &str,
) -> Result<Found<'a>, serde_json::Error> {
    read(text, Object { known: Some(known), list: Some(list) })
}

fn read<'a>(text: &'a str, object: Object<'_>) -> Result<Found<'a>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = json.deserialize_map(object)?;
    json.end()?;
    Ok(found)
}

#[derive(Default)]
struct Object<'k> {
    /// Those that may not come twice; none for all.
    known: Option<&'k [&'k str]>,
    /// One of them, of which the elements are wanted.
    list: Option<&'k str>,
}

/// Names that are compared with each other; of more, only those that mean something.
const FEW: usize = 32;

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut all, mut elements) = (Members::with_capacity(12), None);
        while let Some(key) = map.next_key_seed(Key)? {
            if self.known.is_none() && all.len() >= 256 {
                return Err(serde::de::Error::custom("too many members"));
            }
            let means_something = || self.known.is_none_or(|known| known.contains(&&*key));
            let is_list = self.list == Some(&*key);
            let twice = || is_list && elements.is_some() || all.iter().any(|(k, _)| *k == key);
            // Thousands of names that mean nothing cost no look at each other.
            if (all.len() <= FEW || means_something()) && twice() && means_something() {
                return Err(serde::de::Error::custom("a member comes twice"));
            }
            if is_list {
                elements = Some(map.next_value()?);
            } else {
                all.push((key, map.next_value()?));
            }
        }
        Ok((all, elements))
    }
}

/// A key, borrowed where it has no escapes.
struct Key;

impl<'de> serde::de::DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A JSON string's text; none for any other value.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    if !raw.starts_with('"') {
        return None;
    }
    match raw[1..raw.len() - 1].contains('\\') {
        false => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
        true => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
    }
}

pub(crate) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// A JSON number with its digits; none when absent or null.
pub(crate) fn number(value: Option<&RawValue>) -> Result<Option<Decimal>, Reason> {
    let Some(value) = value.filter(|v| !is_null(v)) else { return Ok(None) };
    if !value.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err(Reason::NoValue);
    }
    // A number that a Decimal cannot hold is no quantity that a meter measures.
    value.get().parse().map(Some).map_err(|_| Reason::Implausible)
}

/// A JSON object of these members; none where there are none.
pub(crate) fn object(members: &[(&str, &RawValue)]) -> Option<Box<str>> {
    if members.is_empty() {
        return None;
    }
    let mut out = String::from("{");
    for (i, (key, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(key).unwrap_or_default());
        out.push(':');
        out.push_str(value.get());
    }
    out.push('}');
    Some(out.into())
}

/// The elements of a JSON list, unread; none for any other value.
pub(crate) fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}
