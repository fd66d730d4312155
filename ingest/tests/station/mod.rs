//! A store and ingest on a manual clock, and one device that sends.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // each test uses what it needs

use bytes::Bytes;
use ingest::{Config, Handle};
use runtime::{Clock, Drain, DrainHandle};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use store::Store;
use vitals::{Binding, BindingId, Device, DeviceKey, DeviceKind, Patient, PatientId, Plan, Reading, Slot, Timestamp};
use wire::topic::{Tree, Up};

pub(crate) const NOW: &str = "2026-03-02T08:00:00+08:00";

pub(crate) struct Station {
    pub(crate) store: Store,
    pub(crate) ingest: Handle,
    pub(crate) device: Arc<Device>,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    _drain: DrainHandle,
}

impl Station {
    pub(crate) async fn open(folder: &Path, adapters: Option<&Path>) -> Self {
        Self::with(folder, Config { adapters: adapters.map(Into::into), ..Config::default() }).await
    }

    pub(crate) async fn with(folder: &Path, config: Config) -> Self {
        let mut station = Self::again(folder, config).await;
        let device = (*station.device).clone();
        station.device = Arc::new(station.store.create_device(device).await.unwrap());
        station
    }

    /// The same folder after a restart, with other settings.
    pub(crate) async fn again(folder: &Path, config: Config) -> Self {
        let (handle, drain) = Drain::new();
        let clock = Clock::manual(Timestamp::parse_rfc3339(NOW).unwrap());
        let store = Store::open(folder, clock.clone(), &drain).unwrap();
        let ingest = ingest::start(config.clone(), store.clone(), &drain).await.unwrap();
        let device = store.directory().device("m-1").unwrap_or_else(|| {
            Arc::new(Device {
                key: DeviceKey::new(0),
                id: "m-1".parse().unwrap(),
                kind: DeviceKind::Meter,
                label: None,
                model: Some("BP-100".into()),
                organisation: None,
                secret_hash: None,
                revoked: false,
            })
        });
        Self { store, ingest, device, config, clock, _drain: handle }
    }

    pub(crate) async fn send(&self, route: Up, payload: &Value) -> Value {
        let payload = Bytes::from(payload.to_string());
        let receipt = self.ingest.submit(self.device.clone(), Tree::Devices, route, payload).await.unwrap();
        receipt.map_or(Value::Null, |r| serde_json::from_slice(&r.to_json(self.store.zone())).unwrap())
    }

    /// One message; what became of each.
    pub(crate) async fn message(&self, readings: &[Value]) -> Vec<String> {
        words(&self.send(Up::Readings, &json!({"v": 1, "readings": readings})).await)
    }

    /// Stored, duplicate, quarantined.
    pub(crate) async fn books(&self) -> (u64, u64, u64) {
        let rows = self.store.readings().books(jiff::civil::date(2026, 3, 2), Some(self.device.key)).await.unwrap();
        rows.first().map_or((0, 0, 0), |r| (r.stored, r.duplicate, r.quarantined))
    }

    /// Somebody who has worn this device since the year began.
    pub(crate) async fn person(&self, device: &Device) -> PatientId {
        let from = Timestamp::parse_rfc3339("2026-01-01T00:00:00+08:00").unwrap();
        let patient = Patient {
            id: PatientId::new(0),
            name: String::new(),
            birth_date: None,
            sex: None,
            tags: Vec::new(),
            conditions: Vec::new(),
            team: None,
            organisation: None,
            phone: None,
            time_zone: None,
            enrolled_at: from,
            visited_on: None,
            plan: Plan::default(),
        };
        let patient = self.store.create_patient(patient).await.unwrap().id;
        let (id, device) = (BindingId::new(0), device.key);
        let binding = Binding { id, device, slot: Slot::Any, from, to: None, patient, recorded_at: from };
        self.store.create_binding(binding).await.unwrap();
        patient
    }

    /// In the order of their arrival.
    pub(crate) async fn stored(&self) -> Vec<Arc<Reading>> {
        let mut all = self.store.readings().unassigned(None, 100).await.unwrap();
        all.sort_by_key(|r| r.id);
        all
    }

    pub(crate) async fn held(&self) -> Vec<Arc<vitals::Held>> {
        self.store.readings().held(None, None, 100).await.unwrap()
    }

    pub(crate) fn later(&self, by: Duration) {
        self.clock.move_to(self.clock.now().plus(by)).unwrap();
    }
}

/// The reasons where there are some, else the result.
pub(crate) fn words(receipt: &Value) -> Vec<String> {
    let of = |r: &Value| {
        let word = |w: &Value| w.as_str().unwrap().to_owned();
        let reasons = r["reasons"].as_array().map(|all| all.iter().map(word).collect::<Vec<_>>().join(","));
        reasons.unwrap_or_else(|| word(&r["result"]))
    };
    receipt["results"].as_array().unwrap().iter().map(of).collect()
}
