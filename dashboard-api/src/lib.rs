//! The doctors' side: HTTP API, live stream and pages.
//!
//! Goes in: HTTP requests. Comes out: what the store knows, within the caller's scope, and commands for the stages beside it.
//! Must never: judge a reading, decide who is called, show a record outside the caller's scope, know another stage.

mod access;
pub mod admin;
mod cursor;
mod door;
mod doubt;
mod dto;
mod extract;
mod figures;
mod guard;
mod import;
mod links;
mod live;
mod openapi;
pub mod password;
mod problem;
mod resolution;
mod routes;
mod scope;
mod server;
mod sessions;
mod state;
mod throttle;
mod trail;

pub use import::{ImportReport, Rejected, import_csv};
pub use links::{
    Ask, Certificate, CertifyError, Check, CheckedRule, Links, RehearsalOrder, Replayed, ReplayedReading, RuleContent,
    RuleFault, RuleLinks, RuleReturn, StageFigures, TestClockError,
};
pub use openapi::openapi_json;
pub use server::{Handle, Listener, router, start};

use serde::{Deserialize, Serialize};

/// `[api]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub address: String,
    /// What links in messages begin with, and the origin that browsers see; empty: `http://` and the address.
    pub public_url: String,
    /// A session that nobody uses ends after so many minutes (clinics share computers).
    pub session_idle_minutes: u64,
    /// A session ends after so many hours, used or not.
    pub session_hours: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".into(),
            public_url: String::new(),
            session_idle_minutes: 30,
            session_hours: 12,
        }
    }
}

impl Config {
    /// Every fault of the values themselves, as `key: words`; the address is tried at the start.
    pub fn faults(&self) -> Vec<String> {
        let url = &self.public_url;
        let host = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let usable = host.is_some_and(|h| !h.is_empty() && !h.starts_with(['/', ':', '?', '#']));
        if url.is_empty() || (usable && !url.contains(char::is_whitespace)) {
            return Vec::new();
        }
        vec!["public_url: not an address; write for example \"https://hearthbeat.example\"".to_owned()]
    }
}

/// What can go wrong at the start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("api.address {address}: {reason}")]
    Bind {
        /// As configured.
        address: String,
        /// The system's words.
        reason: String,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}
