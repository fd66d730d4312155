//! ADH-1 among readings: the silence that a reading ends, and the one that begins with it.

use crate::{
    Error, Point, Rule, adherence, cause,
    conclusion::{Concluded, Conclusion},
    late::Stretch,
    person::{Person, Scene, World},
};
use vitals::{ReadingId, Timestamp};

/// A valid reading: when, which.
type Mark = (Timestamp, ReadingId);

fn just_before(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - 1)
}

fn just_after(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros() + 1)
}

impl Person {
    /// A valid reading that is newer than every other ends what lasted since the one before it.
    pub(crate) fn silence_ended<W: World>(&mut self, scene: &mut Scene<'_, W>, p: &Point) -> Result<(), Error> {
        let before = self.last_valid.replace((p.at, p.id));
        if self.bound.is_none() {
            return Ok(());
        }
        let floor = self.floor();
        let since = before.map_or(floor, |(at, _)| at.max(floor));
        let lasted = p.at.since(since) >= self.steps.0[0];
        // Something may have been said before silence was counted from a new meter or a later enrolment on.
        let told_from = before.map_or(Timestamp::MIN, |(at, _)| at).min(since);
        if !lasted && !self.stands(Rule::Adh1, told_from, Timestamp::MAX) {
            return Ok(());
        }
        if p.at < self.open_day {
            // One of a backlog, most likely: the next one would undo what is said of the silence after this one.
            self.late.get_or_insert_default().add_valid(p.at, scene.decided);
            return Ok(());
        }
        self.remember(scene, before.map_or(since, |(at, _)| at.min(since)))?;
        self.settle_silences(scene, (before, None), &[(p.at, p.id)], false)
    }

