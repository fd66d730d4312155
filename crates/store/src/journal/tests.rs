//! The journal by its promises: what was answered is there once, in whatever state a crash or a merge finds the file.

use super::*;
use crate::Store;
use proptest::prelude::*;
use runtime::{Clock, DrainHandle};
use std::borrow::Cow;
use vitals::{Context, Decimal, Disposition, GlucoseValue, Held, Reading, Reason, Statuses, TimeQuality, Unit, Values};

pub(super) const DAY: Date = jiff::civil::date(2026, 3, 2);
pub(super) const START: i64 = 1_770_000_000;

pub(super) struct Bench {
    pub(super) store: Store,
    _drain: DrainHandle,
}

pub(super) fn open(folder: &Path, freeze_at: usize) -> Bench {
    let (handle, drain) = Drain::new();
    let store = Store::open(folder, Clock::manual(Timestamp::from_seconds(START)), &drain).unwrap();
    store.readings().shared.freeze_at.store(freeze_at, Relaxed);
    store.readings().shared.idle_merge.store(0, Relaxed);
    Bench { store, _drain: handle }
}

pub(super) fn reading(device: u64, seq: i64) -> Reading {
    Reading {
        id: ReadingId::new(0),
        device: DeviceKey::new(device),
        epoch: 0,
        seq,
        user_slot: None,
        patient: (!device.is_multiple_of(5)).then(|| PatientId::new(device % 5)),
        measured_at: Timestamp::from_seconds(START + seq * 7_000 + i64::try_from(device).unwrap()),
        received_at: Timestamp::from_seconds(START),
        device_time: None,
        time_quality: TimeQuality::Exact,
        disposition: Disposition::Stored,
        values: Values::Glucose(GlucoseValue::Value(Decimal::new(50 + seq, -1))),
        unit: Unit::MmolPerL,
        statuses: Statuses::default(),
        flags: vec![],
        historical: false,
        context: Context::default(),
    }
}

pub(super) fn keep(desk: &mut Desk<'_>, device: u64, seq: i64) -> Result<bool, StoreError> {
    let reading = reading(device, seq);
    if let Some(known) = desk.known(reading.device, seq)?.first() {
        desk.duplicate(reading.device, known.id);
        return Ok(false);
    }
    let told = Some(reading.measured_at);
    desk.keep(NewReading { reading, told, trusted: true })?;
    Ok(true)
}

fn hold(desk: &mut Desk<'_>, device: u64, bytes: &[u8]) -> Result<bool, StoreError> {
    let device = DeviceKey::new(device);
    if let Some(id) = desk.held_before(device, "readings", bytes)? {
        desk.duplicate(device, id);
        return Ok(false);
    }
    let held = Held {
        id: ReadingId::new(0),
        device,
        epoch: 0,
        seq: None,
        patient: None,
        measured_at: None,
        received_at: Timestamp::from_seconds(START),
        reasons: vec![Reason::Implausible],
        bytes: bytes.to_vec(),
        route: Cow::Borrowed("readings"),
    };
    desk.hold(NewHeld { held, told: None, trusted: false })?;
    Ok(true)
}

impl Bench {
    /// One message: `seqs` of one device, and something held.
    async fn send(&self, device: u64, seqs: std::ops::Range<i64>, held: &'static [u8]) -> usize {
        self.send_on(DAY, device, seqs, held).await
    }

    pub(super) async fn send_on(
        &self,
        day: Date,
        device: u64,
        seqs: std::ops::Range<i64>,
        held: &'static [u8],
    ) -> usize {
        self.store
            .readings()
            .submit(day, 1, move |desk| {
                let mut fresh = 0;
                for seq in seqs {
                    fresh += usize::from(keep(desk, device, seq)?);
                }
                if !held.is_empty() {
                    fresh += usize::from(hold(desk, device, held)?);
                }
                Ok(fresh)
            })
            .await
            .unwrap()
    }

    pub(super) async fn all_of(&self, patient: u64) -> Vec<Arc<Reading>> {
        self.store.readings().range(everything(patient, 100_000)).await.unwrap()
    }

    pub(super) fn exported(&self) -> Vec<(u64, i64)> {
        exported(&self.store.readings().snapshot().unwrap())
    }

    /// Waits until nothing is left to merge.
    pub(super) async fn merged(&self) {
        while self.store.readings().control(|w| Ok(w.merge.is_some())).await.unwrap() {
            self.store
                .readings()
                .control(|w| {
                    w.merge_some(1_000);
                    Ok(())
                })
                .await
                .unwrap();
        }
    }
}

