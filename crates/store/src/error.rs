//! What can go wrong in the store.

/// One enum for the crate. `Display` holds no patient data.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is full; nothing was stored; it recovers by itself when there is room.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// The file cannot be read or written.
    #[error("{what}: {reason}")]
    Database {
        /// What was attempted.
        what: &'static str,
        /// SQLite's words.
        reason: String,
    },
    /// An fsync or commit failed in a way after which the file's state is unknown. The process must end.
    #[error("{0}: the commit failed and may not be retried")]
    Fatal(String),
    /// The file was made by a newer program.
    #[error("{file} has schema {found}, this program knows up to {known}: use the newer program, or restore a backup")]
    Newer {
        /// Which file.
        file: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// There is no such record.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// It is taken, overlaps or was changed meanwhile; the words say which.
    #[error("{0}")]
    Conflict(String),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{ConstraintViolation, DiskFull};
        let extended = e.sqlite_error().map_or(0, |e| e.extended_code);
        match e.sqlite_error_code() {
            Some(DiskFull) => Self::DiskFull("registry.db".into()),
            // A shared-memory file that cannot grow (SQLITE_IOERR_SHMSIZE) is a full disk too.
            _ if extended == 4874 => Self::DiskFull("registry.db".into()),
            // SQLITE_IOERR_FSYNC and SQLITE_IOERR_DIR_FSYNC: what is on the disk is unknown from here on.
            _ if matches!(extended, 1034 | 1290) => Self::Fatal(format!("registry.db: fsync failed (code {extended})")),
            Some(ConstraintViolation) => Self::Conflict(e.to_string()),
            _ if matches!(e, rusqlite::Error::QueryReturnedNoRows) => Self::NotFound("record"),
            _ => Self::Database { what: "registry.db", reason: e.to_string() },
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(e: serde_json::Error) -> Self {
        // The message of a JSON error may quote the text; the position is enough.
        Self::Database { what: "a stored document", reason: format!("not readable at column {}", e.column()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn a_shared_memory_file_that_cannot_grow_is_a_full_disk() {
        let of = |code| StoreError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(matches!(of(ffi::SQLITE_IOERR_SHMSIZE), StoreError::DiskFull(_)));
        assert!(matches!(of(ffi::SQLITE_IOERR_FSYNC), StoreError::Fatal(_)));
        assert!(matches!(of(ffi::SQLITE_IOERR_WRITE), StoreError::Database { .. }));
    }
}
