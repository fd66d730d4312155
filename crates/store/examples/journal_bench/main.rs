//! How fast the journal is, beside what the disk allows and beside the textbook's schema:
//! `cargo run --release -p store --example journal_bench -- [--seconds 5] [--delay-ms 2] [--originals 170] [--batch N] [--long] [--rows 20000000]`.
//!
//! Prints rows a second, the p99 of one submission, and the ratio to the bound (batch x fsyncs a second, the added delay
//! included): for batches, each a submission and a transaction of its own while the next one waits; and for readings that
//! are a submission each, so many of them in flight. The same batches into one rowid table with two indexes; how long
//! a reopen takes; bytes a row of each table. Exit code 1 when a bound is missed. `--batch N`: only that batch, no more. `--originals N` keeps with each reading a
//! message of about N bytes as it came and packs them at the end: what that adds is printed apart. `--long` fills `--rows` of 100,000 patients, asks for 90 days idle and while 20,000/s
//! arrive, and reopens a copy of the file as a kill -9 would leave it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::cast_precision_loss, missing_docs)]

mod long;

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

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DEVICES: u64 = 1_000;
const START: i64 = 1_770_000_000;
/// Batches that are submitted and not answered: one is being committed while others wait.
const WAITING: u64 = 3;
/// Rows a second in batches of 1,000.
const BOUND_RATE: f64 = 250_000.0;
/// Of batch x fsyncs a second, in batches of 10.
const BOUND_SHARE: f64 = 0.6;

static MISSED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// The word behind a figure.
fn verdict(holds: bool) -> &'static str {
    if !holds {
        MISSED.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    if holds { "ok" } else { "MISS" }
}

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

/// A message as a meter sends it, of about `length` bytes.
fn message(n: u64, length: usize) -> bytes::Bytes {
    let reading = reading(n);
    let start = format!(
        r#"{{"v":1,"msgId":"0193f6a2-{n:012x}","readings":[{{"seq":{},"kind":"blood_glucose","time":"2026-03-01T07:11:40+08:00","glucose":{}.{},"unit":"mmol/L"}}]}}"#,
        reading.seq,
        n % 9 + 4,
        n * 7 % 10
    );
    bytes::Bytes::from(format!("{start:length$}"))
}

