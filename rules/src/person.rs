//! One patient's state: recent readings, what stands concluded, what is being asked, when to look again.
//!
//! Goes in: readings of one message, or a moment. Comes out: what holds, compared with what stood, in a [`FindingBatch`].
//! The state is a cache: everything in it can be read back from the store.

use crate::{
    Cards, Error, Point, Rule,
    acute::{self, Limits},
    adherence,
    conclusion::{Concluded, Conclusion},
    days::Days,
    question::Open,
    schedule,
    season::Seasons,
    sustained,
    window::{RETENTION, Window},
};
use std::{borrow::Cow, sync::Arc, time::Duration};
use store::{DeviceCommand, FindingBatch};
use vitals::{Finding, FindingId, Patient, PatientId, Reading, ReadingId, Severity, Timestamp, Verdict, Zone};

/// What the evaluator asks of the outside. The service answers from its store, a test from its memory.
pub trait World {
    /// A patient's record and plan.
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>>;
    /// When the patient's present binding was recorded; none while they have no meter.
    fn bound(&self, id: PatientId) -> Option<Timestamp>;
    /// Readings measured in `from..to`, ascending.
    ///
    /// # Errors
    /// When the store cannot answer.
    fn readings(&self, id: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error>;
    /// Findings that stand, effective from `from`, with the readings that joined each.
    ///
    /// # Errors
    /// When the store cannot answer.
    fn concluded(&self, id: PatientId, from: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error>;
}

/// The longest hold (120 days, the bound of the cards).
pub(crate) const HOLD: Duration = Duration::from_secs(120 * 24 * 3600);
/// How far back findings are remembered: the longest hold, and a month in which readings may come late.
const MEMORY: Duration = Duration::from_secs(150 * 24 * 3600);

/// What surrounds one judgement.
pub(crate) struct Scene<'a, W> {
    pub world: &'a W,
    pub cards: &'a Cards,
    /// What whole stations shifted.
    pub seasons: &'a Seasons,
    /// When it is concluded.
    pub now: Timestamp,
    /// Commit time of the reading that decides, or the schedule's time.
    pub decided: Timestamp,
    /// Only written down: readings found another patient.
    pub quiet: bool,
    pub batch: &'a mut FindingBatch,
}

/// The state.
#[derive(Debug)]
pub(crate) struct Person {
    pub patient: Arc<Patient>,
    pub zone: Zone,
    pub limits: Limits,
    pub steps: adherence::Steps,
    pub bound: Option<Timestamp>,
    pub window: Window,
    pub last_valid: Option<(Timestamp, ReadingId)>,
    pub concluded: Vec<Concluded>,
    remembered_from: Timestamp,
    pub open: Vec<(Rule, Open)>,
    /// The newest reading over the limit of each rule of single readings, by [`Rule`] as a number.
    pub last_over: [Option<Timestamp>; Rule::ALL.len()],
    /// Silence has been looked at up to here.
    pub silence_done: Timestamp,
    /// What the last months' days come to; empty until the first morning that asks.
    pub days: Days,
    /// The first morning's evaluation that a late reading may have changed.
    pub dirty: Option<Timestamp>,
    /// Start of the first day that has not been judged yet.
    pub open_day: Timestamp,
    /// What waits to be judged again waits because readings found another patient.
    pub handed: bool,
    /// A binding changed: readings may have come or gone that no journal entry told of.
    pub stale: bool,
    /// The earliest entry of this patient in the engine's queue.
    pub queued: Option<Timestamp>,
}

impl Person {
    /// From the store's history.
    pub(crate) fn load<W: World>(
        world: &W,
        cards: &Cards,
        patient: Arc<Patient>,
        site: &Zone,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let id = patient.id;
        let (window, last_valid) = recent(world, id, now)?;
        let zone = patient.time_zone.as_deref().and_then(|z| Zone::named(z).ok()).unwrap_or_else(|| site.clone());
        let remembered_from = now.minus(MEMORY);
        let mut concluded: Vec<Concluded> = world
            .concluded(id, remembered_from)?
            .into_iter()
            .filter_map(|(finding, attached)| Concluded::load(&finding, attached))
            .collect();
        concluded.sort_by_key(|c| c.effective_at);
        let mut this = Self {
            limits: Limits::of(cards, &patient, now, &zone),
            steps: adherence::Steps([Duration::MAX; 3]),
            bound: None,
            patient: patient.clone(),
            zone,
            window,
            last_valid,
            concluded,
            remembered_from,
            open: Vec::new(),
            last_over: [None; Rule::ALL.len()],
            silence_done: Timestamp::MIN,
            days: Days::default(),
            dirty: None,
            open_day: Timestamp::MIN,
            handed: false,
            stale: false,
            queued: None,
        };
        this.update(world, cards, patient, site, now);
        this.stale = false;
        this.find_last_over();
        Ok(this)
    }

