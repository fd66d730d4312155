//! Readings that came late, doubled or shuffled: gathered, then judged together over the stretches that they can have
//! changed. Before such a stretch and after it, what was concluded stands.

use crate::{
    Error, Point, Rule,
    acute::{self, Limits},
    conclusion::{Concluded, Conclusion},
    pattern,
    person::{KINDS, Person, Scene, World, place},
    quality::{self, Cuff, SESSION},
    question::{self, Asking, Held, Prior},
    track::held_of,
};
use std::time::Duration;
use vitals::{Kind, ReadingId, Timestamp};

/// From one moment to another, both included.
pub(crate) type Stretch = (Timestamp, Timestamp);

/// Stretches nearer to each other than this are one.
const NEAR: Duration = Duration::from_secs(24 * 3600);
/// Stretches kept apart.
const APART: usize = 8;

/// What waits to be judged together.
#[derive(Debug)]
pub(crate) struct Late {
    /// Where pressures and glucoses came.
    pub kinds: [Vec<Stretch>; 2],
    /// Where valid readings came or went.
    pub valid: Vec<Stretch>,
    /// What came late.
    pub came: Vec<ReadingId>,
    /// Readings that do not count any more: silences are as if they had never come.
    pub gone: Vec<ReadingId>,
    /// The newest commit time among them.
    pub decided: Timestamp,
}

impl Default for Late {
    fn default() -> Self {
        Self {
            kinds: Default::default(),
            valid: Vec::new(),
            came: Vec::new(),
            gone: Vec::new(),
            decided: Timestamp::MIN,
        }
    }
}

impl Late {
    /// Where readings of one kind came.
    pub(crate) fn of_kind(&self, kind: Kind) -> &[Stretch] {
        &self.kinds[place(kind)]
    }
}

