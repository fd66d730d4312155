//! Every morning of every zone: whole stations' shifts, then each patient's days; and those days from one start to the next.
//!
//! Goes in: the schedule's moments, idle time. Comes out: findings, seasons and what is written down of days, in the batch.
//! Must never: leave written what is not right any more when the position passes what made it wrong.

use crate::{
    Engine, Error,
    kept_days::{self, Row},
    person::{Person, Scene, World},
    schedule,
    season::Shifts,
    trend,
};
use std::time::Duration;
use store::FindingBatch;
use vitals::Timestamp;

/// Who measured nothing for so long says nothing of the season.
const LATELY: Duration = Duration::from_secs(28 * 24 * 3600);

/// Takes away what is written of a patient's days where it is not right any more.
pub(crate) fn let_go(person: &mut Person, batch: &mut FindingBatch) {
    if person.days.row.must_go() {
        batch.days.changed.push((person.patient.id, None));
    }
}

impl<W: World> Engine<W> {
    /// Looks at one zone's morning.
    pub(crate) fn run_slot(&mut self, index: usize, now: Timestamp) -> Result<(), Error> {
        let Self { world, cards, seasons, people, batch, slots, unkept, .. } = self;
        let Some((zone, slot)) = slots.get_mut(index) else { return Ok(()) };
        let due = *slot;
        *slot = schedule::following(due, zone);
        let today = due.day(zone);
        let mut shifts = Shifts::new();
        for person in people.values_mut().filter(|p| p.zone == *zone) {
            let (Some(station), Some((newest, _))) = (person.patient.organisation, person.last_valid) else { continue };
            if newest < due.minus(LATELY) {
                continue;
            }
            person.know_days(world, due, due)?;
            let raw = trend::raw(&person.days, today);
            let of_station = shifts.entry(station).or_default();
            of_station.iter_mut().zip(raw).for_each(|(all, mine)| all.extend(mine));
        }
        batch.seasons.extend(seasons.publish(today, shifts));
        for person in people.values_mut().filter(|p| p.zone == *zone) {
            person.daily(
                &mut Scene { world, cards, seasons, now, known: now, decided: now, quiet: false, only: None, batch },
                due,
            )?;
            self.looked += person.take_looked();
            let_go(person, batch);
            if person.days.is_ahead_of_row() {
                unkept.insert(person.patient.id);
            }
        }
        batch.scheduled = Some(due);
        Ok(())
    }

    /// Sums the last months' days of at most `limit` patients whom the first morning after a start will ask about, so that
    /// it need not read them all at once. Whether any are left.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn warm(&mut self, limit: usize) -> Result<bool, Error> {
        let Self { world, people, slots, cold, unkept, .. } = self;
        for id in cold.split_off(cold.len().saturating_sub(limit)) {
            let Some(person) = people.get_mut(&id) else { continue };
            let Some((_, slot)) = slots.iter().find(|(zone, _)| *zone == person.zone) else { continue };
            // As far as days are complete; the morning adds the last one.
            let last = schedule::last_slot(Timestamp::from_micros(slot.as_micros() - 1), &person.zone);
            if person.last_valid.is_some_and(|(newest, _)| newest >= last.minus(LATELY)) {
                person.know_days(world, last, last)?;
                if !matches!(person.days.row, Row::Right(_)) {
                    unkept.insert(id);
                }
            }
        }
        Ok(!cold.is_empty())
    }

    /// Whether days of some patients are not known since the start, or not written down.
    pub fn is_behind_with_days(&self) -> bool {
        !self.cold.is_empty() || !self.unkept.is_empty()
    }

    /// Has the days of at most `limit` patients written down, of whom less is written than is known. Whether any are left.
    pub fn keep_days(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(id) = self.unkept.pop_first() else { break };
            let Some(person) = self.people.get_mut(&id) else { continue };
            // What waits to be summed again is written after the next morning.
            if person.days.is_ahead_of_row()
                && let Some(body) = kept_days::encode(&person.days, &person.terms, &person.zone)
            {
                self.batch.days.changed.push((id, Some(body)));
                person.days.row = Row::Right(person.days.span().1);
            }
        }
        !self.unkept.is_empty()
    }

    /// What is written of anybody's days is not right any more.
    pub(crate) fn distrust_days(&mut self) {
        self.people.values_mut().for_each(|p| p.days.row = Row::Missing);
        self.batch.days.changed.clear();
        self.batch.days.all_gone = true;
    }
}
