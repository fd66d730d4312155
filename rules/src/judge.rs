//! What new readings of one patient change: which rules must look, at which stretch of time, and what they say of it.
//!
//! A rule looks again only at the stretch that a reading can have changed; before it, what was concluded stands.

use crate::{
    Error, Point, Rule,
    acute::{self, Limits},
    adherence,
    conclusion::{Concluded, Conclusion},
    pattern,
    person::{Person, Scene, World},
    quality,
    question::{self, Held, Kind as Step},
    schedule,
};
use std::time::Duration;
use vitals::{Excluded, Kind, Timestamp};

/// A repeat of a pressure: two, a minute apart.
const PRESSURE_REPEAT: (u32, u32) = (2, 60);
/// A repeat of a glucose: one, after a quarter of an hour.
const GLUCOSE_REPEAT: (u32, u32) = (1, 900);

impl Person {
    /// Judges the readings of one message together; they are in the window already.
    pub(crate) fn judge<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        for rule in acute::RULES {
            let mut stretch: Option<(Timestamp, Timestamp)> = None;
            for p in points.iter().filter(|p| p.valid && acute::kind(rule) == p.kind()) {
                if self.limits.over(rule, p) {
                    let last = &mut self.last_over[rule as usize];
                    *last = Some(last.map_or(p.at, |at| at.max(p.at)));
                }
                if !self.concerns(scene, rule, p)? {
                    continue;
                }
                let (from, to) = stretch.unwrap_or((p.at, p.at));
                stretch = Some((from.min(p.at), to.max(p.at)));
            }
            if let Some(stretch) = stretch {
                self.judge_acute(scene, rule, stretch)?;
            }
        }
        self.judge_pattern(scene, points)?;
        for p in points {
            if p.kind() == Kind::BloodPressure {
                self.judge_quality(scene, p)?;
            }
            if p.at < self.open_day {
                self.look_again(p.at);
            }
            if p.valid {
                self.judge_silence(scene, p)?;
            }
        }
        Ok(())
    }

    /// What was measured at `at` came too late for the mornings after it: they are judged again.
    pub(crate) fn look_again(&mut self, at: Timestamp) {
        let slot = schedule::slot_of_day(at, &self.zone);
        self.dirty = Some(self.dirty.map_or(slot, |d| d.min(slot)));
    }

    /// GLU-H1 of the lows in `points` and of those after them that they can change.
    pub(crate) fn judge_pattern<W: World>(&mut self, scene: &mut Scene<'_, W>, points: &[Point]) -> Result<(), Error> {
        let lows = points.iter().filter(|p| p.valid && self.limits.over(Rule::GluH1, p)).map(|p| p.at);
        let Some((from, to)) = lows.fold(None, |s: Option<(Timestamp, Timestamp)>, at| {
            Some(s.map_or((at, at), |(from, to)| (from.min(at), to.max(at))))
        }) else {
            return Ok(());
        };
        let patient = self.patient.clone();
        let Some(numbers) = scene.cards.numbers(Rule::GluH1, &patient) else { return Ok(()) };
        let (window, hold) = pattern::spans(&numbers);
        self.remember(scene, from.minus(hold))?;
        let (last, _) = self.end_of_chain(scene, Rule::GluH1, to, window, hold)?;
        let held = self.held_before(Rule::GluH1, from).map(|c| c.effective_at);
        let insulin = |at: Timestamp| {
            let day = at.day(&self.zone);
            let taken = |m: &&vitals::Medication| m.from.is_none_or(|d| d <= day) && m.to.is_none_or(|d| d >= day);
            patient.plan.medications.iter().filter(taken).any(|m| m.class == vitals::MedicationClass::Insulin)
        };
        let all = self.points(scene.world, from.minus(window), last)?;
        let expected = pattern::judge(&all, &numbers, from, held, insulin, &self.zone);
        drop(all);
        self.settle(scene, Rule::GluH1, (from, last), &expected, |_| true);
        Ok(())
    }

    /// Whether a valid reading can change what holds of a rule. The common answer, no, must be cheap.
    pub(crate) fn concerns<W: World>(&self, scene: &Scene<'_, W>, rule: Rule, p: &Point) -> Result<bool, Error> {
        if self.limits.over(rule, p)
            || self.open.iter().any(|(r, o)| *r == rule && o.first.at <= p.at)
            || (rule == Rule::GluC1 && self.recovers(scene, p))
        {
            return Ok(true);
        }
        if p.at >= self.newest() && self.last_over[rule as usize].is_none() {
            return Ok(false);
        }
        let Some(numbers) = scene.cards.numbers(rule, &self.patient) else { return Ok(false) };
        let (window, hold) = acute::spans(rule, &numbers);
        if p.at < self.newest() {
            // Late: it may be the repeat of a reading that came before it or long ago.
            let before = self.points(scene.world, p.at.minus(window), p.at)?;
            return Ok(before.iter().any(|q| q.valid && q.kind() == p.kind() && self.limits.over(rule, q)));
        }
        let Some(over) = self.last_over[rule as usize].filter(|over| p.at <= over.plus(window)) else {
            return Ok(false);
        };
        let decided = |c: &Concluded| {
            // A repeat at the very last moment still counts, although the silence was said at that moment.
            let before = c.effective_at < p.at || (c.effective_at == p.at && &*c.step != "expired");
            c.rule == rule && before && &*c.step != "asked" && {
                let silenced = !c.is_info() && c.severity >= acute::top(rule) && over < c.effective_at.plus(hold);
                c.effective_at >= over || silenced
            }
        };
        Ok(!self.concluded.iter().any(decided))
    }

    fn recovers<W: World>(&self, scene: &Scene<'_, W>, p: &Point) -> bool {
        if self.concluded.is_empty() || p.glucose().is_none_or(|g| g < self.limits.recovered) {
            return false;
        }
        let Some(low) = self.held_before(Rule::GluC1, p.at) else { return false };
        let Some(numbers) = scene.cards.numbers(Rule::GluC1, &self.patient) else { return false };
        let (_, hold) = acute::spans(Rule::GluC1, &numbers);
        let known = |c: &&Concluded| {
            c.rule == Rule::GluC1 && c.is_info() && c.effective_at > low.effective_at && c.effective_at <= p.at
        };
        p.at <= low.effective_at.plus(hold) && !self.concluded.iter().any(|c| known(&c))
    }

    /// Judges one rule of single readings over the stretch that readings between `touched` can have changed.
    pub(crate) fn judge_acute<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        rule: Rule,
        touched: (Timestamp, Timestamp),
    ) -> Result<(), Error> {
        let patient = self.patient.clone();
        let Some(numbers) = scene.cards.numbers(rule, &patient) else { return Ok(()) };
        let (window, hold) = acute::spans(rule, &numbers);
        self.remember(scene, touched.0.minus(window + hold))?;
        let limits = self.limits;
        let margin = (rule == Rule::BpC1).then(|| numbers.value("worse"));
        let prior = self.held_before(rule, touched.0).map(|c| {
            let held =
                Held { at: c.effective_at, severity: c.severity, confirmed: &*c.step == "confirmed", worst: c.worst };
            (c.id, held)
        });
        let start = self.start_of_question(scene, rule, touched.0, window, prior.map(|p| p.1), (hold, margin))?;
        let (last, end) = self.end_of_chain(scene, rule, touched.1, window, hold)?;
        let prior = prior.filter(|(_, held)| start < held.at.plus(hold));
        let all = self.points(scene.world, start, end.max(last))?;
        let mine = |p: &&Point| p.valid && p.kind() == acute::kind(rule);
        let outcome = acute::judge(rule, &limits, &numbers, all.iter().filter(mine), prior.map(|p| p.1), scene.now);
        let mut expected: Vec<Conclusion> = Vec::new();
        for step in &outcome.steps {
            let from = step.readings.first().map_or(step.at, |p| p.at);
            let flagged =
                all.iter().filter(|p| !p.valid && p.kind() == acute::kind(rule) && p.at >= from && p.at <= step.at);
            let flagged =
                flagged.map(|p| Excluded { reading_id: p.id, reason: p.reason.unwrap_or("flagged").to_owned() });
            expected.push(acute::conclusion(rule, &limits, step, flagged));
        }
        if rule == Rule::GluC1 {
            let lows: Vec<Timestamp> = prior.iter().map(|p| p.1.at).chain(outcome.steps.iter().map(|s| s.at)).collect();
            expected.extend(self.recoveries(&limits, &lows, hold, start, &all));
        }
        let present: Vec<Point> = all.iter().copied().collect();
        drop(all);
        // A finding whose readings no longer reach the limit was concluded under another plan: it stands.
        let still = |c: &Concluded| {
            c.is_info() || c.readings.iter().all(|id| present.iter().any(|p| p.id == *id && limits.over(rule, p)))
        };
        self.settle(scene, rule, (start, end), &expected, still);
        if let Some((id, _)) = prior {
            self.attach(scene, id, &outcome.joined_prior);
        }
        for (step, conclusion) in outcome.steps.iter().zip(&expected) {
            self.request(scene, rule, step, conclusion, window);
        }
        self.reopen(scene, rule, (start, end), outcome.open);
        Ok(())
    }

    /// Back from `at` to a moment at which nothing can have been asked.
    fn start_of_question<W: World>(
        &self,
        scene: &Scene<'_, W>,
        rule: Rule,
        at: Timestamp,
        window: Duration,
        prior: Option<Held>,
        (hold, margin): (Duration, Option<f64>),
    ) -> Result<Timestamp, Error> {
        let top = acute::top(rule);
        let counts = |p: &Point| {
            let silenced = prior.filter(|h| h.severity >= top && p.at < h.at.plus(hold));
            self.limits.over(rule, p) && silenced.is_none_or(|h| question::is_worse(margin, p, &h))
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
        while last < self.newest() || last < scene.now.minus(crate::window::RETENTION) {
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
            let known =
                |c: &Concluded| c.rule == Rule::GluC1 && c.is_info() && c.effective_at > *low && c.effective_at < start;
            if self.concluded.iter().any(known) {
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

    fn request<W: World>(
        &self,
        scene: &mut Scene<'_, W>,
        rule: Rule,
        step: &question::Step,
        conclusion: &Conclusion,
        window: Duration,
    ) {
        let Some(point) = step.readings.last() else { return };
        match (rule, step.kind) {
            (Rule::BpC1 | Rule::BpC2, Step::Asked) => {
                self.ask_again(scene, conclusion, point, PRESSURE_REPEAT, step.at.plus(window));
            }
            (_, Step::Asked) => self.ask_again(scene, conclusion, point, GLUCOSE_REPEAT, step.at.plus(window)),
            (Rule::GluC1, Step::Alone) => {
                self.ask_again(scene, conclusion, point, GLUCOSE_REPEAT, step.at.plus(Duration::from_secs(3600)));
            }
            _ => {}
        }
    }

    /// Writes down what is being asked now, so that a restart asks on.
    fn reopen<W>(
        &mut self,
        scene: &mut Scene<'_, W>,
        rule: Rule,
        (start, end): (Timestamp, Timestamp),
        open: Option<question::Open>,
    ) {
        let before = self.asked_until();
        self.open.retain(|(r, o)| *r != rule || o.first.at < start || o.first.at > end);
        self.open.extend(open.map(|o| (rule, o)));
        let after = self.asked_until();
        if before != after {
            let id = self.id();
            scene.batch.timers.retain(|(p, _)| *p != id);
            scene.batch.timers.push((id, after));
        }
    }

    /// Closes questions whose time is over at `now`.
    pub(crate) fn expire<W: World>(&mut self, scene: &mut Scene<'_, W>) -> Result<(), Error> {
        let over: Vec<_> =
            self.open.iter().filter(|(_, o)| o.deadline <= scene.now).map(|(r, o)| (*r, o.first.at)).collect();
        over.into_iter().try_for_each(|(rule, at)| self.judge_acute(scene, rule, (at, at)))
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

    /// DQ-2 of the session in which `p` lies.
    pub(crate) fn judge_quality<W: World>(&mut self, scene: &mut Scene<'_, W>, p: &Point) -> Result<(), Error> {
        let gap = |minutes: f64| Duration::try_from_secs_f64(minutes * 60.0).unwrap_or_default();
        let patient = self.patient.clone();
        if !p.badly_measured && self.concluded.is_empty() {
            return Ok(());
        }
        let Some(numbers) = scene.cards.numbers(Rule::Dq2, &patient) else { return Ok(()) };
        let gap = gap(numbers.value("gap"));
        if !p.badly_measured && !self.stands(Rule::Dq2, p.at.minus(gap), p.at.plus(gap)) {
            return Ok(());
        }
        let pressure = |q: &&Point| q.kind() == Kind::BloodPressure;
        let (mut start, mut end) = (p.at, p.at);
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
        let expected = quality::sessions(&self.points(scene.world, start, end)?, gap);
        self.settle(scene, Rule::Dq2, (start, end), &expected, |_| true);
        for conclusion in expected.iter().filter(|c| c.effective_at == p.at) {
            self.ask_again(scene, conclusion, p, (1, 60), p.at.plus(gap));
        }
        Ok(())
    }

    /// ADH-1 around a valid reading: the silence before it and the one after it.
    pub(crate) fn judge_silence<W: World>(&mut self, scene: &mut Scene<'_, W>, p: &Point) -> Result<(), Error> {
        let newest = self.last_valid.is_none_or(|(at, id)| p.at > at || (p.at == at && p.id == id));
        let before = self.last_valid;
        if newest {
            self.last_valid = Some((p.at, p.id));
        }
        if self.bound.is_none() {
            return Ok(());
        }
        let floor = self.floor();
        let shortest = self.steps.0[0];
        if newest {
            let since = before.map_or(floor, |(at, _)| at.max(floor));
            if p.at.since(since) < shortest && !self.stands(Rule::Adh1, since, Timestamp::MAX) {
                return Ok(());
            }
            return self.settle_silence(scene, p, before, None);
        }
        let last = self.last_valid.map_or(p.at, |(at, _)| at);
        let others = |q: &&Point| q.valid && q.id != p.id;
        let next = self.points(scene.world, p.at, last)?.iter().find(|q| q.at > p.at && others(q)).copied();
        let near = self.points(scene.world, p.at.minus(shortest), p.at)?.iter().rev().find(others).copied();
        let previous = match near {
            None if floor < p.at.minus(shortest) => {
                self.points(scene.world, floor, p.at)?.iter().rev().find(others).copied()
            }
            near => near,
        };
        self.settle_silence(scene, p, previous.map(|q| (q.at, q.id)), next.map(|q| (q.at, q.id)))
    }

    fn settle_silence<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        p: &Point,
        previous: Option<(Timestamp, vitals::ReadingId)>,
        next: Option<(Timestamp, vitals::ReadingId)>,
    ) -> Result<(), Error> {
        let floor = self.floor();
        let just_before = |at: Timestamp| Timestamp::from_micros(at.as_micros() - 1);
        let since = previous.map_or(floor, |(at, _)| at.max(floor));
        self.remember(scene, since)?;
        let said = |this: &Self, from: Timestamp, to: Timestamp| -> Vec<Conclusion> {
            let steps = this.steps;
            let last = previous.map(|(_, id)| id);
            if from >= to { Vec::new() } else { adherence::judge(&steps, from, last, just_before(to)).collect() }
        };
        // What the schedule already said of this silence stands, whatever the plan is now.
        let live = next.is_none()
            && self
                .concluded
                .iter()
                .any(|c| c.rule == Rule::Adh1 && !c.is_info() && c.since == since && c.effective_at <= p.at);
        let mut expected = said(self, since, p.at);
        if live {
            expected.retain(|e| self.concluded.iter().any(|c| c.is(e)));
        }
        let spoke = !expected.is_empty() || live;
        if spoke {
            expected.push(adherence::resumed(p.at, p.id));
        }
        let after = p.at.max(floor);
        if let Some((at, id)) = next {
            let steps = self.steps;
            let gap: Vec<Conclusion> = adherence::judge(&steps, after, Some(p.id), just_before(at)).collect();
            if !gap.is_empty() {
                expected.extend(gap);
                expected.push(adherence::resumed(at, id));
            }
        } else if after < scene.now {
            let steps = self.steps;
            expected.extend(adherence::judge(&steps, after, Some(p.id), scene.now));
        }
        let until = next.map_or(Timestamp::MAX, |(at, _)| at);
        let from = previous.map_or(Timestamp::MIN, |(at, _)| Timestamp::from_micros(at.as_micros() + 1));
        let (at, settled) = (p.at, Rule::Adh1);
        self.settle(scene, settled, (from, until), &expected, |c| {
            if c.is_info() { c.effective_at > at } else { c.since < at && at < c.effective_at }
        });
        Ok(())
    }

    /// What the silence has come to at `now`.
    pub(crate) fn look_at_silence<W: World>(&mut self, scene: &mut Scene<'_, W>) {
        self.silence_done = scene.now;
        if self.bound.is_none() {
            return;
        }
        let (since, last) = self.silent_since();
        let steps = self.steps;
        let expected: Vec<Conclusion> = adherence::judge(&steps, since, last, scene.now).collect();
        self.settle(scene, Rule::Adh1, (since, scene.now), &expected, |_| false);
    }
}
