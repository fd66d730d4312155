//! A held entry once more: decoded by the present code, judged by the present allow list and bindings, as of the moment
//! when it was received.
//!
//! Goes in: what is held. Comes out: readings, and the entry is out of quarantine and counted as what it has become; or
//! why it stays held, and nothing has changed.
//! Must never: guess a time that only the envelope of the original message could tell. A reading that was held for its
//! clock leaves only with a time of its own that lies between those of its neighbours.

use crate::{
    Handle,
    adapters::Adapters,
    admit::{Admission, Clocked, Envelope},
    desk::Arrival,
    time::Measured,
};
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc, time::Duration};
use store::{Desk, StoreError};
use vitals::{Device, DeviceId, DeviceKind, Held, ReadingId, Reason, TimeQuality};
use wire::{
    fhir,
    gatt::{self, Frame},
    reading_v1::{self, Item, MOST_READINGS, Message, Unreadable},
    receipt::{Outcome, Verdict},
    topic::{self, Characteristic, Tree, Up},
    vendor,
};

/// A smaller shift by a clock pair leaves the quality `exact`, as at the first arrival.
const SMALL_SHIFT: Duration = Duration::from_secs(60);

/// What became of a held entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// It has left quarantine.
    pub released: bool,
    /// One for each reading in it; `quarantined` with the reasons of today where it stays.
    pub results: Vec<Outcome>,
}

/// What a held entry is when it is read again.
enum Again {
    /// One reading, without the message around it.
    Alone(Box<Item>),
    /// A message or frame, whole.
    Whole(Message),
    /// Still nothing that can be read.
    Unreadable(Reason),
}

impl Handle {
    /// Replays one entry.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is not in quarantine; when nothing can be stored.
    pub async fn replay(&self, id: ReadingId) -> Result<Replayed, StoreError> {
        // The list below the next higher position begins with this one, if it is held.
        let above = ReadingId::from_i64(id.as_i64().saturating_add(1));
        let found = self.0.store.readings().held(None, Some(above), 1).await?;
        let held = found.into_iter().find(|h| h.id == id).ok_or(StoreError::NotFound("held reading"))?;
        if let Some(named) = topic::parse_any_up(&held.route) {
            return self.replay_stranger(held, named).await;
        }
        let device = self.0.store.directory().device_by_key(held.device).ok_or(StoreError::NotFound("device"))?;
        let arrival =
            Arrival { device, route: held.route.clone(), received_at: held.received_at, site: self.0.site.clone() };
        let day = held.received_at.day(&self.0.site.zone);
        let again = read_again(&held, &self.0.adapters);
        let bytes = self.0.adapters.bytes_to_keep(&held.route, Bytes::copy_from_slice(&held.bytes));
        let work = move |desk: &mut Desk<'_>| {
            if desk.is_settled(held.id) {
                return Ok(None);
            }
            let replayed = arrival.replay(&held, again, desk)?;
            if replayed.released {
                desk.keep_original(held.device, held.route.clone(), held.received_at, &bytes);
            }
            Ok(Some(replayed))
        };
        self.once(day, work).await
    }

    /// Commits a replay, unless `work` says that somebody else was there before: that is an answer, not a fault, for a fault
    /// would fail the messages of others that are committed with it.
    async fn once(
        &self,
        day: jiff::civil::Date,
        work: impl FnOnce(&mut Desk<'_>) -> Result<Option<Replayed>, StoreError> + Send + 'static,
    ) -> Result<Replayed, StoreError> {
        let replayed = self.0.store.readings().submit(day, MOST_READINGS, work).await?;
        replayed.ok_or(StoreError::NotFound("held reading"))
    }
}

impl Handle {
    /// What came for a device that was not let in: if it would be now, it is taken as if it came from it again.
    async fn replay_stranger(
        &self,
        held: Arc<Held>,
        (tree, id, route): (Tree, DeviceId, Up),
    ) -> Result<Replayed, StoreError> {
        let not_allowed = || stays(None, vec![Reason::NotAllowed.as_str().into()]);
        let fits = |d: &Arc<Device>| match d.kind {
            DeviceKind::Gateway => !d.revoked && tree == Tree::Gateways,
            DeviceKind::Meter | DeviceKind::Kiosk => !d.revoked && tree == Tree::Devices,
            DeviceKind::Service => false,
        };
        let Some(device) = self.0.store.directory().device(id.as_str()).filter(fits) else { return Ok(not_allowed()) };
        let arrival = Arrival {
            device,
            route: Cow::Owned(route.tail()),
            received_at: held.received_at,
            site: self.0.site.clone(),
        };
        let (day, adapters) = (held.received_at.day(&self.0.site.zone), self.0.adapters.clone());
        let bytes = adapters.bytes_to_keep(&arrival.route, Bytes::copy_from_slice(&held.bytes));
        let work = move |desk: &mut Desk<'_>| {
            if desk.is_settled(held.id) {
                return Ok(None);
            }
            desk.release(&held);
            let (results, readable) = arrival.take_strangers(tree, route, &bytes, &adapters, desk)?;
            // What cannot be read is held again, with its bytes.
            if readable {
                desk.keep_original(arrival.device.key, arrival.route.clone(), held.received_at, &bytes);
            }
            Ok(Some(Replayed { released: true, results }))
        };
        self.once(day, work).await
    }
}

