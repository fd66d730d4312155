//! One line of the journal as it lies in the file and in memory, and the keys under which it is found.

use super::{
    Known, numbers,
    packed::{self, Body},
};
use crate::StoreError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, sync::Arc};
use vitals::{DeviceKey, Entry, GlucoseValue, PatientId, Reading, ReadingId, Timestamp, Unit, Values};

/// First byte of every stored body: a new form gets a new one, so that older rows stay readable.
pub(super) const FORMAT: u8 = 1;
/// First byte of a reading's body in `series`, since version 4 of the file.
pub(super) const PACKED: u8 = 2;
/// First byte of a reading in the journal, since version 9 of the file: a head, and the body as it will lie in `series`.
const HEADED: u8 = 3;
pub(super) const WEEK_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// A line of the journal with what is needed to rebuild everything from it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: u64,
    /// Id of the message's first line.
    pub(super) message: u64,
    /// Day of receipt in the site's zone, as 20260301.
    pub(super) day: i32,
    /// The device's own time.
    pub(super) told: Option<Timestamp>,
    /// Whether `told` may order the device's readings.
    pub(super) trusted: bool,
    pub(super) entry: Entry,
    /// A reading's [`fingerprint`].
    pub(super) mark: u64,
    /// A reading's body, made when it came: later it would have to be fetched from far away in memory. Empty: to be
    /// made anew, for something else was said of it.
    body: Body,
}

/// What stands before the body of a reading in the journal.
#[derive(Serialize, Deserialize)]
struct Head {
    offset: u16,
    day: i32,
    /// From the time of measurement.
    told: Option<i64>,
    trusted: bool,
    owner: i64,
    measured: i64,
}

/// A line that is not a reading; until version 8 of the file, every line.
#[derive(Serialize, Deserialize)]
struct Whole<E> {
    offset: u16,
    day: i32,
    told: Option<i64>,
    trusted: bool,
    entry: E,
}

impl Row {
    /// A new line of message `message`.
    pub(super) fn new(
        (id, message): (u64, u64),
        day: i32,
        (told, trusted): (Option<Timestamp>, bool),
        entry: Entry,
    ) -> Result<Self, StoreError> {
        let (mark, body) = match &entry {
            Entry::Reading(reading) => (fingerprint(&reading.values, reading.unit), packed::encode(reading)?),
            Entry::Held(_) => (0, Body::new()),
        };
        Ok(Self { id, message, day, told, trusted, entry, mark, body })
    }

    /// The same line with something else in it.
    pub(super) fn say(&mut self, entry: Entry) {
        self.entry = entry;
        self.body.clear();
    }

    /// A reading's body as it lies in `series`.
    pub(super) fn body(&self) -> Result<Cow<'_, [u8]>, StoreError> {
        match self.reading() {
            Some(reading) if self.body.is_empty() => packed::encode(reading).map(|body| Cow::Owned(body.into_vec())),
            _ => Ok(Cow::Borrowed(&self.body)),
        }
    }

    /// As it lies in the journal, without its id.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let offset = u16::try_from(self.id - self.message).unwrap_or(u16::MAX);
        let (day, trusted) = (self.day, self.trusted);
        let told = self.told.map(Timestamp::as_micros);
        match &self.entry {
            Entry::Reading(reading) => {
                let measured = reading.measured_at.as_micros();
                let owner = owner(reading.patient, reading.device);
                let told = told.map(|told| told.wrapping_sub(measured));
                out.push(HEADED);
                append(out, &Head { offset, day, told, trusted, owner, measured })?;
                out.extend_from_slice(&self.body()?);
            }
            held => {
                out.push(FORMAT);
                append(out, &Whole { offset, day, told, trusted, entry: held })?;
            }
        }
        Ok(())
    }

    pub(super) fn decode(id: u64, bytes: &[u8]) -> Result<Self, StoreError> {
        if let Some((&HEADED, rest)) = bytes.split_first() {
            let (head, body) = postcard::take_from_bytes::<Head>(rest).map_err(|e| unreadable(&e))?;
            let reading = packed::decode(head.owner, head.measured, id.cast_signed(), body)?;
            let told = head.told.map(|told| Timestamp::from_micros(head.measured.wrapping_add(told)));
            let message = id.saturating_sub(head.offset.into());
            let mark = fingerprint(&reading.values, reading.unit);
            let entry = Entry::Reading(Arc::new(reading));
            let body = Body::from_slice(body);
            return Ok(Self { id, message, day: head.day, told, trusted: head.trusted, entry, mark, body });
        }
        let Whole { offset, day, told, trusted, entry } = decode(bytes)?;
        let message = id.saturating_sub(offset.into());
        Self::new((id, message), day, (told.map(Timestamp::from_micros), trusted), entry)
    }

    pub(super) fn reading(&self) -> Option<&Arc<Reading>> {
        match &self.entry {
            Entry::Reading(r) => Some(r),
            Entry::Held(_) => None,
        }
    }

    pub(super) fn device(&self) -> DeviceKey {
        match &self.entry {
            Entry::Reading(r) => r.device,
            Entry::Held(h) => h.device,
        }
    }

    /// The device's own time where it may order.
    pub(super) fn ordering(&self) -> Option<Timestamp> {
        self.told.filter(|_| self.trusted)
    }

    /// A reading as its device numbered it.
    pub(super) fn known(&self) -> Option<Known> {
        let reading = self.reading()?;
        Some(Known { id: reading.id, epoch: reading.epoch, told: self.told, fingerprint: self.mark })
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    encode_as(FORMAT, value)
}

pub(super) fn encode_as<T: Serialize>(form: u8, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut out = vec![form];
    append(&mut out, value)?;
    Ok(out)
}

