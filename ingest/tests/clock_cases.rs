//! The clock, case by case (reference: formats, C1 to C10; contract: device protocol, sections 3 and 5), through the whole
//! of ingest and the store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

mod station;

use ingest::Config;
use serde_json::{Value, json};
use station::{NOW, Station, words};
use std::time::Duration;
use vitals::{Reading, Timestamp, Zone};
use wire::topic::Up;

fn bp(seq: i64, time: &str, systolic: i64) -> Value {
    let mut reading = json!({"seq": seq, "time": time, "kind": "blood_pressure", "systolic": systolic, "diastolic": 80, "unit": "mmHg"});
    if time.is_empty() {
        reading.as_object_mut().unwrap().remove("time");
    }
    reading
}

/// `2026-03-02T07:53:00 exact`, with its flags.
fn when(reading: &Reading) -> String {
    let at = reading.measured_at.to_rfc3339(&Zone::default());
    let flags: String = reading.flags.iter().map(|f| format!(" {f}")).collect();
    format!("{} {}{flags}", &at[..19], reading.time_quality.as_str())
}

async fn times(station: &Station) -> Vec<String> {
    station.stored().await.iter().map(|r| when(r)).collect()
}

async fn open() -> (tempfile::TempDir, Station) {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    (folder, station)
}

#[tokio::test]
async fn c1_received_at_is_the_servers_clock_whatever_the_device_says() {
    let (_folder, station) = open().await;
    let message = json!({"v": 1, "receivedAt": "2020-01-01T00:00:00Z", "clock": {"device": "2026-03-01T08:00:00", "reference": NOW},
        "readings": [bp(1, "2026-03-01T07:50:00", 131)]});
    station.send(Up::Readings, &message).await;
    let stored = station.stored().await;
    assert_eq!(stored[0].received_at, Timestamp::parse_rfc3339(NOW).unwrap());
    assert_eq!(&*stored[0].device_time.as_ref().unwrap().0, "2026-03-01T07:50:00", "and its own time stays as sent");
}

#[tokio::test]
async fn c2_a_pair_corrects_and_does_not_reach_behind_a_step_of_the_clock() {
    let (_folder, station) = open().await;
    let pair = json!({"device": "2026-02-27T07:31:00", "reference": NOW});
    let message = json!({"v": 1, "clock": pair, "readings": [
        bp(1, "2026-03-02T07:20:00", 131), bp(2, "2026-02-27T07:21:00", 132), bp(3, "2026-02-27T07:30:30", 133)]});
    assert_eq!(words(&station.send(Up::Readings, &message).await), ["stored"; 3]);
    assert_eq!(
        times(&station).await,
        ["2026-03-02T07:20:00 assumed", "2026-03-02T07:50:00 corrected", "2026-03-02T07:59:30 corrected"]
    );
}

#[tokio::test]
async fn c3_without_a_pair_it_is_the_sites_zone_with_its_own_history() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { time_zone: "Europe/Berlin".into(), ..Config::default() };
    let station = Station::with(folder.path(), config).await;
    // Winter, the hour that is there twice (the first of the two), summer: one zone, two offsets.
    for (seq, wall) in [(1, "2025-01-15T12:00:00"), (2, "2025-07-15T12:00:00"), (3, "2025-10-26T02:30:00")] {
        assert_eq!(station.message(&[bp(seq, wall, 130 + seq)]).await, ["stored"]);
    }
    let utc: Vec<_> = station.stored().await.iter().map(|r| r.measured_at.to_rfc3339(&Zone::utc())).collect();
    assert_eq!(utc, ["2025-01-15T11:00:00+00:00", "2025-07-15T10:00:00+00:00", "2025-10-26T00:30:00+00:00"]);
    assert!(times(&station).await.iter().all(|t| t.ends_with(" assumed")));
}

