//! Readings that turn out to be somebody else's: what stood on them is withdrawn, both sides are judged again.
//!
//! Nobody is paged by it: what is concluded here is written down as a note, and what was measured within the last day
//! speaks with the patient's next reading only.

use crate::{
    Error, Point, Rule, acute,
    conclusion::HORIZON,
    person::{Person, Scene, World},
};
use vitals::{FindingId, Kind, ReadingId};

impl Person {
    /// These readings are not this patient's any more.
    pub(crate) fn lose<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        let Some(first) = points.iter().map(|p| p.at).min() else { return Ok(()) };
        self.reread(scene.world, scene.now)?;
        self.remember(scene, first)?;
        let gone: Vec<ReadingId> = points.iter().map(|p| p.id).collect();
        self.withdraw(scene, &gone);
        self.judge_moved(scene, points)
    }

    /// These readings are this patient's now.
    pub(crate) fn gain<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        for p in points {
            self.window.insert(*p);
        }
        for p in points.iter().filter(|p| p.valid) {
            self.judge_silence(scene, p)?;
        }
        self.reread(scene.world, scene.now)?;
        let old: Vec<Point> = points.iter().filter(|p| scene.now.since(p.at) > HORIZON).copied().collect();
        self.judge_moved(scene, &old)?;
        points
            .iter()
            .filter(|p| p.at < self.open_day)
            .map(|p| p.at)
            .min()
            .into_iter()
            .for_each(|at| self.look_again(at));
        Ok(())
    }

    fn judge_moved<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        for p in points {
            for rule in acute::RULES {
                if p.valid && acute::kind(rule) == p.kind() && self.concerns(scene, rule, p)? {
                    self.judge_acute(scene, rule, (p.at, p.at))?;
                }
            }
            if p.kind() == Kind::BloodPressure {
                self.judge_quality(scene, p)?;
            }
            if p.at < self.open_day {
                self.look_again(p.at);
            }
        }
        self.judge_pattern(scene, points)
    }

    /// Takes back what stands on readings that are `gone`.
    fn withdraw<W: World>(&mut self, scene: &mut Scene<'_, W>, gone: &[ReadingId]) {
        let mut ids: Vec<FindingId> = Vec::new();
        self.concluded.retain(|c| {
            // A silence begins with a reading; it is judged by its own rule.
            let stands = c.rule == Rule::Adh1 || !c.readings.iter().any(|r| gone.contains(r));
            if !stands {
                ids.push(c.id);
            }
            stands
        });
        self.open.retain(|(_, o)| !gone.contains(&o.first.id));
        for id in ids {
            self.take_back(scene, id);
        }
    }

    /// After a start: what stands on recent readings that are not this patient's any more, because they were given to
    /// another just before the process died.
    pub(crate) fn withdraw_strays<W: World>(&mut self, scene: &mut Scene<'_, W>) {
        let from = self.window.from();
        let recent = self.concluded.iter().filter(|c| c.rule != Rule::Adh1 && c.since >= from);
        let mine = |id: &ReadingId| self.window.holds(*id);
        let strays: Vec<ReadingId> = recent
            .filter(|c| acute::RULES.contains(&c.rule))
            .flat_map(|c| c.readings.iter().copied())
            .filter(|id| !mine(id))
            .collect();
        if !strays.is_empty() {
            self.withdraw(scene, &strays);
        }
    }
}
