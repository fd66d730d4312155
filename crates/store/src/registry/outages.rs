//! When this service itself could take nothing: it did not run, or its disk could not be written.
//!
//! Goes in: a beat now and then while it can write. Comes out: the stretches in which there was none, for whoever must
//! not blame a patient for them. Must never: be the reason why anything else fails.

use crate::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;
use vitals::Timestamp;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS service_beat(one INTEGER PRIMARY KEY CHECK(one = 1), at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS service_outage(from_at INTEGER PRIMARY KEY, to_at INTEGER NOT NULL);
";

/// A shorter one is a restart: meters hardly notice.
const SHORTEST: Duration = Duration::from_secs(10 * 60);

/// From one moment until another the service could take nothing.
pub type Outage = (Timestamp, Timestamp);

impl Store {
    /// Says that the service can write now. `again`: it could not, or did not run, since the last beat; that stretch is
    /// then kept as an outage.
    ///
    /// # Errors
    /// As every write.
    pub fn beat_blocking(&self, again: bool) -> Result<(), StoreError> {
        let now = self.clock().now();
        self.registry.write_blocking(move |c| {
            if again
                && let Some(last) = last(c)?
                && now.since(last) >= SHORTEST
            {
                c.execute(
                    "INSERT OR REPLACE INTO service_outage(from_at, to_at) VALUES(?1, ?2)",
                    params![last.as_micros(), now.as_micros()],
                )?;
            }
            c.prepare_cached("INSERT OR REPLACE INTO service_beat(one, at) VALUES(1, ?1)")?
                .execute([now.as_micros()])?;
            Ok(())
        })
    }

    /// Every outage that was kept, in order.
    ///
    /// # Errors
    /// As every read.
    pub fn outages_blocking(&self) -> Result<Vec<Outage>, StoreError> {
        self.registry.read_blocking(|c| {
            let mut statement = c.prepare_cached("SELECT from_at, to_at FROM service_outage ORDER BY from_at")?;
            let rows = statement
                .query_map([], |r| Ok((Timestamp::from_micros(r.get(0)?), Timestamp::from_micros(r.get(1)?))))?;
            rows.map(|r| Ok(r?)).collect()
        })
    }
}

fn last(c: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let at: Option<i64> = c.query_row("SELECT at FROM service_beat", [], |r| r.get(0)).optional()?;
    Ok(at.map(Timestamp::from_micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Clock, Drain};

    #[tokio::test]
    async fn a_restart_is_no_outage_and_a_day_without_a_beat_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let (_handle, drain) = Drain::new();
        let at = |minutes: u64| Timestamp::from_seconds(1_770_000_000).plus(Duration::from_secs(60 * minutes));
        let store = Store::open(folder.path(), Clock::manual(at(0)), &drain).unwrap();
        for (minute, again) in [(0, true), (1, false), (4, true), (600, false), (1440, true)] {
            store.clock().move_to(at(minute)).unwrap();
            store.beat_blocking(again).unwrap();
        }
        assert_eq!(store.outages_blocking().unwrap(), [(at(600), at(1440))]);
    }
}
