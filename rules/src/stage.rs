//! The stage: pulls the journal after its checkpoint, lets the engine judge, commits findings with the position.
//!
//! A missed wake-up loses nothing: every cycle asks the store. A crash anywhere loses nothing: findings, commands, timers
//! and position are one transaction, and judging an entry again concludes the same.

mod follow;
#[cfg(test)]
mod tests;

use crate::{Cards, Engine, Error, Force, Pace, live::Live};
use runtime::{BoxFuture, Drain, Paced, crash};
use serde::{Deserialize, Serialize};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use store::{HandedOver, Store, StoreError};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc, oneshot, watch,
};
use vitals::{Entry, Timestamp};

/// Journal entries judged before a commit. More gain nothing: a commit is one fsync, wanted within a second.
const PULL: usize = 2000;
/// Pulls before timers get their turn while the journal runs ahead.
const PULLS: usize = 8;
/// The position alone is written no more often: judging a little again after a crash is cheaper than an fsync.
const POSITION_EVERY: Duration = Duration::from_millis(250);
/// While the journal grows it is looked at no more often: a look costs two changes of thread, whether it finds one reading
/// or hundreds, and nobody can tell a finding that is this much older.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// After a fault of the store.
const RETRY: Duration = Duration::from_secs(1);
/// A stop waits no longer for a journal that runs ahead: the next start goes on from the written position.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Waiting requests to settle. Full: the test clock waits.
const SETTLES: usize = 16;
/// Days are seen to no more seldom, also when readings never cease.
const DAYS_EVERY: Duration = Duration::from_secs(1);
/// An idle cycle after a start makes days known for so long.
const IDLE_WORK: Duration = Duration::from_millis(4);
/// Patients between two looks at the time: where nothing is written down their weeks are summed from readings.
const WARM: usize = 5;
/// Patients whose days are written down in one idle cycle: half a megabyte.
const KEPT: usize = 200;
/// From one sign of life in the store to the next.
const BEAT_EVERY: Duration = Duration::from_secs(60);
/// The clock is put back by less than this all the time.
const CLOCK_MAY_FALL: Duration = Duration::from_secs(60);
/// As [`BEAT_EVERY`], on a clock that somebody moves.
const BEAT_EVERY_MOVED: Duration = Duration::from_secs(3600);

/// The section `[rules]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A folder of cards that replace built-in ones of the same id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// The running stage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    settles: mpsc::Sender<oneshot::Sender<bool>>,
    due: watch::Receiver<Option<Timestamp>>,
    findings: Arc<AtomicU64>,
    cards: Arc<watch::Sender<Cards>>,
}

/// Whether the cards can be loaded.
///
/// # Errors
/// Every [`Error::Folder`] and [`Error::Card`], naming file, line and remedy.
pub fn check(config: &Config) -> Result<(), Vec<Error>> {
    let (_, faults) = Cards::load_all(config.folder.as_deref()).map_err(|e| vec![e])?;
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Loads the cards and what was concluded so far, and begins to judge.
///
/// # Errors
/// When a card is refused or the store cannot answer.
pub async fn start(config: Config, store: Store, drain: &Drain) -> Result<Handle, Error> {
    let findings = Arc::new(AtomicU64::new(0));
    let counted = findings.clone();
    let from = store.clone();
    let worker = tokio::task::spawn_blocking(move || {
        let (give, given) = watch::channel(Cards::load(config.folder.as_deref())?);
        Ok::<_, Error>((Worker::load(from, given, counted)?, give))
    });
    let (worker, cards) = worker.await.map_err(|_| Error::Ended)??;
    let (settles, inbox) = mpsc::channel(SETTLES);
    let (due_is, due) = watch::channel(worker.next_due());
    tokio::spawn(run(store, worker, inbox, due_is, drain.named("rules")));
    Ok(Handle { settles, due, findings, cards: Arc::new(cards) })
}

impl Handle {
    /// Findings concluded since the start.
    pub fn findings(&self) -> u64 {
        self.findings.load(Relaxed)
    }

    /// The installed cards and everything that was signed over them.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn force(&self, store: &Store) -> Result<Force, Error> {
        Ok(Force::new(self.cards.borrow().clone(), store.rule_edits_blocking()?))
    }

    /// Loads the cards again. They hold from the next look on; what was concluded under the old ones stands.
    ///
    /// # Errors
    /// [`Error::Folder`] and [`Error::Card`]; the previous set stays whole.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        self.cards.send_replace(Cards::load(config.folder.as_deref())?);
        Ok(())
    }
}

