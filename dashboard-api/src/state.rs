//! What every handler shares.

use crate::{Config, Links, live::Hub, problem::Problem, scope::Caller, sessions::Sessions, trail::Trail};
use axum::{extract::FromRequestParts, http::request::Parts};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, Ordering},
};
use store::{Directory, Store};
use tokio::sync::watch;
use vitals::{Timestamp, Zone};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) links: Links,
    pub(crate) config: Config,
    pub(crate) sessions: Sessions,
    pub(crate) trail: Trail,
    pub(crate) hub: Hub,
    /// Turns true when the end begins: streams end, new waits are refused.
    pub(crate) stopping: watch::Receiver<bool>,
    /// Changes under way, each by its receiver: the end waits for them.
    pub(crate) changes: watch::Sender<()>,
    /// When everything stored was last known to be evaluated, in microseconds; 0 before.
    pub(crate) evaluated: AtomicI64,
    /// The OpenAPI document, written once the routes are known.
    pub(crate) openapi: OnceLock<String>,
}

impl std::ops::Deref for Api {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        self.store.clock().now()
    }

    pub(crate) const fn zone(&self) -> &Zone {
        &self.links.zone
    }

    pub(crate) const fn directory(&self) -> &Directory {
        self.store.directory()
    }

    /// RFC 3339 in the site's zone.
    pub(crate) fn time(&self, at: Timestamp) -> String {
        at.to_rfc3339(self.zone())
    }

    /// When every stored reading was last known to be evaluated; none while the rules have never caught up.
    pub(crate) fn evaluated_at(&self) -> Option<Timestamp> {
        let health = self.store.readings().health();
        if health.consumed >= health.position {
            self.evaluated.store(self.now().as_micros(), Ordering::Relaxed);
        }
        let at = self.evaluated.load(Ordering::Relaxed);
        (at != 0).then(|| Timestamp::from_micros(at))
    }

    /// A user's name, where there is such a user.
    pub(crate) fn name_of(&self, user: Option<vitals::UserId>) -> Option<String> {
        user.and_then(|id| self.directory().user(id)).map(|u| u.name.clone())
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    /// Put there by the guard; a route that the guard does not know has none.
    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthenticated)
    }
}
