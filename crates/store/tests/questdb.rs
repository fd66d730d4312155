//! The projection against a real QuestDB: the table holds exactly what the journal holds, once, whatever happens to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

mod questdb_server;

use questdb_server::{Journal, START, Server, reading, settled, until};
use runtime::{Drain, DrainHandle};
use std::{path::Path, time::Duration};
use store::questdb::{self, Config, Fault, Handle, Row, Source, State, sender::Lane};
use vitals::{PatientId, Timestamp};

/// A running projection and what keeps it running.
struct Running {
    handle: Handle,
    end: DrainHandle,
}

impl Running {
    fn start(config: &Config, folder: &Path, journal: &Journal) -> Self {
        let (end, drain) = Drain::new();
        let handle = questdb::start(config.clone(), folder, journal.source(), &drain).unwrap();
        Self { handle, end }
    }

    async fn stop(self) {
        self.end.stop();
        assert_eq!(self.end.drained(Duration::from_secs(15)).await, Vec::<&str>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_holds_what_the_journal_holds_however_often_it_is_sent() {
    let Some(server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(15_000);
    let running = Running::start(&server.config(), folder.path(), &journal);
    settled(&running.handle, &journal).await;
    journal.add(5_000); // live, after the first fill
    journal.push(|_| {});
    let health = settled(&running.handle, &journal).await;
    assert_eq!((health.quarantined, health.repaired_weeks), (0, 0));
    let all = journal.expected(&[]);
    assert!(server.rows().await == all, "the table is the journal");
    running.stop().await;

    // A restart begins where it was checked; days later nothing is missing.
    journal.add(3_000);
    let running = Running::start(&server.config(), folder.path(), &journal);
    let health = settled(&running.handle, &journal).await;
    assert_eq!(health.rows, 3_000, "only what is new is sent");
    assert!(server.rows().await == journal.expected(&[]));
    running.stop().await;

    // Without its position everything is sent again: the same rows.
    let elsewhere = tempfile::tempdir().unwrap();
    let running = Running::start(&server.config(), elsewhere.path(), &journal);
    let health = settled(&running.handle, &journal).await;
    assert_eq!(usize::try_from(health.rows).unwrap(), journal.len());
    assert!(server.rows().await == journal.expected(&[]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_ends_equal() {
    let Some(mut server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    let running = Running::start(&server.config(), folder.path(), &journal);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let load = std::thread::spawn({
        let journal = journal.clone();
        // 10,000 readings a second, whatever the server does: nothing here waits for it.
        move || {
            while stopped
                .recv_timeout(Duration::from_millis(10))
                .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                journal.add(100);
            }
        }
    });
    for _ in 0..2 {
        let begun = running.handle.health().rows;
        until(&running.handle, "rows flow", |h| h.rows > begun + 10_000).await;
        server.kill();
        until(&running.handle, "it is noticed", |h| h.failures > 0).await;
        server.restart();
        until(&running.handle, "it goes on", |h| h.failures == 0 && h.state != State::Waiting).await;
    }
    stop.send(()).unwrap();
    load.join().unwrap();
    let health = settled(&running.handle, &journal).await;
    assert_eq!(health.repaired_weeks, 0, "rows beyond the checked position are no fault while they are sent again");
    assert!(server.rows().await == journal.expected(&[]), "nothing lost, nothing doubled");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_is_set_aside_and_never_blocks() {
    let Some(server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(500);
    journal.push(|r| r.measured_at = Timestamp::from_seconds(-86_400));
    journal.add(500);
    let running = Running::start(&server.config(), folder.path(), &journal);
    let health = settled(&running.handle, &journal).await;
    assert_eq!(health.quarantined, 1);
    assert!(server.rows().await == journal.expected(&[501]));
    let listed = std::fs::read_to_string(folder.path().join("projector-refused.jsonl")).unwrap();
    assert!(listed.contains(&vitals::ReadingId::new(501).to_string()) && listed.lines().count() == 1);

    // Refused by the server itself: another type of one column makes some rows bad. They are found one by one.
    server.ask("ALTER TABLE reading DROP COLUMN map").await;
    server.ask("ALTER TABLE reading ADD COLUMN map BOOLEAN").await;
    let rows: Vec<_> = (2_001..=2_400).map(reading).collect();
    let has_map = |r: &vitals::Reading| matches!(&r.values, vitals::Values::Pressure { map: Some(_), .. });
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|r| !has_map(r) || r.id.as_i64() % 16 == 0)
        .map(|r| Row { position: 1, device: "d".parse().unwrap(), reading: std::sync::Arc::new(r) })
        .collect();
    let bad: Vec<_> = rows.iter().enumerate().filter(|(_, r)| has_map(&r.reading)).map(|(i, _)| i).collect();
    assert!(bad.len() > 3 && bad.len() * 4 < rows.len(), "{} of {}", bad.len(), rows.len());
    let mut lane = Lane::open(&server.config()).unwrap();
    assert!(matches!(lane.send(&rows), Err(Fault::Malformed)));
    assert_eq!(lane.sift(&rows).unwrap().iter().map(|r| r.index).collect::<Vec<_>>(), bad);

    // For the projector that is not a bad row but another table: it waits, sets nothing aside, and says what to do.
    journal.add(100);
    let health = until(&running.handle, "the fault", |h| h.state == State::Waiting).await;
    assert!(health.reason.unwrap().contains("column map"));
    assert_eq!(health.quarantined, 1);
    server.ask("DROP TABLE reading").await;
    settled(&running.handle, &journal).await;
    assert!(server.rows().await == journal.expected(&[501]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_dropped_and_made_anew_is_filled_again() {
    let Some(server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(5_000);
    let running = Running::start(&server.config(), folder.path(), &journal);
    settled(&running.handle, &journal).await;
    let made = server.ask("SHOW CREATE TABLE reading").await[0][0].clone().unwrap();
    server.ask("DROP TABLE reading").await;
    server.ask(&made).await;
    // The kept-alive connection acknowledges this, and the rows go nowhere: only counting finds it.
    journal.add(5_000);
    settled(&running.handle, &journal).await;
    until(&running.handle, "found by counting", |h| h.repaired_weeks > 0 && h.state == State::Live).await;
    settled(&running.handle, &journal).await;
    assert!(server.rows().await == journal.expected(&[]));

    // The same for rows that somebody else put there or took away.
    server.ask("TRUNCATE TABLE reading").await;
    server.ask("INSERT INTO reading(measured, device, kind, epoch, seq) VALUES (0, 'stray', 'k', 0, 1)").await;
    running.stop().await;
    let running = Running::start(&server.config(), folder.path(), &journal);
    settled(&running.handle, &journal).await;
    assert!(server.rows().await == journal.expected(&[]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_is_written_again_and_a_rebuild_is_the_same() {
    let Some(server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(8_000);
    let running = Running::start(&server.config(), folder.path(), &journal);
    settled(&running.handle, &journal).await;
    // Another patient; another time in the same week; another week.
    let week = Duration::from_secs(7 * 86_400);
    journal.change(10, |r| r.patient = Some(PatientId::new(4_711)));
    journal.change(20, |r| r.measured_at = r.measured_at.plus(Duration::from_secs(60)));
    let moved = journal.change(30, |r| r.measured_at = r.measured_at.plus(week));
    let (first, last) = (Timestamp::from_seconds(START), moved.measured_at.plus(Duration::from_secs(1)));
    running.handle.rewrite(first, last).await.unwrap();
    journal.push(|_| {});
    settled(&running.handle, &journal).await;
    let noted = || std::fs::read_to_string(folder.path().join("projector.json")).unwrap().contains("\"rewrite\":[]");
    until(&running.handle, "the weeks are written again", |h| h.state == State::Live && noted()).await;
    assert!(server.rows().await == journal.expected(&[]));

    // Rebuilt while running, and rebuilt while stopped.
    assert_eq!(usize::try_from(running.handle.rebuild().await.unwrap()).unwrap(), journal.len());
    assert!(server.rows().await == journal.expected(&[]));
    running.stop().await;
    journal.add(1_000);
    let (config, path, source) = (server.config(), folder.path().to_owned(), journal.source());
    let rebuilt = tokio::task::spawn_blocking(move || {
        let (_end, drain) = Drain::new();
        questdb::rebuild(config, &path, source, &drain)
    });
    assert_eq!(usize::try_from(rebuilt.await.unwrap().unwrap()).unwrap(), journal.len());
    assert!(server.rows().await == journal.expected(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_it_stands_still_and_says_so() {
    let Some(server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(100);
    let full = Config { min_free_bytes: u64::MAX, ..server.config() };
    let running = Running::start(&full, folder.path(), &journal);
    let health = until(&running.handle, "the limit", |h| h.state == State::DiskLow).await;
    assert!(health.is_alarming() && health.reason.unwrap().contains("min_free_bytes") && health.rows == 0);
    running.stop().await;
    let running = Running::start(&server.config(), folder.path(), &journal);
    settled(&running.handle, &journal).await;
    assert_eq!(server.count().await, 100);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_a_read_only_user_and_the_doctor() {
    let settings = [
        "http.user=writer",
        "http.password=w-secret",
        "pg.user=writer",
        "pg.password=w-secret",
        "pg.readonly.user.enabled=true",
        "pg.readonly.user=analyst",
        "pg.readonly.password=a-secret",
    ];
    let Some(server) = Server::start(&settings) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(1_000);
    // Without credentials: it waits and says which keys to set.
    let running = Running::start(&server.config(), folder.path(), &journal);
    let health = until(&running.handle, "refused", |h| h.failures > 0).await;
    assert!(health.reason.unwrap().contains("password_file"));
    running.stop().await;

    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let config = Config {
        username: "writer".into(),
        password_file: secret("w", "w-secret\n"),
        reader_username: "analyst".into(),
        reader_password_file: secret("a", "a-secret\n"),
        ..server.config()
    };
    let running = Running::start(&config, folder.path(), &journal);
    settled(&running.handle, &journal).await;
    for statement in ["DROP TABLE reading", "TRUNCATE TABLE reading", "INSERT INTO reading(measured) VALUES (0)"] {
        assert!(
            server.ask_as("analyst", "a-secret", statement).await.is_err(),
            "the reader may only read: {statement}"
        );
    }
    let counted = server.ask_as("analyst", "a-secret", "SELECT count() FROM reading").await.unwrap();
    assert_eq!(counted, [[Some("1000".to_owned())]]);
    assert!(server.ask_as("admin", "quest", "SELECT 1").await.is_err());

    let report = tokio::task::spawn_blocking(move || questdb::doctor(&config)).await.unwrap().unwrap();
    assert_eq!((report.version.as_str(), report.commit_mode.as_str()), ("9.3.4", "nosync"));
    assert!(report.table && !report.suspended && report.rows == 1_000 && report.free_bytes.is_some());
    assert_eq!(report.warnings, Vec::<String>::new());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_it_waits_with_growing_pauses_and_ends_at_once() {
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(10);
    // Port 1 of loopback: nobody listens there.
    let config = Config { http: "127.0.0.1:1".into(), pg: "127.0.0.1:1".into(), ..Config::default() };
    let running = Running::start(&config, folder.path(), &journal);
    let health = until(&running.handle, "three tries", |h| h.failures >= 3).await;
    assert_eq!((health.state, health.checked, health.committed), (State::Waiting, 0, 10));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_projected_and_follows_an_assignment() {
    let Some(server) = Server::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (end, drain) = Drain::new();
    let store = store::Store::open(folder.path(), runtime::Clock::system(), &drain).unwrap();
    let keep = |numbers: std::ops::Range<u64>| {
        store.readings().submit(jiff::civil::date(2026, 1, 10), 2_000, move |desk| {
            numbers.clone().try_for_each(|n| {
                let reading = vitals::Reading { patient: None, ..reading(n) };
                desk.keep(store::NewReading { reading, told: None, trusted: false }).map(|_| ())
            })
        })
    };
    for n in 0..5 {
        keep(1 + n * 2_000..1 + (n + 1) * 2_000).await.unwrap();
    }
    let handle = questdb::start(server.config(), folder.path(), Source::of(&store), &drain).unwrap();
    until(&handle, "the fill", |h| h.state == State::Live && h.rows >= 10_000).await;
    keep(10_001..10_501).await.unwrap();
    let head = *store.readings().committed().borrow();
    until(&handle, "live", |h| h.state == State::Live && h.checked >= head).await;
    let numbers = || async {
        let mut seqs: Vec<i64> = server
            .ask("SELECT seq FROM reading")
            .await
            .iter()
            .map(|r| r[0].as_ref().unwrap().parse().unwrap())
            .collect();
        seqs.sort_unstable();
        seqs
    };
    let mut truth: Vec<i64> = (1..=10_500).map(|n| reading(n).seq).collect();
    truth.sort_unstable();
    assert_eq!(numbers().await, truth);

    let one = store.readings().unassigned(None, 1).await.unwrap()[0].clone();
    store.readings().assign(one.id, PatientId::new(42)).await.unwrap();
    handle.rewrite(one.measured_at, one.measured_at.plus(Duration::from_secs(1))).await.unwrap();
    let noted = || std::fs::read_to_string(folder.path().join("projector.json")).unwrap().contains("\"rewrite\":[]");
    until(&handle, "the week is written again", |h| h.state == State::Live && noted()).await;
    let found = server.ask("SELECT seq FROM reading WHERE patient IS NOT NULL").await;
    assert_eq!(found, [[Some(one.seq.to_string())]]);
    assert_eq!(numbers().await, truth);
    end.stop();
    drop((store, drain));
    assert_eq!(end.drained(Duration::from_secs(15)).await, Vec::<&str>::new());
}
