//! What is known of keeping itself: backups that were made, patients that were erased, the zone in which the books' days
//! are counted.
//!
//! Must never: hold a name or a value; an erased patient's id stays, so that nothing of theirs is written again.

use super::{Registry, connect};
use crate::{Store, StoreError, Worn};
use foldhash::HashSet;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;
use vitals::{PatientId, Timestamp};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS backup(path TEXT PRIMARY KEY, made_at INTEGER NOT NULL, expires_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasure(patient INTEGER PRIMARY KEY, begun_at INTEGER NOT NULL, ended_at INTEGER, worn TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS site(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// A backup that was made of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRecord {
    /// Where it was put.
    pub path: String,
    /// When, on real time.
    pub made_at: Timestamp,
    /// From then on it is to be deleted; nobody does that but its owner.
    pub expires_at: Timestamp,
}

/// Whether this patient was erased: then nothing of theirs may be written any more.
pub(super) fn is_erased(c: &Connection, patient: PatientId) -> Result<bool, StoreError> {
    Ok(c.prepare_cached("SELECT 1 FROM erasure WHERE patient = ?1")?.exists([patient.as_i64()])?)
}

/// Everybody of whom [`is_erased`] is true.
pub(super) fn erased(c: &Connection) -> Result<HashSet<PatientId>, StoreError> {
    let mut statement = c.prepare("SELECT patient FROM erasure")?;
    let rows = statement.query_map([], |r| r.get(0).map(PatientId::from_i64))?;
    rows.map(|r| Ok(r?)).collect()
}

/// An erasure that has begun and not ended: when the patient wore which device.
pub(super) fn begun(c: &Connection, patient: PatientId) -> Result<Option<Vec<Worn>>, StoreError> {
    let sql = "SELECT worn FROM erasure WHERE patient = ?1";
    let worn: Option<String> = c.query_row(sql, [patient.as_i64()], |r| r.get(0)).optional()?;
    worn.map(|text| Ok(serde_json::from_str(&text)?)).transpose()
}

/// Every erasure that has begun and not ended.
pub(super) fn open_erasures(c: &Connection) -> Result<Vec<(PatientId, Vec<Worn>)>, StoreError> {
    let mut statement = c.prepare("SELECT patient, worn FROM erasure WHERE ended_at IS NULL")?;
    let rows = statement.query_map([], |r| Ok((r.get(0).map(PatientId::from_i64)?, r.get::<_, String>(1)?)))?;
    rows.map(|row| row.map_err(StoreError::from).and_then(|(p, worn)| Ok((p, serde_json::from_str(&worn)?)))).collect()
}

fn backups(c: &Connection) -> Result<Vec<BackupRecord>, StoreError> {
    let mut statement = c.prepare("SELECT path, made_at, expires_at FROM backup ORDER BY made_at, path")?;
    let rows = statement.query_map([], |r| {
        Ok(BackupRecord {
            path: r.get(0)?,
            made_at: Timestamp::from_micros(r.get(1)?),
            expires_at: Timestamp::from_micros(r.get(2)?),
        })
    })?;
    rows.map(|r| Ok(r?)).collect()
}

fn has_table(c: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(c.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1")?.exists([name])?)
}

/// Writes a backup down in the installation of which it was made, beside a running service too. Returns every one that
/// is written down there.
///
/// # Errors
/// When the registry cannot be written.
pub fn record_backup(folder: &Path, made: &BackupRecord) -> Result<Vec<BackupRecord>, StoreError> {
    let c = connect(&folder.join("registry.db"))?;
    // A file that was not yet brought forward is not brought forward by a copy of it: its own program may go on.
    if !has_table(&c, "backup")? {
        return Ok(Vec::new());
    }
    c.execute(
        "INSERT OR REPLACE INTO backup(path, made_at, expires_at) VALUES(?1, ?2, ?3)",
        params![made.path, made.made_at.as_micros(), made.expires_at.as_micros()],
    )?;
    backups(&c)
}

/// The zone in which the service of this folder counted its days; none before it ran.
///
/// # Errors
/// When the registry cannot be read.
pub fn site_zone(folder: &Path) -> Result<Option<String>, StoreError> {
    let c = connect(&folder.join("registry.db"))?;
    c.execute_batch("PRAGMA query_only=ON")?;
    if !has_table(&c, "site")? {
        return Ok(None);
    }
    Ok(c.query_row("SELECT value FROM site WHERE key = 'time_zone'", [], |r| r.get(0)).optional()?)
}

impl Store {
    /// Every backup that was written down, oldest first.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn backups(&self) -> Result<Vec<BackupRecord>, StoreError> {
        self.registry.read(backups).await
    }

    /// Forgets a backup that is no longer there.
    ///
    /// # Errors
    /// As every write.
    pub async fn forget_backup(&self, path: String) -> Result<(), StoreError> {
        self.registry.write(move |c| Ok(c.execute("DELETE FROM backup WHERE path = ?1", [path]).map(drop)?)).await
    }

    /// Writes down the zone in which times are read and days are counted, for the next start and for commands that run
    /// without the configuration.
    ///
    /// # Errors
    /// As every write.
    pub async fn keep_zone(&self, name: String) -> Result<(), StoreError> {
        let sql = "INSERT INTO site(key, value) VALUES('time_zone', ?1) ON CONFLICT(key) DO UPDATE SET value = excluded.value";
        self.registry.write(move |c| Ok(c.execute(sql, [name]).map(drop)?)).await
    }

    /// Patients whose erasure was begun and, because the process ended, not finished.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn unfinished_erasures(&self) -> Result<Vec<PatientId>, StoreError> {
        self.registry
            .read(|c| {
                let mut statement = c.prepare("SELECT patient FROM erasure WHERE ended_at IS NULL")?;
                let rows = statement.query_map([], |r| r.get(0).map(PatientId::from_i64))?;
                rows.map(|r| Ok(r?)).collect()
            })
            .await
    }
}

impl Registry {
    /// Ends an erasure: what was needed to finish it after a crash goes too.
    pub(super) async fn end_erasure(&self, patient: PatientId, at: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE erasure SET ended_at = coalesce(ended_at, ?2), worn = '[]' WHERE patient = ?1";
        self.write(move |c| Ok(c.execute(sql, params![patient.as_i64(), at.as_micros()]).map(drop)?)).await
    }
}
