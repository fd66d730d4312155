//! Every published Bluetooth frame of the shared vectors, decoded field by field; skipped with a notice where the file
//! is not there. And: no octets whatever make the decoder panic.
//!
//! Where a published expectation is wrong (`counter-example`: exponents read with a bias of 8, kg/L called mg/dL), the
//! vector holds the right one, and so do we; those are named at the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use vitals::{Disposition, Reason, Status};
use wire::{
    gatt::{
        self, Frame, FrameError, blood_pressure, cgm, context,
        datetime::{Shown, Stamp},
        glucose,
        sfloat::Sfloat,
    },
    topic::Characteristic,
};

/// Relative to the crate: the shared material lies beside the project.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/gatt.json");

fn vectors() -> Option<Value> {
    let Ok(text) = std::fs::read_to_string(FILE) else {
        eprintln!("skipped: the shared vectors are not at {FILE}");
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

fn octets(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

fn number(s: Sfloat) -> Value {
    match s {
        Sfloat::NotANumber => json!("NaN"),
        Sfloat::NotAtThisResolution => json!("NRes"),
        Sfloat::PlusInfinity => json!("+INF"),
        Sfloat::MinusInfinity => json!("-INF"),
        Sfloat::Reserved => json!("RFU"),
        Sfloat::Number { .. } => json!(s.decimal(0).unwrap().value()),
    }
}

fn stamp(s: Stamp) -> Value {
    let known = |n: u16| if n == 0 { Value::Null } else { json!(n) };
    json!({
        "year": known(s.year), "month": known(s.month.into()), "day": known(s.day.into()),
        "hour": s.hour, "minute": s.minute, "second": s.second, "valid": matches!(s.shown(), Shown::Wall(_)),
    })
}

fn pressure(m: &blood_pressure::Measurement) -> Value {
    let range = |w: blood_pressure::Word| match w.pulse_range() {
        blood_pressure::PulseRange::Within => "within",
        blood_pressure::PulseRange::Above => "above",
        blood_pressure::PulseRange::Below => "below",
        blood_pressure::PulseRange::Reserved => "reserved",
    };
    let word = |w: blood_pressure::Word| {
        json!({
            "raw": w.0, "bodyMovement": w.body_movement(), "cuffTooLoose": w.cuff_loose(),
            "irregularPulse": w.irregular_pulse(), "pulseRange": range(w), "improperPosition": w.improper_position(),
        })
    };
    json!({
        "unit": if m.kilopascal { "kPa" } else { "mmHg" }, "systolic": number(m.systolic),
        "diastolic": number(m.diastolic), "map": number(m.mean), "timestamp": m.stamp.map(stamp),
        "pulse": m.pulse.map(number), "userId": m.user, "status": m.status.map(word),
        "reservedFlagBits": m.reserved, "trailingBytes": m.trailing,
    })
}

fn enhanced(m: &blood_pressure::Enhanced) -> Value {
    let mut all = pressure(&m.measurement);
    let members = all.as_object_mut().unwrap();
    members.remove("timestamp");
    members.remove("reservedFlagBits");
    members.insert("epochYear".into(), json!(m.epoch));
    members.insert("timestampSeconds".into(), json!(m.seconds));
    members.insert("userFacingSeconds".into(), json!(m.shown_seconds));
    all
}

fn glucose_value(m: &glucose::Measurement) -> Value {
    const WORDS: [&str; 12] = [
        "deviceBatteryLow",
        "sensorMalfunction",
        "sampleSizeInsufficient",
        "stripInsertionError",
        "stripTypeIncorrect",
        "resultTooHigh",
        "resultTooLow",
        "sensorTempTooHigh",
        "sensorTempTooLow",
        "readInterrupted",
        "generalDeviceFault",
        "timeFault",
    ];
    const FLUIDS: [&str; 11] = [
        "reserved",
        "capillaryWholeBlood",
        "capillaryPlasma",
        "venousWholeBlood",
        "venousPlasma",
        "arterialWholeBlood",
        "arterialPlasma",
        "undeterminedWholeBlood",
        "undeterminedPlasma",
        "interstitialFluid",
        "controlSolution",
    ];
    let location = |n: u8| match n {
        1 => "finger",
        2 => "alternateSite",
        3 => "earlobe",
        4 => "controlSolution",
        5 => "subcutaneousTissue",
        15 => "notAvailable",
        _ => "reserved",
    };
    let words = |w: glucose::Word| -> Vec<&str> {
        WORDS.iter().enumerate().filter(|(i, _)| w.bit(u16::try_from(*i).unwrap())).map(|(_, w)| *w).collect()
    };
    json!({
        "sequence": m.sequence, "baseTime": stamp(m.base), "timeOffsetMin": m.offset,
        "concentration": m.sample.map(|s| number(s.concentration)),
        "unit": m.sample.map(|_| if m.mole { "mol/L" } else { "kg/L" }),
        "type": m.sample.map(|s| FLUIDS.get(usize::from(s.fluid)).copied().unwrap_or("reserved")),
        "location": m.sample.map(|s| location(s.location)),
        "status": m.status.map(|w| json!({"raw": w.0, "set": words(w)})),
        "contextFollows": m.context_follows, "trailingBytes": m.trailing,
    })
}

fn context_value(c: &context::Context) -> Value {
    let name = |names: &[&str], n: u8| match names.get(usize::from(n)) {
        Some(name) if !name.is_empty() => (*name).to_owned(),
        _ => format!("reserved:{n}"),
    };
    let carbohydrates = ["", "breakfast", "lunch", "dinner", "snack", "drink", "supper", "brunch"];
    let meals = ["", "preprandial", "postprandial", "fasting", "casual", "bedtime"];
    let testers = ["", "self", "healthCareProfessional", "labTest"];
    let health = ["", "minorIssues", "majorIssues", "duringMenses", "underStress", "noIssues"];
    let insulins =
        ["", "rapidActingInsulin", "shortActingInsulin", "intermediateActingInsulin", "longActingInsulin", "preMixed"];
    json!({
        "sequence": c.sequence, "extendedFlags": c.extended,
        "carbohydrateId": c.carbohydrate.map(|(id, _)| name(&carbohydrates, id)),
        "carbohydrateKg": c.carbohydrate.map(|(_, kg)| number(kg)),
        "meal": c.meal.map(|m| name(&meals, m)), "tester": c.tester.map(|t| name(&testers, t)),
        "health": c.health.map(|h| name(&health, h)),
        "exerciseSeconds": c.exercise.map(|(s, _)| s), "exerciseIntensityPct": c.exercise.map(|(_, i)| i),
        "medicationId": c.medication.map(|(id, ..)| name(&insulins, id)),
        "medication": c.medication.map(|(_, dose, _)| number(dose)),
        "medicationUnit": c.medication.map(|(.., litre)| if litre { "L" } else { "kg" }),
        "hba1cPct": c.hba1c.map(number), "trailingBytes": c.trailing,
    })
}

fn records(all: &[cgm::Record]) -> Value {
    let word = |names: &'static [&'static str]| {
        move |n: u8| {
            let set: Vec<&str> = names.iter().enumerate().filter(|(i, _)| n >> i & 1 != 0).map(|(_, w)| *w).collect();
            json!({"raw": n, "set": set})
        }
    };
    let status = word(&[
        "sessionStopped",
        "deviceBatteryLow",
        "sensorTypeIncorrect",
        "sensorMalfunction",
        "deviceAlert",
        "generalFault",
    ]);
    let calibration = word(&[
        "timeSyncRequired",
        "calibrationNotAllowed",
        "calibrationRecommended",
        "calibrationRequired",
        "sensorTempTooHigh",
        "sensorTempTooLow",
    ]);
    let warning = word(&[
        "belowPatientLow",
        "abovePatientHigh",
        "belowHypo",
        "aboveHyper",
        "fallingFast",
        "risingFast",
        "belowRange",
        "aboveRange",
    ]);
    let one = |r: &cgm::Record| {
        json!({
            "glucoseMgDl": number(r.glucose), "timeOffsetMin": r.offset, "status": r.status.map(&status),
            "calTemp": r.calibration.map(&calibration), "warning": r.warning.map(&warning),
            "trendMgDlMin": r.trend.map(number), "qualityPct": r.quality.map(number),
            "crc": r.crc.map(|(sent, computed)| json!({"onWire": sent, "computed": computed, "ok": sent == computed})),
        })
    };
    json!({"records": all.iter().map(one).collect::<Vec<_>>()})
}

fn decoded(char: &str, octets: &[u8]) -> Option<Result<Value, FrameError>> {
    Some(match char {
        "2A35" => blood_pressure::decode(octets).map(|m| pressure(&m)),
        "2B34" => blood_pressure::decode_enhanced(octets).map(|m| enhanced(&m)),
        "2A18" => glucose::decode(octets).map(|m| glucose_value(&m)),
        "2A34" => context::decode(octets).map(|c| context_value(&c)),
        "2AA7" => cgm::decode(octets).map(|r| records(&r)),
        _ => return None, // features, control point, cuff pressure: no topic brings them
    })
}

/// Numbers are equal as quantities: 127 and 127.0 are one.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

#[test]
fn every_vector_is_decoded_as_it_says() {
    let Some(file) = vectors() else { return };
    let (mut seen, mut wrong) = (0, Vec::new());
    for v in file["vectors"].as_array().unwrap() {
        let Some(found) = decoded(v["char"].as_str().unwrap(), &octets(v["hex"].as_str().unwrap())) else { continue };
        seen += 1;
        let fits = match &found {
            Ok(value) => same(value, &v["expect"]["ok"]),
            Err(FrameError::Truncated) => v["expect"]["error"] == "truncated",
            Err(FrameError::BadSize) => v["expect"]["error"] == "bad_size",
        };
        if !fits {
            wrong.push(format!("{}: {found:?}, expected {}", v["id"], v["expect"]));
        }
    }
    assert_eq!((seen, wrong.join("\n")), (55, String::new()));
}

/// The 16 others are of characteristics that the device protocol gives no topic: a meter's features, cuff pressure while
/// it is pumped up, and the control point, which is a gateway's talk with its meter. None of them is a reading.
#[test]
fn the_vectors_left_out_are_those_that_no_topic_brings() {
    let Some(file) = vectors() else { return };
    let mut left_out = std::collections::BTreeMap::<&str, usize>::new();
    for v in file["vectors"].as_array().unwrap() {
        let char = v["char"].as_str().unwrap();
        if decoded(char, &octets(v["hex"].as_str().unwrap())).is_none() {
            assert_eq!(Characteristic::parse(&char.to_ascii_lowercase()), None, "{char}");
            *left_out.entry(char).or_default() += 1;
        }
    }
    assert_eq!(Vec::from_iter(left_out), [("2A36", 2), ("2A49", 3), ("2A51", 2), ("2A52", 9)]);
}

#[test]
fn every_sfloat_has_its_value_and_its_digits() {
    let Some(file) = vectors() else { return };
    for v in file["sfloat"].as_array().unwrap() {
        let raw = u16::from_str_radix(v["raw"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        let found = Sfloat::from_raw(raw);
        assert!(same(&number(found), &v["value"]), "{v}");
        let places = found.decimal(0).map(|d| d.to_string().split_once('.').map_or(0, |(_, f)| f.len()));
        assert_eq!(json!(places), v["decimals"], "{v}");
    }
}

/// What the vectors suggest to do with a frame, in our words. Whatever a plausibility limit decides is not the decoder's.
#[test]
fn what_is_suggested_of_a_frame_is_what_its_item_says() {
    let Some(file) = vectors() else { return };
    for v in file["vectors"].as_array().unwrap() {
        let char = v["char"].as_str().unwrap().to_ascii_lowercase();
        let (Some(char), Some(suggested)) = (Characteristic::parse(&char), v["suggest"]["reasons"].as_array()) else {
            continue;
        };
        let reasons: Vec<&str> = suggested.iter().map(|r| r.as_str().unwrap()).collect();
        let has = |word: &str| reasons.contains(&word);
        let octets = Bytes::from(octets(v["hex"].as_str().unwrap()));
        let item = match gatt::decode(char, &octets) {
            Frame::Readings(items) => items.into_iter().next().unwrap(),
            Frame::Unreadable(reason) => {
                assert!(reason == Reason::Truncated && v["expect"]["error"].is_string(), "{v}");
                continue;
            }
            Frame::Context(_) => continue,
        };
        let held = |reason: Reason| item.faults.contains(&reason);
        assert_eq!(held(Reason::TrailingBytes), has("trailing_bytes"), "{v}");
        assert_eq!(item.statuses.contains(Status::ControlSolution), has("control_solution"), "{v}");
        for (word, status) in [
            ("bodyMovement", Status::BodyMovement),
            ("cuffTooLoose", Status::CuffLoose),
            ("irregularPulse", Status::IrregularPulse),
            ("improperPosition", Status::ImproperPosition),
            ("pulseRange:above", Status::PulseTooHigh),
            ("pulseRange:below", Status::PulseTooLow),
            ("sampleSizeInsufficient", Status::SampleInsufficient),
            ("sensorMalfunction", Status::SensorMalfunction),
            ("sensorTempTooLow", Status::TemperatureLow),
            ("sensorTempTooHigh", Status::TemperatureHigh),
            ("deviceBatteryLow", Status::LowBattery),
            ("readInterrupted", Status::ReadInterrupted),
            ("generalDeviceFault", Status::GeneralFault),
            ("stripTypeIncorrect", Status::StripError),
        ] {
            assert!(item.statuses.contains(status) || !has(word), "{word}: {v}");
        }
        let no_value = has("value_special") || has("no_value");
        // pub-039 carries a LO without a number: a result, held for the faults beside it.
        assert_eq!(held(Reason::NoValue), no_value, "{v}");
        if v["suggest"]["disposition"] == "accept" {
            assert!(item.faults.is_empty() && item.measured.is_some() && item.statuses.is_empty(), "{v}");
        }
        let _ = Disposition::Stored;
    }
}

/// The two whose published expectation is wrong: the source reads exponents with a bias of 8 (0x8078 as 120), and says
/// mg/dL where the flags say kg/L. Read rightly they are 1.2e-6, far from anything a person has, and are held.
#[test]
fn the_counter_examples_are_read_by_the_standard() {
    let Some(file) = vectors() else { return };
    let all = file["vectors"].as_array().unwrap();
    let named: Vec<&str> =
        all.iter().filter(|v| v["origin"] == "counter-example").map(|v| v["id"].as_str().unwrap()).collect();
    assert_eq!(named, ["pub-022", "pub-041"], "each counter-example is named here");
    for id in named {
        let v = all.iter().find(|v| v["id"] == id).unwrap();
        if let Some(Ok(value)) = decoded(v["char"].as_str().unwrap(), &octets(v["hex"].as_str().unwrap())) {
            assert!(same(&value, &v["expect"]["ok"]), "{id}");
        }
    }
    assert_eq!(Sfloat::from_raw(0x8078).decimal(0).unwrap().to_string(), "0.00000120");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn nothing_makes_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..80), which in 0..5_usize) {
        let char = ["2a35", "2a18", "2a34", "2aa7", "2b34"][which];
        let bytes = Bytes::from(octets);
        match gatt::decode(Characteristic::parse(char).unwrap(), &bytes) {
            Frame::Readings(items) => {
                prop_assert!(!items.is_empty());
                for item in items {
                    prop_assert!(item.measured.is_some() || !item.faults.is_empty());
                    prop_assert!(serde_json::from_str::<Value>(item.context.extra.as_deref().unwrap()).is_ok());
                }
            }
            Frame::Context(joining) => prop_assert!((0..=65_535).contains(&joining.seq)),
            Frame::Unreadable(_) => {}
        }
    }

    /// Cutting a valid frame anywhere is `truncated`, never another reading.
    #[test]
    fn a_frame_that_was_cut_is_held(cut in 1..19_usize) {
        let whole = octets("1e8a0058006800ea070301070b283e00010400");
        let bytes = Bytes::copy_from_slice(&whole[..cut]);
        let cut = gatt::decode(Characteristic::BloodPressure2a35, &bytes);
        prop_assert!(matches!(cut, Frame::Unreadable(Reason::Truncated)));
    }
}
