//! The service's pure middle in memory: messages in, findings and requests out, no journal, no sockets.
//!
//! Goes in: patients, meters' messages, moments. Comes out: what stands concluded. It is the live code: `wire` decodes,
//! `ingest` admits, `rules` evaluates; only what is kept lies in vectors. Must never: judge anything itself.

use bytes::Bytes;
use ingest::{
    admit::{Admission, Clocked, Envelope, Past, admit, number_of},
    time::TimeSense,
};
use rules::{Cards, Engine, Error, Pace, World};
use simulators::cohort::{Request, SEEN_AGAIN, Seen};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};
use store::{DeviceHistory, Known};
use vitals::{
    Binding, BindingId, DeviceKey, Entry, Finding, FindingId, Held, Patient, PatientId, Reading, ReadingId, Severity,
    Slot, Timestamp, Zone,
};
use wire::reading_v1;

/// What is kept of everybody.
#[derive(Default)]
pub(crate) struct Memory {
    people: HashMap<PatientId, Kept>,
    /// A finding's own id does not say whose it is.
    whose: HashMap<FindingId, PatientId>,
}

struct Kept {
    patient: Arc<Patient>,
    bound: Timestamp,
    readings: Vec<Arc<Reading>>,
    findings: BTreeMap<FindingId, (Finding, Vec<ReadingId>)>,
}

impl World for Memory {
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        self.people.get(&id).map(|k| k.patient.clone())
    }

    fn bound(&self, id: PatientId) -> Option<Timestamp> {
        self.people.get(&id).map(|k| k.bound)
    }

    fn readings(&self, id: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        let Some(kept) = self.people.get(&id) else { return Ok(Vec::new()) };
        let begin = kept.readings.partition_point(|r| r.measured_at < from);
        let end = kept.readings.partition_point(|r| r.measured_at < to);
        Ok(kept.readings.get(begin..end).unwrap_or_default().to_vec())
    }

    fn concluded(&self, id: PatientId, from: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        let Some(kept) = self.people.get(&id) else { return Ok(Vec::new()) };
        let stands = |f: &Finding| f.retracted_at.is_none() && f.draft.effective_at >= from;
        Ok(kept.findings.values().filter(|(f, _)| stands(f)).cloned().collect())
    }

    /// The team of the story sees again whoever had a critical finding, and writes it down.
    fn contacts(&self, id: PatientId, from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        let findings = self.people.get(&id).into_iter().flat_map(|k| k.findings.values());
        let critical = findings.filter(|(f, _)| f.draft.severity == Severity::Critical && !f.draft.closes);
        let mut seen: Vec<Timestamp> =
            critical.map(|(f, _)| f.draft.effective_at.plus(SEEN_AGAIN)).filter(|at| *at >= from).collect();
        seen.sort_unstable();
        Ok(seen)
    }
}

/// Readings of a meter that may still be repeated: enough for a message sent twice.
const REMEMBERED: usize = 400;

/// One meter as ingest knows it.
#[derive(Default)]
struct Meter {
    history: DeviceHistory,
    known: VecDeque<(i64, Known)>,
    held: VecDeque<Bytes>,
    bindings: Vec<Binding>,
}

/// A request to measure again.
pub(crate) struct Ask {
    /// Of which meter.
    pub(crate) device: DeviceKey,
    /// What.
    pub(crate) request: Request,
}

/// All of it.
pub(crate) struct House {
    engine: Engine<Memory>,
    meters: HashMap<DeviceKey, Meter>,
    zone: Zone,
    now: Timestamp,
    messages: u64,
    entries: u64,
    asks: Vec<Ask>,
    /// A meter is sent a command once, however often it is concluded.
    asked: HashSet<String>,
    /// Readings that were kept, known already, held.
    pub(crate) books: (u64, u64, u64),
}

