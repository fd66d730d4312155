//! `journal.db`: readings, on a thread of its own. One transaction and one fsync for whatever is queued; only then
//! anybody is answered.
//!
//! The way of a reading: appended to a journal table (the commit point) and put into memory; later merged, sorted,
//! into tables that are clustered by what is asked (week, owner, time). Questions are answered from memory ∪ tables.
//! Goes in: [`Desk`] work, which judges on the commit thread, in order. Comes out: durable rows, and answers.
//! Must never: judge a reading, know a format, retry an fsync that failed.

mod amend;
mod attribution;
mod books;
mod checkpoint;
mod clustered;
mod days;
mod desk;
mod erase;
mod fill;
mod glance;
mod history;
mod keeping;
mod lines;
mod measured;
mod memory;
mod merge;
mod moves;
mod neighbours;
mod numbers;
mod numbers_before;
mod originals;
mod originals_erase;
mod originals_form;
mod packed;
mod past;
mod places;
mod query;
mod queue;
mod recount;
mod retention;
mod row;
mod snapshot;
mod tables;
mod writer;

pub use days::{Basis, DaysQuery, Folded};
pub use desk::{Desk, NewHeld, NewReading};
pub use erase::{ErasedReadings, Worn};
pub use glance::Glance;
pub use history::{DeviceHistory, Epoch, Span};
pub use keeping::ERASED;
pub(crate) use measured::Measured;
pub use moves::{HandedOver, Handover, Moves};
pub use neighbours::Between;
pub use originals::Original;
pub use recount::{DayBooks, Mismatch, Recount};
pub use retention::{Dropped, Keep};
pub use row::{fingerprint, number_without_clock, number_without_counter};
pub use snapshot::Snapshot;

use crate::readers::Readers;
use crate::{Directory, StoreError};
use jiff::civil::Date;
use memory::Memory;
use parking_lot::RwLock;
use queue::{Job, Judgement};
use runtime::Drain;
use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc,
    },
    thread,
};
use tokio::sync::{broadcast, oneshot, watch};
use vitals::{DeviceKey, Entry, Kind, PatientId, ReadingId, Timestamp};
use writer::Writer;

/// Of the commit thread, as `nice` counts: -20 is the highest, 0 is everybody's.
const PRIORITY: i32 = -10;

/// The readings side of the store. Cheap to clone; the commit thread ends when the last clone is dropped.
#[derive(Clone)]
pub struct Readings {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

/// Changes of owner that a listener may be behind; the oldest are dropped and the listener is told so.
const MOVED: usize = 1024;

/// What readers and the commit thread share.
pub(crate) struct Shared {
    path: PathBuf,
    memory: RwLock<Memory>,
    readers: Readers,
    committed: watch::Sender<u64>,
    /// Measurement times, first and last included, of readings that got another patient.
    moved: broadcast::Sender<Moved>,
    /// How often that was told.
    moves: AtomicU64,
    /// The same readings, one by one.
    log: moves::Log,
    /// Readings that wait for their commit.
    queued: AtomicUsize,
    folding: days::Folding,
    newest: days::Newest,
    consumed: AtomicU64,
    /// Rows in memory at which they are frozen; tests make it small.
    freeze_at: AtomicUsize,
    /// Pages of write-ahead log at which it is copied into the file; tests make it small.
    checkpoint_at: AtomicUsize,
    /// Rows merged at once while nobody waits; tests turn it off.
    idle_merge: AtomicUsize,
    last_commit_micros: AtomicU64,
    /// Added to every commit by a bench.
    commit_delay_micros: AtomicU64,
    /// Readings in one transaction; a bench makes it small.
    group: AtomicUsize,
    disk_full: AtomicBool,
    dead: AtomicBool,
}

impl std::fmt::Debug for Readings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readings")
    }
}

/// Stored readings changed: whoever shows copies of them shows them wrong until these are made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// From 1, without gaps.
    pub number: u64,
    /// First and last measurement time.
    pub times: (Timestamp, Timestamp),
}

