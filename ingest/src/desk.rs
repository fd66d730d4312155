//! One message on the store's commit thread: each reading judged in the order sent, and what becomes of it.

use crate::{
    admit::{Admission, Clocked, Envelope, Hold, Past, admit, flags, number_in, number_of},
    time::{TimeSense, first_after_last_step},
};
use bytes::Bytes;
use jiff::civil::Date;
use parking_lot::Mutex;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use store::{Desk, Epoch, Known, NewHeld, NewReading, StoreError};
use vitals::{Binding, Device, DeviceKey, DeviceKind, Held, Reading, ReadingId, Reason, Timestamp, Zone};
use wire::{
    reading_v1::{Item, Message},
    receipt::{Outcome, Verdict},
};

/// Outcomes in the order sent, and the `storedThrough` of the receipt.
pub(crate) type Answer = (Vec<Outcome>, Option<i64>);

/// What the clocks of a site's devices are read by.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) zone: Zone,
    pub(crate) reset_days: BTreeMap<String, Date>,
    /// Of each meter of which the last glucose frame was known already: its number, and which reading that is.
    pub(crate) known_again: Mutex<HashMap<DeviceKey, (i64, ReadingId)>>,
}

/// Where and when a message came in.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) device: Arc<Device>,
    pub(crate) route: Cow<'static, str>,
    pub(crate) received_at: Timestamp,
    pub(crate) site: Arc<Site>,
}

impl Arrival {
    /// A device's own message.
    pub(crate) fn take(&self, message: &Message, desk: &mut Desk<'_>) -> Result<Answer, StoreError> {
        let together = Together::of(&message.items, &self.site.zone);
        let mut outcomes = Vec::with_capacity(message.items.len());
        for (i, item) in message.items.iter().enumerate() {
            let envelope = envelope(message, i, self.device.key, together, i);
            outcomes.push(self.take_item(&self.device, item, envelope, desk)?);
        }
        Ok((outcomes, stored_through(&self.device, desk)?))
    }

    /// A gateway's message: each item under the device that it names, if the gateway may speak for it. Otherwise it is
    /// held under the gateway: the name is only a claim.
    pub(crate) fn take_for_others(&self, message: &Message, desk: &mut Desk<'_>) -> Result<Answer, StoreError> {
        let speakers: Vec<_> = message.items.iter().map(|item| self.speaker(item, desk)).collect();
        // A clock and a counter are one device's, so the items of each are looked at alone.
        let mut groups: HashMap<Option<DeviceKey>, (Together, usize)> = HashMap::new();
        let mut outcomes = Vec::with_capacity(message.items.len());
        for (i, (item, speaker)) in message.items.iter().zip(&speakers).enumerate() {
            let key = speaker.as_ref().map(|device| device.key);
            let same = || message.items.iter().zip(&speakers).filter(|(_, s)| s.as_ref().map(|d| d.key) == key);
            let (together, place) =
                groups.entry(key).or_insert_with(|| (Together::of(same().map(|(item, _)| item), &self.site.zone), 0));
            let envelope = envelope(message, i, key.unwrap_or(self.device.key), *together, *place);
            *place += 1;
            let outcome = match speaker {
                Some(device) => self.take_item(device, item, envelope, desk)?,
                None => self.hold_claim(item, envelope, desk)?,
            };
            outcomes.push(Outcome { device: item.device.clone(), ..outcome });
        }
        // One number says something only of one counter.
        let through = match speakers.split_first() {
            Some((Some(first), rest)) if rest.iter().flatten().filter(|d| d.key == first.key).count() == rest.len() => {
                stored_through(first, desk)?
            }
            _ => None,
        };
        Ok((outcomes, through))
    }

    /// For whom a gateway's item speaks; none when it may not.
    pub(crate) fn speaker(&self, item: &Item, desk: &Desk<'_>) -> Option<Arc<Device>> {
        let named = desk.directory().device(item.device.as_ref()?.as_str())?;
        desk.directory().edge().allowed(self.device.key).contains(&named.key).then_some(named)
    }