impl House {
    /// Empty, at `start`.
    pub(crate) fn new(start: Timestamp) -> Result<Self, Error> {
        let mut engine = Engine::new(Memory::default(), Cards::built_in()?, Zone::default(), start);
        engine.recover(None, &[], start)?;
        Ok(Self {
            engine,
            meters: HashMap::new(),
            zone: Zone::default(),
            now: start,
            messages: 0,
            entries: 0,
            asks: Vec::new(),
            asked: HashSet::new(),
            books: (0, 0, 0),
        })
    }

    /// Takes in a patient with meters, bound from long ago and recorded now.
    pub(crate) fn enrol(&mut self, patient: Patient, meters: &[DeviceKey]) -> Result<(), Error> {
        let patient = Arc::new(patient);
        for device in meters {
            let binding = Binding {
                id: BindingId::new(device.as_i64().unsigned_abs()),
                device: *device,
                slot: Slot::Any,
                from: Timestamp::MIN,
                to: None,
                patient: patient.id,
                recorded_at: self.now,
            };
            self.meters.insert(*device, Meter { bindings: vec![binding], ..Meter::default() });
        }
        let kept = Kept { patient: patient.clone(), bound: self.now, readings: Vec::new(), findings: BTreeMap::new() };
        self.engine.world_mut().people.insert(patient.id, kept);
        self.engine.refresh(patient, self.now)?;
        self.commit();
        Ok(())
    }

    /// Time goes on; what was due before is done at its time.
    pub(crate) fn goto(&mut self, to: Timestamp) -> Result<(), Error> {
        while let Some(due) = self.engine.next_due().filter(|due| *due <= to) {
            self.now = self.now.max(due);
            self.engine.run_due(self.now)?;
            self.commit();
        }
        self.now = self.now.max(to);
        Ok(())
    }

    /// One message of a meter arrives now.
    pub(crate) fn message(&mut self, device: DeviceKey, payload: &[u8]) -> Result<(), Error> {
        let payload = Bytes::copy_from_slice(payload);
        let Ok(message) = reading_v1::decode(&payload) else {
            self.books.2 += 1;
            return Ok(());
        };
        let entries = self.admit(device, &message);
        if entries.is_empty() {
            return Ok(());
        }
        self.messages += 1;
        let number = self.messages;
        self.engine.take(entries.iter().map(|e| (number, e)), self.now)?;
        self.engine.clean(self.now, Pace::All)?;
        self.commit();
        Ok(())
    }

    fn admit(&mut self, device: DeviceKey, message: &reading_v1::Message) -> Vec<Entry> {
        let Some(meter) = self.meters.get_mut(&device) else { return Vec::new() };
        let sense = TimeSense { zone: &self.zone, received_at: self.now, reset_day: None };
        let highest = message.items.iter().filter_map(|i| i.seq).max();
        let mut entries = Vec::with_capacity(message.items.len());
        for item in &message.items {
            let newest = item.seq == highest;
            let envelope =
                Envelope { device, pair: message.clock, historical: message.historical, number: None, newest };
            let clocked = Clocked::of(item, envelope.pair, &sense);
            let seq = number_of(item, envelope, &clocked, self.now);
            let same = |k: &&(i64, Known)| Some(k.0) == seq;
            let known: Vec<Known> = meter.known.iter().filter(same).map(|k| k.1).collect();
            // No clock of the cohort is unset twice in a row.
            let (history, bindings) = (&meter.history, &meter.bindings[..]);
            let past = Past { history, known: &known, bindings, last_told: None };
            match admit(item, envelope, clocked, seq, past, self.now) {
                Admission::Duplicate { .. } => self.books.1 += 1,
                Admission::Keep(mut reading) => {
                    self.entries += 1;
                    self.books.0 += 1;
                    reading.id = ReadingId::new(self.entries);
                    meter.keep(&reading, clocked);
                    let reading = Arc::new(*reading);
                    self.engine.world_mut().keep(reading.clone());
                    entries.push(Entry::Reading(reading));
                }
                Admission::Hold(_) if meter.held.contains(&item.raw) => self.books.1 += 1,
                Admission::Hold(hold) => {
                    self.entries += 1;
                    self.books.2 += 1;
                    // As in the store: a conflict's number is another reading's.
                    let seq = seq.filter(|_| !hold.reasons.contains(&vitals::Reason::Conflict));
                    meter.hold(item.raw.clone(), hold.epoch, seq, clocked);
                    entries.push(Entry::Held(Arc::new(Held {
                        id: ReadingId::new(self.entries),
                        device,
                        epoch: hold.epoch,
                        seq: item.seq,
                        patient: hold.patient,
                        measured_at: hold.measured_at,
                        received_at: self.now,
                        reasons: hold.reasons,
                        bytes: Vec::new(),
                        route: "readings".into(),
                    })));
                }
            }
        }
        entries
    }

