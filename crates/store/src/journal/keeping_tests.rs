//! Keeping by its promises: the recount agrees with the books through merges, erasures and retention, and names what
//! was tampered with; what was erased is in no file; numbers stay known; a newer file is refused.

use super::{tests::*, *};
use crate::Store;
use runtime::Clock;
use std::collections::HashSet;
use vitals::{Decimal, Disposition, Held, Reading, Reason, Statuses, TimeQuality, Unit, Values, Zone};

const CANARY: i64 = 777_001;
const WORD: &str = "canary of a patient who left";

fn day() -> Date {
    Timestamp::from_seconds(START).day(&Zone::default())
}

fn pressure(device: u64, patient: u64, seq: i64, systolic: i64, note: &str) -> Reading {
    let measured_at = Timestamp::from_seconds(START - 90_000 + seq * 60);
    Reading {
        patient: Some(PatientId::new(patient)),
        measured_at,
        time_quality: TimeQuality::Exact,
        disposition: Disposition::Stored,
        values: Values::Pressure {
            systolic: Decimal::new(systolic, 0),
            diastolic: Decimal::new(80, 0),
            map: None,
            pulse: None,
        },
        unit: Unit::MmHg,
        statuses: Statuses::default(),
        context: vitals::Context { note: Some(note.into()), ..vitals::Context::default() },
        ..reading(device, seq)
    }
}

async fn keep_all(bench: &Bench, readings: Vec<Reading>) -> Vec<ReadingId> {
    let work = move |desk: &mut Desk<'_>| {
        readings
            .into_iter()
            .map(|reading| {
                let told = Some(reading.measured_at);
                desk.keep(NewReading { reading, told, trusted: true })
            })
            .collect::<Result<Vec<_>, _>>()
    };
    bench.store.readings().submit(day(), 1, work).await.unwrap()
}

fn broken(device: u64, bytes: &str) -> Held {
    Held {
        id: ReadingId::new(0),
        device: DeviceKey::new(device),
        epoch: 0,
        seq: None,
        patient: None,
        measured_at: None,
        received_at: Timestamp::from_seconds(START),
        reasons: vec![Reason::BrokenMessage],
        bytes: bytes.into(),
        route: "readings".into(),
    }
}

async fn hold_as(bench: &Bench, device: u64, bytes: String) {
    hold(bench, broken(device, &bytes)).await;
}

async fn hold(bench: &Bench, held: Held) {
    let work = move |desk: &mut Desk<'_>| desk.hold(NewHeld { held, told: None, trusted: false });
    bench.store.readings().submit(day(), 1, work).await.unwrap();
}

fn recount(bench: &Bench) -> Recount {
    bench.store.readings().recount(&Zone::default()).unwrap()
}

/// Where in the folder's files these bytes are.
fn found(folder: &Path, what: &[u8]) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    files
        .filter(|f| std::fs::read(f.path()).unwrap().windows(what.len()).any(|w| w == what))
        .map(|f| f.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Two patients share a device one after the other; a third has their own.
async fn people(bench: &Bench) -> Vec<ReadingId> {
    let mut all = Vec::new();
    for seq in 0..40 {
        all.push(pressure(1, 11, seq, CANARY + seq, WORD));
        all.push(pressure(2, 12, seq, 120 + seq, "somebody else"));
    }
    all.extend((40..50).map(|seq| pressure(1, 12, seq, 130 + seq, "somebody else")));
    let ids = keep_all(bench, all).await;
    hold_as(bench, 1, format!("broken {WORD}")).await;
    hold_as(bench, 2, "broken of somebody else".into()).await;
    ids
}

fn some(writer: &mut Writer) -> Result<(), StoreError> {
    writer.merge_some(17);
    Ok(())
}

fn worn() -> Vec<Worn> {
    vec![Worn { device: DeviceKey::new(1), from: i64::MIN, to: None, slot: None }]
}

#[tokio::test]
async fn the_recount_agrees_at_every_step_of_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 60);
    for device in 1..8 {
        bench.send_on(day(), device, 0..20, b"").await;
        bench.send_on(day(), device, 10..25, b"not a reading").await;
        let report = recount(&bench);
        assert_eq!(report.mismatches, []);
        let [(_, books)] = report.days[..] else { panic!("{:?}", report.days) };
        assert_eq!((books.stored, books.duplicate, books.quarantined), (25 * device, 10 * device, device));
        bench.store.readings().control(some).await.unwrap();
        assert_eq!(recount(&bench).mismatches, []);
    }
    let report = bench.store.readings().snapshot().unwrap().recount(&Zone::default(), Some(day())).unwrap();
    assert_eq!(report.devices.len(), 7);
    assert!(report.devices.iter().all(|row| row.accepted() == row.stored + row.duplicate + row.quarantined));
}