/// Stores `size` readings in one submission; how long that takes.
async fn some(readings: &Readings, from: u64, size: u64, originals: usize) -> Duration {
    let made: Vec<_> =
        (from..from + size).map(|n| (reading(n), (originals > 0).then(|| message(n, originals)))).collect();
    let begun = Instant::now();
    readings
        .submit(date(2026, 3, 2), made.len(), move |desk| {
            for (reading, original) in made {
                let told = Some(reading.measured_at);
                assert!(desk.known(reading.device, reading.seq)?.is_empty());
                let (device, at) = (reading.device, reading.received_at);
                desk.keep(NewReading { reading, told, trusted: true })?;
                if let Some(bytes) = original {
                    desk.keep_original(device, "readings".into(), at, &bytes);
                }
            }
            Ok(())
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

struct Options {
    seconds: Duration,
    delay: Duration,
    long: bool,
    rows: u64,
    originals: usize,
    batch: Option<u64>,
}

fn options() -> Options {
    let mut options = Options {
        seconds: Duration::from_secs(5),
        delay: Duration::ZERO,
        long: false,
        rows: 20_000_000,
        originals: 0,
        batch: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<u64>().ok()).expect("a number after the option");
        match word.as_str() {
            "--seconds" => options.seconds = Duration::from_secs(number()),
            "--delay-ms" => options.delay = Duration::from_millis(number()),
            "--rows" => options.rows = number(),
            "--originals" => options.originals = usize::try_from(number()).unwrap_or_default(),
            "--batch" => options.batch = Some(number()),
            "--long" => options.long = true,
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn main() -> std::process::ExitCode {
    bench();
    u8::from(MISSED.load(std::sync::atomic::Ordering::Relaxed)).into()
}

fn bench() {
    let options = options();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir_in(".").unwrap();
    let alone = fsyncs_a_second(folder.path());
    let fsyncs = 1.0 / (1.0 / alone + options.delay.as_secs_f64());
    println!(
        "disk: {alone:.0} fsyncs/s (4 KiB appended); with {:?} added {fsyncs:.0}; load {}",
        options.delay,
        load_average()
    );
    let (_handle, drain) = Drain::new();
    let open = || {
        let store = Store::open(folder.path(), Clock::system(), &drain).unwrap();
        store.readings().delay_commits(options.delay);
        store
    };
    if options.long {
        return long::run(&runtime, &options, &open, folder.path());
    }
    let mut next = 0_u64;
    let store = open();
    let batches: Vec<u64> = options.batch.map_or(vec![1, 10, 100, 1_000], |one| vec![one]);
    let ours = rates(&runtime, store.readings(), &batches, &mut next, (&options, fsyncs));
    if options.batch.is_some() {
        return;
    }
    for (batch, ours) in batches.into_iter().zip(ours) {
        let rate = textbook(folder.path(), batch, options.seconds, options.delay);
        println!(
            "textbook  {batch:5}: {rate:9.0} rows/s   rowid table, two indexes, one insert a row: ours is {:.1} times as fast",
            ours / rate
        );
    }
    print_packing(&runtime, &store, options.originals);
    let unmerged = store.readings().health().unmerged;
    drop(store);
    let begun = Instant::now();
    let store = open();
    println!("reopen with {unmerged} unmerged rows of {next}: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    let mut stored = 0_u64;
    let mut count = |_: &Reading| {
        stored += 1;
        Ok(())
    };
    store.readings().export_readings(&mut count).unwrap();
    assert_eq!(stored, next, "every acknowledged reading once");
    let size = std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    println!("{stored} rows, each once; {} bytes of file a row", size / stored.max(1));
    print_originals(folder.path(), options.originals, stored);
}

/// Rows a second in batches, and of readings that are a submission each; the former are returned.
fn rates(
    runtime: &tokio::runtime::Runtime,
    readings: &Readings,
    batches: &[u64],
    next: &mut u64,
    (options, fsyncs): (&Options, f64),
) -> Vec<f64> {
    let mut run = |batch: u64, size: u64, flying: u64| {
        let cpu = commit_thread_micros();
        let (rows, took, waits) = runtime.block_on(load(readings, (size, flying), next, options));
        let rate = rows as f64 / took.as_secs_f64();
        let each = (commit_thread_micros() - cpu) / rows as f64;
        let (p99, share) = (percentile(waits, 99).as_secs_f64() * 1e3, 100.0 * rate / (batch as f64 * fsyncs));
        let of_bound = format!("p99 {p99:7.2} ms   {share:5.1} % of batch x fsyncs/s");
        (rate, format!("{rate:9.0} rows/s   {of_bound}   {each:5.2} us of the commit thread a row"))
    };
    let mut all = Vec::new();
    for batch in batches {
        readings.commit_at_most(usize::try_from(*batch).unwrap_or(1));
        let (rate, said) = run(*batch, *batch, WAITING);
        all.push(rate);
        let bound = match batch {
            10 => format!("   (bound 60 %: {})", verdict(rate >= BOUND_SHARE * *batch as f64 * fsyncs)),
            1_000 => format!("   (bound 250,000/s: {})", verdict(rate >= BOUND_RATE)),
            _ => String::new(),
        };
        println!("batch     {batch:5}: {said}{bound}");
    }
    readings.commit_at_most(2_000);
    for batch in batches.iter().filter(|_| options.batch.is_none()) {
        println!("in flight {batch:5}: {}", run(*batch, 1, *batch).1);
    }
    all
}

fn print_packing(runtime: &tokio::runtime::Runtime, store: &Store, originals: usize) {
    if originals == 0 {
        return;
    }
    let (begun, cpu) = (Instant::now(), commit_thread_micros());
    let messages = runtime.block_on(store.readings().pack_originals()).unwrap();
    println!(
        "packing: {messages} messages in {:.1} s, {:.2} us of the commit thread each",
        begun.elapsed().as_secs_f64(),
        (commit_thread_micros() - cpu) / messages.max(1) as f64
    );
}

fn print_originals(folder: &Path, originals: usize, stored: u64) {
    if originals == 0 {
        return;
    }
    let sent: u64 = (0..1000).map(|n| message(n, originals).len() as u64).sum::<u64>() / 1000;
    let kept: u64 = rusqlite::Connection::open(folder.join("journal.db"))
        .and_then(|c| c.query_row("SELECT coalesce(sum(length(b)), 0) FROM original", [], |r| r.get::<_, i64>(0)))
        .unwrap()
        .cast_unsigned();
    println!("originals: {sent} bytes sent and {} kept a message, part of the above", kept / stored.max(1));
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or("?").to_owned()
}

fn percentile(mut waits: Vec<Duration>, n: usize) -> Duration {
    waits.sort_unstable();
    waits.get((waits.len() * n / 100).min(waits.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// What everybody writes first: one table, a unique index for the device's number, one for patient and time.
fn textbook(folder: &Path, batch: u64, seconds: Duration, delay: Duration) -> f64 {
    let path = folder.join(format!("textbook-{batch}.db"));
    let mut c = rusqlite::Connection::open(&path).unwrap();
    c.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;
         CREATE TABLE reading(id INTEGER PRIMARY KEY, patient INTEGER, device INTEGER, seq INTEGER, kind INTEGER,
         measured INTEGER, received INTEGER, device_time TEXT, systolic REAL, diastolic REAL, pulse REAL, flags INTEGER);
         CREATE UNIQUE INDEX of_device ON reading(device, seq); CREATE INDEX of_patient ON reading(patient, measured);",
    )
    .unwrap();
    let (begun, mut n) = (Instant::now(), 0_u64);
    while begun.elapsed() < seconds {
        let tx = c.transaction().unwrap();
        for _ in 0..batch {
            let r = reading(n);
            let patient = r.patient.map(PatientId::as_i64);
            let row = (r.device.as_i64(), r.seq, r.measured_at.as_micros(), r.received_at.as_micros());
            tx.prepare_cached(
                "INSERT OR IGNORE INTO reading(patient, device, seq, kind, measured, received, device_time, systolic, flags)
                 VALUES(?1, ?2, ?3, 1, ?4, ?5, ?6, 6.2, 0)",
            )
            .and_then(|mut s| s.execute((patient, row.0, row.1, row.2, row.3, "2026-03-01T07:11:40+08:00")))
            .unwrap();
            n += 1;
        }
        tx.commit().unwrap();
        std::thread::sleep(delay);
    }
    n as f64 / begun.elapsed().as_secs_f64()
}

/// Keeps `flying` submissions of `size` readings in flight for a while: rows, seconds, waits.
async fn load(
    readings: &Readings,
    (size, limit): (u64, u64),
    next: &mut u64,
    options: &Options,
) -> (u64, Duration, Vec<Duration>) {
    let (seconds, originals) = (options.seconds, options.originals);
    let begun = Instant::now();
    let first = *next;
    let mut flying = tokio::task::JoinSet::new();
    let mut waits = Vec::new();
    loop {
        while flying.len() < usize::try_from(limit).unwrap_or(1) && begun.elapsed() < seconds {
            let (readings, n) = (readings.clone(), *next);
            *next += size;
            flying.spawn(async move { some(&readings, n, size, originals).await });
        }
        match flying.join_next().await {
            Some(wait) => waits.push(wait.unwrap()),
            None => return (*next - first, begun.elapsed(), waits),
        }
    }
}
