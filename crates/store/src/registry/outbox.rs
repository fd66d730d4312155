//! Messages on their way: what is to be sent, to which address, how often it was tried, what became of it.
//!
//! A row's id is its stable key and its body never changes: a retry is the same bytes. Rows are made by
//! [`Store::commit_alerts`] together with the episode that wants them. Must never: send, or print a body.

use super::episodes::{Delivery, DeliveryState};
use crate::{Store, StoreError};
use rusqlite::{Connection, Row, params};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::watch;
use vitals::{AlertId, Timestamp, UserId};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, alert INTEGER,
    kind TEXT NOT NULL, channel TEXT NOT NULL, user INTEGER, address TEXT NOT NULL, level INTEGER NOT NULL,
    cycle INTEGER NOT NULL, critical INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL,
    created_at INTEGER NOT NULL, not_before INTEGER NOT NULL, expires_at INTEGER NOT NULL, body TEXT NOT NULL,
    word TEXT, unsettled INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox(critical, not_before, seq) WHERE state IN ('pending', 'failed_temp');
CREATE INDEX IF NOT EXISTS outbox_by_alert ON outbox(alert, seq);
CREATE INDEX IF NOT EXISTS outbox_unsettled ON outbox(seq) WHERE unsettled = 1;
CREATE TABLE IF NOT EXISTS dead_address(user INTEGER NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL,
    user_version INTEGER NOT NULL, PRIMARY KEY(user, channel, address)) WITHOUT ROWID;
";

/// A row to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// The stable key: `webhook-id`.
    pub id: String,
    /// Which alert it is about.
    pub alert: Option<AlertId>,
    /// `alert.notification`, `alert.acknowledged`, …
    pub kind: &'static str,
    /// A configured channel's name.
    pub channel: String,
    /// To whom.
    pub user: Option<UserId>,
    /// On that channel.
    pub address: String,
    /// Step of the chain; 0 where that means nothing.
    pub level: u32,
    /// Cycle of the episode; 0 where that means nothing.
    pub cycle: u32,
    /// It goes in the lane that nothing else can block.
    pub critical: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// After this it is not sent any more.
    pub expires_at: Timestamp,
    /// The bytes, now and at every retry.
    pub body: String,
}

/// A row that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What is shown of it.
    pub delivery: Delivery,
    /// The lane.
    pub critical: bool,
    /// After this it is not sent any more.
    pub expires_at: Timestamp,
    /// The bytes.
    pub body: String,
}

/// What a channel said of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken.
    Accepted,
    /// Not taken; the same bytes again at `at`. `ask` tells the stage that the person should be reached otherwise.
    Again {
        /// Not before.
        at: Timestamp,
        /// The channel looks dead: use the person's next contact too.
        ask: bool,
        /// After this it is not sent any more.
        expires_at: Timestamp,
    },
    /// Not tried: it may not leave before `at`. Does not count as an attempt.
    Held {
        /// Not before.
        at: Timestamp,
        /// After this it is not sent any more.
        expires_at: Timestamp,
    },
    /// Refused for good. `disable`: this address is dead until it takes a message or the user's record is changed.
    Refused {
        /// Do not use the address again.
        disable: bool,
    },
    /// It was too late to send it; does not count as an attempt.
    Expired,
}

/// An address that a provider says is gone: user, channel, address, and the user's version when that was said.
pub type DeadAddress = (UserId, String, String, i64);

pub(super) const DELIVERY: &str =
    "SELECT id, alert, kind, channel, user, address, level, cycle, attempts, state, created_at,
    not_before, word, critical, expires_at, body, seq, unsettled FROM outbox";