/// After everything was merged the other half is filled; duplicates may be all there is in it for a long time.
#[tokio::test]
async fn duplicates_that_lie_alone_in_the_second_half_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 1_000);
    bench.send_on(day(), 1, 0..7, b"").await;
    bench.store.readings().control(Writer::settle).await.unwrap();
    for _ in 0..3 {
        assert_eq!(bench.send_on(day(), 1, 0..7, b"").await, 0);
    }
    let copy = crashed(folder.path());
    let again = open(copy.path(), 1_000);
    for (rounds, bench) in [(0, &bench), (1, &again), (2, &again)] {
        for n in 0..rounds {
            bench.send_on(day(), 1, 7 + 10 * rounds + n..8 + 10 * rounds + n, b"").await;
            bench.store.readings().control(Writer::settle).await.unwrap();
        }
        let books = bench.store.readings().books(day(), None).await.unwrap();
        assert_eq!(books[0].duplicate, 21, "round {rounds}");
    }
}

#[tokio::test]
async fn a_lost_a_doubled_and_a_miscounted_row_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 1);
    people(&bench).await;
    bench.store.readings().control(Writer::settle).await.unwrap();
    assert_eq!(recount(&bench).mismatches, []);
    let tamper = |sql: &'static str| {
        bench.store.readings().control(move |w| w.connection.execute_batch(sql).map_err(tables::fault))
    };
    tamper("UPDATE books SET stored = stored + 1 WHERE device = 2").await.unwrap();
    let [Mismatch::Count { device, what: "stored", books: 41, rows: 40, .. }] = recount(&bench).mismatches[..] else {
        panic!("{:?}", recount(&bench))
    };
    assert_eq!(device, DeviceKey::new(2));
    tamper(
        "UPDATE books SET stored = stored - 1 WHERE device = 2; DELETE FROM held WHERE id = (SELECT max(id) FROM held)",
    )
    .await
    .unwrap();
    assert!(matches!(recount(&bench).mismatches[..], [Mismatch::Count { what: "quarantined", books: 1, rows: 0, .. }]));
    tamper("UPDATE books SET quarantined = 0 WHERE device = 2").await.unwrap();
    let another = bench.store.readings().control(move |w| {
        let mut all = numbers::of_block(&w.connection, 0, device)?;
        let seventh = all.iter_mut().find(|n| n.seq == 7).unwrap();
        seventh.known.id = ReadingId::new(1 + row::number(seventh.known.id));
        numbers::write(&w.connection, 0, device, &all)
    });
    another.await.unwrap();
    assert!(matches!(recount(&bench).mismatches[..], [Mismatch::Number { seq: 7, known: Some(_), .. }]));
}

#[tokio::test]
async fn a_patient_who_is_erased_is_in_no_file_and_the_books_still_balance() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 30);
    let ids = people(&bench).await;
    let highest = *bench.store.readings().committed().borrow();
    assert!(!found(folder.path(), WORD.as_bytes()).is_empty());
    let done = bench.store.readings().erase(PatientId::new(11), worn(), Zone::default()).await.unwrap();
    let expected =
        ErasedReadings { readings_before: 40, held_before: 1, log_emptied: true, ..ErasedReadings::default() };
    assert_eq!(done, expected);
    assert_eq!(found(folder.path(), WORD.as_bytes()), Vec::<String>::new());
    assert!(!found(folder.path(), b"somebody else").is_empty(), "others are left alone");
    assert_eq!(bench.all_of(11).await.len(), 0);
    assert_eq!(bench.all_of(12).await.len(), 50);
    assert!(bench.store.readings().by_id(ids[0]).await.unwrap().is_none());
    assert_eq!(recount(&bench).mismatches, []);
    assert_eq!(recount(&bench).days[0].1.removed, 41);
    // What the meter still remembers is known, and does not come back.
    let known = bench.store.readings().submit(day(), 1, |desk| desk.known(DeviceKey::new(1), 3)).await.unwrap();
    assert_eq!(known.iter().map(|k| k.fingerprint).collect::<Vec<_>>(), [ERASED]);
    let stretch = bench.store.readings().projection_stale().await.unwrap().unwrap();
    bench.store.readings().projection_mended(stretch).await.unwrap();
    assert_eq!(bench.store.readings().projection_stale().await.unwrap(), None);
    // Nor is a position used twice, after a restart either.
    drop(bench);
    let bench = open(folder.path(), 30);
    assert!(*bench.store.readings().committed().borrow() >= highest);
    assert_eq!(recount(&bench).mismatches, []);
    let again = bench.store.readings().erase(PatientId::new(11), worn(), Zone::default()).await.unwrap();
    assert_eq!((again.readings_before, again.held_before), (0, 0));
}