#[tokio::test]
async fn c4_the_future_and_a_clock_that_was_never_set_are_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let resets = [("BP-100".to_owned(), jiff::civil::date(2019, 1, 1))].into();
    let station = Station::with(folder.path(), Config { reset_days: resets, ..Config::default() }).await;
    let newest = bp(99, "2026-03-02T07:59:00", 150);
    for (seq, time) in [
        (1, ""),
        (2, "1970-01-01T00:03:00"),
        (3, "2000-01-01T00:03:00+08:00"),
        (4, "2009-12-31T23:59:59Z"),
        (5, "2019-01-01T04:00:00"), // this model's first day after a battery change
        (6, "2026-03-02T08:06:00"),
        (7, "2031-05-05T00:00:00"),
    ] {
        assert_eq!(station.message(&[bp(seq, time, 130 + seq), newest.clone()]).await[0], "clock", "{time:?}");
    }
    assert_eq!(station.message(&[bp(50, "2026-03-02T08:04:59", 140)]).await, ["stored"], "five minutes are none");
    assert!(station.held().await.iter().all(|h| h.measured_at.is_none()), "a time is not made up for what is held");
}

#[tokio::test]
async fn c5_whole_hours_are_told_and_never_applied() {
    let (_folder, station) = open().await;
    let pair = json!({"v": 1, "clock": {"device": "2026-03-02T00:05:00", "reference": NOW}, "readings": [bp(1, "2026-03-01T23:50:00", 131)]});
    assert_eq!(words(&station.send(Up::Readings, &pair).await), ["zone_suspect"]);
    assert_eq!(station.message(&[bp(2, "2026-03-02T15:58:00", 132)]).await, ["zone_suspect"], "eight hours ahead");
    assert_eq!(station.message(&[bp(3, "2026-03-02T16:20:00", 133)]).await, ["stored"], "20 minutes beside it: now");
    assert_eq!(
        times(&station).await,
        [
            "2026-03-01T23:50:00 assumed zone_suspect",
            "2026-03-02T15:58:00 assumed zone_suspect",
            "2026-03-02T08:00:00 received"
        ]
    );
}

#[tokio::test]
async fn c6_numbers_up_and_time_back_is_a_clock_that_was_set() {
    let (_folder, station) = open().await;
    assert_eq!(station.message(&[bp(1, "2026-03-02T07:50:00", 131)]).await, ["stored"]);
    assert_eq!(station.message(&[bp(2, "2026-03-02T07:49:00", 132)]).await, ["stored"], "a minute is a nervous clock");
    assert_eq!(station.message(&[bp(3, "2026-03-01T07:50:00", 133)]).await, ["stored"], "a day is another setting");
    let lives: Vec<_> = station.stored().await.iter().map(|r| (r.epoch, r.seq)).collect();
    assert_eq!(lives, [(0, 1), (0, 2), (0, 3)], "the counter goes on");
    // What came before the step, late, belongs before it.
    assert_eq!(station.message(&[bp(1, "2026-03-02T07:50:00", 131)]).await, ["duplicate"]);
}

#[tokio::test]
async fn c7_numbers_down_is_a_wrap_or_a_new_life_and_a_late_one_finds_its_own() {
    let (_folder, station) = open().await;
    let send = async |seq, time, systolic| station.message(&[bp(seq, time, systolic)]).await.remove(0);
    assert_eq!(send(65_534, "2026-03-01T07:00:00", 131).await, "stored");
    assert_eq!(send(0, "2026-03-01T08:00:00", 132).await, "stored", "the counter has 16 bits");
    assert_eq!(send(1, "2026-03-01T09:00:00", 133).await, "stored");
    assert_eq!(send(65_535, "2026-03-01T07:30:00", 134).await, "stored", "late, of the life before");
    assert_eq!(send(40, "2026-03-01T10:00:00", 135).await, "stored");
    assert_eq!(send(2, "2026-03-01T11:00:00", 136).await, "stored", "lower and later: its memory was cleared");
    assert_eq!(send(2, "2026-03-01T09:30:00", 137).await, "stored", "the second of the life before");
    assert_eq!(send(2, "2026-03-01T09:30:00", 138).await, "conflict", "the same number and time, another value");
    assert_eq!(send(1, "2026-03-01T08:30:00", 139).await, "conflict", "no life has room for it at that time");
    assert_eq!(send(2, "2026-03-01T06:30:00", 140).await, "stored", "the first life began with it");
    let lives: Vec<_> = station.stored().await.iter().map(|r| (r.epoch, r.seq)).collect();
    assert_eq!(lives, [(0, 65_534), (1, 0), (1, 1), (0, 65_535), (1, 40), (2, 2), (1, 2), (0, 2)]);
    assert_eq!(station.books().await, (8, 0, 2), "the first stays");
}

