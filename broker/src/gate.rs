//! What all connections share.

use crate::{
    Error, Sink, Uplink,
    config::Config,
    down::DownQueue,
    entrance::{Strangers, Turnstile},
    followers::Followers,
    lasting::Lasting,
    meters::Meters,
    pace::Returns,
    subscriptions::Subscriptions,
    table::{Kept, Table},
    tls::Tls,
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use store::Store;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use vitals::DeviceKey;

/// Bytes of publishes under way in all connections. Full: each connection has one publish under way at most, and is read
/// later; that one keeps everybody moving.
const IN_FLIGHT_BYTES: usize = 256 << 20;

/// One of these a gate.
pub(crate) struct Gate {
    pub(crate) config: Config,
    pub(crate) store: Store,
    sink: Arc<dyn Sink>,
    pub(crate) tls: Option<Tls>,
    pub(crate) table: Table,
    pub(crate) lasting: Lasting,
    pub(crate) followers: Followers,
    pub(crate) commanded: Commanded,
    pub(crate) meters: Meters,
    pub(crate) strangers: Strangers,
    pub(crate) turnstile: Turnstile,
    pub(crate) tls_turnstile: Turnstile,
    pub(crate) returns: Returns,
    in_flight_bytes: AtomicUsize,
    /// One permit a connection.
    pub(crate) permits: Arc<Semaphore>,
    /// The end has begun: who has not logged in yet may go.
    pub(crate) stopping: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn new(config: Config, store: Store, sink: Arc<dyn Sink>) -> Result<Self, Error> {
        let secure = !config.mqtts.is_empty() || !config.wss.is_empty();
        let tls = if secure { Some(Tls::load(&config.tls)?) } else { None };
        Ok(Self {
            permits: Arc::new(Semaphore::new(config.limits.connections)),
            strangers: Strangers::default(),
            turnstile: Turnstile::new(config.limits.connect_rate),
            tls_turnstile: Turnstile::new(config.limits.tls_connect_rate),
            returns: Returns::new(config.limits.return_rate, config.limits.return_burst),
            config,
            store,
            sink,
            tls,
            table: Table::default(),
            lasting: Lasting::default(),
            followers: Followers::default(),
            commanded: Commanded::default(),
            meters: Meters::new(),
            in_flight_bytes: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
        })
    }

    /// Sessions that an earlier process kept wait for their clients again.
    pub(crate) async fn recall(&self) -> Result<(), Error> {
        for session in self.lasting.load(&self.store).await? {
            match self.store.directory().device_by_key(session.device).filter(|d| !d.revoked) {
                Some(device) => {
                    let until = Instant::now() + Duration::from_secs(u64::from(session.expiry));
                    let subscriptions = Subscriptions::from_text(&session.subscriptions);
                    self.table.recall(&device.id, Kept { subscriptions, down: DownQueue::default(), until });
                }
                None => self.lasting.forget(session.device),
            }
        }
        Ok(())
    }

    pub(crate) fn commit(
        &self,
        up: Uplink,
    ) -> runtime::BoxFuture<'static, Result<crate::Accepted, crate::Unavailable>> {
        self.sink.commit(up)
    }

    pub(crate) fn hold(
        &self,
        stranger: crate::Stranger,
    ) -> runtime::BoxFuture<'static, Result<crate::Accepted, crate::Unavailable>> {
        self.sink.hold(stranger)
    }

    /// A publish of `bytes` is under way.
    pub(crate) fn begin(&self, bytes: usize) {
        self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Publishes of `bytes` are no longer under way.
    pub(crate) fn done(&self, bytes: usize) {
        self.in_flight_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Too much is under way in all connections together.
    pub(crate) fn is_full(&self) -> bool {
        self.in_flight_bytes.load(Ordering::Relaxed) >= IN_FLIGHT_BYTES
    }

    pub(crate) fn connections(&self) -> usize {
        self.config.limits.connections - self.permits.available_permits()
    }
}

/// Devices for which the store may hold commands, so that a login of any other asks no database.
#[derive(Default)]
pub(crate) struct Commanded(Mutex<HashMap<DeviceKey, u64>>);

impl Commanded {
    /// There is something new for these.
    pub(crate) fn note(&self, devices: &[DeviceKey]) {
        let mut known = self.0.lock();
        for device in devices {
            *known.entry(*device).or_default() += 1;
        }
    }

    /// How often something was noted for this device; none when there is nothing.
    pub(crate) fn of(&self, device: DeviceKey) -> Option<u64> {
        self.0.lock().get(&device).copied()
    }

    /// The store had nothing, and nothing was noted since.
    pub(crate) fn nothing(&self, device: DeviceKey, noted: u64) {
        let mut known = self.0.lock();
        if known.get(&device) == Some(&noted) {
            known.remove(&device);
        }
    }
}