pub(super) fn delivery(r: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: r.get(0)?,
        alert: r.get::<_, Option<i64>>(1)?.map(AlertId::from_i64),
        kind: r.get(2)?,
        channel: r.get(3)?,
        user: r.get::<_, Option<i64>>(4)?.map(UserId::from_i64),
        address: r.get(5)?,
        level: r.get(6)?,
        cycle: r.get(7)?,
        attempts: r.get(8)?,
        state: DeliveryState::parse(&r.get::<_, String>(9)?).unwrap_or(DeliveryState::Failed),
        created_at: Timestamp::from_micros(r.get(10)?),
        not_before: Timestamp::from_micros(r.get(11)?),
        provider_word: r.get(12)?,
        critical: r.get(13)?,
        unsettled: r.get(17)?,
    })
}

fn outgoing(r: &Row<'_>) -> rusqlite::Result<Outgoing> {
    Ok(Outgoing {
        delivery: delivery(r)?,
        critical: r.get(13)?,
        expires_at: Timestamp::from_micros(r.get(14)?),
        body: r.get(15)?,
    })
}

fn collect<T>(
    c: &Connection,
    sql: &str,
    args: impl rusqlite::Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map(args, row)?;
    rows.map(|r| Ok(r?)).collect()
}

pub(super) fn insert(c: &Connection, m: &NewMessage) -> Result<(), StoreError> {
    c.prepare_cached(
        "INSERT OR IGNORE INTO outbox(id, alert, kind, channel, user, address, level, cycle, critical, state, created_at,
             not_before, expires_at, body)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'pending', ?10, ?10, ?11, ?12)",
    )?
    .execute(params![
        m.id,
        m.alert.map(AlertId::as_i64),
        m.kind,
        m.channel,
        m.user.map(UserId::as_i64),
        m.address,
        m.level,
        m.cycle,
        m.critical,
        m.created_at.as_micros(),
        m.expires_at.as_micros(),
        m.body
    ])?;
    Ok(())
}

/// Waiting notifications of an alert are no longer wanted.
pub(super) fn withdraw(c: &Connection, alert: AlertId) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET state = 'cancelled', unsettled = 0
               WHERE alert = ?1 AND kind = 'alert.notification' AND state IN ('pending', 'failed_temp')";
    c.prepare_cached(sql)?.execute([alert.as_i64()])?;
    Ok(())
}

/// The failure of this attempt has been dealt with; one that came after it has its own turn.
pub(super) fn settle(c: &Connection, id: &str, attempts: u32) -> Result<(), StoreError> {
    c.prepare_cached("UPDATE outbox SET unsettled = 0 WHERE id = ?1 AND attempts = ?2")?
        .execute(params![id, attempts])?;
    Ok(())
}

pub(super) fn dead(c: &Connection) -> Result<HashSet<DeadAddress>, StoreError> {
    let sql = "SELECT user, channel, address, user_version FROM dead_address";
    let all = collect(c, sql, [], |r| Ok((UserId::from_i64(r.get(0)?), r.get(1)?, r.get(2)?, r.get(3)?)))?;
    Ok(all.into_iter().collect())
}

