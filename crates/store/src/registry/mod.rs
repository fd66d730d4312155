//! `registry.db`: one writer thread with group commit, a few readers.
//!
//! Every module below brings its own `SCHEMA` and its own typed questions as `impl Store`.
//! A write is a closure that runs in a savepoint of the shared transaction: if it fails, only it is undone.

pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod burden;
pub(crate) mod cards;
pub(crate) mod commands;
pub(crate) mod devices;
pub mod directory;
pub(crate) mod edge;
mod episode_rows;
pub(crate) mod episodes;
pub(crate) mod erase;
pub(crate) mod findings;
pub(crate) mod keeping;
pub(crate) mod mqtt_sessions;
pub(crate) mod order;
pub(crate) mod outages;
pub(crate) mod outbox;
pub(crate) mod patient_days;
pub(crate) mod people;
pub(crate) mod presence;
pub(crate) mod roster;
pub(crate) mod rule_edits;
mod schema;
pub(crate) mod sessions;
pub(crate) mod unsettled;
pub(crate) mod worklist;

use crate::{
    StoreError,
    readers::{Readers, plan_once},
};
use directory::Directory;
use runtime::Drain;
use rusqlite::Connection;
use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};
use tokio::sync::{oneshot, watch};

/// Waiting writes. Full: the caller waits (back-pressure ends at the HTTP client or the stage).
const WRITE_QUEUE: usize = 1024;
/// Writes in one transaction; bounds how long the first waits for the last.
const GROUP: usize = 256;
/// Pages of write-ahead log (4 KiB each) at which it is copied into the file.
const CHECKPOINT_PAGES: i64 = 2000;

/// What the writer thread is asked to do.
enum Job {
    /// A write in the shared transaction.
    Write(Write),
    /// Something that must run outside any transaction; nothing is committed meanwhile.
    Alone(Box<dyn FnOnce(&Connection) + Send>),
}

/// Its fault beside what finishes it: SQLite may have taken the whole transaction back for it.
type Write = Box<dyn FnOnce(&Connection) -> (Option<StoreError>, Finish) + Send>;
/// Told to the waiting caller after the commit, with its outcome.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    writer: mpsc::SyncSender<Job>,
    readers: Arc<Readers>,
    directory: Directory,
    /// Highest sequence of the log of findings.
    finding_changes: watch::Sender<i64>,
    commands: commands::CommandBell,
    /// Counts edits of rules.
    rule_changes: watch::Sender<u64>,
    live: Arc<roster::Live>,
    worklist: Arc<worklist::Worklist>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let c = Connection::open(path)?;
    c.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=5000;
         PRAGMA temp_store=MEMORY; PRAGMA cache_size=-32768; PRAGMA wal_autocheckpoint=0;
         PRAGMA secure_delete=ON;",
    )?;
    c.set_prepared_statement_cache_capacity(128);
    plan_once(&c)?;
    Ok(c)
}

impl Registry {
    pub(crate) fn open(path: &Path, drain: &Drain) -> Result<Self, StoreError> {
        let mut connection = connect(path)?;
        schema::migrate(&mut connection, path)?;
        let directory = Directory::load(&connection)?;
        let finding_changes = watch::Sender::new(findings::last_event(&connection)?);
        let live = Arc::new(roster::Live::load(&connection)?);
        let (writer, jobs) = mpsc::sync_channel(WRITE_QUEUE);
        let drain = drain.named("registry writer");
        thread::Builder::new()
            .name("registry".into())
            .spawn(move || write_loop(&connection, &jobs, &drain))
            .map_err(|e| StoreError::Database { what: "registry thread", reason: e.to_string() })?;
        let readers = Readers::new(path, open_reader);
        Ok(Self {
            writer,
            readers: Arc::new(readers),
            directory,
            finding_changes,
            commands: commands::CommandBell::default(),
            rule_changes: watch::Sender::new(0),
            live,
            worklist: Arc::default(),
        })
    }

    pub(crate) const fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) const fn live(&self) -> &Arc<roster::Live> {
        &self.live
    }

    pub(crate) const fn worklist(&self) -> &Arc<worklist::Worklist> {
        &self.worklist
    }

    pub(crate) const fn commands(&self) -> &commands::CommandBell {
        &self.commands
    }

    /// Whether a write can be committed now: an empty transaction, as every write takes it.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        self.write(|c| Ok(c.execute_batch("UPDATE alert_meta SET value = value WHERE key = 'ping'")?)).await
    }

    /// Runs `work` in the next transaction; returns after its fsync. An error undoes this work only.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_then(work, |_| ()).await
    }

    /// As [`Registry::write`]; `then` runs on the writer thread right after the commit, so that what it puts into
    /// memory is in the order of the file.
    pub(crate) async fn write_then<T, F>(
        &self,
        work: F,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = job(work, move |r: Result<T, StoreError>| {
            if let Ok(done) = &r {
                then(done);
            }
            let _ = answer.send(r);
        });
        let writer = self.writer.clone();
        if let Err(mpsc::TrySendError::Full(job)) = writer.try_send(job) {
            tokio::task::spawn_blocking(move || writer.send(job)).await.ok();
        }
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Runs `work` on the writer's connection between two transactions.
    pub(crate) async fn alone<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let writer = self.writer.clone();
        let job = Job::Alone(Box::new(move |c: &Connection| {
            let _ = answer.send(work(c));
        }));
        tokio::task::spawn_blocking(move || writer.send(job)).await.ok();
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// As [`Registry::write`], for threads and the command line.
    pub(crate) fn write_blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = mpsc::sync_channel(1);
        let job = job(work, move |r| {
            let _ = answer.send(r);
        });
        self.writer.send(job).map_err(|_| StoreError::Closed)?;
        answered.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Runs `work` on a read-only connection, on a blocking thread.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.read_blocking(work)).await.unwrap_or(Err(StoreError::Closed))
    }

    /// As [`Registry::read`], on this thread.
    pub(crate) fn read_blocking<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.readers.with(work)
    }
}

