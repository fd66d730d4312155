//! `doctor`: what this machine and this installation can do, in words, before a clinic relies on it.

use crate::{
    Done, Failure,
    arguments::RunOptions,
    authority,
    config::{self, Config, Series},
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
use vitals::{Timestamp, Zone};

/// Enough for 1,000 meters and the files beside them.
const FILES_WANTED: u64 = 4096;
/// A commit waits for one fsync; beyond this a reading's acknowledgement is felt.
const SLOW_FSYNC: Duration = Duration::from_millis(20);
const SYNCS: u32 = 100;
/// A certificate that ends earlier than so many days from now is warned of.
const SOON_DAYS: i64 = 30;

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
    listeners(&config, &mut tell);
    let year = runtime::Clock::wall().in_zone(&Zone::utc()).year();
    tell((2025..2100).contains(&year), "clock", format!("the year is {year}; run an NTP client"));
    certificates(&config.broker, data, &mut tell);
    for (file, outcome) in store::doctor(data) {
        match outcome {
            Ok(words) => tell(true, "database", format!("{file}: {words}")),
            Err(e) => tell(false, "database", e.to_string()),
        }
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

/// Each configured address can be listened on.
fn listeners(config: &Config, tell: &mut impl FnMut(bool, &str, String)) {
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
}

/// What is configured can be used, and until when: a certificate that is over keeps every meter out.
fn certificates(config: &broker::Config, data: &Path, tell: &mut impl FnMut(bool, &str, String)) {
    let faults = broker::check(config);
    faults.iter().for_each(|fault| tell(false, "certificates", format!("broker.{fault}")));
    let secure = !config.mqtts.is_empty() || !config.wss.is_empty();
    if !secure && faults.is_empty() {
        tell(true, "certificates", "no listener has TLS".into());
    }
    let files = [&config.tls.cert_file, &config.tls.client_ca_file].into_iter().flatten().filter(|_| secure);
    for path in files {
        // A file that cannot be read was said above.
        if let Ok(end) = broker::certificate_end(path) {
            let (well, words) = lasts(end, runtime::Clock::wall());
            tell(well, "certificates", format!("{}: {words}", path.display()));
        }
    }
    if let Some(signer) = authority::list(data).ok().and_then(|all| all.into_iter().find(|known| known.signs)) {
        let (well, words) = lasts(signer.not_after, runtime::Clock::wall());
        tell(well, "certificates", format!("device CA: {words}"));
    }
}

/// Whether it is good still, and its day; within its last days it is said louder.
fn lasts(end: Timestamp, now: Timestamp) -> (bool, String) {
    let day = end.day(&Zone::utc());
    if end <= now {
        return (false, format!("expired on {day}: renew it"));
    }
    let left = (end.as_micros() - now.as_micros()) / (24 * 3600 * 1_000_000);
    let warning = if left < SOON_DAYS { "WARNING: renew it, " } else { "" };
    (true, format!("{warning}until {day}, {left} days"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_over_is_bad_and_one_that_ends_soon_is_warned_of() {
        let now = Timestamp::parse_rfc3339("2026-03-02T08:00:00Z").unwrap();
        let in_days = |days: i64| lasts(Timestamp::from_seconds(now.as_micros() / 1_000_000 + days * 24 * 3600), now);
        assert_eq!(in_days(-2), (false, "expired on 2026-02-28: renew it".into()));
        assert_eq!(in_days(10), (true, "WARNING: renew it, until 2026-03-12, 10 days".into()));
        assert_eq!(in_days(90), (true, "until 2026-05-31, 90 days".into()));
    }
}
