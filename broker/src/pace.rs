//! A device's rate: tokens that fill up with time. Pure.

use std::time::Duration;
use tokio::time::Instant;

/// Messages a second with a burst. A message that finds no token is not dropped: its connection is read later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// None when the rate is 0: no limit.
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Option<Self> {
        let burst = f64::from(burst.max(1));
        (rate > 0).then(|| Self { rate: f64::from(rate), burst, tokens: burst, at: now })
    }

    /// Takes a token, or says when there will be one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = passed.mul_add(self.rate, self.tokens).min(self.burst);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.tokens) / self.rate) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut pace = Pace::new(10, 3, start).unwrap();
        assert!((0..3).all(|_| pace.take(start).is_ok()));
        let next = pace.take(start).unwrap_err();
        assert!(next > start + Duration::from_millis(99) && next < start + Duration::from_millis(110));
        assert!(pace.take(next).is_ok());
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| pace.take(later).is_ok()).count(), 3, "no more than the burst is saved up");
        assert!(Pace::new(0, 3, start).is_none());
    }
}
