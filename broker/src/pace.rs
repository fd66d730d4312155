//! A device's rates: tokens that fill up with time.

use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, sleep_until};
use vitals::DeviceId;

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

/// How often devices come in. Holds those that did lately: at most one entry a provisioned device.
pub(crate) struct Returns {
    rate: u32,
    burst: u32,
    lately: Mutex<HashMap<DeviceId, Pace>>,
}

impl Returns {
    /// `rate` 0: no limit.
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        Self { rate, burst, lately: Mutex::default() }
    }

    /// Returns when the device may come in.
    pub(crate) async fn pass(&self, device: &DeviceId) {
        while let Err(later) = self.take(device, Instant::now()) {
            sleep_until(later).await;
        }
    }

    fn take(&self, device: &DeviceId, now: Instant) -> Result<(), Instant> {
        let Some(fresh) = Pace::new(self.rate, self.burst, now) else { return Ok(()) };
        self.lately.lock().entry(device.clone()).or_insert(fresh).take(now)
    }

    /// Forgets who has not come in for so long that it makes no difference.
    pub(crate) fn sweep(&self, now: Instant) {
        let full = Duration::from_secs(u64::from(self.burst / self.rate.max(1)) + 1);
        self.lately.lock().retain(|_, pace| now.saturating_duration_since(pace.at) < full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_comes_back_again_and_again_waits_and_others_do_not() {
        let (returns, start) = (Returns::new(2, 3), Instant::now());
        let (restless, calm): (DeviceId, DeviceId) = ("restless".parse().unwrap(), "calm".parse().unwrap());
        assert!((0..3).all(|_| returns.take(&restless, start).is_ok()));
        let later = returns.take(&restless, start).unwrap_err();
        assert!(later > start + Duration::from_millis(499) && later < start + Duration::from_millis(510));
        assert_eq!(returns.take(&calm, start), Ok(()));
        assert_eq!(returns.take(&restless, later), Ok(()));
        assert!((0..99).all(|_| Returns::new(0, 1).take(&calm, start).is_ok()), "0 is no limit");
        returns.sweep(start + Duration::from_secs(1));
        assert_eq!(returns.lately.lock().len(), 2);
        returns.sweep(later + Duration::from_secs(3));
        assert!(returns.lately.lock().is_empty());
    }

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
