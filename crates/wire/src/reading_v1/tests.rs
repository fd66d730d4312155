//! Messages as devices send them, good and bad.

use super::*;
use vitals::{GlucoseValue, Meal, Status};

fn read(text: &str) -> Message {
    decode(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn one(item: &str) -> Item {
    read(&format!(r#"{{"v":1,"readings":[{item}]}}"#)).items.remove(0)
}

#[test]
fn the_contracts_example_is_read_whole() {
    let message = read(
        r#"{ "v": 1, "msgId": "0193f6a2-…",
            "clock": { "device": "2026-03-01T07:12:09", "reference": "2026-03-01T07:10:02+08:00" }, "historical": false,
            "readings": [
              { "seq": 4711, "kind": "blood_pressure", "time": "2026-03-01T07:11:40+08:00", "systolic": 138,
                "diastolic": 88, "map": 104, "pulse": 62, "unit": "mmHg", "status": ["irregular_pulse"], "userSlot": 1 },
              { "seq": 4712, "kind": "blood_glucose", "time": "2026-03-01T07:12:00", "glucose": 6.20, "unit": "mmol/L",
                "meal": "fasting", "specimen": "capillary" } ] }"#,
    );
    assert_eq!((message.id.as_deref(), message.historical), (Some("0193f6a2-…"), false));
    assert!(matches!(message.clock, Some(ClockPair { device: SentTime::Wall(_), .. })));
    let [pressure, sugar] = &message.items[..] else { panic!() };
    assert!(pressure.faults.is_empty() && sugar.faults.is_empty());
    assert_eq!((pressure.seq, pressure.user_slot), (Some(4711), Some(1)));
    assert!(pressure.statuses.contains(Status::IrregularPulse));
    let Some((Values::Glucose(GlucoseValue::Value(v)), Unit::MmolPerL)) = &sugar.measured else { panic!() };
    assert_eq!(v.to_string(), "6.20");
    assert_eq!((sugar.context.meal, sugar.context.specimen.as_deref()), (Some(Meal::Fasting), Some("capillary")));
    assert!(sugar.context.extra.is_none());
}

#[test]
fn what_cannot_be_read_as_a_whole_says_why() {
    let many = format!(r#"{{"v":1,"msgId":"m","readings":[{}]}}"#, vec!["1"; 201].join(","));
    for (text, reason) in [
        (&br#"{"v":1,"readings":["#[..], Reason::BrokenMessage),
        (b"", Reason::BrokenMessage),
        (b"\xff\xfe\x00", Reason::BrokenMessage),
        (b"null", Reason::BrokenMessage),
        (br#"{"v":1}"#, Reason::BrokenMessage),
        (br#"{"v":1,"readings":{}}"#, Reason::BrokenMessage),
        (br#"{"v":1,"v":2,"readings":[]}"#, Reason::BrokenMessage),
        (br#"{"v":1,"readings":[]} x"#, Reason::BrokenMessage),
        (br#"{"v":99,"readings":[{"seq":1}]}"#, Reason::VersionUnknown),
        (br#"{"readings":[{"seq":1}]}"#, Reason::VersionUnknown),
        (many.as_bytes(), Reason::BrokenMessage),
    ] {
        let found = decode(&Bytes::copy_from_slice(text)).unwrap_err();
        assert_eq!(found.reason, reason, "{}", String::from_utf8_lossy(text));
    }
    assert_eq!(decode(&Bytes::from(many)).unwrap_err().id.as_deref(), Some("m"));
}

#[test]
fn each_fault_is_named_and_the_rest_is_kept() {
    let good = r#""kind":"blood_pressure","time":"2026-03-01T07:00:00+08:00","systolic":138,"diastolic":88"#;
    for (item, reason) in [
        ("42".to_owned(), Reason::SeqInvalid),
        (format!(r#"{{"seq":"2",{good},"unit":"mmHg"}}"#), Reason::SeqInvalid),
        (format!(r#"{{"seq":-1,{good},"unit":"mmHg"}}"#), Reason::SeqInvalid),
        (format!(r#"{{"seq":-0,{good},"unit":"mmHg"}}"#), Reason::SeqInvalid),
        (format!(r#"{{"seq":1.5,{good},"unit":"mmHg"}}"#), Reason::SeqInvalid),
        (format!(r#"{{"seq":9007199254740992,{good},"unit":"mmHg"}}"#), Reason::SeqInvalid),
        (format!(r#"{{"seq":2,{good}}}"#), Reason::UnitUnknown),
        (format!(r#"{{"seq":2,{good},"unit":"mmol/L"}}"#), Reason::UnitUnknown),
        (r#"{"seq":2,"kind":"horoscope"}"#.to_owned(), Reason::KindUnknown),
        (r#"{"seq":2}"#.to_owned(), Reason::KindUnknown),
        (r#"{"kind":"blood_pressure","systolic":"138","diastolic":88,"unit":"mmHg"}"#.to_owned(), Reason::NoValue),
        (r#"{"kind":"blood_pressure","diastolic":88,"unit":"mmHg"}"#.to_owned(), Reason::NoValue),
        (r#"{"kind":"blood_glucose","glucose":"MID","unit":"mmol/L"}"#.to_owned(), Reason::NoValue),
        (r#"{"kind":"blood_glucose","glucose":1e999,"unit":"mmol/L"}"#.to_owned(), Reason::Implausible),
        (
            r#"{"kind":"blood_glucose","glucose":6,"unit":"mmol/L","time":"2026-02-30T07:00:00Z"}"#.to_owned(),
            Reason::TimeInvalid,
        ),
        (r#"{"kind":"blood_glucose","glucose":6,"unit":"mmol/L","time":1740000000}"#.to_owned(), Reason::TimeInvalid),
        (r#"{"seq":1,"seq":2}"#.to_owned(), Reason::BrokenMessage),
    ] {
        let found = one(&item);
        assert_eq!(found.faults, [reason], "{item}");
        assert_eq!(found.raw, item.as_bytes());
    }
    assert!(one(&format!(r#"{{"seq":9007199254740991,{good},"unit":"mmHg","pulse":null}}"#)).faults.is_empty());
}

#[test]
fn unknown_members_and_odd_words_are_kept_and_never_an_error() {
    let long = "n".repeat(501);
    let item = one(&format!(
        r#"{{"seq":1,"kind":"blood_glucose","glucose":"HI","unit":"mg/dL","meal":"elevenses","status":["low_battery","sleepy"],
            "note":"{long}","raw":{{"char":"2a18","hex":"081300ea070301061e002000"}},"col\"our":"blue","session":"t","userSlot":300}}"#
    ));
    assert!(item.faults.is_empty());
    assert!(item.statuses.contains(Status::LowBattery));
    let extra: serde_json::Value = serde_json::from_str(item.context.extra.as_deref().unwrap()).unwrap();
    assert_eq!(extra["meal"], "elevenses");
    assert_eq!(extra["status"][1], "sleepy");
    assert_eq!(extra["note"].as_str().unwrap().len(), 501);
    assert_eq!((&extra["raw"]["char"], &extra["col\"our"]), (&"2a18".into(), &"blue".into()));
    let message = read(r#"{"v":1,"vendor":{"x":[1,{}]},"readings":[{"seq":1,"a":2},{"seq":2}]}"#);
    assert_eq!(message.items[0].context.extra.as_deref(), Some(r#"{"a":2,"_message":{"vendor":{"x":[1,{}]}}}"#));
    assert_eq!(message.items[1].context.extra, None);
}

#[test]
fn a_frame_beside_the_members_is_decoded_too() {
    let faults = |members: &str, char: &str, hex: &str| {
        one(&format!(r#"{{"seq":1,{members},"raw":{{"char":"{char}","hex":"{hex}"}}}}"#)).faults
    };
    let pressure = r#""kind":"blood_pressure","systolic":138,"diastolic":88,"unit":"mmHg""#;
    let frame = "048a00580068003e00"; // 138/88, mean 104, pulse 62
    assert_eq!(faults(pressure, "2a35", frame), []);
    assert_eq!(faults(&format!("{pressure},\"pulse\":62.0"), "2A35", &frame.to_uppercase()), []);
    assert_eq!(faults(pressure, "2a36", "00"), [], "a characteristic that nobody reads is kept unread");
    let mismatch = [Reason::DecodeMismatch];
    assert_eq!(faults(&format!("{pressure},\"pulse\":63"), "2a35", frame), mismatch);
    assert_eq!(faults(&pressure.replace("138", "139"), "2a35", frame), mismatch);
    for unreadable in ["", "048a", "048a0058006800 3e00", "zz", "0"] {
        assert_eq!(faults(pressure, "2a35", unreadable), mismatch, "{unreadable}");
    }
    assert_eq!(faults(pressure, "2a18", "061500ea070301061e004ec011"), mismatch, "glucose is no pressure");
    let glucose = r#""kind":"blood_glucose","glucose":6.2,"unit":"mmol/L""#;
    let frame = "030000e407030e171700000070b011"; // 112 mg/dL, which its display shows as 6.2
    assert_eq!(faults(glucose, "2a18", frame), []);
    assert_eq!(faults(&glucose.replace("6.2", "6.4"), "2a18", frame), mismatch);
    // The frame's own words are never lost, whatever the members say.
    let control = r#""raw":{"char":"2a18","hex":"030000e407030e171700000070b01a"}"#;
    assert!(one(&format!(r#"{{"seq":1,{glucose},{control}}}"#)).statuses.contains(Status::ControlSolution));
}

#[test]
fn a_session_token_is_read_and_kept_nowhere() {
    let item = one(r#"{"seq":1,"kind":"blood_glucose","glucose":6,"unit":"mmol/L","session":"secret-token"}"#);
    assert_eq!((item.session.as_deref(), &item.context.extra), (Some("secret-token"), &None));
    assert!(!format!("{item:?}").contains("secret"));
}

#[test]
fn depth_and_size_break_nothing() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let item = one(&format!(r#"{{"seq":1,"kind":"blood_glucose","glucose":6,"unit":"mmol/L","deep":{deep}}}"#));
    assert!(item.faults.is_empty());
    assert!(decode(&Bytes::from(deep)).is_err());
    assert!(decode(&Bytes::from("{\"v\":".repeat(100_000))).is_err());
    assert!(
        one(&format!(r#"{{"seq":1,"symptoms":{0},"status":{0}}}"#, "[".repeat(500) + &"]".repeat(500)))
            .statuses
            .is_empty()
    );
}

#[test]
fn times_have_an_offset_or_are_the_clock_on_the_wall() {
    assert!(matches!(SentTime::parse("2026-03-01T07:12:00Z"), Some(SentTime::Moment(_))));
    assert!(matches!(SentTime::parse("2026-03-01T07:12:00.5"), Some(SentTime::Wall(_))));
    assert!(matches!(SentTime::parse("1970-01-01T00:03:00"), Some(SentTime::Wall(_))));
    for bad in [
        "2026-03-01",
        "2026-03-01 07:12:00",
        "yesterday",
        "",
        "0000-00-00T00:00:00",
        "2026-03-01T25:00:00",
        "T",
        "äöü-03-01T07:12:00",
    ] {
        assert_eq!(SentTime::parse(bad), None, "{bad}");
    }
}

#[test]
fn unknown_members_are_kept_however_many_and_however_often() {
    let many: String = (0..1000).map(|n| format!(r#""x{n}":{n},"#)).collect();
    let item = one(&format!(
        r#"{{{many}"x1":"again","seq":1,"kind":"blood_glucose","glucose":6.2,"unit":"mmol/L","y":{{"a":1,"a":2}}}}"#
    ));
    assert!(item.faults.is_empty());
    let extra = item.context.extra.unwrap();
    assert!(extra.contains(r#""x999":999"#) && extra.contains(r#""x1":1,"#) && extra.contains(r#""x1":"again""#));
    let message = read(&format!(r#"{{"v":1,{many}"x1":2,"readings":[{{"seq":1}}]}}"#));
    assert!(message.items[0].context.extra.as_deref().unwrap().contains(r#""x999":999"#));
    assert_eq!(one(r#"{"seq":1,"x":1,"seq":2}"#).faults, [Reason::BrokenMessage], "one of the two is meant");
}

#[test]
fn a_whole_number_is_a_number_however_it_is_written() {
    for (text, seq) in [("4711.0", 4711), ("4.711e3", 4711), ("47110e-1", 4711), ("0.0", 0), ("9007199254740991", MAX)]
    {
        let item = one(&format!(r#"{{"seq":{text}}}"#));
        assert_eq!((item.seq, item.faults.contains(&Reason::SeqInvalid)), (Some(seq), false), "{text}");
    }
    for text in ["1.5", "-1", "-0", "-1.0", "9007199254740992", "1e18", "1e400", "true", r#""7""#, "[1]"] {
        assert!(one(&format!(r#"{{"seq":{text}}}"#)).faults.contains(&Reason::SeqInvalid), "{text}");
    }
}

const MAX: i64 = (1 << 53) - 1;

#[test]
fn a_frame_of_another_users_button_is_a_mismatch() {
    // 131/82, user 2
    let with = |slot: &str| {
        let raw = r#"{"char":"2a35","hex":"0883005200ff0702"}"#;
        let values = r#""kind":"blood_pressure","systolic":131,"diastolic":82,"unit":"mmHg""#;
        one(&format!(r#"{{"seq":1,{values}{slot},"raw":{raw}}}"#)).faults
    };
    assert_eq!(with(r#","userSlot":1"#), [Reason::DecodeMismatch]);
    assert_eq!(with(r#","userSlot":2"#), []);
    assert_eq!(with(""), [], "what is left out is no difference");
}
