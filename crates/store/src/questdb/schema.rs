//! The table: made by us, altered by us, looked at before anything is sent. The server creates nothing by itself.
//!
//! There is no version number: the columns are their own. One that is missing is added, so that an older table goes
//! forward; one that nobody here knows (a newer program's, an analyst's) is left alone; a key or a type that differs
//! is refused with its remedy.

use super::{Fault, sql::Sql};

/// Its name (contract: command line, "For analysts").
pub const TABLE: &str = "reading";

/// Name, type and whether it is part of the key, in the contract's order.
pub const COLUMNS: [(&str, &str, bool); 16] = [
    ("measured", "TIMESTAMP", true),
    ("patient", "SYMBOL", false),
    ("device", "SYMBOL", true),
    ("epoch", "LONG", true),
    ("seq", "LONG", true),
    ("kind", "SYMBOL", true),
    ("received", "TIMESTAMP", false),
    ("systolic", "DOUBLE", false),
    ("diastolic", "DOUBLE", false),
    ("map", "DOUBLE", false),
    ("pulse", "DOUBLE", false),
    ("glucose", "DOUBLE", false),
    ("unit", "SYMBOL", false),
    ("meal", "SYMBOL", false),
    ("time_quality", "SYMBOL", false),
    ("result", "SYMBOL", false),
];

/// The server's own number of a table: another one after DROP and CREATE.
pub(super) type TableId = i64;

fn create() -> String {
    let column = |(name, kind, _): &(&str, &str, bool)| match *name {
        // An index block holds the readings of one patient and one week; the default of 256 wastes 2 KB for each.
        "patient" => format!("{name} SYMBOL CAPACITY 131072 INDEX CAPACITY 16"),
        "device" => format!("{name} SYMBOL CAPACITY 131072"),
        _ => format!("{name} {kind}"),
    };
    let columns: Vec<_> = COLUMNS.iter().map(column).collect();
    let keys: Vec<_> = COLUMNS.iter().filter(|c| c.2).map(|c| c.0).collect();
    let (columns, keys) = (columns.join(", "), keys.join(", "));
    format!(
        "CREATE TABLE IF NOT EXISTS {TABLE} ({columns}) TIMESTAMP(measured) PARTITION BY WEEK WAL \
         DEDUP UPSERT KEYS({keys})"
    )
}

/// Makes the table where it is missing, brings an older one forward, refuses one that is not ours.
pub(super) fn ensure(sql: &Sql) -> Result<TableId, Fault> {
    sql.run(&create())?;
    let about = sql.rows(&format!(
        "SELECT id, walEnabled, dedup, partitionBy, designatedTimestamp FROM tables() WHERE table_name = '{TABLE}'"
    ))?;
    let row = about.first().ok_or(Fault::Replaced)?;
    let is = |i: usize, wanted: &str| row.get(i).and_then(|v| v.as_deref()) == Some(wanted);
    if !(is(1, "t") && is(2, "t") && is(3, "WEEK") && is(4, "measured")) {
        return Err(Fault::Schema("it must be a WAL table by week of `measured`, with deduplication".into()));
    }
    columns(sql)?;
    row.first().and_then(|v| v.as_ref()).and_then(|v| v.parse().ok()).ok_or(Fault::Replaced)
}

fn columns(sql: &Sql) -> Result<(), Fault> {
    let found = sql.rows(&format!("SELECT \"column\", type, upsertKey FROM table_columns('{TABLE}')"))?;
    for (name, kind, key) in COLUMNS {
        let there = found.iter().find(|r| r.first().and_then(|v| v.as_deref()) == Some(name));
        let is = |i: usize, wanted: &str| there.and_then(|r| r.get(i)).and_then(|v| v.as_deref()) == Some(wanted);
        if there.is_none() && key {
            return Err(Fault::Schema(format!("its key has no column {name}")));
        }
        if there.is_none() {
            tracing::info!(column = name, "table reading of QuestDB goes forward: a column is added");
            sql.run(&format!("ALTER TABLE {TABLE} ADD COLUMN {name} {kind}"))?;
        } else if !is(1, kind) {
            return Err(Fault::Schema(format!("column {name} is not {kind}")));
        } else if is(2, "t") != key {
            return Err(Fault::Schema(format!("column {name} is wrongly in or out of the deduplication key")));
        }
    }
    Ok(())
}

/// The table's number now; none where somebody dropped it.
pub(super) fn table_id(sql: &Sql) -> Result<Option<TableId>, Fault> {
    sql.number(&format!("SELECT id FROM tables() WHERE table_name = '{TABLE}'"))
}

/// Throws the table away and makes it anew. Works on a suspended one too, where TRUNCATE would only be queued.
/// Whoever holds a sender must open another one: an old connection acknowledges rows that go nowhere.
pub(super) fn recreate(sql: &Sql) -> Result<TableId, Fault> {
    sql.run(&format!("DROP TABLE IF EXISTS {TABLE}"))?;
    ensure(sql)
}
