//! How fast the journal is, beside what the disk allows and beside the textbook's schema:
//! `cargo run --release -p store --example journal_bench -- [--seconds 5] [--delay-ms 2] [--originals 170] [--long] [--rows 20000000]`.
//!
//! Prints, for each number of readings in flight, rows a second, the p99 of one submission, and the ratio to the bound
//! (batch x fsyncs a second, the added delay included); the same batches into one rowid table with two indexes; how long
//! a reopen takes; bytes a row of each table. Exit code 1 when a bound is missed. `--originals N` keeps with each reading a
//! message of about N bytes as it came and packs them at the end: what that adds is printed apart. `--long` fills `--rows` of 100,000 patients, asks for 90 days idle and while 20,000/s
//! arrive, and reopens a copy of the file as a kill -9 would leave it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::cast_precision_loss, missing_docs)]

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
const PATIENTS: u64 = 100_000;
/// Readings in one submission of the long fill.
const CHUNK: u64 = 500;
/// Rows a second that arrive while questions are asked.
const ARRIVING: u64 = 20_000;
const BOUND_QUERY_MS: [f64; 2] = [1.0, 5.0];
/// Rows a second with 1,000 in flight.
const BOUND_RATE: f64 = 250_000.0;
/// Of batch x fsyncs a second, with 10 in flight.
const BOUND_SHARE: f64 = 0.6;
const BOUND_MEMORY_MB: u64 = 600;
const BOUND_REOPEN_MS: f64 = 1_000.0;
const BOUND_SERIES_BYTES: i64 = 70;

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

