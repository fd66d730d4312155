//! What the stage hears of beside new entries: of patients and bindings, of cards, of readings that moved.

use super::Worker;
use crate::{Error, Force};
use store::{Handover, Moves};
use tokio::sync::broadcast::error::TryRecvError;
use vitals::Timestamp;

impl Worker {
    pub(super) fn follow_directory(&mut self) -> Result<(), Error> {
        let now = self.store.clock().now();
        if !self.directory.has_changed().unwrap_or(false) && self.next_end.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.directory.mark_unchanged();
        self.next_end = self.engine.world_mut().rebind(now);
        let directory = self.store.directory();
        self.engine.retain(|id| directory.patient(id).is_some());
        for patient in directory.patients() {
            self.engine.refresh(patient, now)?;
        }
        Ok(())
    }

    /// Other cards were installed, or an edit was signed, or its moment has come.
    pub(super) fn follow_cards(&mut self) -> Result<bool, Error> {
        let now = self.store.clock().now();
        let changed = |changes: Result<bool, _>| changes.unwrap_or(false);
        let told = changed(self.given.has_changed()) || changed(self.edits.has_changed());
        if !told && self.next_cards.is_none_or(|at| at > now) {
            return Ok(false);
        }
        self.edits.mark_unchanged();
        self.force = Force::new(self.given.borrow_and_update().clone(), self.store.rule_edits_blocking()?);
        self.next_cards = self.force.next_after(now);
        let cards = self.force.at(now);
        self.store.put_cards_blocking(cards.records())?;
        self.engine.replace_cards(cards, now);
        Ok(true)
    }

    /// Readings that found another patient, or of which more is said. Like entries they are judged up to a number that is
    /// written with what was concluded, so a crash here loses nothing.
    pub(super) fn follow_moves(&mut self, now: Timestamp) -> Result<bool, Error> {
        let mut did = false;
        loop {
            if std::mem::take(&mut self.missed_moves) {
                let Moves { number, readings } = self.store.readings().moves_after_blocking(self.moves)?;
                did |= number != self.moves;
                match readings {
                    Some(readings) => self.hand_over(&readings, now)?,
                    None => self.engine.distrust(),
                }
                self.moves = number;
            }
            match self.moved.try_recv() {
                Ok(told) if told.number <= self.moves => {}
                Ok(told) => {
                    self.hand_over(&told.readings, now)?;
                    self.moves = told.number;
                    did = true;
                }
                Err(TryRecvError::Lagged(_)) => self.missed_moves = true,
                Err(_) => return Ok(did),
            }
        }
    }

    /// What is not judged yet is judged as whoever's it is when its turn comes. It may have been judged all the same, before
    /// a start: what was concluded is written while the position waits. Whatever stands on it goes first.
    fn hand_over(&mut self, moved: &[Handover], now: Timestamp) -> Result<(), Error> {
        let judged = |h: &Handover| h.reading.id.as_i64().cast_unsigned() <= self.position;
        let (moved, ahead): (Vec<Handover>, Vec<Handover>) = moved.iter().cloned().partition(judged);
        if !ahead.is_empty() {
            self.engine.withdraw(&ahead, now)?;
        }
        if moved.is_empty() { Ok(()) } else { self.engine.hand_over(&moved, now) }
    }
}
