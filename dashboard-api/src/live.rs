//! What has just happened, for the pages that are open: one task reads the changes, every stream looks into one ring.
//!
//! Goes in: committed readings and changed alerts. Comes out: ids, never values. Resumes by sequence as long as the ring
//! remembers; whoever fell further behind is told to read anew (`resync`).
//! Must never: hold up a stage or the drain.

use parking_lot::Mutex;
use runtime::Drain;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use store::Store;
use tokio::sync::watch;
use vitals::{AlertId, Entry, PatientId};

/// Events remembered. Full: the oldest goes, and who had not seen it gets `resync`.
const RING: usize = 4096;
/// Entries read at a time.
const PAGE: usize = 512;
/// Between two looks, so that a flood of commits is not a flood of wake-ups.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    pub(crate) name: &'static str,
    /// JSON with ids.
    pub(crate) data: String,
    pub(crate) patient: PatientId,
    /// Whoever was called for it may see it too.
    pub(crate) alert: Option<AlertId>,
}

/// The ring and its readers.
#[derive(Debug, Clone)]
pub(crate) struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Differs at every start, so that an event id of an earlier process is not taken for one of this.
    boot: String,
    ring: Mutex<VecDeque<Arc<Event>>>,
    last: watch::Sender<u64>,
}

/// What a stream has missed.
#[derive(Debug)]
pub(crate) enum Missed {
    /// These.
    Events(Vec<Arc<Event>>),
    /// More than is remembered.
    TooMuch,
}

impl Hub {
    pub(crate) fn start(store: Store, stopping: watch::Receiver<bool>, drain: &Drain) -> Self {
        let boot = crate::password::letters(8).unwrap_or_default();
        let hub = Self(Arc::new(Inner { boot, ring: Mutex::default(), last: watch::Sender::new(0) }));
        let share = drain.named("live stream");
        let follow = hub.clone();
        tokio::spawn(async move {
            follow.follow(store, stopping).await;
            drop(share);
        });
        hub
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.last.subscribe()
    }

    /// The event id that browsers send back.
    pub(crate) fn id(&self, sequence: u64) -> String {
        format!("{}-{sequence}", self.0.boot)
    }

    /// The sequence that an event id stands for, if this process gave it.
    pub(crate) fn sequence(&self, id: &str) -> Option<u64> {
        id.strip_prefix(self.0.boot.as_str())?.strip_prefix('-')?.parse().ok()
    }

    pub(crate) fn last(&self) -> u64 {
        *self.0.last.borrow()
    }

    /// What came after `sequence`, at most `most`.
    pub(crate) fn after(&self, sequence: u64, most: usize) -> Missed {
        let ring = self.0.ring.lock();
        let Some(first) = ring.front().map(|e| e.sequence) else { return Missed::Events(Vec::new()) };
        let last = self.last();
        if sequence + 1 < first || last.saturating_sub(sequence) > u64::try_from(most).unwrap_or(u64::MAX) {
            return Missed::TooMuch;
        }
        Missed::Events(
            ring.iter()
                .rev()
                .take_while(|e| e.sequence > sequence)
                .cloned()
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect(),
        )
    }

    fn push(&self, events: impl IntoIterator<Item = Event>) {
        let mut ring = self.0.ring.lock();
        let mut last = self.last();
        for mut event in events {
            last += 1;
            event.sequence = last;
            if ring.len() == RING {
                ring.pop_front();
            }
            ring.push_back(Arc::new(event));
        }
        self.0.last.send_replace(last);
    }

    async fn follow(&self, store: Store, mut stopping: watch::Receiver<bool>) {
        let mut committed = store.readings().committed();
        let mut changes = store.alert_changes();
        let mut position = *committed.borrow_and_update();
        let mut change = *changes.borrow_and_update();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                more = committed.changed() => if more.is_err() { return },
                more = changes.changed() => if more.is_err() { return },
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let (now, changed) = (*committed.borrow_and_update(), *changes.borrow_and_update());
            if self.0.last.receiver_count() == 0 {
                (position, change) = (now, changed); // nobody looks
                continue;
            }
            position = self.readings(&store, position, now).await;
            change = self.alerts(&store, change).await;
        }
    }

    async fn readings(&self, store: &Store, mut position: u64, to: u64) -> u64 {
        // More than the ring holds would push itself out again.
        position = position.max(to.saturating_sub(u64::try_from(RING).unwrap_or(0)));
        while position < to {
            let readings = store.readings().clone();
            let page = tokio::task::spawn_blocking(move || readings.entries_after(position, PAGE)).await;
            let Ok(Ok(page)) = page else { return to };
            let Some(last) = page.last().map(|e| e.position) else { return to };
            position = last;
            self.push(page.iter().filter_map(|e| reading_event(&e.entry)));
        }
        position
    }

    async fn alerts(&self, store: &Store, mut change: i64) -> i64 {
        while let Ok(page) = store.episodes_changed_after(change, PAGE).await {
            let Some((last, _)) = page.last() else { break };
            change = *last;
            self.push(page.iter().map(|(_, episode)| Event {
                sequence: 0,
                name: "alert",
                data: serde_json::json!({"id": episode.id, "patientId": episode.patient, "state": episode.state.as_str(),
                    "severity": episode.severity.as_str(), "concept": episode.concept.as_str()}).to_string(),
                patient: episode.patient,
                alert: Some(episode.id),
            }));
        }
        change
    }
}

fn reading_event(entry: &Entry) -> Option<Event> {
    let Entry::Reading(reading) = entry else { return None };
    let patient = reading.patient?;
    let data = serde_json::json!({"id": reading.id, "patientId": patient, "kind": reading.kind().as_str()}).to_string();
    Some(Event { sequence: 0, name: "reading", data, patient, alert: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event { sequence: 0, name: "reading", data: String::new(), patient: PatientId::new(1), alert: None }
    }

    #[test]
    fn a_stream_resumes_while_the_ring_remembers_and_is_told_when_it_does_not() {
        let hub = Hub(Arc::new(Inner { boot: "x".into(), ring: Mutex::default(), last: watch::Sender::new(0) }));
        hub.push((0..10).map(|_| event()));
        assert!(matches!(hub.after(7, 100), Missed::Events(e) if e.len() == 3 && e[0].sequence == 8));
        assert!(matches!(hub.after(0, 5), Missed::TooMuch));
        hub.push((0..RING).map(|_| event()));
        assert!(matches!(hub.after(3, usize::MAX), Missed::TooMuch));
        assert_eq!(hub.sequence(&hub.id(42)), Some(42));
        assert_eq!(hub.sequence("y-42"), None);
    }
}
