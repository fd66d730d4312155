//! One mishap at a time, for as long as it lasts: what the projector says meanwhile, and that it ends equal.

use crate::{
    faults::{Failing, Fault},
    questdb_server::{Journal, Server, settled, until},
};
use runtime::{Drain, DrainHandle};
use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use store::questdb::{self, Config, Handle, State};

struct Running {
    handle: Handle,
    end: DrainHandle,
}

impl Running {
    fn start(config: Config, folder: &Path, journal: &Journal) -> Self {
        let (end, drain) = Drain::new();
        let handle = questdb::start(config, folder, journal.source(), &drain).unwrap();
        Self { handle, end }
    }

    async fn stop(self) {
        self.end.stop();
        assert_eq!(self.end.drained(Duration::from_secs(15)).await, Vec::<&str>::new());
    }
}

/// A front whose fault can be changed while it runs.
fn switched(server: &Server) -> (Failing, Arc<Mutex<Option<Fault>>>) {
    let fault = Arc::new(Mutex::new(None));
    let now = fault.clone();
    (Failing::before(&server.http, move |_| *now.lock().unwrap()), fault)
}

fn through(front: &Failing, server: &Server) -> Config {
    Config { http: front.address.clone(), request_seconds: 1, ..server.config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_fails_nothing_is_called_checked_and_then_all_is_there() {
    let Some(server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    let (front, fault) = switched(&server);
    let running = Running::start(through(&front, &server), folder.path(), &journal);
    for (mishap, stored) in [
        (Fault::Status(500), false),
        (Fault::Status(503), false),
        (Fault::DropUnstored, false),
        (Fault::DropStored, true),
        (Fault::Hang, false),
        (Fault::LoseAcked, false),
    ] {
        journal.add(300);
        settled(&running.handle, &journal).await;
        let before = journal.len();
        *fault.lock().unwrap() = Some(mishap);
        journal.add(300);
        let health = until(&running.handle, "it is noticed", |h| h.failures >= 2).await;
        assert_eq!(health.checked, before as u64, "{mishap:?}: what nobody can see is not checked");
        assert_eq!((health.state, health.quarantined), (State::Waiting, 0), "{mishap:?}: {:?}", health.reason);
        let there = server.count().await;
        // What is acknowledged and forgotten while a week is filled again is missing there until it is mended.
        let so = if stored { there == journal.len() } else { there == before || mishap == Fault::LoseAcked };
        assert!(so, "{mishap:?}: {there} rows");
        *fault.lock().unwrap() = None;
        settled(&running.handle, &journal).await;
        assert!(server.rows().await == journal.expected(&[]), "{mishap:?}: the table is the journal");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_is_found_and_a_server_that_refuses_all_is_none() {
    let Some(server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    // The device of reading 500; those of its readings that came before and after are refused, too.
    let bad: Vec<u64> = (1..=1_500).filter(|n| n % 997 == 500).collect();
    let all = Arc::new(AtomicUsize::new(0));
    let refuse_all = all.clone();
    let front = Failing::before(&server.http, move |request| {
        let named = request.body.windows(17).any(|w| w == b",device=meter-501");
        (named || refuse_all.load(SeqCst) > 0).then_some(Fault::Refuse)
    });
    journal.add(1_500);
    let running = Running::start(through(&front, &server), folder.path(), &journal);
    let health = settled(&running.handle, &journal).await;
    assert_eq!(health.quarantined, bad.len() as u64);
    assert!(server.rows().await == journal.expected(&bad));

    all.store(1, SeqCst);
    journal.add(400);
    let health = until(&running.handle, "it is noticed", |h| h.failures >= 2).await;
    assert_eq!((health.quarantined, health.checked), (bad.len() as u64, 1_500), "{:?}", health.reason);
    assert!(health.reason.unwrap().contains("nothing is set aside"));
    all.store(0, SeqCst);
    settled(&running.handle, &journal).await;
    let bad: Vec<u64> = (1..=1_900).filter(|n| n % 997 == 500).collect();
    assert!(server.rows().await == journal.expected(&bad));
    running.stop().await;
}

/// What was acknowledged, counted and written down as checked is gone, as after a power cut of a server that syncs
/// nothing: its folder is put back to an hour ago.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_of_the_server_takes_back_what_was_checked() {
    let Some(mut server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(3_000);
    let running = Running::start(server.config(), folder.path(), &journal);
    settled(&running.handle, &journal).await;
    server.kill();
    let copy = tempfile::tempdir().unwrap();
    copy_all(&server.database(), copy.path());
    server.restart();

    journal.add(4_000);
    settled(&running.handle, &journal).await;
    until(&running.handle, "all of it is counted again", |h| !h.recounting).await;
    assert_eq!(server.count().await, 7_000);
    server.kill();
    std::fs::remove_dir_all(server.database()).unwrap();
    copy_all(copy.path(), &server.database());
    server.restart();
    assert_eq!(server.count().await, 3_000, "the cut took 4,000 rows that had been counted");

    until(&running.handle, "found by counting", |h| h.repaired_weeks > 0).await;
    settled(&running.handle, &journal).await;
    assert!(server.rows().await == journal.expected(&[]));
    // The same while nobody projected, with a position on disk that promises more.
    running.stop().await;
    server.kill();
    std::fs::remove_dir_all(server.database()).unwrap();
    copy_all(copy.path(), &server.database());
    server.restart();
    let running = Running::start(server.config(), folder.path(), &journal);
    until(&running.handle, "found by counting", |h| h.repaired_weeks > 0).await;
    settled(&running.handle, &journal).await;
    assert!(server.rows().await == journal.expected(&[]));
    running.stop().await;
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The projector's own place is full: it cannot write down what it checked, so it says so, and after a restart it sends
/// again what it could not note.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_cannot_be_written_is_not_believed() {
    let Some(server) = Server::start(&[]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(500);
    let running = Running::start(server.config(), folder.path(), &journal);
    settled(&running.handle, &journal).await;
    let written = || std::fs::read_to_string(folder.path().join("projector.json")).unwrap();
    let before = written();
    // Whatever is written through this name meets a full device.
    std::os::unix::fs::symlink("/dev/full", folder.path().join("projector.json.new")).unwrap();
    journal.add(500);
    let health = until(&running.handle, "it is noticed", |h| h.failures >= 2).await;
    assert!(health.reason.unwrap().contains("projector.json"));
    assert_eq!(written(), before, "the old position stands");
    running.stop().await;

    std::fs::remove_file(folder.path().join("projector.json.new")).unwrap();
    let running = Running::start(server.config(), folder.path(), &journal);
    let health = settled(&running.handle, &journal).await;
    assert_eq!(health.rows, 500, "sent again from the position that was written");
    assert!(server.rows().await == journal.expected(&[]));
    running.stop().await;
}

/// Suspended for as long as somebody keeps it so: rows go on being acknowledged there, and none is called checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_that_lasts_is_an_alarm() {
    let Some(server) = Server::start(&["dev.mode.enabled=true"]) else { return };
    let (journal, folder) = (Journal::new(), tempfile::tempdir().unwrap());
    journal.add(1_000);
    let running = Running::start(server.config(), folder.path(), &journal);
    settled(&running.handle, &journal).await;
    let mut seen = 0;
    for round in 1..=2 {
        server.ask("ALTER TABLE reading SUSPEND WAL WITH 28, 'no space'").await;
        journal.add(500);
        let health = until(&running.handle, "the alarm", |h| h.state == State::Suspended && h.suspensions > seen).await;
        assert!(health.is_alarming() && health.reason.unwrap().contains("suspended"), "round {round}");
        assert!(health.checked < journal.head());
        seen = health.suspensions;
        let config = server.config();
        let report = tokio::task::spawn_blocking(move || questdb::doctor(&config)).await.unwrap().unwrap();
        assert_eq!((report.version.as_str(), report.table), ("9.3.4", true));
        // It is resumed by itself.
        let health = settled(&running.handle, &journal).await;
        assert!(!health.suspended && !health.is_alarming());
        assert!(server.rows().await == journal.expected(&[]));
    }
    running.stop().await;
}
