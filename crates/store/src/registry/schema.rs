//! The registry's tables, forward only. A file that a newer program made is refused.

use crate::StoreError;
use rusqlite::Connection;
use std::path::Path;

/// Every module's tables, in order of dependency.
const MODULES: &[&str] = &[
    super::people::SCHEMA,
    super::findings::SCHEMA,
    super::commands::SCHEMA,
    super::sessions::SCHEMA,
    super::audit::SCHEMA,
    super::episode_rows::SCHEMA,
    super::outbox::SCHEMA,
    super::roster::SCHEMA,
    super::edge::SCHEMA,
    super::presence::SCHEMA,
    super::outages::SCHEMA,
    super::mqtt_sessions::SCHEMA,
    super::keeping::SCHEMA,
    super::rule_edits::SCHEMA,
    super::patient_days::SCHEMA,
    super::unsettled::SCHEMA,
];

/// Raised when a table is added or a released one changes; for the latter a step is added below.
pub(super) const VERSION: i64 = 7;

pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    refuse_newer(connection, path)?;
    let tx = connection.transaction()?;
    for schema in MODULES {
        tx.execute_batch(schema)?;
    }
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()?;
    Ok(())
}

/// Also for those who only read.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    if found > VERSION {
        return Err(StoreError::Newer { file: path.display().to_string(), found, known: VERSION });
    }
    Ok(())
}
