//! The task that owns the book: takes findings, timers, failures and commands in, and stores each cycle whole.
//!
//! Active episodes are in memory, as stored; a change is made on a copy and put back after its commit.
//! Must never: send; answer a command before it is durable.

mod failures;
#[cfg(test)]
mod stories;

use crate::{
    Config,
    book::{Case, Context, Effect, keeps_back},
    desk::Desk,
    hours::Hours,
    in_range,
    message::Press,
    vigil::Vigil,
    work::Work,
};
use runtime::crash;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{
    Action, AlertState, Command, CommandError, Episode, FindingChange, FindingEvent, ReadingQuery, Store, StoreError,
};
use tokio::sync::watch;
use vitals::{AlertId, Concept, Finding, FindingId, PatientId, Severity, Timestamp, Zone};

/// Findings, timers or failures in one transaction: small, so that a page never waits for many others.
const BATCH: usize = 64;
/// On system time, the ranges are looked at no more often; under a manual clock whenever there are new readings.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Readings since the finding that are looked at.
const LOOK_AT: usize = 500;

/// What does not change while the stage runs.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) public_url: String,
    pub(crate) link_key: [u8; 32],
    pub(crate) zone: Zone,
}

impl Shared {
    pub(crate) fn desk(&self) -> Desk<'_> {
        Desk::new(&self.store, &self.config)
    }

    pub(crate) fn press(&self, now: Timestamp) -> Press<'_> {
        let Self { config, public_url, link_key, zone, .. } = self;
        Press { config, public_url, link_key, zone, now }
    }
}

/// What of the roster, and of the staff that it names, the calling criticals have been held against.
struct Seen {
    /// Turns up to here.
    turns: Timestamp,
    /// The number of the last change; none before the first look.
    roster: Option<u64>,
    staff: Option<u64>,
}

/// The book in memory.
pub(crate) struct Stage {
    pub(crate) shared: Arc<Shared>,
    cases: HashMap<AlertId, Case>,
    keys: HashMap<(PatientId, Concept), AlertId>,
    position: i64,
    seen: Seen,
    /// Tells when patients may have been erased.
    people: watch::Receiver<u64>,
    /// Journal position and moment of the last look at ranges.
    looked: (u64, Timestamp),
    vigil: Vigil,
}

/// An alert's number: the same finding event gives the same one, so a crash before the commit changes nothing.
fn alert_id(finding: FindingId, sequence: i64) -> AlertId {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    AlertId::new(finding.as_i64().cast_unsigned() ^ sequence.cast_unsigned().wrapping_mul(SPREAD))
}

impl Stage {
    pub(crate) async fn load(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let store = &shared.store;
        let now = store.clock().now();
        let position = store.alerts_position().await?;
        let active = store.active_episodes().await?;
        let cases: HashMap<_, _> = active.into_iter().map(|e| (e.id, Case::read(e))).collect();
        let keys = cases.values().map(|c| ((c.episode.patient, c.episode.concept), c.episode.id)).collect();
        let people = store.directory().changes();
        let vigil = Vigil::new(store);
        // Who came on while nothing ran is told now: whoever was called already is known from the case.
        let seen = Seen { turns: now, roster: None, staff: None };
        Ok(Self { shared, cases, keys, position, seen, people, looked: (0, Timestamp::MIN), vigil })
    }

    fn now(&self) -> Timestamp {
        self.shared.store.clock().now()
    }

    /// Everything there is to do now, one small transaction after another. Returns whether anything was done.
    pub(crate) async fn cycle(&mut self) -> Result<bool, StoreError> {
        self.forget_erased();
        // A stream of findings must not starve the timers; the ranges can wait for both.
        // What cannot be stored of one of them is said, and must not stop the others.
        let (new, due, failed) = (self.take_findings().await, self.fire_timers().await, self.take_failures().await);
        let (new, due, failed) = (new?, due?, failed?);
        let called = new || due || failed || self.turn_roster().await?;
        Ok(called || self.look_at_ranges().await? || self.look_at_steps().await?)
    }

    /// Episodes of a patient who was erased are no longer in the store: memory forgets them too.
    fn forget_erased(&mut self) {
        if !self.people.has_changed().unwrap_or(false) {
            return;
        }
        self.people.mark_unchanged();
        let directory = self.shared.store.directory();
        self.cases.retain(|_, case| directory.patient(case.episode.patient).is_some());
        self.keys.retain(|_, alert| self.cases.contains_key(alert));
    }

