//! Sending, and not believing it: rows are counted on the server by week, against the rows that were sent.
//!
//! A week whose count differs is sent again from the series; one that then still has too many rows is dropped first
//! (QuestDB deletes whole partitions only). So a row that a power cut took away after its acknowledgement, a stray one,
//! and a table that somebody emptied are one case.

use super::{
    Config, Fault, ProjectorHealth, Row, Source, State, TABLE,
    position::{Position, Quarantine, Tally},
    row::{week_of, week_start},
    schema::{self, TableId},
    sender::Lane,
    sql::Sql,
    watch::{self, LagWatch},
};
use crate::StoreError;
use runtime::Drain;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, sync::watch as channel};
use vitals::Timestamp;

/// A failed request is sent again so often, after pauses that double, before everything begins again.
const AGAIN: u32 = 3;
const FIRST_AGAIN: Duration = Duration::from_millis(50);
/// Between two looks while waiting for the server to apply what it took.
const APPLY_LOOK: Duration = Duration::from_millis(20);

/// Both connections and the table that they were opened for.
struct Link {
    sql: Sql,
    lane: Lane,
    table: TableId,
}

/// Everything on the side of QuestDB.
pub(super) struct Outlet {
    pub(super) config: Config,
    pub(super) drain: Drain,
    pub(super) runtime: Arc<Runtime>,
    pub(super) health: channel::Sender<ProjectorHealth>,
    /// Highest position that was acknowledged.
    pub(super) sent: u64,
    /// Rows that must be in the table, by week.
    pub(super) tally: Tally,
    /// Weeks in which rows were sent since the last check.
    pub(super) touched: BTreeSet<i64>,
    /// The server may have been restarted since everything was counted, and may hold rows beyond `sent`, up to here:
    /// everything is counted again once it is sent again up to here.
    pub(super) suspicious: Option<u64>,
    quarantine: Quarantine,
    link: Option<Link>,
    last_look: Option<Instant>,
    lag: LagWatch,
}

impl Outlet {
    pub(super) fn new(config: Config, drain: Drain, runtime: Arc<Runtime>, quarantine: Quarantine) -> Self {
        let health = channel::Sender::new(ProjectorHealth { quarantined: quarantine.len(), ..Default::default() });
        Self {
            config,
            drain,
            runtime,
            health,
            sent: 0,
            tally: Tally::new(),
            touched: BTreeSet::new(),
            suspicious: None,
            quarantine,
            link: None,
            last_look: None,
            lag: LagWatch::default(),
        }
    }

    /// Gives up the connections and goes back to `position`.
    pub(super) fn begin_at(&mut self, position: Option<&Position>) {
        self.link = None;
        self.last_look = None;
        self.sent = position.map_or(0, |p| p.checked);
        self.tally = position.map(|p| p.weeks.clone()).unwrap_or_default();
        self.touched.clear();
        let sent = self.sent;
        self.health.send_modify(|h| {
            h.sent = sent;
            h.checked = sent;
        });
    }

    /// Opens what is not open. The table is made or looked at first, so that the sender is always younger than it.
    pub(super) fn connect(&mut self, head: u64) -> Result<(), Fault> {
        if self.link.is_some() {
            return Ok(());
        }
        self.free()?;
        let sql = Sql::connect(&self.runtime, &self.config)?;
        let table = schema::ensure(&sql)?;
        let lane = Lane::open(&self.config)?;
        self.link = Some(Link { sql, lane, table });
        self.suspicious = Some(head);
        self.health.send_modify(|h| h.recounting = true);
        Ok(())
    }

    /// Drops the table, makes it anew and opens a new sender for it.
    pub(super) fn recreate(&mut self) -> Result<(), Fault> {
        let mut link = self.link.take().ok_or_else(closed)?;
        link.table = schema::recreate(&link.sql)?;
        link.lane = Lane::open(&self.config)?;
        self.link = Some(link);
        self.quarantine.clear()
    }

    fn link(&mut self) -> Result<&mut Link, Fault> {
        self.link.as_mut().ok_or_else(closed)
    }

