//! Every question to the journal, and what the map answers to it.

use super::{
    super::{
        places::{self, Place},
        row::{number, series_key},
        tests::Bench,
        *,
    },
    Life,
    model::*,
};
use std::collections::{BTreeMap, BTreeSet};
use vitals::{Reading, Targets, Zone, summary::Summary};

/// Everything that is exported, each once.
pub(super) fn exported(bench: &Bench) -> BTreeMap<ReadingId, Reading> {
    let mut all = BTreeMap::new();
    let mut take = |r: &Reading| {
        assert!(all.insert(r.id, r.clone()).is_none(), "{} is told twice", r.id);
        Ok(())
    };
    bench.store.readings().export_readings(&mut take).unwrap();
    all
}

fn plain(all: Vec<Arc<Reading>>) -> Vec<Reading> {
    all.into_iter().map(|r| (*r).clone()).collect()
}

impl Life {
    /// `n`: which pages, stretches and limits are tried.
    pub(super) async fn agree(&self, n: u64) {
        let readings = self.bench.store.readings();
        let all: BTreeMap<ReadingId, Reading> =
            self.model.readings.iter().map(|(id, (_, r))| (*id, r.clone())).collect();
        assert_eq!(exported(&self.bench), all);
        assert_eq!(*readings.committed().borrow() + 1, self.model.next, "no position is given twice");
        for patient in (1..=PATIENTS).map(PatientId::new) {
            self.agree_of(patient, n).await;
        }
        let limit = usize::try_from(2 + n % 9).unwrap();
        let mut nobodys = self.model.of(None);
        nobodys.sort_by_key(|r| r.id);
        let mut paged: Vec<Reading> = Vec::new();
        while let page = readings.unassigned(paged.last().map(|r| r.id), limit).await.unwrap()
            && !page.is_empty()
        {
            paged.extend(plain(page));
        }
        assert_eq!(paged, nobodys);
        self.agree_by_id(n).await;
        self.agree_in_order(limit).await;
        self.agree_in_the_books().await;
        self.agree_in_place().await;
        assert_eq!(readings.recount(&Zone::utc()).unwrap().mismatches, []);
    }

    async fn agree_of(&self, patient: PatientId, n: u64) {
        let readings = self.bench.store.readings();
        let all = self.model.of(Some(patient));
        let (a, b) = (i64::try_from(n % 9).unwrap(), i64::try_from(n / 9 % 9).unwrap());
        let kind = [None, Some(Kind::BloodPressure), Some(Kind::BloodGlucose)][usize::try_from(n % 3).unwrap()];
        for (from, to, kind) in [(Timestamp::MIN, Timestamp::MAX, None), (moment(a), moment(a + b), kind)] {
            let wanted = |r: &&Reading| (from..to).contains(&r.measured_at) && kind.is_none_or(|k| k == r.kind());
            let want: Vec<Reading> = all.iter().filter(wanted).cloned().collect();
            let mut paged: Vec<Reading> = Vec::new();
            let limit = if kind.is_none() { 1_000 } else { usize::try_from(1 + n % 7).unwrap() };
            loop {
                let after = paged.last().map(|r| (r.measured_at, r.id));
                let q = ReadingQuery { patient, kind, from, to, after, limit };
                let page = readings.range(q).await.unwrap();
                paged.extend(plain(page.clone()));
                if page.len() < limit {
                    break;
                }
            }
            assert_eq!(paged, want);
            let basis = Basis { zone: Zone::utc(), targets: Targets::default() };
            let mut days: BTreeMap<Date, Summary> = BTreeMap::new();
            for r in all.iter().filter(|r| (from..to).contains(&r.measured_at)) {
                days.entry(r.measured_at.day(&basis.zone)).or_default().add(r, &basis.zone, &basis.targets);
            }
            assert_eq!(readings.days(DaysQuery { patient, from, to, basis }).await.unwrap(), days);
        }
        let latest = all.last();
        assert_eq!(readings.latest(patient).await.unwrap().as_deref(), latest);
        let points = usize::try_from(1 + n % 6).unwrap();
        let glance = readings.glance(vec![patient], moment(a), points).await.unwrap().remove(0);
        assert_eq!(glance.latest.as_deref(), latest);
        let kind = latest.map(Reading::kind);
        let recent = all.iter().filter(|r| Some(r.kind()) == kind && r.measured_at >= moment(a));
        let recent: Vec<Reading> = recent.cloned().collect();
        assert_eq!(plain(glance.recent), recent[recent.len().saturating_sub(points)..]);
        let mut past: Vec<(u64, u64)> = all.iter().map(|r| (number(r.id), self.model.readings[&r.id].0)).collect();
        past.sort_unstable();
        let found = readings.past_blocking(patient).unwrap();
        assert_eq!(found.iter().map(|e| (e.position, e.message)).collect::<Vec<_>>(), past);
    }

