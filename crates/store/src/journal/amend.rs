//! What a message may do to rows that are there already, in the transaction in which it is committed: join a reading
//! with its context, keep a context until its reading comes, and take a replayed entry out of quarantine.
//!
//! Goes in: changes from a [`Desk`]. Comes out: the same rows with more said of them; ids, values and times stay.
//! Must never: move a reading in time, know what a context says, count anything twice in the books.

use super::{
    Desk,
    books::Books,
    days,
    desk::Changes,
    memory::Memory,
    places,
    query::merged_reading,
    row::{Row, series_key},
    tables::{self, fault},
    writer::Writer,
};
use crate::{Directory, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use std::{collections::BTreeMap, sync::Arc};
use vitals::{DeviceKey, Entry, Held, Reading, ReadingId, Timestamp};

/// The step from version 2 of the file to version 3.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS waiting(device INTEGER, seq INTEGER, b BLOB NOT NULL, PRIMARY KEY(device, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS released(id INTEGER PRIMARY KEY, day INTEGER NOT NULL, device INTEGER NOT NULL);
";

/// What one commit changes beside the rows that it adds.
#[derive(Default)]
pub(super) struct Amendments {
    /// Bytes that wait for the reading with this number; none when it has come. At most one a number, so at most
    /// 65,536 for a counter of 16 bits.
    waiting: BTreeMap<(DeviceKey, i64), Option<Vec<u8>>>,
    /// Before and after, once an id.
    readings: Vec<(Arc<Reading>, Arc<Reading>)>,
    /// Entries that leave quarantine, with the day and device in whose books they were counted.
    released: Vec<(ReadingId, i32, DeviceKey)>,
}

impl Amendments {
    /// When the amended readings were measured, for those who keep a copy of them.
    pub(super) fn times(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.readings.iter().map(|(_, after)| after.measured_at)
    }

    /// Before and after, once an id.
    pub(super) fn readings(&self) -> &[(Arc<Reading>, Arc<Reading>)] {
        &self.readings
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.readings.is_empty() && self.released.is_empty()
    }
}

impl Desk<'_> {
    /// People and devices.
    pub const fn directory(&self) -> &Directory {
        self.ground.directory
    }

    /// What waits for reading `seq` of `device`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn waiting(&self, device: DeviceKey, seq: i64) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(changed) = self.changes.amendments.waiting.get(&(device, seq)) {
            return Ok(changed.clone());
        }
        self.ground
            .connection
            .prepare_cached("SELECT b FROM waiting WHERE device = ?1 AND seq = ?2")
            .and_then(|mut s| s.query_row(params![device.as_i64(), seq], |r| r.get(0)).optional())
            .map_err(fault)
    }

    /// Lets bytes wait for reading `seq` of `device`, in the place of what waited before; or nothing any more.
    pub fn wait(&mut self, device: DeviceKey, seq: i64, bytes: Option<Vec<u8>>) {
        self.changes.amendments.waiting.insert((device, seq), bytes);
    }

    /// A reading as it is now, with what this commit has changed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn reading(&self, id: ReadingId) -> Result<Option<Arc<Reading>>, StoreError> {
        if let Some(row) = self.changes.rows.iter().rev().find(|r| r.reading().is_some_and(|r| r.id == id)) {
            return Ok(row.reading().cloned());
        }
        if let Some((_, after)) = self.changes.amendments.readings.iter().find(|(_, after)| after.id == id) {
            return Ok(Some(after.clone()));
        }
        let in_memory = self.ground.memory.read().row(id).and_then(Row::reading).cloned();
        in_memory.map_or_else(|| merged_reading(self.ground.connection, id), |found| Ok(Some(found)))
    }

    /// Says more of a stored reading: context, flags, disposition. Whose it is, when it was measured and what was
    /// measured stay as they are, whatever `reading` says.
    ///
    /// # Errors
    /// When the file cannot be read; when there is no such reading.
    pub fn amend(&mut self, reading: &Reading) -> Result<(), StoreError> {
        let before = self.reading(reading.id)?.ok_or(StoreError::NotFound("reading"))?;
        let after = Arc::new(Reading {
            context: reading.context.clone(),
            flags: reading.flags.clone(),
            disposition: reading.disposition,
            ..(*before).clone()
        });
        let Changes { rows, amendments, .. } = &mut self.changes;
        if let Some(row) = rows.iter_mut().find(|r| r.reading().is_some_and(|r| r.id == after.id)) {
            row.say(Entry::Reading(after));
        } else if let Some(known) = amendments.readings.iter_mut().find(|(b, _)| b.id == after.id) {
            known.1 = after;
        } else {
            amendments.readings.push((before, after));
        }
        Ok(())
    }

    /// Whether this entry has left quarantine: replayed or discarded.
    pub fn is_settled(&self, id: ReadingId) -> bool {
        self.ground.memory.read().discarded.contains(&id)
            || self.changes.amendments.released.iter().any(|(known, ..)| *known == id)
    }

    /// Whether this entry was replayed: what became of it is found by its own number.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_released(&self, id: ReadingId) -> Result<bool, StoreError> {
        if self.changes.amendments.released.iter().any(|(known, ..)| *known == id) {
            return Ok(true);
        }
        let sql = "SELECT EXISTS(SELECT 1 FROM released WHERE id = ?1)";
        let connection = self.ground.connection;
        connection.prepare_cached(sql).and_then(|mut s| s.query_row([id.as_i64()], |r| r.get(0))).map_err(fault)
    }

    /// Takes a replayed entry out of quarantine, and out of its count in the books of this message's day: what became
    /// of it is counted instead. To be called with the day on which it was received.
    pub fn release(&mut self, held: &Held) {
        let day = self.day();
        self.changes.amendments.released.push((held.id, day, held.device));
    }
}