#[tokio::test]
async fn c8_only_what_is_live_and_newest_is_now() {
    let (_folder, station) = open().await;
    assert_eq!(station.message(&[bp(1, "", 131), bp(2, "", 132)]).await, ["clock", "stored"]);
    assert_eq!(station.message(&[bp(1, "1970-01-01T00:01:00", 133)]).await, ["clock"], "not the newest any more");
    let backfill = json!({"v": 1, "historical": true, "readings": [bp(3, "", 134)]});
    assert_eq!(words(&station.send(Up::Readings, &backfill).await), ["clock"]);
    assert_eq!(times(&station).await, ["2026-03-02T08:00:00 received"]);
    // What is sent again later does not move: the same reading, the same time.
    station.later(Duration::from_secs(3600));
    assert_eq!(station.message(&[bp(2, "", 132)]).await, ["duplicate"]);
    assert_eq!(times(&station).await, ["2026-03-02T08:00:00 received"]);
}

#[tokio::test]
async fn c8_what_is_held_is_bounded_by_its_neighbours_and_a_replay_keeps_within_them() {
    let folder = tempfile::tempdir().unwrap();
    // Somebody wrote today as the day at which this model's clock begins after a reset.
    let wrong = [("BP-100".to_owned(), jiff::civil::date(2026, 3, 2))].into();
    let station = Station::with(folder.path(), Config { reset_days: wrong, ..Config::default() }).await;
    assert_eq!(station.message(&[bp(10, "2026-03-01T21:00:00", 130)]).await, ["stored"]);
    let buffer = [
        bp(11, "2026-03-02T06:30:00", 131),
        bp(12, "1970-01-01T00:01:00", 132),
        bp(13, "2026-03-02T04:00:00", 133),
        bp(14, "2026-03-02T07:59:00", 134),
    ];
    assert_eq!(station.message(&buffer).await, ["clock", "clock", "clock", "stored"]);
    let last = json!({"v": 1, "historical": true, "readings": [bp(15, "2026-03-02T07:59:30", 135)]});
    assert_eq!(words(&station.send(Up::Readings, &last).await), ["clock"]);
    drop(station);

    let station = Station::again(folder.path(), Config::default()).await;
    let moment = |text: &str| Some(Timestamp::parse_rfc3339(&format!("2026-03-{text}:00+08:00")).unwrap());
    let between = async |seq| {
        let found = station.store.readings().between(station.device.key, 0, seq).await.unwrap();
        (found.after, found.before)
    };
    let replay = async |seq| {
        let held = station.held().await.into_iter().find(|h| h.seq == Some(seq)).unwrap();
        let done = station.ingest.replay(held.id).await.unwrap();
        (done.released, done.results[0].reasons.join(","))
    };
    for seq in [11, 12, 13] {
        assert_eq!(between(seq).await, (moment("01T21:00"), moment("02T08:00")), "{seq}");
    }
    assert_eq!(between(15).await, (moment("02T08:00"), None), "above the last there is nothing");
    let stays = (false, "clock".to_owned());
    assert_eq!(replay(11).await, (true, String::new()), "its own time lies between those of its neighbours");
    assert_eq!(between(12).await, (moment("02T06:30"), moment("02T08:00")), "and bounds the next more closely");
    assert_eq!(replay(12).await, stays, "two bounds are no time");
    assert_eq!(replay(13).await, stays, "before what came before it: one of the two is wrong");
    assert_eq!(replay(15).await, stays, "nothing says that it was not later");
    let shown: Vec<_> = station.stored().await.iter().map(|r| (r.seq, r.epoch, when(r))).collect();
    assert_eq!(
        shown,
        [
            (10, 0, "2026-03-01T21:00:00 assumed".into()),
            (14, 0, "2026-03-02T08:00:00 received".into()),
            (11, 0, "2026-03-02T06:30:00 assumed".into()),
        ]
    );
    assert_eq!(station.books().await, (3, 0, 3));
}

#[tokio::test]
async fn c9_what_rules_demand_of_a_time_is_written_on_each_reading() {
    let (_folder, station) = open().await;
    let readings = [
        bp(1, "2026-02-20T08:00:00+08:00", 131),
        bp(2, "2026-03-02T07:58:00", 132),
        bp(3, "2026-03-02T15:59:00", 133),
        bp(4, "", 134),
    ];
    station.message(&readings).await;
    assert_eq!(
        times(&station).await,
        [
            "2026-02-20T08:00:00 exact",
            "2026-03-02T07:58:00 assumed",
            "2026-03-02T15:59:00 assumed zone_suspect",
            "2026-03-02T08:00:00 received"
        ]
    );
    let age = |r: &Reading| r.received_at.since(r.measured_at);
    assert!(age(&station.stored().await[0]) > Duration::from_secs(24 * 3600), "old enough to page nobody");
}

