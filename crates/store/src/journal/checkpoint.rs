//! The write-ahead log's way into the file: copied by a thread with a connection of its own, so that nobody's commit
//! waits for it; the commit thread copies only what was added meanwhile, and the log begins anew.
//!
//! Goes in: a wish. Comes out: a shorter log. A copy that failed in a way that leaves the disk unknown ends the process.
//! Must never: hide a failed fsync, write a row, be in the way of a commit.

use super::{
    Shared,
    tables::{self, fault},
};
use crate::StoreError;
use runtime::Drain;
use rusqlite::Connection;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

const IDLE: u8 = 0;
const COPYING: u8 = 1;
const COPIED: u8 = 2;

/// Held by the commit thread. Dropping it waits for a copy that is under way.
pub(super) struct Checkpointer {
    wish: Option<SyncSender<()>>,
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

/// Frames of the log and how many of them are in the file already.
pub(super) fn ask(c: &Connection, sql: &str) -> rusqlite::Result<(i64, i64)> {
    c.prepare_cached(sql)?.query_row([], |r| Ok((r.get(1)?, r.get(2)?)))
}

/// Copies what may be copied without waiting for anybody.
///
/// # Errors
/// What after which the disk is unknown; a full disk is only said.
pub(super) fn copy(c: &Connection) -> Result<(), StoreError> {
    match ask(c, "PRAGMA wal_checkpoint(PASSIVE)").map_err(fault) {
        // The log holds everything, synced; copying is tried again after a later commit.
        Err(StoreError::DiskFull(_)) => {
            tracing::warn!("journal: no room to shorten the write-ahead log");
            Ok(())
        }
        other => other.map(drop),
    }
}

impl Checkpointer {
    /// Opens the connection and starts the thread.
    pub(super) fn start(path: &Path, shared: Arc<Shared>, drain: Drain) -> Result<Self, StoreError> {
        let connection = tables::open_copier(path)?;
        let state = Arc::new(AtomicU8::new(IDLE));
        let (wish, wishes) = sync_channel(1);
        let thread = {
            let state = state.clone();
            Builder::new()
                .name("journal-copy".into())
                .spawn(move || run(&connection, &wishes, &state, &shared, &drain))
                .map_err(|e| StoreError::Database { what: "journal thread", reason: e.to_string() })?
        };
        Ok(Self { wish: Some(wish), state, thread: Some(thread) })
    }

    /// Whether a copy has ended since the last time that this was asked: what came meanwhile is little.
    pub(super) fn has_copied(&self) -> bool {
        self.state.compare_exchange(COPIED, IDLE, SeqCst, SeqCst).is_ok()
    }

    /// Begins a copy unless one is under way.
    pub(super) fn begin(&self) {
        if self.state.compare_exchange(IDLE, COPYING, SeqCst, SeqCst).is_ok()
            && let Some(wish) = &self.wish
        {
            let _ = wish.try_send(());
        }
    }
}

fn run(c: &Connection, wishes: &Receiver<()>, state: &AtomicU8, shared: &Shared, drain: &Drain) {
    while wishes.recv().is_ok() {
        runtime::crash::point("journal.before_checkpoint");
        let copied = copy(c);
        runtime::crash::point("journal.after_checkpoint");
        if let Err(e) = copied {
            shared.dead.store(true, SeqCst);
            drain.fatal("journal", e);
            return;
        }
        state.store(COPIED, SeqCst);
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.wish.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