/// Adds a stretch to some that are apart and in order.
pub(crate) fn merge(all: &mut Vec<Stretch>, (from, to): Stretch) {
    let begin = all.partition_point(|s| s.1.plus(NEAR) < from);
    let end = begin + all[begin..].partition_point(|s| s.0 <= to.plus(NEAR));
    let joined = all.drain(begin..end).fold((from, to), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    all.insert(begin, joined);
    if all.len() > APART {
        let gap = |i: &usize| all[i + 1].0.since(all[*i].1);
        if let Some(narrow) = (0..all.len() - 1).min_by_key(gap) {
            let later = all.remove(narrow + 1);
            all[narrow].1 = later.1;
        }
    }
}

impl Person {
    /// Judges everything that came late.
    pub(crate) fn judge_late<W: World>(&mut self, scene: &mut Scene<'_, W>) -> Result<(), Error> {
        let Some(late) = self.late.take() else { return Ok(()) };
        let decided = std::mem::replace(&mut scene.decided, late.decided);
        if !late.gone.is_empty() {
            // The last valid reading may be one of them.
            self.reread(scene.world, scene.cards, scene.now)?;
            if let Some((first, _)) = late.valid.first() {
                self.remember(scene, *first)?;
            }
            self.take_back_where(scene, |c| c.rule == Rule::Adh1 && c.readings.iter().any(|r| late.gone.contains(r)));
        }
        for kind in KINDS {
            for stretch in late.of_kind(kind) {
                self.judge_stretch(scene, kind, *stretch)?;
            }
        }
        for stretch in &late.valid {
            self.judge_silences(scene, *stretch, !late.gone.is_empty())?;
        }
        scene.decided = decided;
        Ok(())
    }

    fn judge_stretch<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        kind: Kind,
        (from, to): Stretch,
    ) -> Result<(), Error> {
        let patient = self.patient.clone();
        let rules = acute::RULES.into_iter().filter(|r| acute::kind(*r) == kind);
        let spans = |rule| scene.cards.numbers(rule, &patient).map(|n| acute::spans(rule, &n));
        let widest = rules.clone().filter_map(spans).map(|s| s.0).max().unwrap_or_default();
        let around = self.points(scene.world, from.minus(widest), to.plus(widest))?.into_owned();
        let around: Vec<&Point> = around.iter().filter(|p| p.kind() == kind).collect();
        for rule in rules {
            let Some((window, hold)) = spans(rule) else { continue };
            let over = around.iter().any(|p| p.valid && self.limits.over(rule, p));
            let asking = self.tracks.iter().any(|t| t.rule == rule && t.asking.is_some());
            if over || asking || self.stands(rule, from.minus(hold + window), to.plus(hold + window)) {
                self.judge_acute(scene, rule, (from, to))?;
            }
        }
        match kind {
            Kind::BloodPressure => self.judge_quality(scene, (from, to)),
            Kind::BloodGlucose => {
                let lows = |p: &&&Point| p.valid && p.at >= from && p.at <= to && self.limits.over(Rule::GluH1, p);
                let lows: Vec<Timestamp> = around.iter().filter(lows).map(|p| p.at).collect();
                self.lows = None;
                match (lows.first(), lows.last()) {
                    (Some(first), Some(last)) => self.judge_pattern(scene, (*first, *last)),
                    _ => Ok(()),
                }
            }
        }
    }

    /// GLU-H1 of the lows between two moments and of those after them that they can change.
    pub(crate) fn judge_pattern<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        (from, to): Stretch,
    ) -> Result<(), Error> {
        let patient = self.patient.clone();
        let Some(numbers) = scene.cards.numbers(Rule::GluH1, &patient) else { return Ok(()) };
        let (window, hold) = pattern::spans(&numbers);
        self.remember(scene, from.minus(hold))?;
        let (last, _) = self.end_of_chain(scene, Rule::GluH1, to, window, hold)?;
        let held = self.held_before(Rule::GluH1, from).map(|c| c.effective_at);
        let insulin = |at: Timestamp| {
            let day = at.day(&self.zone);
            patient
                .plan
                .medications
                .iter()
                .filter(|m| m.is_taken_on(day))
                .any(|m| m.class == vitals::MedicationClass::Insulin)
        };
        let all = self.points(scene.world, from.minus(window), last)?;
        let expected = pattern::judge(&all, &numbers, from, held, insulin, &self.zone);
        drop(all);
        let kept = self.kept(scene.world, &numbers, (Rule::GluH1, from, last))?;
        self.settle(scene, Rule::GluH1, (from, last), &expected, |c| !kept.iter().any(|k| k.id == c.id));
        Ok(())
    }

    /// Judges one rule of single readings over the stretch that readings between `touched` can have changed.
    pub(crate) fn judge_acute<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        rule: Rule,
        touched: Stretch,
    ) -> Result<(), Error> {
        let patient = self.patient.clone();
        let Some(numbers) = scene.cards.numbers(rule, &patient) else { return Ok(()) };
        let (window, hold) = acute::spans(rule, &numbers);
        self.remember(scene, touched.0.minus(window + hold))?;
        let limits = self.limits.clone();
        let asked = self.asked_until();
        let margin = (rule == Rule::BpC1).then(|| numbers.value("worse"));
        let closed = scene.world.closed(self.id(), rule, touched.0.minus(window + hold))?;
        let held_by = |this: &Self, at| {
            this.held_before(rule, at)
                .map(|c| held_of(c, hold))
                .map(|(id, held)| (id, Held { until: question::held_until(held.at, hold, &closed), ..held }))
        };
        let mut prior = held_by(self, touched.0);
        if rule == Rule::Preg1 {
            // Half of a confirmed pair may ask on: it began before what is held.
            prior = None;
        }
        let start = self.start_of_question(scene, rule, touched.0, window, prior.map(|p| p.1), margin)?;
        if rule == Rule::Preg1 {
            prior = held_by(self, start);
        }
        let (last, end) = self.end_of_chain(scene, rule, touched.1, window, hold)?;
        let prior = prior.filter(|(_, held)| start < held.until);
        let all = self.points(scene.world, start, end.max(last))?.into_owned();
        let mine = |p: &&Point| p.valid && p.kind() == acute::kind(rule);
        let confirmed = self.confirmed_before(rule, start);
        let before = Prior { held: prior.map(|p| p.1), asking: None, confirmed };
        let outcome = acute::judge(rule, &limits, &numbers, all.iter().filter(mine), before, (&closed, scene.known));
        let mut expected: Vec<Conclusion> = Vec::new();
        for step in &outcome.steps {
            expected.push(self.conclude(scene.world, rule, step)?);
        }
        if rule == Rule::GluC1 {
            let lows: Vec<Timestamp> = prior.iter().map(|p| p.1.at).chain(outcome.steps.iter().map(|s| s.at)).collect();
            expected.extend(self.recoveries(&limits, &lows, hold, start, &all));
        }
        // A finding whose readings no longer reach the limit was concluded under another plan: it stands; unless one of
        // them does not count any more. What the patient was asked stands where it is a question of the whole story too.
        let mut over: Vec<_> = all.iter().filter(|p| !p.valid || limits.supports(rule, p)).map(|p| p.id).collect();
        over.sort_unstable();
        let asked_before = |c: &Concluded| outcome.questions.contains(&c.effective_at);
        let reach = |c: &Concluded| c.readings.iter().all(|id| over.binary_search(id).is_ok());
        let still = |c: &Concluded| match &*c.step {
            "asked" => !asked_before(c) && reach(c),
            _ => c.is_info() || reach(c),
        };
        self.settle(scene, rule, (start, end), &expected, still);
        if let Some((id, _)) = prior {
            self.attach(scene, id, &outcome.joined_prior);
        }
        for (step, conclusion) in outcome.steps.iter().zip(&expected) {
            self.request(scene, rule, step, conclusion, window);
        }
        self.ended(rule, outcome.expired);
        let asking = if end >= self.newest_of(rule) {
            if scene.quiet {
                self.hushed(rule, outcome.asking, &all, window, scene.now)
            } else {
                self.as_told(rule, outcome.asking)
            }
        } else {
            self.tracks.iter_mut().find(|t| t.rule == rule).and_then(|t| t.asking.take())
        };
        self.find_track(scene.cards, rule, asking);
        self.retime(scene, asked);
        Ok(())
    }

    /// What recent readings that found this patient ask: nobody hears of it, and the next reading may confirm them.
    fn hushed(
        &self,
        rule: Rule,
        asking: Option<Asking>,
        points: &[Point],
        window: Duration,
        now: Timestamp,
    ) -> Option<Asking> {
        let recent = |p: &&Point| p.valid && self.limits.over(rule, p) && p.at.plus(window) > now;
        let mut asking = asking.or_else(|| points.iter().rev().find(recent).map(|p| Asking::quietly(*p, window)));
        asking.iter_mut().for_each(Asking::hush);
        asking
    }

    /// What was asked for nobody to hear is asked on so, whoever looks at it next: re-attribution never pages.
    fn as_told(&self, rule: Rule, mut asking: Option<Asking>) -> Option<Asking> {
        if let Some(asking) = &mut asking {
            let muted = |c: &Concluded| c.rule == rule && c.muted && *c.step == *"asked";
            let first = asking.first.id;
            if self.concluded.iter().any(|c| muted(c) && c.readings.first() == Some(&first)) {
                asking.hush();
            }
        }
        asking
    }

    /// Back from `at` to a moment at which nothing can have been asked.
    fn start_of_question<W: World>(
        &self,
        scene: &Scene<'_, W>,
        rule: Rule,
        at: Timestamp,
        window: Duration,
        prior: Option<Held>,
        margin: Option<f64>,
    ) -> Result<Timestamp, Error> {
        let top = acute::top(rule);
        let counts = |p: &Point| {
            let silenced = prior.filter(|h| h.severity >= top && p.at < h.until);
            // What is silenced near the end of the hold may be half of what is not.
            let half = |h: Held| question::is_worse(margin, p, &h) || p.at.plus(window) >= h.until;
            self.limits.over(rule, p) && silenced.is_none_or(half)
        };
        let mut start = at;
        if window.is_zero() {
            return Ok(start);
        }
        loop {
            let floor = start.minus(window).max(prior.map_or(Timestamp::MIN, |h| h.at));
            let before = self.points(scene.world, floor, start)?;
            let earlier = before.iter().find(|p| {
                p.valid
                    && p.at < start
                    && prior.is_none_or(|h| p.at > h.at)
                    && p.kind() == acute::kind(rule)
                    && counts(p)
            });
            match earlier {
                Some(p) => start = p.at,
                None => return Ok(start),
            }
        }
    }

    /// Forward from `at` while one reading over the limit can still be silenced by the one before it: that reading's
    /// time, and until when something can be effective.
    fn end_of_chain<W: World>(
        &self,
        scene: &Scene<'_, W>,
        rule: Rule,
        at: Timestamp,
        window: Duration,
        hold: Duration,
    ) -> Result<(Timestamp, Timestamp), Error> {
        let mut last = at;
        while last < self.newest_of(rule) {
            let after = self.points(scene.world, last, last.plus(window + hold))?;
            let later = after
                .iter()
                .rev()
                .find(|p| p.valid && p.at > last && p.kind() == acute::kind(rule) && self.limits.over(rule, p));
            match later {
                Some(p) => last = p.at,
                None => break,
            }
        }
        let end = last.plus(if rule == Rule::GluC1 { hold } else { window });
        Ok((last, end))
    }

    /// The first glucose back in range after each severe low, where it is not before `start`.
    fn recoveries(
        &self,
        limits: &Limits,
        lows: &[Timestamp],
        hold: Duration,
        start: Timestamp,
        points: &[Point],
    ) -> Vec<Conclusion> {
        let mut out: Vec<Conclusion> = Vec::new();
        for low in lows {
            let begin = self.concluded.partition_point(|c| c.effective_at <= *low);
            let before = self.concluded[begin..].iter().take_while(|c| c.effective_at < start);
            if before.filter(|c| c.rule == Rule::GluC1).any(Concluded::is_info) {
                continue;
            }
            let back = points.iter().find(|p| {
                p.valid && p.at > *low && p.at <= low.plus(hold) && p.glucose().is_some_and(|g| g >= limits.recovered)
            });
            if let Some(p) = back.filter(|p| !out.iter().any(|c| c.effective_at == p.at)) {
                out.push(acute::recovery(limits, p));
            }
        }
        out
    }

    /// After a restart: finds again what was being asked when a timer for `due` was written.
    pub(crate) fn rearm<W: World>(&mut self, scene: &mut Scene<'_, W>, due: Timestamp) -> Result<(), Error> {
        for rule in acute::RULES {
            let patient = self.patient.clone();
            let Some(numbers) = scene.cards.numbers(rule, &patient) else { continue };
            let (window, _) = acute::spans(rule, &numbers);
            let over = |p: &&Point| p.valid && p.kind() == acute::kind(rule) && self.limits.over(rule, p);
            let first = self.points(scene.world, due.minus(window), due)?.iter().find(over).map(|p| p.at);
            if let Some(at) = first {
                self.judge_acute(scene, rule, (at, at.plus(window)))?;
            }
        }
        Ok(())
    }

    /// DQ-2 of the sessions that lie between two moments.
    fn judge_quality<W: World>(&mut self, scene: &mut Scene<'_, W>, (from, to): Stretch) -> Result<(), Error> {
        let gap = self.terms.cuff_gap;
        self.cuff = None; // the next pressure finds out whether its session was complained of
        let badly = self.points(scene.world, from, to)?.iter().any(|p| p.badly_measured);
        if !badly && !self.stands(Rule::Dq2, from.minus(SESSION), to.plus(SESSION)) {
            return Ok(());
        }
        let pressure = |q: &&Point| q.kind() == Kind::BloodPressure;
        let (mut start, mut end) = (from, to);
        while let Some(q) =
            self.points(scene.world, start.minus(gap), start)?.iter().filter(pressure).find(|q| q.at < start).copied()
        {
            start = q.at;
        }
        while let Some(q) =
            self.points(scene.world, end, end.plus(gap))?.iter().rev().filter(pressure).find(|q| q.at > end).copied()
        {
            end = q.at;
        }
        self.remember(scene, start)?;
        let all = self.points(scene.world, start, end)?.into_owned();
        let mut cuff = Cuff::default();
        let (mut bad, mut expected): (Vec<&Point>, Vec<Conclusion>) = (Vec::new(), Vec::new());
        for p in &all {
            if cuff.is_first_bad(p, gap) {
                bad.push(p);
                expected.push(quality::badly(p));
            } else if let Some(asked) = cuff.answers(p).and(expected.last_mut()) {
                asked.joined.push(p.id);
            }
        }
        self.settle(scene, Rule::Dq2, (start, end), &expected, |_| true);
        for (p, conclusion) in bad.iter().zip(&expected) {
            self.ask_again(scene, conclusion, p, quality::repeat(p.at.plus(gap)));
        }
        if end >= self.newest[place(Kind::BloodPressure)] {
            self.cuff = Some(cuff);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_are_near_become_one_and_no_more_than_eight_are_kept() {
        let day = |n: i64| Timestamp::from_seconds(n * 86_400);
        let mut all = Vec::new();
        for n in [0, 100, 1, 50] {
            merge(&mut all, (day(n), day(n)));
        }
        assert_eq!(all, [(day(0), day(1)), (day(50), day(50)), (day(100), day(100))]);
        merge(&mut all, (day(40), day(60)));
        assert_eq!(all[1], (day(40), day(60)));
        (0..200).step_by(4).for_each(|n| merge(&mut all, (day(n), day(n))));
        assert_eq!(all.len(), APART);
        assert!(all.is_sorted() && all[0].0 == day(0) && all[APART - 1].1 == day(196));
    }
}
