//! The projector's thread: what to do next, and what to do after something went wrong.
//!
//! The rule that makes it simple: every fault, whatever it was, ends the connections and begins again at the last
//! position that was checked. Rows sent twice are one row by deduplication; rows that vanished are found by counting.

use super::{
    Config, Fault, ProjectorHealth, Source, State,
    check::Outlet,
    position::{Position, Quarantine},
    row::week_of,
};
use runtime::Drain;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};
use vitals::Timestamp;

/// So long new readings are gathered before they are sent: larger transactions, at a price that no analyst sees.
const GATHER: Duration = Duration::from_millis(40);
/// Commands that wait. The caller of one more waits for a place.
const COMMANDS: usize = 16;
/// So many times more seldom the rows are counted while catching up.
const CATCH_UP_CHECKS: u64 = 10;
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Answers a command: done, with the number of rows that are in the table now.
type Answer = oneshot::Sender<Result<u64, Fault>>;

enum Command {
    /// These weeks hold a reading that got another patient or time; the number of that change, or 0.
    Rewrite(BTreeSet<i64>, u64, Answer),
    /// Every week may hold one.
    RewriteAll(Answer),
    /// Throw the table away and fill it from the series.
    Rebuild(Answer),
}

/// The running projection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    health: watch::Receiver<ProjectorHealth>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rewrite(..) => "Rewrite",
            Self::RewriteAll(_) => "RewriteAll",
            Self::Rebuild(_) => "Rebuild",
        })
    }
}

impl Handle {
    /// How it does, now.
    pub fn health(&self) -> ProjectorHealth {
        self.health.borrow().clone()
    }

    /// How it does, with a wake-up for every change.
    pub fn changes(&self) -> watch::Receiver<ProjectorHealth> {
        self.health.clone()
    }

    /// Readings measured in `[from, to)` got another patient or time: their weeks are sent again from the series.
    /// Returns once that is durably noted; it is done as soon as QuestDB answers.
    ///
    /// # Errors
    /// When it cannot be noted, or the service is ending.
    pub async fn rewrite(&self, from: Timestamp, to: Timestamp) -> Result<(), Fault> {
        let last = Timestamp::from_micros(to.as_micros().saturating_sub(1).max(from.as_micros()));
        self.rewrite_weeks((week_of(from)..=week_of(last)).collect(), 0).await
    }

    /// The same for changes that the journal tells of, up to the one of this number; [`ProjectorHealth::followed`] says
    /// that they are noted.
    pub(super) async fn rewrite_weeks(&self, weeks: BTreeSet<i64>, number: u64) -> Result<(), Fault> {
        self.ask(|answer| Command::Rewrite(weeks, number, answer)).await.map(|_| ())
    }

    /// As [`Handle::rewrite`] for every week there is, one after the other; the table stays.
    ///
    /// # Errors
    /// As there.
    pub async fn rewrite_all(&self) -> Result<(), Fault> {
        self.ask(Command::RewriteAll).await.map(|_| ())
    }

    /// Throws the table away, fills it from the series and compares counts. Returns the rows in it.
    ///
    /// # Errors
    /// When QuestDB does not answer or the counts differ; the projector goes on trying by itself.
    pub async fn rebuild(&self) -> Result<u64, Fault> {
        self.ask(Command::Rebuild).await
    }

    async fn ask(&self, command: impl FnOnce(Answer) -> Command) -> Result<u64, Fault> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Fault::Stopping)?;
        answered.await.map_err(|_| Fault::Stopping)?
    }
}

/// Starts the projection of `source` on a thread of its own. QuestDB need not be there.
///
/// # Errors
/// [`Fault::Config`] when the configuration cannot work; when `folder` cannot be read.
pub fn start(config: Config, folder: &Path, source: Source, drain: &Drain) -> Result<Handle, Fault> {
    let (commands, waiting) = mpsc::channel(COMMANDS);
    let projector = Projector::new(config, folder, source, drain, waiting)?;
    let health = projector.outlet.health.subscribe();
    std::thread::Builder::new()
        .name("questdb".into())
        .spawn(move || projector.run())
        .map_err(|e| Fault::Config(format!("no thread can be started: {e}")))?;
    Ok(Handle { commands, health })
}