fn read_again(held: &Held, adapters: &Adapters) -> Again {
    let bytes = Bytes::copy_from_slice(&held.bytes);
    if held.route == "readings" {
        return match reading_v1::decode(&bytes) {
            Ok(message) => Again::Whole(message),
            // What is no message is a reading of one, unless it was held as a message that cannot be read.
            Err(unreadable) if held.seq.is_none() && held.reasons == [unreadable.reason] && !is_item(&bytes) => {
                Again::Unreadable(unreadable.reason)
            }
            Err(_) => Again::Alone(Box::new(reading_v1::decode_item(&bytes))),
        };
    }
    if held.route == "fhir" {
        return match fhir::decode(&bytes) {
            // One Observation may have been one of many: then it is not known to be the newest.
            Ok(Message { mut items, .. }) if items.len() == 1 => Again::Alone(Box::new(items.remove(0))),
            decoded => whole(decoded),
        };
    }
    if let Some(profile) = held.route.strip_prefix("vendor/") {
        let Some(adapter) = adapters.get(profile) else { return Again::Unreadable(Reason::KindUnknown) };
        return match adapter.decode(&bytes) {
            Ok(Message { mut items, .. }) if items.len() == 1 && vendor::is_alone(&bytes) => {
                Again::Alone(Box::new(items.remove(0)))
            }
            decoded => whole(decoded),
        };
    }
    let Some(characteristic) = held.route.strip_prefix("gatt/").and_then(Characteristic::parse) else {
        return Again::Unreadable(Reason::KindUnknown);
    };
    match gatt::decode(characteristic, &bytes) {
        Frame::Readings(items) => Again::Whole(Message { items, ..Message::default() }),
        Frame::Unreadable(reason) => Again::Unreadable(reason),
        Frame::Context(_) => Again::Whole(Message::default()),
    }
}

fn whole(decoded: Result<Message, Unreadable>) -> Again {
    match decoded {
        // An entry in which there is nothing is for a person to discard.
        Ok(message) if message.items.is_empty() => Again::Unreadable(Reason::KindUnknown),
        Ok(message) => Again::Whole(message),
        Err(unreadable) => Again::Unreadable(unreadable.reason),
    }
}

/// Whether the bytes are an object with a kind: a reading.
fn is_item(bytes: &Bytes) -> bool {
    !reading_v1::decode_item(bytes).faults.contains(&Reason::KindUnknown)
}

impl Arrival {
    /// A stranger's message, as if its device, which is let in by now, sent it; and whether it could be read.
    fn take_strangers(
        &self,
        tree: Tree,
        route: Up,
        bytes: &Bytes,
        adapters: &Adapters,
        desk: &mut Desk<'_>,
    ) -> Result<(Vec<Outcome>, bool), StoreError> {
        let decoded = match route {
            Up::Readings => reading_v1::decode(bytes),
            Up::Gatt(characteristic) => return Ok((self.take_frame(characteristic, bytes, desk)?.0, true)),
            // What a device said of itself then is of no use now.
            Up::Hello | Up::Status => return Ok((Vec::new(), false)),
            Up::Fhir => fhir::decode(bytes),
            Up::Vendor(profile) => match adapters.get(&profile) {
                Some(adapter) => adapter.decode(bytes),
                None => return Ok((self.take_whole(bytes, Reason::KindUnknown, desk)?.0, false)),
            },
        };
        match decoded {
            Ok(message) if tree == Tree::Gateways => Ok((self.take_for_others(&message, desk)?.0, true)),
            Ok(message) => Ok((self.take(&message, desk)?.0, true)),
            Err(unreadable) => Ok((self.take_whole(bytes, unreadable.reason, desk)?.0, false)),
        }
    }

    fn replay(&self, held: &Held, again: Again, desk: &mut Desk<'_>) -> Result<Replayed, StoreError> {
        match again {
            Again::Unreadable(reason) => Ok(stays(held.seq, [reason.as_str().into()].into())),
            Again::Alone(item) => self.replay_item(held, &item, desk),
            Again::Whole(message) if message.items.is_empty() => self.replay_context(held, desk),
            Again::Whole(message) => self.replay_message(held, message, desk),
        }
    }

