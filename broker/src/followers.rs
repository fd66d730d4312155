//! Which service clients follow which live topics, and the last step of a live copy's way.
//!
//! A topic carries the copies of its organisation and of everything below it.
//! Must never: wait for a slow client; its copy is dropped and counted.

use crate::{mailbox::Copy, table::Live as Connection};
use bytes::Bytes;
use parking_lot::RwLock;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use store::Directory;
use vitals::OrganisationId;
use wire::topic::{self, Live};

type Key = (OrganisationId, Live);

#[derive(Default)]
pub(crate) struct Followers {
    by_topic: RwLock<HashMap<Key, Vec<Arc<Connection>>>>,
    count: AtomicUsize,
}

impl Followers {
    /// Nobody follows anything: copies need not be made.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// `who` follows exactly `topics` from now on; none when it ends.
    pub(crate) fn set(&self, who: &Arc<Connection>, before: &[Key], topics: &[Key]) {
        if before == topics {
            return;
        }
        let mut by_topic = self.by_topic.write();
        for key in before {
            if let Some(all) = by_topic.get_mut(key) {
                all.retain(|c| !Arc::ptr_eq(c, who));
                if all.is_empty() {
                    by_topic.remove(key);
                }
            }
        }
        for key in topics {
            by_topic.entry(*key).or_default().push(who.clone());
        }
        self.count.store(by_topic.len(), Ordering::Relaxed);
    }

    /// Gives a copy to all who follow its organisation or one above it.
    pub(crate) fn deliver(&self, directory: &Directory, topic: &str, payload: Bytes) {
        let Some((organisation, what)) = topic::parse_live(topic) else { return };
        let mut line: Vec<OrganisationId> = directory.ancestry(organisation).iter().map(|o| o.id).collect();
        if line.is_empty() {
            line.push(organisation);
        }
        let by_topic = self.by_topic.read();
        for level in line {
            let Some(all) = by_topic.get(&(level, what)) else { continue };
            let copy: Copy = Arc::new((topic::live(level, what), payload.clone()));
            for who in all {
                if !who.mailbox.offer(copy.clone()) {
                    metrics::counter!("hearthbeat_broker_live_dropped_total").increment(1);
                }
            }
        }
    }
}
