//! Given these adapters and these payloads, these readings or reasons come out; a faulty adapter is refused by name.

use super::*;
use serde_json::{Value, json};
use vitals::{Meal, Statuses};

fn shipped(name: &str) -> Adapter {
    let text = match name {
        "thingsboard" => include_str!("../../../../config/adapters/thingsboard.toml"),
        "ble-gateway" => include_str!("../../../../config/adapters/ble-gateway.toml"),
        _ => include_str!("../../../../config/adapters/cn-push.toml"),
    };
    Adapter::parse(name, text).unwrap()
}

fn read(adapter: &Adapter, payload: &Value) -> Vec<Item> {
    adapter.decode(&Bytes::from(payload.to_string())).unwrap().items
}

/// `138/88 p72 mmHg`, `6.20 mmol/L`, or the faults.
fn told(item: &Item) -> String {
    if let [first, ..] = &item.faults[..] {
        return first.as_str().to_owned();
    }
    match item.measured.as_ref() {
        Some((Values::Pressure { systolic, diastolic, pulse, .. }, unit)) => {
            let pulse = pulse.map(|p| format!(" p{p}")).unwrap_or_default();
            format!("{systolic}/{diastolic}{pulse} {}", unit.as_str())
        }
        Some((Values::Glucose(GlucoseValue::Value(v)), unit)) => format!("{v} {}", unit.as_str()),
        Some((Values::Glucose(other), unit)) => format!("{other:?} {}", unit.as_str()),
        None => String::new(),
    }
}

fn all(adapter: &Adapter, payload: &Value) -> Vec<String> {
    read(adapter, payload).iter().map(told).collect()
}