    pub(crate) fn sense(&self, device: &Device) -> TimeSense<'_> {
        let reset_day = device.model.as_ref().and_then(|m| self.site.reset_days.get(m)).copied();
        TimeSense { zone: &self.site.zone, received_at: self.received_at, reset_day }
    }

    fn take_item(
        &self,
        device: &Device,
        item: &Item,
        envelope: Envelope,
        desk: &mut Desk<'_>,
    ) -> Result<Outcome, StoreError> {
        let clocked = Clocked::of(item, envelope.pair, &self.sense(device));
        let admission = self.judge(device, item, envelope, clocked, desk)?;
        self.settle(device, item, clocked, admission, desk)
    }

    /// What is to become of a reading; nothing is changed yet.
    pub(crate) fn judge(
        &self,
        device: &Device,
        item: &Item,
        envelope: Envelope,
        clocked: Clocked,
        desk: &mut Desk<'_>,
    ) -> Result<Admission, StoreError> {
        let seq = number_of(item, envelope, &clocked, self.received_at);
        let known = seq.map(|seq| desk.known(device.key, seq)).transpose()?.unwrap_or_default();
        let bindings = worn(device, item, desk);
        let last_told = last_told(device.key, seq, clocked, desk)?;
        let past = Past { history: desk.history(device.key)?, known: &known, bindings: &bindings, last_told };
        Ok(admit(item, envelope, clocked, seq, past, self.received_at))
    }

    /// Does it.
    pub(crate) fn settle(
        &self,
        device: &Device,
        item: &Item,
        clocked: Clocked,
        admission: Admission,
        desk: &mut Desk<'_>,
    ) -> Result<Outcome, StoreError> {
        let outcome = |verdict, id, reasons| Outcome { seq: item.seq, device: None, verdict, id, reasons };
        match admission {
            Admission::Duplicate { known, erased } => {
                let Known { id, epoch, told, .. } = known;
                desk.duplicate(device.key, id);
                if let Some(seq) = item.seq {
                    desk.remember(device.key, epoch, seq, told.filter(|_| clocked.orders))?;
                }
                if erased {
                    desk.brings_back();
                }
                Ok(outcome(Verdict::Duplicate, Some(id), Vec::new()))
            }
            Admission::Keep(reading) => {
                if let Some(reasons) = self.held_already(device.key, item, clocked, desk)? {
                    return Ok(outcome(Verdict::Duplicate, None, reasons));
                }
                let reading: Reading = *reading;
                let (verdict, reasons) = (Verdict::Kept(reading.disposition), flags(&reading));
                let id = desk.keep(NewReading { reading, told: clocked.told, trusted: clocked.orders })?;
                Ok(outcome(verdict, Some(id), reasons))
            }
            Admission::Hold(hold) => {
                let (verdict, reasons) = self.hold(device.key, &item.raw, item.seq, &hold, clocked, desk)?;
                Ok(outcome(verdict, None, reasons))
            }
        }
    }

    /// Holds bytes once; the same bytes again are known, and their reasons are said again.
    pub(crate) fn hold(
        &self,
        device: DeviceKey,
        raw: &Bytes,
        seq: Option<i64>,
        hold: &Hold,
        clocked: Clocked,
        desk: &mut Desk<'_>,
    ) -> Result<(Verdict, Vec<Box<str>>), StoreError> {
        let reasons = hold.reasons.iter().map(|r| r.as_str().into()).collect();
        if let Some(id) = desk.held_before(device, &self.route, raw)? {
            let before = desk.held(id)?;
            known_held(device, id, before.as_deref(), clocked, desk)?;
            return Ok((Verdict::Duplicate, reasons));
        }
        let held = Held {
            id: ReadingId::new(0),
            device,
            epoch: hold.epoch,
            seq,
            patient: hold.patient,
            measured_at: hold.measured_at,
            received_at: self.received_at,
            reasons: hold.reasons.clone(),
            bytes: raw.to_vec(),
            route: self.route.clone(),
        };
        desk.hold(NewHeld { held, told: clocked.told, trusted: clocked.orders })?;
        Ok((Verdict::Quarantined, reasons))
    }

    /// What could be kept, but is held already as the same bytes: it stays held, for what it says of itself is no better
    /// than then, and a reading without a clock would be dated now. What a replay released is known by its number; what
    /// was only not allowed may come; and without a number or a time of its own the same bytes may be another reading.
    fn held_already(
        &self,
        device: DeviceKey,
        item: &Item,
        clocked: Clocked,
        desk: &mut Desk<'_>,
    ) -> Result<Option<Vec<Box<str>>>, StoreError> {
        let possible = match item.seq {
            // A number above all that were ever answered: the usual case costs nothing.
            Some(seq) => desk.history(device)?.max_seq().is_some_and(|max| seq <= max),
            None => item.time.is_some(),
        };
        if !possible {
            return Ok(None);
        }
        let Some(id) = desk.held_before(device, &self.route, &item.raw)? else { return Ok(None) };
        let before = desk.held(id)?;
        let let_in = before.as_ref().is_some_and(|held| held.reasons == [Reason::NotAllowed]);
        if let_in || desk.is_released(id)? {
            return Ok(None);
        }
        known_held(device, id, before.as_deref(), clocked, desk)?;
        Ok(Some(before.iter().flat_map(|held| &held.reasons).map(|r| r.as_str().into()).collect()))
    }

    /// A payload that is one held reading as a whole: broken, or in a format that nobody here reads yet.
    pub(crate) fn take_whole(&self, raw: &Bytes, reason: Reason, desk: &mut Desk<'_>) -> Result<Answer, StoreError> {
        let epoch = desk.history(self.device.key)?.current().map_or(0, |e| e.number);
        let hold = Hold { reasons: vec![reason], epoch, measured_at: None, patient: None };
        let clocked = Clocked { told: None, measured: None, orders: false };
        let (verdict, reasons) = self.hold(self.device.key, raw, None, &hold, clocked, desk)?;
        let through = stored_through(&self.device, desk)?;
        Ok((vec![Outcome { seq: None, device: None, verdict, id: None, reasons }], through))
    }

    /// An item for a device off the gateway's list. When it was measured is kept, for the day when the list is mended.
    fn hold_claim(&self, item: &Item, envelope: Envelope, desk: &mut Desk<'_>) -> Result<Outcome, StoreError> {
        let named = item.device.as_ref().and_then(|id| desk.directory().device(id.as_str()));
        let sense = self.sense(named.as_deref().unwrap_or(&self.device));
        let measured_at = Clocked::of(item, envelope.pair, &sense).measured.map(|m| m.at);
        let hold = Hold { reasons: vec![Reason::NotAllowed], epoch: 0, measured_at, patient: None };
        let unclocked = Clocked { told: None, measured: None, orders: false };
        // Its number belongs to another counter than the gateway's.
        let (verdict, reasons) = self.hold(self.device.key, &item.raw, None, &hold, unclocked, desk)?;
        Ok(Outcome { seq: item.seq, device: None, verdict, id: None, reasons })
    }
}

