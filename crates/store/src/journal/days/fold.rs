//! Making sums: of weeks that are over, once, and of patient-weeks that were written to since, again.
//!
//! Goes in: the moment, and whose midnights count for whom. Comes out: rows of `sums`. Readings are counted on a thread
//! that holds up nobody; the commit thread only writes the rows, and only if no closed week was written to meanwhile.
//! Must never: be needed for a right answer. What is not folded is counted when it is asked.

use super::{
    super::{Readings, Shared, row, tables, tables::fault, writer::Writer},
    Basis, add, compact, count, stored,
};
use crate::StoreError;
use jiff::civil::Date;
use rusqlite::{Connection, params};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
};
use vitals::{PatientId, Timestamp, summary::Summary};

/// Weeks that stay open behind the present one: late readings of a day or two find nothing to take away.
const OPEN: i32 = 2;
/// Readings counted for one writing: some milliseconds.
const READINGS: usize = 4_000;
/// Patient-weeks written between two commits.
const ROWS: usize = 250;
/// A step that was overtaken by a writer to a closed week is made again so often in a row; then it waits for the next
/// folding.
const AGAIN: u32 = 5;

/// What a folding has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Weeks that were closed.
    pub weeks: u64,
    /// Patient-weeks whose sums were made.
    pub rows: u64,
}

/// Whose days are counted how.
type Bases = Arc<dyn Fn(PatientId) -> Basis + Send + Sync>;

/// What to count next.
enum Plan {
    /// These (week, owner).
    Again(Vec<(i32, i64)>),
    /// This closed week, after this owner.
    Week(i32, i64),
    Nothing,
}

/// Rows to be written, and what they were counted from.
struct Counted {
    rows: Vec<(i32, i64, Basis, Vec<u8>)>,
    /// No longer to be counted again.
    settled: Vec<(i32, i64)>,
    /// How far this week has got; none: to its end.
    week: Option<(i32, Option<i64>)>,
    seen: u64,
}

impl Readings {
    /// Makes the sums of every week that ended some time before `now`, and of what was written to such weeks since. Stops
    /// at any time without harm; tells what it did.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub async fn fold(
        &self,
        now: Timestamp,
        bases: impl Fn(PatientId) -> Basis + Send + Sync + 'static,
    ) -> Result<Folded, StoreError> {
        let bases: Bases = Arc::new(bases);
        let (mut folded, mut overtaken) = (Folded::default(), 0);
        let again = bases.clone();
        self.control(move |w| w.unfold_stale(&again)).await?;
        while overtaken < AGAIN {
            let (plan, seen) = self.control(move |w| w.plan(now)).await?;
            let bases = bases.clone();
            let counted = self
                .ask(move |shared| match plan {
                    Plan::Nothing => Ok(None),
                    Plan::Again(some) => shared.count_again(some, &bases, seen).map(Some),
                    Plan::Week(wk, after) => shared.count_week(wk, after, &bases, seen).map(Some),
                })
                .await?;
            let Some(counted) = counted else { break };
            let (rows, ended) = (counted.rows.len() as u64, matches!(counted.week, Some((_, None))));
            if self.control(move |w| w.write_sums(&counted)).await? {
                folded.rows += rows;
                folded.weeks += u64::from(ended);
                overtaken = 0;
            } else {
                overtaken += 1;
            }
        }
        Ok(folded)
    }
}

impl Writer {
    fn plan(&mut self, now: Timestamp) -> Result<(Plan, u64), StoreError> {
        let shared = self.shared.clone();
        // Between two transactions: what is counted from here on has seen every write that is counted here.
        let seen = shared.folding.touched.load(SeqCst);
        let again = unfolded(&self.connection)?;
        if !again.is_empty() {
            return Ok((Plan::Again(again), seen));
        }
        let closed = shared.folding.closed.load(SeqCst);
        if let Some(after) = tables::meta(&self.connection, "folded_owner")? {
            return Ok((Plan::Week(closed, after), seen));
        }
        let (after, open) = (closed.saturating_add(1), row::week(now) - OPEN);
        let Some(wk) = shared.memory.read().weeks.range(after..open.max(after)).next().copied() else {
            return Ok((Plan::Nothing, seen));
        };
        self.unsynced(|w| close(&w.connection, wk, Some(-1)))?;
        // From here on whoever writes to this week says so.
        shared.folding.closed.store(wk, SeqCst);
        Ok((Plan::Week(wk, -1), seen))
    }