impl Paced for Handle {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn next_due(&self) -> BoxFuture<'_, Option<Timestamp>> {
        Box::pin(async { *self.due.borrow() })
    }

    fn settle(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let (answer, answered) = oneshot::channel();
            // A stage that has ended has nothing left to do.
            self.settles.send(answer).await.is_ok() && answered.await.unwrap_or(false)
        })
    }
}

async fn run(
    store: Store,
    mut worker: Worker,
    mut inbox: mpsc::Receiver<oneshot::Sender<bool>>,
    due_is: watch::Sender<Option<Timestamp>>,
    drain: Drain,
) {
    let mut committed = store.readings().committed();
    let mut directory = store.directory().changes();
    let mut moved = store.readings().handed_over();
    let (mut cards, mut cards_live, mut edits) = (worker.given.clone(), true, worker.edits.clone());
    let mut settling: Vec<oneshot::Sender<bool>> = Vec::new();
    loop {
        while let Ok(answer) = inbox.try_recv() {
            settling.push(answer);
        }
        let looked = tokio::time::Instant::now();
        let last = drain.is_stopping();
        let haste = Haste::of(last, !settling.is_empty());
        let Ok((returned, outcome)) = tokio::task::spawn_blocking(move || {
            let outcome = worker.cycle(haste);
            (worker, outcome)
        })
        .await
        else {
            drain.fatal("rules", "the evaluator broke");
            return;
        };
        worker = returned;
        // Who waits for a turn waits for rounds.
        let mut pause = match (worker.engine.is_dirty() || worker.engine.is_behind_with_days(), worker.behind()) {
            (true, _) => Some(LOOK_EVERY),
            (false, behind) => behind.then_some(POSITION_EVERY),
        };
        let did = match outcome {
            Ok(did) => did,
            Err(e) => {
                stopped(&e, &drain);
                pause = Some(RETRY);
                false
            }
        };
        due_is.send_replace(worker.next_due());
        for answer in settling.drain(..) {
            let _ = answer.send(did); // who asked may have gone
        }
        if last {
            return;
        }
        if pause == Some(RETRY) {
            // Whatever is committed meanwhile: each try reads everybody anew.
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = drain.stopping() => {}
            }
            continue;
        }
        if worker.more {
            continue;
        }
        tokio::select! {
            _ = committed.changed() => tokio::select! {
                () = tokio::time::sleep_until(looked + LOOK_EVERY) => {}
                Some(answer) = inbox.recv() => settling.push(answer),
                () = drain.stopping() => {}
            },
            _ = directory.changed() => {}
            // Only a bell: the worker has a receiver of its own.
            heard = moved.recv() => if heard.is_err_and(|e| e == RecvError::Closed) { moved = store.readings().handed_over() },
            changed = cards.changed(), if cards_live => cards_live = changed.is_ok(),
            _ = edits.changed() => {}
            () = store.clock().sleep_until_some(worker.next_due()) => {}
            Some(answer) = inbox.recv() => settling.push(answer),
            () = tokio::time::sleep(pause.unwrap_or(BEAT_EVERY)) => {}
            () = drain.stopping() => {}
        }
    }
}

fn stopped(e: &Error, drain: &Drain) {
    tracing::error!(error = %e, "judging stopped; it begins again at its checkpoint");
    metrics::counter!("hearthbeat_rules_errors_total").increment(1);
    if let Error::Store(fatal @ StoreError::Fatal(_)) = e {
        drain.fatal("rules", fatal);
    }
}

/// When ingest took it in.
fn stored_at(entry: &Entry) -> Timestamp {
    match entry {
        Entry::Reading(reading) => reading.received_at,
        Entry::Held(held) => held.received_at,
    }
}

/// What a cycle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    /// Fair rounds.
    Usual,
    /// A test clock waits until nothing is left.
    Settle,
    /// The process ends.
    Stop,
}

