//! `hearthbeat run`: the service until a signal, a fault, or a second signal.

use crate::{
    Done, Failure,
    arguments::{Role, RunOptions},
    config::{self, Config, LogFormat},
    folder::{self, Owned},
    service::Service,
};
use runtime::{Clock, telemetry};
use std::{net::SocketAddr, path::Path};
use tokio::signal::unix::{Signal, SignalKind, signal};
use vitals::Timestamp;

/// Runs to the end.
pub(crate) fn run(options: &RunOptions) -> Done {
    let (config, _) = config::load(options.config.as_deref())?;
    let mut roles = options.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    if roles != [Role::Edge, Role::Rules, Role::Alerts, Role::Api] {
        return Err(Failure::Configuration(
            "--roles: only all roles together may run until [registry] is PostgreSQL".into(),
        ));
    }
    let folder = options.data.data_dir.clone();
    if options.test_clock.is_some() {
        only_loopback(&config)?;
    }
    if let Some(point) = std::env::var_os("HEARTHBEAT_CRASH_AT") {
        if options.test_clock.is_none() {
            return Err(Failure::Configuration("HEARTHBEAT_CRASH_AT: accepted only together with --test-clock".into()));
        }
        runtime::crash::arm(&point.to_string_lossy());
    }
    let hurry = hurry(options.test_clock.is_some())?;
    let owned = Owned::take(&folder, "")?;
    let clock = clock(options.test_clock.as_deref(), &folder)?;
    owned.withdraw_addresses();
    let level = telemetry::start(log_format(config.logging.format), &config.logging.level)
        .map_err(|e| Failure::Configuration(format!("logging.level: {e}")))?;
    more_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("tokio runtime", e))?;
    let outcome = runtime.block_on(serve(options, &owned, config, clock, &level, hurry));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

async fn serve(
    options: &RunOptions,
    owned: &Owned,
    config: Config,
    clock: Clock,
    level: &telemetry::LevelHandle,
    hurry: Option<(usize, usize)>,
) -> Done {
    let mut stop = Stop::listen()?;
    let mut reload = signal(SignalKind::hangup()).map_err(|e| Failure::failed("SIGHUP", e))?;
    let mut service = Service::start(&options.data.data_dir, config, clock).await?;
    if let Some((rows, pages)) = hurry {
        service.store.readings().hurry(rows, pages);
    }
    owned.publish_addresses(service.broker.addresses(), service.http)?;
    tracing::info!(http = %service.http, "ready");
    let fatal = loop {
        tokio::select! {
            () = stop.wait() => break None,
            fatal = service.fatal() => break Some(fatal),
            _ = reload.recv() => reload_now(options, &service, level),
        }
    };
    owned.withdraw_addresses();
    if let Some(fatal) = fatal {
        // After a failed fsync nothing may be written any more: even closing the files would write and sync again.
        tracing::error!(stage = fatal.stage, reason = %fatal.reason, "ends now");
        eprintln!("hearthbeat: {fatal}");
        std::process::exit(1);
    }
    tracing::info!("stopping");
    tokio::select! {
        late = service.stop() => {
            if !late.is_empty() {
                tracing::warn!(?late, "did not end in time");
            }
            Ok(())
        }
        () = stop.wait() => Err(Failure::Failed("ended at once by a second signal".into())),
    }
}

/// `HEARTHBEAT_MERGE_AT=rows:pages`, only with a test clock: merges and checkpoints of the journal come early.
fn hurry(test_clock: bool) -> Result<Option<(usize, usize)>, Failure> {
    let Ok(text) = std::env::var("HEARTHBEAT_MERGE_AT") else { return Ok(None) };
    let wrong = |why| Failure::Configuration(format!("HEARTHBEAT_MERGE_AT: {why}"));
    if !test_clock {
        return Err(wrong("accepted only together with --test-clock"));
    }
    let number = |t: &str| t.parse().map_err(|_| wrong("write rows:pages, two numbers"));
    let (rows, pages) = text.split_once(':').ok_or_else(|| wrong("write rows:pages, two numbers"))?;
    Ok(Some((number(rows)?, number(pages)?)))
}

/// Certificates, cards, adapters and log level, without a restart.
fn reload_now(options: &RunOptions, service: &Service, level: &telemetry::LevelHandle) {
    let reloaded = config::load(options.config.as_deref()).and_then(|(config, _)| {
        level.set(&config.logging.level).map_err(|e| Failure::Configuration(e.to_string()))?;
        service.broker.reload_tls().map_err(|e| Failure::Configuration(e.to_string()))?;
        service.rules.reload(&config.rules).map_err(|e| Failure::Configuration(e.to_string()))?;
        service.ingest.reload(&config.for_ingest()).map_err(|e| Failure::Configuration(e.to_string()))
    });
    match reloaded {
        Ok(()) => tracing::info!("reloaded certificates, cards, adapters and log level"),
        Err(e) => tracing::error!(error = %e, "not reloaded; what was in force stays"),
    }
}

const fn log_format(format: LogFormat) -> telemetry::Format {
    match format {
        LogFormat::Auto => telemetry::Format::Auto,
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    }
}

/// SIGTERM or SIGINT.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let terminate = signal(SignalKind::terminate()).map_err(|e| Failure::failed("SIGTERM", e))?;
        let interrupt = signal(SignalKind::interrupt()).map_err(|e| Failure::failed("SIGINT", e))?;
        Ok(Self { terminate, interrupt })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// As many open files as the system grants: every meter needs one, and many systems start with 1,024.
fn more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(error = %e, "the limit of open files stays as it is");
    }
}

/// `manual` goes on where the folder's clock stood; `manual=TIME` too, if that is later than TIME.
fn clock(test_clock: Option<&str>, folder: &Path) -> Result<Clock, Failure> {
    let Some(text) = test_clock else { return Ok(Clock::system()) };
    let last = folder::last_test_time(folder);
    let wrong = || Failure::Configuration("--test-clock: write manual or manual=2026-03-01T08:00:00+08:00".into());
    let asked = match text.split_once('=') {
        None if text == "manual" => None,
        Some(("manual", at)) => Some(Timestamp::parse_rfc3339(at).map_err(|_| wrong())?),
        _ => return Err(wrong()),
    };
    let start = last.into_iter().chain(asked).max().unwrap_or_else(Clock::wall);
    folder::keep_test_time(folder, start)?;
    Ok(Clock::manual(start))
}

/// A clock that anybody can move may not be reachable from outside.
fn only_loopback(config: &Config) -> Done {
    let listeners = [
        ("broker.mqtt", &config.broker.mqtt),
        ("broker.mqtts", &config.broker.mqtts),
        ("broker.ws", &config.broker.ws),
        ("broker.wss", &config.broker.wss),
        ("api.address", &config.api.address),
    ];
    for (key, address) in listeners {
        let loopback = address.is_empty() || address.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback());
        if !loopback {
            return Err(Failure::Configuration(format!("{key}: --test-clock serves loopback only; use 127.0.0.1")));
        }
    }
    Ok(())
}