#[test]
fn thingsboards_three_shapes() {
    let adapter = shipped("thingsboard");
    let values = json!({"systolic": 128, "diastolic": "82", "pulse": 70, "seq": 7, "battery": 80});
    let one = read(&adapter, &json!({"ts": 1_772_320_300_512_i64, "values": values}));
    assert_eq!((told(&one[0]).as_str(), one[0].seq), ("128/82 p70 mmHg", Some(7)));
    assert_eq!(one[0].time.as_ref().unwrap().1, SentTime::Moment(Timestamp::from_micros(1_772_320_300_512_000)));
    assert!(one[0].context.extra.as_deref().unwrap().starts_with(r#"{"adapter":"thingsboard 1","vendor":{"values":"#));
    assert_eq!(
        all(&adapter, &json!([{"ts": 1, "values": values}, {"ts": 2, "values": {"glucose": "108", "unit": "mg/dL"}}])),
        ["128/82 p70 mmHg", "108 mg/dL"]
    );
    assert_eq!(all(&adapter, &values), ["128/82 p70 mmHg"], "without an envelope, and without a time");
    assert_eq!(all(&adapter, &json!({"glucose": 6.2})), ["unit_unknown"], "a factor of 18 is not guessed");
    assert_eq!(all(&adapter, &json!({"glucose": "HI", "unit": "mmol/L"})), ["High mmol/L"]);
    assert_eq!(all(&adapter, &json!({"systolic": 128, "diastolic": 82, "unit": "cmHg"})), ["unit_unknown"]);
    assert_eq!(all(&adapter, &json!({"temperature": 36.6})), ["kind_unknown"]);
    assert_eq!(all(&adapter, &json!([])), [""; 0]);
}

#[test]
fn the_gateways_examples_from_its_documents() {
    let adapter = shipped("ble-gateway");
    let report = |attribute: &str, value: Value| {
        json!({"from": "BLE", "time": 1_836_942_771, "type": "reportAttribute",
        "data": {"attribute": attribute, "value": value}})
    };
    let cuff = report(
        "BP_BIOLIGTH",
        json!({"device_list": [{"scan_time": 1_836_942_771, "ble_addr": "d6", "bp_high": 137, "bp_low": 95, "PR": 74}]}),
    );
    assert_eq!(all(&adapter, &cuff), ["137/95 p74 mmHg"]);
    let sugar = |model: &str| {
        report(
            model,
            json!({"device_list": [{"scan_time": 1_841_875_953, "blood_glucose": "108", "marker": "After Meal"}]}),
        )
    };
    let item = &read(&adapter, &sugar("Contour_Elite"))[0];
    assert_eq!((told(item).as_str(), item.context.meal), ("108 mg/dL", Some(Meal::AfterMeal)));
    assert_eq!(all(&adapter, &sugar("Another")), ["unit_unknown"]);
    // The kiosk's own form names a person: nothing of it is kept.
    let kiosk = json!({"from": "PI", "time": 1_739_360_702, "citiz": "1100000000000", "nameTH": "X Y", "gender": "1",
        "data": {"attribute": "WBP_JUMPER", "value": {"bp_high": 120, "bp_low": 78, "pr": 71}}});
    let item = &read(&adapter, &kiosk)[0];
    assert_eq!(told(item), "120/78 p71 mmHg");
    assert_eq!(
        item.time.as_ref().unwrap().1,
        SentTime::Moment(Timestamp::from_seconds(1_739_360_702)),
        "the message's time"
    );
    let kept = String::from_utf8(item.raw.to_vec()).unwrap();
    assert!(!kept.contains("1100000000000") && !kept.contains("X Y") && kept.contains("WBP_JUMPER"));
}

#[test]
fn the_push_forms_hundredths_sentinels_codes_and_wall_clock() {
    let adapter = shipped("cn-push");
    let item = &read(
        &adapter,
        &json!({"HP": 138, "LP": 88, "HR": 72, "time": "2026-03-01 07:11:40", "user": 1, "ihb": 1, "err": 0}),
    )[0];
    assert_eq!((told(item).as_str(), item.user_slot), ("138/88 p72 mmHg", Some(1)));
    assert_eq!(item.statuses, Statuses::from_iter([Status::IrregularPulse]));
    assert_eq!(item.time.as_ref().unwrap().1, SentTime::Wall(jiff::civil::date(2026, 3, 1).at(7, 11, 40, 0)));
    let sugar = |glu: Value, unit: Value| {
        all(&adapter, &json!({"glu": glu, "unit": unit, "time": "2026-03-01 07:12:00"})).join(",")
    };
    assert_eq!(sugar(json!(620), json!(1)), "6.20 mmol/L");
    assert_eq!(sugar(json!("112"), json!("2")), "112 mg/dL");
    assert_eq!(sugar(json!(620), json!(3)), "unit_unknown");
    assert_eq!(sugar(json!(65535), json!(1)), "no_value");
    assert_eq!(sugar(json!("Hi"), json!(1)), "High mmol/L");
    assert_eq!(all(&adapter, &json!({"HP": 138, "LP": 65535, "time": "2026-03-01 07:12:00"})), ["no_value"]);
    assert_eq!(all(&adapter, &json!({"HP": 138, "LP": 88, "HR": 65535})), ["138/88 mmHg"], "no pulse is no fault");
    assert_eq!(
        read(&adapter, &json!({"HP": 1, "LP": 2, "err": 3}))[0].statuses,
        Statuses::from_iter([Status::GeneralFault])
    );
    assert_eq!(all(&adapter, &json!({"HP": 138, "LP": 88, "time": "1 March"})), ["time_invalid"]);
    assert!(read(&adapter, &json!({"HP": 138, "LP": 88, "time": "--"}))[0].time.is_none());
    assert_eq!(all(&adapter, &json!({"HP": 138, "LP": 88, "seq": "x"})), ["seq_invalid"]);
    assert_eq!(all(&adapter, &json!({"HP": 138, "hp": 140, "LP": 88})), ["138/88 mmHg"], "its exact name comes first");
    assert_eq!(all(&adapter, &json!({"Hp": 138, "hP": 140, "LP": 88})), ["no_value"], "nobody knows which is meant");
}

#[test]
fn one_of_several_is_held_with_all_it_needs_to_be_read_again() {
    let adapter = shipped("ble-gateway");
    let both = json!({"time": 1_739_360_702, "data": {"attribute": "Contour_Elite", "value": {"device_list": [
        {"blood_glucose": "108", "citiz": "11"}, {"bp_high": 120, "bp_low": 78, "blood_glucose": 99}, {"weight": 70}]}}});
    let items = read(&adapter, &both);
    assert_eq!(items.iter().map(told).collect::<Vec<_>>(), ["108 mg/dL", "120/78 mmHg", "99 mg/dL", "kind_unknown"]);
    for item in &items {
        assert!(!String::from_utf8_lossy(&item.raw).contains("citiz"));
        let again = adapter.decode(&item.raw).unwrap().items;
        assert_eq!(again.iter().map(told).collect::<Vec<_>>(), [told(item)]);
        assert_eq!((&again[0].time, &again[0].raw), (&item.time, &item.raw));
    }
    assert_eq!((items[1].seq, items[1].raw == items[2].raw), (None, false), "two readings of one element are two");
}

#[test]
fn a_whole_that_is_none() {
    let adapter = shipped("ble-gateway");
    for (payload, reason) in [
        (&b"\x1e\x8a"[..], Reason::BrokenMessage),
        (b"{", Reason::BrokenMessage),
        (b"{\"data\":1,\"data\":2}", Reason::BrokenMessage),
        (b"{\"type\":\"heartbeat\"}", Reason::KindUnknown),
        (b"7", Reason::KindUnknown),
    ] {
        assert_eq!(adapter.decode(&Bytes::from_static(payload)).unwrap_err().reason, reason, "{payload:?}");
    }
    let crowd = json!({"data": {"value": {"device_list": vec![json!({"bp_high": 1, "bp_low": 2}); 201]}}});
    assert_eq!(adapter.decode(&Bytes::from(crowd.to_string())).unwrap_err().reason, Reason::BrokenMessage);
}

#[test]
fn a_file_with_a_fault_is_told_where() {
    let good = "profile = \"x\"\nversion = 1\ntitle = \"X\"\n[time]\nnames = [\"t\"]\nform = \"epoch_s\"\n[[blood_glucose]]\nunit = \"mmol/L\"\nglucose = [\"g\"]\n";
    assert_eq!(Adapter::parse("x.toml", good).unwrap().profile(), "x");
    for (change, to, line, word) in [
        ("version = 1", "version = 0", 2, "begin with 1"),
        ("profile = \"x\"", "profile = \"a/b\"", 1, "A-Z"),
        ("title = \"X\"", "titel = \"X\"", 3, "titel"),
        ("epoch_s", "epoch", 6, "epoch"),
        ("form = \"epoch_s\"", "form = \"wall\"", 4, "pattern"),
        ("form = \"epoch_s\"", "form = \"wall\"\npattern = \"%H:%M\"", 4, "pattern"),
        ("\"mmol/L\"", "\"mmHg\"", 8, "blood_glucose"),
        ("[\"g\"]", "[\"a..b\"]", 9, "no path"),
        ("glucose = [\"g\"]", "", 7, "glucose"),
        ("[[blood_glucose]]\nunit = \"mmol/L\"\nglucose = [\"g\"]", "", 1, "reads nothing"),
        ("[time]", "[meal]\nnames = [\"m\"]\nwords = { \"1\" = \"brunch\" }\n[time]", 6, "fasting"),
    ] {
        let text = good.replacen(change, to, 1);
        assert_ne!(text, good, "{change}");
        let fault = Adapter::parse("x.toml", &text).unwrap_err();
        assert!(fault.line == line && fault.reason.contains(word), "{to:?}: {fault}");
    }
}

proptest::proptest! {
    /// Whatever is done to a message, it is read or it is a fault.
    #[test]
    fn no_mutation_panics(at in 0_usize..400, with in proptest::collection::vec(0_u8..=255, 0..6), which in 0..3_usize) {
        let adapter = shipped(["thingsboard", "ble-gateway", "cn-push"][which]);
        let mut bytes = json!([{"ts": 1, "time": "2026-03-01 07:12:00", "values": {"systolic": 1, "diastolic": 2}}, {"HP": 1, "LP": 2, "glu": 620, "unit": 1,
            "data": {"value": {"device_list": [{"bp_high": 137, "bp_low": 95}]}}}]).to_string().into_bytes();
        let at = at % bytes.len();
        bytes.splice(at..(at + with.len()).min(bytes.len()), with);
        if let Ok(message) = adapter.decode(&Bytes::from(bytes)) {
            for item in message.items {
                proptest::prop_assert!(adapter.decode(&item.raw).is_ok());
            }
        }
    }
}