/// Puts `value` behind what is there.
pub(super) fn append(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), StoreError> {
    written(value, |bytes| out.extend_from_slice(bytes))
}

/// What `take` makes of the bytes of `value`.
pub(super) fn written<T>(value: &impl Serialize, take: impl FnOnce(&[u8]) -> T) -> Result<T, StoreError> {
    // On the stack first: growing byte by byte costs three times as much, and nearly every value is short.
    let mut short = [0_u8; 96];
    match postcard::to_slice(value, &mut short) {
        Ok(bytes) => Ok(take(bytes)),
        Err(postcard::Error::SerializeBufferFull) => {
            postcard::to_stdvec(value).map(|bytes| take(&bytes)).map_err(|e| unreadable(&e))
        }
        Err(e) => Err(unreadable(&e)),
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    decode_as(FORMAT, bytes)
}

pub(super) fn decode_as<T: DeserializeOwned>(form: u8, bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((first, rest)) if *first == form => postcard::from_bytes(rest).map_err(|e| unreadable(&e)),
        _ => Err(StoreError::Database { what: "journal.db", reason: "a row of an unknown format".into() }),
    }
}

/// Bytes in the file that are no row, or a row that cannot be bytes.
pub(super) fn unreadable(e: &dyn std::fmt::Display) -> StoreError {
    StoreError::Database { what: "journal.db", reason: format!("a row cannot be read or written: {e}") }
}

/// Where a reading lies in time and among people: (week, owner, measured, id).
pub(super) type SeriesKey = (i32, i64, i64, u64);
/// Where a device's number is found: (block of 32 numbers, device, seq, epoch). The block keeps what arrives at the
/// same time together in the file, whoever sent it.
pub(super) type IdentityKey = (i64, i64, i64, u32);

pub(super) fn week(at: Timestamp) -> i32 {
    i32::try_from(at.as_micros().div_euclid(WEEK_MICROS)).unwrap_or(0)
}

/// The patient's number, or a negative one for each device whose readings belong to nobody.
pub(super) fn owner(patient: Option<PatientId>, device: DeviceKey) -> i64 {
    patient.map_or_else(|| -1 - device.as_i64(), PatientId::as_i64)
}

pub(super) fn series_key(r: &Reading) -> SeriesKey {
    (week(r.measured_at), owner(r.patient, r.device), r.measured_at.as_micros(), number(r.id))
}

pub(super) fn identity_key(device: DeviceKey, seq: i64, epoch: u32) -> IdentityKey {
    (numbers::block(seq), device.as_i64(), seq, epoch)
}

pub(super) fn number(id: ReadingId) -> u64 {
    id.as_i64().cast_unsigned()
}

/// A stable 64-bit mark of the numbers and their unit; `6.2` and `6.20` have the same.
pub fn fingerprint(values: &Values, unit: Unit) -> u64 {
    let mut mark = Mark(0xcbf2_9ce4_8422_2325);
    mark.bytes(unit.as_str().as_bytes());
    match values {
        Values::Pressure { systolic, diastolic, map, pulse } => {
            for value in [Some(*systolic), Some(*diastolic), *map, *pulse] {
                mark.number(value.map(vitals::Decimal::normalized));
            }
        }
        Values::Glucose(GlucoseValue::Value(v)) => mark.number(Some(v.normalized())),
        Values::Glucose(GlucoseValue::High) => mark.bytes(b"HI"),
        Values::Glucose(GlucoseValue::Low) => mark.bytes(b"LO"),
    }
    mark.0
}

/// The number of a reading whose device has no counter: negative, the same for the same slot, minute and values.
pub fn number_without_counter(slot: Option<u8>, told: Timestamp, values: &Values, unit: Unit) -> i64 {
    let mut mark = Mark(fingerprint(values, unit));
    mark.number(slot.map(|s| (i64::from(s), 0)));
    mark.bytes(&told.as_micros().div_euclid(60_000_000).to_le_bytes());
    -1 - (mark.0 >> 2).cast_signed()
}

/// The number of a reading that has neither a counter nor a clock: negative, the same for the same place in the message
/// that its sender calls `message`, slot and values, whenever it comes again.
pub fn number_without_clock(message: &str, place: usize, slot: Option<u8>, values: &Values, unit: Unit) -> i64 {
    let mut mark = Mark(fingerprint(values, unit));
    mark.number(slot.map(|s| (i64::from(s), 0)));
    mark.bytes(b"message");
    mark.bytes(message.as_bytes());
    mark.bytes(&(place as u64).to_le_bytes());
    -1 - (mark.0 >> 2).cast_signed()
}

/// FNV-1a: stable over versions of the program, unlike the standard library's hashers.
struct Mark(u64);

impl Mark {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    fn number(&mut self, value: Option<(i64, i16)>) {
        match value {
            None => self.bytes(b"-"),
            Some((mantissa, exponent)) => {
                self.bytes(&mantissa.to_le_bytes());
                self.bytes(&exponent.to_le_bytes());
            }
        }
    }
}

/// A mark of what is held, so that the same bytes sent again are known.
pub(super) fn digest(route: &str, bytes: &[u8]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(route.as_bytes());
    hash.update([0]);
    hash.update(bytes);
    let mut first = [0_u8; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_do_not_make_another_reading_but_values_do() {
        let glucose = |t: &str| fingerprint(&Values::Glucose(GlucoseValue::Value(t.parse().unwrap())), Unit::MmolPerL);
        assert_eq!(glucose("6.2"), glucose("6.20"));
        assert_ne!(glucose("6.2"), glucose("6.21"));
        assert_ne!(glucose("6.2"), glucose("62"));
    }
}
