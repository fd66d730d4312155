//! The worklist: who needs somebody first. Whoever has open alerts stands in an order kept in memory, brought forward by
//! the alerts that changed; everybody else follows by id.
//!
//! Goes in: a place to begin after, and who is wanted. Comes out: the next of them, with their place and their open alerts.
//! Must never: read every patient or every alert for a page.

use super::{
    episode_rows::EPISODE,
    episodes::{AlertState, Episode},
    order::Among,
};
use crate::{Store, StoreError};
use parking_lot::RwLock;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};
use vitals::{AlertId, Patient, PatientId, Severity};

/// Patients looked at in one go, between which the directory may change.
const STRIDE: usize = 512;
/// So few are put in order by name one by one; more, and all names are gone through in their order.
const FEW: usize = 4_000;

/// Where a patient stands: smaller is earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// By severity and whether somebody has it in hand; 255 without an open alert.
    rank: u8,
    /// Newer alerts first.
    newest: i64,
    /// For the order by name.
    name: String,
    id: i64,
}

/// One patient of a page.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Who.
    pub patient: Arc<Patient>,
    /// Where, for the next page.
    pub place: Place,
    /// Open alerts.
    pub open: usize,
    /// The alert that puts them where they are.
    pub top: Option<Episode>,
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Un-acknowledged criticals first.
    Risk,
    /// By name.
    Name,
}

/// Alerts that are open, in order.
#[derive(Debug, Default)]
pub(crate) struct Worklist(RwLock<Index>);

/// (rank, newer first, alert).
type Key = (u8, i64, i64);

#[derive(Debug, Default)]
struct Index {
    /// The last change of an alert that is taken in.
    change: i64,
    open: HashMap<AlertId, (PatientId, Key)>,
    of: HashMap<PatientId, BTreeSet<Key>>,
    /// (rank, newest, patient) of everybody with an open alert.
    order: BTreeSet<(u8, i64, i64)>,
}

impl Index {
    fn take_in(&mut self, change: i64, alert: AlertId, patient: PatientId, key: Option<Key>) {
        self.change = self.change.max(change);
        let before = self.open.remove(&alert);
        for (patient, key) in before.into_iter().map(|(p, k)| (p, Err(k))).chain(key.map(|k| (patient, Ok(k)))) {
            let keys = self.of.entry(patient).or_default();
            let stood = keys.first().copied();
            match key {
                Ok(key) => keys.insert(key),
                Err(key) => keys.remove(&key),
            };
            let stands = keys.first().copied();
            if stands.is_none() {
                self.of.remove(&patient);
            }
            let place = |(rank, newest, _): Key| (rank, newest, patient.as_i64());
            if let Some(place) = stood.map(place) {
                self.order.remove(&place);
            }
            self.order.extend(stands.map(place));
        }
        self.open.extend(key.map(|key| (alert, (patient, key))));
    }

    /// The next after a place, at most [`STRIDE`].
    fn next(&self, after: Option<(u8, i64, i64)>) -> Vec<(u8, i64, i64)> {
        self.order.range((after.map_or(Unbounded, Excluded), Unbounded)).take(STRIDE).copied().collect()
    }
}

const fn rank(severity: Severity, state: AlertState) -> u8 {
    let severity = match severity {
        Severity::Critical => 0,
        Severity::Urgent => 1,
        Severity::Routine => 2,
        Severity::Info => 3,
    };
    severity * 2 + if state.is_unacknowledged() { 0 } else { 1 }
}

impl Worklist {
    /// Takes in what changed since the last time: at first every open alert, then those few.
    fn refresh(&self, c: &Connection) -> Result<(), StoreError> {
        let mut index = self.0.write();
        let newest = super::episode_rows::last_change(c)?;
        let sql = "SELECT change, id, patient, severity, state, raised_at FROM episode
                   WHERE change > ?1 AND (?1 > 0 OR active = 1) ORDER BY change";
        let mut statement = c.prepare_cached(sql)?;
        let mut rows = statement.query([index.change])?;
        while let Some(r) = rows.next()? {
            let (change, id, patient, raised): (i64, i64, i64, i64) = (r.get(0)?, r.get(1)?, r.get(2)?, r.get(5)?);
            let severity = Severity::parse(r.get_ref(3)?.as_str().unwrap_or_default());
            let state = AlertState::parse(r.get_ref(4)?.as_str().unwrap_or_default());
            let key = match (severity, state) {
                (Some(severity), Some(state)) if state.is_active() => Some((rank(severity, state), -raised, id)),
                _ => None,
            };
            index.take_in(change, AlertId::from_i64(id), PatientId::from_i64(patient), key);
        }
        index.change = index.change.max(newest);
        Ok(())
    }
}

