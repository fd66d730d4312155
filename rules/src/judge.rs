//! What new readings of one patient change. What is newer than all before it moves the patient's tracks on; what came
//! late is gathered, to be judged together with the rest that came late (`late`).
//!
//! The cost of a reading does not depend on how many the patient sent before it.

use crate::{
    Error, Point, Rule, acute,
    late::Late,
    person::{KINDS, Person, Scene, World, place},
    schedule,
};
use vitals::{Kind, Timestamp};

impl Person {
    /// Judges the readings of one message together, in order of measurement.
    pub(crate) fn judge<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        self.look(points.len());
        for kind in KINDS {
            let mine = |p: &&Point| p.kind() == kind;
            let Some(first) = points.iter().find(mine) else { continue };
            let last = points.iter().rev().find(mine).map_or(first.at, |p| p.at);
            let before = self.newest[place(kind)];
            let settled = self.settled[place(kind)];
            // Of one moment the later sent comes after: it is not late, unless time has ended a question meanwhile.
            let in_order = first.at > settled || (first.at == settled && settled == before);
            let live = in_order && !self.recheck[place(kind)];
            self.newest[place(kind)] = last.max(before);
            self.settled[place(kind)] = last.max(settled);
            if live && self.late.as_ref().is_none_or(|late| late.of_kind(kind).is_empty()) {
                self.judge_live(scene, kind, points, before)?;
            } else {
                self.recheck[place(kind)] = false;
                let late = self.late.get_or_insert_default();
                late.add(kind, (first.at, last), scene.decided);
                late.came.extend(points.iter().filter(mine).map(|p| p.id));
            }
        }
        for p in points {
            if p.at < self.open_day {
                self.look_again(p.at);
            }
            if !p.valid {
                continue;
            }
            if self.last_valid.is_none_or(|(at, _)| p.at > at) {
                self.silence_ended(scene, p)?;
            } else if self.last_valid.is_some_and(|(at, id)| p.at == at && p.id > id)
                && !self.stands(Rule::Adh1, p.at, Timestamp::MAX)
            {
                self.last_valid = Some((p.at, p.id)); // the same moment again ends no silence and begins none
            } else if self.last_valid.is_none_or(|(_, id)| p.id != id) {
                self.late.get_or_insert_default().add_valid(p.at, scene.decided);
            }
        }
        Ok(())
    }

    fn judge_live<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        kind: Kind,
        points: &[Point],
        before: Timestamp,
    ) -> Result<(), Error> {
        for rule in acute::RULES.into_iter().filter(|r| acute::kind(*r) == kind) {
            self.advance(scene, rule, points)?;
        }
        match kind {
            Kind::BloodPressure => {
                self.judge_cuff(scene, points, before);
                Ok(())
            }
            Kind::BloodGlucose => self.judge_lows(scene, points),
        }
    }

    /// What was measured at `at` came too late for the mornings after it: they are judged again.
    pub(crate) fn look_again(&mut self, at: Timestamp) {
        let slot = schedule::slot_of_day(at, &self.zone);
        self.dirty = Some(self.dirty.map_or(slot, |d| d.min(slot)));
    }

    /// Judges again the mornings that something changed, up to `last`. One that both late and moved readings change is
    /// quiet: re-attribution never pages, and no morning tells of a crisis.
    pub(crate) fn judge_mornings<W: World>(&mut self, scene: &mut Scene<'_, W>, last: Timestamp) -> Result<(), Error> {
        let handed = self.dirty_handed.take();
        let before = handed.map_or(Timestamp::MAX, |first| Timestamp::from_micros(first.as_micros() - 1));
        let quiet = std::mem::replace(&mut scene.quiet, false);
        for (first, last, hushed) in [(self.dirty.take(), last.min(before), false), (handed, last, true)] {
            let Some(first) = first.filter(|first| *first <= last) else { continue };
            scene.quiet = hushed;
            self.judge_weeks(scene, first, last)?;
            self.judge_days(scene, first, last)?;
        }
        scene.quiet = quiet;
        Ok(())
    }

    /// More is said of a reading that was judged.
    pub(crate) fn amend(&mut self, p: &Point, decided: Timestamp) {
        self.window.replace(*p);
        self.days.touch(p.at, self.terms.gap, &self.zone);
        if p.at < self.open_day {
            self.look_again(p.at);
        }
        let late = self.late.get_or_insert_default();
        late.add(p.kind(), (p.at, p.at), decided);
        late.add_valid(p.at, decided);
        late.came.push(p.id);
        if !p.valid {
            late.gone.push(p.id);
        }
    }

    /// Whether something waits to be judged together.
    pub(crate) const fn waits(&self) -> bool {
        self.dirty.is_some() || self.dirty_handed.is_some() || self.late.is_some()
    }
}

impl Late {
    /// Readings of one kind between two moments came late.
    pub(crate) fn add(&mut self, kind: Kind, stretch: (Timestamp, Timestamp), decided: Timestamp) {
        self.decided = self.decided.max(decided);
        crate::late::merge(&mut self.kinds[place(kind)], stretch);
    }

    /// A valid reading came late.
    pub(crate) fn add_valid(&mut self, at: Timestamp, decided: Timestamp) {
        self.decided = self.decided.max(decided);
        crate::late::merge(&mut self.valid, (at, at));
    }
}
