//! All patients: hands each its readings in order of commitment, wakes each when it is due, gathers what they conclude.
//!
//! Goes in: journal entries and moments. Comes out: a [`FindingBatch`]. Must never: do IO but through [`World`], read a clock.

use crate::{
    Cards, Error, Point, Rule,
    mornings::let_go,
    person::{Person, Scene, World},
    quality, schedule,
    season::Seasons,
    turn::{Pace, Turn},
};
use foldhash::HashMap;
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
};
use store::{FindingBatch, Season};
use vitals::{Entry, Held, Patient, PatientId, Reading, Timestamp, Zone};

/// Readings and mornings looked at in one fair round; who did not get a turn is first in the next.
const ROUND: u64 = 50_000;

/// A patient has something to be judged again because of `came` readings more.
pub(crate) fn await_turn(waiting: &mut VecDeque<PatientId>, person: &mut Person, came: usize) {
    person.turn.came = person.turn.came.saturating_add(u32::try_from(came).unwrap_or(u32::MAX));
    if !std::mem::replace(&mut person.turn.waits, true) {
        waiting.push_back(person.patient.id);
    }
}

/// The evaluator of one installation.
#[derive(Debug)]
pub struct Engine<W> {
    pub(crate) world: W,
    pub(crate) cards: Cards,
    pub(crate) site: Zone,
    started: Timestamp,
    pub(crate) people: HashMap<PatientId, Person>,
    queue: BinaryHeap<Reverse<(Timestamp, PatientId)>>,
    /// Next morning's evaluation of each zone that a patient lives in.
    pub(crate) slots: Vec<(Zone, Timestamp)>,
    pub(crate) seasons: Seasons,
    /// Patients who wait for something to be judged again, each once.
    pub(crate) waiting: VecDeque<PatientId>,
    /// Patients whose days are not known since the start.
    pub(crate) cold: Vec<PatientId>,
    /// Patients of whose days less is written down than is known.
    pub(crate) unkept: BTreeSet<PatientId>,
    /// Readings and mornings looked at since the start.
    pub(crate) looked: u64,
    /// Readings of the message that is being taken in, each with its commit time.
    touched: Vec<(PatientId, Point, Timestamp)>,
    /// What was stored before this moment was taken in. Later all of it was.
    pub(crate) heard: Timestamp,
    pub(crate) batch: FindingBatch,
}

impl<W: World> Engine<W> {
    /// Knows nobody yet. `started`: what was due before is concluded as of then.
    pub fn new(world: W, cards: Cards, site: Zone, started: Timestamp) -> Self {
        Self {
            world,
            cards,
            site,
            started,
            people: HashMap::default(),
            queue: BinaryHeap::new(),
            slots: Vec::new(),
            seasons: Seasons::default(),
            waiting: VecDeque::new(),
            cold: Vec::new(),
            unkept: BTreeSet::new(),
            looked: 0,
            touched: Vec::new(),
            heard: Timestamp::MAX,
            batch: FindingBatch::default(),
        }
    }

    /// The outside.
    pub const fn world(&self) -> &W {
        &self.world
    }

    /// The outside, to be changed by who owns the engine.
    pub const fn world_mut(&mut self) -> &mut W {
        &mut self.world
    }

