//! What was sent is there as it was sent, through packing, crashes and merges, until it has to go.

use super::super::{
    Keep, NewReading, Worn,
    tests::{Bench, START, crashed, open, reading},
};
use super::*;
use std::sync::atomic::Ordering::Relaxed;
use vitals::{Reading, Zone};

const DAY: jiff::civil::Date = jiff::civil::date(2026, 2, 2);
const CANARY: &str = "canary of a patient who left";

/// One message of `device` with readings of these patients; its bytes are the text.
async fn send(
    bench: &Bench,
    device: u64,
    seqs: std::ops::Range<i64>,
    patients: &[u64],
    known: &[ReadingId],
    text: &str,
) -> Vec<ReadingId> {
    let owner = |i: usize| patients.get(i % patients.len().max(1)).map(|p| PatientId::new(*p));
    let readings: Vec<Reading> =
        seqs.enumerate().map(|(i, seq)| Reading { patient: owner(i), ..reading(device, seq) }).collect();
    let (bytes, known) = (Bytes::from(text.to_owned()), known.to_vec());
    let work = move |desk: &mut Desk<'_>| {
        let key = DeviceKey::new(device);
        known.iter().for_each(|id| desk.duplicate(key, *id));
        let ids: Result<Vec<_>, _> =
            readings.into_iter().map(|reading| desk.keep(NewReading { reading, told: None, trusted: false })).collect();
        desk.keep_original(key, Cow::Borrowed("readings"), Timestamp::from_seconds(START), &bytes);
        ids
    };
    bench.store.readings().submit(DAY, 1, work).await.unwrap()
}

async fn text(bench: &Bench, id: ReadingId) -> Option<String> {
    let found = bench.store.readings().original(id).await.unwrap();
    found.map(|o| String::from_utf8(o.bytes).unwrap())
}

fn long(n: i64) -> String {
    format!("{{\"n\":{n},\"words\":\"{}\"}}", "a message as a meter sends it ".repeat(40))
}

fn is_in_a_file(folder: &std::path::Path, what: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).filter(|p| p.is_file());
    files.into_iter().any(|file| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(what.len()).any(|w| w == what.as_bytes())
    })
}

#[tokio::test]
async fn each_message_is_found_by_its_readings_before_and_after_it_is_packed() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 40);
    let mut sent: Vec<(ReadingId, String)> = Vec::new();
    for n in 0..200_i64 {
        for id in send(&bench, 1, n * 2..n * 2 + 2, &[11], &[], &long(n)).await {
            sent.push((id, long(n)));
        }
    }
    // Of a message of which nothing is new, nothing is kept.
    send(&bench, 1, 0..0, &[11], &[sent[0].0, sent[1].0], "all known").await;
    let all = async |bench: &Bench| {
        for (id, expected) in &sent {
            assert_eq!(text(bench, *id).await.as_ref(), Some(expected), "{id}");
        }
    };
    all(&bench).await;
    let packed = bench.store.readings().pack_originals().await.unwrap();
    assert!((50..=200).contains(&packed), "{packed}");
    assert_eq!(bench.store.readings().pack_originals().await.unwrap(), 0, "the rest is not worth a block");
    all(&bench).await;
    let size = |bench: &Bench| {
        let sizes =
            |packed: bool| {
                let sql = "SELECT count(*), coalesce(sum(length(b)), 0) FROM original WHERE packed = ?1";
                bench.store.readings().shared.readers.with(|c| {
                    c.query_row(sql, [packed], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?))).map_err(fault)
                })
            };
        (sizes(true).unwrap(), sizes(false).unwrap())
    };
    let ((blocks, bytes), (rows, _)) = size(&bench);
    assert!(blocks >= 2 && bytes < i64::try_from(packed).unwrap() * 200 && rows < 150, "{blocks} {bytes} {rows}");
    let copy = crashed(folder.path());
    let again = open(copy.path(), 40);
    all(&again).await;
    assert!(!is_in_a_file(folder.path(), "all known"));
}

#[tokio::test]
async fn a_message_belongs_to_one_person_only_if_all_of_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 1000);
    let owner = async |ids: &[ReadingId]| bench.store.readings().original(ids[0]).await.unwrap().unwrap().sole_owner;
    let own = send(&bench, 1, 0..3, &[11], &[], "own").await;
    assert_eq!(owner(&own).await, Some(PatientId::new(11)));
    let couple = send(&bench, 1, 3..5, &[11, 12], &[], "couple").await;
    assert_eq!(owner(&couple).await, None);
    let nobody = send(&bench, 1, 5..6, &[], &[], "nobody's").await;
    assert_eq!(owner(&nobody).await, None);
    let with_known = send(&bench, 1, 6..7, &[11], &own[..1], "the one before it may be another's").await;
    assert_eq!(owner(&with_known).await, None);
}

