//! Which engine is asked. The analysts' database where one is configured and what it shows is known to be right: counted
//! up to a moment that is near enough, not suspended, without a week in which a reading still has its former owner or
//! an erased patient is still there. The embedded series otherwise, and whenever the other one does not answer in time.

use super::{Population, PopulationQuery, Provenance, embedded};
use crate::{Readings, Store, StoreError, questdb};
use std::{sync::Arc, time::Duration};
use vitals::{Entry, Timestamp};

/// Beyond it QuestDB counts as away, and the embedded series is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Entries that are not yet counted there and are looked at, whether they concern the asked time.
const TAIL: usize = 2_000;

/// The projection that runs beside this store.
#[derive(Debug)]
pub(crate) struct Projection {
    select: questdb::Select,
    handle: questdb::Handle,
    /// How old an answer may be.
    oldest: Duration,
}

impl Projection {
    pub(crate) fn new(config: questdb::Config, handle: questdb::Handle) -> Self {
        let oldest = Duration::from_secs(config.answer_lag_seconds);
        Self { select: questdb::Select::new(config), handle, oldest }
    }

    /// Up to which moment of receipt its answer would be complete, or why it is not asked.
    async fn fresh(&self, readings: &Readings, q: &PopulationQuery, now: Timestamp) -> Result<Timestamp, &'static str> {
        let health = self.handle.health();
        unfit(&health, readings.moves()).map_or(Ok(()), Err)?;
        if readings.projection_stale().await.map_or(true, |stale| stale.is_some()) {
            return Err("weeks are being rewritten");
        }
        let (readings, span, limit) = (readings.clone(), (q.from, q.to), now.minus(self.oldest));
        let tail = tokio::task::spawn_blocking(move || tail(&readings, health.checked, span, limit)).await;
        match tail {
            Ok(Ok(Tail::Complete)) => Ok(now),
            Ok(Ok(Tail::Through(at))) => Ok(at),
            Ok(Ok(Tail::TooOld)) => Err("too far behind"),
            Ok(Err(_)) | Err(_) => Err("the journal cannot be read"),
        }
    }
}

/// Why a projection in this state is not asked. `moves`: the newest change of stored readings.
fn unfit(health: &questdb::ProjectorHealth, moves: u64) -> Option<&'static str> {
    use questdb::State::{CatchingUp, Live, Refilling};
    match health.state {
        _ if health.suspended => Some("suspended"),
        _ if health.rewriting > 0 || health.followed < moves => Some("weeks are being rewritten"),
        Refilling => Some("weeks are being rewritten"),
        Live | CatchingUp if health.recounting => Some("its rows are being counted"),
        Live | CatchingUp if health.failures == 0 => None,
        _ => Some("away"),
    }
}

/// What is committed and not yet counted there.
enum Tail {
    /// Nothing that concerns the asked time.
    Complete,
    /// Something; the first of it was received then.
    Through(Timestamp),
    /// Something that was received too long ago, or too much to look at.
    TooOld,
}

fn tail(
    readings: &Readings,
    checked: u64,
    (from, to): (Timestamp, Timestamp),
    limit: Timestamp,
) -> Result<Tail, StoreError> {
    let entries = readings.entries_after(checked, TAIL)?;
    let whole = entries.len() < TAIL;
    let concerned = |r: &Arc<vitals::Reading>| (from..to).contains(&r.measured_at);
    let mut missing = entries.iter().filter_map(|e| match &e.entry {
        Entry::Reading(r) => Some(r),
        Entry::Held(_) => None,
    });
    match missing.find(|r| concerned(r)) {
        Some(first) if first.received_at >= limit => Ok(Tail::Through(first.received_at)),
        None if whole => Ok(Tail::Complete),
        _ => Ok(Tail::TooOld),
    }
}

impl Store {
    /// A population's readings by day or week. From the analysts' database while that is known to be right, from the
    /// embedded series otherwise; the answer says which, and up to when it is complete.
    ///
    /// # Errors
    /// When the embedded series cannot be read either.
    pub async fn population(&self, query: PopulationQuery) -> Result<Population, StoreError> {
        let mut instead = None;
        if let Some(projection) = &self.projection {
            match self.projected(projection, &query).await {
                Ok(found) => return Ok(found),
                Err(why) => {
                    metrics::counter!("hearthbeat_questdb_questions_total", "answered" => "embedded").increment(1);
                    tracing::debug!(why, "a question over many people is answered by the embedded series");
                    instead = Some(why);
                }
            }
        }
        // One at a time: a scan is long, and everything else has the disk before it.
        let _turn = self.scans.acquire().await.map_err(|_| StoreError::Closed)?;
        let (readings, through) = (self.readings().clone(), self.clock().now());
        let scan = tokio::task::spawn_blocking(move || embedded::population(&readings, &query));
        let stretches = scan.await.unwrap_or(Err(StoreError::Closed))?;
        Ok(Population { stretches, source: Provenance { series: "embedded", through, instead } })
    }

    async fn projected(&self, projection: &Projection, query: &PopulationQuery) -> Result<Population, &'static str> {
        let through = projection.fresh(self.readings(), query, self.clock().now()).await?;
        let asked = tokio::time::timeout(PATIENCE, projection.select.population(query)).await;
        let (stretches, connected) = asked.map_err(|_| "too slow")?.map_err(|_| "away")?;
        // The answer is that of the server whose rows were counted only if that one was seen after this connection was
        // opened; a new connection waits for the next look. What began meanwhile may show in the answer, too.
        let (mut health, moves) = (projection.handle.changes(), self.readings().moves());
        let seen = health.wait_for(|h| unfit(h, moves).is_some() || h.looked.is_some_and(|at| at > connected));
        let seen = tokio::time::timeout(PATIENCE, seen).await.map_err(|_| "too slow")?.map_err(|_| "away")?;
        unfit(&seen, moves).map_or(Ok(()), Err)?;
        drop(seen);
        metrics::counter!("hearthbeat_questdb_questions_total", "answered" => "questdb").increment(1);
        Ok(Population { stretches, source: Provenance { series: "questdb", through, instead: None } })
    }

    /// With the analysts' database that `handle` fills: questions over many people are asked there.
    #[must_use]
    pub fn with_projection(mut self, config: questdb::Config, handle: questdb::Handle) -> Self {
        self.projection = Some(Arc::new(Projection::new(config, handle)));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questdb::{ProjectorHealth, State};

    #[test]
    fn only_a_projection_that_is_known_to_be_right_is_asked() {
        let health = |change: fn(&mut ProjectorHealth)| {
            let mut health = ProjectorHealth { state: State::Live, followed: 3, ..ProjectorHealth::default() };
            change(&mut health);
            unfit(&health, 3)
        };
        assert_eq!(health(|_| {}), None);
        assert_eq!(health(|h| h.state = State::CatchingUp), None);
        assert_eq!(health(|h| h.suspended = true), Some("suspended"));
        assert_eq!(health(|h| h.rewriting = 1), Some("weeks are being rewritten"));
        assert_eq!(health(|h| h.followed = 2), Some("weeks are being rewritten"));
        assert_eq!(health(|h| h.state = State::Refilling), Some("weeks are being rewritten"));
        for state in [State::Starting, State::Waiting, State::Suspended, State::DiskLow, State::Stopped] {
            let health = ProjectorHealth { state, ..ProjectorHealth::default() };
            assert_eq!(unfit(&health, 0), Some("away"), "{state:?}");
        }
        assert_eq!(health(|h| h.failures = 1), Some("away"));
        assert_eq!(health(|h| h.recounting = true), Some("its rows are being counted"));
    }
}
