//! What all connections share.

use crate::{Error, Sink, Uplink, config::Config, followers::Followers, meters::Meters, table::Table, tls::Tls};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use store::Store;
use tokio::sync::{Semaphore, watch};
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
    pub(crate) followers: Followers,
    pub(crate) commanded: Commanded,
    pub(crate) meters: Meters,
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
            config,
            store,
            sink,
            tls,
            table: Table::default(),
            followers: Followers::default(),
            commanded: Commanded::default(),
            meters: Meters::new(),
            in_flight_bytes: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
        })
    }

    pub(crate) fn commit(
        &self,
        up: Uplink,
    ) -> runtime::BoxFuture<'static, Result<crate::Accepted, crate::Unavailable>> {
        self.sink.commit(up)
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
