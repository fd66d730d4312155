//! How fast the journal is, beside what the disk allows: `cargo run --release -p store --example journal_bench`.
//!
//! Prints, for each number of readings in flight, rows a second, the p99 of one submission, and the ratio to the bound
//! (batch x fsyncs a second); then how long a reopen takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss, missing_docs)]

use jiff::civil::date;
use runtime::{Clock, Drain};
use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};
use store::{NewReading, Readings, Store};
use vitals::{
    Context, Decimal, DeviceKey, Disposition, GlucoseValue, PatientId, Reading, ReadingId, Statuses, TimeQuality,
    Timestamp, Unit, Values,
};

const DEVICES: u64 = 1_000;
const START: i64 = 1_770_000_000;
const SECONDS: Duration = Duration::from_secs(5);

fn reading(n: u64) -> Reading {
    let (device, seq) = (n % DEVICES + 1, i64::try_from(n / DEVICES).unwrap_or_default());
    let patient = PatientId::new(device.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Reading {
        id: ReadingId::new(0),
        device: DeviceKey::new(device),
        epoch: 0,
        seq,
        user_slot: None,
        patient: Some(patient),
        measured_at: Timestamp::from_seconds(START + seq * 60),
        received_at: Timestamp::from_seconds(START),
        device_time: Some(vitals::DeviceTime("2026-03-01T07:11:40+08:00".into())),
        time_quality: TimeQuality::Exact,
        disposition: Disposition::Stored,
        values: Values::Glucose(GlucoseValue::Value(Decimal::new(62, -1))),
        unit: Unit::MmolPerL,
        statuses: Statuses::default(),
        flags: vec![],
        historical: false,
        context: Context::default(),
    }
}

async fn one(readings: &Readings, n: u64) -> Duration {
    let begun = Instant::now();
    readings
        .submit(date(2026, 3, 2), 1, move |desk| {
            let reading = reading(n);
            let told = Some(reading.measured_at);
            assert!(desk.known(reading.device, reading.seq)?.is_empty());
            desk.keep(NewReading { reading, told, trusted: true })
        })
        .await
        .expect("stored");
    begun.elapsed()
}

fn fsyncs_a_second(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("fsync")).expect("a file");
    let begun = Instant::now();
    let mut n = 0_u32;
    while begun.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("synced");
        n += 1;
    }
    f64::from(n) / begun.elapsed().as_secs_f64()
}

/// Processor time of the commit thread so far, in microseconds (Linux; elsewhere 0).
fn commit_thread_micros() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let spent = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        (name.trim() == "journal").then(|| spent.split(' ').next()?.parse::<f64>().ok()).flatten()
    });
    times.sum::<f64>() / 1e3
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir_in(".").unwrap();
    let fsyncs = fsyncs_a_second(folder.path());
    println!("disk: {fsyncs:.0} fsyncs/s (4 KiB appended)");
    let (_handle, drain) = Drain::new();
    let open = || Store::open(folder.path(), Clock::system(), &drain).unwrap();
    let mut next = 0_u64;
    let store = open();
    for batch in [1_u64, 10, 100, 1_000] {
        let cpu = commit_thread_micros();
        let (rows, took, mut waits) = runtime.block_on(load(store.readings(), batch, &mut next));
        waits.sort_unstable();
        let p99 = waits[waits.len() * 99 / 100];
        let rate = rows as f64 / took.as_secs_f64();
        println!(
            "in flight {batch:5}: {rate:9.0} rows/s   p99 {:7.2} ms   {:5.1} % of batch x fsyncs/s   {:5.2} us of the commit thread a row",
            p99.as_secs_f64() * 1e3,
            100.0 * rate / (batch as f64 * fsyncs),
            (commit_thread_micros() - cpu) / rows as f64
        );
    }
    let unmerged = store.readings().health().unmerged;
    drop(store);
    let begun = Instant::now();
    let store = open();
    println!("reopen with {unmerged} unmerged rows of {next}: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    let mut stored = 0_u64;
    store
        .readings()
        .export_readings(&mut |_| {
            stored += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(stored, next, "every acknowledged reading once");
    let size = std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    println!("{stored} rows, each once; {} bytes of file a row", size / stored.max(1));
}

/// Keeps `batch` readings in flight for a while: rows, seconds, waits.
async fn load(readings: &Readings, batch: u64, next: &mut u64) -> (u64, Duration, Vec<Duration>) {
    let begun = Instant::now();
    let first = *next;
    let mut flying = tokio::task::JoinSet::new();
    let mut waits = Vec::new();
    loop {
        while flying.len() < usize::try_from(batch).unwrap_or(1) && begun.elapsed() < SECONDS {
            let (readings, n) = (readings.clone(), *next);
            *next += 1;
            flying.spawn(async move { one(&readings, n).await });
        }
        match flying.join_next().await {
            Some(wait) => waits.push(wait.unwrap()),
            None => return (*next - first, begun.elapsed(), waits),
        }
    }
}
