//! Whether readings come in from the broker above, for `/readyz`.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamHealth {
    /// Connected, and everything subscribed to is granted.
    pub connected: bool,
    /// Why not, in a word for `/readyz`.
    pub reason: Option<&'static str>,
    /// It has lasted long enough to be said.
    pub alarming: bool,
}

pub(crate) struct Health {
    alarm_after: Duration,
    state: Mutex<State>,
}

struct State {
    connected: bool,
    reason: &'static str,
    /// Since when nothing has come of it.
    since: Instant,
}

impl Health {
    pub(super) fn new(alarm_after: Duration, now: Instant) -> Self {
        Self { alarm_after, state: Mutex::new(State { connected: false, reason: "connecting", since: now }) }
    }

    /// Connected and subscribed.
    pub(super) fn up(&self) {
        let mut state = self.state.lock();
        if !state.connected {
            metrics::gauge!("hearthbeat_upstream_connected").set(1.0);
            tracing::info!("takes readings from the broker above");
        }
        state.connected = true;
    }

    /// A message was made durable: whatever was wrong is over.
    pub(super) fn moved(&self, now: Instant) {
        self.state.lock().since = now;
    }

    /// The connection is lost.
    pub(super) fn down(&self, reason: &'static str, now: Instant) {
        let mut state = self.state.lock();
        metrics::gauge!("hearthbeat_upstream_connected").set(0.0);
        // A connection that is lost again before anything came through it did not end the trouble.
        if state.connected && reason != "not_durable" {
            state.since = now;
        }
        (state.connected, state.reason) = (false, reason);
    }

    pub(crate) fn at(&self, now: Instant) -> UpstreamHealth {
        let state = self.state.lock();
        let reason = (!state.connected).then_some(state.reason);
        UpstreamHealth {
            connected: state.connected,
            reason,
            alarming: !state.connected && now.saturating_duration_since(state.since) >= self.alarm_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    #[test]
    fn it_alarms_once_nothing_has_come_for_long_enough() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let health = Health::new(AFTER, start);
        let down = |reason, alarming| UpstreamHealth { connected: false, reason: Some(reason), alarming };
        assert_eq!(health.at(start + second * 29), down("connecting", false));
        assert_eq!(health.at(start + second * 30), down("connecting", true));
        health.up();
        let well = UpstreamHealth { connected: true, reason: None, alarming: false };
        assert_eq!(health.at(start + second * 3600), well);
        health.down("closed", start + second * 3600);
        assert_eq!(health.at(start + second * 3629), down("closed", false), "it is down for a moment only");
        assert_eq!(health.at(start + second * 3630), down("closed", true));
    }

    #[test]
    fn a_disk_that_takes_nothing_is_not_hidden_by_reconnecting() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let health = Health::new(AFTER, start);
        health.up();
        health.moved(start);
        for n in 1..=4 {
            health.up();
            health.down("not_durable", start + second * 10 * n);
        }
        assert!(health.at(start + second * 40).alarming);
    }
}