/// Freezes what is in memory, however little it is; between two commits.
pub(super) fn freeze(writer: &mut Writer) -> Result<(), StoreError> {
    let usual = writer.shared.freeze_at.swap(1, Relaxed);
    if writer.merge.is_none() {
        writer.merge_some(1);
    }
    writer.shared.freeze_at.store(usual, Relaxed);
    Ok(())
}

fn exported(snapshot: &Snapshot) -> Vec<(u64, i64)> {
    let mut all = Vec::new();
    snapshot
        .readings(&mut |r| {
            all.push((r.device.as_i64().cast_unsigned(), r.seq));
            Ok(())
        })
        .unwrap();
    all.sort_unstable();
    all
}

fn everything(patient: u64, limit: usize) -> ReadingQuery {
    ReadingQuery {
        patient: PatientId::new(patient),
        kind: None,
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        after: None,
        limit,
    }
}

pub(super) fn crashed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal", "registry.db", "registry.db-wal"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// Every state of a merge: nothing frozen, half merged, all merged, and each of them after a crash.
#[tokio::test]
async fn memory_and_tables_answer_alike_through_merges_and_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 60);
    let mut seen_unfinished = false;
    for round in 0..12_i64 {
        for device in 1..=7 {
            assert_eq!(bench.send(device, round * 3..round * 3 + 3, b"").await, 3);
        }
        assert_eq!(bench.send(3, round * 3..round * 3 + 3, b"{}").await, usize::from(round == 0), "known already");
        seen_unfinished |= bench.store.readings().control(|w| Ok(w.merge.is_some())).await.unwrap();
        let copy = crashed(folder.path());
        let again = open(copy.path(), 60);
        for bench in [&bench, &again] {
            same_answers(bench, round + 1).await;
        }
    }
    assert!(seen_unfinished, "no crash met a merge: the test shows nothing");
    bench.merged().await;
    same_answers(&bench, 12).await;
}

async fn same_answers(bench: &Bench, rounds: i64) {
    let readings = bench.store.readings();
    let want: Vec<(u64, i64)> = (1..=7).flat_map(|d| (0..rounds * 3).map(move |s| (d, s))).collect();
    assert_eq!(bench.exported(), want);
    for patient in 1..5_u64 {
        let all = bench.all_of(patient).await;
        let devices = (1..=7).filter(|d| d % 5 == patient).count();
        assert_eq!(all.len(), devices * usize::try_from(rounds).unwrap() * 3, "patient {patient}");
        assert!(all.windows(2).all(|w| (w[0].measured_at, w[0].id) < (w[1].measured_at, w[1].id)));
        assert_eq!(readings.latest(PatientId::new(patient)).await.unwrap(), all.last().cloned());
        let mut paged = Vec::new();
        while let Ok(page) = readings.range_blocking(ReadingQuery {
            after: paged.last().map(|r: &Arc<Reading>| (r.measured_at, r.id)),
            ..everything(patient, 5)
        }) && !page.is_empty()
        {
            paged.extend(page);
        }
        assert_eq!(paged, all);
        for r in &all {
            assert_eq!(readings.by_id(r.id).await.unwrap().as_ref(), Some(r));
        }
    }
    assert_eq!(readings.unassigned(None, 1_000).await.unwrap().len(), usize::try_from(rounds).unwrap() * 3);
    assert_eq!(readings.held(Some("implausible".into()), None, 10).await.unwrap().len(), 1);
    let rows = readings.books(DAY, None).await.unwrap();
    let n = rounds.cast_unsigned();
    assert_eq!(rows.len(), 7);
    for row in rows {
        let extra = if row.device == DeviceKey::new(3) { (n * 4 - 1, 1) } else { (0, 0) };
        assert_eq!((row.stored, row.duplicate, row.quarantined), (n * 3, extra.0, extra.1), "{:?}", row.device);
    }
    let (mut position, mut entries) = (0, 0);
    while let Ok(page) = readings.entries_after(position, 10)
        && let Some(last) = page.last()
    {
        assert!(page.windows(2).all(|w| w[0].position < w[1].position));
        let next = readings.entries_after(last.position, 1).unwrap();
        assert!(next.first().is_none_or(|n| n.message != last.message), "a message was split");
        entries += page.len();
        position = last.position;
    }
    assert_eq!((entries, position), (usize::try_from(rounds).unwrap() * 21 + 1, *readings.committed().borrow()));
}

