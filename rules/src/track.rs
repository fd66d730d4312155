//! Where a rule of single readings stands after a patient's newest reading: what is held, what is being asked.
//!
//! A reading that is newer than all before it moves the track on by one step, whatever the history is like.

use crate::{
    Cards, Error, Point, Rule, acute,
    asks::Repeat,
    conclusion::{Concluded, Conclusion},
    person::{Person, Scene, World},
    question::{self, Asking, Held, Kind as Step, Prior},
};
use std::time::Duration;
use vitals::{Excluded, FindingId, Kind, Severity, Timestamp};

/// A repeat of a pressure: two, after a rest of five minutes.
const PRESSURE_REPEAT: (u32, u32) = (2, 300);
/// A repeat of a glucose: one, after a quarter of an hour.
const GLUCOSE_REPEAT: (u32, u32) = (1, 900);
/// Who is asked once more has waited long enough: seconds.
const AT_ONCE: u32 = 60;

/// How often a rule asks to measure again, and after how many seconds.
fn repeat_of(rule: Rule) -> (u32, u32) {
    if acute::kind(rule) == Kind::BloodPressure { PRESSURE_REPEAT } else { GLUCOSE_REPEAT }
}

/// One rule of one patient. There is none where nothing is held or asked.
#[derive(Debug)]
pub(crate) struct Track {
    pub rule: Rule,
    /// What silences, and which finding it is.
    pub held: Option<(FindingId, Held)>,
    /// What waits for a repeat.
    pub asking: Option<Asking>,
    /// A severe low after which nothing was back in range yet.
    pub low: Option<Timestamp>,
}

impl Track {
    const fn new(rule: Rule) -> Self {
        Self { rule, held: None, asking: None, low: None }
    }

    const fn is_idle(&self) -> bool {
        self.held.is_none() && self.asking.is_none() && self.low.is_none()
    }
}

/// What a finding that stands still silences.
pub(crate) fn held_of(c: &Concluded, hold: Duration) -> (FindingId, Held) {
    let severity = if c.muted { c.severity.min(Severity::Routine) } else { c.severity };
    let held = Held { at: c.effective_at, until: c.effective_at.plus(hold), severity, worst: c.worst };
    (c.id, held)
}

