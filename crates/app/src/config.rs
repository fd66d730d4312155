//! Configuration in layers: built-in defaults < `--config` file < `HEARTHBEAT__SECTION__KEY` < flags.
//!
//! Each stage owns its table; this file nests them, merges the layers and says where every value came from.
//! An unknown key is an error that names the nearest known one and the line.

pub(crate) mod faults;

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::Path};
use toml::{Table, Value};

/// The commented reference; a test holds it equal to the defaults in code.
pub(crate) const DEFAULT: &str = include_str!("../../../config/default.toml");
const PREFIX: &str = "HEARTHBEAT__";

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) site: Site,
    pub(crate) logging: Logging,
    pub(crate) broker: broker::Config,
    pub(crate) ingest: Ingest,
    pub(crate) store: StoreConfig,
    pub(crate) journal: Journal,
    pub(crate) registry: Registry,
    pub(crate) rules: rules::Config,
    pub(crate) alerts: alerts::Config,
    pub(crate) api: dashboard_api::Config,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Site {
    pub(crate) time_zone: String,
}

impl Default for Site {
    fn default() -> Self {
        Self { time_zone: "Asia/Shanghai".into() }
    }
}

/// What ingest knows of meters' models; the zone is the site's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ingest {
    pub(crate) reset_days: BTreeMap<String, jiff::civil::Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) adapters: Option<std::path::PathBuf>,
}

impl Config {
    /// What no start could do without, each fault as `key: words`; each stage knows its own table's others.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.registry.url.starts_with("sqlite:") {
            faults.push("registry.url: only sqlite:… is built in; PostgreSQL is not available yet".to_owned());
        }
        if vitals::Zone::named(&self.site.time_zone).is_err() {
            faults.push("site.time_zone: not an IANA zone; write for example Asia/Shanghai".to_owned());
        }
        if let Err(e) = runtime::telemetry::check(&self.logging.level) {
            faults.push(format!("logging.level: {e}"));
        }
        faults.extend(self.api.faults().iter().map(|fault| format!("api.{fault}")));
        faults
    }

    /// What ingest is started and reloaded with.
    pub(crate) fn for_ingest(&self) -> ingest::Config {
        ingest::Config {
            time_zone: self.site.time_zone.clone(),
            reset_days: self.ingest.reset_days.clone(),
            adapters: self.ingest.adapters.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Logging {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

impl Default for Logging {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Auto,
    Text,
    Json,
}

/// Which engine answers analysts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreConfig {
    pub(crate) engine: Series,
    pub(crate) questdb: store::questdb::Config,
    pub(crate) retention: Retention,
}

/// How long what is kept; 0: for ever. Audit, findings and alerts are always kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    pub(crate) readings_years: u16,
    pub(crate) quarantine_days: u16,
    pub(crate) message_days: u16,
    pub(crate) originals_days: u16,
}

/// The embedded series is always kept; QuestDB is a projection of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Series {
    Embedded,
    Questdb,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { engine: Series::Embedded, questdb: store::questdb::Config::default(), retention: Retention::default() }
    }
}

/// The commit point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    Embedded,
}

/// What makes a reading durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Journal {
    pub(crate) engine: Engine,
}

impl Default for Journal {
    fn default() -> Self {
        Self { engine: Engine::Embedded }
    }
}

/// Where people, findings and episodes are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Registry {
    pub(crate) url: String,
}

impl Default for Registry {
    fn default() -> Self {
        Self { url: "sqlite:registry.db".into() }
    }
}

/// Where a value came from.
pub(crate) type Origins = BTreeMap<String, String>;

/// Reads and merges all layers.
///
/// # Errors
/// [`Failure::Configuration`] with every fault, place and remedy.
pub(crate) fn load(file: Option<&Path>) -> Result<(Config, Origins), Failure> {
    let (config, origins, faults) = read(file)?;
    if faults.is_empty() { Ok((config, origins)) } else { Err(Failure::Configuration(faults.join("\n"))) }
}

/// The same; what is wrong is listed, and left out of the configuration.
///
/// # Errors
/// [`Failure::Configuration`] when the file cannot be read.
pub(crate) fn read(file: Option<&Path>) -> Result<(Config, Origins, Vec<String>), Failure> {
    read_from(file, std::env::vars())
}

