//! One message on the store's commit thread: each reading judged in the order sent, and what becomes of it.

use crate::{
    admit::{Admission, Clocked, Envelope, Hold, Past, admit, flags, number_of},
    time::{TimeSense, first_after_last_step},
};
use bytes::Bytes;
use jiff::civil::Date;
use std::borrow::Cow;
use store::{Desk, Epoch, NewHeld, NewReading, StoreError};
use vitals::{DeviceKey, Held, Reading, ReadingId, Reason, Timestamp, Zone};
use wire::{
    reading_v1::{Item, Message},
    receipt::{Outcome, Verdict},
};

/// Outcomes in the order sent, and the `storedThrough` of the receipt.
pub(crate) type Answer = (Vec<Outcome>, Option<i64>);

/// Where and when a message came in.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) device: DeviceKey,
    pub(crate) route: Cow<'static, str>,
    pub(crate) received_at: Timestamp,
    pub(crate) zone: Zone,
    pub(crate) reset_day: Option<Date>,
}

impl Arrival {
    /// A device's own message.
    pub(crate) fn take(&self, message: &Message, desk: &mut Desk<'_>) -> Result<Answer, StoreError> {
        let pair_from = message.clock.map(|_| first_after_last_step(&message.items, &self.zone));
        let highest = message.items.iter().filter_map(|i| i.seq).max();
        let last = message.items.len().saturating_sub(1);
        let mut outcomes = Vec::with_capacity(message.items.len());
        for (i, item) in message.items.iter().enumerate() {
            let envelope = Envelope {
                device: self.device,
                pair: message.clock.filter(|_| pair_from.is_some_and(|from| i >= from)),
                historical: message.historical,
                newest: if item.seq.is_some() { item.seq == highest } else { i == last },
            };
            outcomes.push(self.take_item(item, envelope, desk)?);
        }
        let through = desk.history(self.device)?.current().and_then(Epoch::stored_through);
        Ok((outcomes, through))
    }

    fn take_item(&self, item: &Item, envelope: Envelope, desk: &mut Desk<'_>) -> Result<Outcome, StoreError> {
        let sense = TimeSense { zone: &self.zone, received_at: self.received_at, reset_day: self.reset_day };
        let clocked = Clocked::of(item, envelope.pair, &sense);
        let seq = number_of(item, &clocked, self.received_at);
        let known = seq.map(|seq| desk.known(self.device, seq)).transpose()?.unwrap_or_default();
        let bindings = desk.bindings(self.device);
        let past = Past { history: desk.history(self.device)?, known: &known, bindings: &bindings };
        let admission = admit(item, envelope, clocked, seq, past, self.received_at);
        let outcome = |verdict, id, reasons| Outcome { seq: item.seq, device: None, verdict, id, reasons };
        match admission {
            Admission::Duplicate(id) => {
                desk.duplicate(self.device);
                Ok(outcome(Verdict::Duplicate, Some(id), Vec::new()))
            }
            Admission::Keep(reading) => {
                let reading: Reading = *reading;
                let (verdict, reasons) = (Verdict::Kept(reading.disposition), flags(&reading));
                let id = desk.keep(NewReading { reading, told: clocked.told, trusted: clocked.orders })?;
                Ok(outcome(verdict, Some(id), reasons))
            }
            Admission::Hold(hold) => {
                // A conflict's own time must not become its neighbours' measure.
                let orders = clocked.orders && !hold.reasons.contains(&Reason::Conflict);
                let (verdict, reasons) = self.hold(&item.raw, item.seq, &hold, Clocked { orders, ..clocked }, desk)?;
                Ok(outcome(verdict, None, reasons))
            }
        }
    }

    /// Holds bytes once; the same bytes again are known, and their reasons are said again.
    fn hold(
        &self,
        raw: &Bytes,
        seq: Option<i64>,
        hold: &Hold,
        clocked: Clocked,
        desk: &mut Desk<'_>,
    ) -> Result<(Verdict, Vec<Box<str>>), StoreError> {
        let reasons = hold.reasons.iter().map(|r| r.as_str().into()).collect();
        if desk.held_before(self.device, &self.route, raw)?.is_some() {
            desk.duplicate(self.device);
            return Ok((Verdict::Duplicate, reasons));
        }
        let held = Held {
            id: ReadingId::new(0),
            device: self.device,
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

    /// A payload that is one held reading as a whole: broken, or in a format that nobody here reads yet.
    pub(crate) fn take_whole(&self, raw: &Bytes, reason: Reason, desk: &mut Desk<'_>) -> Result<Answer, StoreError> {
        let epoch = desk.history(self.device)?.current().map_or(0, |e| e.number);
        let hold = Hold { reasons: vec![reason], epoch, measured_at: None, patient: None };
        let clocked = Clocked { told: None, measured: None, orders: false };
        let (verdict, reasons) = self.hold(raw, None, &hold, clocked, desk)?;
        let through = desk.history(self.device)?.current().and_then(Epoch::stored_through);
        Ok((vec![Outcome { seq: None, device: None, verdict, id: None, reasons }], through))
    }

    /// A gateway's message. There is no allow list yet, so each item is held until there is one, under the gateway:
    /// the device that it names is only a claim.
    pub(crate) fn take_claims(&self, message: &Message, desk: &mut Desk<'_>) -> Result<Answer, StoreError> {
        let mut outcomes = Vec::with_capacity(message.items.len());
        for item in &message.items {
            let hold = Hold { reasons: vec![Reason::NotAllowed], epoch: 0, measured_at: None, patient: None };
            let clocked = Clocked { told: None, measured: None, orders: false };
            let (verdict, reasons) = self.hold(&item.raw, None, &hold, clocked, desk)?;
            outcomes.push(Outcome { seq: item.seq, device: item.device.clone(), verdict, id: None, reasons });
        }
        Ok((outcomes, None))
    }
}
