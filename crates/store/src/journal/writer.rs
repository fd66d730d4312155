//! The commit thread: takes what is queued, lets it be judged, one transaction, one fsync, answers all.

use super::{
    DeviceHistory, Shared,
    checkpoint::{self, Checkpointer},
    desk::{Changes, Desk, Ground, Histories, note, note_held, stored_history},
    keeping::{Stretch, widen},
    lines,
    memory::{Memory, Memtable},
    merge::{Merge, Step, freeze},
    places,
    queue::{self, Job, Message},
    row::{Row, week},
    tables::{self, Half, fault},
};
use crate::{Directory, StoreError};
use runtime::Drain;
use rusqlite::Connection;
use std::{
    collections::{
        BTreeMap,
        hash_map::Entry::{Occupied, Vacant},
    },
    ops::RangeInclusive,
    path::Path,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use vitals::DeviceKey;

/// Rows in memory at which they are frozen and merged. More makes a merge cheaper a row, and a restart slower.
pub(super) const FREEZE: usize = 128 * 1024;
/// A merge is spread over the time in which the half that is being filled gets this full, in eighths: faster, and commits
/// are slow while it lasts and fast after it; slower, and it would not end before the next begins.
const MERGED_AT: usize = 7;
/// Rows merged for each fresh one, at most.
const FASTEST_MERGE: usize = 4;
/// Rows merged at once while readings arrive: a merge after each small commit would write the same pages again and again.
/// More where commits are large, so many times the rows of one, up to the second number: each step costs a look at every
/// page in memory, and who comes with so many others waits for a processor anyway.
const MERGE_STEP: RangeInclusive<usize> = 512..=2048;
const MERGE_COMMITS: usize = 8;
/// Commits after which the write-ahead log's length is looked at, beside every step of a merge.
const LOOK_AT_LOG: u32 = 32;
/// Rows merged at once while nobody waits.
pub(super) const IDLE_MERGE: usize = 500;
/// Pages of write-ahead log (8 KiB each) at which it is copied into the file.
pub(super) const CHECKPOINT_PAGES: usize = 500;
/// How often a full disk is tried again while nothing arrives.
const PROBE: Duration = Duration::from_secs(1);

/// The commit thread's own things.
pub(super) struct Writer {
    /// First, so that it is done before the connection is closed.
    checkpointer: Checkpointer,
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) histories: Histories,
    pub(super) directory: Directory,
    pub(super) active: Half,
    pub(super) merge: Option<Merge>,
    next_id: u64,
    /// Rows that a merge under way is behind its pace.
    owed: usize,
    /// Commits since the log's length was looked at.
    unchecked: u32,
    drain: Drain,
}

impl Writer {
    /// Opens the file and rebuilds memory from it.
    pub(super) fn open(
        path: &Path,
        shared: Arc<Shared>,
        directory: Directory,
        drain: Drain,
        concluded: u64,
    ) -> Result<Self, StoreError> {
        let connection = tables::open(path)?;
        let c = &connection;
        let mut memory = Memory { weeks: weeks(c)?, ..Memory::default() };
        load_marks(c, &mut memory)?;
        super::keeping::unfollowed_is_stale(c)?;
        shared.folding.load(c)?;
        shared.newest.load(c)?;
        let frozen = tables::meta(c, "frozen")?.map(|n| if n == 1 { Half::One } else { Half::Zero });
        let mut histories = Histories::default();
        let mut merge = None;
        let mut active = Half::Zero;
        if let Some(half) = frozen {
            let mut table = replay(c, half, &mut histories)?;
            let day = tables::meta(c, "books_day")?.and_then(|d| i32::try_from(d).ok());
            let device = tables::meta(c, "books_device")?.map(DeviceKey::from_i64);
            super::books::after(&mut table.books, day.zip(device));
            merge = Some(Merge::new(half, &table));
            memory.frozen = Some(table);
            active = half.other();
        } else if tables::in_use(c, Half::One)? {
            active = Half::One;
        }
        memory.active = replay(c, active, &mut histories)?;
        let unmerged = memory.tables().filter_map(|table| table.rows.last()).map(|row| row.id).max().unwrap_or(0);
        let held: i64 = c.query_row("SELECT coalesce(max(id), 0) FROM held", [], |r| r.get(0)).map_err(fault)?;
        let highest = held.max(tables::meta(c, "highest")?.unwrap_or(0)).cast_unsigned();
        let highest = highest.max(unmerged).max(places::highest(c)?);
        let highest = no_id_twice(highest, concluded);
        *shared.memory.write() = memory;
        shared.committed.send_replace(highest);
        let checkpointer = Checkpointer::start(path, shared.clone(), drain.clone())?;
        Ok(Self {
            connection,
            shared,
            checkpointer,
            histories,
            directory,
            active,
            merge,
            next_id: highest + 1,
            owed: 0,
            unchecked: 0,
            drain,
        })
    }