fn read_from(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Origins, Vec<String>), Failure> {
    let (mut merged, mut origins, mut faults) = (Table::new(), Origins::new(), Vec::new());
    let default: Table = DEFAULT.parse().map_err(|e| Failure::failed("config/default.toml", e))?;
    merge(&mut merged, default, "", "default", &mut origins);
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|e| Failure::Configuration(format!("{name}: {e}")))?;
        // Read on its own first: only here are line numbers known.
        let (left, wrong) = faults::sift(&name, &text);
        faults.extend(wrong);
        let table: Table = left.parse().map_err(|e| Failure::failed(&name, e))?;
        merge(&mut merged, table, "", &name, &mut origins);
    }
    for (key, value) in env.filter(|(key, _)| key.starts_with(PREFIX)) {
        let mut path: Vec<String> = key[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let leaf = path.pop().unwrap_or_default();
        let mut table = Table::from_iter([(leaf, from_env(&value))]);
        while let Some(section) = path.pop() {
            table = Table::from_iter([(section, Value::Table(table))]);
        }
        match Config::deserialize(Value::Table(table.clone())) {
            Ok(_) => merge(&mut merged, table, "", &format!("environment {key}"), &mut origins),
            Err(e) => faults.push(format!("environment {key}: {}", faults::advise(e.message()))),
        }
    }
    let config =
        Config::deserialize(Value::Table(merged)).map_err(|e| Failure::Configuration(faults::advise(e.message())))?;
    faults.extend(config.faults().iter().map(|fault| faults::placed(file, fault)));
    Ok((config, origins, faults))
}

/// `12` and `true` are what they look like; everything else is text.
fn from_env(value: &str) -> Value {
    format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(value.into()))
}

fn merge(into: &mut Table, from: Table, prefix: &str, origin: &str, origins: &mut Origins) {
    for (key, value) in from {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(value)) => merge(below, value, &path, origin, origins),
            (_, Value::Table(value)) => {
                let mut below = Table::new();
                merge(&mut below, value, &path, origin, origins);
                into.insert(key, Value::Table(below));
            }
            (_, value) => {
                origins.insert(path, origin.to_owned());
                into.insert(key, value);
            }
        }
    }
}

/// Every value as `section.key = value`, with its origin where asked.
pub(crate) fn print(config: &Config, origins: &Origins, with_origin: bool) -> Result<String, Failure> {
    let table = Table::try_from(config).map_err(|e| Failure::failed("configuration", e))?;
    let mut lines = Vec::new();
    flatten(&table, "", &mut lines);
    let show = |(path, value): (String, String)| {
        // Whoever prints a configuration may paste it somewhere.
        let secret = path.rsplit('.').next().is_some_and(|key| key.contains("secret") || key.contains("password"));
        let value = if secret && value != "\"\"" { "\"(hidden)\"".to_owned() } else { value };
        let origin = origins.get(&path).map_or("default", String::as_str);
        if with_origin { format!("{path} = {value}    # {origin}\n") } else { format!("{path} = {value}\n") }
    };
    Ok(lines.into_iter().map(show).collect())
}

fn flatten(table: &Table, prefix: &str, lines: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(below) => flatten(below, &path, lines),
            value => lines.push((path, value.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, text).unwrap();
        read_from(Some(&path), std::iter::empty()).unwrap().2
    }

    #[test]
    fn the_reference_is_the_default() {
        let (config, _, faults) = read_from(None, std::iter::empty()).unwrap();
        assert_eq!((config, faults), (Config::default(), Vec::new()));
    }

    #[test]
    fn an_unknown_key_names_line_and_nearest() {
        for (text, words) in [
            ("[brokr]\n", [":1:", "`broker`"]),
            ("\n[broker]\nmqqt = \"127.0.0.1:0\"\n", [":3:", "`mqtt`"]),
            ("[site]\ntime_zone = 3\n", [":2:", "string"]),
            ("[site]\ntime_zone = \"Asia/Atlantis\"\n", [":2:", "site.time_zone"]),
            ("[registry]\n\nurl = \"mysql://x\"\n", [":3:", "registry.url"]),
            ("[logging]\nlevel = \"loud\"\n", [":2:", "logging.level"]),
            ("[api]\npublic_url = \"not a url\"\n", [":2:", "api.public_url"]),
        ] {
            let message = file(text).join("\n");
            assert!(words.iter().all(|w| message.contains(w)), "{message}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let env = [("HEARTHBEAT__LOGGING__LEVEL".to_owned(), "debug".to_owned()), ("PATH".to_owned(), "x".to_owned())];
        let (config, origins, _) = read_from(None, env.into_iter()).unwrap();
        assert_eq!(config.logging.level, "debug");
        assert_eq!(origins["logging.level"], "environment HEARTHBEAT__LOGGING__LEVEL");
    }
}
