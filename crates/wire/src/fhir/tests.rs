//! Given these Observations and Bundles, these readings or reasons come out, and nothing is guessed.

use super::*;
use serde_json::{Value, json};
use vitals::{Meal, Status, Unit};

fn quantity(value: &Value, code: &str) -> Value {
    json!({"value": value, "system": "http://unitsofmeasure.org", "code": code, "unit": "shown"})
}

fn part(loinc: &str, value: &Value, code: &str) -> Value {
    json!({"code": {"coding": [{"system": "http://loinc.org", "code": loinc}]}, "valueQuantity": quantity(value, code)})
}

fn panel() -> Value {
    json!({
        "resourceType": "Observation", "id": "o-1", "status": "final",
        "identifier": [{"system": "urn:hearthbeat:seq", "value": "4711"}, {"system": "urn:x", "value": "9"}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}, {"system": "http://snomed.info/sct", "code": "75367002"}]},
        "subject": {"reference": "Patient/somebody-else", "display": "Wang Fang"},
        "effectiveDateTime": "2026-03-01T07:11:40+08:00",
        "component": [part("8480-6", &json!(138), "mm[Hg]"), part("8462-4", &json!(88), "mm[Hg]"),
                      part("8478-0", &json!(104), "mm[Hg]"), part("8867-4", &json!(62), "/min")],
    })
}

fn sugar(loinc: &str, value: &Value, unit: &str) -> Value {
    json!({
        "resourceType": "Observation", "status": "final", "effectiveInstant": "2026-03-01T07:12:00+08:00",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]}, "valueQuantity": quantity(value, unit),
    })
}

fn with(mut whole: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = whole.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
        other => other[name] = value,
    }
    whole
}

fn without(mut whole: Value, name: &str) -> Value {
    whole.as_object_mut().unwrap().remove(name).unwrap();
    whole
}

fn read(observation: &Value) -> Item {
    let mut message = decode(&Bytes::from(observation.to_string())).unwrap();
    assert_eq!(message.items.len(), 1);
    message.items.remove(0)
}

fn faults(observation: &Value) -> Vec<&'static str> {
    read(observation).faults.iter().map(|r| r.as_str()).collect()
}

fn glucose(observation: &Value) -> String {
    let item = read(observation);
    match item.measured {
        Some((Values::Glucose(value), unit)) => match value {
            vitals::GlucoseValue::Value(n) => format!("{n} {}", unit.as_str()),
            other => format!("{other:?} {}", unit.as_str()),
        },
        _ => format!("{:?}", item.faults),
    }
}

#[test]
fn a_panel_is_a_reading_of_whoever_wears_the_device() {
    let item = read(&panel());
    assert_eq!((item.faults.len(), item.seq, item.device.is_some()), (0, Some(4711), false));
    let number = |t: &str| t.parse().unwrap();
    let values = Values::Pressure {
        systolic: number("138"),
        diastolic: number("88"),
        map: Some(number("104")),
        pulse: Some(number("62")),
    };
    assert_eq!(item.measured, Some((values, Unit::MmHg)));
    assert_eq!(&*item.time.as_ref().unwrap().0.0, "2026-03-01T07:11:40+08:00");
    let extra = item.context.extra.unwrap();
    assert!(!extra.contains("Wang Fang") && !extra.contains("somebody"), "the subject is nobody's word");
    assert_eq!(decode(&Bytes::from(panel().to_string())).unwrap().id.as_deref(), Some("o-1"));
}

#[test]
fn every_glucose_code_says_its_specimen_and_nothing_more() {
    for (code, unit, specimen, meal) in [
        ("14743-9", "mmol/L", Some("capillary"), None),
        ("41653-7", "mg/dL", Some("capillary"), None),
        ("14770-2", "mmol/L", Some("capillary"), Some(Meal::Fasting)),
        ("15074-8", "mmol/L", None, None),
        ("2345-7", "mg/dL", Some("plasma"), None),
        ("14771-0", "mmol/L", Some("plasma"), Some(Meal::Fasting)),
        ("77145-1", "mmol/L", None, Some(Meal::Fasting)),
        ("88365-2", "mg/dL", None, Some(Meal::BeforeMeal)),
        ("99504-3", "mg/dL", Some("interstitial"), None),
    ] {
        let value = if unit == "mg/dL" { json!(112) } else { json!(6.2) };
        let item = read(&sugar(code, &value, unit));
        assert_eq!(item.faults, [], "{code}");
        assert_eq!((item.context.specimen.as_deref(), item.context.meal), (specimen, meal), "{code}");
        let other = if unit == "mg/dL" { "mmol/L" } else { "mg/dL" };
        assert_eq!(faults(&sugar(code, &value, other)), ["unit_unknown"], "{code}: a mole is no mass");
    }
    assert_eq!(faults(&sugar("4548-4", &json!(6.2), "%")), ["kind_unknown"], "HbA1c is no meter's glucose");
    let mdc = json!({"coding": [{"system": "urn:iso:std:iso:11073:10101", "code": "160208"}]});
    assert!(
        read(&with(sugar("14743-9", &json!(6.2), "mmol/L"), "/code", mdc)).statuses.contains(Status::ControlSolution)
    );
}