impl Store {
    /// The next patients of the worklist: `fits` says who is wanted, `among` where they can be. At most `limit`.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn worklist(
        &self,
        sort: Sort,
        among: &Among,
        after: Option<&Place>,
        limit: usize,
        fits: &(dyn Fn(&Patient) -> bool + Sync),
    ) -> Result<Vec<Standing>, StoreError> {
        let list = self.registry.worklist().clone();
        if *self.alert_changes().borrow() > list.0.read().change {
            let list = list.clone();
            self.registry.read(move |c| list.refresh(c)).await?;
        }
        let mut found = match sort {
            Sort::Risk => self.by_risk(&list, among, after, limit, fits),
            Sort::Name => self.by_name(among, after, limit, fits),
        };
        let mut tops = Vec::with_capacity(found.len());
        {
            let index = list.0.read();
            for standing in &mut found {
                let keys = index.of.get(&standing.patient.id);
                standing.open = keys.map_or(0, BTreeSet::len);
                tops.push(keys.and_then(|keys| keys.first()).map(|key| key.2));
            }
        }
        let wanted: Vec<i64> = tops.iter().copied().flatten().collect();
        if !wanted.is_empty() {
            let mut episodes = self.registry.read(move |c| episodes(c, &wanted)).await?;
            for (standing, top) in found.iter_mut().zip(tops) {
                standing.top = top.and_then(|id| episodes.remove(&id));
            }
        }
        Ok(found)
    }

    fn by_risk(
        &self,
        list: &Worklist,
        among: &Among,
        after: Option<&Place>,
        limit: usize,
        fits: &(dyn Fn(&Patient) -> bool + Sync),
    ) -> Vec<Standing> {
        let mut found = Vec::new();
        let mut at = after.map(|p| (p.rank, p.newest, p.id));
        if at.is_none_or(|(rank, ..)| rank < u8::MAX) {
            loop {
                let some = list.0.read().next(at);
                for (rank, newest, id) in &some {
                    let patient = self.directory().patient(PatientId::from_i64(*id)).filter(|p| fits(p));
                    found.extend(patient.map(|p| standing(p, (*rank, *newest))));
                    if found.len() == limit {
                        return found;
                    }
                }
                match some.last() {
                    Some(last) => at = Some(*last),
                    None => break,
                }
            }
        }
        let mut last = after.filter(|p| p.rank == u8::MAX).map(|p| p.id);
        loop {
            let some = self.directory().patients_after(among, last, STRIDE);
            let Some(end) = some.last() else { return found };
            last = Some(end.id.as_i64());
            let open: Vec<bool> = {
                let index = list.0.read();
                some.iter().map(|p| index.of.contains_key(&p.id)).collect()
            };
            for (patient, open) in some.into_iter().zip(open) {
                if !open && fits(&patient) {
                    found.push(standing(patient, (u8::MAX, 0)));
                }
                if found.len() == limit {
                    return found;
                }
            }
        }
    }

    fn by_name(
        &self,
        among: &Among,
        after: Option<&Place>,
        limit: usize,
        fits: &(dyn Fn(&Patient) -> bool + Sync),
    ) -> Vec<Standing> {
        let named = |p: Arc<Patient>| {
            let place = Place { rank: 0, newest: 0, name: p.name.clone(), id: p.id.as_i64() };
            Standing { patient: p, place, open: 0, top: None }
        };
        let directory = self.directory();
        if matches!(among, Among::Homes(_)) && directory.count(among) <= FEW {
            let all = directory.patients_after(among, None, usize::MAX).into_iter().filter(|p| fits(p)).map(named);
            let mut all: Vec<Standing> = all.filter(|s| after.is_none_or(|after| s.place > *after)).collect();
            all.sort_by(|a, b| a.place.cmp(&b.place));
            all.truncate(limit);
            return all;
        }
        let mut found: Vec<Standing> = Vec::new();
        let mut last = after.map(|p| (p.name.clone(), p.id));
        loop {
            let some = directory.patients_named_after(last.as_ref().map(|(name, id)| (name.as_str(), *id)), STRIDE);
            let Some(end) = some.last() else { return found };
            last = Some((end.name.clone(), end.id.as_i64()));
            for patient in some.into_iter().filter(|p| fits(p)) {
                found.push(named(patient));
                if found.len() == limit {
                    return found;
                }
            }
        }
    }
}

fn standing(patient: Arc<Patient>, (rank, newest): (u8, i64)) -> Standing {
    let place = Place { rank, newest, name: String::new(), id: patient.id.as_i64() };
    Standing { patient, place, open: 0, top: None }
}

fn episodes(c: &Connection, ids: &[i64]) -> Result<BTreeMap<i64, Episode>, StoreError> {
    let mut statement = c.prepare_cached(&format!("{EPISODE} WHERE id = ?1"))?;
    let mut all = BTreeMap::new();
    for id in ids {
        let mut rows = statement.query(params![id])?;
        if let Some(row) = rows.next()? {
            all.insert(*id, super::episode_rows::episode_row(row)?.1);
        }
    }
    Ok(all)
}
