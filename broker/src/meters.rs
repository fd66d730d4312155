//! What the gate counts. Handles are taken once, so that counting costs an atomic addition.

use metrics::{Counter, Gauge};

/// Counters of the hot path; rare events are counted by name where they happen.
#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) connections: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) publishes: Counter,
    pub(crate) pubacks: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) down: Counter,
    pub(crate) live_dropped: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            connections: metrics::gauge!("hearthbeat_broker_connections"),
            accepted: metrics::counter!("hearthbeat_broker_accepted_total"),
            publishes: metrics::counter!("hearthbeat_broker_publishes_total"),
            pubacks: metrics::counter!("hearthbeat_broker_pubacks_total"),
            in_flight: metrics::gauge!("hearthbeat_broker_in_flight"),
            down: metrics::counter!("hearthbeat_broker_down_total"),
            live_dropped: metrics::counter!("hearthbeat_broker_live_dropped_total"),
        }
    }
}

/// A connection that was not let in.
pub(crate) fn refused(reason: &'static str) {
    metrics::counter!("hearthbeat_broker_refused_total", "reason" => reason).increment(1);
}

/// A connection that ended after it was let in.
pub(crate) fn closed(reason: &'static str) {
    metrics::counter!("hearthbeat_broker_closed_total", "reason" => reason).increment(1);
}

/// A publish or subscription that a client may not make.
pub(crate) fn forbidden(what: &'static str) {
    metrics::counter!("hearthbeat_broker_forbidden_total", "what" => what).increment(1);
}

/// A message for a device that was not sent.
pub(crate) fn left_out(reason: &'static str) {
    metrics::counter!("hearthbeat_broker_left_out_total", "reason" => reason).increment(1);
}