    /// The silences around and among valid readings that came late, or around readings that went.
    pub(crate) fn judge_silences<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        (from, to): Stretch,
        some_went: bool,
    ) -> Result<(), Error> {
        if self.bound.is_none() {
            return Ok(());
        }
        let mark = |p: &Point| (p.at, p.id);
        let found = self.points(scene.world, from, to)?;
        let valid: Vec<Mark> = found.iter().filter(|p| p.valid).map(mark).collect();
        drop(found);
        if valid.is_empty() && !some_went {
            return Ok(());
        }
        let (first, last) = (valid.first().map_or(from, |v| v.0), valid.last().map_or(from, |v| v.0));
        let previous = self.valid_before(scene.world, first)?;
        let newest = self.last_valid.map_or(last, |(at, _)| at);
        let next = self.valid_after(scene.world, last, newest)?;
        self.remember(scene, previous.map_or(self.floor(), |(at, _)| at))?;
        self.settle_silences(scene, (previous, next), &valid, some_went)
    }

    /// The newest valid reading before `at` that matters: none before silence is counted from.
    fn valid_before<W: World>(&self, world: &W, at: Timestamp) -> Result<Option<Mark>, Error> {
        let floor = self.floor();
        let (mut to, mut span) = (at, self.steps.0[0]);
        while to > floor || to == at {
            let from = to.minus(span).max(floor.min(to.minus(self.steps.0[0])));
            let found = self.points(world, from, just_before(to))?;
            if let Some(p) = found.iter().rev().find(|p| p.valid) {
                return Ok(Some((p.at, p.id)));
            }
            (to, span) = (from, span.saturating_mul(2));
        }
        Ok(None)
    }

    /// The first valid reading after `at`; none is after `newest`.
    fn valid_after<W: World>(&self, world: &W, at: Timestamp, newest: Timestamp) -> Result<Option<Mark>, Error> {
        let (mut from, mut span) = (at, self.steps.0[0]);
        while from < newest {
            let to = from.plus(span).min(newest);
            let found = self.points(world, just_after(from), to)?;
            if let Some(p) = found.iter().find(|p| p.valid) {
                return Ok(Some((p.at, p.id)));
            }
            (from, span) = (to, span.saturating_mul(2));
        }
        Ok(None)
    }

    /// Compares what holds between `previous` and `next`, with `valid` readings between them, with what stood. Where others
    /// went the schedule said too little: it took the silence for ended.
    fn settle_silences<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        (previous, next): (Option<Mark>, Option<Mark>),
        valid: &[Mark],
        some_went: bool,
    ) -> Result<(), Error> {
        let (floor, steps, shortest) = (self.floor(), self.steps, self.steps.0[0]);
        let range = (previous.map_or(Timestamp::MIN, |(at, _)| just_after(at)), next.map_or(Timestamp::MAX, |n| n.0));
        let begin = self.concluded.partition_point(|c| c.effective_at < range.0);
        let mine = self.concluded[begin..].iter().filter(|c| c.rule == Rule::Adh1 && !c.is_info());
        let told: Vec<(Timestamp, Timestamp)> = mine.map(|c| (c.since, c.effective_at)).collect();
        let mut expected: Vec<Conclusion> = Vec::new();
        let mut before = previous;
        for mark in valid.iter().chain(&next) {
            let since = before.map_or(floor, |(at, _)| at.max(floor));
            // What the schedule already said of this silence stands, whatever the plan is now.
            let goes_on = |from: Timestamp, at: Timestamp| match before {
                Some((last, _)) => from >= last,
                None => from == since || !self.ended_within(at, mark.0),
            };
            let live = told.iter().any(|(from, at)| *from <= since && *at <= mark.0 && goes_on(*from, *at));
            if live || (since < mark.0 && mark.0.since(since) >= shortest) {
                let last = before.map(|(_, id)| id);
                let mut said: Vec<_> = adherence::judge(&steps, since, last, just_before(mark.0)).collect();
                if live {
                    let newest = told.iter().filter(|t| t.1 <= mark.0).map(|t| t.1).max();
                    let missed = |s: &Conclusion| some_went && newest < Some(s.effective_at);
                    said.retain(|s| self.standing(s).is_some() || missed(s));
                }
                if live || !said.is_empty() {
                    expected.extend(said);
                    expected.push(adherence::resumed(mark.0, mark.1));
                }
            }
            before = Some(*mark);
        }
        if next.is_none() {
            let (after, last) = match before {
                Some((at, id)) => (at.max(floor), Some(id)),
                None => self.silent_since(),
            };
            if after < scene.known {
                expected.extend(adherence::judge(&steps, after, last, scene.known));
            }
        }
        self.explain(scene, &mut expected)?;
        let within = |from: Timestamp, to: Timestamp| {
            let place = valid.partition_point(|v| v.0 <= from);
            valid.get(place).is_some_and(|v| v.0 < to)
        };
        self.settle(scene, Rule::Adh1, range, &expected, |c: &Concluded| {
            if !c.is_info() {
                return within(c.since, c.effective_at);
            }
            let ended = told.iter().filter(|t| t.1 <= c.effective_at).max_by_key(|t| t.1);
            ended.is_none_or(|(since, _)| within(*since, c.effective_at))
        });
        Ok(())
    }

    /// Whether a reading between two moments ended a silence of which something was said.
    fn ended_within(&self, after: Timestamp, before: Timestamp) -> bool {
        let begin = self.concluded.partition_point(|c| c.effective_at <= after);
        let mut within = self.concluded[begin..].iter().take_while(|c| c.effective_at < before);
        within.any(|c| c.rule == Rule::Adh1 && c.is_info())
    }

    /// Names the cause of what is newly said of silences.
    fn explain<W: World>(&self, scene: &Scene<'_, W>, said: &mut [Conclusion]) -> Result<(), Error> {
        let Some(numbers) = scene.cards.numbers(Rule::Adh1, &self.patient) else { return Ok(()) };
        for c in said.iter_mut().filter(|c| !c.closes && self.standing(c).is_none()) {
            let around = self.points(scene.world, c.since, c.since)?;
            let last = around.iter().find(|p| c.readings.contains(&p.id));
            let link = scene.world.link(self.id(), last.map(|p| p.device))?;
            cause::explain(c, &link, last, &self.steps, &numbers, scene.now);
        }
        Ok(())
    }

    /// What the silence has come to at `now`.
    pub(crate) fn look_at_silence<W: World>(&mut self, scene: &mut Scene<'_, W>) -> Result<(), Error> {
        self.silence_done = scene.known;
        if self.bound.is_none() {
            return Ok(());
        }
        let (since, last) = self.silent_since();
        let steps = self.steps;
        let mut expected: Vec<Conclusion> = adherence::judge(&steps, since, last, scene.known).collect();
        self.explain(scene, &mut expected)?;
        self.settle(scene, Rule::Adh1, (since, scene.known), &expected, |_| false);
        Ok(())
    }
}
