//! Steps that became empty are told to whoever looks after the roster, once, however they became so: somebody away,
//! disabled, moved, without a contact, or only the time that has come.
//!
//! Goes in: changes of staff and roster, the clock. Comes out: warnings in the outbox. Must never: change a case.

use crate::{stage::Stage, work::Work};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use store::{Store, StoreError};
use tokio::sync::watch;
use vitals::{TeamId, Timestamp};

/// On system time every chain is looked through no more often: many changes in a row (a district set up) are one look.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was seen at the last look.
pub(crate) struct Vigil {
    staff: watch::Receiver<u64>,
    roster: watch::Receiver<u64>,
    seen: Option<(u64, u64)>,
    looked: Option<Instant>,
    /// Told of already, until somebody is there again.
    empty: BTreeSet<(TeamId, u32)>,
    /// When to look again though nobody changes anything.
    again: Option<Timestamp>,
}

impl Vigil {
    pub(crate) fn new(store: &Store) -> Self {
        let (staff, roster) = (store.directory().staff_changes(), store.roster_changes());
        Self { staff, roster, seen: None, looked: None, empty: BTreeSet::new(), again: None }
    }

    pub(crate) const fn due(&self) -> Option<Timestamp> {
        self.again
    }

    fn now(&self) -> (u64, u64) {
        (*self.staff.borrow(), *self.roster.borrow())
    }

    /// On system time: how long until a change that has been seen may be looked at.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let changed = self.seen != Some(self.now());
        changed.then(|| LOOK_EVERY.saturating_sub(self.looked.map_or(LOOK_EVERY, |at| at.elapsed())))
    }

    /// Resolves when staff or roster change.
    pub(crate) async fn changed(staff: &mut watch::Receiver<u64>, roster: &mut watch::Receiver<u64>) {
        tokio::select! {
            _ = staff.changed() => {}
            _ = roster.changed() => {}
        }
    }
}

impl Stage {
    /// Looks through the chains where there is a reason to, and tells of steps that were not empty before.
    pub(crate) async fn look_at_steps(&mut self) -> Result<bool, StoreError> {
        let store = self.shared.store.clone();
        let now = store.clock().now();
        let waits = !store.clock().is_manual() && self.vigil.pause().is_some_and(|p| !p.is_zero());
        let changed = self.vigil.pause().is_some() && !waits;
        if !changed && self.vigil.again.is_none_or(|at| at > now) {
            return Ok(false);
        }
        let seen = self.vigil.now();
        let mut work = Work::default();
        let (found, again) = {
            let (desk, press) = (self.shared.desk(), self.shared.press(now));
            let found = desk.empty_steps(now);
            for ((team, step), at) in found.iter().filter(|(key, _)| !self.vigil.empty.contains(key)) {
                // The day of the first gap: after a restart the same gap makes the same key, and nobody hears it twice.
                let matter = format!("{team} {step} {}", at.in_zone(&self.shared.zone).date());
                work.warn_step(Some(*team), *step, None, matter, &desk, &press);
            }
            (found, desk.next_cover(now))
        };
        let told = !work.batch.messages.is_empty();
        if told {
            store.commit_alerts(work.batch).await?;
        }
        let vigil = &mut self.vigil;
        (vigil.seen, vigil.looked, vigil.again) = (Some(seen), Some(Instant::now()), again);
        vigil.empty = found.into_keys().collect();
        Ok(told)
    }
}
