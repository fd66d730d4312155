//! The verdict on one reading: keep, count as known, or hold with reasons. Pure; the order of arrival and the device's
//! past come as arguments.

use crate::{
    place::{Numbered, Place, place},
    plausible,
    time::{Measured, TimeSense},
};
use store::{DeviceHistory, ERASED, Known, fingerprint, number_without_clock, number_without_counter};
use vitals::{Binding, DeviceKey, Disposition, PatientId, Reading, ReadingId, Reason, TimeQuality, Timestamp};
use wire::reading_v1::{ClockPair, Item};

/// What the message says of a reading.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// Who sent it.
    pub device: DeviceKey,
    /// The clock pair, where it holds for this reading.
    pub pair: Option<ClockPair>,
    /// Backfill.
    pub historical: bool,
    /// The number of a reading that has neither a counter nor a clock, where its message has a name.
    pub number: Option<i64>,
    /// No other reading of the message has a higher number or, without numbers, comes after it.
    pub newest: bool,
}

/// What the store knows that matters to a reading.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// The device's numbers so far.
    pub history: &'a DeviceHistory,
    /// Stored readings with the same number.
    pub known: &'a [Known],
    /// Who wore the device when.
    pub bindings: &'a [Binding],
    /// What the highest number of the present life told, as sent, where its clock was not sane and this one's is not.
    pub last_told: Option<Timestamp>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    /// Stored already.
    Duplicate {
        /// As this.
        known: Known,
        /// It was stored and is taken out since: the number is known, the values must not come back.
        erased: bool,
    },
    /// To be kept; `id` is not yet given.
    Keep(Box<Reading>),
    /// To be held.
    Hold(Hold),
}

/// Why and as what something is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// At least one.
    pub reasons: Vec<Reason>,
    /// In which life of the counter.
    pub epoch: u32,
    /// When it would have been measured.
    pub measured_at: Option<Timestamp>,
    /// Whose it would have been.
    pub patient: Option<PatientId>,
}

/// A reading's own clock, made comparable.
#[derive(Clone, Copy, Debug)]
pub struct Clocked {
    /// The device's own time as a moment.
    pub told: Option<Timestamp>,
    /// When it was measured, where the clock is usable.
    pub measured: Option<Measured>,
    /// Whether `told` may order.
    pub orders: bool,
}

impl Clocked {
    /// Of one reading of a message.
    pub fn of(item: &Item, pair: Option<ClockPair>, sense: &TimeSense<'_>) -> Self {
        let sent = item.time.as_ref().map(|(_, sent)| *sent);
        let told = sent.map(|s| s.moment(sense.zone));
        let measured = sense.judge(sent, pair);
        Self { told, measured, orders: sent.is_some_and(|sent| sense.orders(sent, measured)) }
    }
}

/// The number under which a reading is known: its own, or one made from slot and values with its minute; without a time of
/// its own, with its place in a message that has a name, since the minute of arrival is another when it comes again.
/// None when it has neither a number nor values.
pub fn number_of(item: &Item, envelope: Envelope, clocked: &Clocked, received_at: Timestamp) -> Option<i64> {
    if item.faults.contains(&Reason::SeqInvalid) {
        return None;
    }
    item.seq.or(envelope.number).or_else(|| {
        let (values, unit) = item.measured.as_ref()?;
        Some(number_without_counter(item.user_slot, clocked.told.unwrap_or(received_at), values, *unit))
    })
}

/// The number of what has neither a counter nor a clock, at its place in the message that its sender calls `message`.
pub fn number_in(message: &str, place: usize, item: &Item) -> Option<i64> {
    let (values, unit) = item.measured.as_ref().filter(|_| item.seq.is_none() && item.time.is_none())?;
    Some(number_without_clock(message, place, item.user_slot, values, *unit))
}

