//! What the projection of a real journal to a real QuestDB holds, against the two bars of the storage issue, each beside
//! its bound from the same run; exit 1 when a bar is missed, 2 when there is no server.
//! `cargo run --release -p store --example questdb_bench [-- --rows 3000000 --seconds 20]`
//!
//! - catch-up: rows a second from the journal on disk, sent, visible and counted; bar 100,000/s; bound: the same rows
//!   through the client alone, acknowledged and not looked at
//! - visible lag: from the commit of a reading in the journal until a query counts it, while 20,000/s arrive; bar 2 s at
//!   p99; bound: one batch through the client alone until it is counted, the server otherwise idle
//! - the refill of an empty table from the series, as `hearthbeat store rebuild` does it, for comparison

#[path = "../tests/questdb_server/mod.rs"]
mod questdb_server;

use jiff::civil::date;
use questdb_server::{Server, cpu_seconds, reading, until};
use runtime::{Clock, Drain, DrainHandle};
use std::{
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{
    NewReading, Store,
    questdb::{self, Handle, Row, Source, State, sender::Lane},
};
use vitals::{Disposition, Reading, Timestamp};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Bars of the issue.
const CATCH_UP_BAR: f64 = 100_000.0;
const LAG_BAR: Duration = Duration::from_secs(2);
const RATE: u64 = 20_000;
/// Readings in one submission of the fill.
const CHUNK: u64 = 2_000;

struct Options {
    rows: u64,
    seconds: u64,
}

fn options() -> Outcome<Options> {
    let mut options = Options { rows: 3_000_000, seconds: 20 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().ok_or("a number after the option")?.parse()?;
        match word.as_str() {
            "--rows" => options.rows = number,
            "--seconds" => options.seconds = number,
            other => return Err(format!("unknown option {other}: --rows, --seconds").into()),
        }
    }
    Ok(options)
}

fn main() -> Outcome<ExitCode> {
    let options = options()?;
    tokio::runtime::Runtime::new()?.block_on(bench(&options))
}

/// The journal and what projects it.
struct Installation {
    store: Store,
    end: DrainHandle,
    drain: Drain,
}

impl Installation {
    fn open(folder: &Path) -> Outcome<Self> {
        let (end, drain) = Drain::new();
        let store = Store::open(folder, Clock::system(), &drain)?;
        Ok(Self { store, end, drain })
    }

    fn project(&self, server: &Server) -> Outcome<Handle> {
        Ok(questdb::start(server.config(), self.store.folder(), Source::of(&self.store), &self.drain)?)
    }

    /// Readings `first` up to `last`, durably.
    async fn keep(&self, first: u64, last: u64) -> Outcome<()> {
        for from in (first..=last).step_by(usize::try_from(CHUNK)?) {
            let to = last.min(from + CHUNK - 1);
            let kept = self.store.readings().submit(date(2026, 3, 2), usize::try_from(to - from + 1)?, move |desk| {
                (from..=to).try_for_each(|n| {
                    let reading = reading(n);
                    let told = Some(reading.measured_at);
                    desk.keep(NewReading { reading, told, trusted: true }).map(|_| ())
                })
            });
            kept.await?;
        }
        Ok(())
    }

    async fn settled(&self, handle: &Handle) {
        let head = *self.store.readings().committed().borrow();
        until(handle, "settled", |h| h.state == State::Live && h.checked >= head).await;
    }

    async fn close(self) -> Outcome<()> {
        let Self { store, end, drain } = self;
        end.stop();
        drop((store, drain));
        let late = end.drained(Duration::from_secs(60)).await;
        if late.is_empty() { Ok(()) } else { Err(format!("{late:?} did not end").into()) }
    }
}

async fn bench(options: &Options) -> Outcome<ExitCode> {
    let Some(server) = Server::start(&[]) else { return Ok(ExitCode::from(2)) };
    let folder = tempfile::tempdir_in(".")?;
    let kept = caught_up(&server, folder.path(), options).await?;
    let at = Installation::open(folder.path())?;
    let handle = at.project(&server)?;
    at.settled(&handle).await;

    let begun = Instant::now();
    let rows = handle.rebuild().await?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("refill         {rows} rows from the series, counted: {:.0} rows/s", rows as f64 / seconds);
    at.settled(&handle).await;

    let mut late = lag(&server, &at, kept, options.seconds).await?;
    at.settled(&handle).await;
    at.close().await?;
    let rate = acknowledged(&server, options.rows.min(1_000_000)).await?;
    let mut alone = visible(&server).await?;
    late.sort_unstable();
    alone.sort_unstable();
    let part = |all: &[Duration], share: usize| all[(all.len() - 1) * share / 100].as_secs_f64();
    let (reached, bound) = (part(&late, 99), part(&alone, 99));
    println!(
        "visible after  p50 {:.3} s, p99 {reached:.3} s, most {:.3} s at {RATE}/s for {} s ({} looks)",
        part(&late, 50),
        part(&late, 100),
        options.seconds,
        late.len()
    );
    println!(
        "bound          one batch of 1,000 through the client alone: p50 {:.3} s, p99 {bound:.3} s",
        part(&alone, 50)
    );
    println!("bound          acknowledged and not looked at, the client alone: {rate:.0} rows/s");
    println!();
    let catch_up = kept.rate;
    let met = [
        told(
            "catch-up",
            format!("{catch_up:.0} rows/s"),
            ">= 100,000 rows/s",
            catch_up / rate,
            catch_up >= CATCH_UP_BAR,
        ),
        told("visible lag", format!("{reached:.3} s p99"), "<= 2 s", reached / bound, reached <= LAG_BAR.as_secs_f64()),
    ];
    Ok(if met == [true, true] { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(what: &str, reached: String, bar: &str, ratio: f64, met: bool) -> bool {
    let verdict = if met { "reached" } else { "MISSED" };
    println!("{what:<14} {reached:<18} bar {bar:<20} {verdict}; {ratio:.2} times the bound");
    met
}

#[derive(Clone, Copy)]
struct Kept {
    /// Readings in the journal.
    rows: u64,
    /// Sent and counted, a second.
    rate: f64,
}

/// The journal grows while nobody projects, as in an absence of days; then it is caught up with.
async fn caught_up(server: &Server, folder: &Path, options: &Options) -> Outcome<Kept> {
    let at = Installation::open(folder)?;
    at.keep(1, 1).await?;
    let handle = at.project(server)?;
    at.settled(&handle).await;
    at.close().await?;

    let at = Installation::open(folder)?;
    let rows = options.rows;
    let begun = Instant::now();
    at.keep(2, rows).await?;
    println!("journal        {rows} rows kept, {:.0} rows/s", rows as f64 / begun.elapsed().as_secs_f64());
    let used = || (cpu_seconds("self"), server.cpu_seconds());
    let before = used();
    let begun = Instant::now();
    let handle = at.project(server)?;
    at.settled(&handle).await;
    let seconds = begun.elapsed().as_secs_f64();
    let after = used();
    let there = server.count().await as u64;
    if there != rows {
        return Err(format!("{there} of {rows} rows are there").into());
    }
    let rate = rows as f64 / seconds;
    println!("catch-up       {rows} rows in {seconds:.1} s, sent, visible and counted: {rate:.0} rows/s");
    let micros = |seconds: f64| seconds * 1e6 / rows as f64;
    let (here, server) = (micros(after.0 - before.0), micros(after.1 - before.1));
    println!("               processor time a row: {here:.2} us here, {server:.2} us in the server");
    at.close().await?;
    Ok(Kept { rows, rate })
}

/// How long after its commit each looked-at reading was counted.
async fn lag(server: &Server, at: &Installation, kept: Kept, seconds: u64) -> Outcome<Vec<Duration>> {
    let before = kept.rows;
    let store = at.store.clone();
    let writer = tokio::spawn(async move {
        let begun = Instant::now();
        let mut steps = Vec::new();
        let mut last = before;
        while begun.elapsed() < Duration::from_secs(seconds) {
            tokio::time::sleep(Duration::from_millis(10)).await; // the pace of the load, not a wait for anything
            let due = before + u64::try_from(begun.elapsed().as_millis()).unwrap_or(0) * RATE / 1_000;
            let range = last + 1..=due;
            let kept =
                store.readings().submit(date(2026, 3, 2), usize::try_from(due - last).unwrap_or(1), move |desk| {
                    range.into_iter().try_for_each(|n| {
                        let reading = reading(n);
                        let told = Some(reading.measured_at);
                        desk.keep(NewReading { reading, told, trusted: true }).map(|_| ())
                    })
                });
            kept.await.map_err(|e| e.to_string())?;
            last = due;
            steps.push((due, Instant::now()));
        }
        Ok::<_, String>(steps)
    });
    let mut seen = Vec::new();
    while !writer.is_finished() {
        seen.push((server.count().await as u64, Instant::now()));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let steps = writer.await??;
    let all = steps.last().map_or(before, |s| s.0);
    while seen.last().is_none_or(|s| s.0 < all) {
        seen.push((server.count().await as u64, Instant::now()));
    }
    let visible = |count: u64| seen.iter().find(|s| s.0 >= count).map(|s| s.1);
    Ok(steps.iter().step_by(10).filter_map(|(n, at)| Some(visible(*n)?.saturating_duration_since(*at))).collect())
}

fn row(name: &vitals::DeviceId, n: u64, change: impl Fn(&mut Reading)) -> Row {
    let mut reading = reading(n);
    change(&mut reading);
    Row { position: n, device: name.clone(), reading: Arc::new(reading) }
}

/// The same rows into the same server through the client alone: rows a second.
async fn acknowledged(server: &Server, count: u64) -> Outcome<f64> {
    server.ask("TRUNCATE TABLE reading").await;
    let name: vitals::DeviceId = "bound".parse()?;
    let rows: Vec<Row> = (1..=count).map(|n| row(&name, n, |_| {})).collect();
    let config = server.config();
    let sent = tokio::task::spawn_blocking(move || {
        let mut lane = Lane::open(&config)?;
        let begun = Instant::now();
        for batch in rows.chunks(10_000) {
            lane.send(batch)?;
        }
        Ok::<_, questdb::Fault>(rows.len() as f64 / begun.elapsed().as_secs_f64())
    });
    Ok(sent.await??)
}

/// How long one batch through the client alone takes until a query counts it.
async fn visible(server: &Server) -> Outcome<Vec<Duration>> {
    let name: vitals::DeviceId = "alone".parse()?;
    let mut lane = Some(Lane::open(&server.config())?);
    let mut took = Vec::new();
    // What was sent before is applied first.
    let mut before = server.count().await;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = server.count().await;
        if now == before {
            break;
        }
        before = now;
    }
    for round in 0..30_u64 {
        let at = Timestamp::from_seconds(questdb_server::START + 1_000_000 + i64::try_from(round)?);
        let rows: Vec<Row> = (1..=1_000)
            .map(|n| {
                row(&name, round * 1_000 + n, |r| {
                    r.measured_at = at.plus(Duration::from_micros(n));
                    r.disposition = Disposition::Stored;
                })
            })
            .collect();
        let begun = Instant::now();
        let mut open = lane.take().ok_or("no connection")?;
        let sent = tokio::task::spawn_blocking(move || open.send(&rows).map(|_| open));
        lane = Some(sent.await??);
        before += 1_000;
        while server.count().await < before {}
        took.push(begun.elapsed());
    }
    Ok(took)
}