/// What the items of one device in a message say together.
#[derive(Clone, Copy)]
struct Together {
    count: usize,
    highest: Option<i64>,
    /// From this one on the clock was not set back any more.
    pair_from: usize,
}

impl Together {
    fn of<'m>(items: impl IntoIterator<Item = &'m Item> + Clone, zone: &Zone) -> Self {
        Self {
            count: items.clone().into_iter().count(),
            highest: items.clone().into_iter().filter_map(|item| item.seq).max(),
            pair_from: first_after_last_step(items, zone),
        }
    }
}

/// What the message says of its `i`-th item, which is the `place`-th of its device in it.
fn envelope(message: &Message, i: usize, device: DeviceKey, together: Together, place: usize) -> Envelope {
    let item = &message.items[i];
    Envelope {
        device,
        pair: message.clock.filter(|_| place >= together.pair_from),
        historical: message.historical,
        number: message.id.as_deref().and_then(|id| number_in(id, i, item)),
        newest: if item.seq.is_some() { item.seq == together.highest } else { place + 1 == together.count },
    }
}

/// Counts what is held already as `id`. Its number was answered in the life in which it came first, and in no other.
fn known_held(
    device: DeviceKey,
    id: ReadingId,
    before: Option<&Held>,
    clocked: Clocked,
    desk: &mut Desk<'_>,
) -> Result<(), StoreError> {
    desk.duplicate(device, id);
    let Some(held) = before else {
        desk.brings_back();
        return Ok(());
    };
    match held.seq.filter(|_| !held.reasons.contains(&Reason::Conflict)) {
        Some(seq) => desk.remember(device, held.epoch, seq, clocked.told.filter(|_| clocked.orders)),
        None => Ok(()),
    }
}

/// What the highest number of the present life told, where a reading whose clock is as bad must be compared with it: the
/// history keeps only times that are sane.
fn last_told(
    device: DeviceKey,
    seq: Option<i64>,
    clocked: Clocked,
    desk: &mut Desk<'_>,
) -> Result<Option<Timestamp>, StoreError> {
    if clocked.orders || clocked.told.is_none() {
        return Ok(None);
    }
    let now = desk.history(device)?.current().and_then(|life| Some((life.number, life.last()?)));
    match now.zip(seq) {
        Some(((life, span), seq)) if (0..=span.last).contains(&seq) && span.last_at.is_none() => {
            Ok(desk.known(device, span.last)?.iter().find(|k| k.epoch == life).and_then(|k| k.told))
        }
        _ => Ok(None),
    }
}

/// Who wears the device when: by its bindings; at a kiosk by the token that came with the reading, and by nothing else.
fn worn(device: &Device, item: &Item, desk: &Desk<'_>) -> Arc<[Binding]> {
    if device.kind != DeviceKind::Kiosk {
        return desk.bindings(device.key);
    }
    let session = item.session.as_deref().and_then(|token| desk.directory().edge().session(device.key, token));
    session.into_iter().collect()
}

pub(crate) fn stored_through(device: &Device, desk: &mut Desk<'_>) -> Result<Option<i64>, StoreError> {
    Ok(desk.history(device.key)?.current().and_then(Epoch::stored_through))
}