#[tokio::test]
async fn an_erasure_takes_the_messages_too_packed_or_not_and_leaves_other_devices_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 30);
    for n in 0..90_i64 {
        send(&bench, 1, n..n + 1, &[11], &[], &format!("{n} {CANARY} {}", long(n))).await;
        send(&bench, 2, n..n + 1, &[12], &[], &format!("{n} somebody else {}", long(n))).await;
    }
    assert!(bench.store.readings().pack_originals().await.unwrap() > 0);
    let late = send(&bench, 1, 90..91, &[11], &[], &format!("unpacked {CANARY}")).await;
    let theirs = send(&bench, 2, 90..91, &[12], &[], "unpacked of somebody else").await;
    assert!(is_in_a_file(folder.path(), CANARY));
    let worn = vec![Worn { device: DeviceKey::new(1), from: (START - 86_400) * 1_000_000, to: None, slot: None }];
    let done = bench.store.readings().erase(PatientId::new(11), worn, Zone::default()).await.unwrap();
    assert_eq!((done.readings_before, done.readings_after), (91, 0));
    assert_eq!((done.originals_before, done.originals_after), (91, 0));
    assert!(!is_in_a_file(folder.path(), CANARY));
    assert_eq!(text(&bench, late[0]).await, None);
    assert_eq!(text(&bench, theirs[0]).await.as_deref(), Some("unpacked of somebody else"));
    let mut others = 0;
    let mut seen = |body: &[u8], form: Form| {
        each(&form.unpack(body)?, |_, bytes| {
            assert!(!String::from_utf8_lossy(bytes).contains(CANARY), "not in a packed block either");
            others += 1;
            Ok(())
        })
    };
    bench
        .store
        .readings()
        .shared
        .readers
        .with(|c| rows_after(c, -1, None, &mut |row| seen(&row.body, row.form).map(|()| true)))
        .unwrap();
    assert_eq!(others, 91);
}

/// Messages of both devices in turn, in one commit, of which the journal's thread is kept from beginning until all are there.
async fn send_at_once(bench: &Bench, messages: i64, text: impl Fn(i64) -> String) -> Vec<Vec<ReadingId>> {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let readings = bench.store.readings();
    let held = readings.control(move |_| Ok(wait.recv().is_ok()));
    let sends = (0..messages).map(|n| {
        let (device, patient, text) = (n.cast_unsigned() % 2 + 1, n.cast_unsigned() % 2 + 11, text(n));
        async move { send(bench, device, n..n + 1, &[patient], &[], &text).await }
    });
    // In this order: the last lets the journal go on when everything has been submitted.
    let (held, sent, ()) = tokio::join!(biased; held, futures_util::future::join_all(sends), async { drop(go) });
    assert!(!held.unwrap());
    sent
}

#[tokio::test]
async fn what_fills_a_block_in_one_commit_is_packed_at_once_and_only_the_rest_waits() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 1000);
    let words = |n: i64| if n % 2 == 0 { format!("{n} {CANARY} {}", long(n)) } else { long(n) };
    let sent = send_at_once(&bench, 111, words).await;
    let forms = |bench: &Bench| {
        let mut forms = Vec::new();
        let mut see = |row: Stored| {
            forms.push(row.form);
            Ok(true)
        };
        bench.store.readings().shared.readers.with(|c| rows_after(c, -1, None, &mut see)).unwrap();
        forms
    };
    let all = async |bench: &Bench| {
        for (n, ids) in (0..).zip(&sent) {
            assert_eq!(text(bench, ids[0]).await, Some(words(n)), "{n}");
        }
    };
    assert_eq!(forms(&bench), [Form::Quick, Form::Quick, Form::Plain]);
    all(&bench).await;
    assert_eq!(bench.store.readings().pack_originals().await.unwrap(), 0, "the rest is not worth a block");
    // Rows that wait on both sides of a block are packed together, and the block between them stays.
    for n in 200..300_i64 {
        send(&bench, 1, n..n + 1, &[11], &[], &long(n)).await;
    }
    assert!(bench.store.readings().pack_originals().await.unwrap() > 0);
    assert!(forms(&bench).starts_with(&[Form::Quick, Form::Quick, Form::Small]));
    all(&bench).await;
    all(&open(crashed(folder.path()).path(), 1000)).await;
    let worn = vec![Worn { device: DeviceKey::new(1), from: (START - 86_400) * 1_000_000, to: None, slot: None }];
    let done = bench.store.readings().erase(PatientId::new(11), worn, Zone::default()).await.unwrap();
    assert_eq!((done.originals_before, done.originals_after), (156, 0));
    assert!(!is_in_a_file(folder.path(), CANARY));
    for (n, ids) in (0..).zip(&sent).filter(|(n, _)| n % 2 == 1) {
        assert_eq!(text(&bench, ids[0]).await, Some(long(n)), "{n}");
    }
}