impl Haste {
    const fn of(stops: bool, somebody_waits: bool) -> Self {
        match (stops, somebody_waits) {
            (true, _) => Self::Stop,
            (false, true) => Self::Settle,
            (false, false) => Self::Usual,
        }
    }
}

/// What runs on a blocking thread, one cycle at a time.
struct Worker {
    store: Store,
    /// What is in force when.
    force: Force,
    /// The next moment at which other cards are in force.
    next_cards: Option<Timestamp>,
    /// The next moment at which somebody has no meter any more.
    next_end: Option<Timestamp>,
    engine: Engine<Live>,
    /// Judged, in memory.
    position: u64,
    /// Judged, durably.
    written: u64,
    written_at: Instant,
    directory: watch::Receiver<u64>,
    moved: broadcast::Receiver<HandedOver>,
    /// Changes of stored readings that are judged, in memory.
    moves: i64,
    /// The same, durably.
    moves_written: i64,
    /// Not every change was heard of: the journal knows them.
    missed_moves: bool,
    /// The installed cards.
    given: watch::Receiver<Cards>,
    /// Counts edits of rules.
    edits: watch::Receiver<u64>,
    findings: Arc<AtomicU64>,
    /// The journal has more than was pulled.
    more: bool,
    broken: bool,
    /// When the last cycle was.
    looked_at: Timestamp,
    /// The last sign of life that was written; none while none could be.
    beaten: Option<Timestamp>,
    /// When days were seen to.
    days_at: Instant,
}

impl Worker {
    fn load(store: Store, mut given: watch::Receiver<Cards>, findings: Arc<AtomicU64>) -> Result<Self, Error> {
        let mut edits = store.rule_changes();
        edits.mark_unchanged();
        let force = Force::new(given.borrow_and_update().clone(), store.rule_edits_blocking()?);
        let moved = store.readings().handed_over();
        let state = store.rules_state_blocking()?;
        let now = store.clock().now();
        let mut directory = store.directory().changes();
        directory.mark_unchanged();
        // Whatever was not taken since the last beat was not the patients' doing.
        let beaten = store.beat_blocking(true).is_ok().then_some(now);
        let mut live = Live::new(store.clone(), state.position);
        live.learn_outages()?;
        let cards = force.at(now);
        store.put_cards_blocking(cards.records())?;
        let mut engine = Engine::new(live, cards, store.zone().clone(), now);
        let next_end = engine.world_mut().rebind(now);
        for patient in store.directory().patients() {
            engine.refresh(patient, now)?;
        }
        engine.publish(&state.seasons);
        engine.recover(state.scheduled, &state.timers, now)?;
        store.readings().set_consumed(state.position);
        Ok(Self {
            store,
            next_cards: force.next_after(now),
            next_end,
            force,
            engine,
            position: state.position,
            written: state.position,
            written_at: Instant::now(),
            directory,
            moved,
            moves: state.moves,
            moves_written: state.moves,
            missed_moves: true,
            given,
            edits,
            findings,
            more: false,
            broken: false,
            looked_at: now,
            beaten,
            days_at: Instant::now(),
        })
    }

    /// Takes in what the journal has, does what is due, commits. Returns whether anything was done.
    fn cycle(&mut self, haste: Haste) -> Result<bool, Error> {
        self.more = false; // until the journal is asked
        let now = self.store.clock().now();
        // Mornings and silences that a clock which was ahead called over are not over when it is put right.
        self.broken |= now < self.looked_at.minus(CLOCK_MAY_FALL);
        self.looked_at = now;
        if self.broken {
            // What was in memory and not committed is concluded again from the checkpoint.
            *self = Self::load(self.store.clone(), self.given.clone(), self.findings.clone())?;
        }
        let begun = Instant::now();
        let outcome = self.pull(haste, begun);
        self.broken = outcome.is_err();
        self.more &= !self.broken;
        metrics::histogram!("hearthbeat_rules_cycle_seconds").record(begun.elapsed().as_secs_f64());
        outcome
    }

