//! How many readings a second one core judges. Printed, not asserted: `cargo test --release -p rules --test pace -- --ignored --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "helpers of tests may break a test"
)]

mod story;

use rules::{Cards, Engine, Error, World};
use std::{sync::Arc, time::Instant};
use story::{at, bp, minutes, patient};
use vitals::{Entry, Finding, Patient, PatientId, Plan, Reading, ReadingId, Timestamp, Zone};

/// Many patients without any history.
struct Crowd(Vec<Arc<Patient>>);

impl World for Crowd {
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        usize::try_from(id.as_i64()).ok().and_then(|i| self.0.get(i).cloned())
    }
    fn bound(&self, _: PatientId) -> Option<Timestamp> {
        Some(at("2026-03-02T08:00:00+08:00"))
    }
    fn readings(&self, _: PatientId, _: Timestamp, _: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        Ok(Vec::new())
    }
    fn concluded(&self, _: PatientId, _: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        Ok(Vec::new())
    }
}

fn rate(name: &str, over_every: u64) {
    let start = at("2026-03-02T08:00:00+08:00");
    let people = 1000_u64;
    let crowd =
        (0..people).map(|i| Arc::new(Patient { id: PatientId::new(i), ..patient(Plan::default(), start) })).collect();
    let mut engine = Engine::new(Crowd(crowd), Cards::built_in().unwrap(), Zone::default(), start);
    let count = 300_000_u64;
    let entries: Vec<Entry> = (0..count)
        .map(|i| {
            let when = start.plus(minutes(2 * (i / people)));
            let systolic = if over_every > 0 && i % over_every == 0 { 186 } else { 131 };
            let mut reading = bp(i64::try_from(i).unwrap() + 1, when, systolic, 79);
            reading.patient = Some(PatientId::new(i % people));
            Entry::Reading(reading.into())
        })
        .collect();
    let begun = Instant::now();
    let mut found = 0;
    for (i, chunk) in entries.chunks(2000).enumerate() {
        let now = start.plus(minutes(4 * (i as u64 + 1)));
        let numbered = chunk.iter().enumerate().map(|(n, e)| ((i * 2000 + n) as u64, e));
        engine.take(numbered, now).unwrap();
        engine.run_due(now).unwrap();
        found += engine.concluded().new.len();
    }
    let took = begun.elapsed();
    println!(
        "{name}: {:.0} readings/s, {:.2} us each, {found} findings",
        count as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / count as f64
    );
}

#[test]
#[ignore = "a measurement"]
fn readings_a_second() {
    rate("normal readings", 0);
    rate("1 in 1009 over the limit", 1009);
    rate("1 in 20 over the limit", 19);
}
