//! Sessions of people who logged in, and failed logins by user name.
//!
//! Goes in: hashes of tokens, moments of the service's clock. Comes out: the same, for the start of the process.
//! Must never: see a token or a password; decide who may log in.

use crate::{Store, StoreError};
use rusqlite::{Connection, params};
use vitals::{Timestamp, UserId};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS session(key BLOB PRIMARY KEY, user INTEGER NOT NULL, created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS session_by_user ON session(user);
CREATE TABLE IF NOT EXISTS login_failure(username TEXT NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS login_failure_by_time ON login_failure(at);
";

/// Somebody is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the token.
    pub key: [u8; 32],
    /// Who.
    pub user: UserId,
    /// Logged in at.
    pub created_at: Timestamp,
    /// Last used at, to about a minute.
    pub seen_at: Timestamp,
}

impl Store {
    /// Keeps a new session.
    ///
    /// # Errors
    /// As every write.
    pub async fn open_session(&self, session: Session) -> Result<(), StoreError> {
        self.registry
            .write(move |c| {
                c.prepare_cached("INSERT INTO session(key, user, created_at, seen_at) VALUES(?1, ?2, ?3, ?4)")?
                    .execute(params![
                        session.key,
                        session.user.as_i64(),
                        session.created_at.as_micros(),
                        session.seen_at.as_micros()
                    ])?;
                Ok(())
            })
            .await
    }

    /// Writes down that a session was used.
    ///
    /// # Errors
    /// As every write.
    pub async fn touch_session(&self, key: [u8; 32], seen_at: Timestamp) -> Result<(), StoreError> {
        self.registry
            .write(move |c| {
                c.prepare_cached("UPDATE session SET seen_at = ?2 WHERE key = ?1")?
                    .execute(params![key, seen_at.as_micros()])?;
                Ok(())
            })
            .await
    }

    /// Forgets one session.
    ///
    /// # Errors
    /// As every write.
    pub async fn close_session(&self, key: [u8; 32]) -> Result<(), StoreError> {
        self.registry
            .write(move |c| {
                c.execute("DELETE FROM session WHERE key = ?1", params![key])?;
                Ok(())
            })
            .await
    }

    /// Forgets every session of a user.
    ///
    /// # Errors
    /// As every write.
    pub async fn close_sessions_of(&self, user: UserId) -> Result<(), StoreError> {
        self.registry
            .write(move |c| {
                c.execute("DELETE FROM session WHERE user = ?1", params![user.as_i64()])?;
                Ok(())
            })
            .await
    }

    /// Sessions used at or after `seen_since`; the older ones are deleted.
    ///
    /// # Errors
    /// As every write.
    pub async fn sessions(&self, seen_since: Timestamp) -> Result<Vec<Session>, StoreError> {
        self.registry
            .write(move |c| {
                c.execute("DELETE FROM session WHERE seen_at < ?1", params![seen_since.as_micros()])?;
                read_sessions(c)
            })
            .await
    }

    /// Writes down a failed login; failures before `forget_before` are deleted.
    ///
    /// # Errors
    /// As every write.
    pub async fn note_login_failure(
        &self,
        username: String,
        at: Timestamp,
        forget_before: Timestamp,
    ) -> Result<(), StoreError> {
        self.registry
            .write(move |c| {
                c.prepare_cached("DELETE FROM login_failure WHERE at < ?1")?.execute([forget_before.as_micros()])?;
                c.prepare_cached("INSERT INTO login_failure(username, at) VALUES(?1, ?2)")?
                    .execute(params![username, at.as_micros()])?;
                Ok(())
            })
            .await
    }

    /// Failed logins at or after `since`, oldest first.
    ///
    /// # Errors
    /// As every read.
    pub async fn login_failures(&self, since: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.registry
            .read(move |c| {
                let mut statement = c.prepare("SELECT username, at FROM login_failure WHERE at >= ?1 ORDER BY at")?;
                let rows = statement.query_map([since.as_micros()], |r| {
                    Ok((r.get::<_, String>(0)?, Timestamp::from_micros(r.get(1)?)))
                })?;
                rows.map(|r| Ok(r?)).collect()
            })
            .await
    }
}

fn read_sessions(c: &Connection) -> Result<Vec<Session>, StoreError> {
    let mut statement = c.prepare("SELECT key, user, created_at, seen_at FROM session")?;
    let rows = statement.query_map([], |r| {
        Ok(Session {
            key: r.get(0)?,
            user: UserId::from_i64(r.get(1)?),
            created_at: Timestamp::from_micros(r.get(2)?),
            seen_at: Timestamp::from_micros(r.get(3)?),
        })
    })?;
    rows.map(|r| Ok(r?)).collect()
}
