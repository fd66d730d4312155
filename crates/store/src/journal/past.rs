//! One patient's journal, as it was committed: readings with the number of their message, for those who judge the past.
//!
//! Read-only connections and memory, never the commit thread. Must never: hold a view open between two questions.

use super::{
    JournalEntry, ReadingQuery, Readings, places,
    row::{self, number},
    tables::fault,
};
use crate::StoreError;
use std::{collections::HashMap, sync::Arc};
use vitals::{Entry, Held, PatientId, ReadingId, Timestamp};

impl Readings {
    /// Every reading of one patient in order of commitment.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn past_blocking(&self, patient: PatientId) -> Result<Vec<JournalEntry>, StoreError> {
        let everything = ReadingQuery {
            patient,
            kind: None,
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            after: None,
            limit: usize::MAX,
        };
        let readings = self.shared.range(&everything)?;
        // Memory before the table: what leaves memory in between is in the table already.
        let mut messages: HashMap<ReadingId, u64> = {
            let memory = self.shared.memory.read();
            readings.iter().filter_map(|r| Some((r.id, memory.row(r.id)?.message))).collect()
        };
        let merged = readings.iter().filter(|r| !messages.contains_key(&r.id)).map(|r| r.id).collect::<Vec<_>>();
        if !merged.is_empty() {
            self.shared.readers.with(|c| {
                for id in merged {
                    messages.insert(id, places::of(c, id)?.map_or(number(id), |place| place.message));
                }
                Ok(())
            })?;
        }
        let entry = |r: Arc<vitals::Reading>| JournalEntry {
            position: number(r.id),
            message: messages.get(&r.id).copied().unwrap_or(number(r.id)),
            entry: Entry::Reading(r),
        };
        let mut all: Vec<JournalEntry> = readings.into_iter().map(entry).collect();
        all.sort_unstable_by_key(|e| e.position);
        Ok(all)
    }

    /// What was held of somebody's readings and received from `from` on, in order of commitment; at most `limit`, the
    /// newest. What was discarded since is in it: it was judged when it came.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn held_since_blocking(&self, from: Timestamp, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        let mut all: Vec<JournalEntry> = Vec::new();
        let first = {
            let memory = self.shared.memory.read();
            for row in memory.tables().flat_map(|t| &t.rows) {
                if matches!(&row.entry, Entry::Held(h) if h.patient.is_some() && h.received_at >= from) {
                    all.push(JournalEntry { position: row.id, message: row.message, entry: row.entry.clone() });
                }
            }
            memory.first_id()
        };
        self.shared.readers.with(|c| {
            let mut statement =
                c.prepare_cached("SELECT id, message, b FROM held WHERE id < ?1 ORDER BY id DESC").map_err(fault)?;
            let mut rows = statement.query([i64::try_from(first).unwrap_or(i64::MAX)]).map_err(fault)?;
            while all.len() < limit
                && let Some(r) = rows.next().map_err(fault)?
            {
                let held: Held = row::decode(r.get_ref(2).map_err(fault)?.as_blob().unwrap_or_default())?;
                // What is held again when it is replayed has a new id and its old time: older ids may be of later.
                if held.patient.is_some() && held.received_at >= from {
                    let (position, message): (i64, i64) = (r.get(0).map_err(fault)?, r.get(1).map_err(fault)?);
                    let entry = Entry::Held(Arc::new(held));
                    let (position, message) = (position.cast_unsigned(), message.cast_unsigned());
                    all.push(JournalEntry { position, message, entry });
                }
            }
            Ok(())
        })?;
        all.sort_unstable_by_key(|e| e.position);
        Ok(all)
    }
}
