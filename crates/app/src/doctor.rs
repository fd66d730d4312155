//! `doctor`: what this machine and this installation can do, in words, before a clinic relies on it.

use crate::{
    Done, Failure,
    arguments::RunOptions,
    config::{self, Series},
    folder,
};
use rustix::process::{Resource, getrlimit};
use std::{
    fs::File,
    io::{Seek, Write},
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

/// Enough for 1,000 meters and the files beside them.
const FILES_WANTED: u64 = 4096;
/// A commit waits for one fsync; beyond this a reading's acknowledgement is felt.
const SLOW_FSYNC: Duration = Duration::from_millis(20);
const SYNCS: u32 = 100;

/// Prints one line a check; exit 1 when one is bad.
pub(crate) fn doctor(options: &RunOptions) -> Done {
    let (config, _) = config::load(options.config.as_deref())?;
    let data = &options.data.data_dir;
    let mut well = true;
    let mut tell = |ok: bool, name: &str, words: String| {
        well &= ok;
        println!("{} {name:<12} {words}", if ok { "ok " } else { "BAD" });
    };
    tell(true, "program", format!("hearthbeat {}", env!("CARGO_PKG_VERSION")));
    match folder::require_initialised(data) {
        Ok(()) => tell(true, "folder", format!("{} is initialised", data.display())),
        Err(e) => tell(false, "folder", e.to_string()),
    }
    let place = if data.is_dir() { data.clone() } else { std::env::temp_dir() };
    match fsync_latency(&place) {
        Ok((median, worst)) => tell(
            median < SLOW_FSYNC,
            "disk",
            format!(
                "fsync median {median:?}, worst of {SYNCS} {worst:?}: at most {:.0} commits a second",
                1.0 / median.as_secs_f64()
            ),
        ),
        Err(e) => tell(false, "disk", format!("{}: {e}", place.display())),
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    tell(files >= FILES_WANTED, "open files", format!("{files}; one meter needs one (ulimit -n, LimitNOFILE)"));
    let listeners = [
        ("mqtt", &config.broker.mqtt),
        ("mqtts", &config.broker.mqtts),
        ("ws", &config.broker.ws),
        ("wss", &config.broker.wss),
        ("http", &config.api.address),
    ];
    for (name, address) in listeners.into_iter().filter(|(_, address)| !address.is_empty()) {
        match TcpListener::bind(address.as_str()) {
            Ok(_) => tell(true, name, format!("{address} is free")),
            Err(e) => tell(false, name, format!("{address}: {e} (fine if the service runs)")),
        }
    }
    let year = runtime::Clock::wall().in_zone(&vitals::Zone::utc()).year();
    tell((2025..2100).contains(&year), "clock", format!("the year is {year}; run an NTP client"));
    match broker::check(&config.broker) {
        Ok(()) => tell(true, "certificates", "as configured".into()),
        Err(e) => tell(false, "certificates", e.to_string()),
    }
    if config.broker.upstream.is_on() {
        match upstream(&config.broker.upstream) {
            Ok(()) => {
                tell(true, "upstream", format!("{} lets us in, and read what we need", config.broker.upstream.url))
            }
            Err(words) => tell(false, "upstream", format!("{}: {words}", config.broker.upstream.url)),
        }
    }
    if config.store.engine == Series::Questdb {
        match store::questdb::doctor(&config.store.questdb) {
            Ok(report) => {
                let suspended = if report.suspended { ", SUSPENDED" } else { "" };
                let (version, mode, rows) = (report.version, report.commit_mode, report.rows);
                let behind = report.lag_transactions;
                let words =
                    format!("{version}, commit mode {mode}, {rows} rows, {behind} transactions behind{suspended}");
                tell(!report.suspended, "questdb", words);
                report.warnings.into_iter().for_each(|w| tell(true, "questdb", w));
            }
            Err(e) => tell(false, "questdb", e.to_string()),
        }
    }
    if well { Ok(()) } else { Err(Failure::Quiet) }
}

/// One try at the broker above; why not, and what to do about it.
fn upstream(config: &broker::Upstream) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(broker::probe_upstream(config)).map_err(|e| e.to_string())
}

/// Median and worst of a few real appends, each synced.
fn fsync_latency(folder: &Path) -> std::io::Result<(Duration, Duration)> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let measured = (|| {
        let mut took = Vec::new();
        for _ in 0..SYNCS {
            let begun = Instant::now();
            file.write_all(&[0; 1024])?;
            file.sync_data()?;
            took.push(begun.elapsed());
        }
        file.rewind()?;
        took.sort_unstable();
        Ok((took[took.len() / 2], took[took.len() - 1]))
    })();
    let _ = std::fs::remove_file(&path);
    measured
}