#[test]
fn beyond_the_range_is_said_in_four_ways_and_never_concluded_from_a_bound_in_the_middle() {
    let bound = |value: Value, unit, comparator: &str| {
        let code = if unit == "mmol/L" { "14743-9" } else { "41653-7" };
        glucose(&with(sugar(code, &value, unit), "/valueQuantity/comparator", json!(comparator)))
    };
    assert_eq!(bound(json!(33.3), "mmol/L", ">"), "High mmol/L");
    assert_eq!(bound(json!(600), "mg/dL", ">="), "High mg/dL");
    assert_eq!(bound(json!(1.1), "mmol/L", "<"), "Low mmol/L");
    assert_eq!(bound(json!(5.5), "mmol/L", "<"), "[NoValue]");
    assert_eq!(bound(json!(5.5), "mmol/L", ">"), "[NoValue]");
    assert_eq!(bound(json!(33.3), "mmol/L", "ad"), "[NoValue]");
    let absent = |code: &str, reason: &str| {
        let reason =
            json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": reason}]});
        let empty = without(sugar(code, &json!(1), "mmol/L"), "valueQuantity");
        glucose(&with(empty, "/dataAbsentReason", reason))
    };
    assert_eq!(absent("14743-9", "positive-infinity"), "High mmol/L");
    assert_eq!(absent("41653-7", "negative-infinity"), "Low mg/dL");
    assert_eq!(absent("14743-9", "not-a-number"), "[NoValue]");
    let off = |code: &str, value| {
        let said = json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": code}]}]);
        glucose(&with(sugar("14743-9", &value, "mmol/L"), "/interpretation", said))
    };
    assert_eq!(off(">", json!(33.3)), "High mmol/L");
    assert_eq!(off("H", json!(12.3)), "12.3 mmol/L", "high is a judgement, not a range");
}

#[test]
fn every_fault_has_the_contracts_word() {
    let p = "/component/0/valueQuantity";
    for (what, observation, expected) in [
        ("mmHg is no UCUM code", with(panel(), &format!("{p}/code"), json!("mmHg")), "unit_unknown"),
        ("another system", with(panel(), &format!("{p}/system"), json!("urn:x")), "unit_unknown"),
        ("two units in a panel", with(panel(), &format!("{p}/code"), json!("kPa")), "unit_unknown"),
        ("a number as text", with(panel(), &format!("{p}/value"), json!("138")), "no_value"),
        ("a bound of a pressure", with(panel(), &format!("{p}/comparator"), json!(">")), "no_value"),
        ("no systolic", with(panel(), "/component/0", json!({"code": {"coding": []}})), "no_value"),
        ("two systolics", with(panel(), "/component/2", panel()["component"][0].clone()), "no_value"),
        ("withdrawn", with(panel(), "/status", json!("entered-in-error")), "no_value"),
        ("not yet", with(panel(), "/status", json!("preliminary")), "no_value"),
        ("no status", without(panel(), "status"), "broken_message"),
        ("another code", with(panel(), "/code", json!({"text": "blood pressure"})), "kind_unknown"),
        ("a part alone", with(panel(), "/code/coding/0/code", json!("8480-6")), "kind_unknown"),
        ("another meaning", with(panel(), "/modifierExtension", json!([{"url": "urn:x"}])), "kind_unknown"),
        ("a day", with(panel(), "/effectiveDateTime", json!("2026-03-01")), "time_invalid"),
        ("no such day", with(panel(), "/effectiveDateTime", json!("2026-02-30T07:00:00Z")), "time_invalid"),
        ("two times", with(panel(), "/effectiveInstant", json!("2026-03-01T07:00:00Z")), "time_invalid"),
        ("a stretch", with(without(panel(), "effectiveDateTime"), "/effectivePeriod", json!({})), "time_invalid"),
        ("a number that is none", with(panel(), "/identifier/0/value", json!("47x")), "seq_invalid"),
    ] {
        assert_eq!(faults(&observation), [expected], "{what}");
    }
    let nothing = without(panel(), "effectiveDateTime");
    assert_eq!((faults(&nothing).len(), read(&nothing).time.is_none()), (0, true), "no time is an unset clock");
    for (payload, reason) in [
        (&b"{\"resourceType\":\"Observation\""[..], Reason::BrokenMessage),
        (b"", Reason::BrokenMessage),
        (b"[]", Reason::BrokenMessage),
        (b"\xff", Reason::BrokenMessage),
        (b"{\"resourceType\":\"Observation\",\"resourceType\":\"Bundle\"}", Reason::BrokenMessage),
        (b"{\"resourceType\":\"Patient\"}", Reason::KindUnknown),
        (b"{}", Reason::KindUnknown),
        (b"{\"resourceType\":\"Bundle\",\"entry\":{}}", Reason::BrokenMessage),
    ] {
        assert_eq!(decode(&Bytes::from_static(payload)).unwrap_err().reason, reason, "{payload:?}");
    }
    let crowd = json!({"resourceType": "Bundle", "entry": vec![json!({"resource": {}}); 201]});
    assert_eq!(decode(&Bytes::from(crowd.to_string())).unwrap_err().reason, Reason::BrokenMessage);
}

