//! What the projection to a real QuestDB holds: rows a second while catching up, and how late a row is visible at
//! 20,000 readings a second. `cargo run --release -p store --example questdb_bench`
//!
//! Beside it the bound of the same run: the same rows through the client alone, nothing checked.

#[path = "../tests/questdb_server/mod.rs"]
mod questdb_server;

use questdb_server::{Journal, Server, settled};
use runtime::Drain;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use store::questdb::{self, Row, sender::Lane};

const CATCH_UP: u64 = 3_000_000;
const RATE: u64 = 20_000;
const SECONDS: u64 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Runtime::new()?.block_on(bench())
}

async fn bench() -> Result<(), Box<dyn std::error::Error>> {
    let Some(server) = Server::start(&[]) else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (end, drain) = Drain::new();
    let journal = Journal::new();
    journal.add(1);
    let handle = questdb::start(server.config(), folder.path(), journal.source(), &drain)?;
    settled(&handle, &journal).await;

    journal.add(CATCH_UP);
    let used = || (questdb_server::cpu_seconds("self"), server.cpu_seconds());
    let before = used();
    let begun = Instant::now();
    let health = settled(&handle, &journal).await;
    let seconds = begun.elapsed().as_secs_f64();
    let after = used();
    let micros = |seconds: f64| seconds * 1e6 / CATCH_UP as f64;
    assert_eq!(server.count().await as u64, CATCH_UP + 1);
    println!(
        "catch-up       {CATCH_UP} rows in {seconds:.1} s, sent, visible and counted: {:.0} rows/s",
        CATCH_UP as f64 / seconds
    );
    println!("               refused {}, weeks mended {}", health.quarantined, health.repaired_weeks);

    println!(
        "               processor time a row: {:.2} us here, {:.2} us in the server",
        micros(after.0 - before.0),
        micros(after.1 - before.1)
    );

    let mut late = lag(&server, &journal).await;
    late.sort_unstable();
    let at = |share: usize| late[(late.len() - 1) * share / 100].as_millis();
    println!(
        "visible after  p50 {} ms, p90 {} ms, p99 {} ms, most {} ms at {RATE}/s for {SECONDS} s ({} looks)",
        at(50),
        at(90),
        at(99),
        at(100),
        late.len()
    );
    settled(&handle, &journal).await;
    assert_eq!(server.count().await, journal.len());
    end.stop();
    end.drained(Duration::from_secs(15)).await;

    bound(&server).await?;
    Ok(())
}

/// How long after its commit each looked-at reading was counted.
async fn lag(server: &Server, journal: &Journal) -> Vec<Duration> {
    let before = journal.len();
    let writer = tokio::task::spawn_blocking({
        let journal = journal.clone();
        move || {
            let begun = Instant::now();
            let mut steps = Vec::new();
            while begun.elapsed() < Duration::from_secs(SECONDS) {
                std::thread::sleep(Duration::from_millis(10)); // the pace of the load, not a wait for anything
                let due = u64::try_from(begun.elapsed().as_millis()).unwrap_or(0) * RATE / 1_000;
                journal.add(due - (journal.len() - before) as u64);
                steps.push((journal.len(), Instant::now()));
            }
            steps
        }
    });
    let mut seen = Vec::new();
    while !writer.is_finished() {
        seen.push((server.count().await, Instant::now()));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let all = journal.len();
    while seen.last().is_none_or(|s| s.0 < all) {
        seen.push((server.count().await, Instant::now()));
    }
    let steps = writer.await.unwrap_or_default();
    let visible = |count: usize| seen.iter().find(|s| s.0 >= count).map(|s| s.1);
    steps.iter().step_by(10).filter_map(|(n, at)| Some(visible(*n)?.saturating_duration_since(*at))).collect()
}

/// The same rows into the same server through the client alone.
async fn bound(server: &Server) -> Result<(), Box<dyn std::error::Error>> {
    server.ask("TRUNCATE TABLE reading").await;
    let name: vitals::DeviceId = "bound".parse()?;
    let rows: Vec<Row> = (1..=1_000_000)
        .map(|n| Row { position: n, device: name.clone(), reading: Arc::new(questdb_server::reading(n)) })
        .collect();
    let config = server.config();
    let (rate, rows) = tokio::task::spawn_blocking(move || {
        let mut lane = Lane::open(&config)?;
        let begun = Instant::now();
        for batch in rows.chunks(10_000) {
            lane.send(batch)?;
        }
        Ok::<_, questdb::Fault>((rows.len() as f64 / begun.elapsed().as_secs_f64(), rows.len()))
    })
    .await??;
    println!("bound          {rows} rows acknowledged, not looked at: {rate:.0} rows/s");
    Ok(())
}