#[tokio::test]
async fn whose_a_reading_is_may_change_in_every_state_of_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 40);
    let readings = bench.store.readings();
    for round in 0..9_i64 {
        bench.send(5, round * 5..round * 5 + 5, b"").await;
        let lost = readings.unassigned(None, 1_000).await.unwrap();
        readings.assign(lost[0].id, PatientId::new(9)).await.unwrap();
        readings.assign(lost[lost.len() - 1].id, PatientId::new(9)).await.unwrap();
        let copy = crashed(folder.path());
        let again = open(copy.path(), 40);
        for bench in [&bench, &again] {
            let count = usize::try_from(round + 1).unwrap();
            assert_eq!(bench.all_of(9).await.len(), count * 2, "round {round}");
            assert_eq!(bench.store.readings().unassigned(None, 1_000).await.unwrap().len(), count * 3);
            assert_eq!(bench.exported().len(), count * 5);
        }
    }
    assert_eq!(readings.reattribute(DeviceKey::new(5)).await.unwrap(), 0, "what a person decided stays");
    assert!(matches!(readings.assign(ReadingId::new(9_999), PatientId::new(1)).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn a_snapshot_does_not_see_what_comes_later_and_needs_no_service() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 1_000);
    bench.send(1, 0..10, b"x").await;
    let before = Snapshot::open(folder.path()).unwrap();
    bench.send(1, 10..20, b"y").await;
    assert_eq!(exported(&before).len(), 10);
    let mut held = 0;
    before
        .held(&mut |_| {
            held += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(held, 1);
    drop(bench);
    assert_eq!(exported(&Snapshot::open(folder.path()).unwrap()).len(), 20);
}

#[tokio::test]
async fn a_backup_of_a_running_service_opens_and_holds_what_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 20);
    bench.send(1, 0..50, b"x").await;
    crate::backup::backup(folder.path(), copy.path()).unwrap();
    bench.send(1, 50..60, b"").await;
    assert!(matches!(crate::backup::backup(folder.path(), copy.path()), Err(StoreError::Conflict(_))));
    let restored = tempfile::tempdir().unwrap();
    crate::backup::restore(copy.path(), restored.path()).unwrap();
    let again = open(restored.path(), 20);
    assert_eq!(again.exported().len(), 50);
    assert_eq!(again.send(1, 0..60, b"x").await, 10, "what it had is known");
}

#[tokio::test]
async fn a_look_up_that_fails_stores_nothing_of_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 20);
    let failed: Result<(), _> = bench
        .store
        .readings()
        .submit(DAY, 1, |desk| {
            keep(desk, 1, 1)?;
            Err(StoreError::NotFound("anything"))
        })
        .await;
    assert!(failed.is_err() && bench.exported().is_empty());
    assert_eq!(bench.send(1, 1..2, b"").await, 1);
}

/// A cursor comes from outside: it may point behind what is asked for.
#[tokio::test]
async fn nothing_comes_after_a_cursor_that_lies_behind_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 20);
    bench.send(1, 0..300, b"").await;
    bench.store.readings().control(Writer::settle).await.unwrap();
    let all = bench.all_of(1).await;
    for (to, weeks) in [(all[10].measured_at, 3), (all[200].measured_at, -3)] {
        let from = to.minus(std::time::Duration::from_secs(1_000_000));
        let at = Timestamp::from_seconds(to.as_micros() / 1_000_000 + weeks * 604_800);
        let q = ReadingQuery { from, to, after: Some((at, ReadingId::new(7))), ..everything(1, 1_000) };
        let want = all.iter().filter(|r| (r.measured_at, r.id) > (at, ReadingId::new(7)));
        let want: Vec<_> = want.filter(|r| (from..to).contains(&r.measured_at)).cloned().collect();
        assert_eq!(bench.store.readings().range(q).await.unwrap(), want);
    }
}

/// A disk that is full: nothing is acknowledged, the process lives, and goes on by itself when there is room.
#[tokio::test]
async fn a_full_disk_is_waited_out() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let readings = bench.store.readings();
    bench.send(1, 0..10, b"").await;
    let room = |pages: u32| {
        readings.control(move |w| {
            w.connection.pragma_update(None, "max_page_count", pages).map_err(tables::fault)?;
            Ok(())
        })
    };
    room(1).await.unwrap(); // SQLite never goes below what the file has: no page more
    let mut taken = 10;
    let refused = loop {
        let sent = readings.submit(DAY, 1, move |desk| keep(desk, 1, taken)).await;
        match sent {
            Ok(_) => taken += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, StoreError::DiskFull(_)), "{refused}");
    assert!(readings.health().disk_full && !readings.health().dead);
    assert_eq!(bench.exported().len() as i64, taken, "what was acknowledged, nothing else");
    room(1_000_000).await.unwrap();
    assert_eq!(bench.send(1, taken..taken + 1, b"").await, 1, "what was refused is not known");
    assert!(!readings.health().disk_full);
    assert_eq!(bench.exported().len() as i64, taken + 1);
}

