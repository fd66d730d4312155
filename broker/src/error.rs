//! What can go wrong when the gate starts or reloads.

use crate::config::ConfigError;

/// One enum for the crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that no gate can work with.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is taken, not ours, or not an address.
    #[error("broker.{key} cannot listen on {address}: {source}")]
    Bind {
        /// Which listener.
        key: &'static str,
        /// As configured.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("broker.tls {file}: {reason}")]
    Tls {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What an earlier process kept cannot be read.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// What the broker above needs could not be prepared.
    #[error("broker.upstream: {0}")]
    Upstream(String),
    /// The router behind the gate did not start.
    #[error("the router did not start: {0}")]
    Router(String),
}
