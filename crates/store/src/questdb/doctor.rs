//! What `hearthbeat doctor` says of QuestDB: version, commit mode, suspension, lag.

use super::{Config, Fault, TABLE, config, schema, sender::Lane, sql::Sql, watch};
use std::sync::Arc;

/// The version that everything here was measured with.
const MEASURED: &str = "9.3.4";

/// How the server is. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// As the server says it.
    pub version: String,
    /// `nosync`, `sync` or `async`: whether what it acknowledged survives a power cut.
    pub commit_mode: String,
    /// Whether the table exists.
    pub table: bool,
    /// Rows in it.
    pub rows: u64,
    /// Whether the table is suspended.
    pub suspended: bool,
    /// Transactions taken and not applied.
    pub lag_transactions: u64,
    /// Bytes free where it keeps its data, where that is on this machine.
    pub free_bytes: Option<u64>,
    /// What should be changed, each with its remedy.
    pub warnings: Vec<String>,
}

/// Asks the server. Blocks: not for an async thread. Changes nothing there.
///
/// # Errors
/// When it does not answer on one of its two addresses, or the configuration cannot work.
pub fn doctor(config: &Config) -> Result<Report, Fault> {
    config.validate()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = Arc::new(runtime.map_err(|e| Fault::Config(e.to_string()))?);
    let sql = Sql::connect(&runtime, config)?;
    let mut report = Report { version: version(&sql)?, free_bytes: watch::free_bytes(config), ..Report::default() };
    let modes = sql.rows("SELECT value FROM (SHOW PARAMETERS) WHERE property_path = 'cairo.commit.mode'")?;
    report.commit_mode = modes.first().and_then(|r| r.first().cloned().flatten()).unwrap_or_default();
    report.table = schema::table_id(&sql)?.is_some();
    if report.table {
        let wal = watch::wal(&sql)?;
        (report.suspended, report.lag_transactions) = (wal.suspended, wal.behind);
        let rows = sql.number(&format!("SELECT count() FROM {TABLE}"))?.unwrap_or_default();
        report.rows = u64::try_from(rows).unwrap_or_default();
    }
    // That nobody answers there is an error; who we are there shows with the first batch.
    Lane::open(config)?;
    warn(config, &mut report);
    Ok(report)
}

fn version(sql: &Sql) -> Result<String, Fault> {
    let build = sql.rows("SELECT build()")?.first().and_then(|r| r.first().cloned().flatten()).unwrap_or_default();
    let number = build.split("QuestDB ").nth(1).and_then(|t| t.split(',').next());
    Ok(number.unwrap_or("unknown").to_owned())
}

fn warn(config: &config::Config, report: &mut Report) {
    let mut say = |text: String| report.warnings.push(text);
    if report.version != MEASURED {
        say(format!("version {} is not the one that was measured ({MEASURED})", report.version));
    }
    if report.suspended {
        say("table reading is suspended: make room on its disk; it is resumed by itself".into());
    }
    if report.lag_transactions >= config.lag_transactions {
        say(format!("{} transactions are taken and not applied", report.lag_transactions));
    }
    if config.username.is_empty() {
        say("no credentials: set http.user and pg.user there, username and password_file here".into());
    }
    if config.data_dir.is_none() {
        say("data_dir is not set: its free space is not watched".into());
    } else if watch::room(config, report.free_bytes).is_err() {
        say("its disk has less room than min_free_bytes: nothing is projected".into());
    }
}
