//! The reading message, version 1 (contract: device protocol, section 3).
//!
//! Goes in: the payload. Comes out: one [`Item`] for each reading, with its faults beside it, so that one bad reading
//! never blocks its neighbours; or [`Unreadable`] when the message cannot be read as a whole.
//! Must never: recurse into what a device sent, guess a unit, drop a member, judge a value.

mod item;
mod rfc3339;

use crate::json;
use bytes::Bytes;
use jiff::civil::DateTime;
use serde_json::value::RawValue;
use std::borrow::Cow;
use vitals::{Context, DeviceId, DeviceTime, Reason, Statuses, Timestamp, Unit, Values, Zone};

/// What the contract gives a meaning.
const MEMBERS: &[&str] = &["v", "msgId", "clock", "historical", "readings"];
/// Most readings in a message (contract).
pub const MOST_READINGS: usize = 200;

/// The point and as many decimals of a second as are looked at; more are finer than anything here.
const FINEST: usize = 10;

/// A message that can be read.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Given by the sender, for the receipt.
    pub id: Option<Box<str>>,
    /// What the device's clock showed at a known moment.
    pub clock: Option<ClockPair>,
    /// Backfill: forbids `received`.
    pub historical: bool,
    /// In the order sent.
    pub items: Vec<Item>,
}

/// A message that is one held reading as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Why.
    pub reason: Reason,
    /// Given by the sender, where that much could be read.
    pub id: Option<Box<str>>,
}

/// What the device's clock showed when a good clock showed `reference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockPair {
    /// The device's clock.
    pub device: SentTime,
    /// The good one.
    pub reference: Timestamp,
}

/// A time as a device sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentTime {
    /// With an offset.
    Moment(Timestamp),
    /// What the clock on the wall shows.
    Wall(DateTime),
}

impl SentTime {
    /// RFC 3339, with or without offset. None for anything else, impossible dates included.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(wall) = Zone::plain_wall(text) {
            return Some(Self::Wall(wall)); // the usual case, without the price of an error
        }
        // The form first: the parsers below also read times that the contract does not know.
        let (fraction, offset) = rfc3339::parts(text)?;
        let few = fraction.len().min(FINEST);
        let text = if few < fraction.len() {
            Cow::Owned(format!("{}{}{offset}", &text[..rfc3339::WHOLE], &fraction[..few]))
        } else {
            Cow::Borrowed(text)
        };
        if offset.is_empty() {
            return text.parse().ok().map(Self::Wall);
        }
        Timestamp::parse_rfc3339(&text).ok().map(Self::Moment)
    }

    /// The moment, where a clock without offset shows the time of `zone`.
    pub fn moment(self, zone: &Zone) -> Timestamp {
        match self {
            Self::Moment(at) => at,
            Self::Wall(wall) => zone.moment(wall),
        }
    }
}

/// One reading of a message: what could be read of it, and what is wrong with it.
#[derive(Clone, Default)]
pub struct Item {
    /// For whom a gateway speaks.
    pub device: Option<DeviceId>,
    /// The device's number.
    pub seq: Option<i64>,
    /// Which person's button.
    pub user_slot: Option<u8>,
    /// As sent, and what it says.
    pub time: Option<(DeviceTime, SentTime)>,
    /// The numbers in the unit that was sent.
    pub measured: Option<(Values, Unit)>,
    /// The meter's words.
    pub statuses: Statuses,
    /// Meal, symptoms, note; members that nobody here knows.
    pub context: Context,
    /// Why it cannot be kept; empty when the format is right.
    pub faults: Vec<Reason>,
    /// A kiosk's one-use session token: a secret, so it is kept nowhere.
    pub session: Option<Box<str>>,
    /// Its own bytes.
    pub raw: Bytes,
}

impl std::fmt::Debug for Item {
    /// Without values, tokens and bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("seq", &self.seq).field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// Reads one reading by itself, as it is held: the envelope of its message is not known any more.
pub fn decode_item(bytes: &Bytes) -> Item {
    let raw = std::str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str::<&RawValue>(text.trim()).ok());
    raw.map_or_else(
        || Item { faults: vec![Reason::BrokenMessage], raw: bytes.clone(), ..Item::default() },
        |raw| item::decode(raw, bytes),
    )
}

/// Reads a message.
///
/// # Errors
/// [`Unreadable`] when it cannot be read as a whole: broken JSON, no or unknown `v`, no or too many readings.
pub fn decode(payload: &Bytes) -> Result<Message, Unreadable> {
    let broken = |id| Unreadable { reason: Reason::BrokenMessage, id };
    let text = std::str::from_utf8(payload).map_err(|_| broken(None))?;
    let (members, readings) = match json::open_members_and_list(text, MEMBERS, "readings") {
        Ok(found) => found,
        // The readings may be no list: then it is still said whose message it was.
        Err(_) => (json::open_members(text, MEMBERS).map_err(|_| broken(None))?, None),
    };
    let mut message = Message::default();
    let mut version = None;
    let mut unknown: Vec<(&str, &RawValue)> = Vec::new();
    for (key, value) in &members {
        match key.as_ref() {
            "v" => version = Some(value.get()),
            "msgId" => {
                message.id = json::text(value).filter(|t| (1..=64).contains(&t.chars().count())).map(Into::into);
            }
            "clock" => message.clock = clock(value),
            // Anything but `false` forbids `received`: the careful reading of a wrong type.
            "historical" => message.historical = !matches!(value.get(), "false" | "null"),
            "readings" => {}
            other => unknown.push((other, value)),
        }
    }
    if version != Some("1") {
        return Err(Unreadable { reason: Reason::VersionUnknown, id: message.id });
    }
    let Some(readings) = readings else { return Err(broken(message.id)) };
    if readings.len() > MOST_READINGS {
        return Err(broken(message.id));
    }
    message.items = readings.into_iter().map(|raw| item::decode(raw, payload)).collect();
    if let Some(first) = message.items.first_mut()
        && !unknown.is_empty()
    {
        // Members of the message that nobody knows are kept once, with its first reading.
        item::keep_unknown_of_message(first, &unknown);
    }
    Ok(message)
}

/// A pair that cannot be read is no pair: the times then count as if it were not there.
fn clock(value: &RawValue) -> Option<ClockPair> {
    let members = json::open_members(value.get(), &["device", "reference"]).ok()?;
    let time = |name: &str| {
        let (_, value) = members.iter().find(|(key, _)| key == name)?;
        SentTime::parse(&json::text(value)?)
    };
    match (time("device")?, time("reference")?) {
        (device, SentTime::Moment(reference)) => Some(ClockPair { device, reference }),
        (_, SentTime::Wall(_)) => None,
    }
}

#[cfg(test)]
mod tests;
