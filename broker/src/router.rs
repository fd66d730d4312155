//! rumqttd behind the gate: three fixed topics, one link, no listener. It carries live copies, at most once.
//!
//! Goes in: live copies after commit. Comes out: the same, for the service clients that follow them.
//! Must never: carry what must not be lost, see a topic or a byte that a client chose for it, block who publishes.
//! When its thread ends or falls silent, the process ends loudly; nothing is lost, since it held nothing.

use crate::error::Error;
use bytes::{BufMut, Bytes, BytesMut};
use metrics::Counter;
use parking_lot::Mutex;
use rumqttd::{
    Broker, Config, Notification, RouterConfig,
    local::{LinkRx, LinkTx},
};
use runtime::Drain;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use tokio::time::Instant;

/// Copies on their way to rumqttd. Full: the newest is dropped and counted; they are at most once.
const WAITING: usize = 1024;
/// The fixed topics. rumqttd never frees one, so there are no others.
const COPIES: &str = "hb/live";
const HEARTBEAT: &str = "hb/heartbeat";
/// How often the router has to prove that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Without a heartbeat for so long it is not ready ...
const LATE: Duration = Duration::from_secs(5);
/// ... and for so long it is dead.
const DEAD: Duration = Duration::from_secs(30);

/// The link to the router. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Router(Arc<Inner>);

struct Inner {
    queue: mpsc::SyncSender<(&'static str, Bytes)>,
    heard: Mutex<Instant>,
    ended: AtomicBool,
    dropped: Counter,
}

/// Names the router threads of one process apart.
static ROUTERS: AtomicUsize = AtomicUsize::new(0);

/// Starts rumqttd; `deliver` gets every copy (topic, payload) that came through it.
pub(crate) fn start(
    drain: &Drain,
    dropped: Counter,
    deliver: impl Fn(&str, Bytes) + Send + Sync + 'static,
) -> Result<Router, Error> {
    let config = Config {
        id: ROUTERS.fetch_add(1, Ordering::Relaxed),
        router: RouterConfig {
            max_connections: 4,
            max_outgoing_packet_count: 200,
            max_segment_size: 1 << 20,
            max_segment_count: 4,
            ..RouterConfig::default()
        },
        ..Config::default()
    };
    let fault = |e: &dyn std::fmt::Display| Error::Router(e.to_string());
    let broker = Broker::new(config);
    let (mut tx, rx) = broker.link("edge").map_err(|e| fault(&e))?;
    for topic in [COPIES, HEARTBEAT] {
        tx.subscribe(topic).map_err(|e| fault(&e))?;
    }
    let (queue, waiting) = mpsc::sync_channel(WAITING);
    let inner = Inner { queue, heard: Mutex::new(Instant::now()), ended: AtomicBool::new(false), dropped };
    let router = Router(Arc::new(inner));
    // rumqttd's publish blocks while its router is busy, so it has a thread of its own.
    thread::Builder::new()
        .name("router link".into())
        .spawn(move || publish_loop(tx, &waiting, broker))
        .map_err(|e| fault(&e))?;
    tokio::spawn(listen(rx, Arc::downgrade(&router.0), drain.named("router link"), deliver));
    tokio::spawn(beat(Arc::downgrade(&router.0), drain.named("router heartbeat")));
    Ok(router)
}

impl Router {
    /// Whether the router proved to live within the last seconds.
    pub(crate) fn is_alive(&self) -> bool {
        !self.0.ended.load(Ordering::Relaxed) && self.0.heard.lock().elapsed() < LATE
    }

