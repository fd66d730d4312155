//! Steps that became empty are told to whoever looks after the roster, once, however they became so: somebody away,
//! disabled, moved, without a contact, or only the time that has come.
//!
//! Goes in: changes of staff and roster, the clock. Comes out: warnings in the outbox. Must never: change a case.

use crate::{desk::Desk, message::Press, work::Work};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use store::Store;
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

/// What a look found.
pub(crate) struct Look {
    seen: (u64, u64),
    empty: BTreeSet<(TeamId, u32)>,
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

    /// Looks through the chains where there is a reason to: what to tell of steps that were not empty before, and the
    /// look, to be remembered once that is stored.
    pub(crate) fn look(&self, manual: bool, desk: &Desk<'_>, press: &Press<'_>) -> Option<(Work, Look)> {
        let waits = !manual && self.pause().is_some_and(|p| !p.is_zero());
        let changed = self.pause().is_some() && !waits;
        if !changed && self.again.is_none_or(|at| at > press.now) {
            return None;
        }
        let seen = self.now();
        let mut work = Work::default();
        let found = desk.empty_steps(press.now);
        for ((team, step), at) in found.iter().filter(|(key, _)| !self.empty.contains(key)) {
            // The day of the first gap: after a restart the same gap makes the same key, and nobody hears it twice.
            let matter = format!("{team} {step} {}", at.in_zone(press.zone).date());
            work.warn_step(Some(*team), *step, None, matter, desk, press);
        }
        let again = desk.next_cover(press.now);
        Some((work, Look { seen, empty: found.into_keys().collect(), again }))
    }

    pub(crate) fn remember(&mut self, look: Look) {
        (self.seen, self.looked, self.again) = (Some(look.seen), Some(Instant::now()), look.again);
        self.empty = look.empty;
    }
}
