//! What can happen to readings, told to an installation step by step; after each step the engine answers as the truth.

use crate::{
    engine::Engine,
    questdb_server::until,
    truth::{DAY, Means, START, Truth, alike, first_day, plain, reading},
};
use jiff::civil::{Date, date};
use runtime::{Clock, Drain, DrainHandle};
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use store::{
    ERASED, Known, NewReading, PopulationQuery, Store, StoreError, Stride, fingerprint,
    questdb::{self, Handle, Source, State},
};
use vitals::{
    Binding, BindingId, Device, DeviceKey, DeviceKind, Disposition, GlucoseLevel, Kind, Patient, PatientId, Plan,
    Reading, Slot, Timestamp, Zone,
};

/// Merged after so many rows, so that both memory and tables are asked.
const MERGE_AT: usize = 700;
/// New York moves its clocks within the ten weeks; Shanghai never.
const ZONES: [&str; 2] = ["Asia/Shanghai", "America/New_York"];

/// A real store, projected where there is a configuration.
pub struct Installation {
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    config: Option<questdb::Config>,
    running: Option<Running>,
    pub truth: Truth,
    /// Who turned out to wear a meter.
    heir: Option<PatientId>,
}

struct Running {
    store: Store,
    end: DrainHandle,
    handle: Option<Handle>,
}

impl Installation {
    pub fn new(config: Option<questdb::Config>) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let mut new =
            Self { folder, _temporary: Some(temporary), config, running: None, truth: Truth::default(), heir: None };
        new.start();
        new
    }

    /// The embedded series alone, in a place that is given.
    pub fn embedded(folder: PathBuf) -> Self {
        let mut new =
            Self { folder, _temporary: None, config: None, running: None, truth: Truth::default(), heir: None };
        new.start();
        new
    }

    pub fn start(&mut self) {
        let (end, drain) = Drain::new();
        // After everything that was measured.
        let clock = Clock::manual(Timestamp::from_seconds(START + 200 * DAY));
        let mut store = Store::open(&self.folder, clock, &drain).unwrap();
        store.readings().hurry(MERGE_AT, 50);
        let handle = self.config.clone().map(|config| {
            let handle = questdb::start(config.clone(), &self.folder, Source::of(&store), &drain).unwrap();
            tokio::spawn(questdb::follow(store.readings().moved(), handle.clone()));
            store = store.clone().with_projection(config, handle.clone());
            handle
        });
        self.running = Some(Running { store, end, handle });
    }

    pub fn store(&self) -> &Store {
        &self.running.as_ref().unwrap().store
    }

    pub fn handle(&self) -> &Handle {
        self.running.as_ref().unwrap().handle.as_ref().unwrap()
    }

    pub async fn end(&mut self) {
        let Running { store, end, handle } = self.running.take().unwrap();
        end.stop();
        drop((store, handle));
        assert_eq!(end.drained(Duration::from_secs(20)).await, Vec::<&str>::new());
    }

    /// As ingest does: what the device has sent before is known. How many were new; they are the truth from now on.
    pub async fn send(&mut self, readings: Vec<Reading>) -> usize {
        self.try_send(readings).await.unwrap()
    }

    /// The same on a place that may be full: what was acknowledged before an error is the truth, and nothing else.
    pub async fn try_send(&mut self, readings: Vec<Reading>) -> Result<usize, StoreError> {
        let mut fresh = 0;
        for part in readings.chunks(500) {
            let part = part.to_vec();
            let kept = self.store().readings().submit(date(2026, 7, 1), part.len(), move |desk| {
                let mut kept = Vec::new();
                for reading in part {
                    let mark = fingerprint(&reading.values, reading.unit);
                    let known = desk.known(reading.device, reading.seq)?;
                    let same = |k: &&Known| k.epoch == reading.epoch && [mark, ERASED].contains(&k.fingerprint);
                    if let Some(known) = known.iter().find(same) {
                        desk.duplicate(reading.device, known.id);
                        continue;
                    }
                    let told = Some(reading.measured_at);
                    let id = desk.keep(NewReading { reading: reading.clone(), told, trusted: true })?;
                    kept.push(Reading { id, ..reading });
                }
                Ok(kept)
            });
            let kept = kept.await?;
            fresh += kept.len();
            self.truth.0.extend(kept);
        }
        Ok(fresh)
    }

    /// The projection has nothing left to do, and says that all of it was counted.
    pub async fn settled(&self) {
        let Some(handle) = &self.running.as_ref().unwrap().handle else { return };
        questdb::tell_stale(self.store().readings(), handle).await.unwrap();
        let (head, moves) = (*self.store().readings().committed().borrow(), self.store().readings().moves());
        let done = |h: &questdb::ProjectorHealth| {
            let noted = h.rewriting == 0 && h.followed >= moves;
            h.state == State::Live && h.checked >= head && noted && !h.recounting
        };
        until(handle, "settled", done).await;
    }

    /// The store's own question by day or week, for one person.
    pub async fn days(&self, patient: PatientId, kind: Kind, weeks: bool, zone: &Zone) -> Means {
        let whose = Some(Arc::new(HashSet::from([patient])));
        let found = self.store().population(PopulationQuery { whose, ..everything(kind, weeks, zone) }).await.unwrap();
        let mean = |s: &store::Stretch| Some((s.day, (s.readings - s.beyond, s.first?.mean)));
        found.stretches.iter().filter_map(mean).collect()
    }
}

