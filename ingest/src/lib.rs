//! From a device's bytes to durable readings: decode → time → whose → plausible? → admit | flag | exclude | hold.
//!
//! Goes in: what a device published, with its identity from the broker. Comes out: a receipt, after the commit.
//! Must never: trust an identity inside a payload, drop a byte silently, answer before the store has answered.

use bytes::Bytes;
use runtime::Drain;
use serde::{Deserialize, Serialize};
use std::{future::Future, sync::Arc};
use store::Store;
use vitals::Device;
use wire::topic::{Tree, Up};

/// Settings. Default: the built-in ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The site's zone, by IANA name: what a clock without an offset shows, and where a day begins.
    pub time_zone: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { time_zone: "Asia/Shanghai".into() }
    }
}

/// What can go wrong at start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The zone is unknown.
    #[error("[site] time_zone = {0:?}: there is no such zone; use an IANA name such as \"Asia/Shanghai\"")]
    Zone(String),
}

/// Nothing was stored: no PUBACK, close the connection; the device sends again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot store at present")]
pub struct Unavailable;

/// The running stage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    store: Store,
}

/// Starts the stage.
///
/// # Errors
/// [`Error`] for a setting that cannot be used.
pub fn start_blocking(config: &Config, store: Store) -> Result<Handle, Error> {
    vitals::Zone::named(&config.time_zone).map_err(|_| Error::Zone(config.time_zone.clone()))?;
    Ok(Handle { store })
}

/// Starts the stage.
///
/// # Errors
/// [`Error`] for a setting that cannot be used.
#[allow(clippy::unused_async)] // every stage starts alike
pub async fn start(config: Config, store: Store, _drain: &Drain) -> Result<Handle, Error> {
    start_blocking(&config, store)
}

impl Handle {
    /// Takes one publish. Order of commitment is the order of these calls. The answer is the receipt's JSON; empty
    /// for `hello` and `status`, which need none.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing was stored.
    pub fn submit(
        &self,
        _device: Arc<Device>,
        _tree: Tree,
        _route: Up,
        _payload: Bytes,
    ) -> impl Future<Output = Result<Bytes, Unavailable>> + Send + 'static {
        let _ = self.store.clock().now();
        async { Err(Unavailable) }
    }
}