    fn commit(&mut self) {
        if !self.engine.has_concluded() {
            return;
        }
        let batch = self.engine.concluded();
        let memory = self.engine.world_mut();
        for (draft, decided_at) in batch.new {
            let id = store::finding_id(&draft);
            let Some(kept) = memory.people.get_mut(&draft.patient) else { continue };
            memory.whose.insert(id, draft.patient);
            let finding = Finding { id, sequence: 0, draft, decided_at, retracted_at: None, alert: None };
            kept.findings.insert(id, (finding, Vec::new()));
        }
        for (id, when) in batch.retract {
            if let Some((finding, _)) = memory.finding(id) {
                finding.retracted_at = Some(when);
            }
        }
        for (id, readings) in batch.attach {
            if let Some((_, attached)) = memory.finding(id) {
                attached.extend(readings);
            }
        }
        for command in batch.commands {
            if let Some(request) = Request::of(command.body.as_bytes())
                && self.asked.insert(command.id)
            {
                self.asks.push(Ask { device: command.device, request });
            }
        }
    }

    /// What was asked since the last call.
    pub(crate) fn asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// What stands of one patient, effective before `until`.
    pub(crate) fn seen(&self, patient: PatientId, until: Timestamp) -> Vec<Seen> {
        let kept = self.engine.world().people.get(&patient);
        let all = kept.into_iter().flat_map(|k| k.findings.values());
        let mut out: Vec<Seen> = all
            .filter(|(f, _)| f.retracted_at.is_none() && f.draft.effective_at < until)
            .map(|(f, _)| Seen {
                effective_at: f.draft.effective_at,
                rule: f.draft.rule.to_string(),
                concept: f.draft.concept.as_str().to_owned(),
                severity: f.draft.severity,
                verdict: f.draft.verdict,
                recipients: f.draft.recipients.clone(),
                closes: f.draft.closes,
            })
            .collect();
        out.sort();
        out
    }
}

impl Memory {
    fn finding(&mut self, id: FindingId) -> Option<&mut (Finding, Vec<ReadingId>)> {
        self.people.get_mut(self.whose.get(&id)?)?.findings.get_mut(&id)
    }

    fn keep(&mut self, reading: Arc<Reading>) {
        let Some(kept) = reading.patient.and_then(|id| self.people.get_mut(&id)) else { return };
        let place = kept.readings.partition_point(|r| (r.measured_at, r.id) <= (reading.measured_at, reading.id));
        kept.readings.insert(place, reading);
    }
}

impl Meter {
    fn keep(&mut self, reading: &Reading, clocked: Clocked) {
        let fingerprint = store::fingerprint(&reading.values, reading.unit);
        let known = Known { id: reading.id, epoch: reading.epoch, told: clocked.told, fingerprint };
        self.known.push_back((reading.seq, known));
        if self.known.len() > REMEMBERED {
            self.known.pop_front();
        }
        self.history.record(reading.epoch, reading.seq, clocked.told.filter(|_| clocked.orders));
    }

    fn hold(&mut self, raw: Bytes, epoch: u32, seq: Option<i64>, clocked: Clocked) {
        self.held.push_back(raw);
        if self.held.len() > REMEMBERED {
            self.held.pop_front();
        }
        if let Some(seq) = seq {
            self.history.record(epoch, seq, clocked.told.filter(|_| clocked.orders));
        }
    }
}
