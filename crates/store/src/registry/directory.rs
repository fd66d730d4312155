//! People and devices in memory: what the hot paths ask for, at the speed of a hash map.
//!
//! Loaded whole at start; after that every committed write puts its record here. Readers get `Arc`s and hold no lock.

use super::devices;
use super::order::{Among, Order};
use super::people::{self, Organisation, Team, User};
use crate::StoreError;
use foldhash::{HashMap, HashSet};
use parking_lot::RwLock;
use rusqlite::Connection;
use std::sync::Arc;
use tokio::sync::watch;
use vitals::{Binding, Device, DeviceId, DeviceKey, OrganisationId, Patient, PatientId, TeamId, UserId};

/// The handle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    devices: RwLock<HashMap<DeviceId, Arc<Device>>>,
    device_keys: RwLock<HashMap<DeviceKey, Arc<Device>>>,
    bindings: RwLock<HashMap<DeviceKey, Arc<[Binding]>>>,
    patients: RwLock<HashMap<PatientId, (Arc<Patient>, i64)>>,
    erased: RwLock<HashSet<PatientId>>,
    order: RwLock<Order>,
    organisations: RwLock<HashMap<OrganisationId, Arc<Organisation>>>,
    teams: RwLock<HashMap<TeamId, Arc<Team>>>,
    users: RwLock<HashMap<UserId, Arc<User>>>,
    usernames: RwLock<HashMap<String, UserId>>,
    edge: super::edge::Edge,
    changes: watch::Sender<u64>,
    staff: watch::Sender<u64>,
}

impl Directory {
    pub(crate) fn load(c: &Connection) -> Result<Self, StoreError> {
        let this = Self(Arc::new(Inner {
            devices: RwLock::default(),
            device_keys: RwLock::default(),
            bindings: RwLock::default(),
            patients: RwLock::default(),
            erased: RwLock::new(super::keeping::erased(c)?),
            order: RwLock::default(),
            organisations: RwLock::default(),
            teams: RwLock::default(),
            users: RwLock::default(),
            usernames: RwLock::default(),
            edge: super::edge::Edge::load(c)?,
            changes: watch::Sender::new(0),
            staff: watch::Sender::new(0),
        }));
        people::all(c)?.into_iter().for_each(|x| this.put_organisation(x));
        people::all(c)?.into_iter().for_each(|x| this.put_user(x));
        people::all(c)?.into_iter().for_each(|x| this.put_team(x));
        devices::all_devices(c)?.into_iter().for_each(|x| this.put_device(x));
        people::all_patients(c)?.into_iter().for_each(|(p, version)| this.put_patient(p, version));
        let mut bindings: HashMap<DeviceKey, Vec<Binding>> = HashMap::default();
        devices::all_bindings(c)?.into_iter().for_each(|b| bindings.entry(b.device).or_default().push(b));
        bindings.into_iter().for_each(|(device, all)| this.put_bindings(device, all));
        Ok(this)
    }

    /// Counts changes, so that a shell can wait for one (a device revoked, a plan edited).
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Counts changes of organisations, teams and users alone: who can be called may be another after one.
    pub fn staff_changes(&self) -> watch::Receiver<u64> {
        self.0.staff.subscribe()
    }

    fn changed(&self) {
        self.0.changes.send_modify(|n| *n += 1);
    }

    fn staff_changed(&self) {
        self.0.staff.send_modify(|n| *n += 1);
        self.changed();
    }

    /// Who is logged in at a kiosk, for whom a gateway speaks.
    pub fn edge(&self) -> &super::edge::Edge {
        &self.0.edge
    }

    /// A device by its public name.
    pub fn device(&self, id: &str) -> Option<Arc<Device>> {
        let id: DeviceId = id.parse().ok()?;
        self.0.devices.read().get(&id).cloned()
    }

    /// A device by the store's key.
    pub fn device_by_key(&self, key: DeviceKey) -> Option<Arc<Device>> {
        self.0.device_keys.read().get(&key).cloned()
    }

    /// Every device.
    pub fn devices(&self) -> Vec<Arc<Device>> {
        self.0.devices.read().values().cloned().collect()
    }

    /// Who wore this device when; in no order.
    pub fn bindings(&self, device: DeviceKey) -> Arc<[Binding]> {
        self.0.bindings.read().get(&device).cloned().unwrap_or_else(|| Arc::from([]))
    }

    /// Every binding of one patient.
    pub fn bindings_of_patient(&self, patient: PatientId) -> Vec<Binding> {
        self.0.bindings.read().values().flat_map(|b| b.iter().filter(|b| b.patient == patient).copied()).collect()
    }