async fn one(readings: &Readings, n: u64, originals: usize) -> Duration {
    let original = (originals > 0).then(|| message(n, originals));
    let begun = Instant::now();
    readings
        .submit(date(2026, 3, 2), 1, move |desk| {
            let reading = reading(n);
            let told = Some(reading.measured_at);
            assert!(desk.known(reading.device, reading.seq)?.is_empty());
            let (device, at) = (reading.device, reading.received_at);
            desk.keep(NewReading { reading, told, trusted: true })?;
            if let Some(bytes) = original {
                desk.keep_original(device, "readings".into(), at, &bytes);
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
}

fn options() -> Options {
    let mut options =
        Options { seconds: Duration::from_secs(5), delay: Duration::ZERO, long: false, rows: 20_000_000, originals: 0 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<u64>().ok()).expect("a number after the option");
        match word.as_str() {
            "--seconds" => options.seconds = Duration::from_secs(number()),
            "--delay-ms" => options.delay = Duration::from_millis(number()),
            "--rows" => options.rows = number(),
            "--originals" => options.originals = usize::try_from(number()).unwrap_or_default(),
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
        return long(&runtime, &options, &open, folder.path());
    }
    let mut next = 0_u64;
    let mut ours = Vec::new();
    let store = open();
    for batch in [1_u64, 10, 100, 1_000] {
        let cpu = commit_thread_micros();
        let (rows, took, waits) = runtime.block_on(load(store.readings(), batch, &mut next, &options));
        let rate = rows as f64 / took.as_secs_f64();
        ours.push(rate);
        println!(
            "in flight {batch:5}: {rate:9.0} rows/s   p99 {:7.2} ms   {:5.1} % of batch x fsyncs/s{}   {:5.2} us of the commit thread a row",
            percentile(waits, 99).as_secs_f64() * 1e3,
            100.0 * rate / (batch as f64 * fsyncs),
            match batch {
                10 => format!(" (bound 60 %, {})", verdict(rate >= BOUND_SHARE * batch as f64 * fsyncs)),
                1_000 => format!(" (bound 250,000/s, {})", verdict(rate >= BOUND_RATE)),
                _ => String::new(),
            },
            (commit_thread_micros() - cpu) / rows as f64
        );
    }
    for (batch, ours) in [1_u64, 10, 100, 1_000].into_iter().zip(ours) {
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

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
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

/// The n-th reading of everybody: rounds of twelve hours over all patients, in scrambled order.
fn of_everybody(n: u64) -> Reading {
    let (round, at) = (n / PATIENTS, n % PATIENTS);
    let who = at * 48_271 % PATIENTS + 1;
    let measured_at = Timestamp::from_seconds(START + (round * 43_200 + at * 43_200 / PATIENTS).cast_signed());
    Reading {
        device: DeviceKey::new(who),
        seq: round.cast_signed(),
        patient: Some(PatientId::new(who.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        measured_at,
        received_at: measured_at,
        ..reading(0)
    }
}

async fn chunk(readings: &Readings, from: u64) -> Duration {
    let begun = Instant::now();
    let work = move |desk: &mut store::Desk<'_>| {
        for n in from..from + CHUNK {
            let reading = of_everybody(n);
            let told = Some(reading.measured_at);
            assert!(desk.known(reading.device, reading.seq)?.is_empty());
            desk.keep(NewReading { reading, told, trusted: true })?;
        }
        Ok(())
    };
    readings.submit(date(2026, 3, 2), 500, work).await.expect("stored");
    begun.elapsed()
}

fn long(runtime: &tokio::runtime::Runtime, options: &Options, open: &dyn Fn() -> Store, folder: &Path) {
    let store = open();
    let (begun, cpu) = (Instant::now(), commit_thread_micros());
    runtime.block_on(async {
        let mut next = 0;
        while next < options.rows {
            // Two chunks are under way: one is judged while the other is synced.
            let (_, _) = tokio::join!(chunk(store.readings(), next), chunk(store.readings(), next + CHUNK));
            next += 2 * CHUNK;
        }
    });
    let rate = options.rows as f64 / begun.elapsed().as_secs_f64();
    let each = (commit_thread_micros() - cpu) / options.rows as f64;
    println!(
        "fill: {} rows at {rate:.0} rows/s, {each:.2} us of the commit thread a row; load {}",
        options.rows,
        load_average()
    );
    let rounds = options.rows / PATIENTS;
    for (what, arriving, bound) in
        [("idle", false, BOUND_QUERY_MS[0]), ("while 20,000/s arrive", true, BOUND_QUERY_MS[1])]
    {
        let (p50, p99, rows) = runtime.block_on(questions(store.readings(), options.rows, rounds, arriving));
        let (p50, p99) = (p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
        println!(
            "90 days of one patient, {what}: p50 {p50:.2} ms, p99 {p99:.2} ms (bound {bound} ms, {}), {rows} rows; load {}",
            verdict(p99 <= bound),
            load_average()
        );
    }
    let memory = resident_mb();
    println!("memory: {memory} MB at most (bound 600, {})", verdict(memory <= BOUND_MEMORY_MB));
    // A copy of the files between two commits is what a kill -9 leaves.
    let copy = tempfile::tempdir_in(".").unwrap();
    for name in ["journal.db", "journal.db-wal", "registry.db", "registry.db-wal"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    let (unmerged, size) =
        (store.readings().health().unmerged, std::fs::metadata(folder.join("journal.db")).unwrap().len());
    drop(store);
    let (_handle, drain) = Drain::new();
    let begun = Instant::now();
    let again = Store::open(copy.path(), Clock::system(), &drain).unwrap();
    runtime.block_on(async {
        let new = of_everybody(4 * options.rows);
        let told = Some(new.measured_at);
        let keep = move |desk: &mut store::Desk<'_>| desk.keep(NewReading { reading: new, told, trusted: true });
        again.readings().submit(date(2026, 3, 2), 1, keep).await.unwrap();
    });
    let took = begun.elapsed().as_secs_f64() * 1e3;
    println!(
        "reopen to the first durable answer: {took:.0} ms with {unmerged} rows unmerged (bound 1000, {})",
        verdict(took <= BOUND_REOPEN_MS)
    );
    drop(again);
    sizes(copy.path(), options.rows, size);
}

/// What each table takes, by SQLite's own count of its pages.
fn sizes(folder: &Path, rows: u64, file: u64) {
    let c = rusqlite::Connection::open(folder.join("journal.db")).unwrap();
    let mut statement = c
        .prepare("SELECT name, sum(pgsize), sum(payload), sum(ncell) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 8")
        .unwrap();
    let tables = statement
        .query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?, r.get::<_, i64>(3)?)))
        .unwrap();
    for (name, pages, payload, cells) in tables.map(Result::unwrap) {
        let (each, full) = (pages / cells.max(1), 100 * payload / pages.max(1));
        let bound = if name == "series" {
            format!(" (bound {BOUND_SERIES_BYTES}, {})", verdict(each <= BOUND_SERIES_BYTES))
        } else {
            String::new()
        };
        println!("size: {each:4} bytes a row of {name}{bound}, {cells} rows, {full} % of its pages are payload");
    }
    println!("size: {} bytes of file a reading, everything in it (series, numbers, places)", file / rows);
}

/// p50, p99 and rows of 90 days of random patients, asked one after another.
async fn questions(readings: &Readings, stored: u64, rounds: u64, arriving: bool) -> (Duration, Duration, usize) {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(!arriving));
    let (more, until) = (readings.clone(), stop.clone());
    let sender = tokio::spawn(async move {
        let mut next = stored + CHUNK;
        let mut tick = tokio::time::interval(Duration::from_secs_f64(CHUNK as f64 / ARRIVING as f64));
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            tick.tick().await;
            chunk(&more, next).await;
            next += CHUNK;
        }
    });
    let (mut waits, mut rows) = (Vec::new(), 0);
    for i in 0..2_000_u64 {
        let who = i * 7_919 % PATIENTS + 1;
        let to = START + (rounds * 43_200).cast_signed();
        let query = store::ReadingQuery {
            patient: PatientId::new(who.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            kind: None,
            from: Timestamp::from_seconds(to - 90 * 86_400),
            to: Timestamp::from_seconds(to),
            after: None,
            limit: 10_000,
        };
        let begun = Instant::now();
        rows = readings.range(query).await.unwrap().len();
        waits.push(begun.elapsed());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    sender.await.unwrap();
    (percentile(waits.clone(), 50), percentile(waits, 99), rows)
}

/// Keeps `batch` readings in flight for a while: rows, seconds, waits.
async fn load(readings: &Readings, batch: u64, next: &mut u64, options: &Options) -> (u64, Duration, Vec<Duration>) {
    let (seconds, originals) = (options.seconds, options.originals);
    let begun = Instant::now();
    let first = *next;
    let mut flying = tokio::task::JoinSet::new();
    let mut waits = Vec::new();
    loop {
        while flying.len() < usize::try_from(batch).unwrap_or(1) && begun.elapsed() < seconds {
            let (readings, n) = (readings.clone(), *next);
            *next += 1;
            flying.spawn(async move { one(&readings, n, originals).await });
        }
        match flying.join_next().await {
            Some(wait) => waits.push(wait.unwrap()),
            None => return (*next - first, begun.elapsed(), waits),
        }
    }
}
