//! The journal against a list: whatever happens to readings, and wherever the steps of a merge fall in between, every
//! question has the answer that a plain map of the readings has.
//!
//! Goes in: a story of random steps, each decided by three numbers. A merge goes only where a step of the story makes it
//! go. `CASES` and `SEED` as everywhere; a story that fails is told in its shortest form.

mod ask;
mod model;

use super::{tests::*, *};
use model::{DEVICES, Model, PATIENTS, moment};
use proptest::prelude::*;
use vitals::{Binding, BindingId, Held, Reading, Reason, Slot, Zone};

/// Never reached: the story says when memory is frozen.
const NEVER: usize = 1 << 40;

/// The store, the map beside it, and the folders of the lives before.
struct Life {
    bench: Bench,
    model: Model,
    folders: Vec<tempfile::TempDir>,
}

impl Life {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = open(folder.path(), NEVER);
        Self { bench, model: Model::default(), folders: vec![folder] }
    }

    /// As ingest does: what is known is counted, what is new is kept, and more is said of some in the same commit.
    async fn send(&mut self, device: u64, seqs: std::ops::Range<i64>, says: Vec<(ReadingId, u64)>, hold: bool) {
        let (first, received) = (self.model.next, self.model.tick());
        let readings: Vec<Reading> = seqs.map(|seq| model::reading(device, seq, received)).collect();
        let held = held(device, received, first);
        let (sent, said, bytes) = (readings.clone(), says.clone(), hold.then(|| held.clone()));
        let work = move |desk: &mut Desk<'_>| {
            for (n, reading) in sent.into_iter().enumerate() {
                let known = desk.known(reading.device, reading.seq)?;
                if let Some(known) = known.iter().find(|k| k.epoch == reading.epoch) {
                    desk.duplicate(reading.device, known.id);
                    continue;
                }
                let told = Some(reading.measured_at);
                let id = desk.keep(NewReading { reading, told, trusted: true })?;
                if n % 5 == 3 {
                    say(desk, id, n as u64)?;
                }
            }
            bytes.map(|held| desk.hold(NewHeld { held, told: None, trusted: false })).transpose()?;
            said.iter().try_for_each(|(id, what)| say(desk, *id, *what))
        };
        let done = self.bench.store.readings().submit(received.day(&Zone::utc()), 1, work).await;
        if !self.is_refused(&done) {
            self.model.sent(readings);
            if hold {
                self.model.held(held, first);
            }
            says.iter().for_each(|(id, what)| self.model.say(*id, *what));
        }
    }

    /// Whether there was no room, or a statement failed, so that nothing of it may have happened.
    fn is_refused<T: std::fmt::Debug>(&self, done: &Result<T, StoreError>) -> bool {
        match done {
            Ok(_) => false,
            Err(StoreError::DiskFull(_)) if self.model.full => true,
            Err(_) if self.model.broken => true,
            Err(e) => panic!("{e}"),
        }
    }

    /// No page more than the file has, or as many as it wants.
    async fn room(&mut self, pages: u32) {
        self.model.full = pages == 1;
        let set =
            move |w: &mut Writer| w.connection.pragma_update(None, "max_page_count", pages).map_err(tables::fault);
        self.bench.store.readings().control(set).await.unwrap();
        if !self.model.full {
            self.send(1, 0..1, Vec::new(), false).await; // only a commit shows that there is room again
        }
    }

    /// One of the next rows that are written fails in the middle of its statement, and what the statement did before stays
    /// in the transaction: after that the process ends.
    async fn fail_soon(&mut self, rows: u64) {
        let mut sql = format!("CREATE TEMP TABLE rows_left(n INTEGER); INSERT INTO rows_left VALUES({rows});");
        for table in
            ["j0", "j1", "d0", "series", "numbers", "place", "held", "device", "books", "moved", "removed", "meta"]
        {
            for how in ["INSERT", "DELETE", "UPDATE"] {
                sql += &format!(
                    "CREATE TEMP TRIGGER {how}_{table} AFTER {how} ON main.{table} BEGIN
                     UPDATE rows_left SET n = n - 1;
                     SELECT RAISE(FAIL, 'as the test wants') WHERE (SELECT n FROM rows_left) < 0; END;"
                );
            }
        }
        if !std::mem::replace(&mut self.model.broken, true) {
            let set = move |w: &mut Writer| w.connection.execute_batch(&sql).map_err(tables::fault);
            self.bench.store.readings().control(set).await.unwrap();
        }
    }

    /// So that what was refused can be tried again.
    async fn recover(&mut self) {
        if !self.bench.store.readings().health().dead {
            self.room(1_000_000).await;
        }
        if self.bench.store.readings().health().dead {
            self.crash().await;
        }
    }

    async fn bind(&mut self, device: u64, patient: u64, week: i64) {
        let at = moment(week);
        let key = DeviceKey::new(device);
        let binding = |id, patient, from, to| Binding {
            id: BindingId::new(id),
            device: key,
            patient: PatientId::new(patient),
            slot: Slot::Any,
            from,
            to,
            recorded_at: at,
        };
        let mut all = vec![binding(1, patient, Timestamp::MIN, Some(at))];
        if week % 2 == 0 {
            all.push(binding(2, 1 + patient % PATIENTS, at, None));
        }
        self.bench.store.directory().put_bindings(key, all.clone());
        let moved = self.bench.store.readings().reattribute(key).await;
        if !self.is_refused(&moved) {
            assert_eq!(moved.unwrap(), self.model.reattribute(key, &all), "readings that moved");
        }
    }

    async fn assign(&mut self, id: ReadingId, patient: u64) {
        let patient = PatientId::new(patient);
        let done = self.bench.store.readings().reassign(id, patient).await;
        if !self.is_refused(&done) {
            self.model.assign(id, patient);
        }
    }

    /// A held entry becomes a reading, or is taken off the list.
    async fn settle_held(&mut self, held: Held, device: u64, seq: i64, replay: bool) {
        if !replay {
            let done = self.bench.store.readings().discard(held.id).await;
            if !self.is_refused(&done) {
                self.model.discard(held.id);
            }
            return;
        }
        let reading = model::reading(device, seq, held.received_at);
        let (entry, kept) = (held.clone(), reading.clone());
        let work = move |desk: &mut Desk<'_>| {
            desk.release(&entry);
            match desk.known(kept.device, kept.seq)?.iter().find(|k| k.epoch == kept.epoch) {
                Some(known) => desk.duplicate(kept.device, known.id),
                None => drop(desk.keep(NewReading { reading: kept, told: None, trusted: false })?),
            }
            Ok(())
        };
        let done = self.bench.store.readings().submit(held.received_at.day(&Zone::utc()), 1, work).await;
        if !self.is_refused(&done) {
            self.model.release(held.id);
            self.model.sent(vec![reading]);
        }
    }

    /// What was cut short for want of room is done again when there is some.
    async fn erase(&mut self, patient: u64) {
        let patient = PatientId::new(patient);
        let erase = async |life: &Self| life.bench.store.readings().erase(patient, Vec::new(), Zone::utc()).await;
        let mut done = erase(self).await;
        while self.is_refused(&done) {
            self.recover().await;
            done = erase(self).await;
        }
        let done = done.unwrap();
        assert_eq!((done.readings_after, done.held_after), (0, 0));
        self.model.erase(patient);
    }

    async fn drop_old(&mut self, week: i64, consumed: u64, held: bool) {
        self.bench.store.readings().set_consumed(consumed);
        self.model.consumed = self.model.consumed.max(consumed);
        let from = moment(week);
        let keep = Keep { readings_from: Some(from), held_from: held.then(|| self.model.now()), originals_from: None };
        let drop_old = async |life: &Self| life.bench.store.readings().drop_old(keep, Zone::utc()).await;
        let (mut done, mut whole) = (drop_old(self).await, true);
        while self.is_refused(&done) {
            whole = false;
            let consumed = self.model.consumed;
            self.recover().await;
            self.bench.store.readings().set_consumed(self.model.conclude(consumed));
            done = drop_old(self).await;
        }
        let done = done.unwrap();
        let expected = self.model.drop_old(keep);
        assert!(!whole || (done.weeks, done.readings, done.held) == expected, "{done:?} went, not {expected:?}");
    }

    /// Some of a week that may have been found to be old long ago.
    async fn drop_some(&mut self, week: i64, most: usize) {
        let wk = row::week(moment(week));
        let gone = self.bench.store.readings().control(move |w| w.drop_some(wk, &Zone::utc(), most)).await;
        if !self.is_refused(&gone) {
            let left = ask::exported(&self.bench).into_keys().collect();
            assert_eq!(gone.unwrap(), self.model.dropped_some(wk, &left), "and only what rules have seen");
        }
    }

    /// Nothing is written while the files are copied: the step before has been waited for.
    async fn crash(&mut self) {
        let copy = crashed(self.bench.store.folder());
        let again = open(copy.path(), NEVER);
        self.bench = again;
        (self.model.full, self.model.broken, self.model.consumed) = (false, false, 0);
        self.folders.push(copy);
    }

    async fn step(&mut self, (what, a, b): (u8, u64, i64)) {
        let device = 1 + a % DEVICES;
        let budget = [1, 1, 2, 3, 4, 5, 8, 13][usize::try_from(a % 8).unwrap()];
        match what {
            0..8 => {
                let says = self.model.some_ids(a, usize::try_from(b % 3).unwrap());
                let says = says.into_iter().map(|id| (id, a + b.cast_unsigned())).collect();
                self.send(device, b..b + 1 + i64::try_from(a % 11).unwrap(), says, a % 4 == 0).await;
            }
            8 => self.send(device, -b - 4..-b, Vec::new(), false).await,
            9..12 => self.bench.store.readings().control(freeze).await.unwrap(),
            12..20 => self.merge(budget, 1 + b % 9).await,
            20..22 => self.bind(device, 1 + a % PATIENTS, b % 9).await,
            22..25 => {
                for id in self.model.some_ids(a, 1) {
                    self.assign(id, 1 + b.cast_unsigned() % PATIENTS).await;
                }
            }
            25..28 => {
                let ids = if b % 2 == 0 { self.model.newest_ids(12) } else { self.model.some_ids(a, 7) };
                let says = ids.into_iter().map(|id| (id, b.cast_unsigned())).collect();
                self.send(device, 0..0, says, false).await;
            }
            28 => {
                if let Some(held) = self.model.some_held(a) {
                    self.settle_held(held, device, b, b % 3 != 0).await;
                }
            }
            29 => self.erase(1 + a % PATIENTS).await,
            30 => self.drop_old(b % 8, a, b % 2 == 0).await,
            31..33 => self.drop_some(b % 8, budget).await,
            33 => self.bench.store.readings().set_consumed(self.model.conclude(a)),
            34 => self.fold(b % 12).await,
            35 => self.room(1).await,
            36 => self.room(1_000_000).await,
            37..39 => self.fail_soon(a % 40).await,
            39 => drop(self.bench.store.readings().control(Writer::settle).await),
            _ => self.crash().await,
        }
    }

    async fn merge(&self, budget: usize, steps: i64) {
        let merge = move |w: &mut Writer| {
            for _ in 0..steps {
                if w.merge.is_some() && !w.shared.dead.load(Relaxed) {
                    w.merge_some(budget);
                }
            }
            Ok(())
        };
        self.bench.store.readings().control(merge).await.unwrap();
    }

    async fn fold(&self, week: i64) {
        let basis = |_| Basis { zone: Zone::utc(), targets: vitals::Targets::default() };
        let done = self.bench.store.readings().fold(moment(week), basis).await;
        let _ = self.is_refused(&done);
    }
}

