//! Rows of episodes: written whole with everything that belongs to them, listed un-acknowledged criticals first.
//!
//! Goes in: [`AlertBatch`], [`EpisodeQuery`]. Comes out: [`Episode`]s, timelines. Must never: decide what an episode does.

use super::{
    episodes::{AlertBatch, Episode, EpisodeQuery, OnceKey, StateFilter, TimelineEvent},
    erase::spared,
    keeping::is_erased,
    outbox,
};
use crate::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashSet;
use tokio::sync::watch;
use vitals::{AlertId, Concept, PatientId, Severity, TeamId, Timestamp, UserId};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS episode(id INTEGER PRIMARY KEY, version INTEGER NOT NULL, change INTEGER NOT NULL,
    patient INTEGER NOT NULL, team INTEGER, concept TEXT NOT NULL, severity TEXT NOT NULL, state TEXT NOT NULL,
    active INTEGER NOT NULL, rank INTEGER NOT NULL, owner INTEGER, raised_at INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS episode_one_active ON episode(patient, concept) WHERE active = 1;
CREATE INDEX IF NOT EXISTS episode_by_order ON episode(rank, raised_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS episode_active ON episode(rank, raised_at DESC, id DESC) WHERE active = 1;
CREATE INDEX IF NOT EXISTS episode_by_patient ON episode(patient, raised_at);
CREATE UNIQUE INDEX IF NOT EXISTS episode_by_change ON episode(change);
CREATE TABLE IF NOT EXISTS episode_event(id INTEGER PRIMARY KEY, alert INTEGER NOT NULL, at INTEGER NOT NULL,
    event TEXT NOT NULL, by INTEGER, detail TEXT);
CREATE INDEX IF NOT EXISTS episode_event_by_alert ON episode_event(alert, id);
CREATE TABLE IF NOT EXISTS called(alert INTEGER NOT NULL, user INTEGER NOT NULL, PRIMARY KEY(user, alert)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_command(user INTEGER NOT NULL, key TEXT NOT NULL, alert INTEGER NOT NULL,
    action TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(user, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// Un-acknowledged criticals come first in every list.
pub(super) const fn rank(e: &Episode) -> i64 {
    if matches!(e.severity, Severity::Critical) && e.state.is_unacknowledged() { 0 } else { 1 }
}

fn cursor(text: &str) -> Option<(i64, i64, i64)> {
    let mut parts = text.split('.').map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

pub(super) const EPISODE: &str = "SELECT version, change, body FROM episode";

pub(super) fn episode_row(r: &Row<'_>) -> Result<(i64, Episode), StoreError> {
    let mut episode: Episode = serde_json::from_str(&r.get::<_, String>(2)?)?;
    episode.version = r.get(0)?;
    Ok((r.get(1)?, episode))
}

fn collect(c: &Connection, sql: &str, args: impl rusqlite::Params) -> Result<Vec<(i64, Episode)>, StoreError> {
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query(args)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(episode_row(row)?);
    }
    Ok(out)
}

fn list(c: &Connection, q: &EpisodeQuery) -> Result<Vec<Episode>, StoreError> {
    let limit = if q.limit == 0 { 50 } else { q.limit };
    let (rank, raised, id) = q.after.as_deref().and_then(cursor).unwrap_or((-1, i64::MAX, i64::MAX));
    let state = match q.state {
        StateFilter::Active => "active = 1".to_owned(),
        StateFilter::All => "1".to_owned(),
        StateFilter::One(state) => format!("state = '{}'", state.as_str()),
    };
    let sql = format!(
        "{EPISODE} WHERE {state} AND (rank > ?1 OR (rank = ?1 AND (raised_at < ?2 OR (raised_at = ?2 AND id < ?3))))
         AND (?4 IS NULL OR patient = ?4) AND (?5 IS NULL OR severity = ?5) AND (?6 IS NULL OR owner = ?6)
         AND (?7 IS NULL OR team = ?7) ORDER BY rank, raised_at DESC, id DESC"
    );
    let mut statement = c.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        rank,
        raised,
        id,
        q.patient.map(PatientId::as_i64),
        q.severity.map(Severity::as_str),
        q.owner.map(UserId::as_i64),
        q.team.map(TeamId::as_i64)
    ])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let (_, episode) = episode_row(row)?;
        let seen = match &q.patients {
            Some(allowed) if !allowed.contains(&episode.patient) => match q.or_called {
                Some(user) => was_called(c, episode.id, user)?,
                None => false,
            },
            _ => true,
        };
        if seen {
            out.push(episode);
            if out.len() == limit {
                break;
            }
        }
    }
    Ok(out)
}

fn was_called(c: &Connection, alert: AlertId, user: UserId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM called WHERE user = ?1 AND alert = ?2";
    Ok(c.prepare_cached(sql)?.exists(params![user.as_i64(), alert.as_i64()])?)
}

/// The number of the last change, also when the alert that it was about is erased.
const LAST_CHANGE: &str = "SELECT max(coalesce((SELECT max(change) FROM episode), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM alert_meta WHERE key = 'change'), 0))";

/// Before alerts are erased.
pub(super) fn keep_change(c: &Connection) -> Result<(), StoreError> {
    let last = last_change(c)?;
    set_meta(c, "change", &last.to_string())
}

fn put(c: &Connection, episode: &Episode) -> Result<i64, StoreError> {
    let body = serde_json::to_string(episode)?;
    c.prepare_cached(&format!(
        "INSERT INTO episode(id, version, change, patient, team, concept, severity, state, active, rank, owner, raised_at, body)
         VALUES(?1, 1, ({LAST_CHANGE}) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT(id) DO UPDATE SET version = version + 1, change = excluded.change, team = excluded.team,
             severity = excluded.severity, state = excluded.state, active = excluded.active, rank = excluded.rank,
             owner = excluded.owner, body = excluded.body
         RETURNING change"
    ))?
    .query_row(
        params![
            episode.id.as_i64(),
            episode.patient.as_i64(),
            episode.team.map(TeamId::as_i64),
            episode.concept.as_str(),
            episode.severity.as_str(),
            episode.state.as_str(),
            episode.state.is_active(),
            rank(episode),
            episode.owner.map(UserId::as_i64),
            episode.raised_at.as_micros(),
            body
        ],
        |r| r.get(0),
    )
    .map_err(Into::into)
}

fn apply(c: &Connection, batch: &AlertBatch) -> Result<i64, StoreError> {
    let mut change = 0;
    // An episode that was in memory while its patient was erased is not written again, nor anything about it.
    let (mut erased, mut patients) = (HashSet::new(), HashSet::new());
    for episode in &batch.episodes {
        if is_erased(c, episode.patient)? {
            erased.insert(episode.id);
            patients.insert(episode.patient);
        } else {
            change = put(c, episode)?;
        }
    }
    let stays = |alert: &AlertId| !erased.contains(alert);
    for (alert, e) in batch.events.iter().filter(|(alert, _)| stays(alert)) {
        c.prepare_cached("INSERT INTO episode_event(alert, at, event, by, detail) VALUES(?1, ?2, ?3, ?4, ?5)")?
            .execute(params![alert.as_i64(), e.at.as_micros(), e.event, e.by.map(UserId::as_i64), e.detail])?;
    }
    for (alert, user) in batch.called.iter().filter(|(alert, _)| stays(alert)) {
        c.prepare_cached("INSERT OR IGNORE INTO called(alert, user) VALUES(?1, ?2)")?
            .execute(params![alert.as_i64(), user.as_i64()])?;
    }
    for alert in &batch.withdraw {
        outbox::withdraw(c, *alert)?;
    }
    for message in batch.messages.iter().filter(|m| m.alert.as_ref().is_none_or(stays)) {
        if let Some(message) = spared(message, &patients) {
            outbox::insert(c, &message)?;
        }
    }
    for (id, attempts) in &batch.settled {
        outbox::settle(c, id, *attempts)?;
    }
    for (finding, alert) in &batch.attached {
        super::findings::set_alert(c, *finding, *alert)?;
    }
    if let Some((user, key, alert, action, at)) = batch.command.as_ref().filter(|(_, _, alert, ..)| stays(alert)) {
        c.execute(
            "INSERT INTO alert_command(user, key, alert, action, at) VALUES(?1, ?2, ?3, ?4, ?5)",
            params![user.as_i64(), key, alert.as_i64(), action, at.as_micros()],
        )?;
    }
    if let Some(position) = batch.position {
        set_meta(c, "position", &position.to_string())?;
    }
    Ok(change)
}

fn meta(c: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    Ok(c.query_row("SELECT value FROM alert_meta WHERE key = ?1", [key], |r| r.get(0)).optional()?)
}

fn set_meta(c: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO alert_meta(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value";
    c.prepare_cached(sql)?.execute([key, value])?;
    Ok(())
}

impl Store {
    /// One alert.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn episode(&self, id: AlertId) -> Result<Option<Episode>, StoreError> {
        self.registry
            .read(move |c| Ok(collect(c, &format!("{EPISODE} WHERE id = ?1"), [id.as_i64()])?.pop().map(|(_, e)| e)))
            .await
    }

    /// Alerts: un-acknowledged criticals first, then the newest.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn episodes(&self, q: EpisodeQuery) -> Result<Vec<Episode>, StoreError> {
        self.registry.read(move |c| list(c, &q)).await
    }

    /// The newest closed alert of this patient and concept.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn last_closed(&self, patient: PatientId, concept: Concept) -> Result<Option<AlertId>, StoreError> {
        let sql = "SELECT id FROM episode WHERE patient = ?1 AND concept = ?2 AND active = 0 ORDER BY raised_at DESC, change DESC LIMIT 1";
        self.registry
            .read(move |c| {
                let id = c.prepare_cached(sql)?.query_row(params![patient.as_i64(), concept.as_str()], |r| r.get(0));
                Ok(id.optional()?.map(AlertId::from_i64))
            })
            .await
    }

    /// What happened to an alert, oldest first.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn timeline(&self, id: AlertId) -> Result<Vec<TimelineEvent>, StoreError> {
        let sql = "SELECT at, event, by, detail FROM episode_event WHERE alert = ?1 ORDER BY id";
        self.registry
            .read(move |c| {
                let mut statement = c.prepare_cached(sql)?;
                let rows = statement.query_map([id.as_i64()], |r| {
                    Ok(TimelineEvent {
                        at: Timestamp::from_micros(r.get(0)?),
                        event: r.get(1)?,
                        by: r.get::<_, Option<i64>>(2)?.map(UserId::from_i64),
                        detail: r.get(3)?,
                    })
                })?;
                rows.map(|r| Ok(r?)).collect()
            })
            .await
    }

    /// Whether a step called this user to this alert: then they may read and acknowledge it.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn was_called(&self, alert: AlertId, user: UserId) -> Result<bool, StoreError> {
        self.registry.read(move |c| was_called(c, alert, user)).await
    }

    /// The highest number of a change to any alert.
    pub fn alert_changes(&self) -> watch::Receiver<i64> {
        self.registry.live().alerts.subscribe()
    }

    /// Alerts whose latest change is after `n`, in order of change, for the live stream.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn episodes_changed_after(&self, n: i64, limit: usize) -> Result<Vec<(i64, Episode)>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!("{EPISODE} WHERE change > ?1 ORDER BY change LIMIT ?2");
        self.registry.read(move |c| collect(c, &sql, [n, limit])).await
    }

    /// Every active episode; the alerts stage asks once, at start.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn active_episodes(&self) -> Result<Vec<Episode>, StoreError> {
        let all =
            self.registry.read(|c| collect(c, &format!("{EPISODE} WHERE active = 1 ORDER BY change"), [])).await?;
        Ok(all.into_iter().map(|(_, e)| e).collect())
    }

    /// Findings up to this sequence are taken in by the alerts stage; 0 at first.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn alerts_position(&self) -> Result<i64, StoreError> {
        self.registry.read(|c| Ok(meta(c, "position")?.and_then(|p| p.parse().ok()).unwrap_or(0))).await
    }

    /// Takes a key for what is no single alert's; says whether it stands for this digest, now or since before.
    ///
    /// # Errors
    /// As every write.
    pub async fn take_once(&self, user: UserId, once: OnceKey, now: Timestamp) -> Result<bool, StoreError> {
        self.registry
            .write(move |c| {
                c.execute(
                    "INSERT OR IGNORE INTO alert_command(user, key, alert, action, at) VALUES(?1, ?2, 0, ?3, ?4)",
                    params![user.as_i64(), once.key, once.digest, now.as_micros()],
                )?;
                let sql = "SELECT alert = 0 AND action = ?3 FROM alert_command WHERE user = ?1 AND key = ?2";
                Ok(c.query_row(sql, params![user.as_i64(), once.key, once.digest], |r| r.get(0))?)
            })
            .await
    }

    /// What an idempotency key of this user was used for: the alert and the body's digest.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn alert_command(&self, user: UserId, key: String) -> Result<Option<(AlertId, String)>, StoreError> {
        let sql = "SELECT alert, action FROM alert_command WHERE user = ?1 AND key = ?2";
        self.registry
            .read(move |c| {
                let found = c
                    .prepare_cached(sql)?
                    .query_row(params![user.as_i64(), key], |r| Ok((AlertId::from_i64(r.get(0)?), r.get(1)?)));
                Ok(found.optional()?)
            })
            .await
    }

    /// Stores a cycle of the alerts stage whole, or nothing of it.
    ///
    /// # Errors
    /// As every write.
    pub async fn commit_alerts(&self, batch: AlertBatch) -> Result<(), StoreError> {
        let live = self.registry.live().clone();
        let sends = !(batch.messages.is_empty() && batch.withdraw.is_empty());
        self.registry
            .write_then(
                move |c| apply(c, &batch),
                move |change| {
                    if *change > 0 {
                        live.alerts.send_replace(*change);
                    }
                    if sends {
                        live.outbox.send_modify(|n| *n += 1);
                    }
                },
            )
            .await
            .map(|_| ())
    }

    /// The key with which links in messages are signed: made once, never shown.
    ///
    /// # Errors
    /// As every write.
    pub async fn link_key(&self) -> Result<[u8; 32], StoreError> {
        self.registry
            .write(|c| {
                if let Some(known) = meta(c, "link_key")?
                    && let Ok(key) = <[u8; 32]>::try_from(hex::decode(known).unwrap_or_default())
                {
                    return Ok(key);
                }
                let mut key = [0_u8; 32];
                getrandom::fill(&mut key)
                    .map_err(|e| StoreError::Database { what: "randomness", reason: e.to_string() })?;
                set_meta(c, "link_key", &hex::encode(key))?;
                Ok(key)
            })
            .await
    }
}

pub(super) fn last_change(c: &Connection) -> Result<i64, StoreError> {
    Ok(c.query_row(LAST_CHANGE, [], |r| r.get(0))?)
}
