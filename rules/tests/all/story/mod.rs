//! A service in memory: one patient, a meter, a clock that is moved, a ledger of what was concluded.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod service;

use rules::{Cards, Engine, Error, Link, Pace, World};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use store::{DeviceCommand, Handover};
use vitals::{
    Context, Decimal, DeviceKey, Disposition, Entry, Finding, FindingId, GlucoseValue, Held, Patient, PatientId, Plan,
    Reading, ReadingId, Reason, Statuses, TimeQuality, Timestamp, Unit, Values, Verdict, Zone,
};

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

pub(crate) fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Memory {
    pub patient: Option<Arc<Patient>>,
    pub bound: Option<Timestamp>,
    pub readings: Vec<Arc<Reading>>,
    pub ledger: BTreeMap<FindingId, (Finding, Vec<ReadingId>)>,
    /// Every finding that was ever raised, in order.
    pub told: Vec<Finding>,
    pub commands: Vec<DeviceCommand>,
    pub timers: BTreeMap<PatientId, Timestamp>,
    /// When somebody logged a contact.
    pub contacts: Vec<Timestamp>,
    /// The way from the meter to here.
    pub link: Link,
    /// Stored, and not judged.
    pub unjudged: RefCell<BTreeSet<ReadingId>>,
    /// When a person closed all alerts.
    pub closed: Vec<Timestamp>,
}

impl World for Memory {
    fn patient(&self, id: PatientId) -> Option<Arc<Patient>> {
        self.patient.clone().filter(|p| p.id == id)
    }
    fn bound(&self, _: PatientId) -> Option<Timestamp> {
        self.bound
    }
    fn readings(&self, id: PatientId, from: Timestamp, to: Timestamp) -> Result<Vec<Arc<Reading>>, Error> {
        let unjudged = self.unjudged.borrow();
        let within = |r: &&Arc<Reading>| r.measured_at >= from && r.measured_at < to && !unjudged.contains(&r.id);
        let mine = |r: &&Arc<Reading>| r.patient == Some(id) && within(r);
        let mut found: Vec<_> = self.readings.iter().filter(mine).cloned().collect();
        found.sort_by_key(|r| (r.measured_at, r.id));
        Ok(found)
    }
    fn concluded(&self, _: PatientId, from: Timestamp) -> Result<Vec<(Finding, Vec<ReadingId>)>, Error> {
        let stands = |f: &Finding| f.retracted_at.is_none() && f.draft.effective_at >= from;
        Ok(self.ledger.values().filter(|(f, _)| stands(f)).cloned().collect())
    }
    fn show(&self, through: ReadingId) {
        self.unjudged.borrow_mut().remove(&through);
    }
    fn closed(&self, _: PatientId, _: rules::Rule, from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        Ok(self.closed.iter().copied().filter(|at| *at >= from).collect())
    }
    fn contacts(&self, _: PatientId, from: Timestamp) -> Result<Vec<Timestamp>, Error> {
        Ok(self.contacts.iter().copied().filter(|at| *at >= from).collect())
    }
    fn link(&self, _: PatientId, _: Option<DeviceKey>) -> Result<Link, Error> {
        Ok(self.link.clone())
    }
}

pub(crate) fn patient(plan: Plan, enrolled: Timestamp) -> Patient {
    Patient {
        id: PatientId::new(7),
        name: "Nobody".into(),
        birth_date: None,
        sex: None,
        tags: Vec::new(),
        conditions: Vec::new(),
        team: None,
        organisation: None,
        phone: None,
        time_zone: None,
        enrolled_at: enrolled,
        visited_on: None,
        plan,
    }
}

fn blank(seq: i64, time: Timestamp, values: Values, unit: Unit) -> Reading {
    Reading {
        id: ReadingId::new(seq.unsigned_abs()),
        device: DeviceKey::new(1),
        epoch: 0,
        seq,
        user_slot: None,
        patient: Some(PatientId::new(7)),
        measured_at: time,
        received_at: time,
        device_time: None,
        time_quality: TimeQuality::Exact,
        disposition: Disposition::Stored,
        values,
        unit,
        statuses: Statuses::default(),
        flags: Vec::new(),
        historical: false,
        context: Context::default(),
    }
}

pub(crate) fn bp(seq: i64, time: Timestamp, systolic: i64, diastolic: i64) -> Reading {
    let (systolic, diastolic) = (Decimal::new(systolic, 0), Decimal::new(diastolic, 0));
    blank(seq, time, Values::Pressure { systolic, diastolic, map: None, pulse: None }, Unit::MmHg)
}