impl Writer {
    /// Within the transaction of a commit.
    pub(super) fn write_amendments(&self, amendments: &Amendments) -> Result<(), StoreError> {
        let c = &self.connection;
        for ((device, seq), bytes) in &amendments.waiting {
            match bytes {
                Some(bytes) => c
                    .prepare_cached("INSERT OR REPLACE INTO waiting(device, seq, b) VALUES(?1, ?2, ?3)")
                    .and_then(|mut s| s.execute(params![device.as_i64(), seq, bytes])),
                None => c
                    .prepare_cached("DELETE FROM waiting WHERE device = ?1 AND seq = ?2")
                    .and_then(|mut s| s.execute(params![device.as_i64(), seq])),
            }
            .map_err(fault)?;
        }
        for (before, after) in &amendments.readings {
            self.rewrite(before, after)?;
        }
        super::keeping::note_unfollowed(c, amendments.times())?;
        for (id, day, device) in &amendments.released {
            let row = params![id.as_i64(), day, device.as_i64()];
            c.execute("INSERT OR IGNORE INTO released(id, day, device) VALUES(?1, ?2, ?3)", row).map_err(fault)?;
            c.execute("INSERT OR IGNORE INTO discarded(id) VALUES(?1)", [id.as_i64()]).map_err(fault)?;
        }
        Ok(())
    }

    /// Puts `after` where `before` lies, in the journal or in the tables.
    pub(super) fn rewrite(&self, before: &Reading, after: &Arc<Reading>) -> Result<(), StoreError> {
        let c = &self.connection;
        self.shared.log.note(c, before, after)?;
        self.amend_journal(after)?;
        let (key, was) = (series_key(after), series_key(before));
        for (wk, owner, ..) in [was, key] {
            days::touch(c, &self.shared.folding, wk, owner)?;
        }
        self.shared.newest.raise(c, key.0, key.1)?;
        let was_there = tables::delete_series(c, was)?;
        // Of what is being merged, the merge itself brings what was changed once more, at its end.
        let frozen = self.shared.memory.read().frozen.as_ref().is_some_and(|t| t.row(after.id).is_some());
        if was_there && !frozen {
            tables::put_series(c, after)?;
        }
        places::shift(c, after)
    }
}