    /// A patient.
    pub fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        self.0.patients.read().get(&id).map(|(p, _)| p.clone())
    }

    /// Whether this patient was erased, or is being erased: nothing may become theirs any more.
    pub fn is_erased(&self, id: PatientId) -> bool {
        self.0.erased.read().contains(&id)
    }

    /// A patient with the version that an ETag shows.
    pub fn patient_version(&self, id: PatientId) -> Option<(Arc<Patient>, i64)> {
        self.0.patients.read().get(&id).cloned()
    }

    /// Every patient.
    pub fn patients(&self) -> Vec<Arc<Patient>> {
        self.0.patients.read().values().map(|(p, _)| p.clone()).collect()
    }

    /// The next patients by id, at most `most`.
    pub fn patients_after(&self, among: &Among, after: Option<i64>, most: usize) -> Vec<Arc<Patient>> {
        self.of_ids(&self.0.order.read().after(among, after, most))
    }

    /// The next patients by name, at most `most`, among everybody.
    pub fn patients_named_after(&self, after: Option<(&str, i64)>, most: usize) -> Vec<Arc<Patient>> {
        self.of_ids(&self.0.order.read().named_after(after, most))
    }

    /// How many patients belong to any of these.
    pub fn count(&self, among: &Among) -> usize {
        self.0.order.read().count(among)
    }

    fn of_ids(&self, ids: &[PatientId]) -> Vec<Arc<Patient>> {
        let patients = self.0.patients.read();
        ids.iter().filter_map(|id| patients.get(id)).map(|(p, _)| p.clone()).collect()
    }

    /// An organisation.
    pub fn organisation(&self, id: OrganisationId) -> Option<Arc<Organisation>> {
        self.0.organisations.read().get(&id).cloned()
    }

    /// Every organisation.
    pub fn organisations(&self) -> Vec<Arc<Organisation>> {
        self.0.organisations.read().values().cloned().collect()
    }

    /// `id` and everything above it, nearest first.
    pub fn ancestry(&self, id: OrganisationId) -> Vec<Arc<Organisation>> {
        let organisations = self.0.organisations.read();
        let mut line: Vec<Arc<Organisation>> = Vec::new();
        let mut next = Some(id);
        while let Some(organisation) = next.and_then(|id| organisations.get(&id)) {
            if line.iter().any(|o| o.id == organisation.id) {
                break; // a circle in the data must not hang the service
            }
            line.push(organisation.clone());
            next = organisation.parent;
        }
        line
    }

    /// Whether `inner` is `outer` or lies below it.
    pub fn is_within(&self, inner: OrganisationId, outer: OrganisationId) -> bool {
        self.ancestry(inner).iter().any(|o| o.id == outer)
    }

    /// A team.
    pub fn team(&self, id: TeamId) -> Option<Arc<Team>> {
        self.0.teams.read().get(&id).cloned()
    }

    /// Every team.
    pub fn teams(&self) -> Vec<Arc<Team>> {
        self.0.teams.read().values().cloned().collect()
    }

    /// A user.
    pub fn user(&self, id: UserId) -> Option<Arc<User>> {
        self.0.users.read().get(&id).cloned()
    }

    /// A user by the name they log in with.
    pub fn user_named(&self, username: &str) -> Option<Arc<User>> {
        let id = *self.0.usernames.read().get(username)?;
        self.user(id)
    }

    /// Every user.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.0.users.read().values().cloned().collect()
    }

    pub(crate) fn put_organisation(&self, x: Organisation) {
        self.0.organisations.write().insert(x.id, Arc::new(x));
        self.staff_changed();
    }

    pub(crate) fn put_user(&self, x: User) {
        self.0.usernames.write().insert(x.username.clone(), x.id);
        self.0.users.write().insert(x.id, Arc::new(x));
        self.staff_changed();
    }

    pub(crate) fn put_team(&self, x: Team) {
        self.0.teams.write().insert(x.id, Arc::new(x));
        self.staff_changed();
    }

    pub(crate) fn put_patient(&self, x: Patient, version: i64) {
        let x = Arc::new(x);
        let before = self.0.patients.write().insert(x.id, (x.clone(), version));
        let mut order = self.0.order.write();
        before.iter().for_each(|(before, _)| order.remove(before));
        order.put(&x);
        drop(order);
        self.changed();
    }

    /// One that is erased.
    pub(crate) fn remove_patient(&self, id: PatientId) {
        self.0.erased.write().insert(id);
        let gone = self.0.patients.write().remove(&id);
        gone.iter().for_each(|(gone, _)| self.0.order.write().remove(gone));
        self.changed();
    }

    pub(crate) fn remove_user(&self, id: UserId) {
        let gone = self.0.users.write().remove(&id);
        if let Some(user) = gone {
            self.0.usernames.write().remove(&user.username);
        }
        self.staff_changed();
    }

    pub(crate) fn put_device(&self, x: Device) {
        let x = Arc::new(x);
        self.0.device_keys.write().insert(x.key, x.clone());
        self.0.devices.write().insert(x.id.clone(), x);
        self.changed();
    }

    pub(crate) fn put_bindings(&self, device: DeviceKey, mut all: Vec<Binding>) {
        all.sort_by_key(|b| (b.from, b.id));
        self.0.bindings.write().insert(device, all.into());
        self.changed();
    }
}