    /// Those that are gone too; and by their device's numbers, which outlive them.
    async fn agree_by_id(&self, n: u64) {
        let readings = self.bench.store.readings();
        let ids: Vec<ReadingId> = (1..=self.model.next).map(ReadingId::new).collect();
        let together = readings.by_ids(ids.clone()).await.unwrap();
        for (i, id) in ids.into_iter().enumerate() {
            let want = self.model.readings.get(&id).map(|(_, r)| r);
            assert_eq!(together.get(&id).map(|r| &**r), want, "{id}");
            if i % 16 == usize::try_from(n % 16).unwrap() {
                assert_eq!(readings.by_id(id).await.unwrap().as_deref(), want, "{id}");
            }
        }
        let numbers: Vec<(DeviceKey, i64)> = self.model.known.keys().copied().collect();
        let ask = move |desk: &mut Desk<'_>| {
            let found = numbers.iter().map(|(device, seq)| desk.known(*device, *seq).map(|k| ((*device, *seq), k)));
            found.collect::<Result<Vec<_>, _>>()
        };
        for (number, found) in readings.submit(self.model.now().day(&Zone::utc()), 1, ask).await.unwrap() {
            let [known] = found[..] else { panic!("{number:?}: {found:?}") };
            assert_eq!(known.id, self.model.known[&number]);
            assert_eq!(known.fingerprint == ERASED, !self.model.readings.contains_key(&known.id), "{number:?}");
        }
    }

    async fn agree_in_order(&self, limit: usize) {
        let readings = self.bench.store.readings();
        let held = self.model.held.iter().map(|(id, (m, h))| (number(*id), (*m, Entry::Held(Arc::new(h.clone())))));
        let kept =
            self.model.readings.iter().map(|(id, (m, r))| (number(*id), (*m, Entry::Reading(Arc::new(r.clone())))));
        let want: BTreeMap<u64, (u64, Entry)> = kept.chain(held).collect();
        let mut position = 0;
        let mut found = Vec::new();
        while let page = readings.entries_after(position, limit).unwrap()
            && let Some(last) = page.last()
        {
            position = last.position;
            let rest = want.range(position + 1..).next();
            assert!(rest.is_none_or(|(_, (message, _))| *message != last.message), "a message is cut at {position}");
            found.extend(page.into_iter().map(|e| (e.position, (e.message, e.entry))));
        }
        assert_eq!(found, want.into_iter().collect::<Vec<_>>());
        let listed: Vec<ReadingId> = self.model.listed().rev().map(|h| h.id).collect();
        let found = readings.held(None, None, 1_000).await.unwrap();
        assert_eq!(found.iter().map(|h| h.id).collect::<Vec<_>>(), listed);
    }

    async fn agree_in_the_books(&self) {
        let mut found: BTreeMap<(Date, DeviceKey), [u64; 3]> = BTreeMap::new();
        let days: BTreeSet<Date> = self.model.books.keys().map(|(day, _)| *day).collect();
        for day in days {
            let rows = self.bench.store.readings().books(day, None).await.unwrap();
            found.extend(rows.iter().map(|b| ((day, b.device), [b.stored, b.duplicate, b.quarantined])));
        }
        assert_eq!(found, self.model.books);
    }

    /// What left memory has exactly its own place.
    async fn agree_in_place(&self) {
        let ask = |w: &mut Writer| {
            let first = w.shared.memory.read().first_id();
            let mut all = Vec::new();
            let mut take = |place: Place| {
                all.push((place.id, place.message, place.key()));
                Ok(true)
            };
            places::each(&w.connection, 0, first, &mut take)?;
            Ok((first, all))
        };
        let (first, found) = self.bench.store.readings().control(ask).await.unwrap();
        let merged = self.model.readings.iter().filter(|(id, _)| number(**id) < first);
        let want: Vec<_> = merged.map(|(id, (message, r))| (number(*id), *message, series_key(r))).collect();
        assert_eq!(found, want);
    }
}
