//! What is older than the installation wants to keep: whole weeks of readings, whole days of quarantine.
//!
//! Goes in: two moments. Comes out: how much went. In steps between commits, so that nobody waits long for an answer.
//! Must never: touch a week of which rules have not concluded every reading, or a reading that is not merged.

use super::{
    Readings,
    books::{Books, Counts, day_number},
    erase::drop_held,
    keeping::{self, Stretch},
    memory::Memtable,
    packed,
    row::{self, week},
    tables::fault,
    writer::Writer,
};
use crate::StoreError;
use rusqlite::params;
use std::sync::atomic::Ordering::Relaxed;
use vitals::{Entry, Held, Reading, Timestamp, Zone};

/// Rows taken out between two commits.
const STEP: usize = 500;

/// What may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Readings measured before may go, week by week; none: all are kept.
    pub readings_from: Option<Timestamp>,
    /// What is held and was received before may go; none: all is kept.
    pub held_from: Option<Timestamp>,
    /// Messages as they came that were received before may go; none: all are kept.
    pub originals_from: Option<Timestamp>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Weeks of readings, whole.
    pub weeks: u64,
    /// Readings in them.
    pub readings: u64,
    /// Held entries.
    pub held: u64,
    /// Commits or blocks of messages as they came.
    pub originals: u64,
}

impl Readings {
    /// Drops what is older than `keep` says.
    ///
    /// # Errors
    /// When the file cannot be written; what went before stays gone, the rest goes next time.
    pub async fn drop_old(&self, keep: Keep, zone: Zone) -> Result<Dropped, StoreError> {
        let mut dropped = Dropped::default();
        self.control(move |w| w.settle_old(keep)).await?;
        if let Some(from) = keep.readings_from {
            // The week in which `from` lies is kept whole.
            while let Some(wk) = self.control(move |w| w.old_week(week(from))).await? {
                loop {
                    let zone = zone.clone();
                    let gone = self.control(move |w| w.drop_some(wk, &zone, STEP)).await?;
                    dropped.readings += gone as u64;
                    if gone < STEP {
                        break;
                    }
                }
                dropped.weeks += 1;
            }
        }
        if let Some(from) = keep.held_from {
            let mut after = Some(i64::MIN);
            while let Some(last) = after {
                let zone = zone.clone();
                let (gone, next) = self.control(move |w| w.drop_held(from, last, &zone)).await?;
                dropped.held += gone as u64;
                after = next;
            }
        }
        if let Some(from) = keep.originals_from {
            loop {
                let gone = self.control(move |w| w.drop_originals(from, STEP)).await?;
                dropped.originals += gone as u64;
                if gone < STEP {
                    break;
                }
            }
        }
        Ok(dropped)
    }
}

impl Writer {
    /// A small installation may take years to fill its memory: what is old and in memory only is merged first.
    fn settle_old(&mut self, keep: Keep) -> Result<(), StoreError> {
        let old = {
            let memory = self.shared.memory.read();
            let readings = |t: &Memtable| {
                keep.readings_from.is_some_and(|from| t.weeks.first().is_some_and(|first| *first < week(from)))
            };
            let held = |t: &Memtable| {
                keep.held_from.is_some_and(|from| {
                    t.rows.iter().any(|r| matches!(&r.entry, Entry::Held(held) if held.received_at < from))
                })
            };
            memory.tables().any(|t| readings(t) || held(t))
        };
        if old { self.settle() } else { Ok(()) }
    }

    /// The last position that rules have concluded, as the tables have ids.
    fn concluded(&self) -> i64 {
        i64::try_from(self.shared.consumed.load(Relaxed)).unwrap_or(i64::MAX)
    }

    /// The oldest week before `limit` of which everything is merged and concluded.
    pub(super) fn old_week(&self, limit: i32) -> Result<Option<i32>, StoreError> {
        let consumed = self.concluded();
        let memory = self.shared.memory.read();
        for wk in memory.weeks.range(..limit) {
            // A merge under way may be putting rows of this week into the table.
            let waiting = memory.tables().any(|t| t.weeks.contains(wk));
            let newest: Option<i64> = self
                .connection
                .prepare_cached("SELECT max(id) FROM series WHERE wk = ?1")
                .and_then(|mut s| s.query_row([wk], |r| r.get(0)))
                .map_err(fault)?;
            if !waiting && newest.is_some_and(|id| id <= consumed) {
                return Ok(Some(*wk));
            }
        }
        Ok(None)
    }

