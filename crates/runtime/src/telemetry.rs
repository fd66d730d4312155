//! Logs on stderr: text on a terminal, JSON lines otherwise. Names, numbers and tokens have no place in them.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// Changes the level while running.
#[derive(Debug, Clone)]
pub struct LevelHandle(reload::Handle<EnvFilter, Registry>);

/// The level is not one that `tracing` knows.
#[derive(Debug, thiserror::Error)]
#[error("log level {0:?}: use error, warn, info, debug, trace or a filter such as broker=debug,info")]
pub struct LevelError(String);

/// Libraries that print whole packets, addresses or statements below a warning.
const QUIET: &str =
    "rumqttd=warn,rumqttc=off,rustls=warn,hyper=warn,hyper_util=warn,reqwest=warn,h2=warn,tokio_postgres=warn";

/// Whether logging could start with this.
///
/// # Errors
/// [`LevelError`].
pub fn check(level: &str) -> Result<(), LevelError> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, LevelError> {
    // A word that is no level would be taken for a module's name: everything it logs, and nothing else.
    let known = |part: &str| matches!(part.trim(), "off" | "error" | "warn" | "info" | "debug" | "trace");
    if !level.split(',').all(|part| known(part) || part.contains('=') || part.contains('[')) {
        return Err(LevelError(level.to_owned()));
    }
    EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|_| LevelError(level.to_owned()))
}

/// Starts logging for this process. A second call changes nothing.
///
/// # Errors
/// [`LevelError`] when `level` is not a filter.
pub fn start(format: Format, level: &str) -> Result<LevelHandle, LevelError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let json = format == Format::Json || (format == Format::Auto && !std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let _ =
        if json { registry.with(layer.json().flatten_event(true)).try_init() } else { registry.with(layer).try_init() };
    Ok(LevelHandle(handle))
}

impl LevelHandle {
    /// Takes another level from now on.
    ///
    /// # Errors
    /// [`LevelError`] when `level` is not a filter.
    pub fn set(&self, level: &str) -> Result<(), LevelError> {
        self.0.reload(filter(level)?).map_err(|_| LevelError(level.to_owned()))
    }
}
