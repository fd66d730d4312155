//! Who is logged in. A session ends by the service's clock: idle, absolute, by logging out, by being disabled.
//!
//! Goes in: names, passwords, tokens. Comes out: sessions. Kept in memory, written through, so that a restart logs nobody out.
//! Must never: keep a token (only its hash), tell why a login failed.

use crate::{Config, password, throttle::Throttle};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc, time::Duration};
use store::{Session, Store, StoreError, User};
use tokio::sync::Semaphore;
use vitals::{Timestamp, UserId};

/// Password hashes at a time: each takes 19 MiB and a core.
const HASHES: usize = 4;
/// Logins that may wait for a hash. Full: 503, so that a login storm costs neither memory nor the doctors' time.
const WAITING: usize = 64;
/// A use is written down at most so often.
const TOUCH: Duration = Duration::from_secs(60);

/// Sessions, throttle, and the places at the hash.
#[derive(Debug)]
pub(crate) struct Sessions {
    store: Store,
    idle: Duration,
    longest: Duration,
    live: RwLock<HashMap<[u8; 32], Session>>,
    throttle: Throttle,
    hashes: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Why nobody was let in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Wrong name or password.
    Wrong,
    /// Locked for so long.
    Locked(Duration),
    /// Too many at a time.
    Busy,
    /// The store could not keep it.
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

/// A fresh login: the only moment at which the token is known.
pub(crate) struct Opened {
    pub(crate) token: String,
    pub(crate) user: Arc<User>,
    pub(crate) ends_at: Timestamp,
}

impl Sessions {
    /// Takes up what was kept.
    pub(crate) async fn load(store: Store, config: &Config) -> Result<Self, StoreError> {
        let idle = Duration::from_secs(config.session_idle_minutes.saturating_mul(60));
        let longest = Duration::from_secs(config.session_hours.saturating_mul(3600));
        let now = store.clock().now();
        let live = store.sessions(now.minus(idle)).await?.into_iter().map(|s| (s.key, s)).collect();
        let failures = store.login_failures(now.minus(crate::throttle::WINDOW)).await?;
        Ok(Self {
            store,
            idle,
            longest,
            live: RwLock::new(live),
            throttle: Throttle::restore(failures),
            hashes: Arc::new(Semaphore::new(HASHES)),
            waiting: Arc::new(Semaphore::new(WAITING)),
        })
    }

    /// Lets somebody in, or says why not. Takes the same time for a name that nobody has.
    pub(crate) async fn open(&self, username: &str, password: String) -> Result<Opened, Refused> {
        let now = self.store.clock().now();
        self.throttle.attempt(username, now).map_err(Refused::Locked)?;
        let user = self.store.directory().user_named(username);
        let checked = self.check(user.as_deref().and_then(|u| u.password_hash.clone()), password).await;
        let Some(fits) = checked else {
            self.throttle.forgive(username, now);
            return Err(Refused::Busy);
        };
        let Some(user) = user.filter(|u| fits && !u.disabled) else {
            self.store.note_login_failure(username.to_owned(), now, now.minus(crate::throttle::WINDOW)).await?;
            return Err(Refused::Wrong);
        };
        self.throttle.forgive(username, now);
        let token = password::secret().map_err(|_| Refused::Busy)?;
        let session = Session { key: password::digest(&token), user: user.id, created_at: now, seen_at: now };
        self.store.open_session(session).await?;
        self.live.write().insert(session.key, session);
        Ok(Opened { token, user, ends_at: self.ends_at(&session) })
    }

    /// Whether the password fits; `None` when there is no place at the hash.
    pub(crate) async fn check(&self, stored: Option<String>, password: String) -> Option<bool> {
        let _place = self.waiting.clone().try_acquire_owned().ok()?;
        let _turn = self.hashes.clone().acquire_owned().await.ok()?;
        tokio::task::spawn_blocking(move || password::verify(&password, stored.as_deref())).await.ok()
    }

    /// The user behind a token, if the session still lasts.
    pub(crate) fn find(&self, token: &str) -> Option<(Arc<User>, [u8; 32])> {
        let key = password::digest(token);
        let user = self.user_of(key)?;
        self.touch(key);
        Some((user, key))
    }

    /// The user of a session that still lasts; does not count as use.
    pub(crate) fn user_of(&self, key: [u8; 32]) -> Option<Arc<User>> {
        let session = *self.live.read().get(&key)?;
        if self.store.clock().now() >= self.ends_at(&session) {
            return None;
        }
        self.store.directory().user(session.user).filter(|u| !u.disabled)
    }

    /// When this session ends unless it is used.
    pub(crate) fn ends_at(&self, session: &Session) -> Timestamp {
        session.seen_at.plus(self.idle).min(session.created_at.plus(self.longest))
    }

    /// As [`Sessions::ends_at`], by key.
    pub(crate) fn end_of(&self, key: [u8; 32]) -> Option<Timestamp> {
        self.live.read().get(&key).map(|s| self.ends_at(s))
    }

    fn touch(&self, key: [u8; 32]) {
        let now = self.store.clock().now();
        let mut write = false;
        if let Some(session) = self.live.write().get_mut(&key)
            && now.since(session.seen_at) >= TOUCH
        {
            session.seen_at = now;
            write = true;
        }
        if write {
            let store = self.store.clone();
            // Not awaited: a read must not wait for an fsync, and a lost touch only shortens a session after a crash.
            tokio::spawn(async move { drop(store.touch_session(key, now).await) });
        }
    }

    /// Logs out.
    pub(crate) async fn close(&self, key: [u8; 32]) -> Result<(), StoreError> {
        self.live.write().remove(&key);
        self.store.close_session(key).await
    }

    /// Ends every session of a user.
    pub(crate) async fn close_all_of(&self, user: UserId) -> Result<(), StoreError> {
        self.live.write().retain(|_, s| s.user != user);
        self.store.close_sessions_of(user).await
    }

    /// Ends every session of a user but this one.
    pub(crate) async fn close_others_of(&self, user: UserId, kept: [u8; 32]) -> Result<(), StoreError> {
        let others: Vec<[u8; 32]> =
            self.live.read().values().filter(|s| s.user == user && s.key != kept).map(|s| s.key).collect();
        for key in others {
            self.close(key).await?;
        }
        Ok(())
    }

    /// Counts a guess at a password outside of a login.
    pub(crate) fn guess(&self, username: &str, now: Timestamp) -> Result<(), Duration> {
        self.throttle.attempt(username, now)
    }

    /// The guess was right.
    pub(crate) fn forgive(&self, username: &str, now: Timestamp) {
        self.throttle.forgive(username, now);
    }

    /// Forgets sessions that have ended, so that memory follows the people who are there.
    pub(crate) fn sweep(&self) {
        let now = self.store.clock().now();
        self.live.write().retain(|_, s| now < s.seen_at.plus(self.idle).min(s.created_at.plus(self.longest)));
    }
}
