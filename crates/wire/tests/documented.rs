//! What `docs/devices.md` shows is read without a fault, and every reason has its remedy there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

use bytes::Bytes;
use vitals::{Reason, Status};
use wire::reading_v1;

const PAGE: &str = include_str!("../../../docs/devices.md");
const SCHEMA: &str = include_str!("../../../docs/reading-message.schema.json");

#[test]
fn the_examples_are_messages() {
    let line = PAGE.lines().find(|l| l.trim_start().starts_with("mosquitto_pub")).unwrap();
    let one = line.split('\'').nth(1).unwrap();
    let whole = PAGE.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    for (text, readings) in [(one, 1), (whole, 2)] {
        let message = reading_v1::decode(&Bytes::copy_from_slice(text.as_bytes())).unwrap();
        assert_eq!(message.items.len(), readings);
        assert!(message.items.iter().all(|i| i.faults.is_empty() && i.measured.is_some() && i.context.extra.is_none()));
    }
}

#[test]
fn the_adapter_that_is_shown_reads_the_payload_that_is_shown() {
    let file =
        PAGE.split("```toml").find(|block| block.contains("profile =")).and_then(|b| b.split("```").next()).unwrap();
    let adapter = wire::vendor::Adapter::parse("docs/devices.md", file).unwrap();
    let payload = PAGE.lines().find(|l| l.starts_with("For `{")).and_then(|l| l.split('`').nth(1)).unwrap();
    let items = adapter.decode(&Bytes::copy_from_slice(payload.as_bytes())).unwrap().items;
    let told: Vec<_> = items.iter().map(|i| (i.seq, i.faults.len(), i.measured.is_some(), i.time.is_some())).collect();
    assert_eq!(told, [(Some(1), 0, true, true), (Some(2), 0, true, true)]);
    let Some((vitals::Values::Glucose(vitals::GlucoseValue::Value(value)), _)) = items[1].measured else { panic!() };
    assert_eq!(value.to_string(), "5.4");
}

#[test]
fn every_reason_has_its_remedy() {
    let held = [
        Reason::BrokenMessage,
        Reason::VersionUnknown,
        Reason::KindUnknown,
        Reason::SeqInvalid,
        Reason::TimeInvalid,
        Reason::UnitUnknown,
        Reason::NoValue,
        Reason::Implausible,
        Reason::Conflict,
        Reason::Clock,
        Reason::DecodeMismatch,
        Reason::Truncated,
        Reason::TrailingBytes,
        Reason::NotAllowed,
        Reason::Status(Status::SensorMalfunction),
        Reason::Status(Status::SampleInsufficient),
        Reason::Status(Status::StripError),
        Reason::Status(Status::TemperatureHigh),
        Reason::Status(Status::TemperatureLow),
        Reason::Status(Status::ReadInterrupted),
        Reason::Status(Status::GeneralFault),
    ];
    for reason in held {
        let word = format!("`{}`", reason.as_str());
        let row = PAGE.lines().find(|l| l.starts_with('|') && l.split('|').nth(1).is_some_and(|c| c.contains(&word)));
        assert!(row.is_some_and(|r| r.split('|').count() == 5), "{word} has no remedy in docs/devices.md");
    }
}

#[test]
fn the_schema_names_every_word() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let words = schema["$defs"]["reading"]["properties"]["status"]["items"]["enum"].as_array().unwrap();
    let ours: Vec<&str> = Status::ALL.iter().map(|s| s.as_str()).collect();
    assert_eq!(words.iter().map(|w| w.as_str().unwrap()).collect::<Vec<_>>(), ours);
    assert_eq!(schema["properties"]["readings"]["maxItems"], reading_v1::MOST_READINGS);
}
