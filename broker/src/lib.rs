//! The gate: where meters come in over MQTT 3.1.1 and 5, by TCP, TLS, WebSocket and both.
//!
//! Goes in: bytes of strangers. Comes out: [`Uplink`]s of devices that proved who they are, to a [`Sink`]; the PUBACK
//! only after the sink says that they are durable; receipts, commands and live copies on the way back.
//! Must never: acknowledge what is not durable, let one client be felt by another, look into a payload, log one.

mod auth;
mod codec;
mod config;
mod connection;
mod down;
mod end;
mod entrance;
mod error;
mod followers;
mod gate;
mod inbound;
mod lasting;
mod listener;
mod mailbox;
mod meters;
mod outbound;
mod pace;
mod router;
mod session;
mod subscriptions;
mod table;
mod tls;
mod upkeep;
mod upstream;
mod websocket;

pub use config::{Config, ConfigError, Limits, Tls};
pub use error::Error;
pub use upstream::{THROUGH, Unreached, Upstream, UpstreamHealth, probe as probe_upstream};

use bytes::Bytes;
use gate::Gate;
use runtime::{BoxFuture, Drain};
use std::{net::SocketAddr, sync::Arc};
use store::Store;
use vitals::Device;
use wire::topic::{Tree, Up};

/// One message of one device, exactly as it was sent.
#[derive(Clone)]
pub struct Uplink {
    /// Who sent it, as the store knows it at this moment.
    pub device: Arc<Device>,
    /// In which tree it lives.
    pub tree: Tree,
    /// What it is.
    pub route: Up,
    /// The bytes.
    pub payload: Bytes,
    /// Somebody listens to the sender's receipts.
    pub wants_receipt: bool,
    /// Its will: the connection broke off.
    pub will: bool,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uplink({}, {:?}, {} bytes)", self.device.id, self.route, self.payload.len())
    }
}

/// A message that came through the broker above for no device that we let in: unknown, revoked, or of another kind.
#[derive(Clone)]
pub struct Stranger {
    /// The device under which it is kept ([`THROUGH`]).
    pub through: Arc<Device>,
    /// The whole topic, as it came.
    pub topic: String,
    /// The bytes.
    pub payload: Bytes,
}

/// A message is durable.
#[derive(Clone, Default)]
pub struct Accepted {
    /// JSON for the sender's receipts topic, where one was wanted.
    pub receipt: Option<Bytes>,
}

/// A message could not be made durable: no PUBACK, the connection closes, the device sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// Where messages go. Messages of one connection are committed in the order of the calls.
pub trait Sink: Send + Sync + 'static {
    /// Resolves once the message is durable, or cannot be made so.
    fn commit(&self, up: Uplink) -> BoxFuture<'static, Result<Accepted, Unavailable>>;

    /// Keeps what is nobody's; it was acknowledged to its sender already, so it may not be thrown away. A sink that has
    /// no place for it says so, and the broker above keeps it.
    fn hold(&self, stranger: Stranger) -> BoxFuture<'static, Result<Accepted, Unavailable>> {
        drop(stranger);
        Box::pin(async { Err(Unavailable) })
    }
}

/// Where the gate really listens; none where a listener is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Plain MQTT.
    pub mqtt: Option<SocketAddr>,
    /// MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
    /// MQTT over WebSocket.
    pub ws: Option<SocketAddr>,
    /// MQTT over WebSocket over TLS.
    pub wss: Option<SocketAddr>,
}

/// The running gate. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    gate: Arc<Gate>,
    addresses: Addresses,
    router: router::Router,
    upstream: Option<Arc<upstream::Health>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.addresses).finish()
    }
}

/// Opens the listeners and serves until `drain` stops; then commits and acknowledges what is under way, and closes.
///
/// # Errors
/// A value, a certificate or an address that cannot be used.
pub async fn start(config: Config, store: Store, sink: Arc<dyn Sink>, drain: &Drain) -> Result<Handle, Error> {
    if let Some(fault) = config.faults().into_iter().next() {
        return Err(fault.into());
    }
    let gate = Arc::new(Gate::new(config, store, sink)?);
    gate.recall().await?;
    let listeners = listener::bind(&gate.config).await?;
    let addresses = listeners.addresses();
    let deliver = {
        let gate = gate.clone();
        move |topic: &str, payload| gate.followers.deliver(gate.store.directory(), topic, payload)
    };
    let router = router::start(drain, gate.meters.live_dropped.clone(), deliver)?;
    upkeep::start(&gate, drain);
    let upstream = upstream::start(&gate, drain).await?;
    listeners.serve(&gate, drain);
    tracing::info!(?addresses, "gate open");
    Ok(Handle { gate, addresses, router, upstream })
}

/// Whether the gate could start with this: values, and certificates that can be read. Opens nothing.
/// Every fault, as `key: words`.
pub fn check(config: &Config) -> Vec<String> {
    let mut faults: Vec<String> = config.faults().iter().map(|f| format!("{}: {}", f.key, f.reason)).collect();
    let tls = &config.tls;
    let secure = !config.mqtts.is_empty() || !config.wss.is_empty();
    if secure && tls.cert_file.is_some() && tls.key_file.is_some() {
        match tls::Tls::load(tls) {
            Ok(_) => {}
            Err(Error::Tls { file, reason }) => {
                let is =
                    |path: &Option<std::path::PathBuf>| path.as_ref().is_some_and(|p| *p.display().to_string() == file);
                let files = [
                    ("cert_file", &tls.cert_file),
                    ("key_file", &tls.key_file),
                    ("client_ca_file", &tls.client_ca_file),
                ];
                let key = files.iter().find(|(_, path)| is(path)).map_or(String::new(), |(key, _)| format!(".{key}"));
                faults.push(format!("tls{key}: {file}: {reason}"));
            }
            Err(e) => faults.push(format!("tls: {e}")),
        }
    }
    faults
}

/// When a certificate file ends: the first of its certificates to do so.
///
/// # Errors
/// [`Error::Tls`] when it cannot be read.
pub fn certificate_end(path: &std::path::Path) -> Result<vitals::Timestamp, Error> {
    tls::end(path)
}

impl Handle {
    /// Where it listens, with the real ports.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whether the router behind the gate proved to live within the last seconds.
    pub fn router_alive(&self) -> bool {
        self.router.is_alive()
    }

    /// How it stands with the broker above; none when there is none.
    pub fn upstream(&self) -> Option<UpstreamHealth> {
        self.upstream.as_ref().map(|health| health.at(tokio::time::Instant::now()))
    }

    /// Whether anybody follows live copies.
    pub fn has_followers(&self) -> bool {
        !self.gate.followers.is_empty()
    }

    /// Gives a live copy to the service clients that follow `topic` (`wire::topic::live`). Never blocks; at most once.
    pub fn publish_live(&self, topic: String, payload: Bytes) {
        if !self.gate.followers.is_empty() {
            self.router.publish(&topic, &payload);
        }
    }

    /// Reads the certificates again; new handshakes use them.
    ///
    /// # Errors
    /// A file that cannot be used; the old certificates stay in force.
    pub fn reload_tls(&self) -> Result<(), Error> {
        self.gate.tls.as_ref().map_or(Ok(()), tls::Tls::reload)
    }

    /// Open connections, those in handshake included.
    pub fn connections(&self) -> usize {
        self.gate.connections()
    }
}
