//! The service's store, as the evaluator asks it.

use crate::{Error, Link, Meter, Rule, World};
use std::{cell::Cell, collections::HashMap, sync::Arc};
use store::{Outage, ReadingQuery, Store};
use vitals::{DeviceKey, Finding, Patient, PatientId, Reading, ReadingId, Timestamp};

/// Readings asked of the store at once.
const PAGE: usize = 4096;

/// The store as the engine sees it.
#[derive(Debug)]
pub(crate) struct Live {
    store: Store,
    /// When each patient's newest binding was recorded, and of which meter.
    bound: HashMap<PatientId, (Timestamp, DeviceKey)>,
    /// When this service could take nothing.
    outages: Arc<[Outage]>,
    /// The last entry that is judged, or being judged.
    shown: Cell<ReadingId>,
}

impl Live {
    /// `judged`: up to which position everything was judged before.
    pub(crate) fn new(store: Store, judged: u64) -> Self {
        let shown = Cell::new(ReadingId::from_i64(judged.cast_signed()));
        Self { store, bound: HashMap::new(), outages: Arc::default(), shown }
    }

    /// Reads again when this service could take nothing.
    pub(crate) fn learn_outages(&mut self) -> Result<(), Error> {
        self.outages = self.store.outages_blocking()?.into();
        Ok(())
    }

    /// Who has a meter at `now`. Returns when the next binding ends whose end is written down already.
    pub(crate) fn rebind(&mut self, now: Timestamp) -> Option<Timestamp> {
        let directory = self.store.directory();
        self.bound.clear();
        let mut ends: Option<Timestamp> = None;
        for device in directory.devices() {
            for binding in directory.bindings(device.key).iter().filter(|b| b.to.is_none_or(|to| now < to)) {
                let newest = self.bound.entry(binding.patient).or_insert((binding.recorded_at, device.key));
                *newest = (binding.recorded_at, device.key).max(*newest);
                ends = ends.into_iter().chain(binding.to).min();
            }
        }
        ends
    }
}

impl World for Live {
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        self.store.directory().patient(id)
    }

    fn bound(&self, id: PatientId) -> Option<Timestamp> {
        self.bound.get(&id).map(|(recorded, _)| *recorded)
    }

    fn show(&self, through: ReadingId) {
        self.shown.set(through.max(self.shown.get()));
    }

    fn readings(&self, id: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let query = ReadingQuery { patient: id, kind: None, from, to, after, limit: PAGE };
            let page = self.store.readings().range_blocking(query)?;
            after = page.last().map(|r| (r.measured_at, r.id));
            let full = page.len() == PAGE;
            all.extend(page.into_iter().filter(|r| r.id <= self.shown.get()));
            if !full {
                return Ok(all);
            }
        }
    }

    fn concluded(&self, id: PatientId, from: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        Ok(self.store.concluded_blocking(id, from)?)
    }

    fn contacts(&self, id: PatientId, from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        Ok(self.store.contacts_blocking(id, from)?)
    }

    fn closed(&self, id: PatientId, rule: Rule, from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        let all = self.store.closed_alerts_blocking(id, from)?;
        Ok(all.into_iter().filter(|(of, _)| *of == rule.id()).map(|(_, at)| at).collect())
    }

    fn days(&self, id: PatientId) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store.patient_days_blocking(id)?)
    }

    fn link(&self, id: PatientId, device: Option<DeviceKey>) -> Result<Link, Error> {
        let outages = self.outages.clone();
        let Some(device) = device.or_else(|| self.bound.get(&id).map(|(_, meter)| *meter)) else {
            return Ok(Link { outages, meter: None });
        };
        let own = self.store.presence_blocking(device)?;
        let mut meter = Meter { battery: own.battery, gateway: false, lost: own.lost_at };
        for gateway in self.store.edge().gateways_of(device) {
            // Of several, one that is there is enough.
            let lost = self.store.presence_blocking(gateway)?.lost_at;
            let lost = if meter.gateway { meter.lost.and(lost) } else { lost };
            meter = Meter { gateway: true, lost, ..meter };
        }
        Ok(Link { outages, meter: Some(meter) })
    }
}