/// `hearthbeat store rebuild` on a stopped service: as [`Handle::rebuild`], on this thread.
///
/// # Errors
/// When QuestDB does not answer or the counts differ. Running it again is safe.
pub fn rebuild(config: Config, folder: &Path, source: Source, drain: &Drain) -> Result<u64, Fault> {
    let (_commands, waiting) = mpsc::channel(1);
    Projector::new(config, folder, source, drain, waiting)?.rebuild()
}

struct Projector {
    folder: PathBuf,
    source: Source,
    commands: mpsc::Receiver<Command>,
    outlet: Outlet,
    /// What is on disk; none before the first fill.
    position: Option<Position>,
    /// Number of the newest change of which `position` knows, whether or not it could be written down.
    told: u64,
    last_check: Instant,
}

impl Projector {
    fn new(
        config: Config,
        folder: &Path,
        source: Source,
        drain: &Drain,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, Fault> {
        config.validate()?;
        let head = *source.committed.borrow();
        // A position beyond the journal is that of another journal (a restored backup): everything is sent again.
        let position = Position::load(folder)?.filter(|p| p.checked <= head);
        let quarantine = Quarantine::load(folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Fault::Config(format!("no runtime can be started: {e}")))?;
        let mut outlet = Outlet::new(config, drain.named("questdb"), Arc::new(runtime), quarantine);
        outlet.begin_at(position.as_ref());
        let noted = position.as_ref().map_or(0, |p| p.rewrite.len() as u64);
        outlet.health.send_modify(|h| h.rewriting = noted);
        Ok(Self { folder: folder.to_owned(), source, commands, outlet, position, told: 0, last_check: Instant::now() })
    }

    fn run(mut self) {
        loop {
            let pause = match self.step() {
                Ok(pause) => pause,
                Err(Fault::Stopping) => break,
                Err(fault) => Some(self.failed(&fault)),
            };
            if let Some(pause) = pause
                && !self.rest(pause)
            {
                break;
            }
        }
        self.outlet.health.send_modify(|h| h.state = State::Stopped);
    }

    /// One piece of work. Some: nothing to do for so long, unless something is committed.
    fn step(&mut self) -> Result<Option<Duration>, Fault> {
        if self.outlet.drain.is_stopping() {
            return Err(Fault::Stopping);
        }
        let head = *self.source.committed.borrow_and_update();
        self.outlet.connect(head)?;
        self.outlet.look()?;
        if self.position.is_none() {
            self.outlet.refill(&mut self.source, None)?;
            self.checked(true)?;
        }
        let config = &self.outlet.config;
        let far = head.saturating_sub(self.outlet.sent) > config.catch_up_batch as u64;
        let limit = if far { config.catch_up_batch } else { config.batch };
        let page = (self.source.after)(self.outlet.sent, limit)?;
        self.outlet.deliver(&page.rows)?;
        self.outlet.sent = page.looked_at(self.outlet.sent, head);
        let at_the_end = self.outlet.sent >= head;
        self.outlet.progress(head, State::CatchingUp);
        self.tidy(at_the_end)?;
        if at_the_end {
            // Only now: what is due to be counted was counted.
            self.outlet.progress(head, State::Live);
        }
        Ok(at_the_end.then(|| self.until_due()))
    }

    /// Counts what is due to be counted, sends again what is noted.
    fn tidy(&mut self, at_the_end: bool) -> Result<(), Fault> {
        if self.outlet.suspicious.is_some_and(|until| self.outlet.sent >= until) {
            return self.checked(true);
        }
        let noted = self.position.as_ref().map(|p| p.rewrite.clone()).unwrap_or_default();
        if at_the_end && !noted.is_empty() {
            // They go first: a row that keeps its key and is acknowledged and lost would leave the former owner's row,
            // and no count would find that.
            self.outlet.drop_weeks(&noted)?;
            self.outlet.refill(&mut self.source, Some(&noted))?;
            self.checked(true)?;
            // Forgotten only now: after a fault before this line they are sent again.
            let Some(position) = &mut self.position else { return Ok(()) };
            position.rewrite.clear();
            position.save(&self.folder)?;
            self.outlet.health.send_modify(|h| h.rewriting = 0);
            return Ok(());
        }
        let unchecked = self.position.as_ref().is_none_or(|p| p.checked < self.outlet.sent);
        // A count waits until all is applied, which the server does best in large blocks: seldom while far behind.
        let every = self.outlet.config.check_seconds * if at_the_end { 1 } else { CATCH_UP_CHECKS };
        if unchecked && self.last_check.elapsed() >= Duration::from_secs(every) {
            return self.checked(false);
        }
        Ok(())
    }

    /// Counts on the server; what agreed becomes the position on disk.
    fn checked(&mut self, everything: bool) -> Result<(), Fault> {
        let weeks = if everything { self.outlet.all_weeks()? } else { self.outlet.touched.clone() };
        self.outlet.check(&mut self.source, weeks, everything)?;
        let before = self.position.take();
        let mut position = before.clone().unwrap_or_default();
        position.checked = self.outlet.sent;
        position.weeks.clone_from(&self.outlet.tally);
        self.outlet.touched.clear();
        if everything {
            self.outlet.suspicious = None;
        }
        let saved = position.save(&self.folder);
        self.last_check = Instant::now();
        if let Err(fault) = saved {
            // What is not written down is not believed: a restart would not know it either.
            self.position = before;
            return Err(fault);
        }
        self.outlet.health.send_modify(|h| {
            h.checked = position.checked;
            h.rewriting = position.rewrite.len() as u64;
            h.recounting &= !everything;
        });
        self.position = Some(position);
        self.followed();
        self.outlet.recovered();
        Ok(())
    }

    fn rebuild(&mut self) -> Result<u64, Fault> {
        // First the position goes: whatever happens now, the next start fills the table from the series.
        self.position = None;
        match std::fs::remove_file(self.folder.join("projector.json")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Fault::Position(e.to_string())),
            _ => {}
        }
        self.outlet.begin_at(None);
        self.outlet.connect(*self.source.committed.borrow())?;
        self.outlet.recreate()?;
        self.outlet.refill(&mut self.source, None)?;
        self.checked(true)?;
        Ok(self.outlet.tally.values().sum())
    }