    /// Takes over a changed record, plan or binding.
    pub(crate) fn update<W: World>(
        &mut self,
        world: &W,
        cards: &Cards,
        patient: Arc<Patient>,
        site: &Zone,
        now: Timestamp,
    ) {
        let zone = patient.time_zone.as_deref().and_then(|z| Zone::named(z).ok()).unwrap_or_else(|| site.clone());
        if zone != self.zone {
            self.days = Days::default();
            self.zone = zone;
        }
        self.limits = Limits::of(cards, &patient, now, &self.zone);
        if let Some(numbers) = cards.numbers(Rule::Adh1, &patient) {
            self.steps = adherence::Steps::of(&numbers);
        }
        let bound = world.bound(patient.id);
        self.stale |= bound != self.bound;
        self.bound = bound;
        self.patient = patient;
        self.open_day = self.zone.start_of(schedule::last_slot(now, &self.zone).day(&self.zone));
    }

    /// Reads the recent readings anew where a binding changed. They are looked at with the next reading or Monday:
    /// re-attribution by itself tells nobody anything.
    pub(crate) fn freshen<W: World>(&mut self, world: &W, now: Timestamp) -> Result<(), Error> {
        if std::mem::take(&mut self.stale) { self.reread(world, now) } else { Ok(()) }
    }

    /// Reads the recent readings anew.
    pub(crate) fn reread<W: World>(&mut self, world: &W, now: Timestamp) -> Result<(), Error> {
        (self.window, self.last_valid) = recent(world, self.id(), now)?;
        self.days = Days::default();
        self.find_last_over();
        Ok(())
    }

    fn find_last_over(&mut self) {
        for rule in acute::RULES {
            let over = |p: &Point| p.valid && self.limits.over(rule, p);
            self.last_over[rule as usize] = self.window.newest_that(over).map(|p| p.at);
        }
    }

    pub(crate) fn id(&self) -> PatientId {
        self.patient.id
    }

    /// The next moment at which there is something to do without a new reading.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let asked = self.asked_until();
        let silence = self.bound.and_then(|_| self.steps.next_after(self.silent_since().0, self.silence_done));
        asked.into_iter().chain(silence).min()
    }

    /// When the first open question expires.
    pub(crate) fn asked_until(&self) -> Option<Timestamp> {
        self.open.iter().map(|(_, o)| o.deadline).min()
    }

    /// Since when nothing valid came: the latest of enrolment, the binding's recording and the last valid reading.
    pub(crate) fn silent_since(&self) -> (Timestamp, Option<ReadingId>) {
        let floor = self.floor();
        let last = self.last_valid;
        (last.map_or(floor, |(at, _)| at.max(floor)), last.map(|(_, id)| id))
    }

    pub(crate) fn floor(&self) -> Timestamp {
        self.patient.enrolled_at.max(self.bound.unwrap_or(Timestamp::MIN))
    }

    /// Readings measured in `from..=to`, from memory where it reaches back so far.
    pub(crate) fn points<W: World>(
        &self,
        world: &W,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Cow<'_, [Point]>, Error> {
        if let Some(points) = self.window.get(from, to) {
            return Ok(Cow::Borrowed(points));
        }
        let after = Timestamp::from_micros(to.as_micros() + 1);
        let mut points: Vec<Point> = world.readings(self.id(), from, after)?.iter().map(|r| Point::of(r)).collect();
        points.sort_unstable_by(Point::before);
        Ok(Cow::Owned(points))
    }

    /// Makes sure that findings effective from `from` are remembered.
    pub(crate) fn remember<W: World>(&mut self, scene: &Scene<'_, W>, from: Timestamp) -> Result<(), Error> {
        if from >= self.remembered_from {
            return Ok(());
        }
        for (finding, attached) in scene.world.concluded(self.id(), from)? {
            let gone = scene.batch.retract.iter().any(|(id, _)| *id == finding.id);
            if gone || self.concluded.iter().any(|c| c.id == finding.id) {
                continue;
            }
            // What lies within the memory and is not in it was retracted and not yet written.
            if finding.draft.effective_at < self.remembered_from {
                self.concluded.extend(Concluded::load(&finding, attached));
            }
        }
        self.remembered_from = from;
        self.concluded.sort_by_key(|c| c.effective_at);
        Ok(())
    }

