//! One patient's past, lived again: entries come when they came, mornings come when they came, nothing leaves.
//!
//! Goes in: a [`History`]. Comes out: the findings of a stretch of time. The evaluator is the live one; what stands in for
//! the store is a list in memory, with what was concluded before the stretch began.

use crate::{Cards, Engine, Error, Link, Pace, Rule, World};
use std::{collections::BTreeMap, sync::Arc};
use store::{FindingBatch, Handover, JournalEntry, Outage, Season};
use vitals::{Binding, DeviceKey, Entry, Finding, FindingId, Patient, PatientId, Reading, ReadingId, Timestamp, Zone};

/// Everything that is stored of one patient.
pub(super) struct History {
    pub(super) patient: Arc<Patient>,
    pub(super) bindings: Vec<Binding>,
    /// Readings, and what was held of them.
    pub(super) entries: Vec<JournalEntry>,
    /// With the readings that joined each; retracted ones too.
    pub(super) findings: Vec<(Finding, Vec<ReadingId>)>,
    /// When somebody logged a contact with the patient.
    pub(super) contacts: Vec<Timestamp>,
    /// When a person closed an alert, and of which rule.
    pub(super) closed: Vec<(String, Timestamp)>,
    /// What was published of the patient's station.
    pub(super) seasons: Vec<Season>,
    /// When this service could take nothing.
    pub(super) outages: Arc<[Outage]>,
}

/// The patient's world as it was at `now`.
#[derive(Debug)]
pub(super) struct Past {
    now: Timestamp,
    patient: Arc<Patient>,
    bindings: Vec<Binding>,
    /// Ascending by (measured, id).
    known: Vec<Arc<Reading>>,
    contacts: Vec<Timestamp>,
    closed: Vec<(String, Timestamp)>,
    outages: Arc<[Outage]>,
    ledger: BTreeMap<FindingId, (Finding, Vec<ReadingId>)>,
}

impl World for Past {
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        (self.patient.id == id).then(|| self.patient.clone())
    }

    fn bound(&self, _: PatientId) -> Option<Timestamp> {
        let holds = |b: &&Binding| b.recorded_at <= self.now && b.to.is_none_or(|to| self.now < to);
        self.bindings.iter().filter(holds).map(|b| b.recorded_at).max()
    }

    fn readings(&self, _: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        let begin = self.known.partition_point(|r| r.measured_at < from);
        let end = self.known.partition_point(|r| r.measured_at < to);
        Ok(self.known.get(begin..end).unwrap_or_default().to_vec())
    }

    fn concluded(&self, _: PatientId, from: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        let stands = |f: &Finding| f.retracted_at.is_none() && f.draft.effective_at >= from;
        Ok(self.ledger.values().filter(|(f, _)| stands(f)).cloned().collect())
    }

    fn closed(&self, _: PatientId, rule: Rule, from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        let mine = |(of, at): &&(String, Timestamp)| *of == rule.id() && *at >= from && *at <= self.now;
        Ok(self.closed.iter().filter(mine).map(|(_, at)| *at).collect())
    }

    fn contacts(&self, _: PatientId, from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        Ok(self.contacts.iter().copied().filter(|at| *at >= from && *at <= self.now).collect())
    }

    /// Presence is not kept: of the past only our own outages are known.
    fn link(&self, _: PatientId, _: Option<DeviceKey>) -> Result<Link, Error> {
        Ok(Link { outages: self.outages.clone(), meter: None })
    }
}

/// What happens at one moment, in the order in which it is done.
#[derive(Default)]
struct Moment {
    /// A binding was recorded, or ended.
    bound: bool,
    /// Readings that became this patient's after they had come.
    moved: Vec<Arc<Reading>>,
    came: Vec<JournalEntry>,
}

