//! The audit: who did or saw what, in a chain of hashes, so that a row that was changed or taken out is noticed.
//!
//! Goes in: rows without measured values, names or secrets. Comes out: the chain, and whether it holds.
//! Must never: change or delete a row.

use crate::{Store, StoreError};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use std::path::Path;
use vitals::{Timestamp, UserId};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS audit(seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, user INTEGER, username TEXT, role TEXT,
    action TEXT NOT NULL, path TEXT NOT NULL, ref TEXT, source TEXT, result TEXT NOT NULL,
    previous_hash TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS audit_head(one INTEGER PRIMARY KEY CHECK(one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL);
";

/// What stands before the first row.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// On the service's clock.
    pub at: Timestamp,
    /// Who, where that is known.
    pub user: Option<UserId>,
    /// The name they log in with.
    pub username: Option<String>,
    /// In which roles, joined by a space.
    pub role: Option<String>,
    /// `patient.read`, `alert.ack`, `session.open`, …
    pub action: String,
    /// The path that was called.
    pub path: String,
    /// The record's id.
    pub reference: Option<String>,
    /// The caller's network address.
    pub source: Option<String>,
    /// `ok`, `not_found`, `denied`.
    pub result: &'static str,
}

/// A row in its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// From 1, without gaps.
    pub seq: i64,
    /// What happened.
    pub row: AuditRow,
    /// The hash of the row before; 64 zeros for the first.
    pub previous_hash: String,
    /// SHA-256 over everything above, in hexadecimal.
    pub hash: String,
}

/// Whether the chain holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditVerdict {
    /// It does, over so many rows.
    Whole {
        /// How many.
        rows: i64,
    },
    /// This row was changed, or one before it is missing.
    Broken {
        /// Where the chain breaks.
        seq: i64,
    },
}

impl Store {
    /// Adds rows to the chain, in this order; returns after its fsync.
    ///
    /// # Errors
    /// As every write.
    pub async fn append_audit(&self, rows: Vec<AuditRow>) -> Result<(), StoreError> {
        self.registry.write(move |c| append(c, rows)).await
    }

    /// Rows after `after`, ascending.
    ///
    /// # Errors
    /// As every read.
    pub async fn audit(&self, after: i64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.registry.read(move |c| rows_after(c, after, limit)).await
    }
}

/// Checks the whole chain of a data folder, beside a running service too.
///
/// # Errors
/// When the file cannot be read.
pub fn verify_audit(folder: &Path) -> Result<AuditVerdict, StoreError> {
    let c = Connection::open_with_flags(folder.join("registry.db"), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    c.execute_batch("PRAGMA busy_timeout=5000; PRAGMA query_only=ON; BEGIN")?;
    let head = head(&c)?;
    let (mut seq, mut hash) = (0, GENESIS.to_owned());
    loop {
        let page = rows_after(&c, seq, 10_000)?;
        if page.is_empty() {
            break;
        }
        for record in page {
            seq += 1;
            if record.seq != seq || record.previous_hash != hash || record.hash != digest(&record) {
                return Ok(AuditVerdict::Broken { seq });
            }
            hash = record.hash;
        }
    }
    // Rows cut off at the end leave a whole chain; the head still knows them.
    if head != (seq, hash) {
        return Ok(AuditVerdict::Broken { seq: seq + 1 });
    }
    Ok(AuditVerdict::Whole { rows: seq })
}

fn head(c: &Connection) -> Result<(i64, String), StoreError> {
    let found = c
        .prepare_cached("SELECT seq, hash FROM audit_head")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    Ok(found.unwrap_or_else(|| (0, GENESIS.to_owned())))
}

fn append(c: &Connection, rows: Vec<AuditRow>) -> Result<(), StoreError> {
    let (mut seq, mut previous_hash) = head(c)?;
    let mut insert = c.prepare_cached(
        "INSERT INTO audit(seq, at, user, username, role, action, path, ref, source, result, previous_hash, hash)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for row in rows {
        seq += 1;
        let mut record = AuditRecord { seq, row, previous_hash, hash: String::new() };
        record.hash = digest(&record);
        insert.execute(params![
            record.seq,
            record.row.at.as_micros(),
            record.row.user.map(UserId::as_i64),
            record.row.username,
            record.row.role,
            record.row.action,
            record.row.path,
            record.row.reference,
            record.row.source,
            record.row.result,
            record.previous_hash,
            record.hash
        ])?;
        previous_hash = record.hash;
    }
    c.prepare_cached("INSERT OR REPLACE INTO audit_head(one, seq, hash) VALUES(1, ?1, ?2)")?
        .execute(params![seq, previous_hash])?;
    Ok(())
}

/// JSON, so that no two different rows give the same bytes.
fn digest(record: &AuditRecord) -> String {
    let row = &record.row;
    let body = serde_json::json!([
        record.seq,
        row.at.as_micros(),
        row.user.map(|u| u.to_string()),
        row.username,
        row.role,
        row.action,
        row.path,
        row.reference,
        row.source,
        row.result,
        record.previous_hash
    ]);
    hex::encode(Sha256::digest(body.to_string().as_bytes()))
}

fn rows_after(c: &Connection, after: i64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
    let mut statement = c.prepare_cached(
        "SELECT seq, at, user, username, role, action, path, ref, source, result, previous_hash, hash
         FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, i64::try_from(limit).unwrap_or(i64::MAX)], record)?;
    rows.map(|r| Ok(r?)).collect()
}