pub fn everything(kind: Kind, weeks: bool, zone: &Zone) -> PopulationQuery {
    PopulationQuery {
        kind,
        from: Timestamp::from_seconds(START - 100 * DAY),
        to: Timestamp::from_seconds(START + 150 * DAY),
        stride: if weeks { Stride::Week } else { Stride::Day },
        zone: zone.clone(),
        whose: None,
    }
}

pub async fn tell(at: &mut Installation, engine: &Engine) {
    agree(at, engine, "nothing was ever measured").await;

    let first: Vec<Reading> = (1..=2_000).map(reading).collect();
    let count = first.len();
    assert_eq!(at.send(first.clone()).await, count);
    agree(at, engine, "readings came").await;

    assert_eq!(at.send(first.clone()).await, 0, "everything is known");
    agree(at, engine, "everything was sent again").await;

    let late = (0..150).map(|n| plain(n, 3 + n % 2, START - 60 * DAY + i64::try_from(n).unwrap() * 20_000, 150));
    assert_eq!(at.send(late.collect()).await, 150);
    agree(at, engine, "old readings came late").await;

    let nobodys = at.store().readings().unassigned(None, 3).await.unwrap();
    for one in &nobodys {
        at.store().readings().assign(one.id, PatientId::new(77)).await.unwrap();
        let known = at.truth.0.iter_mut().find(|r| r.id == one.id).unwrap();
        known.patient = Some(PatientId::new(77));
    }
    assert_eq!(nobodys.len(), 3);
    agree(at, engine, "readings of nobody were given to somebody").await;

    hand_over(at, DeviceKey::new(7), Timestamp::from_seconds(START + 20 * DAY)).await;
    agree(at, engine, "a meter turned out to be worn by somebody else").await;

    let gone = PatientId::new(5);
    let erased = at.store().readings().erase(gone, Vec::new(), Zone::default()).await.unwrap();
    assert_eq!(erased.readings_before, at.truth.0.iter().filter(|r| r.patient == Some(gone)).count() as u64);
    at.truth.0.retain(|r| r.patient != Some(gone));
    agree(at, engine, "a patient was erased").await;

    at.end().await;
    at.start();
    agree(at, engine, "the service was started again").await;

    // Without a counter nothing of a reading may stay, its number neither: those are the meter's to keep to itself.
    let known = first.into_iter().filter(|r| r.seq >= 0 || r.patient != Some(gone)).collect();
    assert_eq!(at.send(known).await, 0, "what was erased does not come back from a meter's memory");
    let more = (3_001..=3_500).map(reading).collect();
    assert_eq!(at.send(more).await, 500);
    agree(at, engine, "readings came after a restart").await;
}

/// From `since` on the device is worn by somebody new, before by nobody.
async fn hand_over(at: &mut Installation, device: DeviceKey, since: Timestamp) {
    let person = Patient {
        id: PatientId::new(0),
        name: "Heir".into(),
        birth_date: None,
        sex: None,
        tags: Vec::new(),
        conditions: Vec::new(),
        team: None,
        organisation: None,
        phone: None,
        time_zone: None,
        enrolled_at: since,
        visited_on: None,
        plan: Plan::default(),
    };
    let patient = at.store().create_patient(person).await.unwrap().id;
    at.heir = Some(patient);
    // Keys are given in order; its public name is its key, as it was while nobody knew it.
    while at.store().directory().device_by_key(device).is_none() {
        let next = DeviceKey::new(1 + at.store().directory().devices().len() as u64);
        let made = Device {
            key: next,
            id: next.to_string().parse().unwrap(),
            kind: DeviceKind::Meter,
            label: None,
            model: None,
            organisation: None,
            secret_hash: None,
            revoked: false,
        };
        assert_eq!(at.store().create_device(made).await.unwrap().key, next);
    }
    let binding =
        Binding { id: BindingId::new(0), device, slot: Slot::Any, from: since, to: None, patient, recorded_at: since };
    at.store().create_binding(binding).await.unwrap();
    let moved = at.store().readings().reattribute(device).await.unwrap();
    assert!(moved > 10, "{moved} readings moved");
    for r in at.truth.0.iter_mut().filter(|r| r.device == device && r.patient != Some(PatientId::new(77))) {
        r.patient = (r.measured_at >= since).then_some(patient);
    }
}

