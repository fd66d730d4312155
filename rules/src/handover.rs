//! Readings that turn out to be somebody else's: what stood on them is withdrawn, both sides are judged again.
//!
//! Nobody is paged by it: what is concluded here is written down as a note.

use crate::{
    Error, Point, Rule,
    conclusion::Concluded,
    person::{Person, Scene, World},
};
use vitals::ReadingId;

impl Person {
    /// These readings are not this patient's any more.
    pub(crate) fn lose<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        let Some(first) = points.iter().map(|p| p.at).min() else { return Ok(()) };
        self.reread(scene.world, scene.cards, scene.now)?;
        self.remember(scene, first)?;
        let gone: Vec<ReadingId> = points.iter().map(|p| p.id).collect();
        self.withdraw(scene, &gone);
        self.judge_moved(scene, points)
    }

    /// These readings are this patient's now.
    pub(crate) fn gain<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        if points.is_empty() {
            return Ok(());
        }
        self.reread(scene.world, scene.cards, scene.now)?;
        let late = self.late.get_or_insert_default();
        for p in points.iter().filter(|p| p.valid) {
            late.add_valid(p.at, scene.decided);
        }
        self.judge_moved(scene, points)
    }

    fn judge_moved<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        for p in points {
            self.late.get_or_insert_default().add(p.kind(), (p.at, p.at), scene.decided);
            if p.at < self.open_day {
                self.look_again(p.at);
            }
        }
        self.judge_late(scene)
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
