//! Why sessions end, and what is done after that.

use crate::{
    codec::{Fault, encode, reason},
    meters,
    session::Session,
    table::Kept,
};
use tokio::time::{Instant, timeout};

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// For metrics.
    pub(crate) why: &'static str,
    /// What an MQTT 5 client is told.
    pub(crate) code: Option<u8>,
    /// The will is said.
    pub(crate) with_will: bool,
    /// The session may outlive the connection.
    pub(crate) keep: bool,
}

impl End {
    pub(crate) const fn new(why: &'static str, code: Option<u8>) -> Self {
        Self { why, code, with_will: true, keep: true }
    }

    pub(crate) const LOST: Self = Self::new("lost", None);
    pub(crate) const UNAVAILABLE: Self = Self::new("not_durable", Some(reason::UNSPECIFIED));
    pub(crate) const SILENT: Self = Self::new("keep_alive", Some(reason::KEEP_ALIVE_TIMEOUT));
    pub(crate) const TAKEN_OVER: Self = Self::new("taken_over", Some(reason::SESSION_TAKEN_OVER));
    pub(crate) const STOP: Self =
        Self { why: "stop", code: Some(reason::SERVER_SHUTTING_DOWN), with_will: false, keep: false };
    pub(crate) const REVOKED: Self =
        Self { why: "revoked", code: Some(reason::ADMINISTRATIVE_ACTION), with_will: false, keep: false };
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::new(fault.name(), Some(fault.reason()))
    }
}

impl Session {
    /// After the end: the place is given back, the last word said, what was under way is seen to its end.
    pub(crate) async fn finish(mut self: Box<Self>, end: End) {
        meters::closed(end.why);
        let under_way = self.committing;
        tracing::debug!(device = %self.seat.live.device.load().id, why = end.why, under_way, "session ended");
        self.gate.followers.set(&self.seat.live, &self.subscriptions.live, &[]);
        let now = Instant::now();
        let keeps = end.keep && !self.expiry.is_zero();
        // At the end of the process the session is not over: the next one goes on with it.
        if end != End::STOP && end != End::TAKEN_OVER && !keeps {
            self.gate.lasting.forget(self.seat.live.device.load().key);
        } else if keeps {
            self.note_session();
        }
        let kept = keeps.then(|| Kept {
            subscriptions: std::mem::take(&mut self.subscriptions),
            down: std::mem::take(&mut self.down),
            until: now + self.expiry,
        });
        let will = self.will.take().filter(|_| end.with_will);
        let (at_once, later) = match will {
            // The session's end is the last moment for a will.
            Some(will) if !will.delay.min(self.expiry).is_zero() => {
                (None, Some((now + will.delay.min(self.expiry), will.uplink)))
            }
            Some(will) => (Some(will.uplink), None),
            None => (None, None),
        };
        self.seat.leave(kept, later);
        if let Some(code) = end.code {
            encode::disconnect(&mut self.output, self.version, code);
        }
        let bytes = self.in_flight_bytes;
        let Self { gate, stream, output, work, .. } = *self;
        let closing = async {
            match end.why {
                "lost" | "write_timeout" => drop(stream),
                _ => stream.close(&output).await,
            }
        };
        let seen_through = async {
            if end != End::UNAVAILABLE {
                let every = async {
                    for one in work {
                        one.await;
                    }
                };
                let _ = timeout(gate.config.ack_timeout(), every).await;
            }
            if let Some(will) = at_once {
                let _ = timeout(gate.config.ack_timeout(), gate.commit(will)).await;
            }
        };
        tokio::join!(closing, seen_through);
        gate.done(bytes);
        gate.meters.in_flight.decrement(under_way);
    }
}
