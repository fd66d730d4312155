//! The stage on a real store in a folder, on a clock that is moved.

use super::at;
use runtime::{Clock, Drain, DrainHandle, Paced};
use std::{path::Path, time::Duration};
use store::{NewReading, Store};
use vitals::{Binding, BindingId, Device, DeviceKey, DeviceKind, PatientId, Plan, Reading, Slot, Timestamp};

pub(crate) const START: &str = "2026-03-02T08:00:00+08:00";

pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) rules: rules::Handle,
    pub(crate) clock: Clock,
    drain: DrainHandle,
}

impl Service {
    /// The same folder while nobody judges.
    pub(crate) async fn asleep<F: Future<Output = ()>>(folder: &Path, now: Timestamp, work: impl FnOnce(Store) -> F) {
        let (drain, root) = Drain::new();
        let store = Store::open(folder, Clock::manual(now), &root).unwrap();
        work(store).await;
        drop(root);
        drain.stop();
        assert_eq!(drain.drained(Duration::from_secs(10)).await, Vec::<&str>::new());
    }

    pub(crate) async fn open(folder: &Path, now: Timestamp) -> Self {
        let clock = Clock::manual(now);
        let (drain, root) = Drain::new();
        let store = Store::open(folder, clock.clone(), &root).unwrap();
        let rules = rules::start(rules::Config::default(), store.clone(), &root).await.unwrap();
        Self { store, rules, clock, drain }
    }

    /// A patient with a meter.
    pub(crate) async fn person(&self) -> (PatientId, DeviceKey) {
        let person = self.stranger().await;
        self.bind(person).await;
        person
    }

    pub(crate) async fn bind(&self, person: (PatientId, DeviceKey)) {
        self.bind_until(person, None).await;
    }

    pub(crate) async fn bind_until(&self, (patient, device): (PatientId, DeviceKey), to: Option<Timestamp>) {
        let (from, recorded_at) = (at("2020-01-01T00:00:00+08:00"), self.clock.now());
        let id = BindingId::new(0);
        let binding = Binding { id, device, slot: Slot::Any, from, to, patient, recorded_at };
        self.store.create_binding(binding).await.unwrap();
        self.store.readings().reattribute(device).await.unwrap();
    }

    /// A patient and a meter that is not theirs yet.
    pub(crate) async fn stranger(&self) -> (PatientId, DeviceKey) {
        let mut plan = Plan::default();
        plan.measuring.blood_pressure_per_week = Some(14.0);
        let patient = self.store.create_patient(super::patient(plan, self.clock.now())).await.unwrap().id;
        let number = self.store.directory().devices().len() + 1;
        let device = Device {
            key: DeviceKey::new(0),
            id: format!("bp-{number}").parse().unwrap(),
            kind: DeviceKind::Meter,
            label: None,
            model: None,
            organisation: None,
            secret_hash: None,
            revoked: false,
        };
        let device = self.store.create_device(device).await.unwrap().key;
        (patient, device)
    }

    /// One message, as ingest would store it.
    pub(crate) async fn message(&self, person: (PatientId, DeviceKey), readings: Vec<Reading>) {
        Self::keep(&self.store, person, readings).await;
    }

    /// The same, whoever judges or does not.
    pub(crate) async fn keep(store: &Store, (patient, device): (PatientId, DeviceKey), readings: Vec<Reading>) {
        let now = store.clock().now();
        let day = now.day(store.zone());
        let work = move |desk: &mut store::Desk<'_>| {
            for mut reading in readings {
                let bound = !desk.bindings(device).is_empty();
                reading.patient = bound.then_some(patient);
                reading.device = device;
                reading.received_at = now;
                let told = Some(reading.measured_at);
                desk.keep(NewReading { reading, told, trusted: true })?;
            }
            Ok(())
        };
        store.readings().submit(day, 1, work).await.unwrap();
    }

    pub(crate) async fn goto(&self, to: Timestamp) {
        self.rules.settle().await;
        while let Some(due) = self.rules.next_due().await.filter(|due| *due <= to) {
            self.clock.move_to(due.max(self.clock.now())).unwrap();
            self.rules.settle().await;
        }
        self.clock.move_to(to).unwrap();
        self.rules.settle().await;
    }

    pub(crate) async fn severities(&self, patient: PatientId) -> Vec<&'static str> {
        let all = self.store.findings_of(patient, None, None, None, None, 100).await.unwrap();
        all.iter().filter(|f| f.retracted_at.is_none()).map(|f| f.draft.severity.as_str()).collect()
    }

    pub(crate) async fn close(self) {
        self.drain.stop();
        drop((self.rules, self.store));
        assert_eq!(self.drain.drained(Duration::from_secs(10)).await, Vec::<&str>::new());
    }
}