fn record(r: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    let result: String = r.get(9)?;
    let row = AuditRow {
        at: Timestamp::from_micros(r.get(1)?),
        user: r.get::<_, Option<i64>>(2)?.map(UserId::from_i64),
        username: r.get(3)?,
        role: r.get(4)?,
        action: r.get(5)?,
        path: r.get(6)?,
        reference: r.get(7)?,
        source: r.get(8)?,
        // A word that is none of ours breaks the chain, as it should.
        result: ["ok", "not_found", "denied"].into_iter().find(|w| *w == result).unwrap_or("changed"),
    };
    Ok(AuditRecord { seq: r.get(0)?, row, previous_hash: r.get(10)?, hash: r.get(11)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: i64) -> AuditRow {
        AuditRow {
            at: Timestamp::from_seconds(n),
            user: Some(UserId::new(7)),
            username: Some("gp-1".into()),
            role: Some("gp".into()),
            action: "patient.read".into(),
            path: "/api/v1/patients/p_1".into(),
            reference: None,
            source: None,
            result: "ok",
        }
    }

    fn chain(folder: &Path) -> Connection {
        let c = Connection::open(folder.join("registry.db")).unwrap();
        c.execute_batch(SCHEMA).unwrap();
        append(&c, (1..=5).map(row).collect()).unwrap();
        append(&c, (6..=9).map(row).collect()).unwrap();
        c
    }

    #[test]
    fn a_whole_chain_holds_and_a_changed_row_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let c = chain(folder.path());
        assert_eq!(verify_audit(folder.path()).unwrap(), AuditVerdict::Whole { rows: 9 });
        c.execute("UPDATE audit SET username = 'other' WHERE seq = 4", []).unwrap();
        assert_eq!(verify_audit(folder.path()).unwrap(), AuditVerdict::Broken { seq: 4 });
    }

    #[test]
    fn rows_taken_out_are_noticed_in_the_middle_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        chain(folder.path()).execute("DELETE FROM audit WHERE seq = 9", []).unwrap();
        assert_eq!(verify_audit(folder.path()).unwrap(), AuditVerdict::Broken { seq: 9 });
        let folder = tempfile::tempdir().unwrap();
        chain(folder.path()).execute("DELETE FROM audit WHERE seq = 3", []).unwrap();
        assert_eq!(verify_audit(folder.path()).unwrap(), AuditVerdict::Broken { seq: 3 });
    }
}