fn job<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    answer: impl FnOnce(Result<T, StoreError>) + Send + 'static,
) -> Job {
    Job::Write(Box::new(move |connection| {
        let result = in_savepoint(connection, work);
        (result.as_ref().err().cloned(), Box::new(move |committed| answer(committed.and(result))))
    }))
}

fn in_savepoint<T>(c: &Connection, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    c.execute_batch("SAVEPOINT job")?;
    let result = work(c);
    if c.is_autocommit() {
        return result; // a statement found no room, and SQLite has taken the savepoint and all around it back
    }
    c.execute_batch(if result.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" })?;
    result
}

/// Ends when every handle is dropped, or at a fault that may not be retried.
fn write_loop(connection: &Connection, jobs: &mpsc::Receiver<Job>, drain: &Drain) {
    let mut waiting: VecDeque<Job> = VecDeque::new();
    let mut dead = false;
    while let Some(job) = waiting.pop_front().or_else(|| jobs.recv().ok()) {
        if dead {
            continue; // the process is ending: who waits hears `Closed`, and the file is not touched any more
        }
        let mut batch = match job {
            Job::Write(first) => VecDeque::from([first]),
            Job::Alone(work) => {
                work(connection);
                continue;
            }
        };
        while batch.len() < GROUP
            && let Some(job) = waiting.pop_front().or_else(|| jobs.try_recv().ok())
        {
            match job {
                Job::Write(write) => batch.push_back(write),
                alone @ Job::Alone(_) => {
                    waiting.push_front(alone);
                    break;
                }
            }
        }
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        if let Err(e) = begun {
            let e = StoreError::from(e);
            drop(batch); // each waiting caller hears `Closed`, and nothing was written
            metrics::counter!("hearthbeat_registry_errors_total", "stage" => "begin").increment(1);
            tracing::error!(error = %e, "registry transaction did not begin");
            continue;
        }
        let (finishes, outcome) = transaction(connection, &mut batch);
        // Those that were not begun come before whoever came later.
        batch.into_iter().rev().for_each(|write| waiting.push_front(Job::Write(write)));
        if let Err(e) = &outcome {
            tracing::error!(error = %e, "registry commit failed");
            let _ = connection.execute_batch("ROLLBACK");
            if !matches!(e, StoreError::DiskFull(_)) {
                drain.fatal("registry", e);
                dead = true;
            }
        }
        finishes.into_iter().for_each(|finish| finish(outcome.clone()));
        if outcome.is_ok()
            && let Err(e) = checkpoint(connection)
        {
            drain.fatal("registry", e);
            dead = true;
        }
    }
}

/// Does what is in `batch` in the transaction that is open, and commits it. Where SQLite takes it back by itself, as for a
/// statement that finds no room, nothing more is done: it would be done outside any transaction, and stay.
fn transaction(connection: &Connection, batch: &mut VecDeque<Write>) -> (Vec<Finish>, Result<(), StoreError>) {
    let mut finishes = Vec::with_capacity(batch.len());
    while let Some(work) = batch.pop_front() {
        let (fault, finish) = work(connection);
        finishes.push(finish);
        if connection.is_autocommit() {
            // Work that swallowed its fault: nothing but want of room is known to end here.
            return (finishes, Err(fault.unwrap_or_else(|| StoreError::DiskFull("registry.db".into()))));
        }
    }
    runtime::crash::point("registry.before_commit");
    let outcome = connection.execute_batch("COMMIT").map_err(StoreError::from);
    runtime::crash::point("registry.after_commit");
    (finishes, outcome)
}

/// Copies the write-ahead log into the file once it is long enough. By hand, because SQLite's own hides a failed fsync.
fn checkpoint(connection: &Connection) -> Result<(), StoreError> {
    let ask = |sql| connection.query_row(sql, [], |r| Ok((r.get::<_, i64>(1)?, r.get::<_, i64>(2)?)));
    match ask("PRAGMA wal_checkpoint(NOOP)") {
        Ok((frames, copied)) if frames.max(0) - copied.max(0) >= CHECKPOINT_PAGES => {}
        _ => return Ok(()),
    }
    match ask("PRAGMA wal_checkpoint(PASSIVE)").map_err(StoreError::from) {
        // The log holds everything, synced; copying is tried again after the next commit.
        Err(StoreError::DiskFull(_)) => tracing::warn!("registry: no room to shorten the write-ahead log"),
        Err(e) => return Err(e),
        Ok(_) => {}
    }
    Ok(())
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    connection.execute_batch("PRAGMA query_only=ON")?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod worklist_tests;