    fn sql(&self) -> Result<&Sql, Fault> {
        self.link.as_ref().map(|l| &l.sql).ok_or_else(closed)
    }

    fn free(&self) -> Result<(), Fault> {
        let free = watch::free_bytes(&self.config);
        self.health.send_modify(|h| h.free_bytes = free);
        watch::room(&self.config, free)
    }

    /// Looks at the server every `watch_seconds`: the same table, not suspended, room.
    pub(super) fn look(&mut self) -> Result<(), Fault> {
        let every = Duration::from_secs(self.config.watch_seconds);
        if self.last_look.is_some_and(|at| at.elapsed() < every) {
            return Ok(());
        }
        self.free()?;
        let link = self.link.as_ref().ok_or_else(closed)?;
        if schema::table_id(&link.sql)? != Some(link.table) {
            return Err(Fault::Replaced);
        }
        let begun = Instant::now();
        self.wal()?;
        self.last_look = Some(Instant::now());
        self.health.send_modify(|h| h.looked = Some(begun));
        self.health.borrow().publish();
        Ok(())
    }

    /// Transactions not yet applied. A suspended table is told to go on; that is harmless where it cannot.
    fn wal(&mut self) -> Result<u64, Fault> {
        let wal = watch::wal(self.sql()?)?;
        let stuck = self.lag.look(wal.behind, self.config.lag_transactions, Instant::now());
        let lagging = stuck.is_some_and(|for_| for_ >= Duration::from_secs(self.config.lag_seconds));
        if lagging && !self.health.borrow().lagging {
            let fault = Fault::Lagging { behind: wal.behind, seconds: self.config.lag_seconds };
            tracing::warn!(reason = %fault, "the projection to QuestDB lags");
        }
        self.health.send_modify(|h| {
            h.suspensions += u64::from(wal.suspended && !h.suspended);
            h.suspended = wal.suspended;
            h.lag_transactions = wal.behind;
            h.lagging = lagging;
        });
        if wal.suspended {
            self.sql()?.run(&format!("ALTER TABLE {TABLE} RESUME WAL"))?;
            return Err(Fault::Suspended);
        }
        Ok(wal.behind)
    }

    /// Says how far it is.
    pub(super) fn progress(&self, committed: u64, state: State) {
        let sent = self.sent;
        self.health.send_if_modified(|h| {
            let before = (h.committed, h.sent, h.state);
            (h.committed, h.sent, h.state) = (committed, sent, state);
            before != (committed, sent, state)
        });
    }

    /// Says that nothing is in the way. Only a count that agreed and was written down proves it: a server that takes
    /// everything and shows nothing would otherwise be asked again without a pause, and without an alarm.
    pub(super) fn recovered(&self) {
        self.health.send_if_modified(|h| {
            if h.reason.take().is_some() {
                tracing::info!("the projection to QuestDB goes on");
            }
            std::mem::take(&mut h.failures) > 0
        });
    }

    /// Sends rows in one transaction; those that can never be stored are set aside.
    pub(super) fn deliver(&mut self, rows: &[Row]) -> Result<(), Fault> {
        let known = |r: &&Row| !self.quarantine.contains(r.position);
        let rows: std::borrow::Cow<'_, [Row]> =
            if rows.iter().all(|r| known(&r)) { rows.into() } else { rows.iter().filter(known).cloned().collect() };
        if rows.is_empty() {
            return Ok(());
        }
        let refused = match self.send(&rows) {
            Err(Fault::Malformed) => {
                // A table that was altered refuses good rows too: it is looked at before any row is blamed.
                let link = self.link()?;
                if schema::ensure(&link.sql)? != link.table {
                    return Err(Fault::Replaced);
                }
                link.lane.sift(&rows)?
            }
            answer => answer?,
        };
        let mut bad = refused.iter().peekable();
        for (index, row) in rows.iter().enumerate() {
            if let Some(refused) = bad.next_if(|r| r.index == index) {
                self.quarantine.add(row.position, refused.why)?;
            } else {
                *self.tally.entry(row.week()).or_default() += 1;
                self.touched.insert(row.week());
            }
        }
        metrics::counter!("hearthbeat_questdb_rows_total").increment(rows.len() as u64);
        let quarantined = self.quarantine.len();
        self.health.send_modify(|h| {
            h.rows += rows.len() as u64;
            h.quarantined = quarantined;
        });
        Ok(())
    }