fn mark(c: &Connection, id: &str, outcome: &Outcome, word: &str, user_version: i64) -> Result<(), StoreError> {
    // What was withdrawn meanwhile stays so, unless the message did arrive.
    let waiting = "state IN ('pending', 'failed_temp')";
    match outcome {
        Outcome::Accepted => {
            let sql = "UPDATE outbox SET state = 'accepted', attempts = attempts + 1, word = ?2, unsettled = 0
                       WHERE id = ?1 AND state IN ('pending', 'failed_temp', 'cancelled')";
            c.prepare_cached(sql)?.execute([id, word])?;
            let lives = "DELETE FROM dead_address WHERE (user, channel, address) IN
                         (SELECT user, channel, address FROM outbox WHERE id = ?1)";
            c.prepare_cached(lives)?.execute([id])?;
        }
        Outcome::Again { at, ask, expires_at } => {
            let sql = format!(
                "UPDATE outbox SET state = 'failed_temp', attempts = attempts + 1, word = ?2, not_before = ?3,
                 unsettled = max(unsettled, ?4), expires_at = ?5 WHERE id = ?1 AND {waiting}"
            );
            c.prepare_cached(&sql)?.execute(params![id, word, at.as_micros(), ask, expires_at.as_micros()])?;
        }
        Outcome::Held { at, expires_at } => {
            let sql = format!("UPDATE outbox SET not_before = ?2, expires_at = ?3 WHERE id = ?1 AND {waiting}");
            c.prepare_cached(&sql)?.execute(params![id, at.as_micros(), expires_at.as_micros()])?;
        }
        Outcome::Refused { disable } => {
            let sql = format!(
                "UPDATE outbox SET state = 'failed', attempts = attempts + 1, word = ?2, unsettled = 1
                 WHERE id = ?1 AND {waiting}"
            );
            c.prepare_cached(&sql)?.execute([id, word])?;
            if *disable {
                c.execute(
                    "INSERT OR REPLACE INTO dead_address(user, channel, address, user_version)
                     SELECT user, channel, address, ?2 FROM outbox WHERE id = ?1 AND user IS NOT NULL",
                    params![id, user_version],
                )?;
            }
        }
        Outcome::Expired => {
            let sql = format!("UPDATE outbox SET state = 'expired', unsettled = 0 WHERE id = ?1 AND {waiting}");
            c.prepare_cached(&sql)?.execute([id])?;
        }
    }
    Ok(())
}

