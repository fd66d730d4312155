//! What keeping costs: `cargo run --release -p store --example keeping_bench -- [--rows 2000000]`.
//!
//! Prints the size of the file, how long a recount of every row takes and how much memory, and how long the erasure of
//! one patient holds commits up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::cast_precision_loss, missing_docs)]

use runtime::{Clock, Drain};
use std::time::Instant;
use store::{NewReading, Snapshot, Store, Worn};
use vitals::{
    Context, Decimal, DeviceKey, Disposition, GlucoseValue, PatientId, Reading, ReadingId, Statuses, TimeQuality,
    Timestamp, Unit, Values, Zone,
};

const DEVICES: u64 = 10_000;
const START: i64 = 1_770_000_000;
const CHUNK: u64 = 2_000;

fn reading(n: u64) -> Reading {
    let (device, seq) = (n % DEVICES + 1, i64::try_from(n / DEVICES).unwrap());
    let at = Timestamp::from_seconds(START + seq * 43_200);
    Reading {
        id: ReadingId::new(0),
        device: DeviceKey::new(device),
        epoch: 0,
        seq,
        user_slot: None,
        patient: Some(PatientId::new(device)),
        measured_at: at,
        received_at: at,
        device_time: Some(vitals::DeviceTime("2026-03-01T07:11:40+08:00".into())),
        time_quality: TimeQuality::Exact,
        disposition: Disposition::Stored,
        values: Values::Glucose(GlucoseValue::Value(Decimal::new(62, -1))),
        unit: Unit::MmolPerL,
        statuses: Statuses::default(),
        flags: vec![],
        historical: false,
        context: Context::default(),
    }
}

fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or_default() / 1024
}

#[tokio::main]
async fn main() {
    let rows: u64 = std::env::args().skip_while(|a| a != "--rows").nth(1).map_or(2_000_000, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (_handle, drain) = Drain::new();
    let store = Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(START)), &drain).unwrap();
    let zone = Zone::default();
    for first in (0..rows).step_by(usize::try_from(CHUNK).unwrap()) {
        let day = reading(first).received_at.day(&zone);
        let work = move |desk: &mut store::Desk<'_>| {
            for n in first..(first + CHUNK).min(rows) {
                let reading = reading(n);
                let told = Some(reading.measured_at);
                desk.keep(NewReading { reading, told, trusted: true })?;
            }
            Ok(())
        };
        store.readings().submit(day, usize::try_from(CHUNK).unwrap(), work).await.unwrap();
    }
    let size = std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    println!("{rows} rows of {DEVICES} patients, journal.db {} MB, peak memory {} MB", size >> 20, memory_mb());
    let begun = Instant::now();
    let report = Snapshot::open(folder.path()).unwrap().recount(&zone, None).unwrap();
    let took = begun.elapsed();
    assert_eq!(report.wrong(), 0, "{:?}", report.mismatches);
    println!("recount: {took:.2?}, {:.0} rows/s, peak memory {} MB", rows as f64 / took.as_secs_f64(), memory_mb());
    let begun = Instant::now();
    let worn = vec![Worn { device: DeviceKey::new(7), from: i64::MIN, to: None, slot: None }];
    let erasing = store.readings().erase(PatientId::new(7), worn, zone.clone());
    let erased = erasing.await.unwrap();
    println!("erase: {} readings, commits held up for {:.2?}", erased.readings_before, begun.elapsed());
    println!("peak memory {} MB", memory_mb());
}