    /// At most so many readings of a week; the week is forgotten with its last. What came of it since it was found to be
    /// old stays: a merge may be bringing it, and rules have not seen it.
    pub(super) fn drop_some(&mut self, wk: i32, zone: &Zone, most: usize) -> Result<usize, StoreError> {
        let merged = i64::try_from(self.shared.memory.read().first_id()).unwrap_or(i64::MAX);
        let end = merged.min(self.concluded().saturating_add(1));
        let (gone, forgotten) = self.in_transaction(|writer| {
            let c = &writer.connection;
            let mut removed = Books::new();
            let mut stretch: Stretch = None;
            let mut readings: Vec<Reading> = Vec::new();
            {
                let mut statement = c
                    .prepare_cached("SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND id < ?2 LIMIT ?3")
                    .map_err(fault)?;
                let bounds = params![wk, end, i64::try_from(most).unwrap_or(i64::MAX)];
                let mut rows = statement.query(bounds).map_err(fault)?;
                while let Some(r) = rows.next().map_err(fault)? {
                    readings.push(packed::reading(r, 0)?);
                }
            }
            for reading in &readings {
                keeping::take_out(c, &writer.shared.folding, reading, zone, &mut removed)?;
                keeping::widen(&mut stretch, reading.measured_at);
            }
            keeping::count_removed(c, &removed)?;
            keeping::note_stale(c, stretch)?;
            writer.keep_highest()?;
            let left: bool = c
                .prepare_cached("SELECT EXISTS(SELECT 1 FROM series WHERE wk = ?1)")
                .and_then(|mut s| s.query_row([wk], |r| r.get(0)))
                .map_err(fault)?;
            Ok((readings, !left))
        })?;
        let mut memory = self.shared.memory.write();
        for reading in &gone {
            memory.assigned.remove(&reading.id);
        }
        if forgotten {
            memory.weeks.remove(&wk);
        }
        Ok(gone.len())
    }

    /// What is held after id `after` and was received before `from`, of the next entries; and the last that was looked at,
    /// where more may come. All are looked at: what is held again when it is replayed has a new id and its old time.
    fn drop_held(&mut self, from: Timestamp, after: i64, zone: &Zone) -> Result<(usize, Option<i64>), StoreError> {
        let (old, last) = self.old_held(from, after)?;
        if old.is_empty() {
            return Ok((0, last));
        }
        let gone = self.in_transaction(|writer| {
            let c = &writer.connection;
            let mut removed = Books::new();
            for held in &old {
                drop_held(c, held.id)?;
                let key = (day_number(held.received_at.day(zone)), held.device);
                *removed.entry(key).or_default() += Counts { quarantined: 1, ..Counts::default() };
            }
            keeping::count_removed(c, &removed)?;
            writer.keep_highest()?;
            Ok(old)
        })?;
        let mut memory = self.shared.memory.write();
        for held in &gone {
            memory.discarded.remove(&held.id);
        }
        Ok((gone.len(), last))
    }

    fn old_held(&self, from: Timestamp, after: i64) -> Result<(Vec<Held>, Option<i64>), StoreError> {
        let first = i64::try_from(self.shared.memory.read().first_id()).unwrap_or(i64::MAX);
        let (mut old, mut seen, mut last) = (Vec::new(), 0, after);
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, b FROM held WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3")
            .map_err(fault)?;
        let bounds = params![after, first, i64::try_from(STEP).unwrap_or(i64::MAX)];
        let mut rows = statement.query(bounds).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            let held: Held = row::decode(r.get_ref(1).map_err(fault)?.as_blob().unwrap_or_default())?;
            (seen, last) = (seen + 1, r.get(0).map_err(fault)?);
            if held.received_at < from {
                old.push(held);
            }
        }
        Ok((old, (seen == STEP).then_some(last)))
    }
}