    /// The earliest moment at which something happens by itself.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let timers = self.cases.values().filter_map(Case::due).min();
        let turn = || self.shared.desk().next_turn(self.seen.turns);
        let turn = if self.cases.values().any(Case::is_calling) { turn() } else { None };
        [timers, turn, self.vigil.due()].into_iter().flatten().min()
    }

    /// On system time: when the ranges, or the chains, are to be looked at next.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        let wanted = !self.shared.store.clock().is_manual() && self.cases.values().any(may_clear);
        let ranges = wanted.then(|| self.looked.1.plus(LOOK_EVERY));
        let steps = self.vigil.pause().filter(|_| !self.shared.store.clock().is_manual()).map(|p| self.now().plus(p));
        [ranges, steps].into_iter().flatten().min()
    }

    /// Runs `step` on a case with everything that the book may know.
    fn with<T>(
        &self,
        work: &Work,
        case: &mut Case,
        now: Timestamp,
        step: impl FnOnce(&mut Case, &Context<'_>) -> T,
    ) -> T {
        let desk = self.shared.desk();
        let place = desk.place_of(&case.episode);
        let hours: Hours = desk.hours(place.organisation, &self.shared.zone);
        let chain = case.episode.chain.clone();
        let people = |words: &[String], critical: bool| {
            desk.called(&place, &chain, words, critical, now).into_iter().map(|p| p.user_id).collect()
        };
        let over = self.over(work, &case.episode);
        let ctx = Context { now, config: &self.shared.config, hours: &hours, people: &people, over };
        step(case, &ctx)
    }

    /// The critical that keeps this episode back while it is lower, as this transaction will leave it. One that somebody has
    /// followed up keeps nothing back: it may stay open for weeks.
    fn over(&self, work: &Work, episode: &Episode) -> Option<AlertId> {
        let keeping = Concept::ALL.iter().filter(|c| keeps_back(**c).contains(&episode.concept));
        let mut cases = keeping.filter_map(|c| self.active(work, episode.patient, *c));
        let pressing = |c: &&Case| c.episode.severity == Severity::Critical && c.episode.state != AlertState::FollowUp;
        cases.find(pressing).map(|c| c.episode.id)
    }

    /// A critical that came keeps lower ones back, one that ended lets them go: in the transaction in which it does.
    fn judge_lower(&self, work: &mut Work, now: Timestamp) {
        let changed: Vec<(PatientId, Concept)> =
            work.cases.values().map(|c| (c.episode.patient, c.episode.concept)).collect();
        for (patient, concept) in changed {
            for lower in keeps_back(concept) {
                let Some(mut case) = self.active(work, patient, *lower).cloned() else { continue };
                let effects = self.with(work, &mut case, now, Case::judge_again);
                if !effects.is_empty() {
                    self.put(work, case, effects, now);
                }
            }
        }
    }

    fn put(&self, work: &mut Work, case: Case, effects: Vec<Effect>, now: Timestamp) {
        work.put(case, effects, &self.shared.desk(), &self.shared.press(now));
    }

    async fn commit(&mut self, mut work: Work, now: Timestamp) -> Result<(), StoreError> {
        let batch = work.finish(&self.shared.desk(), &self.shared.press(now));
        let position = batch.position;
        crash::point("alerts.before_commit");
        let begun = Instant::now();
        self.shared.store.commit_alerts(batch).await?;
        crash::point("alerts.after_commit");
        metrics::histogram!("hearthbeat_alerts_commit_seconds").record(begun.elapsed().as_secs_f64());
        self.position = position.unwrap_or(self.position);
        for (id, mut case) in work.cases {
            case.episode.version += 1;
            let key = (case.episode.patient, case.episode.concept);
            if case.episode.state.is_active() {
                self.keys.insert(key, id);
                self.cases.insert(id, case);
            } else {
                if self.keys.get(&key) == Some(&id) {
                    self.keys.remove(&key);
                }
                self.cases.remove(&id);
            }
        }
        let calling = self.cases.values().filter(|c| c.is_calling()).count();
        metrics::gauge!("hearthbeat_alerts_unacknowledged_criticals")
            .set(f64::from(u32::try_from(calling).unwrap_or(u32::MAX)));
        metrics::gauge!("hearthbeat_alerts_active_episodes")
            .set(f64::from(u32::try_from(self.cases.len()).unwrap_or(u32::MAX)));
        Ok(())
    }

    async fn take_findings(&mut self) -> Result<bool, StoreError> {
        if *self.shared.store.finding_changes().borrow() <= self.position {
            return Ok(false);
        }
        let events = self.shared.store.findings_after(self.position, BATCH).await?;
        let Some(last) = events.last().map(|e| e.sequence) else { return Ok(false) };
        let now = self.now();
        let mut work = Work::default();
        metrics::counter!("hearthbeat_alerts_findings_total").increment(u64::try_from(events.len()).unwrap_or(0));
        for event in &events {
            self.take_finding(&mut work, event, now).await?;
        }
        self.judge_lower(&mut work, now);
        work.batch.position = Some(last);
        self.commit(work, now).await?;
        Ok(true)
    }

    async fn take_finding(&self, work: &mut Work, event: &FindingEvent, now: Timestamp) -> Result<(), StoreError> {
        let finding = &event.finding;
        let known = self.active(work, finding.draft.patient, finding.draft.concept).cloned();
        let (case, effects) = match (&event.kind, known) {
            // Retracted before anybody could be told: the retraction follows in the log.
            (FindingChange::Raised, _) if finding.retracted_at.is_some() => return Ok(()),
            (FindingChange::Raised, None) => match self.open(work, finding, event.sequence).await? {
                Some(mut case) => {
                    let effects = self.with(work, &mut case, now, |case, ctx| case.raised(finding, ctx));
                    (case, effects)
                }
                None => return Ok(()),
            },
            (FindingChange::Raised, Some(mut case)) => {
                let effects = self.with(work, &mut case, now, |case, ctx| case.raised(finding, ctx));
                (case, effects)
            }
            (FindingChange::Attached(readings), Some(mut case)) => {
                let effects = case.joined(readings);
                (case, effects)
            }
            (FindingChange::Retracted, Some(mut case)) => {
                let effects = case.retracted(finding);
                (case, effects)
            }
            (FindingChange::Attached(_) | FindingChange::Retracted, None) => return Ok(()),
        };
        if event.kind == FindingChange::Raised {
            work.batch.attached.push((finding.id, case.episode.id));
        }
        self.put(work, case, effects, now);
        Ok(())
    }

    /// The one active case of this key, as this transaction will leave it.
    fn active<'a>(&'a self, work: &'a Work, patient: PatientId, concept: Concept) -> Option<&'a Case> {
        let here = |c: &&Case| c.episode.patient == patient && c.episode.concept == concept;
        if let Some(changed) = work.cases.values().filter(here).find(|c| c.episode.state.is_active()) {
            return Some(changed);
        }
        let id = self.keys.get(&(patient, concept))?;
        if work.cases.contains_key(id) { None } else { self.cases.get(id) }
    }

    async fn open(&self, work: &Work, finding: &Finding, sequence: i64) -> Result<Option<Case>, StoreError> {
        let (patient, concept) = (finding.draft.patient, finding.draft.concept);
        let closed_here = work.cases.values().filter(|c| c.episode.patient == patient && c.episode.concept == concept);
        let previous = match closed_here.map(|c| c.episode.id).next_back() {
            Some(id) => Some(id),
            None => self.shared.store.last_closed(patient, concept).await?,
        };
        let desk = self.shared.desk();
        let known = desk.directory.patient(patient);
        let place = desk.place(known.as_ref().and_then(|p| p.team), known.as_ref().and_then(|p| p.organisation));
        let team = place.team.as_ref().map(|t| t.id);
        Ok(Case::open(alert_id(finding.id, sequence), finding, team, desk.chain(&place), previous))
    }

    async fn fire_timers(&mut self) -> Result<bool, StoreError> {
        let now = self.now();
        let config = &self.shared.config;
        let due = |c: &&Case| c.due().is_some_and(|at| at <= now) || c.brought_forward(now, config).is_some();
        let (digests, mut others): (Vec<&Case>, Vec<&Case>) =
            self.cases.values().filter(due).partition(|c| c.episode.severity == Severity::Routine);
        others.sort_by_key(|c| (c.episode.severity != Severity::Critical, c.due(), c.episode.id));
        others.truncate(BATCH);
        // A person's digest is one message, so what is due for it is one transaction.
        let cases: Vec<Case> = if others.is_empty() { digests } else { others }.into_iter().cloned().collect();
        if cases.is_empty() {
            return Ok(false);
        }
        let mut work = Work::default();
        for mut case in cases {
            let effects = self.with(&work, &mut case, now, Case::due_now);
            self.put(&mut work, case, effects, now);
        }
        self.commit(work, now).await?;
        Ok(true)
    }

    async fn turn_roster(&mut self) -> Result<bool, StoreError> {
        let now = self.now();
        // A change counts as a turn: whoever it puts on duty may be there since before the last one.
        let roster = Some(*self.shared.store.roster_changes().borrow());
        let staff = Some(*self.shared.store.directory().staff_changes().borrow());
        // A clock that was put back has turns before it once more.
        let turned = self.seen.roster != roster
            || now < self.seen.turns
            || self.shared.desk().next_turn(self.seen.turns).is_some_and(|at| at <= now);
        if !turned && self.seen.staff == staff {
            return Ok(false);
        }
        let mut work = Work::default();
        // What reaches nobody is looked at with every change of staff too: a contact, a member.
        for case in self.cases.values().filter(|c| if turned { c.is_calling() } else { c.is_unheard() }) {
            let mut case = case.clone();
            let effects = self.with(&work, &mut case, now, Case::roster_turned);
            if !effects.is_empty() {
                self.put(&mut work, case, effects, now);
            }
        }
        let did = !work.is_empty();
        if did {
            self.commit(work, now).await?;
        }
        let turns = if turned { now } else { self.seen.turns };
        self.seen = Seen { turns, roster, staff };
        Ok(did)
    }

    /// Urgents and routines whose patient is back in range end by themselves. Stateless: it asks for what was measured
    /// since the finding, so a crash changes nothing.
    async fn look_at_ranges(&mut self) -> Result<bool, StoreError> {
        let now = self.now();
        let committed = *self.shared.store.readings().committed().borrow();
        let recently = self.looked.1 <= now && now < self.looked.1.plus(LOOK_EVERY);
        let pause = !self.shared.store.clock().is_manual() && recently;
        if pause || committed == self.looked.0 {
            return Ok(false);
        }
        let mut work = Work::default();
        for case in self.cases.values().filter(|c| may_clear(c)) {
            let Some(patient) = self.shared.store.directory().patient(case.episode.patient) else { continue };
            let query = ReadingQuery {
                patient: patient.id,
                kind: in_range::clears(case.episode.concept),
                from: case.memo.since.plus(Duration::from_micros(1)),
                to: Timestamp::MAX,
                after: None,
                limit: LOOK_AT,
            };
            let readings = self.shared.store.readings().range(query).await?;
            if in_range::is_back(&readings, &patient, self.shared.config.readings_in_range) {
                let mut case = case.clone();
                let effects = case.back_in_range();
                self.put(&mut work, case, effects, now);
            }
        }
        let did = !work.is_empty();
        if did {
            self.commit(work, now).await?;
        }
        self.looked = (committed, now);
        Ok(did)
    }

    /// Tells of steps that became empty.
    async fn look_at_steps(&mut self) -> Result<bool, StoreError> {
        let (store, now) = (&self.shared.store, self.now());
        let looked = self.vigil.look(store.clock().is_manual(), &self.shared.desk(), &self.shared.press(now));
        let Some((work, look)) = looked else { return Ok(false) };
        let told = !work.batch.messages.is_empty();
        if told {
            store.commit_alerts(work.batch).await?;
        }
        self.vigil.remember(look);
        Ok(told)
    }

    /// Does what a person asks; durable when it returns.
    pub(crate) async fn command(&mut self, command: Command) -> Result<Episode, CommandError> {
        let Command { alert, action, by, once } = command;
        let store = self.shared.store.clone();
        let now = self.now();
        let found = match self.cases.get(&alert) {
            Some(case) => case.clone(),
            None => Case::read(store.episode(alert).await?.ok_or(CommandError::NotFound)?),
        };
        if let Some(once) = &once
            && let Some(used) = store.alert_command(by, once.key.clone()).await?
        {
            return if used == (alert, once.digest.clone()) { Ok(found.episode) } else { Err(CommandError::KeyReused) };
        }
        if let Action::Assign { user } = &action
            && store.directory().user(*user).is_none_or(|u| u.disabled)
        {
            return Err(CommandError::Invalid { field: "userId", remedy: "a user who may act".into() });
        }
        let (mut case, mut work) = (found.clone(), Work::default());
        let effects = self.with(&work, &mut case, now, |case, ctx| case.command(&action, by, ctx))?;
        work.batch.command = once.map(|once| (by, once.key, alert, once.digest, now));
        if !effects.is_empty() {
            self.put(&mut work, case.clone(), effects, now);
            self.judge_lower(&mut work, now);
            case.episode.version += 1;
        }
        self.commit(work, now).await?;
        Ok(case.write())
    }
}

fn may_clear(case: &Case) -> bool {
    case.episode.severity < Severity::Critical && in_range::clears(case.episode.concept).is_some()
}
