//! Patients in order, by where they belong: so that a page of a list costs what it shows, not what there is.
//!
//! Goes in: every patient as they are put into, or taken out of, the directory. Comes out: the next ones after a place.
//! Must never: decide who may see whom.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    ops::Bound::{Excluded, Unbounded},
};
use vitals::{OrganisationId, Patient, PatientId, TeamId};

/// Where patients belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// Patients of this team.
    Team(TeamId),
    /// Patients of this organisation itself, not of those below it.
    Organisation(OrganisationId),
    /// This one.
    Patient(PatientId),
}

/// Among whom to look.
#[derive(Clone, Debug)]
pub enum Among {
    /// Everybody.
    All,
    /// Whoever belongs to one of these.
    Homes(Vec<Home>),
}

/// Ids as numbers, ascending.
#[derive(Debug, Default)]
pub(super) struct Order {
    all: BTreeSet<i64>,
    names: BTreeSet<(Box<str>, i64)>,
    homes: HashMap<Home, BTreeSet<i64>>,
}

impl Order {
    pub(super) fn put(&mut self, patient: &Patient) {
        let id = patient.id.as_i64();
        self.all.insert(id);
        self.names.insert((patient.name.as_str().into(), id));
        for home in homes(patient) {
            self.homes.entry(home).or_default().insert(id);
        }
    }

    pub(super) fn remove(&mut self, patient: &Patient) {
        let id = patient.id.as_i64();
        self.all.remove(&id);
        self.names.remove(&(patient.name.as_str().into(), id));
        for home in homes(patient) {
            if let Some(there) = self.homes.get_mut(&home) {
                there.remove(&id);
                if there.is_empty() {
                    self.homes.remove(&home);
                }
            }
        }
    }

    /// The next patients by id, at most `most`; each once, however many of `among` they belong to.
    pub(super) fn after(&self, among: &Among, after: Option<i64>, most: usize) -> Vec<PatientId> {
        let bounds = (after.map_or(Unbounded, Excluded), Unbounded);
        let Among::Homes(homes) = among else {
            return self.all.range(bounds).take(most).map(|id| PatientId::from_i64(*id)).collect();
        };
        let mut sources: Vec<_> =
            homes.iter().filter_map(|home| self.homes.get(home)).map(|there| there.range(bounds)).collect();
        let mut next: BinaryHeap<Reverse<(i64, usize)>> =
            sources.iter_mut().enumerate().filter_map(|(i, s)| Some(Reverse((*s.next()?, i)))).collect();
        let mut found: Vec<PatientId> = Vec::new();
        while let Some(Reverse((id, i))) = next.pop() {
            let patient = PatientId::from_i64(id);
            if found.last() != Some(&patient) {
                if found.len() == most {
                    break;
                }
                found.push(patient);
            }
            next.extend(sources[i].next().map(|id| Reverse((*id, i))));
        }
        found
    }

    /// The next patients by name, at most `most`, among everybody.
    pub(super) fn named_after(&self, after: Option<(&str, i64)>, most: usize) -> Vec<PatientId> {
        let after = after.map(|(name, id)| (Box::from(name), id));
        let bounds = (after.map_or(Unbounded, Excluded), Unbounded);
        self.names.range(bounds).take(most).map(|(_, id)| PatientId::from_i64(*id)).collect()
    }

    /// How many belong to any of these, each counted as often as they do.
    pub(super) fn count(&self, among: &Among) -> usize {
        match among {
            Among::All => self.all.len(),
            Among::Homes(homes) => homes.iter().filter_map(|home| self.homes.get(home)).map(BTreeSet::len).sum(),
        }
    }
}

fn homes(patient: &Patient) -> impl Iterator<Item = Home> {
    let (team, organisation) = (patient.team.map(Home::Team), patient.organisation.map(Home::Organisation));
    [Some(Home::Patient(patient.id)), team, organisation].into_iter().flatten()
}