    /// Everything that is open is given up; what is sent next begins at the last checked position.
    fn failed(&mut self, fault: &Fault) -> Duration {
        self.outlet.begin_at(self.position.as_ref());
        let health = &self.outlet.health;
        let reason = fault.to_string();
        if health.borrow().reason.as_ref() != Some(&reason) {
            tracing::warn!(%reason, "the projection to QuestDB waits; devices and paging do not notice");
        }
        metrics::counter!("hearthbeat_questdb_failures_total").increment(1);
        let committed = *self.source.committed.borrow();
        health.send_modify(|h| {
            h.committed = committed;
            h.failures = h.failures.saturating_add(1);
            h.state = match fault {
                Fault::Suspended => State::Suspended,
                Fault::DiskLow { .. } => State::DiskLow,
                _ => State::Waiting,
            };
            h.reason = Some(reason);
        });
        health.borrow().publish();
        let failures = health.borrow().failures.min(16);
        let longest = Duration::from_secs(self.outlet.config.retry_max_seconds.max(1));
        FIRST_RETRY.saturating_mul(1 << (failures - 1)).min(longest)
    }

    /// How long nothing is due, should nothing be committed.
    fn until_due(&self) -> Duration {
        let config = &self.outlet.config;
        let unchecked = self.position.as_ref().is_none_or(|p| p.checked < self.outlet.sent);
        let check = Duration::from_secs(config.check_seconds).saturating_sub(self.last_check.elapsed());
        let watch = Duration::from_secs(config.watch_seconds);
        if unchecked { check.min(watch) } else { watch }
    }