/// Every question, asked and compared.
pub async fn agree(at: &Installation, engine: &Engine, after: &str) {
    at.settled().await;
    let name = engine.name();
    let (rows, truth) = (engine.rows(at).await, at.truth.rows());
    assert_eq!(rows.len(), truth.len(), "{name}: how many rows, after {after}");
    assert!(rows == truth, "{name}: the row set, after {after}");
    let people: Vec<PatientId> = at.truth.people().into_iter().collect();
    assert_eq!(engine.latest(at, &people).await, at.truth.latest(), "{name}: latest of each, after {after}");

    let moment = |days: i64| Timestamp::from_seconds(START + days * DAY);
    // Some who did what the story is about, one who did not, one who never was there.
    for patient in [3, 5, 11, 77, 999].map(PatientId::new).into_iter().chain(at.heir) {
        for kind in [Kind::BloodPressure, Kind::BloodGlucose] {
            for span in [(moment(-90), moment(90)), (moment(10), moment(17)), (moment(17), moment(17))] {
                let found = engine.range(at, patient, kind, span).await;
                assert!(found == at.truth.range(patient, kind, span), "{name}: range, after {after}");
            }
            let zone = Zone::default();
            for weeks in [false, true] {
                let found = engine.means(at, patient, kind, weeks, &zone).await;
                assert!(alike(&found, &at.truth.means(patient, kind, weeks, &zone)), "{name}: means, after {after}");
            }
        }
        for n in [1, 7] {
            assert!(engine.last(at, patient, n).await == at.truth.last(patient, n), "{name}: last {n}, after {after}");
        }
    }
    for zone in ZONES.map(|zone| Zone::named(zone).unwrap()) {
        for (kind, weeks) in [(Kind::BloodPressure, true), (Kind::BloodGlucose, false), (Kind::BloodGlucose, true)] {
            let query = everything(kind, weeks, &zone);
            let found = at.store().population(query.clone()).await.unwrap();
            assert_eq!(found.source.series, name, "{:?}, after {after}", found.source);
            let wanted = population(&at.truth.0, &query);
            let counted: BTreeMap<Date, [u64; 7]> = found
                .stretches
                .iter()
                .map(|s| (s.day, [s.patients, s.controlled, s.readings, s.in_target, s.beyond, s.flagged, s.excluded]))
                .collect();
            assert_eq!(counted, wanted, "{name}: many people in {}, after {after}", zone.name());
        }
    }
}

/// People, those in target, readings, those in target, `HI` and `LO`, flagged, excluded: by hand.
fn population(all: &[Reading], q: &PopulationQuery) -> BTreeMap<Date, [u64; 7]> {
    let mut stretches: BTreeMap<Date, BTreeMap<PatientId, Vec<&Reading>>> = BTreeMap::new();
    for r in all.iter().filter(|r| r.kind() == q.kind && (q.from..q.to).contains(&r.measured_at)) {
        if let Some(patient) = r.patient {
            let day = first_day(r.measured_at.day(&q.zone), q.stride == Stride::Week);
            stretches.entry(day).or_default().entry(patient).or_default().push(r);
        }
    }
    let beyond = |r: &Reading| matches!(r.glucose(), Some(GlucoseLevel::AboveRange | GlucoseLevel::BelowRange));
    let excluded = |r: &Reading| r.disposition == Disposition::Excluded;
    let counts = |r: &Reading| !beyond(r) && r.disposition == Disposition::Stored;
    let well = |pressure: (f64, f64), glucose: f64| match q.kind {
        Kind::BloodPressure => pressure.0 < 135.0 && pressure.1 < 85.0,
        Kind::BloodGlucose => (3.9..=10.0).contains(&glucose),
    };
    let numbers = |r: &Reading| {
        let glucose = match r.glucose() {
            Some(GlucoseLevel::Mmol(v)) => v,
            _ => 0.0,
        };
        (r.pressure().unwrap_or_default(), glucose)
    };
    let line = |people: BTreeMap<PatientId, Vec<&Reading>>| {
        let mut line = [0; 7];
        for readings in people.values() {
            let used: Vec<_> = readings.iter().filter(|r| counts(r)).map(|r| numbers(r)).collect();
            let above = readings.iter().filter(|r| beyond(r) && !excluded(r)).count() as u64;
            line[0] += u64::from(!used.is_empty() || above > 0);
            #[allow(clippy::cast_precision_loss)]
            let mean = |f: fn(&((f64, f64), f64)) -> f64| used.iter().map(f).sum::<f64>() / used.len() as f64;
            line[1] += u64::from(!used.is_empty() && well((mean(|n| n.0.0), mean(|n| n.0.1)), mean(|n| n.1)));
            line[2] += used.len() as u64 + above;
            line[3] += used.iter().filter(|n| well(n.0, n.1)).count() as u64;
            line[4] += above;
            line[5] += readings.iter().filter(|r| !beyond(r) && r.disposition == Disposition::Flagged).count() as u64;
            line[6] += readings.iter().filter(|r| excluded(r)).count() as u64;
        }
        line
    };
    stretches.into_iter().map(|(day, people)| (day, line(people))).collect()
}
