//! The embedded series on a place that becomes full, and on one that cannot be written: nothing is acknowledged that is
//! not stored, nothing stored is lost or doubled, and it goes on by itself when there is room.
//!
//! A file system of its own needs a mount, so the story runs in a process with its own mounts.

use crate::{
    engine::Engine,
    story::{Installation, agree},
    truth::reading,
};
use runtime::{Clock, Drain};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};
use store::{Store, StoreError};

/// Set for the process that tells the story.
const PLACE: &str = "HEARTHBEAT_TEST_SMALL_PLACE";

#[test]
fn the_embedded_series_on_a_full_and_on_a_read_only_place() {
    let works = |flags: &str| Command::new("unshare").args([flags, "true"]).output().is_ok_and(|o| o.status.success());
    let Some(flags) = ["-m", "-Urm"].into_iter().find(|flags| works(flags)) else {
        let text = b"\nA full and a read-only place were NOT tried: mounts are not allowed here (`unshare -m`)\n";
        let _ = std::io::stderr().write_all(text);
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let run = "mount -t tmpfs -o size=6m tmpfs \"$0\" && exec \"$1\" --exact full_disk::story --ignored --nocapture";
    let told = Command::new("unshare")
        .args([flags, "sh", "-c", run])
        .arg(place.path())
        .arg(std::env::current_exe().unwrap())
        .env(PLACE, place.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&told.stdout);
    let why = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && said.contains("1 passed"), "{said}\n{why}");
}

fn remount(place: &Path, how: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(place).status().unwrap();
    assert!(done.success(), "mount -o remount,{how}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told by the test above, in a process with its own mounts"]
async fn story() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let folder = place.join("data");
    std::fs::create_dir(&folder).unwrap();
    let mut at = Installation::embedded(folder.clone());
    let mut sent = 0;
    let full = loop {
        let next: Vec<_> = (sent + 1..=sent + 500).map(reading).collect();
        match at.try_send(next).await {
            Ok(_) => sent += 500,
            Err(why) => break why,
        }
        assert!(sent < 1_000_000, "six megabytes are never full");
    };
    assert!(matches!(full, StoreError::DiskFull(_)), "{full:?}");
    assert!(at.store().readings().health().disk_full && at.truth.0.len() >= 500);
    agree(&at, &Engine::Embedded, "the place was full").await;

    remount(&place, "size=200m");
    // The meters have kept what was not acknowledged, and send all of it again.
    let all: Vec<_> = (1..=sent + 500).map(reading).collect();
    assert_eq!(at.send(all.clone()).await, all.len() - usize::try_from(sent).unwrap());
    assert_eq!(at.send(all).await, 0);
    agree(&at, &Engine::Embedded, "there was room again").await;
    at.end().await;

    remount(&place, "ro");
    let (_end, drain) = Drain::new();
    let refused = Store::open(&folder, Clock::system(), &drain);
    assert!(refused.is_err(), "a place that cannot be written is refused at the start");
    remount(&place, "rw");
    at.start();
    agree(&at, &Engine::Embedded, "the place could be written again").await;
    at.end().await;
}