impl Person {
    /// Moves one rule on: `points` are valid, of its kind, in order, and after all that were judged before.
    pub(crate) fn advance<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        rule: Rule,
        points: &[Point],
    ) -> Result<(), Error> {
        let place = self.tracks.iter().position(|t| t.rule == rule);
        let counts = |p: &Point| p.valid && p.kind() == acute::kind(rule);
        if place.is_none() && !points.iter().any(|p| counts(p) && self.limits.over(rule, p)) {
            return Ok(());
        }
        let patient = self.patient.clone();
        let Some(numbers) = scene.cards.numbers(rule, &patient) else { return Ok(()) };
        let (window, hold) = acute::spans(rule, &numbers);
        let before = self.asked_until();
        let mut track = place.map_or(Track::new(rule), |i| self.tracks.swap_remove(i));
        let first = points.iter().find(|p| counts(p)).map_or(scene.now, |p| p.at);
        let asking = track.asking.take();
        let closed =
            if track.held.is_some() { scene.world.closed(self.id(), rule, first.minus(hold))? } else { Vec::new() };
        if let Some((_, held)) = &mut track.held {
            held.until = question::held_until(held.at, hold, &closed);
        }
        if asking.is_none() {
            track.held = track.held.filter(|(_, held)| first < held.until);
        }
        let limits = self.limits.clone();
        let held = track.held.map(|(_, held)| held);
        let prior = Prior { held, asking, confirmed: self.confirmed_before(rule, first) };
        let mine = points.iter().filter(|p| counts(p));
        let outcome = acute::judge(rule, &limits, &numbers, mine, prior, (&closed, scene.known));
        if let Some((id, _)) = track.held {
            self.attach(scene, id, &outcome.joined_prior);
        }
        let mut ids = Vec::new();
        for step in &outcome.steps {
            let conclusion = self.conclude(scene.world, rule, step)?;
            ids.push(match self.standing(&conclusion) {
                Some(id) => Some(id),
                None => self.raise(scene, &conclusion),
            });
            self.request(scene, rule, step, &conclusion, window);
        }
        track.held = match outcome.held {
            Some((held, Some(index))) => ids.get(index).copied().flatten().map(|id| (id, held)),
            Some((_, None)) => track.held,
            None => None,
        };
        track.asking = outcome.asking;
        self.ended(rule, outcome.expired);
        if rule == Rule::GluC1 {
            let lows: Vec<Timestamp> = track.low.into_iter().chain(outcome.steps.iter().map(|s| s.at)).collect();
            track.low = self.recover(scene, &lows, hold, points);
        }
        if !track.is_idle() {
            self.tracks.push(track);
        }
        self.retime(scene, before);
        Ok(())
    }

    /// When two readings over the limit of `rule` came last before `at`.
    pub(crate) fn confirmed_before(&self, rule: Rule, at: Timestamp) -> Option<Timestamp> {
        let before = self.concluded.partition_point(|c| c.effective_at < at);
        let two = |c: &&Concluded| c.rule == rule && matches!(&*c.step, "confirmed" | "again");
        self.concluded[..before].iter().rev().find(two).map(|c| c.effective_at)
    }

    /// Time alone ended a question: what was measured before its end is late from now on.
    pub(crate) fn ended(&mut self, rule: Rule, expired: Option<Timestamp>) {
        let settled = &mut self.settled[crate::person::place(acute::kind(rule))];
        *settled = expired.map_or(*settled, |at| at.max(*settled));
    }

    /// A step in words, with the readings of its time that did not count.
    pub(crate) fn conclude<W: World>(&self, world: &W, rule: Rule, step: &question::Step) -> Result<Conclusion, Error> {
        let from = step.readings.first().map_or(step.at, |p| p.at);
        let around = self.points(world, from, step.at)?;
        let flagged = around.iter().filter(|p| !p.valid && p.kind() == acute::kind(rule));
        let flagged = flagged.map(|p| Excluded { reading_id: p.id, reason: p.reason.unwrap_or("flagged").to_owned() });
        Ok(acute::conclusion(rule, &self.limits, step, flagged))
    }

    /// Says of each of `lows` that a reading is back in range; the low that still waits for one.
    fn recover<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        lows: &[Timestamp],
        hold: Duration,
        points: &[Point],
    ) -> Option<Timestamp> {
        let mut waits = None;
        for low in lows {
            let within = |p: &&Point| p.valid && p.at > *low && p.at <= low.plus(hold);
            let back = points.iter().filter(within).find(|p| p.glucose().is_some_and(|g| g >= self.limits.recovered));
            match back {
                Some(p) => {
                    waits = None;
                    let conclusion = acute::recovery(&self.limits, p);
                    if self.standing(&conclusion).is_none() {
                        self.raise(scene, &conclusion);
                    }
                }
                None => waits = Some(*low),
            }
        }
        let last = points.iter().rev().find(|p| p.valid && p.glucose().is_some());
        waits.filter(|low| last.is_none_or(|p| p.at <= low.plus(hold)))
    }

    /// Asks the meter for what a step waits for.
    pub(crate) fn request<W: World>(
        &self,
        scene: &mut Scene<'_, W>,
        rule: Rule,
        step: &question::Step,
        conclusion: &Conclusion,
        window: Duration,
    ) {
        let Some(point) = step.readings.last() else { return };
        match (rule, step.kind) {
            (_, Step::Asked) => {
                let (times, after_seconds) = repeat_of(rule);
                let until = step.at.plus(window);
                let once_more = Some(question::remind_at(step.at, until));
                self.ask_again(scene, conclusion, point, Repeat { times, after_seconds, until, once_more });
            }
            (Rule::GluC1, Step::Alone) => {
                let (times, after_seconds) = GLUCOSE_REPEAT;
                let until = step.at.plus(Duration::from_secs(3600));
                self.ask_again(scene, conclusion, point, Repeat { times, after_seconds, until, once_more: None });
            }
            _ => {}
        }
    }

    /// Writes down until when something is asked, where that is not as it was, so that a restart asks on.
    pub(crate) fn retime<W>(&self, scene: &mut Scene<'_, W>, before: Option<Timestamp>) {
        let after = self.asked_until();
        if before != after {
            let id = self.id();
            scene.batch.timers.retain(|(p, _)| *p != id);
            scene.batch.timers.push((id, after));
        }
    }

    /// Asks once more where nobody has answered yet.
    fn remind<W>(&mut self, scene: &mut Scene<'_, W>) {
        let mut tracks = std::mem::take(&mut self.tracks);
        for track in &mut tracks {
            let Some(asking) = track.asking.as_mut() else { continue };
            if asking.take_reminder(scene.known) {
                let (times, _) = repeat_of(track.rule);
                let repeat = Repeat { times, after_seconds: AT_ONCE, until: asking.deadline, once_more: None };
                self.ask_once_more(scene, track.rule, &asking.first, repeat);
            }
        }
        self.tracks = tracks;
    }

    /// Closes questions whose time is over at `now`, and asks once more where a third of it is left.
    pub(crate) fn expire<W: World>(&mut self, scene: &mut Scene<'_, W>) -> Result<(), Error> {
        self.judge_late(scene)?;
        self.remind(scene);
        for rule in acute::RULES {
            let over = |t: &Track| t.rule == rule && t.asking.as_ref().is_some_and(|a| a.deadline <= scene.known);
            if self.tracks.iter().any(over) {
                self.advance(scene, rule, &[])?;
            }
        }
        Ok(())
    }

    /// Finds again what each rule holds, from what stands concluded.
    pub(crate) fn find_tracks(&mut self, cards: &Cards) {
        for rule in acute::RULES {
            let asking = self.tracks.iter_mut().find(|t| t.rule == rule).and_then(|t| t.asking.take());
            self.find_track(cards, rule, asking);
        }
    }

    /// Finds again what one rule holds; `asking` is what it asks.
    pub(crate) fn find_track(&mut self, cards: &Cards, rule: Rule, asking: Option<Asking>) {
        self.tracks.retain(|t| t.rule != rule);
        let Some(numbers) = cards.numbers(rule, &self.patient) else { return };
        let (_, hold) = acute::spans(rule, &numbers);
        let newest = self.newest_of(rule);
        let held = self.held_before(rule, Timestamp::MAX).filter(|c| newest < c.effective_at.plus(hold));
        let mut track = Track { asking, held: held.map(|c| held_of(c, hold)), ..Track::new(rule) };
        if rule == Rule::GluC1
            && let Some(low) = held
        {
            let back = |c: &Concluded| c.rule == rule && c.is_info() && c.effective_at > low.effective_at;
            let recovered = self.concluded.iter().rev().take_while(|c| c.effective_at > low.effective_at).any(back);
            track.low = (!recovered).then_some(low.effective_at);
        }
        if !track.is_idle() {
            self.tracks.push(track);
        }
    }

    /// Lets go of what silences nothing any more.
    pub(crate) fn forget_tracks(&mut self, cards: &Cards) {
        if self.tracks.is_empty() {
            return;
        }
        let (newest, patient) = (self.newest, self.patient.clone());
        self.tracks.retain(|t| {
            let Some(numbers) = cards.numbers(t.rule, &patient) else { return false };
            let (_, hold) = acute::spans(t.rule, &numbers);
            let newest = newest[crate::person::place(acute::kind(t.rule))];
            t.asking.is_some() || t.held.is_some_and(|(_, h)| newest < h.at.plus(hold))
        });
        self.tracks.shrink_to_fit();
    }

    /// The newest measurement of a rule's kind.
    pub(crate) fn newest_of(&self, rule: Rule) -> Timestamp {
        self.newest[crate::person::place(acute::kind(rule))]
    }
}