/// Whoever follows the journal looks at the tables and then at memory; a merge that ends in between takes from the one
/// what was not yet in the other.
#[tokio::test]
async fn who_follows_the_journal_over_what_is_gone_misses_nothing_that_a_merge_moves() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let readings = bench.store.readings();
    keep_all(&bench, (0..10).map(|seq| pressure(1, 11, seq, 120, "")).collect()).await;
    readings.erase(PatientId::new(11), Vec::new(), Zone::default()).await.unwrap();
    let mut kept = keep_all(&bench, (0..10).map(|seq| pressure(2, 12, seq, 120, "")).collect()).await;
    readings.control(freeze).await.unwrap();
    kept.extend(keep_all(&bench, (10..15).map(|seq| pressure(2, 12, seq, 120, "")).collect()).await);
    let first = readings.shared.memory.read().first_id();
    bench.merged().await;
    let ids = |entries: Vec<JournalEntry>| entries.iter().map(|e| e.position).collect::<Vec<_>>();
    let want: Vec<u64> = kept.iter().map(|id| row::number(*id)).collect();
    assert_eq!(first, want[0]);
    let found = readings.shared.entries_around(first, 0, 100).unwrap().map(ids);
    assert_eq!(found, None, "it is asked for again");
    assert_eq!(ids(readings.entries_after(0, 100).unwrap())[..10], want[..10]);
    assert_eq!(ids(readings.entries_after(want[9], 100).unwrap()), want[10..]);
}

#[tokio::test]
async fn an_erasure_that_a_crash_cuts_short_is_whole_or_has_not_happened() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 30);
    people(&bench).await;
    bench.store.readings().erase(PatientId::new(11), worn(), Zone::default()).await.unwrap();
    let copy = crashed(folder.path());
    let after = open(copy.path(), 30);
    assert_eq!((after.all_of(11).await.len(), recount(&after).mismatches), (0, vec![]));
}

/// A projection that is being filled hears of a change after the fill; the process may end before.
#[tokio::test]
async fn a_change_that_no_projection_has_followed_is_told_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 30);
    let readings = bench.store.readings();
    let ids = people(&bench).await;
    let times = |seq: i64| Timestamp::from_seconds(START - 90_000 + seq * 60);
    let stale = async |folder: &Path| {
        let copy = crashed(folder);
        let again = open(copy.path(), 30);
        again.store.readings().projection_stale().await.unwrap()
    };
    assert_eq!(stale(folder.path()).await, None);
    readings.reassign(ids[6], PatientId::new(12)).await.unwrap();
    assert_eq!(stale(folder.path()).await, Some((times(3), times(3))), "given to somebody else");
    let fasting = Reading { id: ids[0], ..pressure(1, 11, 0, CANARY, "fasting") };
    readings.submit(day(), 1, move |desk| desk.amend(&fasting)).await.unwrap();
    assert_eq!(stale(folder.path()).await, Some((times(0), times(3))), "more is said of it");
    readings.projection_followed(1).await.unwrap();
    assert_eq!(stale(folder.path()).await, Some((times(0), times(3))), "of the first change only");
    readings.projection_followed(readings.moves()).await.unwrap();
    assert_eq!(stale(folder.path()).await, None);
    assert_eq!(readings.projection_stale().await.unwrap(), None, "who runs is told by other means");
}

