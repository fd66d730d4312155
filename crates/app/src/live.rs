//! Live copies for service clients: readings that were committed and alerts that changed, at most once, through rumqttd.
//!
//! Follows the journal and the alerts' changes from the moment of the start; a slow listener misses copies, never a reading: what must not be
//! missed is fetched through the API or `export`.

use runtime::Drain;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use std::time::Duration;
use store::{Episode, JournalEntry, Store};
use vitals::{Decimal, DeviceId, Entry, GlucoseValue, OrganisationId, PatientId, Reading, ReadingId, Values, Zone};
use wire::topic::{Live, live};

/// Entries a look; more wait for the next.
const CHUNK: usize = 1000;
/// Between two looks, so that a flood of commits is not a flood of wake-ups.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Copies until the drain; ends with it.
pub(crate) fn copy(store: Store, edge: broker::Handle, zone: Zone, drain: &Drain) {
    tokio::spawn(alerts(store.clone(), edge.clone(), zone.clone(), drain.named("live alerts")));
    let drain = drain.named("live copies");
    tokio::spawn(async move {
        let mut committed = store.readings().committed();
        let mut position = *committed.borrow_and_update();
        loop {
            tokio::select! {
                changed = committed.changed() => if changed.is_err() { return },
                () = drain.stopping() => return,
            }
            tokio::time::sleep(LOOK_EVERY).await;
            // Nobody listens: skip, at no cost.
            if !edge.has_followers() {
                position = *committed.borrow_and_update();
                continue;
            }
            while let Ok(entries) = store.readings().entries_after(position, CHUNK) {
                let Some(last) = entries.last() else { break };
                position = last.position;
                entries.iter().for_each(|entry| publish(&store, &edge, &zone, entry));
            }
        }
    });
}

/// An alert as it stands after each change; of changes that come at once only the last.
async fn alerts(store: Store, edge: broker::Handle, zone: Zone, drain: Drain) {
    let mut changes = store.alert_changes();
    let mut position = *changes.borrow_and_update();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = drain.stopping() => return,
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let now = *changes.borrow_and_update();
        if !edge.has_followers() {
            position = now;
            continue;
        }
        while let Ok(changed) = store.episodes_changed_after(position, CHUNK).await {
            let Some((last, _)) = changed.last() else { break };
            position = *last;
            for (_, episode) in &changed {
                if let Some(organisation) = of_episode(&store, episode) {
                    let body = alert(&zone, organisation, episode).to_string();
                    edge.publish_live(live(organisation, Live::Alerts), body.into());
                }
            }
        }
    }
}

/// The patient's station, else that of the team that answers.
fn of_episode(store: &Store, episode: &Episode) -> Option<OrganisationId> {
    let directory = store.directory();
    let of_patient = directory.patient(episode.patient).and_then(|p| p.organisation);
    of_patient.or_else(|| episode.team.and_then(|t| directory.team(t)).map(|t| t.organisation))
}

/// The API's members of an alert that need no look-up: no name, no evidence.
fn alert(zone: &Zone, organisation: OrganisationId, episode: &Episode) -> Value {
    json!({
        "id": episode.id, "patientId": episode.patient, "organisationId": organisation, "teamId": episode.team,
        "concept": episode.concept.as_str(), "severity": episode.severity.as_str(), "state": episode.state.as_str(),
        "ruleId": episode.rule.to_string(), "raisedAt": episode.raised_at.to_rfc3339(zone), "level": episode.level,
        "cycle": episode.cycle, "nextAt": episode.next_at.map(|at| at.to_rfc3339(zone)), "count": episode.count,
        "owner": episode.owner, "exhausted": episode.exhausted,
    })
}

fn publish(store: &Store, edge: &broker::Handle, zone: &Zone, entry: &JournalEntry) {
    let Entry::Reading(reading) = &entry.entry else { return };
    if let Some(organisation) = owner(store, reading)
        && let Some(body) = body(store, zone, reading)
    {
        edge.publish_live(live(organisation, Live::Readings), body.into());
    }
}

/// The patient's station, else the device's.
fn owner(store: &Store, reading: &Reading) -> Option<OrganisationId> {
    let directory = store.directory();
    let of_patient = reading.patient.and_then(|p| directory.patient(p)).and_then(|p| p.organisation);
    of_patient.or_else(|| directory.device_by_key(reading.device).and_then(|d| d.organisation))
}

/// The API's members of a reading; its numbers with the digits that were sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Copy {
    id: ReadingId,
    kind: &'static str,
    patient_id: Option<PatientId>,
    device_id: Option<DeviceId>,
    measured_at: String,
    received_at: String,
    time_quality: &'static str,
    result: &'static str,
    unit: &'static str,
    #[serde(flatten)]
    numbers: Numbers,
}

/// Each as its text.
#[derive(Default, Serialize)]
struct Numbers {
    #[serde(skip_serializing_if = "Option::is_none")]
    systolic: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diastolic: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pulse: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    glucose: Option<Box<RawValue>>,
}

fn body(store: &Store, zone: &Zone, reading: &Reading) -> Option<String> {
    let copy = Copy {
        id: reading.id,
        kind: reading.kind().as_str(),
        patient_id: reading.patient,
        device_id: store.directory().device_by_key(reading.device).map(|d| d.id.clone()),
        measured_at: reading.measured_at.to_rfc3339(zone),
        received_at: reading.received_at.to_rfc3339(zone),
        time_quality: reading.time_quality.as_str(),
        result: reading.disposition.as_str(),
        unit: reading.unit.as_str(),
        numbers: numbers(&reading.values),
    };
    serde_json::to_string(&copy).ok()
}

fn numbers(values: &Values) -> Numbers {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).ok();
    let digits = |n: Decimal| raw(&n.to_string());
    match values {
        Values::Pressure { systolic, diastolic, pulse, .. } => Numbers {
            systolic: digits(*systolic),
            diastolic: digits(*diastolic),
            pulse: pulse.map_or_else(|| raw("null"), digits),
            glucose: None,
        },
        Values::Glucose(value) => {
            let glucose = match value {
                GlucoseValue::Value(n) => digits(*n),
                GlucoseValue::High => raw("\"HI\""),
                GlucoseValue::Low => raw("\"LO\""),
            };
            Numbers { glucose, ..Numbers::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_were_sent() {
        let shown = |values| serde_json::to_string(&numbers(&values)).unwrap();
        let glucose = |text: &str| Values::Glucose(GlucoseValue::Value(text.parse().unwrap()));
        assert_eq!(shown(glucose("6.20")), r#"{"glucose":6.20}"#);
        assert_eq!(shown(Values::Glucose(GlucoseValue::High)), r#"{"glucose":"HI"}"#);
        let [systolic, diastolic] = ["121", "81.0"].map(|text| text.parse().unwrap());
        let pressure = Values::Pressure { systolic, diastolic, map: None, pulse: None };
        assert_eq!(shown(pressure), r#"{"systolic":121,"diastolic":81.0,"pulse":null}"#);
        let copy = Copy {
            id: ReadingId::new(1),
            kind: "blood_glucose",
            patient_id: None,
            device_id: None,
            measured_at: String::new(),
            received_at: String::new(),
            time_quality: "exact",
            result: "stored",
            unit: "mmol/L",
            numbers: numbers(&glucose("6.20")),
        };
        let copy = serde_json::to_string(&copy).unwrap();
        assert!(copy.starts_with(r#"{"id":"r_"#) && copy.ends_with(r#""unit":"mmol/L","glucose":6.20}"#), "{copy}");
    }
}