    /// Drops what no hold can reach any more. Called once a week.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        let from = now.minus(MEMORY);
        if from > self.remembered_from {
            self.remembered_from = from;
            self.concluded.retain(|c| c.effective_at >= from);
        }
    }

    /// Compares what holds of one rule in `from..=to` with what stood there: raises, attaches, retracts.
    pub(crate) fn settle<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        rule: Rule,
        (from, to): (Timestamp, Timestamp),
        expected: &[Conclusion],
        may_retract: impl Fn(&Concluded) -> bool,
    ) {
        let mut retracted = Vec::new();
        self.concluded.retain(|old| {
            let stays = old.rule != rule
                || old.effective_at < from
                || old.effective_at > to
                || &*old.step == "asked"
                || expected.iter().any(|c| old.is(c))
                || !may_retract(old);
            if !stays {
                retracted.push(old.id);
            }
            stays
        });
        for id in retracted {
            self.take_back(scene, id);
        }
        for conclusion in expected {
            match self.concluded.iter().position(|old| old.is(conclusion)) {
                Some(index) => {
                    let id = self.concluded[index].id;
                    self.attach(scene, id, &conclusion.joined);
                }
                None => self.raise(scene, conclusion),
            }
        }
    }

    /// Retracts a finding; one that is not written yet is not written at all.
    pub(crate) fn take_back<W>(&self, scene: &mut Scene<'_, W>, id: FindingId) {
        let unwritten = scene.batch.new.len();
        scene.batch.new.retain(|(draft, _)| store::finding_id(draft) != id);
        if unwritten == scene.batch.new.len() {
            scene.batch.retract.push((id, scene.now));
        }
        scene.batch.attach.retain(|(to, _)| *to != id);
    }

    /// Adds readings to a finding that stands; each is told once.
    pub(crate) fn attach<W>(&mut self, scene: &mut Scene<'_, W>, id: FindingId, joined: &[ReadingId]) {
        let Some(old) = self.concluded.iter_mut().find(|c| c.id == id) else { return };
        let fresh: Vec<ReadingId> =
            joined.iter().copied().filter(|r| !old.readings.contains(r) && old.attached.insert(*r)).collect();
        if !fresh.is_empty() {
            scene.batch.attach.push((id, fresh));
        }
    }

    fn raise<W: World>(&mut self, scene: &mut Scene<'_, W>, conclusion: &Conclusion) {
        let Some(numbers) = scene.cards.numbers(conclusion.rule, &self.patient) else { return };
        let mut draft = conclusion.draft(self.id(), &numbers, &self.zone, scene.now);
        if scene.quiet {
            draft.verdict = Verdict::Note;
            draft.severity = draft.severity.min(Severity::Routine);
        }
        let id = store::finding_id(&draft);
        let concluded = conclusion.concluded(id);
        let place = self.concluded.partition_point(|c| c.effective_at <= concluded.effective_at);
        self.concluded.insert(place, concluded);
        let unsaid = scene.batch.retract.len();
        scene.batch.retract.retain(|(gone, _)| *gone != id);
        if scene.batch.retract.len() == unsaid {
            metrics::counter!("hearthbeat_rules_findings_total", "rule" => conclusion.rule.id()).increment(1);
            scene.batch.new.push((draft, scene.decided));
        }
        if !conclusion.joined.is_empty() {
            scene.batch.attach.push((id, conclusion.joined.clone()));
        }
    }

    /// Asks the meter that sent `point` for a repeat, once for each finding, while it can still be of use.
    pub(crate) fn ask_again<W>(
        &self,
        scene: &mut Scene<'_, W>,
        conclusion: &Conclusion,
        point: &Point,
        (times, after_seconds): (u32, u32),
        until: Timestamp,
    ) {
        let fresh = scene.batch.new.iter().rev().take(4).any(|(draft, _)| {
            *draft.rule == *conclusion.rule.id()
                && draft.effective_at == conclusion.effective_at
                && draft.readings == conclusion.readings
        });
        if !fresh || until <= scene.now {
            return;
        }
        let id = format!("remeasure-{}-{}", conclusion.rule.id(), point.id);
        if scene.batch.commands.iter().any(|c| c.id == id) {
            return;
        }
        let body = serde_json::json!({
            "v": 1, "id": id, "type": "remeasure", "kind": point.kind().as_str(), "times": times,
            "afterSeconds": after_seconds, "expiresAt": until.to_rfc3339(&self.zone),
        });
        let body = body.to_string();
        scene.batch.commands.push(DeviceCommand { id, device: point.device, body, expires_at: until });
    }

    /// Judges one Monday's evaluation, as the schedule asks.
    pub(crate) fn weekly<W: World>(&mut self, scene: &mut Scene<'_, W>, slot: Timestamp) -> Result<(), Error> {
        self.limits = Limits::of(scene.cards, &self.patient, scene.now, &self.zone);
        self.forget(scene.now);
        self.freshen(scene.world, scene.now)?;
        if self.last_valid.is_none_or(|(at, _)| at < schedule::weeks(slot, &self.zone)[1]) {
            return Ok(());
        }
        self.judge_weeks(scene, slot, slot)
    }

    /// Judges every Monday evaluation from `first` to `last` anew.
    pub(crate) fn judge_weeks<W: World>(
        &mut self,
        scene: &mut Scene<'_, W>,
        first: Timestamp,
        last: Timestamp,
    ) -> Result<(), Error> {
        let first = schedule::weekly_from(first, &self.zone);
        if first > last {
            return Ok(());
        }
        self.remember(scene, first.minus(HOLD))?;
        let patient = self.patient.clone();
        let Some(numbers) = scene.cards.numbers(Rule::BpS1, &patient) else { return Ok(()) };
        let zone = self.zone.clone();
        let planned = patient.plan.measuring.blood_pressure_per_week.filter(|n| *n > 0.0);
        // No plan means 2 sessions a week (rules contract).
        let planned = planned.unwrap_or(2.0);
        let gap = Duration::try_from_secs_f64(numbers.value("gap") * 60.0).unwrap_or_default();
        let mut before: Vec<sustained::Before> = self
            .concluded
            .iter()
            .filter(|c| c.rule == Rule::BpS1 && c.effective_at < first)
            .map(|c| (c.effective_at, c.severity, c.is_info()))
            .collect();
        let mut expected = Vec::new();
        let all = self.points(scene.world, schedule::weeks(first, &zone)[0], last)?;
        let mut slot = first;
        while slot <= last {
            let [a, b, c] = schedule::weeks(slot, &zone);
            let week = |from: Timestamp, to: Timestamp| {
                let begin = all.partition_point(|p| p.at < from);
                let end = all.partition_point(|p| p.at < to);
                let mut week = sustained::week(&all[begin..end], gap, &zone);
                week.readings.sort_unstable();
                week
            };
            if let Some(c) = sustained::judge(slot, [week(a, b), week(b, c)], &numbers, planned, &before) {
                before.push((slot, c.severity, c.step == "cleared"));
                expected.push(c);
            }
            slot = schedule::week_after(slot, &zone);
        }
        drop(all);
        self.settle(scene, Rule::BpS1, (first, last), &expected, |_| true);
        Ok(())
    }

    /// The newest measurement of any kind.
    pub(crate) fn newest(&self) -> Timestamp {
        self.window.newest().unwrap_or(Timestamp::MIN)
    }

    /// Whether something of `rule` stands that is effective in `from..=to`.
    pub(crate) fn stands(&self, rule: Rule, from: Timestamp, to: Timestamp) -> bool {
        self.concluded.iter().rev().any(|c| c.rule == rule && c.effective_at >= from && c.effective_at <= to)
    }

    /// What silences a rule just before `at`: the newest conclusion of it that is neither a step nor an all-clear.
    pub(crate) fn held_before(&self, rule: Rule, at: Timestamp) -> Option<&Concluded> {
        self.concluded.iter().rev().find(|c| c.rule == rule && c.effective_at < at && !c.is_info())
    }
}

/// The last readings of a patient, and the newest that counts, however old.
fn recent<W: World>(
    world: &W,
    id: PatientId,
    now: Timestamp,
) -> Result<(Window, Option<(Timestamp, ReadingId)>), Error> {
    let from = now.minus(RETENTION);
    let window = Window::new(world.readings(id, from, Timestamp::MAX)?.iter().map(|r| Point::of(r)).collect(), from);
    let last = match window.newest_that(|p| p.valid) {
        Some(p) => Some((p.at, p.id)),
        None => {
            let all = world.readings(id, Timestamp::MIN, from)?;
            all.iter().rev().map(|r| Point::of(r)).find(|p| p.valid).map(|p| (p.at, p.id))
        }
    };
    Ok((window, last))
}