    /// Sends a copy through the router. Never blocks; when too many wait, this one is dropped and counted.
    pub(crate) fn publish(&self, topic: &str, payload: &[u8]) {
        let Ok(length) = u16::try_from(topic.len()) else { return };
        let mut envelope = BytesMut::with_capacity(2 + topic.len() + payload.len());
        envelope.put_u16(length);
        envelope.put_slice(topic.as_bytes());
        envelope.put_slice(payload);
        if self.0.queue.try_send((COPIES, envelope.freeze())).is_err() {
            self.0.dropped.increment(1);
        }
    }
}

/// Ends when the last [`Router`] is dropped, or with rumqttd.
fn publish_loop(mut tx: LinkTx, waiting: &mpsc::Receiver<(&'static str, Bytes)>, broker: Broker) {
    while let Ok((topic, payload)) = waiting.recv() {
        if tx.publish(topic, payload).is_err() {
            break;
        }
    }
    drop(broker);
}

async fn listen(
    mut rx: LinkRx,
    router: std::sync::Weak<Inner>,
    drain: Drain,
    deliver: impl Fn(&str, Bytes) + Send + Sync + 'static,
) {
    loop {
        let next = tokio::select! {
            () = drain.stopping() => return,
            next = rx.next() => next,
        };
        let Some(inner) = router.upgrade() else { return };
        match next {
            Ok(Some(Notification::Forward(forward))) if forward.publish.topic == HEARTBEAT => {
                *inner.heard.lock() = Instant::now();
            }
            Ok(Some(Notification::Forward(forward))) => open(&forward.publish.payload, &deliver),
            // It stopped because we were slow: everything is taken now, go on.
            Ok(Some(Notification::Unschedule)) => {
                let _ = rx.wake().await;
            }
            Ok(_) => {}
            Err(_) => {
                inner.ended.store(true, Ordering::Relaxed);
                drain.fatal("broker", "the message router ended");
                return;
            }
        }
    }
}

fn open(envelope: &Bytes, deliver: &impl Fn(&str, Bytes)) {
    let Some((length, rest)) = envelope.split_first_chunk::<2>() else { return };
    let Some((topic, payload)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return };
    if let Ok(topic) = std::str::from_utf8(topic) {
        deliver(topic, envelope.slice_ref(payload));
    }
}

async fn beat(router: std::sync::Weak<Inner>, drain: Drain) {
    let mut tick = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            () = drain.stopping() => return,
            _ = tick.tick() => {}
        }
        let Some(inner) = router.upgrade() else { return };
        // A full queue is no reason to despair; silence is.
        let _ = inner.queue.try_send((HEARTBEAT, Bytes::from_static(b"1")));
        if inner.heard.lock().elapsed() > DEAD && !inner.ended.swap(true, Ordering::Relaxed) {
            drain.fatal("broker", "the message router is silent");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::DrainHandle;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn started() -> (DrainHandle, Router, UnboundedReceiver<(String, Bytes)>) {
        let (handle, drain) = Drain::new();
        let (seen, got) = unbounded_channel();
        let router = start(&drain, Counter::noop(), move |topic, payload| {
            let _ = seen.send((topic.to_owned(), payload));
        })
        .unwrap();
        (handle, router, got)
    }

    #[tokio::test]
    async fn copies_come_through_in_order() {
        let (_handle, router, mut got) = started();
        for n in 0..500_u32 {
            router.publish("hb/v1/live/o_1/readings", &n.to_be_bytes());
            if n % 100 == 99 {
                for m in n - 99..=n {
                    let (topic, payload) = got.recv().await.unwrap();
                    assert_eq!((topic.as_str(), &payload[..]), ("hb/v1/live/o_1/readings", &m.to_be_bytes()[..]));
                }
            }
        }
        assert!(router.is_alive());
    }

    #[tokio::test]
    async fn a_dead_router_is_fatal() {
        let (mut handle, router, _got) = started();
        // The one input that is known to kill rumqttd 0.20: a topic that begins outside ASCII.
        router.0.queue.send(("é/x", Bytes::new())).unwrap();
        let fatal = handle.fatal().await;
        assert_eq!(fatal.stage, "broker");
        assert!(!router.is_alive());
    }
}
