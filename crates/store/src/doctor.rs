//! Whether the two files of a folder can be read, beside a running service or not. Never writes.

use crate::StoreError;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Each file, with the engine's version, its own and its size in pages, or why it cannot be read.
pub fn doctor(folder: &Path) -> Vec<(&'static str, Result<String, StoreError>)> {
    ["registry.db", "journal.db"].map(|file| (file, look(folder, file))).into()
}

fn look(folder: &Path, file: &'static str) -> Result<String, StoreError> {
    let fault = |e: rusqlite::Error| StoreError::Database { what: file, reason: e.to_string() };
    let connection = Connection::open_with_flags(folder.join(file), OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(fault)?;
    let number = |pragma: &str| connection.query_row(pragma, [], |r| r.get::<_, i64>(0)).map_err(fault);
    let (version, pages) = (number("PRAGMA user_version")?, number("PRAGMA page_count")?);
    number("SELECT count(*) FROM sqlite_schema")?;
    Ok(format!("readable, SQLite {}, file version {version}, {pages} pages", rusqlite::version()))
}
