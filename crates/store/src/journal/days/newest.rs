//! In which week a patient's newest reading lies, for a worklist that asks it of many at once.
//!
//! Goes in: every (week, patient) under which `series` gets a row. Comes out: a week that is never too low.
//! In memory as in the table `newest`; after a transaction that failed it is read from there again.

use super::super::tables::fault;
use crate::StoreError;
use parking_lot::RwLock;
use rusqlite::{Connection, params};
use std::collections::HashMap;

/// By owner; 16 bytes a patient.
#[derive(Debug, Default)]
pub(in super::super) struct Newest(RwLock<HashMap<i64, i32>>);

impl Newest {
    /// As the file has it.
    pub(in super::super) fn load(&self, c: &Connection) -> Result<(), StoreError> {
        let mut statement = c.prepare("SELECT owner, wk FROM newest").map_err(fault)?;
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).map_err(fault)?;
        *self.0.write() = rows.collect::<Result<_, _>>().map_err(fault)?;
        Ok(())
    }

    /// `series` gets a row of this week and patient in the transaction that is open.
    pub(in super::super) fn raise(&self, c: &Connection, wk: i32, owner: i64) -> Result<(), StoreError> {
        if owner < 0 || self.of(owner).is_some_and(|known| known >= wk) {
            return Ok(());
        }
        c.prepare_cached("INSERT OR REPLACE INTO newest(owner, wk) VALUES(?1, ?2)")
            .and_then(|mut s| s.execute(params![owner, wk]))
            .map_err(fault)?;
        self.0.write().insert(owner, wk);
        Ok(())
    }

    /// A transaction failed: what was raised in it is not in the table.
    pub(in super::super) fn undo(&self, c: &Connection) {
        if let Err(e) = self.load(c) {
            tracing::warn!(error = %e, "journal: the newest weeks could not be read again; the next start does");
        }
    }

    /// A patient is erased.
    pub(in super::super) fn forget(&self, owner: i64) {
        self.0.write().remove(&owner);
    }

    /// The highest week in which this patient may have merged readings.
    pub(in super::super) fn of(&self, owner: i64) -> Option<i32> {
        self.0.read().get(&owner).copied()
    }
}