    fn replay_item(&self, held: &Held, item: &Item, desk: &mut Desk<'_>) -> Result<Replayed, StoreError> {
        let named = item.device.clone().filter(|_| self.device.kind == DeviceKind::Gateway);
        let device: Arc<Device> = if self.device.kind == DeviceKind::Gateway {
            match self.speaker(item, desk) {
                Some(device) => device,
                None => return Ok(stays(item.seq, [Reason::NotAllowed.as_str().into()].into())),
            }
        } else {
            self.device.clone()
        };
        let clocked = self.clock_of(held, item, &device, desk)?;
        let envelope = Envelope { device: device.key, pair: None, historical: true, number: None, newest: false };
        let admission = self.judge(&device, item, envelope, clocked, desk)?;
        if let Admission::Hold(hold) = admission {
            return Ok(stays(item.seq, hold.reasons.iter().map(|r| r.as_str().into()).collect()));
        }
        // What bounds its time lies in the life of the counter in which it came, and in no other.
        if held.measured_at.is_none() && matches!(&admission, Admission::Keep(r) if r.seq >= 0 && r.epoch != held.epoch)
        {
            return Ok(stays(item.seq, vec![Reason::Clock.as_str().into()]));
        }
        desk.release(held);
        let outcome = self.settle(&device, item, clocked, admission, desk)?;
        Ok(Replayed { released: true, results: vec![Outcome { device: named, ..outcome }] })
    }

    /// The time as it was concluded when the whole message was there; without it only the number could be right. Where
    /// nothing was concluded, its own clock is believed as far as the neighbours of its number confirm it.
    fn clock_of(&self, held: &Held, item: &Item, device: &Device, desk: &Desk<'_>) -> Result<Clocked, StoreError> {
        let sense = self.sense(device);
        let clocked = Clocked::of(item, None, &sense);
        let measured = match (held.measured_at, clocked.measured) {
            (None, Some(told)) if held.reasons.contains(&Reason::Clock) => match item.seq {
                Some(seq) => told.within(desk.between(held.device, held.epoch, seq)?),
                None => None,
            },
            (None, _) => None,
            (Some(at), Some(same)) if same.at == at => Some(same),
            (Some(at), _) => {
                let shift = clocked.told.map_or(Duration::MAX, |told| told.since(at).max(at.since(told)));
                let quality = if shift > SMALL_SHIFT { TimeQuality::Corrected } else { TimeQuality::Exact };
                Some(Measured { at, quality, zone_suspect: false })
            }
        };
        Ok(Clocked { measured, orders: clocked.orders && measured.is_some(), ..clocked })
    }

    /// A message or a frame that can be read now: its readings are taken as if it came again.
    fn replay_message(&self, held: &Held, mut message: Message, desk: &mut Desk<'_>) -> Result<Replayed, StoreError> {
        if self.device.kind == DeviceKind::Gateway {
            desk.release(held);
            let (results, _) = self.take_for_others(&message, desk)?;
            return Ok(Replayed { released: true, results });
        }
        let mut joined = Vec::new();
        if held.route == "gatt/2a18" {
            for item in &mut message.items {
                joined.extend(self.join_waiting(item, desk)?);
            }
        }
        if let [item] = &message.items[..]
            && item.raw.len() == held.bytes.len()
        {
            // One reading that is the entry itself: it must not be held a second time.
            let envelope = Envelope {
                device: self.device.key,
                pair: message.clock,
                historical: message.historical,
                number: None,
                newest: true,
            };
            let clocked = Clocked::of(item, envelope.pair, &self.sense(&self.device));
            let admission = self.judge(&self.device, item, envelope, clocked, desk)?;
            if let Admission::Hold(hold) = admission {
                return Ok(stays(item.seq, hold.reasons.iter().map(|r| r.as_str().into()).collect()));
            }
            desk.release(held);
            let outcome = self.settle(&self.device, item, clocked, admission, desk)?;
            joined.into_iter().for_each(|seq| desk.wait(self.device.key, seq, None));
            return Ok(Replayed { released: true, results: vec![outcome] });
        }
        desk.release(held);
        let (results, _) = self.take(&message, desk)?;
        Ok(Replayed { released: true, results })
    }

    /// A context that can be read now goes where every context goes.
    fn replay_context(&self, held: &Held, desk: &mut Desk<'_>) -> Result<Replayed, StoreError> {
        if let Some(characteristic) = held.route.strip_prefix("gatt/").and_then(Characteristic::parse) {
            self.take_frame(characteristic, &Bytes::copy_from_slice(&held.bytes), desk)?;
        }
        desk.release(held);
        Ok(Replayed { released: true, results: Vec::new() })
    }
}

fn stays(seq: Option<i64>, reasons: Vec<Cow<'static, str>>) -> Replayed {
    let reasons = reasons.into_iter().map(|r| r.into_owned().into()).collect();
    let outcome = Outcome { seq, device: None, verdict: Verdict::Quarantined, id: None, reasons };
    Replayed { released: false, results: vec![outcome] }
}