    /// Ends when every handle is dropped.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut busy = None;
        loop {
            let first = match jobs.recv_timeout(self.patience()) {
                Ok(job) => job,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.idle();
                    continue;
                }
            };
            let batch = queue::gather(jobs, first, self.shared.group.load(Relaxed), busy);
            busy = batch.busy();
            if !batch.messages.is_empty() {
                self.commit(batch.messages, batch.size);
            }
            // After a fault that may not be retried nothing is written any more: who asked hears `Closed`.
            if let Some(work) = batch.control.filter(|_| !self.dead()) {
                work(&mut self);
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.dead() {
            Duration::from_secs(3600)
        } else if self.shared.disk_full.load(Relaxed) {
            PROBE
        } else if self.merge.is_some() && self.shared.idle_merge.load(Relaxed) > 0 {
            Duration::ZERO
        } else {
            Duration::from_secs(3600)
        }
    }

    fn idle(&mut self) {
        if self.dead() {
            return;
        }
        if self.shared.disk_full.load(Relaxed) {
            // A commit as real as any: only a durable write shows that there is room again.
            let probe = tables::set_meta(&self.connection, "probe", Some(i64::from(self.next_id != 0)));
            self.judge_commit(probe.as_ref().err());
            return;
        }
        self.merge_some(self.shared.idle_merge.load(Relaxed));
        self.checkpoint();
    }

    fn commit(&mut self, mut messages: Vec<Message>, size: usize) {
        let begun = Instant::now();
        let ground = Ground {
            connection: &self.connection,
            memory: &self.shared.memory,
            histories: &self.histories,
            directory: &self.directory,
            next_id: self.next_id,
        };
        let mut desk = Desk::new(ground, size);
        for (day, work) in &mut messages {
            desk.begin(*day);
            work.judge(&mut desk);
        }
        let Desk { changes, failed, .. } = desk;
        let outcome = if self.dead() {
            Err(StoreError::Fatal("journal.db".into()))
        } else if let Some(e) = failed {
            metrics::counter!("hearthbeat_journal_errors_total", "stage" => "judge").increment(1);
            tracing::error!(error = %e, "journal: a look-up failed; nothing of this batch was stored");
            Err(e)
        } else if changes.is_empty() {
            Ok(())
        } else {
            let written = self.write(&changes);
            self.judge_commit(written.as_ref().err());
            written
        };
        let fresh = changes.rows.len();
        if outcome.is_ok() {
            self.take_in(changes);
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.shared.last_commit_micros.store(took, Relaxed);
        }
        self.shared.queued.fetch_sub(size, Relaxed);
        for (_, work) in messages {
            work.answer(outcome.clone());
        }
        if outcome.is_ok() && fresh > 0 {
            metrics::counter!("hearthbeat_journal_commits_total").increment(1);
            metrics::counter!("hearthbeat_journal_rows_total").increment(fresh as u64);
            self.keep_pace(fresh);
        }
    }

    /// Merges as much as `fresh` rows ask for, once it is worth a step, and sees to the log.
    fn keep_pace(&mut self, fresh: usize) {
        self.owed += self.merge_asks(fresh);
        self.unchecked += 1;
        let step = (MERGE_COMMITS * fresh).clamp(*MERGE_STEP.start(), *MERGE_STEP.end());
        let step = step.min(self.shared.freeze_at.load(Relaxed));
        let merges = self.owed >= step;
        if merges {
            self.merge_some(self.owed);
            self.owed = 0;
        }
        let hurried = self.shared.checkpoint_at.load(Relaxed) < CHECKPOINT_PAGES;
        if merges || hurried || self.unchecked >= LOOK_AT_LOG {
            self.unchecked = 0;
            self.checkpoint();
        }
    }

