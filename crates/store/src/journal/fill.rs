//! Many rows into one table with few statements: beginning and ending a statement costs more than putting in a row.
//!
//! Goes in: rows and how each is bound. Comes out: rows in the file, within whatever transaction is open.
//! Must never: begin or end a transaction.

use super::tables::fault;
use crate::StoreError;
use rusqlite::{CachedStatement, Connection, ToSql};
use std::sync::LazyLock;

/// Rows in one statement.
const MANY: usize = 32;

/// How rows get into one table, with one at a time and with [`MANY`].
pub(super) struct Fill {
    one: String,
    many: String,
    columns: usize,
}

/// A [`Fill`] that is made when it is first needed.
pub(super) type Table = LazyLock<Fill>;

impl Fill {
    /// `insert`: the statement up to its values, such as `INSERT OR IGNORE INTO t(a, b)`. No `OR ABORT`, which is what
    /// a plain `INSERT` means: SQLite would copy every page that the statement changes, to undo it alone.
    pub(super) fn new(insert: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let of = |rows: usize| format!("{insert} VALUES {}", vec![row.as_str(); rows].join(", "));
        Self { one: of(1), many: of(MANY), columns }
    }

    /// Puts all rows in, in their order.
    ///
    /// # Errors
    /// What SQLite or `bind` says; rows before it may be in.
    pub(super) fn rows<T>(
        &self,
        c: &Connection,
        rows: &[T],
        bind: impl Fn(&mut Bound<'_, '_>, &T) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (chunks, rest) = rows.as_chunks::<MANY>();
        if !chunks.is_empty() {
            let mut statement = c.prepare_cached(&self.many).map_err(fault)?;
            for chunk in chunks {
                self.run(&mut statement, chunk, &bind)?;
            }
        }
        if !rest.is_empty() {
            let mut statement = c.prepare_cached(&self.one).map_err(fault)?;
            for row in rest {
                self.run(&mut statement, std::slice::from_ref(row), &bind)?;
            }
        }
        Ok(())
    }

    fn run<T>(
        &self,
        statement: &mut CachedStatement<'_>,
        rows: &[T],
        bind: &impl Fn(&mut Bound<'_, '_>, &T) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut bound = Bound { statement, last: 0 };
        for (n, row) in rows.iter().enumerate() {
            bind(&mut bound, row)?;
            debug_assert_eq!(bound.last, (n + 1) * self.columns, "a value for each column");
        }
        statement.raw_execute().map(drop).map_err(fault)
    }
}

/// The values of a statement, bound one after another.
pub(super) struct Bound<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    last: usize,
}

impl Bound<'_, '_> {
    /// The next column.
    pub(super) fn put(&mut self, value: impl ToSql) -> Result<(), StoreError> {
        self.last += 1;
        self.statement.raw_bind_parameter(self.last, value).map_err(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PAIRS: Table = Table::new(|| Fill::new("INSERT OR IGNORE INTO t(a, b)", 2));

    #[test]
    fn every_row_comes_in_once_and_in_order_however_many_there_are() {
        for n in [0, 1, MANY - 1, MANY, MANY + 1, 3 * MANY + 5] {
            let c = Connection::open_in_memory().unwrap();
            c.execute_batch("CREATE TABLE t(n INTEGER PRIMARY KEY, a INTEGER UNIQUE, b BLOB)").unwrap();
            let rows: Vec<_> = (0..n).map(|i| (i as i64, vec![7_u8; i])).collect();
            for _ in 0..2 {
                let bind = |bound: &mut Bound<'_, '_>, (a, b): &(i64, Vec<u8>)| {
                    bound.put(a)?;
                    bound.put(b.as_slice())
                };
                PAIRS.rows(&c, &rows, bind).unwrap();
            }
            let mut statement = c.prepare("SELECT a, b FROM t ORDER BY n").unwrap();
            let found = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
            assert_eq!(found.map(Result::unwrap).collect::<Vec<(i64, Vec<u8>)>>(), rows);
        }
    }
}