/// Judges one reading. `seq` is that of [`number_of`].
pub fn admit(
    item: &Item,
    envelope: Envelope,
    clocked: Clocked,
    seq: Option<i64>,
    past: Past<'_>,
    received_at: Timestamp,
) -> Admission {
    let placed = place_of(item, &clocked, seq, past);
    if let Some(Place::Duplicate(id)) = placed
        && let Some(known) = past.known.iter().find(|k| k.id == id).copied()
    {
        return Admission::Duplicate { known, erased: known.fingerprint == ERASED };
    }
    let mut reasons = item.faults.clone();
    if let Some((values, unit)) = &item.measured
        && !plausible::is_plausible(values, *unit)
    {
        reasons.push(Reason::Implausible);
    }
    let effect = plausible::effect(item.statuses);
    reasons.extend(&effect.held);
    let (epoch, newest) = match placed {
        Some(Place::At { epoch, newest }) => (epoch, newest),
        Some(Place::Conflict { epoch }) => {
            // Beside any other reason too: by it the store knows that the number is not this reading's, and was not
            // answered by holding it.
            reasons.push(Reason::Conflict);
            (epoch, false)
        }
        _ => (past.history.current().map_or(0, |e| e.number), false),
    };
    let live = !envelope.historical && envelope.newest && newest;
    let measured = match clocked.measured {
        Some(m) => Some(m),
        None if live => Some(Measured { at: received_at, quality: TimeQuality::Received, zone_suspect: false }),
        None => None,
    };
    if measured.is_none() && reasons.is_empty() {
        reasons.push(Reason::Clock);
    }
    let measured_at = measured.filter(|m| m.quality != TimeQuality::Received || reasons.is_empty()).map(|m| m.at);
    let patient = measured_at.and_then(|at| whose(past.bindings, item.user_slot, at));
    let hold = |reasons| Admission::Hold(Hold { reasons, epoch, measured_at, patient });
    let (Some(measured), Some((values, unit)), Some(seq), true) = (measured, &item.measured, seq, reasons.is_empty())
    else {
        return hold(if reasons.is_empty() { vec![Reason::NoValue] } else { reasons });
    };
    let disposition = plausible::disposition(&effect, values, measured.zone_suspect);
    Admission::Keep(Box::new(Reading {
        id: ReadingId::new(0),
        device: envelope.device,
        epoch,
        seq,
        user_slot: item.user_slot,
        patient,
        measured_at: measured.at,
        received_at,
        device_time: item.time.as_ref().map(|(text, _)| text.clone()),
        time_quality: measured.quality,
        disposition,
        values: values.clone(),
        unit: *unit,
        statuses: item.statuses,
        flags: if measured.zone_suspect { vec!["zone_suspect".into()] } else { Vec::new() },
        historical: envelope.historical,
        context: item.context.clone(),
    }))
}

fn place_of(item: &Item, clocked: &Clocked, seq: Option<i64>, past: Past<'_>) -> Option<Place> {
    let seq = seq?;
    let mark = item.measured.as_ref().map(|(values, unit)| fingerprint(values, *unit));
    if seq < 0 {
        // No counter: the made number is the identity; the same minute and values are one reading.
        return Some(past.known.first().map_or(Place::At { epoch: 0, newest: true }, |k| Place::Duplicate(k.id)));
    }
    let Clocked { told, orders, .. } = *clocked;
    let numbered = Numbered { seq, told, orders, last_told: past.last_told, fingerprint: mark };
    Some(place(past.history, past.known, numbered))
}

fn whose(bindings: &[Binding], slot: Option<u8>, at: Timestamp) -> Option<PatientId> {
    bindings.iter().find(|b| b.covers(slot, at)).map(|b| b.patient)
}

/// Why a kept reading is flagged, in the contract's words.
pub fn flags(reading: &Reading) -> Vec<Box<str>> {
    if reading.disposition != Disposition::Flagged {
        return Vec::new();
    }
    let words = plausible::effect(reading.statuses).flagged.into_iter().map(|s| s.as_str().into());
    reading.flags.iter().cloned().chain(words).collect()
}

#[cfg(test)]
mod tests;