    /// Rows to merge for `fresh` ones.
    fn merge_asks(&self, fresh: usize) -> usize {
        let memory = self.shared.memory.read();
        let (Some(merge), Some(frozen)) = (&self.merge, &memory.frozen) else { return fresh };
        let room = (self.shared.freeze_at.load(Relaxed) * MERGED_AT / 8).saturating_sub(memory.active.rows.len());
        (fresh * merge.left(frozen)).div_ceil(room.max(1)).clamp(fresh, FASTEST_MERGE * fresh)
    }

    /// One transaction, one fsync.
    fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        let c = &self.connection;
        let written = (|| {
            c.execute_batch("BEGIN IMMEDIATE").map_err(fault)?;
            lines::append(c, self.active, &changes.rows)?;
            super::originals::insert(c, changes)?;
            if !changes.duplicates.is_empty() {
                let all: Vec<(i32, u64, u64)> = changes
                    .duplicates
                    .iter()
                    .map(|((day, device), n)| (*day, device.as_i64().cast_unsigned(), *n))
                    .collect();
                tables::insert_duplicates(c, self.active, &all)?;
            }
            self.write_amendments(&changes.amendments)?;
            runtime::crash::point("journal.before_commit");
            c.execute_batch("COMMIT").map_err(fault)?;
            let delay = self.shared.commit_delay_micros.load(Relaxed);
            if delay > 0 {
                std::thread::sleep(Duration::from_micros(delay));
            }
            runtime::crash::point("journal.after_commit");
            Ok(())
        })();
        if written.is_err() {
            let _ = c.execute_batch("ROLLBACK"); // SQLite may have rolled back by itself
            self.shared.newest.undo(c);
        }
        written
    }

    /// What a commit's outcome means for the process: a full disk is waited out, anything else ends it.
    pub(super) fn judge_commit(&self, error: Option<&StoreError>) {
        match error {
            None => {
                if self.shared.disk_full.swap(false, Relaxed) {
                    tracing::info!("journal: there is room again");
                }
            }
            Some(StoreError::DiskFull(_)) => {
                if !self.shared.disk_full.swap(true, Relaxed) {
                    tracing::error!("journal: the disk is full; nothing is acknowledged until there is room");
                }
            }
            Some(e) => {
                self.shared.dead.store(true, Relaxed);
                self.drain.fatal("journal", e);
            }
        }
    }

    fn dead(&self) -> bool {
        self.shared.dead.load(Relaxed)
    }

    /// Makes committed changes visible.
    fn take_in(&mut self, changes: Changes) {
        let highest = changes.rows.last().map(|r| r.id);
        {
            let mut memory = self.shared.memory.write();
            for row in changes.rows {
                memory.active.add(row);
            }
            for ((day, device), n) in changes.duplicates {
                memory.active.count_duplicates(day, device, n);
            }
            memory.take_amendments(&changes.amendments);
            self.shared.log.tell(changes.amendments.readings());
        }
        // Once a week: who keeps a copy makes it again by weeks.
        let mut weeks: BTreeMap<i32, Stretch> = BTreeMap::new();
        changes.amendments.times().for_each(|at| widen(weeks.entry(week(at)).or_default(), at));
        for (first, last) in weeks.into_values().flatten() {
            self.shared.tell_moved(first, last);
        }
        self.histories.extend(changes.histories);
        if let Some(id) = highest {
            self.next_id = id + 1;
            self.shared.committed.send_replace(id);
        }
    }

    /// Goes on with a merge, or begins one when memory is full enough.
    pub(super) fn merge_some(&mut self, budget: usize) {
        let moved = match self.merge.clone() {
            Some(merge) => merge.step(&self.connection, &self.shared, &self.histories, budget).map(|step| match step {
                Step::More(merge) => self.merge = Some(merge),
                Step::Done => self.merge = None,
            }),
            None if self.shared.memory.read().active.rows.len() < self.shared.freeze_at.load(Relaxed) => return,
            None => freeze(&self.connection, &self.shared.memory, self.active).map(|merge| {
                self.merge = Some(merge);
                self.active = self.active.other();
            }),
        };
        if let Err(e) = moved {
            metrics::counter!("hearthbeat_journal_errors_total", "stage" => "merge").increment(1);
            self.judge_commit(Some(&e));
        }
    }

    /// Sees that the write-ahead log is copied into the file once it is long enough.
    pub(super) fn checkpoint(&self) {
        if self.checkpointer.has_copied() {
            // Little is left to copy; when all of the log is in the file, the next commit begins it anew.
            if let Err(e) = checkpoint::copy(&self.connection) {
                self.judge_commit(Some(&e));
            }
            return;
        }
        let Ok((frames, copied)) = checkpoint::ask(&self.connection, "PRAGMA wal_checkpoint(NOOP)") else { return };
        let left = usize::try_from(frames.max(0) - copied.max(0)).unwrap_or(0);
        if left >= self.shared.checkpoint_at.load(Relaxed) {
            self.checkpointer.begin();
        }
    }

    /// A device's history, for those who are not at a desk.
    pub(super) fn history(&mut self, device: DeviceKey) -> Result<&mut DeviceHistory, StoreError> {
        match self.histories.entry(device) {
            Occupied(found) => Ok(found.into_mut()),
            Vacant(empty) => Ok(empty.insert(stored_history(&self.connection, device)?)),
        }
    }
}

