//! Bluetooth frames on the commit thread: readings as any other, and meal contexts that find their reading, whichever
//! of the two comes first.

use crate::desk::{Answer, Arrival, stored_through};
use bytes::Bytes;
use store::{Desk, StoreError};
use vitals::{Disposition, Kind, Reading, ReadingId, Reason};
use wire::{
    gatt::{self, Frame, Joining, Known},
    reading_v1::{Item, Message},
    receipt::{Outcome, Verdict},
    topic::Characteristic,
};

/// Why a reading is excluded whose meter says by a reserved meal code that it measured something else (ketone).
const NOT_GLUCOSE: &str = "not_glucose";

impl Arrival {
    /// One characteristic value.
    pub(crate) fn take_frame(
        &self,
        characteristic: Characteristic,
        octets: &Bytes,
        desk: &mut Desk<'_>,
    ) -> Result<Answer, StoreError> {
        match gatt::decode(characteristic, octets) {
            Frame::Unreadable(reason) => self.take_whole(octets, reason, desk),
            Frame::Context(joining) => self.take_context(&joining, octets, desk),
            Frame::Readings(mut items) => {
                let mut joined = Vec::new();
                for item in items.iter_mut().filter(|_| characteristic == Characteristic::Glucose2a18) {
                    joined.extend(self.join_waiting(item, desk)?);
                }
                let answer = self.take(&Message { items, ..Message::default() }, desk)?;
                self.note_known(&answer.0);
                let kept = |seq: &i64| answer.0.iter().any(|o| o.seq == Some(*seq) && is_new(o));
                joined.into_iter().filter(kept).for_each(|seq| desk.wait(self.device.key, seq, None));
                Ok(answer)
            }
        }
    }

    /// Joins a reading with the context that came before it; its number, where there was one.
    pub(crate) fn join_waiting(&self, item: &mut Item, desk: &Desk<'_>) -> Result<Option<i64>, StoreError> {
        let Some(seq) = item.seq else { return Ok(None) };
        let Some(octets) = desk.waiting(self.device.key, seq)? else { return Ok(None) };
        let frame = gatt::decode(Characteristic::GlucoseContext2a34, &octets.into());
        let Frame::Context(joining) = frame else { return Ok(None) };
        joining.join(&mut item.context);
        if joining.not_glucose {
            item.faults.push(Reason::KindUnknown);
        }
        Ok(Some(seq))
    }

    /// A context: to its reading, if that is here and has none yet; else it waits. It is no reading and counted nowhere.
    fn take_context(&self, joining: &Joining, octets: &Bytes, desk: &mut Desk<'_>) -> Result<Answer, StoreError> {
        let reading = match self.known_again(joining.seq) {
            // The frame before it was of an earlier life of the counter: so is this.
            Some(id) => match self.known_reading(id, joining.seq, desk)? {
                Some(reading) => Some(reading),
                // It was taken out of the file, and what is said of it goes with it.
                None => return Ok((Vec::new(), stored_through(&self.device, desk)?)),
            },
            None => self.reading_of(joining.seq, desk)?,
        };
        match reading {
            Some(reading) => match joining.known(&reading.context) {
                Known::This => {}
                Known::Nothing => amend(&reading, joining, desk)?,
                // The first one stays; another is of a reading that is yet to come under the same number.
                Known::Another => desk.wait(self.device.key, joining.seq, Some(octets.to_vec())),
            },
            None => desk.wait(self.device.key, joining.seq, Some(octets.to_vec())),
        }
        Ok((Vec::new(), stored_through(&self.device, desk)?))
    }

    /// A meter that sends its memory once more says after each reading what belongs to it.
    fn note_known(&self, outcomes: &[Outcome]) {
        let mut known = self.site.known_again.lock();
        match outcomes.last() {
            Some(Outcome { verdict: Verdict::Duplicate, seq: Some(seq), id: Some(id), .. }) => {
                known.insert(self.device.key, (*seq, *id));
            }
            _ => drop(known.remove(&self.device.key)),
        }
    }

    fn known_again(&self, seq: i64) -> Option<ReadingId> {
        self.site.known_again.lock().get(&self.device.key).filter(|(known, _)| *known == seq).map(|(_, id)| *id)
    }

    fn known_reading(&self, id: ReadingId, seq: i64, desk: &Desk<'_>) -> Result<Option<Reading>, StoreError> {
        let own = |r: &Reading| r.device == self.device.key && r.seq == seq && r.kind() == Kind::BloodGlucose;
        Ok(desk.reading(id)?.filter(|r| own(r)).map(|r| (*r).clone()))
    }

    /// The glucose reading with this number in the present life of the meter's counter.
    fn reading_of(&self, seq: i64, desk: &mut Desk<'_>) -> Result<Option<Reading>, StoreError> {
        let Some(epoch) = desk.history(self.device.key)?.current().map(|e| e.number) else { return Ok(None) };
        let found: Option<ReadingId> =
            desk.known(self.device.key, seq)?.iter().find(|k| k.epoch == epoch).map(|k| k.id);
        let reading = found.map(|id| desk.reading(id)).transpose()?.flatten();
        Ok(reading.filter(|r| r.kind() == Kind::BloodGlucose).map(|r| (*r).clone()))
    }
}

fn is_new(outcome: &Outcome) -> bool {
    matches!(outcome.verdict, Verdict::Kept(_))
}

fn amend(reading: &Reading, joining: &Joining, desk: &mut Desk<'_>) -> Result<(), StoreError> {
    let mut after = reading.clone();
    joining.join(&mut after.context);
    if joining.not_glucose {
        after.disposition = Disposition::Excluded;
        after.flags.push(NOT_GLUCOSE.into());
    }
    desk.amend(&after)
}