/// More of a reading; of one that is gone, nothing.
fn say(desk: &mut Desk<'_>, id: ReadingId, what: u64) -> Result<(), StoreError> {
    let Some(known) = desk.reading(id)? else { return Ok(()) };
    let mut more = (*known).clone();
    model::said(&mut more, what);
    desk.amend(&more)
}

fn held(device: u64, received_at: Timestamp, n: u64) -> Held {
    Held {
        id: ReadingId::new(0),
        device: DeviceKey::new(device),
        epoch: 0,
        seq: None,
        patient: None,
        measured_at: None,
        received_at,
        reasons: vec![Reason::NotAllowed],
        bytes: n.to_le_bytes().to_vec(),
        route: "readings".into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("CASES").map_or(12, |n| n.parse().unwrap()), failure_persistence: None, max_shrink_iters: 400, rng_seed: prop::test_runner::RngSeed::Fixed(std::env::var("SEED").map_or(3, |n| n.parse().unwrap())), ..ProptestConfig::default() })]

    #[test]
    fn every_question_has_the_answer_of_a_plain_map(
        story in proptest::collection::vec((0_u8..44, 0_u64..600, 0_i64..120), 20..90),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut life = Life::begin();
            for (n, step) in story.into_iter().enumerate() {
                life.step(step).await;
                // A commit is answered before it sees to its merge, which may be what fails.
                let alive = life.bench.store.readings().control(|_| Ok(())).await;
                if alive.is_err() || life.bench.store.readings().health().dead {
                    life.crash().await;
                }
                life.agree(step.1 + n as u64).await;
            }
        });
    }
}