/// The highest id that was ever given. The registry knows ids that the journal does not when the disk lost what it had
/// promised to keep: it is said, and no new reading gets such an id, for rules would take it for concluded.
fn no_id_twice(highest: u64, concluded: u64) -> u64 {
    if concluded > highest {
        let lost = concluded - highest;
        metrics::counter!("hearthbeat_journal_errors_total", "stage" => "lost").increment(1);
        tracing::error!(
            highest,
            concluded,
            "journal: acknowledged readings are MISSING: up to {lost}, the last that were received; the disk lost what \
             it had synced. Replace it; what the backup has more, `restore` brings back"
        );
    }
    highest.max(concluded)
}

/// Rebuilds one half's memory, and what it adds to the devices' histories.
fn replay(c: &Connection, half: Half, histories: &mut Histories) -> Result<Memtable, StoreError> {
    let mut table = Memtable::default();
    lines::each(c, half, &mut |row: Row| {
        let device = row.device();
        let history = match histories.entry(device) {
            Occupied(found) => found.into_mut(),
            Vacant(empty) => empty.insert(stored_history(c, device)?),
        };
        match &row.entry {
            vitals::Entry::Reading(r) => note(history, r, row.ordering()),
            vitals::Entry::Held(h) => note_held(history, h, row.ordering()),
        }
        table.add(row);
        Ok(())
    })?;
    tables::each_duplicate(c, half, &mut |day, device, n| table.count_duplicates(day, device, n))?;
    Ok(table)
}

/// The weeks of which `series` has readings, by skipping from one to the next.
pub(super) fn weeks(c: &Connection) -> Result<std::collections::BTreeSet<i32>, StoreError> {
    let mut all = std::collections::BTreeSet::new();
    let mut statement = c.prepare("SELECT min(wk) FROM series WHERE wk > ?1").map_err(fault)?;
    let mut at = i32::MIN;
    while let Some(next) = statement.query_row([at], |r| r.get::<_, Option<i32>>(0)).map_err(fault)? {
        all.insert(next);
        at = next;
    }
    Ok(all)
}

fn load_marks(c: &Connection, memory: &mut Memory) -> Result<(), StoreError> {
    let mut discarded = c.prepare("SELECT id FROM discarded").map_err(fault)?;
    for id in discarded.query_map([], |r| r.get::<_, i64>(0)).map_err(fault)? {
        memory.discarded.insert(vitals::ReadingId::from_i64(id.map_err(fault)?));
    }
    memory.load_released(c)?;
    let mut assigned = c.prepare("SELECT id, patient FROM assigned").map_err(fault)?;
    for row in assigned.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?))).map_err(fault)? {
        let (id, patient) = row.map_err(fault)?;
        memory.assigned.insert(vitals::ReadingId::from_i64(id), vitals::PatientId::from_i64(patient));
    }
    Ok(())
}