impl Shared {
    /// Tells it. Before whoever asked for the change is answered.
    fn tell_moved(&self, first: Timestamp, last: Timestamp) {
        let number = 1 + self.moves.fetch_add(1, SeqCst);
        // Nobody listens where there is no projection.
        let _ = self.moved.send(Moved { number, times: (first, last) });
    }
}

/// Which readings of one patient.
#[derive(Clone, Debug)]
pub struct ReadingQuery {
    /// Whose.
    pub patient: PatientId,
    /// Only this kind; both where absent.
    pub kind: Option<Kind>,
    /// First moment of measurement.
    pub from: Timestamp,
    /// First moment no longer.
    pub to: Timestamp,
    /// Only what comes after this reading in the order (measured, id): the last one of the page before.
    pub after: Option<(Timestamp, ReadingId)>,
    /// At most so many.
    pub limit: usize,
}

/// One line of the journal, for those who read it in order.
#[derive(Clone, Debug)]
pub struct JournalEntry {
    /// Where it stands; grows, with gaps.
    pub position: u64,
    /// The same for all readings that came in one message.
    pub message: u64,
    /// A reading, or something held.
    pub entry: Entry,
}

/// A stored reading as its device numbered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The reading.
    pub id: ReadingId,
    /// In which epoch of the device.
    pub epoch: u32,
    /// The device's own time, as sent.
    pub told: Option<Timestamp>,
    /// [`fingerprint`] of its values.
    pub fingerprint: u64,
}

/// What one device sent on one day, counted in readings. `accepted` is the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookRow {
    /// Which device.
    pub device: DeviceKey,
    /// Kept (flagged, excluded and unassigned too).
    pub stored: u64,
    /// Known already.
    pub duplicate: u64,
    /// Held back.
    pub quarantined: u64,
    /// Reserved by the contract: none in version 1.
    pub rejected: u64,
}

impl BookRow {
    /// Everything that was acknowledged.
    pub const fn accepted(&self) -> u64 {
        self.stored + self.duplicate + self.quarantined + self.rejected
    }
}

/// How the journal does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalHealth {
    /// Readings waiting for their commit.
    pub queued: usize,
    /// How long the last commit took, fsync included.
    pub last_commit_micros: u64,
    /// The last commit failed because the disk is full; nothing was acknowledged; it is tried again by itself.
    pub disk_full: bool,
    /// A commit failed in a way after which nothing may be written; the process is ending.
    pub dead: bool,
    /// Highest committed position.
    pub position: u64,
    /// Up to where rules have concluded.
    pub consumed: u64,
    /// Rows that are in the journal and memory but not yet merged.
    pub unmerged: usize,
}

/// Lets the calling thread run as soon as its fsync is done, even while the processors are busy with reading sockets:
/// everybody waits for it. Where the system does not allow that (no `CAP_SYS_NICE`), everybody waits a little longer.
fn go_before_others() {
    let allowed = rustix::process::setpriority_process(None, PRIORITY).is_ok();
    tracing::debug!(allowed, "journal: a higher priority for the commit thread");
}

