//! One patient's state: recent readings, what stands concluded, what is being asked, when to look again.
//!
//! Goes in: readings of one message, or a moment. Comes out: what holds, compared with what stood, in a [`FindingBatch`].
//! The state is a cache: everything in it can be read back from the store.

use crate::{
    Cards, Error, Link, Point, Rule,
    acute::Limits,
    adherence,
    conclusion::{Concluded, Conclusion, HORIZON},
    days::{Days, Terms},
    late::Late,
    pattern::Lows,
    quality::Cuff,
    question::Asking,
    schedule,
    season::Seasons,
    track::Track,
    turn::Turn,
    window::{RETENTION, Window},
};
use std::{borrow::Cow, cell::Cell, sync::Arc, time::Duration};
use store::FindingBatch;
use vitals::{
    DeviceKey, Finding, FindingId, Kind, Patient, PatientId, Reading, ReadingId, Severity, Timestamp, Verdict, Zone,
};

/// What the evaluator asks of the outside. The service answers from its store, a test from its memory.
pub trait World {
    /// A patient's record and plan.
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>>;
    /// When the patient's present binding was recorded; none while they have no meter.
    fn bound(&self, id: PatientId) -> Option<Timestamp>;
    /// Entries up to this one are being judged: from now on [`World::readings`] shows them, and none after them. What is
    /// stored and not judged yet does not count twice when its turn comes, least of all after a start.
    fn show(&self, _through: ReadingId) {}
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
    /// When somebody wrote down from `from` on that they contacted the patient about an alert, or how it ended.
    ///
    /// # Errors
    /// When the store cannot answer.
    fn contacts(&self, _id: PatientId, _from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        Ok(Vec::new())
    }
    /// When people closed alerts of a patient to which findings of this rule belong that are effective from `from`.
    ///
    /// # Errors
    /// When the store cannot answer.
    fn closed(&self, _id: PatientId, _rule: Rule, _from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        Ok(Vec::new())
    }
    /// What was written down of the patient's days; nothing where nothing is written down.
    ///
    /// # Errors
    /// When the store cannot answer.
    fn days(&self, _id: PatientId) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
    /// What is known of the way from the patient's meter to here; `device` sent the last reading, where there is one.
    ///
    /// # Errors
    /// When the store cannot answer.
    fn link(&self, _id: PatientId, _device: Option<DeviceKey>) -> Result<Link, Error> {
        Ok(Link::default())
    }
}

/// The longest hold (120 days, the bound of the cards).
pub(crate) const HOLD: Duration = Duration::from_secs(120 * 24 * 3600);
/// Farther than this the whole history is read at once.
const LONGEST: Duration = Duration::from_secs(3 * 366 * 24 * 3600);
/// No question stays open longer (the bound of the cards).
const QUESTION: Duration = Duration::from_secs(2 * 3600);
/// As [`Person::newest`] counts them.
pub(crate) const KINDS: [Kind; 2] = [Kind::BloodPressure, Kind::BloodGlucose];
/// The place of a kind among [`KINDS`].
pub(crate) const fn place(kind: Kind) -> usize {
    match kind {
        Kind::BloodPressure => 0,
        Kind::BloodGlucose => 1,
    }
}
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
    /// What was stored before this moment is known: nothing later ends a question or makes a silence.
    pub known: Timestamp,
    /// Commit time of the reading that decides, or the schedule's time.
    pub decided: Timestamp,
    /// Only written down: readings found another patient.
    pub quiet: bool,
    /// What stands on none of these is only written down: they came late while readings were moved.
    pub only: Option<&'a [ReadingId]>,
    pub batch: &'a mut FindingBatch,
}