    fn pull(&mut self, haste: Haste, begun: Instant) -> Result<bool, Error> {
        let mut did = self.follow_cards()?;
        self.more = true;
        let mut pulls = 0;
        let goes_on = |pulls| match haste {
            Haste::Usual => pulls < PULLS,
            Haste::Settle => true,
            Haste::Stop => begun.elapsed() < STOP_WITHIN,
        };
        while self.more && goes_on(pulls) {
            pulls += 1;
            let entries = self.store.readings().entries_after(self.position, PULL)?;
            self.follow_directory()?;
            self.more = entries.len() >= PULL;
            let Some(last) = entries.last() else {
                self.engine.hear(None);
                break;
            };
            let position = last.position;
            did = true;
            metrics::counter!("hearthbeat_rules_readings_total").increment(entries.len() as u64);
            self.engine.take(entries.iter().map(|e| (e.message, &e.entry)), self.store.clock().now())?;
            self.position = position;
            self.engine.hear(self.more.then(|| stored_at(&last.entry)));
            if self.more {
                self.commit(false)?;
            }
        }
        let now = self.store.clock().now();
        did |= self.follow_moves(now)?;
        self.engine.clean(now, if haste == Haste::Settle { Pace::All } else { Pace::Fair })?;
        did |= self.engine.run_due(now)?;
        self.commit(haste != Haste::Usual)?;
        self.beat(now, haste)?;
        let may_wait = did && self.days_at.elapsed() < DAYS_EVERY;
        if haste == Haste::Usual && !may_wait && self.engine.is_behind_with_days() {
            self.see_to_days()?;
        }
        Ok(did)
    }

    /// While nobody waits, and once a second all the same: makes days known after a start, and writes those that are.
    fn see_to_days(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        self.days_at = begun;
        while begun.elapsed() < IDLE_WORK {
            if self.engine.warm(WARM)? {
                continue;
            }
            self.engine.keep_days(KEPT);
            return self.commit(false);
        }
        Ok(())
    }

    /// Says that the service lives, and learns of the stretch in which it did not.
    fn beat(&mut self, now: Timestamp, haste: Haste) -> Result<(), Error> {
        let every = if haste == Haste::Settle { BEAT_EVERY_MOVED } else { BEAT_EVERY };
        if haste != Haste::Stop && self.beaten.is_some_and(|last| now >= last && now.since(last) < every) {
            return Ok(());
        }
        let again = self.beaten.is_none();
        match self.store.beat_blocking(again) {
            Ok(()) => self.beaten = Some(now),
            Err(fatal @ StoreError::Fatal(_)) => return Err(fatal.into()),
            Err(_) => self.beaten = None, // a full disk: until it has room again, this is an outage
        }
        if again { self.engine.world_mut().learn_outages() } else { Ok(()) }
    }

    /// The next moment at which there is something to do without being told.
    fn next_due(&self) -> Option<Timestamp> {
        self.engine.next_due().into_iter().chain(self.next_cards).chain(self.next_end).min()
    }

    fn commit(&mut self, force: bool) -> Result<(), Error> {
        let concluded = self.engine.has_concluded();
        // Weeks that wait to be judged again are known only in memory: the position must not pass the readings that
        // made them wait.
        let may_move = !self.engine.is_dirty();
        let moved = may_move && (self.position > self.written || self.moves > self.moves_written);
        if concluded || (moved && (force || self.written_at.elapsed() >= POSITION_EVERY)) {
            let mut batch = self.engine.concluded();
            batch.moves = may_move.then_some(self.moves);
            batch.position = if may_move { self.position } else { self.written };
            let new = batch.new.len() as u64;
            let rules: Vec<_> = batch.new.iter().map(|(draft, _)| draft.rule.to_string()).collect();
            crash::point("rules.before_commit");
            self.store.commit_findings_blocking(batch)?;
            for rule in rules {
                metrics::counter!("hearthbeat_rules_findings_total", "rule" => rule).increment(1);
            }
            crash::point("rules.after_commit");
            self.findings.fetch_add(new, Relaxed);
            if may_move {
                (self.written, self.moves_written) = (self.position, self.moves);
                self.store.readings().set_moves_taken(self.moves);
            }
            self.written_at = Instant::now();
        }
        if may_move {
            self.store.readings().set_consumed(self.position);
        }
        Ok(())
    }

    /// Whether the written position is behind.
    const fn behind(&self) -> bool {
        self.written < self.position || self.moves_written < self.moves
    }
}
