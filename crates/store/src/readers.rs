//! A few read-only connections to one file, opened when first needed, shared by all who ask.
//!
//! Goes in: a question as a closure. Comes out: its answer. Must never: open more than [`READERS`], or write.

use crate::StoreError;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, config::DbConfig};
use std::path::{Path, PathBuf};

/// More than the cores of the smallest box gains nothing. All in use: the next question waits for one.
const READERS: usize = 4;

/// Plans each statement once. SQLite as it is built here plans again whenever a bound of a range changes, in the hope of
/// statistics that these files do not have: half of what a short question costs.
pub(crate) fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

pub(crate) struct Readers {
    path: PathBuf,
    open: fn(&Path) -> Result<Connection, StoreError>,
    /// Those at rest, and how many there are in all.
    idle: Mutex<(Vec<Connection>, usize)>,
    returned: Condvar,
}

impl Readers {
    pub(crate) fn new(path: &Path, open: fn(&Path) -> Result<Connection, StoreError>) -> Self {
        Self { path: path.to_owned(), open, idle: Mutex::new((Vec::new(), 0)), returned: Condvar::new() }
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let connection = self.take()?;
        let result = work(&connection);
        self.idle.lock().0.push(connection);
        self.returned.notify_one();
        result
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let mut idle = self.idle.lock();
        loop {
            if let Some(connection) = idle.0.pop() {
                return Ok(connection);
            }
            if idle.1 < READERS {
                idle.1 += 1;
                break;
            }
            self.returned.wait(&mut idle);
        }
        drop(idle);
        (self.open)(&self.path).inspect_err(|_| self.idle.lock().1 -= 1)
    }
}