/// `tenths` of mmol/L.
pub(crate) fn bg(seq: i64, time: Timestamp, tenths: i64) -> Reading {
    blank(seq, time, Values::Glucose(GlucoseValue::Value(Decimal::new(tenths, -1))), Unit::MmolPerL)
}

pub(crate) fn beyond(seq: i64, time: Timestamp, value: GlucoseValue) -> Reading {
    Reading { disposition: Disposition::Flagged, ..blank(seq, time, Values::Glucose(value), Unit::MmolPerL) }
}

pub(crate) fn implausible(seq: i64, time: Timestamp) -> Held {
    Held {
        id: ReadingId::new(seq.unsigned_abs()),
        device: DeviceKey::new(1),
        epoch: 0,
        seq: Some(seq),
        patient: Some(PatientId::new(7)),
        measured_at: Some(time),
        received_at: time,
        reasons: vec![Reason::Implausible],
        bytes: Vec::new(),
        route: "readings".into(),
    }
}

pub(crate) struct Story {
    pub engine: Engine<Memory>,
    pub now: Timestamp,
    message: u64,
}

impl Story {
    pub(crate) fn new(patient: Patient, start: Timestamp) -> Self {
        let memory = Memory { patient: Some(Arc::new(patient)), bound: Some(start), ..Memory::default() };
        Self::on(memory, start)
    }

    pub(crate) fn on(memory: Memory, start: Timestamp) -> Self {
        let patient = memory.patient.clone().unwrap();
        let timers: Vec<_> = memory.timers.iter().map(|(p, d)| (*p, *d)).collect();
        let mut engine = Engine::new(memory, Cards::built_in().unwrap(), Zone::default(), start);
        engine.refresh(patient, start).unwrap();
        engine.recover(None, &timers, start).unwrap();
        let mut this = Self { engine, now: start, message: 0 };
        let unjudged = this.engine.world().unjudged.borrow().clone();
        let all = this.engine.world().readings.iter().filter(|r| unjudged.contains(&r.id));
        let waiting: Vec<Entry> = all.cloned().map(Entry::Reading).collect();
        if waiting.is_empty() {
            this.commit();
        } else {
            this.judge(&waiting);
        }
        this.goto(start);
        this
    }

    /// One message is stored and acknowledged, and the process dies before it is judged; it comes back after `down`.
    pub(crate) fn dies_with(mut self, readings: Vec<Reading>, down: Duration) -> Self {
        let now = self.now;
        let world = self.engine.world_mut();
        for mut reading in readings {
            reading.received_at = now;
            world.unjudged.borrow_mut().insert(reading.id);
            world.readings.push(Arc::new(reading));
        }
        self.now = now.plus(down);
        self.restart()
    }

    /// A person closes every alert.
    pub(crate) fn close_alerts(&mut self) {
        let now = self.now;
        self.engine.world_mut().closed.push(now);
    }

    /// The process dies and comes back at `self.now`; what was committed is there.
    pub(crate) fn restart(self) -> Self {
        Self::on(self.engine.world().clone(), self.now)
    }

    pub(crate) fn goto(&mut self, to: Timestamp) {
        while let Some(due) = self.engine.next_due().filter(|due| *due <= to) {
            self.now = self.now.max(due);
            self.engine.run_due(self.now).unwrap();
            self.commit();
        }
        self.now = self.now.max(to);
    }

    /// One message arrives at `self.now`.
    pub(crate) fn message(&mut self, readings: Vec<Reading>) {
        self.entries(readings.into_iter().map(|r| Entry::Reading(r.into())).collect());
    }

    pub(crate) fn entries(&mut self, entries: Vec<Entry>) {
        self.message += 1;
        let mut fresh = Vec::new();
        for mut entry in entries {
            match &mut entry {
                Entry::Reading(r) => {
                    Arc::make_mut(r).received_at = self.now;
                    if self.engine.world().readings.iter().any(|known| known.id == r.id) {
                        continue; // the journal knows it already
                    }
                    self.engine.world_mut().readings.push(r.clone());
                }
                Entry::Held(h) => Arc::make_mut(h).received_at = self.now,
            }
            fresh.push(entry);
        }
        self.judge(&fresh);
    }

