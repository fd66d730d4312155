//! The tables of `journal.db` and the plain statements on them.
//!
//! `j0`, `j1`: the journal, one being filled, one being merged. `d0`, `d1`: duplicates counted beside it.
//! `series`: readings by (week, owner, time). `numbers`: a device's numbers. `place`: where an id lies. `original`:
//! messages as they came.

use super::{
    fill::{Bound, Fill, Table},
    packed,
    row::{self, Row, SeriesKey, series_key},
};
use crate::{StoreError, readers::plan_once};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::{path::Path, sync::Arc};
use vitals::{DeviceKey, Held, Reading, ReadingId};

/// Of the file, in `user_version`; raised with every step.
pub(super) const VERSION: i64 = 12;

/// What brings a file from each version to the next. A released step is never changed.
const STEPS: &[&str] = &[
    SCHEMA,
    super::keeping::SCHEMA,
    super::amend::SCHEMA,
    super::packed::SCHEMA,
    super::days::SCHEMA,
    super::originals::SCHEMA,
    super::moves::SCHEMA,
    "", // the same tables; devices' histories in a form that an older program cannot read
    super::places::SCHEMA,
    "", // the same tables; messages of full blocks in a form that an older program cannot read
    "", // the same tables; lines of the journal in a form that an older program cannot read, and fractions of a second
    super::numbers::SCHEMA,
];

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta(k TEXT PRIMARY KEY, v INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS j0(id INTEGER PRIMARY KEY, b BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS j1(id INTEGER PRIMARY KEY, b BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS d0(id INTEGER PRIMARY KEY, b BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS d1(id INTEGER PRIMARY KEY, b BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS series(wk INTEGER, owner INTEGER, measured INTEGER, id INTEGER, b BLOB NOT NULL,
    PRIMARY KEY(wk, owner, measured, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identity(block INTEGER, device INTEGER, seq INTEGER, epoch INTEGER, id INTEGER NOT NULL,
    told INTEGER, mark INTEGER NOT NULL, PRIMARY KEY(block, device, seq, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS locate(id INTEGER PRIMARY KEY, message INTEGER NOT NULL, wk INTEGER NOT NULL,
    owner INTEGER NOT NULL, measured INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS unassigned(id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS held(id INTEGER PRIMARY KEY, message INTEGER NOT NULL, b BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS held_mark(device INTEGER, mark INTEGER, id INTEGER NOT NULL,
    PRIMARY KEY(device, mark)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS device(device INTEGER PRIMARY KEY, b BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS books(day INTEGER, device INTEGER, stored INTEGER NOT NULL, duplicate INTEGER NOT NULL,
    quarantined INTEGER NOT NULL, PRIMARY KEY(day, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS discarded(id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS assigned(id INTEGER PRIMARY KEY, patient INTEGER NOT NULL);
";

/// `j0` or `j1`, with its `d0` or `d1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Zero,
    One,
}

impl Half {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// Picks the statement that names this half's table.
    pub(super) const fn of(self, zero: &'static str, one: &'static str) -> &'static str {
        match self {
            Self::Zero => zero,
            Self::One => one,
        }
    }
}

/// SQLite's error in the store's words.
#[allow(clippy::needless_pass_by_value)] // the shape that map_err wants
pub(super) fn fault(e: rusqlite::Error) -> StoreError {
    let extended = e.sqlite_error().map_or(0, |e| e.extended_code);
    // A shared-memory file that cannot grow (SQLITE_IOERR_SHMSIZE) is a full disk too.
    let full = matches!(e.sqlite_error_code(), Some(ErrorCode::DiskFull)) || extended == 4874;
    // SQLITE_IOERR_FSYNC and SQLITE_IOERR_DIR_FSYNC: what is on the disk is unknown from here on.
    if matches!(extended, 1034 | 1290) {
        StoreError::Fatal(format!("journal.db: fsync failed (code {extended})"))
    } else if full {
        StoreError::DiskFull("journal.db".into())
    } else {
        StoreError::Database { what: "journal.db", reason: format!("{e} (code {extended})") }
    }
}

/// The writer's connection.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut c = Connection::open(path).map_err(fault)?;
    // Checkpoints are run by hand, because SQLite's own hide a failed fsync.
    c.execute_batch(
        "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;
         PRAGMA temp_store=MEMORY; PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=0;",
    )
    .map_err(fault)?;
    c.set_prepared_statement_cache_capacity(64);
    plan_once(&c).map_err(fault)?;
    let found: i64 = c.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(fault)?;
    refuse_newer(path, found)?;
    if found < VERSION {
        let tx = c.transaction().map_err(fault)?;
        for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
            tx.execute_batch(step).map_err(fault)?;
        }
        if found < 9 {
            super::places::move_in(&tx)?;
        }
        if found < 12 {
            super::numbers_before::move_on(&tx)?;
        }
        tx.pragma_update(None, "user_version", VERSION).map_err(fault)?;
        tx.commit().map_err(fault)?;
    }
    Ok(c)
}

/// A connection that only copies the write-ahead log into the file.
pub(super) fn open_copier(path: &Path) -> Result<Connection, StoreError> {
    let c = Connection::open(path).map_err(fault)?;
    c.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-64;").map_err(fault)?;
    Ok(c)
}

/// A connection that cannot write; also for another process while the service runs.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let c = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(fault)?;
    c.execute_batch("PRAGMA query_only=ON; PRAGMA busy_timeout=5000; PRAGMA cache_size=-16384;").map_err(fault)?;
    refuse_newer(path, c.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(fault)?)?;
    c.set_prepared_statement_cache_capacity(32);
    plan_once(&c).map_err(fault)?;
    Ok(c)
}

fn refuse_newer(path: &Path, found: i64) -> Result<(), StoreError> {
    if found > VERSION {
        return Err(StoreError::Newer { file: path.display().to_string(), found, known: VERSION });
    }
    Ok(())
}

/// Duplicates of one commit: (day, device, how many).
pub(super) fn insert_duplicates(c: &Connection, half: Half, all: &[(i32, u64, u64)]) -> Result<(), StoreError> {
    let sql = half.of("INSERT INTO d0(b) VALUES(?1)", "INSERT INTO d1(b) VALUES(?1)");
    let body = row::encode(&all)?;
    c.prepare_cached(sql).and_then(|mut s| s.execute(params![body])).map_err(fault)?;
    Ok(())
}

pub(super) fn each_duplicate(
    c: &Connection,
    half: Half,
    f: &mut dyn FnMut(i32, DeviceKey, u64),
) -> Result<(), StoreError> {
    let mut statement = c.prepare(half.of("SELECT b FROM d0", "SELECT b FROM d1")).map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let all: Vec<(i32, u64, u64)> = row::decode(r.get_ref(0).map_err(fault)?.as_blob().unwrap_or_default())?;
        all.into_iter().for_each(|(day, device, n)| f(day, DeviceKey::new(device), n));
    }
    Ok(())
}

/// Whether anything lies in it: rows, or nothing but duplicates, which the books need as well.
pub(super) fn in_use(c: &Connection, half: Half) -> Result<bool, StoreError> {
    let sql = half.of(
        "SELECT EXISTS(SELECT 1 FROM j0) OR EXISTS(SELECT 1 FROM d0)",
        "SELECT EXISTS(SELECT 1 FROM j1) OR EXISTS(SELECT 1 FROM d1)",
    );
    c.query_row(sql, [], |r| r.get(0)).map_err(fault)
}

pub(super) fn clear(c: &Connection, half: Half) -> Result<(), StoreError> {
    c.execute_batch(half.of("DELETE FROM j0; DELETE FROM d0;", "DELETE FROM j1; DELETE FROM d1;")).map_err(fault)
}

static SERIES: Table = Table::new(|| Fill::new("INSERT OR IGNORE INTO series(wk, owner, measured, id, b)", 5));

/// Puts readings into `series`. The same key again changes nothing.
pub(super) fn insert_series(c: &Connection, rows: &[(SeriesKey, &Row)]) -> Result<(), StoreError> {
    SERIES.rows(c, rows, |to, (key, row)| bind_series(to, *key, &row.body()?))
}

/// Puts one reading into `series`, where nothing lies under its key.
pub(super) fn put_series(c: &Connection, reading: &Reading) -> Result<(), StoreError> {
    SERIES.rows(c, &[reading], |to, reading| bind_series(to, series_key(reading), &packed::encode(reading)?))
}

fn bind_series(to: &mut Bound<'_, '_>, (wk, owner, measured, id): SeriesKey, body: &[u8]) -> Result<(), StoreError> {
    to.put(wk)?;
    to.put(owner)?;
    to.put(measured)?;
    to.put(id.cast_signed())?;
    to.put(body)
}

/// Takes a reading out of `series`; whether it was there.
pub(super) fn delete_series(c: &Connection, key: SeriesKey) -> Result<bool, StoreError> {
    c.prepare_cached("DELETE FROM series WHERE wk = ?1 AND owner = ?2 AND measured = ?3 AND id = ?4")
        .and_then(|mut s| s.execute(params![key.0, key.1, key.2, key.3.cast_signed()]))
        .map(|n| n > 0)
        .map_err(fault)
}

/// Notes, or forgets, that a reading belongs to nobody.
pub(super) fn put_unassigned(c: &Connection, reading: &Reading) -> Result<(), StoreError> {
    let sql = if reading.patient.is_none() {
        "INSERT OR IGNORE INTO unassigned(id) VALUES(?1)"
    } else {
        "DELETE FROM unassigned WHERE id = ?1"
    };
    c.prepare_cached(sql).and_then(|mut s| s.execute([reading.id.as_i64()])).map_err(fault)?;
    Ok(())
}

pub(super) fn insert_held(c: &Connection, row: &Row, held: &Held, mark: i64) -> Result<(), StoreError> {
    let body = row::encode(held)?;
    c.prepare_cached("INSERT OR IGNORE INTO held(id, message, b) VALUES(?1, ?2, ?3)")
        .and_then(|mut s| s.execute(params![row.id.cast_signed(), row.message.cast_signed(), body]))
        .map_err(fault)?;
    c.prepare_cached("INSERT OR IGNORE INTO held_mark(device, mark, id) VALUES(?1, ?2, ?3)")
        .and_then(|mut s| s.execute(params![held.device.as_i64(), mark, row.id.cast_signed()]))
        .map_err(fault)?;
    Ok(())
}

pub(super) fn held_before(c: &Connection, device: DeviceKey, mark: i64) -> Result<Option<ReadingId>, StoreError> {
    c.prepare_cached("SELECT id FROM held_mark WHERE device = ?1 AND mark = ?2")
        .and_then(|mut s| s.query_row(params![device.as_i64(), mark], |r| r.get(0)).optional())
        .map(|id| id.map(ReadingId::from_i64))
        .map_err(fault)
}

pub(super) fn held(c: &Connection, id: ReadingId) -> Result<Option<Arc<Held>>, StoreError> {
    let found: Option<Vec<u8>> = c
        .prepare_cached("SELECT b FROM held WHERE id = ?1")
        .and_then(|mut s| s.query_row([id.as_i64()], |r| r.get(0)).optional())
        .map_err(fault)?;
    found.map(|body| row::decode(&body)).transpose()
}

pub(super) fn meta(c: &Connection, key: &str) -> Result<Option<i64>, StoreError> {
    c.query_row("SELECT v FROM meta WHERE k = ?1", [key], |r| r.get(0)).optional().map_err(fault)
}

pub(super) fn set_meta(c: &Connection, key: &str, value: Option<i64>) -> Result<(), StoreError> {
    match value {
        Some(v) => c.execute("INSERT OR REPLACE INTO meta(k, v) VALUES(?1, ?2)", params![key, v]),
        None => c.execute("DELETE FROM meta WHERE k = ?1", [key]),
    }
    .map_err(fault)?;
    Ok(())
}