impl Past {
    /// Lives from `from` until `to` again; the findings concluded in it.
    pub(super) fn run(
        history: History,
        cards: &Cards,
        site: &Zone,
        (from, to): (Timestamp, Timestamp),
        kiosk: impl Fn(DeviceKey) -> bool,
    ) -> Result<Vec<Finding>, Error> {
        let History { patient, bindings, entries, findings, contacts, closed, seasons, outages } = history;
        // What is due at the very beginning belongs to the stretch.
        let start = Timestamp::from_micros(from.max(patient.enrolled_at).as_micros().saturating_sub(1));
        let mut moments: BTreeMap<Timestamp, Moment> = BTreeMap::new();
        let mut known: Vec<Arc<Reading>> = Vec::new();
        for entry in entries {
            let at = match &entry.entry {
                Entry::Held(held) => held.received_at,
                Entry::Reading(reading) => {
                    let covers =
                        |b: &&Binding| b.device == reading.device && b.covers(reading.user_slot, reading.measured_at);
                    let recorded = bindings.iter().find(covers).map_or(reading.received_at, |b| b.recorded_at);
                    let late = recorded > reading.received_at && !kiosk(reading.device);
                    let since = if late { recorded } else { reading.received_at };
                    if since <= start {
                        known.push(reading.clone());
                        continue;
                    }
                    if late {
                        moments.entry(recorded).or_default().moved.push(reading.clone());
                        continue;
                    }
                    reading.received_at
                }
            };
            if at > start {
                moments.entry(at).or_default().came.push(entry);
            }
        }
        for at in bindings.iter().flat_map(|b| [Some(b.recorded_at), b.to]).flatten().filter(|at| *at > start) {
            moments.entry(at).or_default().bound = true;
        }
        known.sort_unstable_by_key(|r| (r.measured_at, r.id));
        let ledger = findings.into_iter().filter_map(|(f, joined)| Some((f.id, (before(f, start)?, joined)))).collect();
        let id = patient.id;
        let past = Self { now: start, patient: patient.clone(), bindings, known, contacts, closed, outages, ledger };
        let mut engine = Engine::new(past, cards.clone(), site.clone(), start);
        engine.refresh(patient.clone(), start)?;
        engine.publish(&seasons);
        // Whatever was being asked then is found again by a timer that is due now.
        engine.recover(Some(start), &[(id, start)], start)?;
        settle(&mut engine);
        for (at, moment) in moments.into_iter().take_while(|(at, _)| *at < to) {
            wait(&mut engine, at)?;
            live(&mut engine, moment, at, &patient)?;
        }
        wait(&mut engine, Timestamp::from_micros(to.as_micros() - 1))?;
        let found = engine.world_mut().ledger.values().map(|(f, _)| f);
        Ok(found.filter(|f| f.draft.at >= from && f.draft.at < to).cloned().collect())
    }

    fn learn(&mut self, reading: &Arc<Reading>) {
        let key = (reading.measured_at, reading.id);
        let place = self.known.partition_point(|r| (r.measured_at, r.id) < key);
        self.known.insert(place, reading.clone());
    }

    /// As the store writes a batch.
    fn write(&mut self, batch: FindingBatch) {
        for (draft, decided_at) in batch.new {
            let id = store::finding_id(&draft);
            let sequence = i64::try_from(self.ledger.len()).unwrap_or(i64::MAX);
            let finding = Finding { id, sequence, draft, decided_at, retracted_at: None, alert: None };
            match self.ledger.get_mut(&id) {
                Some((stands, _)) if stands.retracted_at.is_none() => {}
                Some((gone, _)) => *gone = finding,
                None => drop(self.ledger.insert(id, (finding, Vec::new()))),
            }
        }
        for (id, at) in batch.retract {
            if let Some((finding, _)) = self.ledger.get_mut(&id) {
                finding.retracted_at.get_or_insert(at);
            }
        }
        for (id, readings) in batch.attach {
            if let Some((_, joined)) = self.ledger.get_mut(&id) {
                joined.extend(readings);
            }
        }
    }
}

/// A finding as it was known at `start`.
fn before(finding: Finding, start: Timestamp) -> Option<Finding> {
    let retracted_at = finding.retracted_at.filter(|at| *at <= start);
    (finding.draft.at <= start).then_some(Finding { retracted_at, ..finding })
}

fn settle(engine: &mut Engine<Past>) {
    let batch = engine.concluded();
    engine.world_mut().write(batch);
}

/// Everything that is due until `at`, each at its moment.
fn wait(engine: &mut Engine<Past>, at: Timestamp) -> Result<(), Error> {
    while let Some(due) = engine.next_due().filter(|due| *due <= at) {
        let now = engine.world().now.max(due);
        engine.world_mut().now = now;
        engine.run_due(now)?;
        settle(engine);
    }
    engine.world_mut().now = at;
    Ok(())
}

fn live(engine: &mut Engine<Past>, moment: Moment, at: Timestamp, patient: &Arc<Patient>) -> Result<(), Error> {
    if moment.bound {
        engine.refresh(patient.clone(), at)?;
    }
    let read = moment.came.iter().filter_map(|e| match &e.entry {
        Entry::Reading(reading) => Some(reading),
        Entry::Held(_) => None,
    });
    for reading in moment.moved.iter().chain(read) {
        engine.world_mut().learn(reading);
    }
    let moved: Vec<Handover> = moment.moved.into_iter().map(|reading| Handover { before: None, reading }).collect();
    if !moved.is_empty() {
        engine.hand_over(&moved, at)?;
    }
    engine.take(moment.came.iter().map(|e| (e.message, &e.entry)), at)?;
    engine.clean(at, Pace::All)?;
    settle(engine);
    Ok(())
}