    /// Waits, does what is asked meanwhile. False: the service is ending.
    fn rest(&mut self, pause: Duration) -> bool {
        enum Woken {
            Time,
            Committed,
            Asked(Option<Command>),
            Stopping,
        }
        let runtime = self.outlet.runtime.clone();
        let trouble = self.outlet.health.borrow().failures > 0;
        let woken = runtime.block_on(async {
            tokio::select! {
                () = self.outlet.drain.stopping() => Woken::Stopping,
                command = self.commands.recv() => Woken::Asked(command),
                // After a fault the pause is kept: new readings make no server well.
                done = self.source.committed.changed(), if !trouble => {
                    if done.is_err() { Woken::Stopping } else { tokio::time::sleep(GATHER).await; Woken::Committed }
                }
                () = tokio::time::sleep(pause) => Woken::Time,
            }
        });
        match woken {
            Woken::Stopping | Woken::Asked(None) => false,
            Woken::Time | Woken::Committed => true,
            Woken::Asked(Some(command)) => {
                self.obey(command);
                true
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Rewrite(weeks, number, answer) => {
                self.told = self.told.max(number);
                let _ = answer.send(self.note(|_| weeks));
            }
            Command::RewriteAll(answer) => {
                let _ = answer.send(self.note(|position| position.weeks.keys().copied().collect()));
            }
            Command::Rebuild(answer) => {
                let done = self.rebuild();
                if let Err(fault) = &done {
                    self.failed(fault);
                }
                let _ = answer.send(done);
            }
        }
    }

    /// Writes down which weeks are to be sent again.
    fn note(&mut self, weeks: impl FnOnce(&Position) -> BTreeSet<i64>) -> Result<u64, Fault> {
        // Nothing was ever filled: the first fill will have it.
        if let Some(position) = &mut self.position {
            let weeks = weeks(position);
            position.rewrite.extend(weeks);
            let noted = position.rewrite.len() as u64;
            self.outlet.health.send_modify(|h| h.rewriting = noted);
            position.save(&self.folder)?;
        }
        self.followed();
        Ok(0)
    }

    /// The position is written down, and with it every week that was told.
    fn followed(&self) {
        let told = self.told;
        self.outlet.health.send_if_modified(|h| std::mem::replace(&mut h.followed, told) != told);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Page;
    use super::*;
    use crate::Moved;

    fn source() -> Source {
        Source {
            committed: watch::Sender::new(0).subscribe(),
            after: Box::new(|position, _| Ok(Page { rows: Vec::new(), position })),
            everything: Box::new(|_, _| Ok(())),
            name: Box::new(|_| "d".parse().unwrap()),
        }
    }

    fn rewrite(projector: &mut Projector, week: i64, number: u64) -> Result<u64, Fault> {
        let (answer, mut answered) = oneshot::channel();
        projector.obey(Command::Rewrite(BTreeSet::from([week]), number, answer));
        answered.try_recv().unwrap()
    }

    #[test]
    fn a_change_that_could_not_be_noted_is_followed_only_when_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("data");
        std::fs::create_dir(&place).unwrap();
        Position::default().save(&place).unwrap();
        let (_handle, drain) = Drain::new();
        let (_commands, waiting) = mpsc::channel(1);
        let mut projector = Projector::new(Config::default(), &place, source(), &drain, waiting).unwrap();
        let followed = |projector: &Projector| projector.outlet.health.borrow().followed;
        std::fs::rename(&place, folder.path().join("away")).unwrap();
        assert!(rewrite(&mut projector, 7, 1).is_err());
        assert_eq!(followed(&projector), 0, "a restart would not know it");
        std::fs::rename(folder.path().join("away"), &place).unwrap();
        rewrite(&mut projector, 8, 2).unwrap();
        assert_eq!(followed(&projector), 2);
        assert_eq!(Position::load(&place).unwrap().unwrap().rewrite, BTreeSet::from([7, 8]), "with what failed before");
    }

    /// What the projector was asked, in order, as it hears it after a long piece of work; and the newest change in it.
    async fn heard(commands: &mut mpsc::Receiver<Command>) -> (&'static str, usize, u64) {
        match commands.recv().await.unwrap() {
            Command::Rewrite(weeks, number, answer) => {
                answer.send(Ok(0)).unwrap();
                ("weeks", weeks.len(), number)
            }
            Command::RewriteAll(answer) => {
                answer.send(Ok(0)).unwrap();
                ("all", 0, 0)
            }
            Command::Rebuild(_) => panic!(),
        }
    }

    #[tokio::test]
    async fn changes_that_come_while_the_projector_is_busy_are_told_together_and_do_not_cost_the_whole_table() {
        let (commands, mut asked) = mpsc::channel(COMMANDS);
        let handle = Handle { commands, health: watch::Sender::new(ProjectorHealth::default()).subscribe() };
        let (tell, moved) = tokio::sync::broadcast::channel(1024);
        let follower = tokio::spawn(super::super::follow(moved, handle));
        for number in 1..=3_000_u64 {
            let at = Timestamp::from_seconds(i64::try_from(number % 3).unwrap() * 604_800);
            tell.send(Moved { number, times: (at, at) }).unwrap();
            if number % 50 == 0 {
                tokio::task::yield_now().await; // so that the follower hears of all of them
            }
        }
        assert_eq!(heard(&mut asked).await.0, "weeks");
        assert_eq!(heard(&mut asked).await, ("weeks", 3, 3_000));
        drop(tell);
        follower.await.unwrap();
        assert!(asked.recv().await.is_none(), "nothing more");
    }
}