    /// Takes over a new or changed record, plan or binding.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn refresh(&mut self, patient: Arc<Patient>, now: Timestamp) -> Result<(), Error> {
        let id = patient.id;
        let zone = match self.people.get_mut(&id) {
            Some(person) => {
                if Arc::ptr_eq(&person.patient, &patient) && person.bound == self.world.bound(id) {
                    return Ok(());
                }
                let before = person.zone.clone();
                person.update(&self.world, &self.cards, patient, &self.site, now);
                // Farther east it is later: a morning that was yet to come may have passed.
                let last = schedule::last_slot(now, &person.zone);
                if person.zone != before && last > schedule::last_slot(now, &before) {
                    person.dirty = Some(person.dirty.map_or(last, |d| d.min(last)));
                    await_turn(&mut self.waiting, person, 0);
                }
                person.zone.clone()
            }
            None => {
                let person = Person::load(&self.world, &self.cards, patient, &self.site, now)?;
                let zone = person.zone.clone();
                self.people.insert(id, person);
                zone
            }
        };
        if !self.slots.iter().any(|(z, _)| *z == zone) {
            let next = schedule::next_slot(now, &zone);
            self.slots.push((zone, next));
        }
        self.enqueue(id);
        Ok(())
    }

    /// Forgets whoever is not `known` any more, and what was concluded of them and is not yet taken.
    pub fn retain(&mut self, known: impl Fn(PatientId) -> bool) {
        self.people.retain(|id, _| known(*id));
        self.waiting.retain(|id| known(*id));
        self.batch.new.retain(|(draft, _)| known(draft.patient));
        self.batch.timers.retain(|(id, _)| known(*id));
        self.batch.days.changed.retain(|(id, _)| known(*id));
    }

    /// What stations were published to have shifted, before this start.
    pub fn publish(&mut self, seasons: &[Season]) {
        seasons.iter().for_each(|s| self.seasons.remember(s));
    }

    /// After a start: every morning's evaluation after `since`, and the questions whose timers were written down.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn recover(
        &mut self,
        since: Option<Timestamp>,
        timers: &[(PatientId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), Error> {
        for (id, due) in timers {
            let Self { world, cards, seasons, people, batch, .. } = self;
            let Some(person) = people.get_mut(id) else { continue };
            // As long as it was open: what has come since may answer it, and is not judged yet.
            let open = now.min(Timestamp::from_micros(due.as_micros() - 1));
            person.rearm(
                &mut Scene {
                    world,
                    cards,
                    seasons,
                    now: open,
                    known: open,
                    decided: now,
                    quiet: false,
                    only: None,
                    batch,
                },
                *due,
            )?;
            if person.asked_until().is_none() {
                batch.timers.retain(|(p, _)| p != id);
                batch.timers.push((*id, None));
            }
            self.enqueue(*id);
        }
        self.cold = self.people.keys().copied().collect();
        let Some(since) = since else {
            self.batch.scheduled = Some(now); // the very first start: there is no morning to make up for
            return Ok(());
        };
        // The mornings that nobody looked at are looked at in their order, as of now.
        for (zone, slot) in &mut self.slots {
            *slot = (*slot).min(schedule::next_slot(since, zone));
        }
        Ok(())
    }

    /// Takes over other cards. What was concluded under the old ones stands.
    pub fn replace_cards(&mut self, cards: Cards, now: Timestamp) {
        self.cards = cards;
        let ids: Vec<PatientId> = self.people.keys().copied().collect();
        for id in ids {
            if let Some(person) = self.people.get_mut(&id) {
                person.update(&self.world, &self.cards, person.patient.clone(), &self.site, now);
            }
            self.enqueue(id);
        }
    }

    /// Reads everybody's recent readings anew when they next speak.
    pub fn distrust(&mut self) {
        self.people.values_mut().for_each(|p| p.stale = true);
        self.distrust_days();
    }

    /// Takes in journal entries with the number of their message, in order. Readings of one message are judged
    /// together, after its last.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn take<'e>(&mut self, entries: impl Iterator<Item = (u64, &'e Entry)>, now: Timestamp) -> Result<(), Error> {
        let mut message = None;
        for (number, entry) in entries {
            if message != Some(number) {
                self.close_message(now)?;
                message = Some(number);
            }
            match entry {
                Entry::Reading(reading) => {
                    self.world.show(reading.id);
                    self.note(reading, now)?;
                }
                Entry::Held(held) => {
                    self.world.show(held.id);
                    self.hold(held, now)?;
                }
            }
        }
        self.close_message(now)
    }

    pub(crate) fn know(&mut self, id: PatientId, now: Timestamp) -> Result<bool, Error> {
        if !self.people.contains_key(&id) {
            match self.world.patient(id) {
                Some(patient) => self.refresh(patient, now)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A reading that belongs to nobody is not judged; it will be when it is attributed and its patient is next looked at.
    fn note(&mut self, reading: &Reading, now: Timestamp) -> Result<(), Error> {
        let Some(id) = reading.patient else { return Ok(()) };
        if !self.know(id, now)? {
            return Ok(());
        }
        if let Some(person) = self.people.get_mut(&id) {
            let point = Point::of(reading, &person.zone);
            person.window.insert(point);
            person.learn_days(&self.world)?;
            person.days.touch(point.at, person.terms.gap, &person.zone);
            self.touched.push((id, point, reading.received_at));
        }
        Ok(())
    }

    fn hold(&mut self, held: &Held, now: Timestamp) -> Result<(), Error> {
        let (Some(id), Some(conclusion)) = (held.patient, quality::held(held)) else { return Ok(()) };
        if !self.know(id, now)? {
            return Ok(());
        }
        let Self { world, cards, seasons, people, batch, waiting, .. } = self;
        if let Some(person) = people.get_mut(&id) {
            let mut scene = Scene {
                world,
                cards,
                seasons,
                now,
                known: now,
                decided: held.received_at,
                quiet: false,
                only: None,
                batch,
            };
            person.remember(&scene, conclusion.effective_at)?;
            let at = (conclusion.effective_at, conclusion.effective_at);
            // Each held value is a matter of its own: nothing that stood is undone by it.
            person.settle(&mut scene, Rule::Dq1, at, &[conclusion], |_| false);
            if at.0 < person.open_day {
                person.look_again(at.0);
                await_turn(waiting, person, 1);
            }
        }
        Ok(())
    }

    fn close_message(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let mut touched = std::mem::take(&mut self.touched);
        if touched.len() > 1 {
            touched.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.before(&b.1)));
            touched.dedup_by_key(|t| t.1.id);
        }
        for of_one in touched.chunk_by(|a, b| a.0 == b.0) {
            let id = of_one[0].0;
            let decided = of_one.iter().map(|t| t.2).max().unwrap_or(now);
            let Self { world, cards, seasons, people, batch, waiting, .. } = self;
            let Some(person) = people.get_mut(&id) else { continue };
            person.freshen(world, cards, now)?;
            let mut scene =
                Scene { world, cards, seasons, now, known: decided.min(now), decided, quiet: false, only: None, batch };
            match of_one {
                [(_, point, _)] => person.judge(&mut scene, std::slice::from_ref(point))?,
                many => {
                    let points: Vec<Point> = many.iter().map(|(_, p, _)| *p).collect();
                    person.judge(&mut scene, &points)?;
                }
            }
            self.looked += person.take_looked();
            if person.waits() {
                await_turn(waiting, person, of_one.len());
            }
            self.enqueue(id);
        }
        touched.clear();
        self.touched = touched;
        Ok(())
    }

    /// While there is more to be taken in: what was stored before `moment` was. No question and no silence is ended by what
    /// may be answered already. None: everything was.
    pub fn hear(&mut self, moment: Option<Timestamp>) {
        self.heard = moment.unwrap_or(Timestamp::MAX);
    }

    /// Whether anything waits to be judged again.
    pub fn is_dirty(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many readings and mornings were looked at since the start: the measure of work.
    pub const fn looked(&self) -> u64 {
        self.looked
    }

    /// Judges again what late readings fell into, a turn for each patient who waits.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn clean(&mut self, now: Timestamp, pace: Pace) -> Result<(), Error> {
        let begun = self.looked;
        let known = self.heard.min(now);
        for _ in 0..self.waiting.len() {
            let Some(id) = self.waiting.pop_front() else { break };
            let Self { world, cards, seasons, people, batch, slots, .. } = self;
            let Some(person) = people.get_mut(&id) else { continue };
            let full = self.looked - begun >= ROUND;
            if pace == Pace::Fair && (full || !person.turn.is_ripe()) {
                person.turn.passed = person.turn.passed.saturating_add(u32::from(!full));
                self.waiting.push_back(id);
                continue;
            }
            person.turn = Turn::default();
            let mut scene = Scene { world, cards, seasons, now, known, decided: now, quiet: false, only: None, batch };
            person.judge_late(&mut scene)?;
            // As far as the schedule has come: a morning that is due but not reached yet is the schedule's own.
            let next = slots.iter().find(|(zone, _)| *zone == person.zone).map_or(now, |(_, at)| *at);
            let last = schedule::last_slot(Timestamp::from_micros(next.as_micros() - 1), &person.zone);
            person.judge_mornings(&mut scene, last)?;
            let cost = person.take_looked();
            person.turn.cost = u32::try_from(cost).unwrap_or(u32::MAX);
            self.looked += cost;
            self.enqueue(id);
        }
        Ok(())
    }

    /// The earliest moment at which there is something to do without a new reading.
    pub fn next_due(&self) -> Option<Timestamp> {
        let slot = self.slots.iter().map(|(_, at)| *at).min();
        let patient = self.queue.peek().map(|Reverse((at, _))| *at);
        slot.into_iter().chain(patient).min()
    }

    /// Does what is due at `now`, in order of time. Returns whether anything was due.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn run_due(&mut self, now: Timestamp) -> Result<bool, Error> {
        let mut any = false;
        let known = self.heard.min(now);
        while let Some(due) = self.next_due().filter(|due| *due <= known) {
            any = true;
            // Due before this process started: it is said now, for it is now that somebody hears it.
            let at = due.max(self.started).min(now);
            if let Some(index) = self.slots.iter().position(|(_, slot)| *slot == due) {
                self.run_slot(index, at)?;
            } else if let Some(Reverse((_, id))) = self.queue.pop() {
                self.wake(id, at)?;
            }
        }
        Ok(any)
    }

    fn wake(&mut self, id: PatientId, now: Timestamp) -> Result<(), Error> {
        let known = self.heard.min(now);
        let Self { world, cards, seasons, people, batch, .. } = self;
        let Some(person) = people.get_mut(&id) else { return Ok(()) };
        person.queued = None;
        if person.due().is_some_and(|due| due <= known) {
            let mut scene = Scene { world, cards, seasons, now, known, decided: now, quiet: false, only: None, batch };
            person.expire(&mut scene)?;
            person.look_at_silence(&mut scene)?;
        }
        self.enqueue(id);
        Ok(())
    }

    /// The queue may hold a patient too early, never too late.
    pub(crate) fn enqueue(&mut self, id: PatientId) {
        let Some(person) = self.people.get_mut(&id) else { return };
        let_go(person, &mut self.batch);
        let Some(due) = person.due() else { return };
        if person.queued.is_none_or(|queued| due < queued) {
            person.queued = Some(due);
            self.queue.push(Reverse((due, id)));
        }
    }

    /// What was concluded since the last call.
    pub fn concluded(&mut self) -> FindingBatch {
        std::mem::take(&mut self.batch)
    }

    /// Whether anything was concluded since the last call of [`Engine::concluded`].
    pub fn has_concluded(&self) -> bool {
        !self.batch.is_empty()
    }
}
