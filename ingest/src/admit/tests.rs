//! Readings as they come, and what the contract promises of each.

use super::*;
use bytes::Bytes;
use vitals::{BindingId, Slot, Zone};
use wire::reading_v1::{Message, decode};

const NOW: &str = "2026-03-02T08:00:00+08:00";

fn moment(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn message(text: &str) -> Message {
    decode(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// Judges the only reading of a message, of a device with this past.
fn judge(text: &str, history: &DeviceHistory, known: &[Known], bindings: &[Binding]) -> Admission {
    let zone = Zone::default();
    let message = message(text);
    let received_at = moment(NOW);
    let sense = TimeSense { zone: &zone, received_at, reset_day: None };
    let item = &message.items[0];
    let clocked = Clocked::of(item, message.clock, &sense);
    let envelope = Envelope {
        device: DeviceKey::new(1),
        pair: message.clock,
        historical: message.historical,
        number: None,
        newest: message.items.len() == 1,
    };
    let seq = number_of(item, envelope, &clocked, received_at);
    admit(item, envelope, clocked, seq, Past { history, known, bindings, last_told: None }, received_at)
}

fn fresh(item: &str, more: &str) -> Admission {
    judge(&format!(r#"{{"v":1{more},"readings":[{item}]}}"#), &DeviceHistory::default(), &[], &[])
}

fn held(admission: Admission) -> Vec<&'static str> {
    let Admission::Hold(hold) = admission else { panic!("kept") };
    hold.reasons.iter().map(|r| r.as_str()).collect()
}

fn kept(admission: Admission) -> Reading {
    let Admission::Keep(reading) = admission else { panic!("not kept: {admission:?}") };
    *reading
}

const PRESSURE: &str = r#""kind":"blood_pressure","systolic":138,"diastolic":88,"unit":"mmHg""#;

fn at(seq: i64, time: &str) -> String {
    format!(r#"{{"seq":{seq},"time":"{time}",{PRESSURE}}}"#)
}

#[test]
fn a_good_reading_is_kept_as_it_was_sent() {
    let item = r#"{"seq":1,"time":"2026-03-02T07:53:00+08:00","kind":"blood_pressure","systolic":138.0,"diastolic":88,
        "pulse":62,"unit":"mmHg","status":["irregular_pulse","low_battery"]}"#;
    let r = kept(fresh(item, ""));
    assert_eq!((r.seq, r.epoch, r.disposition, r.time_quality), (1, 0, Disposition::Stored, TimeQuality::Exact));
    assert_eq!(r.measured_at, moment("2026-03-02T07:53:00+08:00"));
    assert_eq!(&*r.device_time.unwrap().0, "2026-03-02T07:53:00+08:00");
    let vitals::Values::Pressure { systolic, .. } = r.values else { panic!() };
    assert_eq!(systolic.to_string(), "138.0");
}

#[test]
fn what_cannot_be_true_is_held_with_every_reason() {
    let bad = |members: &str| held(fresh(&format!(r#"{{"seq":2,"time":"2026-03-02T07:53:00+08:00",{members}}}"#), ""));
    assert_eq!(bad(r#""kind":"blood_pressure","systolic":2047,"diastolic":2047,"unit":"mmHg""#), ["implausible"]);
    assert_eq!(bad(r#""kind":"blood_pressure","systolic":70,"diastolic":140,"unit":"mmHg""#), ["implausible"]);
    assert_eq!(bad(r#""kind":"blood_pressure","systolic":138,"diastolic":88"#), ["unit_unknown"]);
    assert_eq!(bad(r#""kind":"horoscope","value":1"#), ["kind_unknown"]);
    assert_eq!(bad(r#""kind":"blood_glucose","glucose":6,"unit":"mmol/L","status":["strip_error"]"#), ["strip_error"]);
    assert_eq!(
        held(fresh(r#"{"seq":"2","time":"2026-02-30T07:00:00Z","kind":"x"}"#, "")),
        ["seq_invalid", "time_invalid", "kind_unknown"]
    );
    assert_eq!(held(fresh("42", "")), ["seq_invalid"]);
}

#[test]
fn flagged_excluded_and_beyond_range_are_kept() {
    let glucose = |value: &str, status: &str| {
        kept(fresh(
            &format!(
                r#"{{"seq":1,"time":"2026-03-02T07:53:00+08:00","kind":"blood_glucose","glucose":{value},"unit":"mmol/L","status":[{status}]}}"#
            ),
            "",
        ))
    };
    assert_eq!(glucose("\"HI\"", "").disposition, Disposition::Flagged);
    assert_eq!(glucose("2.1", "\"control_solution\"").disposition, Disposition::Excluded);
    let moved = glucose("6.2", "\"time_fault\"");
    assert_eq!((moved.disposition, flags(&moved)), (Disposition::Flagged, vec!["time_fault".into()]));
}

#[test]
fn an_unset_clock_is_received_only_live_and_newest() {
    let unset = at(5, "1970-01-01T00:03:00");
    let live = kept(fresh(&unset, ""));
    assert_eq!((live.measured_at, live.time_quality), (moment(NOW), TimeQuality::Received));
    assert_eq!(held(fresh(&unset, r#","historical":true"#)), ["clock"]);
    let no_time = kept(fresh(&format!("{{{PRESSURE}}}"), ""));
    assert!(no_time.seq < 0 && no_time.time_quality == TimeQuality::Received);
    let mut history = DeviceHistory::default();
    history.record(0, 9, Some(moment("2026-03-02T07:00:00+08:00")));
    let text = format!(r#"{{"v":1,"readings":[{unset}]}}"#);
    assert_eq!(held(judge(&text, &history, &[], &[])), ["clock"], "5 is not the newest after 9");
    let two = format!(r#"{{"v":1,"readings":[{unset},{}]}}"#, at(6, "1970-01-01T00:04:00"));
    assert_eq!(held(judge(&two, &DeviceHistory::default(), &[], &[])), ["clock"], "6 is newer in the same message");
}

/// The store takes a held number for answered, unless it is a conflict's: then it is another reading's.
#[test]
fn a_conflict_is_said_beside_every_other_reason() {
    let mut history = DeviceHistory::default();
    [1, 9].into_iter().for_each(|s| history.record(0, s, Some(moment("2026-03-02T07:00:00+08:00"))));
    let time = "2026-03-01T07:00:00+08:00";
    let implausible =
        format!(r#"{{"seq":5,"time":"{time}","kind":"blood_pressure","systolic":900,"diastolic":88,"unit":"mmHg"}}"#);
    for (item, reasons) in [(at(5, time), &["conflict"][..]), (implausible, &["implausible", "conflict"][..])] {
        assert_eq!(held(judge(&format!(r#"{{"v":1,"readings":[{item}]}}"#), &history, &[], &[])), reasons);
    }
}

#[test]
fn a_zone_that_is_off_is_flagged_and_said() {
    let r = kept(fresh(
        &at(1, "2026-03-01T23:55:00"),
        r#","clock":{"device":"2026-03-02T00:00:00","reference":"2026-03-02T08:00:00+08:00"}"#,
    ));
    assert_eq!((r.disposition, r.time_quality), (Disposition::Flagged, TimeQuality::Assumed));
    assert_eq!((r.measured_at, flags(&r)), (moment("2026-03-01T23:55:00+08:00"), vec!["zone_suspect".into()]));
}

#[test]
fn a_reading_belongs_to_who_wore_the_meter_when_it_was_measured() {
    let binding = |id, slot, from: &str, to: Option<&str>, patient| Binding {
        id: BindingId::new(id),
        device: DeviceKey::new(1),
        slot,
        from: moment(from),
        to: to.map(moment),
        patient: PatientId::new(patient),
        recorded_at: moment(NOW),
    };
    let lent = [
        binding(1, Slot::Any, "2026-02-01T00:00:00+08:00", Some("2026-02-20T12:00:00+08:00"), 1),
        binding(2, Slot::User(1), "2026-02-20T12:00:00+08:00", None, 2),
    ];
    let whose = |time: &str, slot: &str| {
        let item = format!(r#"{{"seq":1,"time":"{time}",{PRESSURE}{slot}}}"#);
        kept(judge(&format!(r#"{{"v":1,"readings":[{item}]}}"#), &DeviceHistory::default(), &[], &lent)).patient
    };
    assert_eq!(whose("2026-02-20T11:59:59+08:00", ""), Some(PatientId::new(1)));
    assert_eq!(whose("2026-02-20T12:00:00+08:00", r#","userSlot":1"#), Some(PatientId::new(2)));
    assert_eq!(whose("2026-02-20T12:00:00+08:00", r#","userSlot":2"#), None);
    assert_eq!(whose("2026-02-20T12:00:00+08:00", ""), None);
    assert_eq!(whose("2026-01-01T00:00:00+08:00", ""), None);
}

#[test]
fn without_a_counter_the_same_minute_and_values_are_one_reading() {
    let number = |time: &str, systolic: &str, slot: &str| {
        let item = format!(
            r#"{{"time":"{time}","kind":"blood_pressure","systolic":{systolic},"diastolic":88,"unit":"mmHg"{slot}}}"#
        );
        kept(fresh(&item, "")).seq
    };
    let first = number("2026-03-02T07:53:10+08:00", "138", "");
    assert_eq!(first, number("2026-03-02T07:53:50", "138.0", ""));
    assert_ne!(first, number("2026-03-02T07:54:10+08:00", "138", ""));
    assert_ne!(first, number("2026-03-02T07:53:10+08:00", "139", ""));
    assert_ne!(first, number("2026-03-02T07:53:10+08:00", "138", r#","userSlot":2"#));
}