    /// A transaction that a crash may undo: whoever lost it counts again.
    fn unsynced(&mut self, work: impl FnOnce(&mut Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.connection.execute_batch("PRAGMA synchronous=NORMAL").map_err(fault)?;
        let done = self.in_transaction(work);
        self.connection.execute_batch("PRAGMA synchronous=FULL").map_err(fault)?;
        done
    }

    /// Whether the sums were written: not if a closed week was written to since they were counted.
    fn write_sums(&mut self, counted: &Counted) -> Result<bool, StoreError> {
        if self.shared.folding.touched.load(SeqCst) != counted.seen || self.shared.disk_full.load(Relaxed) {
            return Ok(false);
        }
        self.unsynced(|w| put(&w.connection, counted))?;
        self.checkpoint();
        Ok(true)
    }

    /// Sums of patients whose zone or target has changed are to be made again.
    fn unfold_stale(&mut self, bases: &Bases) -> Result<(), StoreError> {
        let stale = std::mem::take(&mut *self.shared.folding.stale.lock());
        if stale.is_empty() {
            return Ok(());
        }
        let weeks = super::super::writer::weeks(&self.connection)?;
        self.unsynced(|w| {
            let c = &w.connection;
            for owner in &stale {
                let basis = bases(PatientId::from_i64(*owner)).number(c)?.unwrap_or(-1);
                for wk in &weeks {
                    let gone = c
                        .prepare_cached("DELETE FROM sums WHERE wk = ?1 AND owner = ?2 AND basis <> ?3")
                        .and_then(|mut s| s.execute(params![wk, owner, basis]))
                        .map_err(fault)?;
                    if gone > 0 {
                        c.prepare_cached("INSERT OR IGNORE INTO unfolded VALUES(?1, ?2)")
                            .and_then(|mut s| s.execute(params![wk, owner]))
                            .map_err(fault)?;
                    }
                }
            }
            Ok(())
        })
    }
}

fn put(c: &Connection, counted: &Counted) -> Result<(), StoreError> {
    for (wk, owner, basis, body) in &counted.rows {
        let basis = basis.make_number(c)?;
        c.prepare_cached("INSERT OR REPLACE INTO sums(wk, owner, basis, b) VALUES(?1, ?2, ?3, ?4)")
            .and_then(|mut s| s.execute(params![wk, owner, basis, body]))
            .map_err(fault)?;
    }
    for (wk, owner) in &counted.settled {
        c.prepare_cached("DELETE FROM unfolded WHERE wk = ?1 AND owner = ?2")
            .and_then(|mut s| s.execute(params![wk, owner]))
            .map_err(fault)?;
    }
    if let Some((wk, after)) = counted.week {
        close(c, wk, after)?;
    }
    Ok(())
}

/// Notes that this week is closed, and after which patient its sums are still to be made; none: all are made.
fn close(c: &Connection, wk: i32, after: Option<i64>) -> Result<(), StoreError> {
    tables::set_meta(c, "folded_week", Some(wk.into()))?;
    tables::set_meta(c, "folded_owner", after)
}

fn unfolded(c: &Connection) -> Result<Vec<(i32, i64)>, StoreError> {
    let mut statement = c.prepare_cached("SELECT wk, owner FROM unfolded LIMIT ?1").map_err(fault)?;
    let rows = statement
        .query_map([i64::try_from(ROWS).unwrap_or(i64::MAX)], |r| Ok((r.get(0)?, r.get(1)?)))
        .map_err(fault)?;
    rows.collect::<Result<_, _>>().map_err(fault)
}

impl Shared {
    fn count_again(&self, some: Vec<(i32, i64)>, bases: &Bases, seen: u64) -> Result<Counted, StoreError> {
        self.readers.with(|c| {
            let mut rows = Vec::new();
            for (wk, owner) in &some {
                let basis = bases(PatientId::from_i64(*owner));
                let days = count(c, *wk, *owner, &basis)?;
                if !days.is_empty() {
                    rows.push((*wk, *owner, basis, compact::encode(*wk, &days)));
                }
            }
            Ok(Counted { rows, settled: some, week: None, seen })
        })
    }

    fn count_week(&self, wk: i32, after: i64, bases: &Bases, seen: u64) -> Result<Counted, StoreError> {
        self.readers.with(|c| {
            let mut statement = c
                .prepare_cached("SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner > ?2 ORDER BY owner, measured, id")
                .map_err(fault)?;
            let mut found = statement.query(params![wk, after]).map_err(fault)?;
            let mut rows = Vec::new();
            let mut at: Option<(i64, Basis, BTreeMap<Date, Summary>)> = None;
            let mut readings = 0;
            let mut cut = None;
            while let Some(r) = found.next().map_err(fault)? {
                let owner: i64 = r.get(0).map_err(fault)?;
                if at.as_ref().is_none_or(|(known, ..)| *known != owner) {
                    if let Some((known, basis, days)) = at.take() {
                        rows.push((wk, known, basis, compact::encode(wk, &days)));
                        if readings >= READINGS || rows.len() >= ROWS {
                            cut = Some(known);
                            break;
                        }
                    }
                    at = Some((owner, bases(PatientId::from_i64(owner)), BTreeMap::new()));
                }
                if let Some((_, basis, days)) = &mut at {
                    add(days, &stored(r)?, basis);
                }
                readings += 1;
            }
            if let Some((known, basis, days)) = at {
                rows.push((wk, known, basis, compact::encode(wk, &days)));
            }
            Ok(Counted { rows, settled: Vec::new(), week: Some((wk, cut)), seen })
        })
    }
}