#[tokio::test]
async fn old_weeks_go_whole_and_only_what_rules_have_seen() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let week = |n: i64| Timestamp::from_seconds((START / 604_800 - n) * 604_800 + 5);
    let aged = |seq: i64| Reading { measured_at: week(seq / 10), ..pressure(3, 13, seq, 120, "old") };
    let ids = keep_all(&bench, (0..50).map(aged).collect()).await;
    hold_as(&bench, 3, "old bytes".into()).await;
    let keep = Keep { readings_from: Some(week(2).plus(std::time::Duration::from_secs(86_400))), ..Keep::default() };
    let none = bench.store.readings().drop_old(keep, Zone::default()).await.unwrap();
    assert_eq!(none, Dropped::default(), "rules have concluded nothing yet");
    bench.store.readings().set_consumed(u64::try_from(ids[49].as_i64()).unwrap());
    let dropped = bench.store.readings().drop_old(keep, Zone::default()).await.unwrap();
    assert_eq!(dropped, Dropped { weeks: 2, readings: 20, ..Dropped::default() });
    let left: HashSet<i64> = bench.all_of(13).await.iter().map(|r| r.seq).collect();
    assert_eq!(left, (0..30).collect());
    assert_eq!(recount(&bench).mismatches, []);
    let late = Timestamp::from_seconds(START + 1);
    let held = Keep { held_from: Some(late), ..Keep::default() };
    assert_eq!(bench.store.readings().drop_old(held, Zone::default()).await.unwrap().held, 1);
    assert_eq!(bench.store.readings().held(None, None, 10).await.unwrap().len(), 0);
    assert_eq!(recount(&bench).mismatches, []);
    let position = u64::try_from(ids[45].as_i64()).unwrap();
    assert_eq!(bench.store.readings().entries_after(position, 10).unwrap().len(), 0, "readers pass over what is gone");
}

/// What a stranger sent before its device was let in is held again under a new id, and says when it really came.
#[tokio::test]
async fn what_is_held_again_is_neither_kept_too_long_nor_hides_what_came_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let readings = bench.store.readings();
    let at = |n: i64| Timestamp::from_seconds(START + n);
    let of = |n: i64, word: &str| Held { patient: Some(PatientId::new(11)), received_at: at(n), ..broken(3, word) };
    hold(&bench, of(0, "new")).await;
    for n in 0..700 {
        hold(&bench, of(-900, &format!("of a stranger, held again {n}"))).await;
    }
    let since = || readings.held_since_blocking(at(-5), 10).unwrap().len();
    assert_eq!(since(), 1, "in memory");
    readings.control(Writer::settle).await.unwrap();
    assert_eq!(since(), 1);
    let keep = Keep { held_from: Some(at(-5)), ..Keep::default() };
    assert_eq!(readings.drop_old(keep, Zone::default()).await.unwrap().held, 700);
    hold(&bench, of(-900, "one more")).await;
    assert_eq!(readings.drop_old(keep, Zone::default()).await.unwrap().held, 1, "also where all is in memory");
    assert_eq!(since(), 1);
    assert_eq!(recount(&bench).mismatches, []);
}

/// A projection fills one week again: it must not read years for that.
#[tokio::test]
async fn a_week_is_read_without_the_others_in_every_state_of_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let readings = bench.store.readings();
    let at = |seq: i64| Timestamp::from_seconds(START + seq * 86_400);
    let measured = |seq: i64| Reading { measured_at: at(seq), ..pressure(1, 11, seq, 120, "") };
    let mut source = crate::questdb::Source::of(&bench.store);
    let mut read = || {
        let mut seqs = Vec::new();
        let mut visit = |r: &Reading| {
            seqs.push(r.seq);
            Ok(())
        };
        (source.everything)(Some(&[(at(50), at(57)), (at(80), at(81))]), &mut visit).unwrap();
        seqs.sort_unstable();
        seqs
    };
    let asked = |seqs: &[i64]| (50..57).chain(80..81).filter(|n| seqs.contains(n)).count();
    keep_all(&bench, (0..50).chain(51..100).map(measured).collect()).await;
    let seqs = read();
    assert!(asked(&seqs) == 7 && seqs.len() < 30, "in memory: {seqs:?}");
    readings.control(Writer::settle).await.unwrap();
    keep_all(&bench, vec![measured(50)]).await;
    let seqs = read();
    assert!(asked(&seqs) == 8 && seqs.len() < 30, "merged, and one that is not: {seqs:?}");
}

/// Two colleagues look at the same list.
#[tokio::test]
async fn a_reading_that_became_somebodys_meanwhile_stays_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 30);
    let nobodys = Reading { patient: None, ..pressure(1, 11, 0, 120, "") };
    let id = keep_all(&bench, vec![nobodys]).await[0];
    let readings = bench.store.readings();
    readings.assign(id, PatientId::new(11)).await.unwrap();
    let late = readings.assign(id, PatientId::new(12)).await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
    assert_eq!(readings.by_id(id).await.unwrap().unwrap().patient, Some(PatientId::new(11)));
}

