//! Live copies for service clients: readings that were committed and alerts that changed, at most once, through rumqttd.
//!
//! Follows the journal and the alerts' changes from the moment of the start; a slow listener misses copies, never a reading: what must not be
//! missed is fetched through the API or `export`.

use runtime::Drain;
use serde_json::{Value, json};
use std::time::Duration;
use store::{Episode, JournalEntry, Store};
use vitals::{Entry, OrganisationId, Reading, Values, Zone};
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
    let Entry::Reading(reading) = &*entry.entry else { return };
    if let Some(organisation) = owner(store, reading) {
        edge.publish_live(live(organisation, Live::Readings), body(store, zone, reading).to_string().into());
    }
}

/// The patient's station, else the device's.
fn owner(store: &Store, reading: &Reading) -> Option<OrganisationId> {
    let directory = store.directory();
    let of_patient = reading.patient.and_then(|p| directory.patient(p)).and_then(|p| p.organisation);
    of_patient.or_else(|| directory.device_by_key(reading.device).and_then(|d| d.organisation))
}

/// The API's members of a reading.
fn body(store: &Store, zone: &Zone, reading: &Reading) -> Value {
    let mut body = json!({
        "id": reading.id, "kind": reading.kind().as_str(), "patientId": reading.patient,
        "deviceId": store.directory().device_by_key(reading.device).map(|d| d.id.clone()),
        "measuredAt": reading.measured_at.to_rfc3339(zone), "receivedAt": reading.received_at.to_rfc3339(zone),
        "timeQuality": reading.time_quality.as_str(), "result": reading.disposition.as_str(), "unit": reading.unit.as_str(),
    });
    match &reading.values {
        Values::Pressure { systolic, diastolic, pulse, .. } => {
            body["systolic"] = json!(systolic.value());
            body["diastolic"] = json!(diastolic.value());
            body["pulse"] = json!(pulse.map(vitals::Decimal::value));
        }
        Values::Glucose(vitals::GlucoseValue::Value(value)) => body["glucose"] = json!(value.value()),
        Values::Glucose(vitals::GlucoseValue::High) => body["glucose"] = json!("HI"),
        Values::Glucose(vitals::GlucoseValue::Low) => body["glucose"] = json!("LO"),
    }
    body
}