#[tokio::test]
async fn an_erasure_between_reading_and_writing_wins_over_the_packing() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 1000);
    for n in 0..90_i64 {
        send(&bench, 1, n..n + 1, &[11], &[], &long(n)).await;
    }
    let run = bench.store.readings().shared.readers.with(some_blocks).unwrap();
    assert!(!run.blocks.is_empty());
    bench.store.readings().erase(PatientId::new(11), vec![], Zone::default()).await.unwrap();
    assert!(!bench.store.readings().control(move |w| w.replace_by_blocks(&run)).await.unwrap());
    let left = bench
        .store
        .readings()
        .shared
        .readers
        .with(|c| c.query_row("SELECT count(*) FROM original", [], |r| r.get::<_, i64>(0)).map_err(fault));
    assert_eq!(left.unwrap(), 0);
}

#[tokio::test]
async fn what_is_older_than_retention_goes_and_the_readings_stay() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 1000);
    bench.store.readings().shared.consumed.store(0, Relaxed);
    let ids = send(&bench, 1, 0..1, &[11], &[], "old").await;
    let keep = |seconds| Keep { originals_from: Some(Timestamp::from_seconds(seconds)), ..Keep::default() };
    assert_eq!(bench.store.readings().drop_old(keep(START), Zone::default()).await.unwrap().originals, 0);
    assert_eq!(bench.store.readings().drop_old(keep(START + 1), Zone::default()).await.unwrap().originals, 1);
    assert_eq!(text(&bench, ids[0]).await, None);
    assert!(bench.store.readings().by_id(ids[0]).await.unwrap().is_some());
}

#[tokio::test]
async fn an_erasure_leaves_the_messages_of_who_wore_the_meter_later() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 30);
    let first = send(&bench, 1, 0..3, &[11], &[], &format!("{CANARY} {}", long(0))).await;
    let both = send(&bench, 1, 3..5, &[11, 12], &[], &format!("{CANARY} and another")).await;
    let mut later = Vec::new();
    for n in 5..95_i64 {
        later.extend(send(&bench, 1, n..n + 1, &[12], &[], &long(n)).await);
    }
    assert!(bench.store.readings().pack_originals().await.unwrap() > 0);
    // Sent again beside something new: the first wearer's, and the second's own.
    let again = send(&bench, 1, 95..96, &[12], &first[..2], &format!("{CANARY} again")).await;
    let own = send(&bench, 1, 96..97, &[12], &later[..2], "the second's own again").await;
    let worn = vec![Worn {
        device: DeviceKey::new(1),
        from: (START - 86_400) * 1_000_000,
        to: Some((START + 86_400) * 1_000_000),
        slot: None,
    }];
    let done = bench.store.readings().erase(PatientId::new(11), worn, Zone::default()).await.unwrap();
    assert_eq!((done.readings_before, done.originals_before, done.originals_after), (4, 3, 0));
    assert!(!is_in_a_file(folder.path(), CANARY));
    for id in [&first[..], &both, &again].concat() {
        assert_eq!(text(&bench, id).await, None);
    }
    for (n, id) in (5..).zip(&later) {
        assert_eq!(text(&bench, *id).await, Some(long(n)), "{n}");
    }
    assert_eq!(text(&bench, own[0]).await.as_deref(), Some("the second's own again"));
}

#[tokio::test]
async fn bytes_that_were_taken_out_do_not_come_back_beside_something_new() {
    let folder = tempfile::tempdir().unwrap();
    let bench = open(folder.path(), 30);
    let first = send(&bench, 1, 0..1, &[11], &[], CANARY).await;
    bench.store.readings().erase(PatientId::new(11), vec![], Zone::default()).await.unwrap();
    let bytes = Bytes::from(format!("{CANARY} once more"));
    let work = move |desk: &mut Desk<'_>| {
        let key = DeviceKey::new(1);
        let known = desk.known(key, 0)?;
        assert_eq!((known[0].id, known[0].fingerprint), (first[0], super::super::ERASED));
        desk.duplicate(key, first[0]);
        desk.brings_back();
        let reading = Reading { patient: Some(PatientId::new(12)), ..reading(1, 1) };
        let id = desk.keep(NewReading { reading, told: None, trusted: false })?;
        desk.keep_original(key, Cow::Borrowed("readings"), Timestamp::from_seconds(START), &bytes);
        Ok(id)
    };
    let id = bench.store.readings().submit(DAY, 1, work).await.unwrap();
    assert_eq!(text(&bench, id).await, None);
    assert!(bench.store.readings().by_id(id).await.unwrap().is_some());
    assert!(!is_in_a_file(folder.path(), CANARY));
}