impl Memory {
    /// Makes committed amendments visible.
    pub(super) fn take_amendments(&mut self, amendments: &Amendments) {
        for (_, after) in &amendments.readings {
            self.amend(after);
        }
        for (id, day, device) in &amendments.released {
            if self.discarded.insert(*id) {
                *self.released.entry((*day, *device)).or_default() += 1;
            }
        }
    }

    /// At the start of the process.
    pub(super) fn load_released(&mut self, c: &Connection) -> Result<(), StoreError> {
        let mut statement =
            c.prepare("SELECT day, device, count(*) FROM released GROUP BY day, device").map_err(fault)?;
        let rows = statement
            .query_map([], |r| Ok(((r.get(0)?, DeviceKey::from_i64(r.get(1)?)), r.get::<_, i64>(2)?.cast_unsigned())))
            .map_err(fault)?;
        self.released = rows.collect::<Result<_, _>>().map_err(fault)?;
        Ok(())
    }

    /// Takes replayed entries out of the books of one day: they are counted as what they have become.
    pub(super) fn without_released(&self, books: &mut Books, day: i32) {
        let all = (day, DeviceKey::new(0))..=(day, DeviceKey::new(u64::MAX));
        for (key, n) in self.released.range(all) {
            if let Some(counts) = books.get_mut(key) {
                counts.quarantined = counts.quarantined.saturating_sub(*n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewHeld, NewReading, Store};
    use runtime::{Clock, Drain};
    use std::sync::atomic::Ordering::Relaxed;
    use vitals::{
        Context, Decimal, Disposition, GlucoseValue, Meal, PatientId, Reason, Statuses, TimeQuality, Unit, Values,
    };

    const DAY: jiff::civil::Date = jiff::civil::date(2026, 3, 2);

    fn reading(seq: i64) -> Reading {
        Reading {
            id: ReadingId::new(0),
            device: DeviceKey::new(1),
            epoch: 0,
            seq,
            user_slot: None,
            patient: Some(PatientId::new(1)),
            measured_at: Timestamp::from_seconds(1_770_000_000 + seq * 50_000),
            received_at: Timestamp::from_seconds(1_770_000_000),
            device_time: None,
            time_quality: TimeQuality::Exact,
            disposition: Disposition::Stored,
            values: Values::Glucose(GlucoseValue::Value(Decimal::new(62, -1))),
            unit: Unit::MmolPerL,
            statuses: Statuses::default(),
            flags: vec![],
            historical: false,
            context: Context::default(),
        }
    }

    /// Keeps twenty readings a round, says more of one of an earlier round, lets bytes wait: in every state of a merge
    /// and after a crash in it, what was said is there.
    #[tokio::test]
    async fn what_was_said_later_is_there_through_merges_and_crashes() {
        let folder = tempfile::tempdir().unwrap();
        let (_handle, drain) = Drain::new();
        let clock = || Clock::manual(Timestamp::from_seconds(1_770_000_000));
        let store = Store::open(folder.path(), clock(), &drain).unwrap();
        store.readings().shared.freeze_at.store(50, Relaxed);
        store.readings().shared.idle_merge.store(0, Relaxed);
        let mut kept: Vec<ReadingId> = Vec::new();
        for round in 0..12_i64 {
            let earlier: Vec<ReadingId> = kept.iter().step_by(7).copied().collect();
            let ids = store.readings().submit(DAY, 20, move |desk| {
                for id in earlier {
                    let mut more = (*desk.reading(id)?.unwrap()).clone();
                    more.context.meal = Some(Meal::Fasting);
                    more.patient = None; // not for an amendment to say
                    desk.amend(&more)?;
                }
                desk.wait(DeviceKey::new(1), round, Some(vec![7]));
                desk.wait(DeviceKey::new(1), round - 1, None);
                (round * 20..round * 20 + 20)
                    .map(|seq| desk.keep(NewReading { reading: reading(seq), told: None, trusted: false }))
                    .collect::<Result<Vec<_>, _>>()
            });
            kept.extend(ids.await.unwrap());
            let said = kept[..kept.len() - 20].iter().step_by(7);
            let copy = super::super::tests::crashed(folder.path());
            let again = Store::open(copy.path(), clock(), &drain).unwrap();
            for store in [&store, &again] {
                for id in said.clone() {
                    let found = store.readings().by_id(*id).await.unwrap().unwrap();
                    assert_eq!((found.context.meal, found.patient), (Some(Meal::Fasting), Some(PatientId::new(1))));
                }
                let waits = store.readings().submit(DAY, 1, move |desk| {
                    let device = DeviceKey::new(1);
                    Ok((desk.waiting(device, round)?, desk.waiting(device, round - 1)?))
                });
                assert_eq!(waits.await.unwrap(), (Some(vec![7]), None));
            }
        }
        let books = store.readings().books(DAY, None).await.unwrap();
        assert_eq!(books[0].stored, 240, "nothing was counted twice");
    }

    /// A reading and what is said of it may come in one commit; it is merged like any other.
    #[tokio::test]
    async fn what_was_said_in_the_same_commit_is_there_after_the_merge() {
        let folder = tempfile::tempdir().unwrap();
        let (_handle, drain) = Drain::new();
        let clock = Clock::manual(Timestamp::from_seconds(1_770_000_000));
        let store = Store::open(folder.path(), clock, &drain).unwrap();
        store.readings().shared.freeze_at.store(10, Relaxed);
        let mut kept: Vec<ReadingId> = Vec::new();
        for round in 0..6_i64 {
            let ids = store.readings().submit(DAY, 10, move |desk| {
                let mut ids = Vec::new();
                for seq in round * 10..round * 10 + 10 {
                    let id = desk.keep(NewReading { reading: reading(seq), told: None, trusted: false })?;
                    let mut more = (*desk.reading(id)?.unwrap()).clone();
                    more.context.meal = Some(Meal::Fasting);
                    desk.amend(&more)?;
                    ids.push(id);
                }
                Ok(ids)
            });
            kept.extend(ids.await.unwrap());
        }
        let merged = store.readings().control(|writer| {
            (0..4).for_each(|_| writer.merge_some(100)); // the end of a merge under way, a freeze, its merge
            Ok(())
        });
        merged.await.unwrap();
        assert_eq!(store.readings().health().unmerged, 0);
        for id in kept {
            let found = store.readings().by_id(id).await.unwrap().expect("it was kept");
            assert_eq!(found.context.meal, Some(Meal::Fasting));
        }
    }

    #[tokio::test]
    async fn what_is_released_leaves_the_list_and_the_books() {
        let folder = tempfile::tempdir().unwrap();
        let (_handle, drain) = Drain::new();
        let clock = || Clock::manual(Timestamp::from_seconds(1_770_000_000));
        let store = Store::open(folder.path(), clock(), &drain).unwrap();
        let held = Held {
            id: ReadingId::new(0),
            device: DeviceKey::new(1),
            epoch: 0,
            seq: None,
            patient: None,
            measured_at: None,
            received_at: Timestamp::from_seconds(1_770_000_000),
            reasons: vec![Reason::NotAllowed],
            bytes: vec![1],
            route: "readings".into(),
        };
        let new = NewHeld { held, told: None, trusted: false };
        store.readings().submit(DAY, 1, move |desk| desk.hold(new)).await.unwrap();
        let held = store.readings().held(None, None, 10).await.unwrap().remove(0);
        let entry = held.clone();
        let twice = store.readings().submit(DAY, 1, move |desk| {
            let before = desk.is_settled(entry.id);
            desk.release(&entry);
            desk.keep(NewReading { reading: reading(1), told: None, trusted: false })?;
            Ok((before, desk.is_settled(entry.id)))
        });
        assert_eq!(twice.await.unwrap(), (false, true));
        let copy = super::super::tests::crashed(folder.path());
        for store in [store, Store::open(copy.path(), clock(), &drain).unwrap()] {
            let books = store.readings().books(DAY, None).await.unwrap()[0];
            assert_eq!((books.stored, books.quarantined, books.accepted()), (1, 0, 1));
            assert!(store.readings().held(None, None, 10).await.unwrap().is_empty());
        }
    }
}
