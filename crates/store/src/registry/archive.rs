//! The registry read by another process (export), while the service runs or not: one snapshot, nothing written.

use super::{
    directory::Directory,
    episode_rows::{EPISODE, episode_row},
    outbox::{DELIVERY, delivery},
};
use crate::{Delivery, Episode, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// One consistent view of `registry.db`.
pub struct Archive {
    connection: Connection,
    directory: Directory,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Archive")
    }
}

impl Archive {
    /// Opens the folder's registry; what is committed later is not seen.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = folder.join("registry.db");
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.execute_batch("PRAGMA busy_timeout=5000; PRAGMA query_only=ON; BEGIN")?;
        super::schema::refuse_newer(&connection, &path)?;
        let directory = Directory::load(&connection)?;
        Ok(Self { connection, directory })
    }

    /// People and devices at that moment.
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Every episode, oldest first.
    ///
    /// # Errors
    /// A row cannot be read, or `f` says so.
    pub fn episodes(&self, f: &mut dyn FnMut(&Episode) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare(&format!("{EPISODE} ORDER BY raised_at, id"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            f(&episode_row(row)?.1)?;
        }
        Ok(())
    }

    /// Every delivery, oldest first.
    ///
    /// # Errors
    /// A row cannot be read, or `f` says so.
    pub fn deliveries(&self, f: &mut dyn FnMut(&Delivery) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare(&format!("{DELIVERY} ORDER BY seq"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            f(&delivery(row)?)?;
        }
        Ok(())
    }
}