    /// Sends rows; a request that fails is sent again a few times, or a fault now and then would let no long refill come
    /// to its end. On a new connection, and only while the server is the one that has what was sent before: its other
    /// connection, as old as its process, still answers, and for the same table.
    fn send(&mut self, rows: &[Row]) -> Result<Vec<super::sender::Refused>, Fault> {
        let mut pause = FIRST_AGAIN;
        for _ in 0..AGAIN {
            let fault = match self.link()?.lane.send(rows) {
                Err(fault @ Fault::Unreachable(_)) => fault,
                answer => return answer,
            };
            let (runtime, drain) = (self.runtime.clone(), self.drain.clone());
            runtime.block_on(async {
                tokio::select! { () = drain.stopping() => {}, () = tokio::time::sleep(pause) => {} }
            });
            if drain.is_stopping() {
                return Err(Fault::Stopping);
            }
            pause *= 2;
            metrics::counter!("hearthbeat_questdb_failures_total").increment(1);
            let (config, link) = (self.config.clone(), self.link()?);
            if schema::table_id(&link.sql)? != Some(link.table) {
                return Err(Fault::Replaced);
            }
            link.lane = Lane::open(&config).map_err(|_| fault)?;
        }
        self.link()?.lane.send(rows)
    }

    /// Sends everything, or `weeks` only, again from the series.
    pub(super) fn refill(&mut self, source: &mut Source, weeks: Option<&BTreeSet<i64>>) -> Result<(), Fault> {
        // What is committed later comes in journal order and must not be counted twice.
        let head = if weeks.is_some() { self.sent } else { *source.committed.borrow() };
        match weeks {
            None => self.tally.clear(),
            Some(weeks) => self.tally.retain(|week, _| !weeks.contains(week)),
        }
        self.progress(*source.committed.borrow(), State::Refilling);
        let size = self.config.catch_up_batch;
        let mut batch: Vec<Row> = Vec::with_capacity(size);
        let mut fault = None;
        let within: Option<Vec<_>> = weeks.map(|weeks| weeks.iter().map(|week| period_of(*week)).collect());
        let read = (source.everything)(within.as_deref(), &mut |reading| {
            let position = reading.id.as_i64().cast_unsigned();
            if position > head || weeks.is_some_and(|w| !w.contains(&week_of(reading.measured_at))) {
                return Ok(());
            }
            let device = (source.name)(reading.device);
            batch.push(Row { position, device, reading: Arc::new(reading.clone()) });
            if batch.len() < size {
                return Ok(());
            }
            let sent = self.deliver_more(&batch);
            batch.clear();
            sent.map_err(|f| {
                fault = Some(f);
                StoreError::Closed
            })
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        read?;
        self.deliver_more(&batch)?;
        self.sent = head;
        Ok(())
    }

    fn deliver_more(&mut self, batch: &[Row]) -> Result<(), Fault> {
        if self.drain.is_stopping() {
            return Err(Fault::Stopping);
        }
        self.look()?;
        self.deliver(batch)
    }

    /// Waits until the server has applied what it took. Nothing more is sent meanwhile: a server that does not keep up
    /// is not helped by more.
    fn settle(&mut self) -> Result<(), Fault> {
        while self.wal()? > 0 {
            if self.drain.is_stopping() {
                return Err(Fault::Stopping);
            }
            self.free()?;
            let drain = &self.drain;
            self.runtime.block_on(async {
                tokio::select! { () = drain.stopping() => {}, () = tokio::time::sleep(APPLY_LOOK) => {} }
            });
        }
        Ok(())
    }

    /// The weeks that are there and those that should be.
    pub(super) fn all_weeks(&mut self) -> Result<BTreeSet<i64>, Fault> {
        let mut weeks = self.weeks_there()?;
        weeks.extend(self.tally.keys());
        Ok(weeks)
    }

    /// Takes whole weeks out, those that are there.
    pub(super) fn drop_weeks(&mut self, weeks: &BTreeSet<i64>) -> Result<(), Fault> {
        for week in self.weeks_there()?.intersection(weeks) {
            let (from, to) = (week_start(*week), week_start(week + 1));
            self.sql()?.run(&format!(
                "ALTER TABLE {TABLE} DROP PARTITION WHERE measured >= cast({from} AS TIMESTAMP) \
                 AND measured < cast({to} AS TIMESTAMP)"
            ))?;
        }
        self.settle()
    }

    fn weeks_there(&mut self) -> Result<BTreeSet<i64>, Fault> {
        self.settle()?;
        let found = self.sql()?.rows(&format!("SELECT cast(minTimestamp AS LONG) FROM table_partitions('{TABLE}')"))?;
        let there = found.iter().filter_map(|r| r.first()?.as_ref()?.parse().ok());
        Ok(there.map(|at| week_of(Timestamp::from_micros(at))).collect())
    }

    /// Counts `weeks` on the server, mends those that differ, counts again. While rows are sent again the server has
    /// some that are not yet counted here: then only weeks with too few are mended.
    pub(super) fn check(&mut self, source: &mut Source, weeks: BTreeSet<i64>, thorough: bool) -> Result<(), Fault> {
        let exact = self.suspicious.is_none_or(|until| self.sent >= until);
        self.settle()?;
        let wrong = self.differing(&weeks, thorough, exact)?;
        if wrong.is_empty() {
            return Ok(());
        }
        tracing::warn!(weeks = wrong.len(), "rows in QuestDB differ from those sent: these weeks are sent again");
        self.health.send_modify(|h| h.repaired_weeks += wrong.len() as u64);
        self.refill(source, Some(&wrong))?;
        self.settle()?;
        let wrong = self.differing(&wrong, true, exact)?;
        if wrong.is_empty() {
            return Ok(());
        }
        if !exact {
            return Err(Fault::Mismatch { weeks: wrong.len() });
        }
        // Rows that nobody sent, or that were moved: the week goes and comes whole.
        self.drop_weeks(&wrong)?;
        self.refill(source, Some(&wrong))?;
        self.settle()?;
        let left = self.differing(&wrong, true, true)?.len();
        if left == 0 { Ok(()) } else { Err(Fault::Mismatch { weeks: left }) }
    }

    /// A thorough count reads every timestamp; the other one asks the partitions' books.
    fn differing(&self, weeks: &BTreeSet<i64>, thorough: bool, exact: bool) -> Result<BTreeSet<i64>, Fault> {
        let mut wrong = BTreeSet::new();
        for &week in weeks {
            let (from, to) = (week_start(week).max(0), week_start(week + 1));
            let range = format!(
                "FROM {TABLE} WHERE measured >= cast({from} AS TIMESTAMP) AND measured < cast({to} AS TIMESTAMP)"
            );
            let query = if thorough {
                format!(
                    "SELECT sum(n) FROM (SELECT (cast(measured AS LONG) / 86400000000 + 3) / 7 week, count() n {range}) WHERE week = {week}"
                )
            } else {
                format!("SELECT count() {range}")
            };
            let there = self.sql()?.number(&query)?.unwrap_or_default();
            let there = u64::try_from(there).unwrap_or_default();
            let wanted = self.tally.get(&week).copied().unwrap_or_default();
            if there < wanted || (exact && there > wanted) {
                wrong.insert(week);
            }
        }
        Ok(wrong)
    }
}

fn period_of(week: i64) -> (Timestamp, Timestamp) {
    (Timestamp::from_micros(week_start(week)), Timestamp::from_micros(week_start(week + 1)))
}

fn closed() -> Fault {
    Fault::Unreachable("not connected".into())
}
