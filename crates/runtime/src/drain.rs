//! One orderly end: everybody hears of it, says when done, and the late are named.

use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// A fault after which the process must not go on (a failed fsync, a dead router).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{stage}: {reason}")]
pub struct Fatal {
    /// Who noticed.
    pub stage: &'static str,
    /// What happened; no patient data.
    pub reason: String,
}

/// Held by `app`: starts the end and waits for it.
#[derive(Debug)]
pub struct DrainHandle {
    stop: watch::Sender<bool>,
    busy: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    changed: Arc<watch::Sender<u64>>,
    fatal: mpsc::UnboundedReceiver<Fatal>,
}

/// Held by every task that must end in order. Clone it into a task; dropping the clone says "done".
#[derive(Debug)]
pub struct Drain {
    name: &'static str,
    stop: watch::Receiver<bool>,
    busy: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    changed: Arc<watch::Sender<u64>>,
    fatal: mpsc::UnboundedSender<Fatal>,
}

impl Drain {
    /// The pair: one handle for `app`, one root for the stages.
    pub fn new() -> (DrainHandle, Self) {
        let (stop, stopped) = watch::channel(false);
        let (fatal, fatals) = mpsc::unbounded_channel();
        let busy = Arc::new(Mutex::new(BTreeMap::new()));
        let changed = Arc::new(watch::Sender::new(0));
        let handle = DrainHandle { stop, busy: busy.clone(), changed: changed.clone(), fatal: fatals };
        (handle, Self { name: "", stop: stopped, busy, changed, fatal })
    }

    /// A share under a name that can be said to be late.
    #[must_use]
    pub fn named(&self, name: &'static str) -> Self {
        *self.busy.lock().entry(name).or_default() += 1;
        Self {
            name,
            stop: self.stop.clone(),
            busy: self.busy.clone(),
            changed: self.changed.clone(),
            fatal: self.fatal.clone(),
        }
    }

    /// Whether the end has begun.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when the end begins.
    pub async fn stopping(&self) {
        let mut stop = self.stop.clone();
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Ends the process with exit code 1 and this reason.
    pub fn fatal(&self, stage: &'static str, reason: impl std::fmt::Display) {
        let _ = self.fatal.send(Fatal { stage, reason: reason.to_string() });
    }
}

impl Clone for Drain {
    fn clone(&self) -> Self {
        self.named(self.name)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let Some(count) = self.busy.lock().get_mut(self.name) {
            *count = count.saturating_sub(1);
        }
        self.changed.send_modify(|n| *n += 1);
    }
}

impl DrainHandle {
    /// Waits for a fault after which the process must not go on.
    pub async fn fatal(&mut self) -> Fatal {
        match self.fatal.recv().await {
            Some(fatal) => fatal,
            None => std::future::pending().await,
        }
    }

    /// Begins the end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until all shares are dropped, at most `deadline`; returns the names of the late.
    pub async fn drained(&self, deadline: Duration) -> Vec<&'static str> {
        let mut changed = self.changed.subscribe();
        let late = || self.busy.lock().iter().filter(|(n, c)| !n.is_empty() && **c > 0).map(|(n, _)| *n).collect();
        let all_done = async {
            while !Vec::is_empty(&late()) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(deadline, all_done).await;
        late()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_late_are_named() {
        let (handle, root) = Drain::new();
        let quick = root.named("quick");
        let slow = root.named("slow");
        handle.stop();
        quick.stopping().await;
        drop(quick);
        assert_eq!(handle.drained(Duration::from_millis(10)).await, ["slow"]);
        drop(slow);
        assert!(handle.drained(Duration::from_millis(10)).await.is_empty());
    }
}