    /// One message arrives, and what of it came late waits for its turn.
    pub(crate) fn arrives(&mut self, readings: Vec<Reading>) {
        self.message += 1;
        let mut entries = Vec::new();
        for mut reading in readings {
            reading.received_at = self.now;
            let reading = Arc::new(reading);
            self.engine.world_mut().readings.push(reading.clone());
            entries.push((self.message, Entry::Reading(reading)));
        }
        self.engine.take(entries.iter().map(|(n, e)| (*n, e)), self.now).unwrap();
        self.commit();
    }

    /// A reading turns out to be this patient's, or somebody else's.
    pub(crate) fn moved(&mut self, reading: Reading, gains: bool) {
        self.moved_all(vec![(reading, gains)]);
    }

    pub(crate) fn moved_all(&mut self, moved: Vec<(Reading, bool)>) {
        let mut told = Vec::new();
        for (mut reading, gains) in moved {
            let mine = reading.patient;
            if !gains {
                reading.patient = Some(PatientId::new(1000));
            }
            let reading = Arc::new(reading);
            let all = &mut self.engine.world_mut().readings;
            all.retain(|r| r.id != reading.id);
            all.push(reading.clone());
            told.push(Handover { before: mine.filter(|_| !gains), reading });
        }
        self.engine.hand_over(&told, self.now).unwrap();
        self.commit();
    }

    /// A reading turns out not to count.
    pub(crate) fn exclude(&mut self, reading: Reading) {
        let before = reading.patient;
        let reading = Arc::new(Reading { disposition: Disposition::Excluded, ..reading });
        let all = &mut self.engine.world_mut().readings;
        all.retain(|r| r.id != reading.id);
        all.push(reading.clone());
        self.engine.hand_over(&[Handover { before, reading }], self.now).unwrap();
        self.clean();
    }

    /// Everything that waits gets its turn.
    pub(crate) fn clean(&mut self) {
        self.engine.clean(self.now, Pace::All).unwrap();
        self.commit();
    }

    fn judge(&mut self, entries: &[Entry]) {
        let number = self.message;
        self.engine.take(entries.iter().map(|e| (number, e)), self.now).unwrap();
        self.engine.clean(self.now, Pace::All).unwrap();
        self.commit();
    }

    fn commit(&mut self) {
        let batch = self.engine.concluded();
        let world = self.engine.world_mut();
        for (draft, decided_at) in batch.new {
            let id = store::finding_id(&draft);
            let sequence = i64::try_from(world.told.len()).unwrap() + 1;
            let finding = Finding { id, sequence, draft, decided_at, retracted_at: None, alert: None };
            assert!(
                world.ledger.get(&id).is_none_or(|(f, _)| f.retracted_at.is_some()),
                "said twice: {:?}",
                finding.draft.rule
            );
            world.told.push(finding.clone());
            world.ledger.insert(id, (finding, Vec::new()));
        }
        for (id, when) in batch.retract {
            world.ledger.get_mut(&id).expect("only what was said is retracted").0.retracted_at = Some(when);
        }
        for (id, readings) in batch.attach {
            let attached = &mut world.ledger.get_mut(&id).expect("only to what was said").1;
            for r in readings {
                assert!(!attached.contains(&r), "attached twice");
                attached.push(r);
            }
        }
        for (patient, due) in batch.timers {
            match due {
                Some(due) => world.timers.insert(patient, due),
                None => world.timers.remove(&patient),
            };
        }
        world.commands.extend(batch.commands);
    }

    /// Findings that stand, in order of effect.
    pub(crate) fn standing(&self) -> Vec<&Finding> {
        let mut all: Vec<_> =
            self.engine.world().ledger.values().map(|(f, _)| f).filter(|f| f.retracted_at.is_none()).collect();
        all.sort_by_key(|f| (f.draft.effective_at, f.draft.severity, f.draft.rule.clone()));
        all
    }

    pub(crate) fn of(&self, rule: &str) -> Vec<&Finding> {
        self.standing().into_iter().filter(|f| &*f.draft.rule == rule).collect()
    }

    pub(crate) fn attached(&self, id: FindingId) -> usize {
        self.engine.world().ledger[&id].1.len()
    }
}

pub(crate) fn brief(f: &Finding) -> (String, &'static str, Timestamp, bool) {
    let d = &f.draft;
    (d.rule.to_string(), d.severity.as_str(), d.effective_at, d.verdict == Verdict::Note)
}