impl Readings {
    /// Opens the file, rebuilds memory from it and starts the commit thread. `concluded`: the position up to which the
    /// registry has conclusions; a journal that ends before it has lost readings, which is said.
    pub(crate) fn open(path: &Path, directory: Directory, drain: &Drain, concluded: u64) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            memory: RwLock::default(),
            readers: Readers::new(path, tables::open_reader),
            committed: watch::Sender::new(0),
            moved: broadcast::Sender::new(MOVED),
            moves: AtomicU64::new(0),
            log: moves::Log::new(MOVED),
            queued: AtomicUsize::new(0),
            folding: days::Folding::default(),
            newest: days::Newest::default(),
            consumed: AtomicU64::new(0),
            freeze_at: AtomicUsize::new(writer::FREEZE),
            checkpoint_at: AtomicUsize::new(writer::CHECKPOINT_PAGES),
            idle_merge: AtomicUsize::new(writer::IDLE_MERGE),
            last_commit_micros: AtomicU64::new(0),
            commit_delay_micros: AtomicU64::new(0),
            group: AtomicUsize::new(queue::GROUP),
            disk_full: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        });
        let writer = Writer::open(path, shared.clone(), directory, drain.named("journal writer"), concluded)?;
        let (jobs, queue) = mpsc::channel();
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                go_before_others();
                writer.run(&queue);
            })
            .map_err(|e| StoreError::Database { what: "journal thread", reason: e.to_string() })?;
        Ok(Self { jobs, shared })
    }

    /// Queues `work` (at most `size` readings). It runs on the commit thread, in order; the future is ready after
    /// the fsync of what it stored. `day` is that of receipt in the site's zone, for the books.
    ///
    /// The order is that of the calls, however many wait: whoever calls bounds that, by what it has not had answered yet.
    /// A future that is dropped before its turn takes its work along.
    ///
    /// # Errors
    /// Nothing was stored: [`StoreError::DiskFull`], [`StoreError::Fatal`], [`StoreError::Closed`].
    pub fn submit<R, F>(
        &self,
        day: Date,
        size: usize,
        work: F,
    ) -> impl Future<Output = Result<R, StoreError>> + Send + 'static + use<R, F>
    where
        R: Send + 'static,
        F: FnOnce(&mut Desk<'_>) -> Result<R, StoreError> + Send + 'static,
    {
        let (work, waiting) = Judgement::new(work);
        self.shared.queued.fetch_add(size, Relaxed);
        // Without a commit thread nobody answers, and that is the answer.
        let _ = self.jobs.send(Job::Judge { day, size, work });
        waiting.answer()
    }

    /// Runs `work` between two commits.
    async fn control<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |writer: &mut Writer| {
            let _ = answer.send(work(writer));
        });
        self.jobs.send(Job::Control(work)).map_err(|_| StoreError::Closed)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The highest committed position, and a wake-up when it grows.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// Tells of stored readings that got another patient, other values, or were taken out. Somebody who is more than a
    /// thousand changes behind is told that some are missing.
    pub fn moved(&self) -> broadcast::Receiver<Moved> {
        self.shared.moved.subscribe()
    }

    /// The number of the newest such change since this store was opened; 0 before the first.
    pub fn moves(&self) -> u64 {
        self.shared.moves.load(SeqCst)
    }

    /// Rules have concluded everything up to here. Shown in [`Readings::health`]; nothing is dropped because of it.
    pub fn set_consumed(&self, position: u64) {
        self.shared.consumed.fetch_max(position, Relaxed);
    }

    /// Merges already at `rows` in memory and copies the write-ahead log already at `pages`: with a test clock only,
    /// so that a short run meets what otherwise comes every 128 Ki rows.
    pub fn hurry(&self, rows: usize, pages: usize) {
        self.shared.freeze_at.store(rows.max(1), Relaxed);
        self.shared.checkpoint_at.store(pages.max(1), Relaxed);
    }

    /// Makes every commit take so much longer, as a slower disk would: for benches.
    #[doc(hidden)]
    pub fn delay_commits(&self, by: std::time::Duration) {
        self.shared.commit_delay_micros.store(u64::try_from(by.as_micros()).unwrap_or(0), Relaxed);
    }

    /// Takes so many readings, or one message more, into one transaction: for benches.
    #[doc(hidden)]
    pub fn commit_at_most(&self, readings: usize) {
        self.shared.group.store(readings, Relaxed);
    }

    /// Queue, last commit, disk.
    pub fn health(&self) -> JournalHealth {
        JournalHealth {
            queued: self.shared.queued.load(Relaxed),
            last_commit_micros: self.shared.last_commit_micros.load(Relaxed),
            disk_full: self.shared.disk_full.load(Relaxed),
            dead: self.shared.dead.load(Relaxed),
            position: *self.shared.committed.borrow(),
            consumed: self.shared.consumed.load(Relaxed),
            unmerged: self.shared.memory.read().len(),
        }
    }
}

#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
