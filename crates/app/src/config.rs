//! Configuration in layers: built-in defaults < `--config` file < `HEARTHBEAT__SECTION__KEY` < flags.
//!
//! Each stage owns its table; this file nests them, merges the layers and says where every value came from.
//! An unknown key is an error that names the nearest known one and the line.

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
/// [`Failure::Configuration`] with every fault of the first bad layer, place and remedy.
pub(crate) fn load(file: Option<&Path>) -> Result<(Config, Origins), Failure> {
    load_from(file, std::env::vars())
}

fn load_from(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<(Config, Origins), Failure> {
    let mut merged = Table::new();
    let mut origins = Origins::new();
    let default: Table = DEFAULT.parse().map_err(|e| Failure::failed("config/default.toml", e))?;
    merge(&mut merged, default, "", "default", &mut origins);
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|e| Failure::Configuration(format!("{name}: {e}")))?;
        // Read on its own first: only here are line numbers known.
        toml::from_str::<Config>(&text).map_err(|e| explain(&name, &text, &e))?;
        let table: Table = text.parse().map_err(|e| explain(&name, &text, &e))?;
        merge(&mut merged, table, "", &name, &mut origins);
    }
    for (key, value) in env.filter(|(key, _)| key.starts_with(PREFIX)) {
        let mut path: Vec<String> = key[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let leaf = path.pop().unwrap_or_default();
        let mut table = Table::from_iter([(leaf, from_env(&value))]);
        while let Some(section) = path.pop() {
            table = Table::from_iter([(section, Value::Table(table))]);
        }
        Config::deserialize(Value::Table(table.clone()))
            .map_err(|e| Failure::Configuration(format!("environment {key}: {}", advise(e.message()))))?;
        merge(&mut merged, table, "", &format!("environment {key}"), &mut origins);
    }
    let config = Config::deserialize(Value::Table(merged)).map_err(|e| Failure::Configuration(advise(e.message())))?;
    if !config.registry.url.starts_with("sqlite:") {
        return Err(Failure::Configuration(
            "registry.url: only sqlite:… is built in; PostgreSQL is not available yet".into(),
        ));
    }
    vitals::Zone::named(&config.site.time_zone).map_err(|_| {
        Failure::Configuration("site.time_zone: not an IANA zone; write for example Asia/Shanghai".into())
    })?;
    Ok((config, origins))
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

fn explain(name: &str, text: &str, error: &toml::de::Error) -> Failure {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    Failure::Configuration(format!("{name}:{line}: {}", advise(error.message())))
}

/// Adds the nearest known name to serde's "unknown field" message.
fn advise(message: &str) -> String {
    let message = message.trim();
    let mut names = message.split('`').skip(1).step_by(2);
    let (true, Some(wrong)) = (message.starts_with("unknown"), names.next()) else { return message.to_owned() };
    let nearest = names.max_by(|a, b| strsim::jaro_winkler(wrong, a).total_cmp(&strsim::jaro_winkler(wrong, b)));
    match nearest {
        Some(nearest) => format!("unknown key `{wrong}`; did you mean `{nearest}`? ({message})"),
        None => message.to_owned(),
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

    fn file(text: &str) -> Result<(Config, Origins), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, text).unwrap();
        load_from(Some(&path), std::iter::empty())
    }

    #[test]
    fn the_reference_is_the_default() {
        let (config, _) = load_from(None, std::iter::empty()).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn an_unknown_key_names_line_and_nearest() {
        for (text, words) in [
            ("[brokr]\n", [":1:", "`broker`"]),
            ("\n[broker]\nmqqt = \"127.0.0.1:0\"\n", [":3:", "`mqtt`"]),
            ("[site]\ntime_zone = 3\n", [":2:", "string"]),
        ] {
            let message = file(text).unwrap_err().to_string();
            assert!(words.iter().all(|w| message.contains(w)), "{message}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let env = [("HEARTHBEAT__LOGGING__LEVEL".to_owned(), "debug".to_owned()), ("PATH".to_owned(), "x".to_owned())];
        let (config, origins) = load_from(None, env.into_iter()).unwrap();
        assert_eq!(config.logging.level, "debug");
        assert_eq!(origins["logging.level"], "environment HEARTHBEAT__LOGGING__LEVEL");
    }
}