/// Whoever needs everything merged is told that there is no room for it, and does not hold up the commit thread.
#[tokio::test]
async fn what_cannot_be_frozen_on_a_full_disk_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    bench.send(1, 0..10, b"").await;
    let readings = bench.store.readings().clone();
    let settled = readings.control(|w| {
        let c = &w.connection;
        c.pragma_update(None, "max_page_count", 1).map_err(tables::fault)?;
        // Until the page on which the freeze will write has no room for its line.
        while tables::set_meta(c, &format!("{:06}", c.total_changes()), Some(0)).is_ok() {}
        Ok(w.settle())
    });
    let settled = tokio::time::timeout(std::time::Duration::from_secs(20), settled).await.expect("it comes back");
    assert!(matches!(settled.unwrap(), Err(StoreError::DiskFull(_))));
    assert!(readings.health().disk_full && !readings.health().dead);
    let room = |w: &mut Writer| w.connection.pragma_update(None, "max_page_count", 1_000_000).map_err(tables::fault);
    readings.control(room).await.unwrap();
    assert_eq!(bench.send(1, 10..11, b"").await, 1);
    readings.control(Writer::settle).await.unwrap();
    assert_eq!(bench.exported().len(), 11);
}

/// A step of a merge is not synced; what is acknowledged after one that could not begin is.
#[tokio::test]
async fn commits_are_synced_after_a_merge_that_could_not_begin() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 5);
    bench.send(1, 0..10, b"").await;
    let readings = bench.store.readings();
    // A commit is answered before what follows is frozen.
    assert!(readings.control(|w| Ok(w.merge.is_some())).await.unwrap());
    let other = rusqlite::Connection::open(folder.path().join("journal.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let synced = readings.control(|w| {
        w.connection.execute_batch("PRAGMA busy_timeout=0").map_err(tables::fault)?;
        w.merge_some(1);
        w.connection.query_row("PRAGMA synchronous", [], |r| r.get::<_, i64>(0)).map_err(tables::fault)
    });
    assert_eq!(synced.await.unwrap(), 2, "FULL");
}

const CHILD: &str = "HEARTHBEAT_JOURNAL_TEST_CHILD";

/// Not a test of its own: what the next one starts and kills.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let bench = open(Path::new(&folder), 300);
    for seq in 0_i64.. {
        let fresh = bench.send(1 + seq.cast_unsigned() % 4, seq / 4..seq / 4 + 1, b"").await;
        println!("acked {} {} {fresh}", 1 + seq % 4, seq / 4);
    }
}

/// kill -9 at arbitrary moments: what was acknowledged is there, once, and the books agree.
#[tokio::test]
async fn kill_9_loses_and_doubles_nothing() {
    use std::io::BufRead;
    let folder = tempfile::tempdir().unwrap();
    let mut acked = std::collections::BTreeSet::new();
    for round in 1..=6_usize {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["journal::tests::child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut fresh = 0;
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["acked", device, seq, new] = words[..] {
                acked.insert((device.parse::<u64>().unwrap(), seq.parse::<i64>().unwrap()));
                fresh += usize::from(new == "1");
            }
            if fresh == 150 + 97 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    let bench = open(folder.path(), 300);
    let stored = bench.exported();
    assert!(stored.windows(2).all(|w| w[0] != w[1]), "doubled");
    assert!(acked.iter().all(|a| stored.binary_search(a).is_ok()), "lost");
    let books: u64 = bench.store.readings().books(DAY, None).await.unwrap().iter().map(|r| r.stored).sum();
    assert_eq!(books, stored.len() as u64);
    assert!(stored.len() >= acked.len() && acked.len() > 2_000, "{} acknowledged", acked.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    /// Whatever is sent, however often, and wherever merges fall: each (device, number) is there once.
    #[test]
    fn each_number_once(sent in proptest::collection::vec((1..6_u64, 0..40_i64), 1..200), freeze_at in 5..50_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let bench = open(folder.path(), freeze_at);
            for (device, seq) in &sent {
                bench.send(*device, *seq..*seq + 1, b"").await;
            }
            let want: Vec<(u64, i64)> =
                sent.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            assert_eq!(bench.exported(), want);
            let accepted: u64 = bench.store.readings().books(DAY, None).await.unwrap().iter().map(BookRow::accepted).sum();
            assert_eq!(accepted, sent.len() as u64);
        });
    }
}
