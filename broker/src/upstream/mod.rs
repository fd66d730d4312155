//! Readings from an existing MQTT broker, for installations that have one: the meters stay where they are.
//!
//! Goes in: that broker's copies of the same topics and payloads as at our own gate. Comes out: uplinks for the sink;
//! receipts and commands for the same devices, through that broker.
//! Must never: acknowledge before the commit, drop (when it is too much, nothing is acknowledged and the broker waits),
//! believe a topic more than that broker's own rules about who may publish there.

mod carrier;
mod commands;
mod config;
mod health;
mod link;
mod probe;
mod tls;

pub use config::Upstream;
pub(crate) use health::Health;
pub use health::UpstreamHealth;
pub use probe::{Unreached, probe};

use crate::{Error, gate::Gate};
use carrier::Carrier;
use commands::Heard;
use config::Target;
use link::{Lost, Stay};
use metrics::{Counter, Gauge};
use runtime::Drain;
use std::{sync::Arc, time::Duration};
use store::StoreError;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use vitals::{Device, DeviceKey, DeviceKind};

/// The device under which is held what came in for nobody that we know. It is a gateway without a credential.
pub const THROUGH: &str = "upstream";

/// The first pause after a lost connection; doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// A connection that lasted so long was a good one: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(10);

/// What all connections of one process share.
pub(crate) struct Shared {
    gate: Arc<Gate>,
    drain: Drain,
    target: Target,
    through: Arc<Device>,
    health: Arc<Health>,
    heard: Heard,
    meters: Meters,
    /// No listener of our own is on: every device is reached through the broker above.
    only_way: bool,
    in_flight: usize,
    ack_timeout: Duration,
    confirm_timeout: Duration,
}

struct Meters {
    received: Counter,
    acknowledged: Counter,
    strangers: Counter,
    down: Counter,
    in_flight: Gauge,
}

impl Meters {
    fn new() -> Self {
        Self {
            received: metrics::counter!("hearthbeat_upstream_received_total"),
            acknowledged: metrics::counter!("hearthbeat_upstream_acknowledged_total"),
            strangers: metrics::counter!("hearthbeat_upstream_strangers_total"),
            down: metrics::counter!("hearthbeat_upstream_down_total"),
            in_flight: metrics::gauge!("hearthbeat_upstream_in_flight"),
        }
    }
}

/// Begins to take readings from the broker of the configuration; an unreachable one is tried for ever.
pub(crate) async fn start(gate: &Arc<Gate>, drain: &Drain) -> Result<Option<Arc<Health>>, Error> {
    let config = &gate.config.upstream;
    let Some(target) = config.target() else { return Ok(None) };
    let health = Arc::new(Health::new(Duration::from_secs(config.alarm_after), Instant::now()));
    let own = &gate.config;
    let shared = Shared {
        through: through(gate).await?,
        gate: gate.clone(),
        drain: drain.named("upstream"),
        target,
        health: health.clone(),
        heard: Heard::default(),
        meters: Meters::new(),
        only_way: [&own.mqtt, &own.mqtts, &own.ws, &own.wss].into_iter().all(String::is_empty),
        in_flight: usize::from(config.in_flight),
        ack_timeout: own.ack_timeout(),
        confirm_timeout: own.write_timeout(),
    };
    tokio::spawn(run(shared));
    Ok(Some(health))
}

/// The device under which strangers' messages are held; made at the first start.
async fn through(gate: &Gate) -> Result<Arc<Device>, Error> {
    let known = gate.store.directory().device(THROUGH);
    let device = match known {
        Some(device) => device,
        None => {
            let id = THROUGH.parse().map_err(|_| Error::Upstream("the name of its device is no device id".into()))?;
            let new = Device {
                key: DeviceKey::new(0),
                id,
                kind: DeviceKind::Gateway,
                label: Some("broker".into()),
                model: None,
                organisation: None,
                secret_hash: None,
                revoked: false,
            };
            let made: Result<Device, StoreError> = gate.store.create_device(new).await;
            Arc::new(made.map_err(|e| Error::Upstream(e.to_string()))?)
        }
    };
    if device.kind == DeviceKind::Gateway {
        return Ok(device);
    }
    Err(Error::Upstream(format!("the device id {THROUGH} is taken by something that is no gateway")))
}

async fn run(shared: Shared) {
    let (mut pause, mut told) = (RETRY_FIRST, "");
    let longest = Duration::from_secs(shared.gate.config.upstream.retry_max);
    while !shared.drain.is_stopping() {
        let begun = Instant::now();
        let Err(lost) = connection(&shared).await else { break };
        shared.health.down(lost.why, Instant::now());
        metrics::counter!("hearthbeat_upstream_lost_total", "reason" => lost.why).increment(1);
        if begun.elapsed() >= GOOD {
            (pause, told) = (RETRY_FIRST, "");
        }
        // Once for each reason, not once for each attempt.
        if told != lost.why {
            tracing::warn!(reason = lost.why, detail = lost.detail, "no connection to the broker above; trying on");
            told = lost.why;
        }
        tokio::select! {
            () = shared.drain.stopping() => break,
            () = sleep(jittered(pause)) => {}
        }
        pause = (pause * 2).min(longest);
    }
}

/// From the connection to its end; well only when the process ends.
async fn connection(shared: &Shared) -> Result<(), Lost> {
    let config = &shared.gate.config.upstream;
    let (sender, mut poller) = link::link(config, &shared.target, shared.in_flight * 2, Stay::Session)?;
    let (orders, mut ordered) = mpsc::channel(commands::WAITING);
    let mut carrier = Carrier::new(shared, sender);
    tokio::select! {
        ended = carrier.carry(&mut poller, &mut ordered) => ended,
        () = commands::gather(shared, orders) => Err(Lost::new("protocol", "commands ended")),
    }
}

/// Between a half and the whole of `pause`, so that many edges do not come back in one moment.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0_u8; 2];
    // Without randomness it is the whole.
    let share = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(u16::from_ne_bytes(random)) / 65_536.0);
    pause.mul_f64(share.mul_add(0.5, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_over_their_upper_half() {
        let pauses: Vec<Duration> = (0..1000).map(|_| jittered(Duration::from_secs(2))).collect();
        let (low, high) = (*pauses.iter().min().unwrap(), *pauses.iter().max().unwrap());
        assert!(low >= Duration::from_secs(1) && high <= Duration::from_secs(2), "{low:?} {high:?}");
        assert!(high - low > Duration::from_millis(800), "no two edges come back together: {low:?} {high:?}");
    }
}
