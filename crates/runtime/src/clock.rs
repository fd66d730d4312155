//! The one place that knows what time it is. Shells hold a [`Clock`]; cores get a [`Timestamp`].

use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use vitals::Timestamp;

/// System time, or a clock that stands still until it is moved (tests only).
#[derive(Clone, Debug)]
pub struct Clock(Inner);

#[derive(Clone, Debug)]
enum Inner {
    System,
    Manual(Arc<watch::Sender<Timestamp>>),
}

/// Why the clock was not moved.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClockError {
    /// The process runs on system time.
    #[error("the system clock cannot be moved; start with --test-clock manual")]
    NotManual,
    /// A manual clock never goes back.
    #[error("the clock never goes back")]
    Backwards,
}

impl Clock {
    /// The computer's clock.
    pub const fn system() -> Self {
        Self(Inner::System)
    }

    /// A clock that stands at `start`.
    pub fn manual(start: Timestamp) -> Self {
        Self(Inner::Manual(Arc::new(watch::Sender::new(start))))
    }

    /// Whether it is moved by hand.
    pub const fn is_manual(&self) -> bool {
        matches!(self.0, Inner::Manual(_))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Inner::System => Self::wall(),
            Inner::Manual(at) => *at.borrow(),
        }
    }

    /// Real time, whatever clock the service runs on: for `webhook-timestamp`, file names, socket time-outs.
    #[allow(clippy::disallowed_methods)]
    pub fn wall() -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Returns once `now() >= at`. System time that jumps is noticed within a minute.
    pub async fn sleep_until(&self, at: Timestamp) {
        match &self.0 {
            Inner::System => loop {
                let left = at.since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(Duration::from_secs(60))).await;
            },
            Inner::Manual(clock) => {
                let mut clock = clock.subscribe();
                // An error means that the clock is gone: then nobody waits for an answer either.
                if clock.wait_for(|now| *now >= at).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// As [`Clock::sleep_until`]; for ever when there is nothing to wait for.
    pub async fn sleep_until_some(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => self.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Moves a manual clock.
    ///
    /// # Errors
    /// [`ClockError::NotManual`] on system time, [`ClockError::Backwards`] when `to` is past.
    pub fn move_to(&self, to: Timestamp) -> Result<(), ClockError> {
        match &self.0 {
            Inner::System => Err(ClockError::NotManual),
            Inner::Manual(at) if to < *at.borrow() => Err(ClockError::Backwards),
            Inner::Manual(at) => {
                at.send_replace(to);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_who_is_due_and_never_goes_back() {
        let start = Timestamp::from_seconds(1_000);
        let clock = Clock::manual(start);
        let due = start.plus(Duration::from_secs(600));
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep_until(due).await;
                clock.now()
            }
        });
        clock.move_to(due).unwrap();
        assert_eq!(waiting.await.unwrap(), due);
        assert_eq!(clock.move_to(start), Err(ClockError::Backwards));
        assert_eq!(Clock::system().move_to(start), Err(ClockError::NotManual));
    }
}
