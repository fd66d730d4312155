//! `journal.db`: readings, on a thread of its own. One transaction and one fsync for whatever is queued; only then
//! anybody is answered.
//!
//! The way of a reading: appended to a journal table (the commit point) and put into memory; later merged, sorted,
//! into tables that are clustered by what is asked (week, owner, time). Questions are answered from memory ∪ tables.
//! Goes in: [`Desk`] work, which judges on the commit thread, in order. Comes out: durable rows, and answers.
//! Must never: judge a reading, know a format, retry an fsync that failed.

mod history;

pub use history::{DeviceHistory, Epoch, Span};

use crate::StoreError;
use jiff::civil::Date;
use std::{future::Future, sync::Arc};
use tokio::sync::watch;
use vitals::{Binding, DeviceKey, Entry, Held, Kind, PatientId, Reading, ReadingId, Timestamp};

/// The readings side of the store. Cheap to clone.
#[derive(Clone)]
pub struct Readings(Arc<Shared>);

struct Shared {
    committed: watch::Sender<u64>,
}

impl std::fmt::Debug for Readings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readings")
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
    pub entry: Arc<Entry>,
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

impl Readings {
    pub(crate) fn open(
        _path: &std::path::Path,
        _directory: crate::Directory,
        _drain: &runtime::Drain,
    ) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Shared { committed: watch::Sender::new(0) })))
    }

    /// Ascending by (measured, id), all dispositions.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn range(&self, q: ReadingQuery) -> Result<Vec<Arc<Reading>>, StoreError> {
        self.range_blocking(q)
    }

    /// As [`Readings::range`], on this thread.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn range_blocking(&self, _q: ReadingQuery) -> Result<Vec<Arc<Reading>>, StoreError> {
        Err(StoreError::Closed)
    }

    /// One reading.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn by_id(&self, _id: ReadingId) -> Result<Option<Arc<Reading>>, StoreError> {
        Err(StoreError::Closed)
    }

    /// The reading with the newest measurement time.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn latest(&self, _patient: PatientId) -> Result<Option<Arc<Reading>>, StoreError> {
        Err(StoreError::Closed)
    }

    /// Readings that belong to nobody, ascending by id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn unassigned(&self, _after: Option<ReadingId>, _limit: usize) -> Result<Vec<Arc<Reading>>, StoreError> {
        Err(StoreError::Closed)
    }

    /// What is held, newest first, without what was discarded; `reason` is a word of the contract.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn held(
        &self,
        _reason: Option<String>,
        _after: Option<ReadingId>,
        _limit: usize,
    ) -> Result<Vec<Arc<Held>>, StoreError> {
        Err(StoreError::Closed)
    }

    /// The books of one day (of `receivedAt`, in the site's zone), ascending by device.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn books(&self, _day: Date, _device: Option<DeviceKey>) -> Result<Vec<BookRow>, StoreError> {
        Err(StoreError::Closed)
    }

    /// The journal after `position`, ascending; about `limit` entries, never half a message.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entries_after(&self, _position: u64, _limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        Err(StoreError::Closed)
    }

    /// The highest committed position, and a wake-up when it grows.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.committed.subscribe()
    }

    /// Rules have concluded everything up to here.
    pub fn set_consumed(&self, _position: u64) {}

    /// Gives the stored readings of `device` to whom its present bindings say. Returns how many moved.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn reattribute(&self, _device: DeviceKey) -> Result<usize, StoreError> {
        Err(StoreError::Closed)
    }

    /// Gives one reading to `patient`; later changes of bindings do not take it away.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; when the file cannot be written.
    pub async fn assign(&self, _id: ReadingId, _patient: PatientId) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    /// Takes something held off the list. Its bytes stay in the file, and it stays known when it is sent again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; when the file cannot be written.
    pub async fn discard(&self, _id: ReadingId) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    /// Queue, last commit, disk.
    pub fn health(&self) -> JournalHealth {
        JournalHealth::default()
    }

    /// Queues `work` (at most `size` readings). It runs on the commit thread, in order; the future is ready after
    /// the fsync of what it stored. `day` is that of receipt in the site's zone, for the books.
    ///
    /// # Errors
    /// Nothing was stored: [`StoreError::DiskFull`], [`StoreError::Fatal`], [`StoreError::Closed`].
    pub fn submit<R: Send + 'static>(
        &self,
        _day: Date,
        _size: usize,
        _work: impl FnOnce(&mut Desk<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<R, StoreError>> + Send + 'static {
        async { Err(StoreError::Closed) }
    }

    /// Every stored reading, in one consistent snapshot, in no order.
    ///
    /// # Errors
    /// When the file cannot be read, or what `f` says.
    pub fn export_readings(
        &self,
        _f: &mut dyn FnMut(&Reading) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    /// Everything held, in one consistent snapshot, in no order.
    ///
    /// # Errors
    /// When the file cannot be read, or what `f` says.
    pub fn export_held(&self, _f: &mut dyn FnMut(&Held) -> Result<(), StoreError>) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
}

/// What the commit thread shows to the judgement: who sent what before, who wore the device.
pub struct Desk<'a> {
    bindings: &'a dyn Fn(DeviceKey) -> Arc<[Binding]>,
}

impl Desk<'_> {
    /// Who wore `device` when.
    pub fn bindings(&self, device: DeviceKey) -> Arc<[Binding]> {
        (self.bindings)(device)
    }
}
