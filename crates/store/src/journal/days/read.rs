//! The days of one patient: from their sums where those stand, else from the readings, in memory ∪ tables.

use super::{
    super::{
        Readings, Shared,
        row::{WEEK_MICROS, owner, week},
        tables::fault,
    },
    Basis, add, compact, stored,
};
use crate::StoreError;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use vitals::{DeviceKey, PatientId, Reading, Timestamp, summary::Summary};

/// Which days.
#[derive(Clone, Debug)]
pub struct DaysQuery {
    /// Whose.
    pub patient: PatientId,
    /// First moment of measurement.
    pub from: Timestamp,
    /// First moment no longer.
    pub to: Timestamp,
    /// Whose midnights and targets.
    pub basis: Basis,
}

impl Readings {
    /// One summary for each local day on which anything was measured, ascending: exactly what the readings come to.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn days(&self, q: DaysQuery) -> Result<BTreeMap<Date, Summary>, StoreError> {
        self.ask(move |shared| shared.days(&q)).await
    }
}

impl Shared {
    pub(super) fn days(&self, q: &DaysQuery) -> Result<BTreeMap<Date, Summary>, StoreError> {
        let mut days = BTreeMap::new();
        if q.from >= q.to {
            return Ok(days);
        }
        let owner = owner(Some(q.patient), DeviceKey::new(0));
        // Memory first: what leaves it in between is in the tables already.
        let mut in_memory: BTreeMap<i32, Vec<Arc<Reading>>> = BTreeMap::new();
        let (first, last) = (week(q.from), week(q.to.minus(std::time::Duration::from_micros(1))));
        let mut weeks: BTreeSet<i32> = {
            let memory = self.memory.read();
            for table in memory.tables() {
                table.range(owner, (q.from, 0), q.to, |r| {
                    in_memory.entry(week(r.measured_at)).or_default().push(r.clone());
                    true
                });
            }
            memory.weeks.range(first..=last).copied().collect()
        };
        weeks.extend(in_memory.keys());
        self.readers.with(|c| {
            let basis = q.basis.number(c)?;
            for wk in weeks {
                let (begin, end) = bounds(wk);
                let fresh = in_memory.remove(&wk).unwrap_or_default();
                let whole = q.from <= begin && end <= q.to;
                let kept = if fresh.is_empty() && whole { self.kept(c, wk, owner, basis)? } else { None };
                if let Some(kept) = kept {
                    kept.into_iter().for_each(|(day, sums)| days.entry(day).or_default().join(&sums));
                    continue;
                }
                for reading in union(c, wk, owner, fresh, (q.from, q.to))? {
                    add(&mut days, &reading, &q.basis);
                }
            }
            Ok(days)
        })
    }

    /// The days of a closed week, where they are kept by this basis.
    fn kept(
        &self,
        c: &Connection,
        wk: i32,
        owner: i64,
        basis: Option<i64>,
    ) -> Result<Option<Vec<(Date, Summary)>>, StoreError> {
        let found: Option<(i64, Vec<u8>)> = c
            .prepare_cached("SELECT basis, b FROM sums WHERE wk = ?1 AND owner = ?2")
            .and_then(|mut s| s.query_row(params![wk, owner], |r| Ok((r.get(0)?, r.get(1)?))).optional())
            .map_err(fault)?;
        match found {
            Some((known, body)) if Some(known) == basis => compact::decode(wk, &body).map(Some),
            Some(_) => {
                self.folding.note_stale(owner);
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

/// First moment of a week of the series, and first moment no longer.
pub(super) fn bounds(wk: i32) -> (Timestamp, Timestamp) {
    let begin = i64::from(wk) * WEEK_MICROS;
    (Timestamp::from_micros(begin), Timestamp::from_micros(begin.saturating_add(WEEK_MICROS)))
}

/// The readings of one patient and week, in order of measurement. What memory says wins: it may know more of them.
fn union(
    c: &Connection,
    wk: i32,
    owner: i64,
    mut found: Vec<Arc<Reading>>,
    (from, to): (Timestamp, Timestamp),
) -> Result<Vec<Arc<Reading>>, StoreError> {
    let mut statement = c
        .prepare_cached(
            "SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2 AND measured >= ?3 AND measured < ?4
             ORDER BY measured, id",
        )
        .map_err(fault)?;
    let mut rows = statement.query(params![wk, owner, from.as_micros(), to.as_micros()]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        found.push(Arc::new(stored(r)?));
    }
    found.sort_by_key(|r| (r.measured_at, r.id));
    found.dedup_by_key(|r| r.id);
    Ok(found)
}
