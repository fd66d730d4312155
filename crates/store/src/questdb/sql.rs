//! SQL over the PostgreSQL wire for the projector's thread: a connection that blocks, and texts back.

use super::{
    Config, Fault,
    config::{Login, address},
};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// One connection. It lives as long as the server process behind it: its end is how a restart is noticed.
pub(super) struct Sql {
    runtime: Arc<Runtime>,
    client: Client,
    patience: Duration,
}

/// One row of an answer, as text.
pub(super) type TextRow = Vec<Option<String>>;

impl Sql {
    pub(super) fn connect(runtime: &Arc<Runtime>, config: &Config) -> Result<Self, Fault> {
        let login = config.pg_login()?;
        let client = runtime.block_on(connect(config, &login))?;
        Ok(Self { runtime: runtime.clone(), client, patience: config.request_time() })
    }

    /// What a query answers.
    pub(super) fn rows(&self, text: &str) -> Result<Vec<TextRow>, Fault> {
        let answer =
            self.runtime.block_on(async { tokio::time::timeout(self.patience, self.client.simple_query(text)).await });
        let messages =
            answer.map_err(|_| Fault::Unreachable("a query took too long".into()))?.map_err(|e| fault(&e))?;
        let row = |m: SimpleQueryMessage| match m {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// A statement without an answer.
    pub(super) fn run(&self, text: &str) -> Result<(), Fault> {
        self.rows(text).map(|_| ())
    }

    /// One whole number.
    pub(super) fn number(&self, text: &str) -> Result<Option<i64>, Fault> {
        let rows = self.rows(text)?;
        Ok(rows.first().and_then(|r| r.first().cloned().flatten()).and_then(|t| t.parse().ok()))
    }
}

/// Connects; the connection ends with its client.
pub(super) async fn connect(config: &Config, login: &Login) -> Result<Client, Fault> {
    let (host, port) = address("pg", &config.pg)?;
    let mut to = tokio_postgres::Config::new();
    to.host(host).port(port).user(&login.username).password(&login.password).dbname("qdb");
    to.application_name("hearthbeat").connect_timeout(config.request_time());
    let (client, connection) = tokio::time::timeout(config.request_time(), to.connect(NoTls))
        .await
        .map_err(|_| Fault::Unreachable("connecting took too long".into()))?
        .map_err(|e| fault(&e))?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %fault(&e), "connection to QuestDB ended");
        }
    });
    Ok(client)
}

/// Our words for the driver's. The server quotes statements in its errors, and ours hold no values.
pub(super) fn fault(e: &tokio_postgres::Error) -> Fault {
    match e.as_db_error() {
        Some(db) if db.message().contains("invalid username/password") => Fault::Credentials,
        Some(db) => Fault::Unreachable(db.message().to_owned()),
        None => match std::error::Error::source(e) {
            Some(cause) => Fault::Unreachable(cause.to_string()),
            None => Fault::Unreachable(e.to_string()),
        },
    }
}