/// A week goes in steps between commits: what is measured in it may still come, and a merge may be bringing it.
#[tokio::test]
async fn a_week_that_is_going_keeps_what_came_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 100_000);
    let readings = bench.store.readings();
    let at = Timestamp::from_seconds(START - 3 * 604_800);
    let aged = |seq: i64| Reading { measured_at: at, ..pressure(3, 13, seq, 120, "old") };
    let ids = keep_all(&bench, (0..600).map(aged).collect()).await;
    readings.control(Writer::settle).await.unwrap();
    readings.set_consumed(u64::try_from(ids[599].as_i64()).unwrap());
    let wk = row::week(at);
    assert_eq!(readings.control(move |w| w.old_week(wk + 1)).await.unwrap(), Some(wk));
    let go_on = || readings.control(move |w| w.drop_some(wk, &Zone::default(), 500));
    assert_eq!(go_on().await.unwrap(), 500);
    let late = keep_all(&bench, (600..640).map(aged).collect()).await;
    readings.control(freeze).await.unwrap();
    readings.control(some).await.unwrap();
    assert_eq!(go_on().await.unwrap(), 100, "not what is in the middle of a merge");
    let copy = crashed(folder.path());
    let again = open(copy.path(), 100_000);
    readings.control(Writer::settle).await.unwrap();
    for bench in [&bench, &again] {
        assert_eq!(bench.all_of(13).await.iter().map(|r| r.id).collect::<Vec<_>>(), late);
        assert_eq!(recount(bench).mismatches, []);
    }
    assert_eq!(go_on().await.unwrap(), 0, "nor what rules have not seen");
    assert_eq!(bench.all_of(13).await.len(), 40, "and its week is not forgotten");
    readings.set_consumed(u64::try_from(late[39].as_i64()).unwrap());
    let keep = Keep { readings_from: Some(Timestamp::from_seconds(START)), ..Keep::default() };
    let dropped = readings.drop_old(keep, Zone::default()).await.unwrap();
    assert_eq!(dropped, Dropped { weeks: 1, readings: 40, ..Dropped::default() });
    assert_eq!(recount(&bench).mismatches, []);
}

/// Turns the table of numbers into what older programs have of it.
fn numbers_of_before(c: &rusqlite::Connection) {
    let mut put = |device: DeviceKey, numbers::Number { seq, known }: &numbers::Number| {
        let told = known.told.map(Timestamp::as_micros);
        let (id, mark) = (known.id.as_i64(), known.fingerprint.cast_signed());
        let row = rusqlite::params![numbers::block(*seq), device.as_i64(), seq, known.epoch, id, told, mark];
        assert_eq!(c.execute("INSERT INTO identity VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)", row), Ok(1));
    };
    numbers::each(c, &mut put).unwrap();
    c.execute_batch("DROP TABLE numbers").unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_forward_and_a_newer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 30);
    people(&bench).await;
    drop(bench);
    let path = folder.path().join("journal.db");
    let alter = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    alter(tables::SCHEMA);
    numbers_of_before(&rusqlite::Connection::open(&path).unwrap());
    alter(
        "DROP TABLE removed; DROP TABLE waiting; DROP TABLE released; DROP TABLE basis; DROP TABLE sums;
        DROP TABLE unfolded; DROP TABLE newest; DROP TABLE original; DROP TABLE moved; DROP TABLE place;
        INSERT INTO locate SELECT id, id, wk, owner, measured FROM series; PRAGMA user_version=1",
    );
    assert_eq!(Snapshot::open(folder.path()).unwrap().recount(&Zone::default(), None).unwrap().mismatches, []);
    let bench = open(folder.path(), 30);
    assert_eq!(bench.all_of(11).await.len(), 40);
    assert_eq!(recount(&bench).mismatches, []);
    let known = bench.store.readings().submit(day(), 1, |desk| desk.known(DeviceKey::new(1), 3)).await.unwrap();
    assert_eq!(known.len(), 1, "numbers were moved, and those of a merge under way come once");
    bench.store.readings().erase(PatientId::new(11), worn(), Zone::default()).await.unwrap();
    drop(bench);
    let newer = tables::VERSION + 1;
    alter(&format!("PRAGMA user_version={newer}"));
    // The commit thread of the store above may still be closing its file. The last one to close takes the log away, unless
    // two close at once.
    let log = folder.path().join("journal.db-wal");
    while log.exists() {
        alter("PRAGMA user_version");
    }
    let before = std::fs::read(&path).unwrap();
    let (_handle, drain) = Drain::new();
    let refused = Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(START)), &drain).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found, .. } if found == newer), "{refused}");
    assert!(matches!(Snapshot::open(folder.path()), Err(StoreError::Newer { .. })), "export refuses it too");
    assert!(std::fs::read(&path).unwrap() == before, "and it is left as it was");
}