impl<W> Scene<'_, W> {
    /// Whether what stands on `readings` is only written down.
    pub(crate) fn hushes(&self, readings: &[ReadingId]) -> bool {
        self.quiet || self.only.is_some_and(|came| !readings.iter().any(|r| came.contains(r)))
    }
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
    /// The newest measurement that was judged: pressures, glucoses.
    pub newest: [Timestamp; 2],
    /// What was measured up to here is late: the newest measurement, or the end of a question that only time ended.
    pub settled: [Timestamp; 2],
    pub concluded: Vec<Concluded>,
    remembered_from: Timestamp,
    /// Rules that hold or ask something as of the newest measurement.
    pub tracks: Vec<Track>,
    /// The session that is being measured, for DQ-2; none where it must be read again.
    pub cuff: Option<Cuff>,
    /// The lows of the last weeks, for GLU-H1; none until one asks.
    pub lows: Option<Box<Lows>>,
    /// Readings that came late, to be judged together.
    pub late: Option<Box<Late>>,
    /// Readings of these kinds were given or taken without being judged: the next one looks back.
    pub recheck: [bool; 2],
    /// Silence has been looked at up to here.
    pub silence_done: Timestamp,
    /// What the last months' days come to; empty until the first morning that asks.
    pub days: Days,
    /// The numbers that `days` rest on.
    pub terms: Terms,
    /// The first morning's evaluation that a late reading may have changed.
    pub dirty: Option<Timestamp>,
    /// Start of the first day that has not been judged yet.
    pub open_day: Timestamp,
    /// As `dirty`, where readings found another patient: nobody is paged for these mornings.
    pub dirty_handed: Option<Timestamp>,
    /// What was told of readings that came or went was missed.
    pub stale: bool,
    /// The earliest entry of this patient in the engine's queue.
    pub queued: Option<Timestamp>,
    /// Turns to have something judged again.
    pub turn: Turn,
    /// Readings and mornings that have been looked at: the measure of work.
    looked: Cell<u64>,
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
        let zone = patient.time_zone.as_deref().and_then(|z| Zone::named(z).ok()).unwrap_or_else(|| site.clone());
        let Recent { window, last_valid, newest } = recent(world, (id, &zone), now)?;
        let remembered_from = now.minus(MEMORY);
        let mut concluded: Vec<Concluded> = world
            .concluded(id, remembered_from)?
            .into_iter()
            .filter_map(|(finding, attached)| Concluded::load(&finding, attached))
            .collect();
        concluded.sort_by_key(|c| c.effective_at);
        let mut this = Self {
            limits: Limits::of(cards, &patient, &zone),
            steps: adherence::Steps([Duration::MAX; 3]),
            bound: None,
            patient: patient.clone(),
            zone,
            window,
            last_valid,
            concluded,
            remembered_from,
            newest,
            settled: newest.map(|at| after_question(at, now)),
            tracks: Vec::new(),
            cuff: None,
            lows: None,
            late: None,
            recheck: [false; 2],
            silence_done: Timestamp::MIN,
            days: Days::default(),
            terms: Terms::of(cards, &patient),
            dirty: None,
            open_day: Timestamp::MIN,
            dirty_handed: None,
            stale: false,
            queued: None,
            turn: Turn::default(),
            looked: Cell::new(0),
        };
        this.update(world, cards, patient, site, now);
        this.stale = false;
        this.find_tracks(cards);
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
        let terms = Terms::of(cards, &patient);
        if zone != self.zone || terms != self.terms {
            self.days.forget();
            self.lows = None;
            (self.zone, self.terms) = (zone, terms);
        }
        self.limits = Limits::of(cards, &patient, &self.zone);
        if let Some(numbers) = cards.numbers(Rule::Adh1, &patient) {
            self.steps = adherence::Steps::of(&numbers);
        }
        self.bound = world.bound(patient.id); // which readings came or went with it is told of by itself
        self.patient = patient;
        self.open_day = self.zone.start_of(schedule::last_slot(now, &self.zone).day(&self.zone));
    }

    /// Reads the recent readings anew where it was missed that some came or went. They are looked at with the next
    /// reading or Monday.
    pub(crate) fn freshen<W: World>(&mut self, world: &W, cards: &Cards, now: Timestamp) -> Result<(), Error> {
        if !std::mem::take(&mut self.stale) {
            return Ok(());
        }
        self.recheck = [true; 2];
        self.reread(world, cards, now)
    }

    /// Reads the recent readings anew.
    pub(crate) fn reread<W: World>(&mut self, world: &W, cards: &Cards, now: Timestamp) -> Result<(), Error> {
        let Recent { window, last_valid, newest } = recent(world, (self.id(), &self.zone), now)?;
        (self.window, self.last_valid) = (window, last_valid);
        self.newest = [0, 1].map(|kind| self.newest[kind].max(newest[kind]));
        self.settled = [0, 1].map(|kind| self.settled[kind].max(after_question(newest[kind], now)));
        self.days.forget();
        (self.cuff, self.lows) = (None, None);
        self.find_tracks(cards);
        Ok(())
    }

    /// Counts `n` readings or mornings as looked at.
    pub(crate) fn look(&self, n: usize) {
        self.looked.set(self.looked.get() + n as u64);
    }

    /// How much has been looked at since the last call.
    pub(crate) fn take_looked(&self) -> u64 {
        self.looked.take()
    }

    pub(crate) fn id(&self) -> PatientId {
        self.patient.id
    }

    /// The next moment at which there is something to do without a new reading.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let asked = self.tracks.iter().filter_map(|t| t.asking.as_ref()).map(Asking::due).min();
        let silence = self.bound.and_then(|_| self.steps.next_after(self.silent_since().0, self.silence_done));
        asked.into_iter().chain(silence).min()
    }

    /// When the first question that waits for a repeat expires.
    pub(crate) fn asked_until(&self) -> Option<Timestamp> {
        self.tracks.iter().filter_map(|t| t.asking.as_ref()).map(|a| a.deadline).min()
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
            self.look(points.len());
            return Ok(Cow::Borrowed(points));
        }
        let after = Timestamp::from_micros(to.as_micros() + 1);
        let mut points: Vec<Point> =
            world.readings(self.id(), from, after)?.iter().map(|r| Point::of(r, &self.zone)).collect();
        points.sort_unstable_by(Point::before);
        self.look(points.len());
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
        let begin = self.concluded.partition_point(|c| c.effective_at < from);
        let end = self.concluded.partition_point(|c| c.effective_at <= to).max(begin);
        self.look(end - begin);
        let gone = |old: &Concluded| old.rule == rule && !expected.iter().any(|c| old.is(c)) && may_retract(old);
        let retracted: Vec<Concluded> = self.concluded.extract_if(begin..end, |old| gone(old)).collect();
        for old in &retracted {
            self.take_back(scene, old);
        }
        for conclusion in expected {
            match self.standing(conclusion) {
                Some(id) => self.attach(scene, id, &conclusion.joined),
                None => drop(self.raise(scene, conclusion)),
            }
        }
    }

    /// What stands and says the same.
    pub(crate) fn standing(&self, conclusion: &Conclusion) -> Option<FindingId> {
        let begin = self.concluded.partition_point(|c| c.effective_at < conclusion.effective_at);
        let same = self.concluded[begin..].iter().take_while(|c| c.effective_at == conclusion.effective_at);
        same.filter(|c| c.is(conclusion)).map(|c| c.id).next()
    }

    /// Retracts what stands and `fell`.
    pub(crate) fn take_back_where<W>(&mut self, scene: &mut Scene<'_, W>, fell: impl Fn(&Concluded) -> bool) {
        let withdrawn: Vec<Concluded> = self.concluded.extract_if(.., |c| fell(c)).collect();
        for old in &withdrawn {
            self.take_back(scene, old);
        }
    }

    /// Retracts a finding; one that is not written yet is not written at all.
    pub(crate) fn take_back<W>(&self, scene: &mut Scene<'_, W>, old: &Concluded) {
        let unwritten = scene.batch.new.len();
        scene.batch.new.retain(|(draft, _)| {
            draft.patient != self.id()
                || draft.effective_at != old.effective_at
                || *draft.rule != *old.rule.id()
                || store::finding_id(draft) != old.id
        });
        if unwritten == scene.batch.new.len() {
            scene.batch.retract.push((old.id, scene.now));
        }
        scene.batch.attach.retain(|(to, _)| *to != old.id);
    }

    /// Adds readings to a finding that stands; each is told once.
    pub(crate) fn attach<W>(&mut self, scene: &mut Scene<'_, W>, id: FindingId, joined: &[ReadingId]) {
        let Some(old) = self.concluded.iter_mut().rev().find(|c| c.id == id) else { return };
        let fresh: Vec<ReadingId> =
            joined.iter().copied().filter(|r| !old.readings.contains(r) && old.attached.insert(*r)).collect();
        if !fresh.is_empty() {
            scene.batch.attach.push((id, fresh));
        }
    }

    pub(crate) fn raise<W: World>(&mut self, scene: &mut Scene<'_, W>, conclusion: &Conclusion) -> Option<FindingId> {
        let numbers = scene.cards.numbers(conclusion.rule, &self.patient)?;
        let mut draft = conclusion.draft(self.id(), &numbers, &self.zone, scene.now);
        let quiet = scene.hushes(&conclusion.readings);
        if quiet {
            draft.verdict = Verdict::Note;
            draft.severity = draft.severity.min(Severity::Routine);
        }
        let id = store::finding_id(&draft);
        let mut concluded = conclusion.concluded(id, numbers.mark());
        concluded.muted |= quiet && scene.now.since(conclusion.effective_at) <= HORIZON;
        let place = self.concluded.partition_point(|c| c.effective_at <= concluded.effective_at);
        self.concluded.insert(place, concluded);
        let unsaid = scene.batch.retract.len();
        scene.batch.retract.retain(|(gone, _)| *gone != id);
        if scene.batch.retract.len() == unsaid {
            scene.batch.new.push((draft, scene.decided));
        }
        if !conclusion.joined.is_empty() {
            scene.batch.attach.push((id, conclusion.joined.clone()));
        }
        Some(id)
    }

    /// Whether something of `rule` stands that is effective in `from..=to`.
    pub(crate) fn stands(&self, rule: Rule, from: Timestamp, to: Timestamp) -> bool {
        let begin = self.concluded.partition_point(|c| c.effective_at < from);
        self.concluded[begin..].iter().take_while(|c| c.effective_at <= to).any(|c| c.rule == rule)
    }

    /// What silences a rule just before `at`: the newest conclusion of it that is neither a step nor an all-clear.
    pub(crate) fn held_before(&self, rule: Rule, at: Timestamp) -> Option<&Concluded> {
        let before = self.concluded.partition_point(|c| c.effective_at < at);
        self.concluded[..before].iter().rev().find(|c| c.rule == rule && !c.is_info())
    }
}

