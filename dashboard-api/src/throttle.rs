//! Ten wrong passwords in 15 minutes lock one user name, not its neighbours.
//!
//! Counted before the password is looked at, so that guesses in parallel count too. Pure: time is an argument.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use vitals::Timestamp;

/// Failures that lock a name.
const MOST: usize = 10;
/// For how long a failure counts.
pub(crate) const WINDOW: Duration = Duration::from_secs(15 * 60);
/// User names remembered; when full the one with the oldest failure is forgotten, so a flood of names costs no memory.
const NAMES: usize = 20_000;

/// Failures by user name.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<String, VecDeque<Timestamp>>>);

impl Throttle {
    /// From the failures that were written down before a restart.
    pub(crate) fn restore(failures: impl IntoIterator<Item = (String, Timestamp)>) -> Self {
        let this = Self::default();
        for (name, at) in failures {
            this.0.lock().entry(name).or_default().push_back(at);
        }
        this
    }

    /// Counts an attempt as failed until [`Throttle::forgive`] takes it back.
    ///
    /// # Errors
    /// How long to wait, when the name is locked; the attempt is not counted then.
    pub(crate) fn attempt(&self, name: &str, now: Timestamp) -> Result<(), Duration> {
        let mut all = self.0.lock();
        if all.len() >= NAMES && !all.contains_key(name) {
            forget(&mut all, now);
        }
        let failures = all.entry(name.to_owned()).or_default();
        while failures.front().is_some_and(|at| at.plus(WINDOW) <= now) {
            failures.pop_front();
        }
        if failures.len() >= MOST {
            let free = failures[failures.len() - MOST].plus(WINDOW);
            return Err(free.since(now).max(Duration::from_secs(1)));
        }
        failures.push_back(now);
        Ok(())
    }

    /// The attempt at `now` was no failure.
    pub(crate) fn forgive(&self, name: &str, now: Timestamp) {
        let mut all = self.0.lock();
        let Some(failures) = all.get_mut(name) else { return };
        if let Some(at) = failures.iter().rposition(|at| *at == now) {
            failures.remove(at);
        }
        if failures.is_empty() {
            all.remove(name);
        }
    }
}

fn forget(all: &mut HashMap<String, VecDeque<Timestamp>>, now: Timestamp) {
    all.retain(|_, failures| failures.back().is_some_and(|at| at.plus(WINDOW) > now));
    if all.len() >= NAMES
        && let Some(oldest) = all.iter().min_by_key(|(_, f)| f.back().copied()).map(|(name, _)| name.clone())
    {
        all.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn ten_failures_lock_the_name_until_the_first_is_15_minutes_old() {
        let throttle = Throttle::default();
        for i in 0..10 {
            assert!(throttle.attempt("gp-1", at(i)).is_ok());
        }
        assert_eq!(throttle.attempt("gp-1", at(20)), Err(Duration::from_secs(880)));
        assert!(throttle.attempt("gp-2", at(20)).is_ok());
        assert!(throttle.attempt("gp-1", at(900)).is_ok());
    }

    #[test]
    fn a_right_password_is_no_failure() {
        let throttle = Throttle::default();
        for i in 0..50 {
            assert!(throttle.attempt("gp-1", at(i)).is_ok());
            throttle.forgive("gp-1", at(i));
        }
    }
}