impl Store {
    /// Messages about one alert, oldest first.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn deliveries_of(&self, id: AlertId) -> Result<Vec<Delivery>, StoreError> {
        let sql = format!("{DELIVERY} WHERE alert = ?1 ORDER BY seq");
        self.registry.read(move |c| collect(c, &sql, [id.as_i64()], delivery)).await
    }

    /// One message.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn delivery(&self, id: String) -> Result<Option<Delivery>, StoreError> {
        let sql = format!("{DELIVERY} WHERE id = ?1");
        self.registry.read(move |c| Ok(collect(c, &sql, [id], delivery)?.pop())).await
    }

    /// Every message, newest first; `after` is the id of the last one seen.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn deliveries(
        &self,
        state: Option<DeliveryState>,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "{DELIVERY} WHERE (?1 IS NULL OR state = ?1)
             AND (?2 IS NULL OR seq < (SELECT seq FROM outbox WHERE id = ?2)) ORDER BY seq DESC LIMIT ?3"
        );
        let state = state.map(DeliveryState::as_str);
        self.registry.read(move |c| collect(c, &sql, params![state, after, limit], delivery)).await
    }

    /// Rows of one lane that are due, in order of their time.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn outbox_due(&self, now: Timestamp, critical: bool, limit: usize) -> Result<Vec<Outgoing>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "{DELIVERY} WHERE state IN ('pending', 'failed_temp') AND critical = ?1 AND not_before <= ?2
             ORDER BY not_before, seq LIMIT ?3"
        );
        self.registry.read(move |c| collect(c, &sql, params![critical, now.as_micros(), limit], outgoing)).await
    }

    /// The earliest moment after `after` at which a waiting row may be sent.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn outbox_next(&self, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT min(not_before) FROM outbox
                   WHERE state IN ('pending', 'failed_temp') AND critical = ?1 AND not_before > ?2";
        self.registry
            .read(move |c| {
                let lane = |critical: bool| -> Result<Option<i64>, StoreError> {
                    Ok(c.prepare_cached(sql)?.query_row(params![critical, after.as_micros()], |r| r.get(0))?)
                };
                Ok([lane(true)?, lane(false)?].into_iter().flatten().min().map(Timestamp::from_micros))
            })
            .await
    }

    /// Criticals that wait for a moment after `latest`, later than they ever may, are due `now`.
    ///
    /// # Errors
    /// As every write.
    pub async fn outbox_bring_forward(&self, now: Timestamp, latest: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE outbox SET not_before = ?1
                   WHERE state IN ('pending', 'failed_temp') AND critical = 1 AND not_before > ?2";
        self.registry.write(move |c| Ok(c.execute(sql, [now.as_micros(), latest.as_micros()]).map(drop)?)).await
    }

    /// Whether a row still waits to be sent: asked right before sending.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn outbox_wanted(&self, id: String) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM outbox WHERE id = ?1 AND state IN ('pending', 'failed_temp')";
        self.registry.read(move |c| Ok(c.prepare_cached(sql)?.exists([id])?)).await
    }

    /// Writes down what became of an attempt. `word` is the provider's, without any part of the message.
    ///
    /// # Errors
    /// As every write.
    pub async fn outbox_mark(&self, sent: &Delivery, outcome: Outcome, word: String) -> Result<(), StoreError> {
        let live = self.registry.live().clone();
        let id = sent.id.clone();
        let version = sent.user.and_then(|u| self.directory().user(u)).map_or(0, |u| u.version);
        let address = sent.user.map(|user| (user, sent.channel.clone(), sent.address.clone(), version));
        let (gone, lives) = (outcome == Outcome::Refused { disable: true }, outcome == Outcome::Accepted);
        self.registry
            .write_then(
                move |c| mark(c, &id, &outcome, &word, version),
                move |()| {
                    let Some(address) = address.filter(|_| gone || lives) else { return };
                    let is_it = |d: &DeadAddress| (d.0, &d.1, &d.2) == (address.0, &address.1, &address.2);
                    let mut dead = live.dead.write();
                    if gone || dead.iter().any(is_it) {
                        let mut all = HashSet::clone(&dead);
                        all.retain(|d| !is_it(d));
                        all.extend(gone.then(|| address.clone()));
                        *dead = Arc::new(all);
                    }
                },
            )
            .await
    }

    /// Sends a message again now, whatever became of it; an operator asks for this.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn outbox_retry(&self, id: String, now: Timestamp, expires_at: Timestamp) -> Result<(), StoreError> {
        let live = self.registry.live().clone();
        let sql = "UPDATE outbox SET state = 'pending', not_before = ?2, expires_at = max(expires_at, ?3)
             WHERE id = ?1 AND body <> ''";
        self.registry
            .write_then(
                move |c| match c.execute(sql, params![id, now.as_micros(), expires_at.as_micros()])? {
                    0 => Err(StoreError::NotFound("delivery")),
                    _ => Ok(()),
                },
                move |()| live.outbox.send_modify(|n| *n += 1),
            )
            .await
    }

    /// Takes the bodies of messages made before `from` that are done with; what became of them stays. Returns how many.
    ///
    /// # Errors
    /// As every write.
    pub async fn drop_old_messages(&self, from: Timestamp) -> Result<u64, StoreError> {
        let sql = "UPDATE outbox SET body = '' WHERE created_at < ?1 AND body <> ''
                   AND state NOT IN ('pending', 'failed_temp')";
        self.registry.write(move |c| Ok(c.execute(sql, [from.as_micros()])? as u64)).await
    }

    /// Deliveries that failed and have not been dealt with, oldest first. The addresses of those that are gone for good are
    /// among [`Store::dead_addresses`] by then.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn outbox_unsettled(&self, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!("{DELIVERY} WHERE unsettled = 1 ORDER BY seq LIMIT ?1");
        let failed = self.registry.read(move |c| collect(c, &sql, [limit], delivery)).await?;
        if !failed.is_empty() {
            // The file knows of a dead address a moment before memory does, and in that moment it would be called again:
            // the writer comes to this only when it has told memory.
            self.registry.write(|_| Ok(())).await?;
        }
        Ok(failed)
    }

    /// Counts new and withdrawn rows, so that the dispatcher can wait for one.
    pub fn outbox_changes(&self) -> watch::Receiver<u64> {
        self.registry.live().outbox.subscribe()
    }

    /// Addresses that providers say are gone.
    pub fn dead_addresses(&self) -> Arc<HashSet<DeadAddress>> {
        self.registry.live().dead.read().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlertBatch;
    use runtime::{Clock, Drain};
    use std::sync::mpsc;

    /// A critical that is due.
    async fn one_due(store: &Store) -> Delivery {
        let message = NewMessage {
            id: "one".into(),
            alert: None,
            kind: "service.warning",
            channel: "webhook".into(),
            user: Some(UserId::new(7)),
            address: "gone".into(),
            level: 0,
            cycle: 0,
            critical: true,
            created_at: store.clock().now(),
            expires_at: Timestamp::MAX,
            body: "{}".into(),
        };
        store.commit_alerts(AlertBatch { messages: vec![message], ..AlertBatch::default() }).await.expect("a message");
        store.outbox_due(store.clock().now(), true, 1).await.expect("read").pop().expect("it is due").delivery
    }

    #[tokio::test]
    async fn a_failure_has_its_turn_whatever_the_same_message_meets_meanwhile() {
        let (folder, (_handle, drain)) = (tempfile::tempdir().expect("a folder"), Drain::new());
        let store = Store::open(folder.path(), Clock::system(), &drain).expect("a store");
        let sent = one_due(&store).await;
        let again = |ask| Outcome::Again { at: sent.created_at, ask, expires_at: Timestamp::MAX };
        let mark = async |outcome| store.outbox_mark(&sent, outcome, "503".into()).await.expect("written");
        let unsettled = async || store.outbox_unsettled(9).await.expect("read");
        let settle = async |heard: &Delivery| {
            let settled = vec![(heard.id.clone(), heard.attempts)];
            store.commit_alerts(AlertBatch { settled, ..AlertBatch::default() }).await.expect("written");
        };
        mark(again(true)).await;
        mark(again(false)).await;
        let heard = unsettled().await.pop().expect("the next attempt took nothing of it");
        mark(Outcome::Refused { disable: false }).await;
        settle(&heard).await;
        let refused = unsettled().await.pop().expect("that was another failure than the one that had its turn");
        assert_eq!(refused.state, DeliveryState::Failed);
        settle(&refused).await;
        assert!(unsettled().await.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_hears_of_a_failure_hears_no_later_that_the_address_is_gone() {
        let (folder, clock, (_handle, drain)) = (tempfile::tempdir().expect("a folder"), Clock::system(), Drain::new());
        let store = Store::open(folder.path(), clock.clone(), &drain).expect("a store");
        let sent = one_due(&store).await;

        // Memory cannot be told while somebody reads it; the file is written all the same.
        let live = store.registry.live().clone();
        let ((held, is_held), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
        let reader = std::thread::spawn(move || {
            let guard = live.dead.read();
            held.send(()).expect("the test waits");
            let _ = released.recv();
            drop(guard);
        });
        is_held.recv().expect("held");
        let (to, gone) = (store.clone(), Outcome::Refused { disable: true });
        let marked = tokio::spawn(async move { to.outbox_mark(&sent, gone, "410".into()).await });
        let in_file = async || store.delivery("one".into()).await.expect("read").expect("there").state;
        while in_file().await != DeliveryState::Failed {}
        let mut unsettled = Box::pin(store.outbox_unsettled(1));
        for _ in 0..50 {
            tokio::select! {
                biased;
                early = &mut unsettled => panic!("told of {early:?}, and nobody knows that its address is gone"),
                state = in_file() => assert_eq!(state, DeliveryState::Failed),
            }
        }
        release.send(()).expect("the reader waits");
        assert_eq!(unsettled.await.expect("read").len(), 1);
        assert!(store.dead_addresses().iter().any(|d| d.2 == "gone"));
        marked.await.expect("it ends").expect("it is written");
        reader.join().expect("the reader ends");
    }
}
