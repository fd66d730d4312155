//! Between which measurement times a device's number must lie: those of the nearest stored numbers below and above it, in
//! the same life of the counter.
//!
//! Looked up when a held entry is shown or replayed, never when readings arrive. Must never: make up a time; look farther
//! than a message and its neighbours reach.

use super::{
    Desk, Readings,
    memory::Memory,
    numbers::{self, block},
    query::merged_reading,
};
use crate::StoreError;
use rusqlite::Connection;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use vitals::{DeviceKey, Reading, ReadingId, Timestamp};

/// Numbers looked through on either side: more than one message may hold.
const REACH: i64 = 256;

/// Bounds of a measurement time. None on a side where no neighbour is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// When the number below was measured.
    pub after: Option<Timestamp>,
    /// When the number above was measured.
    pub before: Option<Timestamp>,
}

/// One life of one device's counter.
#[derive(Clone, Copy)]
struct Life {
    device: DeviceKey,
    epoch: u32,
}

impl Readings {
    /// Between which times number `seq` of `device` was measured, in this life of its counter.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn between(&self, device: DeviceKey, epoch: u32, seq: i64) -> Result<Between, StoreError> {
        let life = Life { device, epoch };
        self.ask(move |shared| {
            let fresh = life.in_memory(&shared.memory.read(), seq);
            shared.readers.with(|c| life.between(c, &fresh, seq))
        })
        .await
    }
}

impl Desk<'_> {
    /// As [`Readings::between`], as of the last commit.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn between(&self, device: DeviceKey, epoch: u32, seq: i64) -> Result<Between, StoreError> {
        let life = Life { device, epoch };
        let fresh = life.in_memory(&self.ground.memory.read(), seq);
        life.between(self.ground.connection, &fresh, seq)
    }
}

impl Life {
    /// Stored readings within reach that are not merged yet. Before the tables: what leaves memory in between is there.
    fn in_memory(self, memory: &Memory, seq: i64) -> BTreeMap<i64, Arc<Reading>> {
        let blocks = block(seq.saturating_sub(REACH))..=block(seq.saturating_add(REACH));
        let device = self.device.as_i64();
        let found = blocks.flat_map(|block| {
            memory.tables().flat_map(move |t| t.identity.items((block, device)).iter().map(move |item| (t, item)))
        });
        found
            .filter(|(_, item)| item.second == u64::from(self.epoch))
            .filter_map(|(t, item)| Some((item.first, t.rows.get(item.at())?.reading()?.clone())))
            .collect()
    }

    fn between(self, c: &Connection, fresh: &BTreeMap<i64, Arc<Reading>>, seq: i64) -> Result<Between, StoreError> {
        // A number that was made up says nothing of order.
        if seq < 0 {
            return Ok(Between::default());
        }
        let below = self.nearest(c, fresh, (seq.saturating_sub(REACH).max(0)..seq).rev())?;
        let above = self.nearest(c, fresh, seq.saturating_add(1)..seq.saturating_add(REACH))?;
        // A clock that was set back between the two leaves nothing to say.
        let torn = below.zip(above).is_some_and(|(after, before)| after > before);
        Ok(if torn { Between::default() } else { Between { after: below, before: above } })
    }

    /// When the first of these numbers was measured under which a reading is stored whose hour is sure.
    fn nearest(
        self,
        c: &Connection,
        fresh: &BTreeMap<i64, Arc<Reading>>,
        numbers: impl Iterator<Item = i64>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut merged: (Option<i64>, HashMap<i64, ReadingId>) = (None, HashMap::new());
        for seq in numbers {
            let block = block(seq);
            if merged.0 != Some(block) {
                merged = (Some(block), self.merged(c, block)?);
            }
            let found = match (fresh.get(&seq), merged.1.get(&seq)) {
                (Some(reading), _) => Some(reading.clone()),
                (None, Some(id)) => merged_reading(c, *id)?,
                (None, None) => None,
            };
            if let Some(reading) = found.filter(|r| !r.flags.iter().any(|f| &**f == "zone_suspect")) {
                return Ok(Some(reading.measured_at));
            }
        }
        Ok(None)
    }

    /// Which numbers of a block are in the tables.
    fn merged(self, c: &Connection, block: i64) -> Result<HashMap<i64, ReadingId>, StoreError> {
        let numbers = numbers::of_block(c, block, self.device)?;
        Ok(numbers.iter().filter(|n| n.known.epoch == self.epoch).map(|n| (n.seq, n.known.id)).collect())
    }
}
