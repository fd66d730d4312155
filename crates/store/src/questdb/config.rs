//! `[store.questdb]`: where the server is, who we are there, and the limits of the projection.

use super::Fault;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// `[store.questdb]`. Holds no secret: passwords are read from files when a connection is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where readings are sent (ILP over HTTP): `host:port`.
    pub http: String,
    /// Where questions are asked (PostgreSQL wire): `host:port`.
    pub pg: String,
    /// Name for both; empty is QuestDB as it comes (HTTP open, `admin` on the PostgreSQL wire).
    pub username: String,
    /// File with its password.
    pub password_file: Option<PathBuf>,
    /// Name with which analytic questions are asked: QuestDB's read-only user. Empty: as `username`.
    pub reader_username: String,
    /// File with its password.
    pub reader_password_file: Option<PathBuf>,
    /// QuestDB's own folder, where it is on this machine: its free space is watched. None: not watched.
    pub data_dir: Option<PathBuf>,
    /// Below so many free bytes in `data_dir` nothing is sent: a full disk suspends the table, and can kill the server.
    pub min_free_bytes: u64,
    /// Readings a transaction while up to date. 1 to 50,000.
    pub batch: usize,
    /// Readings a transaction while catching up. 1 to 50,000.
    pub catch_up_batch: usize,
    /// How often the rows sent are counted on the server, in seconds (ten times that while catching up); a restart
    /// begins at the last count that agreed.
    pub check_seconds: u64,
    /// How often suspension, lag and free space are looked at, in seconds.
    pub watch_seconds: u64,
    /// Alarm when so many transactions are taken and not applied …
    pub lag_transactions: u64,
    /// … and did not become fewer for so many seconds.
    pub lag_seconds: u64,
    /// How long one request may take, in seconds.
    pub request_seconds: u64,
    /// The longest pause between two tries, in seconds; the first is a tenth of a second, then twice the one before.
    pub retry_max_seconds: u64,
    /// How old an answer to a question over many people may be, in seconds; older, the embedded series answers.
    pub answer_lag_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: "127.0.0.1:9000".into(),
            pg: "127.0.0.1:8812".into(),
            username: String::new(),
            password_file: None,
            reader_username: String::new(),
            reader_password_file: None,
            data_dir: None,
            min_free_bytes: 2 << 30,
            batch: 1_000,
            catch_up_batch: 10_000,
            check_seconds: 2,
            watch_seconds: 1,
            lag_transactions: 2_000,
            lag_seconds: 30,
            request_seconds: 30,
            retry_max_seconds: 60,
            answer_lag_seconds: 60,
        }
    }
}

/// A name and its password. Debug shows neither.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Config {
    /// Faults that show before anything is connected.
    ///
    /// # Errors
    /// [`Fault::Config`] naming the key and the remedy.
    pub fn validate(&self) -> Result<(), Fault> {
        address("http", &self.http)?;
        address("pg", &self.pg)?;
        for (key, value) in [("batch", self.batch), ("catch_up_batch", self.catch_up_batch)] {
            if !(1..=50_000).contains(&value) {
                return Err(Fault::Config(format!("{key} = {value}: give 1 to 50000")));
            }
        }
        if self.watch_seconds == 0 || self.check_seconds == 0 || self.request_seconds == 0 {
            return Err(Fault::Config("watch_seconds, check_seconds and request_seconds must be at least 1".into()));
        }
        if self.username.is_empty() != self.password_file.is_none() {
            return Err(Fault::Config("username and password_file belong together: give both or none".into()));
        }
        if self.reader_username.is_empty() != self.reader_password_file.is_none() {
            return Err(Fault::Config("reader_username and reader_password_file: give both or none".into()));
        }
        Ok(())
    }

    pub(super) fn http_login(&self) -> Result<Option<Login>, Fault> {
        self.password_file.as_ref().map(|file| login("password_file", &self.username, file)).transpose()
    }

    /// Who writes tables. QuestDB as it comes has `admin` with the password `quest`.
    pub(super) fn pg_login(&self) -> Result<Login, Fault> {
        Ok(self.http_login()?.unwrap_or_else(|| Login { username: "admin".into(), password: "quest".into() }))
    }

    /// Who asks analytic questions.
    pub(super) fn reader_login(&self) -> Result<Login, Fault> {
        match &self.reader_password_file {
            Some(file) => login("reader_password_file", &self.reader_username, file),
            None => self.pg_login(),
        }
    }

    pub(super) const fn request_time(&self) -> Duration {
        Duration::from_secs(self.request_seconds)
    }
}

/// Host and port of `key`.
pub(super) fn address<'a>(key: &str, text: &'a str) -> Result<(&'a str, u16), Fault> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    parts
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok().filter(|p| *p > 0)?)))
        .ok_or_else(|| Fault::Config(format!("{key} = \"{text}\": give host:port, such as 127.0.0.1:9000")))
}

fn login(key: &str, username: &str, file: &std::path::Path) -> Result<Login, Fault> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Fault::Config(format!("{key} = \"{}\" cannot be read: {e}", file.display())))?;
    Ok(Login { username: username.to_owned(), password: text.trim_end_matches(['\r', '\n']).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        assert!(Config::default().validate().is_ok());
        let wrong = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(wrong(|c| c.http = "9000".into()).contains("http = \"9000\""));
        assert!(wrong(|c| c.pg = "host:0".into()).contains("pg"));
        assert!(wrong(|c| c.batch = 0).contains("batch = 0"));
        assert!(wrong(|c| c.username = "analyst".into()).contains("password_file"));
    }

    #[test]
    fn a_password_comes_from_its_file_and_never_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "hidden\n").unwrap();
        let config = Config { username: "w".into(), password_file: Some(file), ..Config::default() };
        let login = config.pg_login().unwrap();
        assert_eq!(login.password, "hidden");
        assert!(!format!("{login:?}{config:?}").contains("hidden"));
    }
}
