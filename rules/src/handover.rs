//! Readings that turn out to be somebody else's: what stood on them is withdrawn, both sides are judged again.
//!
//! Nobody is paged by it: what is concluded here is written down as a note.

use crate::{
    Error, Point, Rule,
    conclusion::Concluded,
    person::{Person, Scene, World},
    schedule,
};
use vitals::ReadingId;

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
        let moved: Vec<ReadingId> = gained.iter().map(|p| p.id).collect();
        self.judge_what_waits(scene, &moved)?;
        for p in lost.iter().chain(gained) {
            self.late.get_or_insert_default().add(p.kind(), (p.at, p.at), scene.decided);
            if p.at < self.open_day {
                let slot = schedule::slot_of_day(p.at, &self.zone);
                self.dirty_handed = Some(self.dirty_handed.map_or(slot, |d| d.min(slot)));
            }
        }
        let late = self.late.get_or_insert_default();
        for p in gained.iter().filter(|p| p.valid) {
            late.add_valid(p.at, scene.decided);
        }
        self.judge_late(scene)
    }

    /// What came late by itself and waits for its turn is told as ever: a crisis is not to be hushed by what else is moved.
    fn judge_what_waits<W: World>(&mut self, scene: &mut Scene<'_, W>, moved: &[ReadingId]) -> Result<(), Error> {
        if self.late.is_none() {
            return Ok(());
        }
        let Scene { world, cards, seasons, now, decided, .. } = *scene;
        let batch = &mut *scene.batch;
        self.judge_late(&mut Scene { world, cards, seasons, now, decided, quiet: false, moved, batch })
    }

    /// Takes back what stands on readings that are `gone`.
    fn withdraw<W: World>(&mut self, scene: &mut Scene<'_, W>, gone: &[ReadingId]) {
        // A silence begins with a reading; it is judged by its own rule.
        let fell = |c: &Concluded| c.rule != Rule::Adh1 && c.readings.iter().any(|r| gone.contains(r));
        let withdrawn: Vec<Concluded> = self.concluded.extract_if(.., |c| fell(c)).collect();
        for old in &withdrawn {
            self.take_back(scene, old);
        }
        let asked = self.asked_until();
        for track in &mut self.tracks {
            track.asking.take_if(|a| gone.contains(&a.first.id));
        }
        self.find_tracks(scene.cards);
        self.retime(scene, asked);
    }
}
