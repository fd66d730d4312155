//! Numbers that never came are asked for, of whom they can be had; numbers that came are never.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

mod station;

use bytes::Bytes;
use serde_json::{Value, json};
use station::{NOW, Station, words};
use std::{sync::Arc, time::Duration};
use vitals::{Device, DeviceKey, DeviceKind, Timestamp};
use wire::topic::{Tree, Up};

fn bp(seq: i64, minutes: i64) -> Value {
    let now = Timestamp::parse_rfc3339(NOW).unwrap();
    let time = Timestamp::from_micros(now.as_micros() - minutes * 60_000_000).to_rfc3339(&vitals::Zone::default());
    json!({"seq": seq, "kind": "blood_pressure", "time": time, "systolic": 131, "diastolic": 80, "unit": "mmHg"})
}

/// What `device` is asked for: of whom, from, to.
async fn asked(station: &Station, device: DeviceKey) -> Vec<(Value, i64, i64)> {
    let all = station.store.pending_commands(device, station.store.clock().now()).await.unwrap();
    let bodies = all.iter().map(|c| serde_json::from_str::<Value>(&c.body).unwrap());
    let of = |c: Value| (c["device"].clone(), c["from"].as_i64().unwrap(), c["to"].as_i64().unwrap());
    bodies.filter(|c| c["type"] == "resend").map(of).collect()
}

#[tokio::test]
async fn every_gap_of_one_message_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    station.message(&[bp(1, 9), bp(3, 7), bp(5, 5), bp(9, 1)]).await;
    let expected = [(2, 2), (4, 4), (6, 8)].map(|(from, to)| (Value::Null, from, to));
    assert_eq!(asked(&station, station.device.key).await, expected);
}

#[tokio::test]
async fn a_gateway_is_asked_for_what_its_devices_owe() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let gateway = Device { id: "g-1".parse().unwrap(), kind: DeviceKind::Gateway, ..(*station.device).clone() };
    let gateway = Arc::new(station.store.create_device(gateway).await.unwrap());
    station.store.set_gateway_devices(gateway.key, [station.device.key].into()).await.unwrap();
    let items: Vec<Value> = [(1, 9), (4, 6)]
        .iter()
        .map(|(seq, minutes)| {
            let mut item = bp(*seq, *minutes);
            item["device"] = json!("m-1");
            item
        })
        .collect();
    let payload = Bytes::from(json!({"v": 1, "readings": items}).to_string());
    station.ingest.submit(gateway.clone(), Tree::Gateways, Up::Readings, payload).await.unwrap();
    assert_eq!(asked(&station, gateway.key).await, [(json!("m-1"), 2, 3)]);
    assert_eq!(asked(&station, station.device.key).await, [], "the gateway has its connection");
}

#[tokio::test]
async fn a_conflicts_number_is_not_answered_and_a_refused_readings_is() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    station.message(&[bp(1, 9), bp(2, 8), bp(4, 6)]).await;
    assert_eq!(station.message(&[bp(3, 60)]).await, ["conflict"], "its neighbours say another time");
    let receipt = station.send(Up::Readings, &json!({"v": 1, "readings": [bp(1, 9)]})).await;
    assert_eq!(receipt["storedThrough"], 2);
    let mut wild = bp(3, 7);
    wild["systolic"] = json!(1310);
    assert_eq!(station.message(&[wild]).await, ["implausible"]);
    let receipt = station.send(Up::Readings, &json!({"v": 1, "readings": [bp(1, 9)]})).await;
    assert_eq!(receipt["storedThrough"], 4);
}

#[tokio::test]
async fn a_named_message_without_counter_and_clock_is_known_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let station = Station::open(folder.path(), None).await;
    let item = json!({"kind": "blood_pressure", "systolic": 131, "diastolic": 80, "unit": "mmHg"});
    let named = |id: &str| json!({"v": 1, "msgId": id, "readings": [item, item]});
    let first = station.send(Up::Readings, &named("a")).await;
    // Only the last of a message is live; the first has no time that anybody could know.
    assert_eq!(words(&first), ["clock", "stored"]);
    drop(station);
    let station = Station::again(folder.path(), ingest::Config::default()).await;
    station.later(Duration::from_secs(120));
    let again = station.send(Up::Readings, &named("a")).await;
    assert_eq!(again["results"][1]["result"], "duplicate");
    assert_eq!(again["results"][1]["id"], first["results"][1]["id"]);
    let other = station.send(Up::Readings, &named("b")).await;
    assert_eq!(other["results"][1]["result"], "stored", "equal values of another message are another reading");
    assert_eq!(station.stored().await.len(), 2);
}