/// After a start at `now`: what was asked at the newest reading may have been ended by time since, up to now.
fn after_question(newest: Timestamp, now: Timestamp) -> Timestamp {
    if newest == Timestamp::MIN { newest } else { newest.max(newest.plus(QUESTION).min(now)) }
}

/// What a start must know of the readings.
struct Recent {
    window: Window,
    /// The newest that counts, however old.
    last_valid: Option<(Timestamp, ReadingId)>,
    /// Nothing of either kind is newer.
    newest: [Timestamp; 2],
}

fn recent<W: World>(world: &W, (id, zone): (PatientId, &Zone), now: Timestamp) -> Result<Recent, Error> {
    let read = |from, to| -> Result<Vec<Point>, Error> {
        Ok(world.readings(id, from, to)?.iter().map(|r| Point::of(r, zone)).collect())
    };
    let mut span = RETENTION;
    let mut from = now.minus(span);
    let points = read(from, Timestamp::MAX)?;
    let newest_of = |kind| points.iter().filter(|p| p.kind() == kind).map(|p| p.at).max();
    let found = KINDS.map(newest_of);
    let mut last_valid = points.iter().rev().find(|p| p.valid).map(|p| (p.at, p.id));
    let mut any = !points.is_empty();
    let window = Window::new(points, from);
    let reach = from;
    // Back in ever longer steps: who measured lately costs little, who did not is looked for once.
    while last_valid.is_none() && from > Timestamp::MIN {
        let to = from;
        span *= 4;
        from = if span > LONGEST { Timestamp::MIN } else { from.minus(span) };
        let older = read(from, to)?;
        any |= !older.is_empty();
        last_valid = older.iter().rev().find(|p| p.valid).map(|p| (p.at, p.id));
    }
    let unknown = if any { reach } else { Timestamp::MIN };
    Ok(Recent { window, last_valid, newest: found.map(|at| at.unwrap_or(unknown)) })
}
