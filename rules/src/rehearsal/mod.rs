//! Rehearsal: cards over what is stored, with the evaluator that runs live, and no effect at all.
//!
//! Goes in: the store (read only), cards, a stretch of time, patients. Comes out: what would have been concluded against
//! what was. One patient after the other, each from what was known of them when the stretch began; a caller may stop it
//! between two. Must never: write, publish, ask a meter, hold more than one patient's history, read a clock but for its
//! own deadline.

mod past;
mod report;

use crate::{Cards, Error, Rule};
use past::{History, Past};
pub use report::{Counts, Example, Judged, Report, RuleRow, WeekRow};
use report::{Outcome, Tally};
use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{JournalEntry, Store};
use vitals::{Binding, DeviceKind, Entry, Patient, PatientId, Timestamp, Zone};

/// Held entries looked at; more belong to a meter that sends nonsense, of which the newest say enough.
const HELD: usize = 200_000;

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The cards as they would be.
    pub cards: Cards,
    /// Which of them are on trial.
    pub proposed: Vec<Rule>,
    /// First moment.
    pub from: Timestamp,
    /// First moment no longer.
    pub to: Timestamp,
    /// On whom, with the plans that they would have.
    pub patients: Vec<Arc<Patient>>,
    /// How far it may go.
    pub bounds: Bounds,
}

/// How far a rehearsal may go before it says what it has.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Patients; of more, so many are taken, by their random identity.
    pub patients: usize,
    /// Time on the wall.
    pub time: Duration,
    /// Examples of differences.
    pub examples: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { patients: 2_000, time: Duration::from_secs(60), examples: 20 }
    }
}

/// Rehearses; `told` hears after each patient how many of how many are done, and may end it.
///
/// # Errors
/// When the store cannot answer; [`Error::Cancelled`] when `told` ended it.
pub fn rehearse(
    store: &Store,
    asked: &Rehearsal,
    told: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Report, Error> {
    let begun = Instant::now();
    let mut patients = asked.patients.clone();
    // Identities are random: the first so many are a fair sample, and the same one next time.
    patients.sort_unstable_by_key(|p| p.id);
    let in_scope = patients.len();
    patients.truncate(asked.bounds.patients);
    let of = patients.len();
    let shared = Shared::load(store, asked)?;
    let mut tally = Tally::new(asked, store.zone().clone());
    let mut done = 0;
    for patient in patients {
        if told(done, of).is_break() {
            return Err(Error::Cancelled);
        }
        if begun.elapsed() > asked.bounds.time {
            break;
        }
        tally.add(&one(store, asked, &shared, patient)?);
        done += 1;
    }
    Ok(tally.report(Judged { in_scope, judged: done, complete: done == in_scope }))
}

/// What is read once for all patients.
struct Shared {
    bindings: HashMap<PatientId, Vec<Binding>>,
    held: HashMap<PatientId, Vec<JournalEntry>>,
    seasons: Vec<store::Season>,
    outages: Arc<[store::Outage]>,
}

impl Shared {
    fn load(store: &Store, asked: &Rehearsal) -> Result<Self, Error> {
        let mut bindings: HashMap<PatientId, Vec<Binding>> = HashMap::new();
        let directory = store.directory();
        for device in directory.devices() {
            for binding in directory.bindings(device.key).iter() {
                bindings.entry(binding.patient).or_default().push(*binding);
            }
        }
        let mut held: HashMap<PatientId, Vec<JournalEntry>> = HashMap::new();
        for entry in store.readings().held_since_blocking(asked.from, HELD)? {
            if let Entry::Held(h) = &entry.entry
                && let Some(patient) = h.patient
            {
                held.entry(patient).or_default().push(entry);
            }
        }
        let outages = store.outages_blocking()?.into();
        Ok(Self { bindings, held, seasons: store.rules_state_blocking()?.seasons, outages })
    }
}

/// One patient: what was concluded in the stretch, and what these cards conclude.
fn one(store: &Store, asked: &Rehearsal, shared: &Shared, patient: Arc<Patient>) -> Result<Outcome, Error> {
    let id = patient.id;
    let findings = store.findings_with_readings_blocking(id)?;
    let concluded = findings.iter().map(|(f, _)| f).filter(|f| f.draft.at >= asked.from && f.draft.at < asked.to);
    let did = concluded.cloned().collect();
    let (station, kiosk) =
        (patient.organisation, |key| store.directory().device_by_key(key).is_some_and(|d| d.kind == DeviceKind::Kiosk));
    let mut entries = store.readings().past_blocking(id)?;
    entries.extend(shared.held.get(&id).into_iter().flatten().cloned());
    let seasons = shared.seasons.iter().filter(|s| Some(s.station) == station).copied().collect();
    let bindings = shared.bindings.get(&id).cloned().unwrap_or_default();
    let zone: Zone = store.zone().clone();
    let contacts = store.contacts_blocking(id, Timestamp::MIN)?;
    let closed = store.closed_alerts_blocking(id, Timestamp::MIN)?;
    let outages = shared.outages.clone();
    let history = History { patient, bindings, entries, findings, contacts, closed, seasons, outages };
    let would = Past::run(history, &asked.cards, &zone, (asked.from, asked.to), kiosk)?;
    Ok(Outcome { patient: id, did, would })
}
