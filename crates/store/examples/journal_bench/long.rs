//! The long run: twenty million readings of everybody, ninety days of one patient among them, the way back after a kill.
//!
//! Goes in: an empty folder. Comes out: figures beside their bounds, printed.

use super::*;

const PATIENTS: u64 = 100_000;
/// Readings in one submission of the long fill.
const CHUNK: u64 = 500;
/// Rows a second that arrive while questions are asked.
const ARRIVING: u64 = 20_000;
const BOUND_QUERY_MS: [f64; 2] = [1.0, 5.0];
const BOUND_MEMORY_MB: u64 = 600;
const BOUND_REOPEN_MS: f64 = 1_000.0;
const BOUND_SERIES_BYTES: i64 = 70;

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

pub(super) fn run(runtime: &tokio::runtime::Runtime, options: &Options, open: &dyn Fn() -> Store, folder: &Path) {
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

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}
