//! Readings that turn out to be somebody else's: what stood on them is withdrawn, both sides are judged again.
//!
//! Nobody is paged by it: what is concluded here is written down as a note.

use crate::{
    Engine, Error, Point,
    engine::await_turn,
    person::{Person, Scene, World},
    schedule,
};
use std::collections::BTreeMap;
use store::Handover;
use vitals::{PatientId, Reading, ReadingId, Timestamp};

impl<W: World> Engine<W> {
    /// Readings found another patient: withdraws what stood on them and judges both sides again, paging nobody.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn hand_over(&mut self, moved: &[Handover], now: Timestamp) -> Result<(), Error> {
        let mut sides: BTreeMap<PatientId, [Vec<Point>; 2]> = BTreeMap::new();
        for one in moved {
            let point = Point::of(&one.reading, &self.site);
            if one.before.is_some() && one.before == one.reading.patient {
                self.amend(&one.reading, point, now)?;
                continue;
            }
            for (side, id) in [one.before, one.reading.patient].into_iter().enumerate() {
                if let Some(id) = id {
                    sides.entry(id).or_default()[side].push(point);
                }
            }
        }
        for (id, [lost, gained]) in sides {
            if !self.know(id, now)? {
                continue;
            }
            let known = self.heard.min(now);
            let Self { world, cards, seasons, people, batch, waiting, .. } = self;
            let Some(person) = people.get_mut(&id) else { continue };
            let mut scene = Scene { world, cards, seasons, now, known, decided: now, quiet: true, only: None, batch };
            person.hand_over(&mut scene, &lost, &gained)?;
            if person.waits() {
                await_turn(waiting, person, 0);
            }
            self.enqueue(id);
        }
        Ok(())
    }

    /// More is said of a reading: it is judged like one that came late.
    fn amend(&mut self, reading: &Reading, point: Point, now: Timestamp) -> Result<(), Error> {
        let Some(id) = reading.patient else { return Ok(()) };
        if !self.know(id, now)? {
            return Ok(());
        }
        let Self { world, people, waiting, .. } = self;
        if let Some(person) = people.get_mut(&id) {
            person.learn_days(world)?;
            person.amend(&point, reading.received_at);
            await_turn(waiting, person, 1);
        }
        self.enqueue(id);
        Ok(())
    }

    /// Readings that are to be judged yet changed: what stands on them was concluded before a start, of whose they were then.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn withdraw(&mut self, moved: &[Handover], now: Timestamp) -> Result<(), Error> {
        for one in moved {
            let point = Point::of(&one.reading, &self.site);
            let Some(id) = one.before else { continue };
            // Where only more is said of it, what it comes to is the same, most likely, and would be told twice.
            let counts = one.reading.patient == Some(id) && point.valid;
            if counts || !self.know(id, now)? {
                continue;
            }
            let Self { world, cards, seasons, people, batch, .. } = self;
            let Some(person) = people.get_mut(&id) else { continue };
            let mut scene =
                Scene { world, cards, seasons, now, known: now, decided: now, quiet: true, only: None, batch };
            person.remember(&scene, point.at)?;
            person.withdraw(&mut scene, &[point.id]);
            person.learn_days(world)?;
            person.days.touch(point.at, person.terms.gap, &person.zone);
            self.enqueue(id);
        }
        Ok(())
    }
}

impl Person {
    /// `lost` are not this patient's any more, `gained` are now.
    pub(crate) fn hand_over<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        lost: &[Point],
        gained: &[Point],
    ) -> Result<(), Error> {
        self.reread(scene.world, scene.cards, scene.now)?;
        if let Some(first) = lost.iter().map(|p| p.at).min() {
            self.remember(scene, first)?;
            let gone: Vec<ReadingId> = lost.iter().map(|p| p.id).collect();
            self.withdraw(scene, &gone);
        }
        self.judge_what_waits(scene)?;
        for p in lost.iter().chain(gained) {
            self.late.get_or_insert_default().add(p.kind(), (p.at, p.at), scene.decided);
            if p.at < self.open_day {
                let slot = schedule::slot_of_day(p.at, &self.zone);
                self.dirty_handed = Some(self.dirty_handed.map_or(slot, |d| d.min(slot)));
            }
        }
        let late = self.late.get_or_insert_default();
        for p in lost.iter().chain(gained.iter().filter(|p| p.valid)) {
            late.add_valid(p.at, scene.decided);
        }
        late.gone.extend(lost.iter().map(|p| p.id));
        self.judge_late(scene)
    }

    /// What came late by itself and waits for its turn is told as ever: a crisis is not to be hushed by what else is moved.
    fn judge_what_waits<W: World>(&mut self, scene: &mut Scene<'_, W>) -> Result<(), Error> {
        let Some(late) = &mut self.late else { return Ok(()) };
        let came = std::mem::take(&mut late.came);
        let Scene { world, cards, seasons, now, known, decided, .. } = *scene;
        let batch = &mut *scene.batch;
        self.judge_late(&mut Scene {
            world,
            cards,
            seasons,
            now,
            known,
            decided,
            quiet: false,
            only: Some(&came),
            batch,
        })
    }

    /// Takes back what stands on readings that are `gone`.
    fn withdraw<W: World>(&mut self, scene: &mut Scene<'_, W>, gone: &[ReadingId]) {
        self.take_back_where(scene, |c| c.readings.iter().any(|r| gone.contains(r)));
        let asked = self.asked_until();
        for track in &mut self.tracks {
            track.asking.take_if(|a| gone.contains(&a.first.id));
        }
        self.find_tracks(scene.cards);
        self.retime(scene, asked);
    }
}