#[tokio::test]
async fn c10_a_hello_is_answered_with_the_time_for_a_minute() {
    let (_folder, station) = open().await;
    assert_eq!(station.send(Up::Hello, &json!({"model": "BP-100", "battery": 80})).await, Value::Null);
    let waiting = station.store.pending_commands(station.device.key, station.clock.now()).await.unwrap();
    let command: Value = serde_json::from_str(&waiting[0].body).unwrap();
    assert_eq!((&command["type"], &command["now"]), (&json!("time"), &json!(NOW)));
    station.later(Duration::from_secs(61));
    assert!(station.store.pending_commands(station.device.key, station.clock.now()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_key_is_the_devices_own_time_so_that_a_better_correction_makes_no_second_reading() {
    let (_folder, station) = open().await;
    let with = |device: &str| json!({"v": 1, "clock": {"device": device, "reference": NOW}, "readings": [bp(1, "2026-03-02T07:50:00", 131)]});
    assert_eq!(words(&station.send(Up::Readings, &with("2026-03-02T08:02:00")).await), ["stored"]);
    assert_eq!(words(&station.send(Up::Readings, &with("2026-03-02T08:02:04")).await), ["duplicate"]);
    // Without a counter, the same minute and values are one reading.
    let uncounted = |second: u32, systolic: i64| {
        let mut reading = bp(0, &format!("2026-03-02T07:40:{second:02}"), systolic);
        reading.as_object_mut().unwrap().remove("seq");
        reading
    };
    let seen = station.message(&[uncounted(1, 140), uncounted(59, 140), uncounted(30, 141)]).await;
    assert_eq!(seen, ["stored", "duplicate", "stored"]);
}

#[tokio::test]
async fn what_comes_again_of_a_life_that_is_not_kept_any_more_is_known() {
    let (_folder, station) = open().await;
    let at = |life: i64| format!("2026-01-{:02}T08:{:02}:00", 1 + life / 2, 30 * (life % 2));
    assert_eq!(station.message(&[bp(1, &at(0), 121), bp(2, "2026-01-01T08:01:00", 185)]).await, ["stored"; 2]);
    for life in 1..40 {
        assert_eq!(station.message(&[bp(1, &at(life), 120)]).await, ["stored"], "{life}");
    }
    assert_eq!(station.message(&[bp(1, &at(0), 121), bp(2, "2026-01-01T08:01:00", 185)]).await, ["duplicate"; 2]);
    assert_eq!(station.books().await, (41, 2, 0));
}

#[tokio::test]
async fn what_is_held_and_comes_again_in_another_life_is_not_measured_then() {
    let (_folder, station) = open().await;
    let unset = |seq, minute: i64, systolic| bp(seq, &format!("2000-01-01T00:{minute:02}:00"), systolic);
    assert_eq!(station.message(&[unset(10, 10, 120)]).await, ["stored"]);
    assert_eq!(station.message(&[unset(5, 5, 190)]).await, ["clock"]);
    station.later(Duration::from_secs(2 * 86_400));
    assert_eq!(station.message(&[unset(1, 20, 121)]).await, ["stored"], "the counter began anew");
    let again = station.send(Up::Readings, &json!({"v": 1, "readings": [unset(5, 5, 190)]})).await;
    assert_eq!(
        (&again["results"][0]["result"], &again["results"][0]["reasons"][0]),
        (&json!("duplicate"), &json!("clock"))
    );
    assert_eq!(again["storedThrough"], 1, "and its number is not this life's");
    assert_eq!((station.stored().await.len(), station.held().await.len()), (2, 1));
    // Without a number and a time the same bytes are another reading, one that nobody has held for a fault.
    let nameless = json!({"kind": "blood_pressure", "systolic": 150, "diastolic": 90, "unit": "mmHg"});
    let backfill = json!({"v": 1, "historical": true, "readings": [nameless]});
    assert_eq!(words(&station.send(Up::Readings, &backfill).await), ["clock"]);
    assert_eq!(station.message(&[nameless]).await, ["stored"]);
}