#[test]
fn a_bundle_is_its_observations_and_a_pulse_finds_the_pressure_that_it_names() {
    let pulse = |link: Value| {
        json!({"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "valueQuantity": quantity(&json!(71), "{beats}/min"), "derivedFrom": link})
    };
    let mut plain = panel();
    plain["component"].as_array_mut().unwrap().truncate(2);
    let bundle = |entries: &[Value]| {
        let entries: Vec<Value> = entries
            .iter()
            .map(|r| json!({"fullUrl": r["id"].as_str().map(|i| format!("urn:x:{i}")), "resource": r}))
            .collect();
        Bytes::from(json!({"resourceType": "Bundle", "type": "transaction", "id": "b-1", "entry": entries}).to_string())
    };
    let linked = [plain.clone(), sugar("14743-9", &json!(6.2), "mmol/L"), pulse(json!([{"reference": "urn:x:o-1"}]))];
    let message = decode(&bundle(&linked)).unwrap();
    assert_eq!((message.id.as_deref(), message.items.len()), (Some("b-1"), 2));
    let beats = |item: &Item| match &item.measured {
        Some((Values::Pressure { pulse, .. }, _)) => pulse.map(|p| p.to_string()),
        _ => None,
    };
    assert_eq!(beats(&message.items[0]).as_deref(), Some("71"));
    // Held and tried again, it is the same reading with the same bytes.
    let again = decode(&message.items[0].raw).unwrap();
    assert_eq!((again.items.len(), beats(&again.items[0]).as_deref()), (1, Some("71")));
    assert_eq!(again.items[0].raw, message.items[0].raw);
    // A pulse that names nobody, a resource of another kind and an entry without one are held, each alone.
    let strangers = [plain.clone(), pulse(json!([])), json!({"resourceType": "Patient"}), Value::Null];
    let message = decode(&bundle(&strangers)).unwrap();
    let found: Vec<_> = message.items.iter().map(|i| i.faults.clone()).collect();
    assert_eq!(found, [vec![], vec![Reason::KindUnknown], vec![Reason::KindUnknown], vec![Reason::BrokenMessage]]);
    assert_eq!(beats(&message.items[0]), None, "nothing is guessed from standing side by side");
    // Two that disagree are both wrong until somebody looks.
    let message = decode(&bundle(&[panel(), pulse(json!([{"reference": "Observation/o-1"}]))])).unwrap();
    assert_eq!(message.items[0].faults, [Reason::DecodeMismatch]);
}

#[test]
fn the_meters_words_the_meal_the_slot_and_the_token_come_along() {
    let word = |code: &str, said: &str| {
        json!({"code": {"coding": [{"system": "urn:iso:std:iso:11073:10101", "code": code}]},
            "valueCodeableConcept": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0136", "code": said}]}})
    };
    let mut shaken = panel();
    shaken["component"].as_array_mut().unwrap().extend([
        word("8410608.0", "Y"),
        word("8410608.1", "N"),
        word("8410608.2", "Y"),
    ]);
    shaken["extension"] =
        json!([{"url": SLOT_EXTENSION, "valueInteger": 2}, {"url": SESSION_EXTENSION, "valueString": "s3cret"}]);
    let item = read(&shaken);
    assert_eq!(item.statuses.iter().collect::<Vec<_>>(), [Status::BodyMovement, Status::IrregularPulse]);
    assert_eq!((item.user_slot, item.session.as_deref()), (Some(2), Some("s3cret")));
    assert!(!item.context.extra.unwrap().contains("s3cret"), "a token is kept nowhere");
    let mut after = sugar("14743-9", &json!(9.9), "mmol/L");
    after["component"] = json!([{"code": {"coding": [{"system": "urn:iso:std:iso:11073:10101", "code": "8417864"}]},
        "valueCodeableConcept": {"coding": [{"system": "urn:iso:std:iso:11073:10101", "code": "8417872"}]}}]);
    assert_eq!(read(&after).context.meal, Some(Meal::AfterMeal));
}

proptest::proptest! {
    /// Whatever is done to a message, it is read or it is a fault.
    #[test]
    fn no_mutation_panics(at in 0_usize..1500, with in proptest::collection::vec(0_u8..=255, 0..6), cut in 0_usize..1500) {
        let mut bytes = json!({"resourceType": "Bundle", "entry": [{"fullUrl": "urn:x", "resource": panel()}, {"resource": sugar("14743-9", &json!(6.2), "mmol/L")}]}).to_string().into_bytes();
        let at = at % bytes.len();
        bytes.splice(at..(at + with.len()).min(bytes.len()), with);
        bytes.truncate(bytes.len() - cut.min(bytes.len() / 3 * usize::from(cut % 5 == 0)));
        let _ = decode(&Bytes::from(bytes));
    }
}
