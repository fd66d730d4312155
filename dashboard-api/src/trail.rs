//! The way of audit rows to the store: in order, many in one transaction, without making a read wait for an fsync.
//!
//! A change waits until its row is durable; a read only until its row is in the queue.

use parking_lot::Mutex;
use runtime::Drain;
use store::{AuditRow, Store};
use tokio::sync::{mpsc, oneshot};

/// Rows on their way. Full: the answer to the caller waits (nothing is done without being written down).
const QUEUE: usize = 4096;
/// Rows in one transaction.
const BATCH: usize = 512;

enum Item {
    Row(Box<AuditRow>),
    Flush(oneshot::Sender<()>),
}

/// The handle.
#[derive(Debug)]
pub(crate) struct Trail(Mutex<Option<mpsc::Sender<Item>>>);

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Item")
    }
}

impl Trail {
    pub(crate) fn start(store: Store, drain: &Drain) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let drain = drain.named("audit");
        tokio::spawn(async move {
            write_rows(store, receiver).await;
            drop(drain);
        });
        Self(Mutex::new(Some(sender)))
    }

    /// Puts a row in the queue.
    pub(crate) async fn note(&self, row: AuditRow) {
        let sender = self.0.lock().clone();
        if let Some(sender) = sender {
            let _ = sender.send(Item::Row(Box::new(row))).await;
        }
    }

    /// Returns when every row noted before is durable.
    pub(crate) async fn flush(&self) {
        let sender = self.0.lock().clone();
        let Some(sender) = sender else { return };
        let (done, wait) = oneshot::channel();
        if sender.send(Item::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// Takes no more rows; the writer ends when the queue is empty.
    pub(crate) fn close(&self) {
        self.0.lock().take();
    }
}

async fn write_rows(store: Store, mut items: mpsc::Receiver<Item>) {
    let mut batch = Vec::with_capacity(BATCH);
    while items.recv_many(&mut batch, BATCH).await > 0 {
        let (mut rows, mut flushes) = (Vec::with_capacity(batch.len()), Vec::new());
        for item in batch.drain(..) {
            match item {
                Item::Row(row) => rows.push(*row),
                Item::Flush(done) => flushes.push(done),
            }
        }
        let count = rows.len();
        if count > 0
            && let Err(e) = store.append_audit(rows).await
        {
            tracing::error!(error = %e, rows = count, "audit rows were not stored");
            metrics::counter!("hearthbeat_api_audit_lost_total").increment(u64::try_from(count).unwrap_or(u64::MAX));
        }
        for done in flushes {
            let _ = done.send(());
        }
    }
}
