//! What retention and erasure have in common: taking stored rows out without unbalancing the books or forgetting which
//! numbers were answered.
//!
//! Goes in: merged rows, on the commit thread. Comes out: tables without them; `removed` counts them by day and device;
//! their numbers stay known as tombstones, so that a meter that sends them again is told "duplicate".
//! Must never: touch what is not merged ([`Writer::settle`] comes first), or change the books.

use super::{
    books::{Books, Counts, day_number},
    days, numbers, places,
    row::{number, owner, week},
    tables::{self, fault},
    writer::Writer,
};
use crate::StoreError;
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::atomic::Ordering::Relaxed;
use vitals::{Reading, Timestamp, Zone};

/// The step from version 1 of the file to version 2.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS removed(day INTEGER, device INTEGER, stored INTEGER NOT NULL, quarantined INTEGER NOT NULL,
    PRIMARY KEY(day, device)) WITHOUT ROWID;
";

/// The mark of a number whose reading was taken out: what is sent under it again is a duplicate, whatever it says.
pub const ERASED: u64 = 0;

/// Rows merged at once while everything else waits.
const SETTLE: usize = 10_000;

/// First and last moment of measurement of what was taken out.
pub(super) type Stretch = Option<(Timestamp, Timestamp)>;

pub(super) fn widen(stretch: &mut Stretch, at: Timestamp) {
    *stretch = Some(stretch.map_or((at, at), |(from, to)| (from.min(at), to.max(at))));
}

impl Writer {
    /// Merges everything that is in memory, so that only the tables are left to look at. Whoever sends waits meanwhile:
    /// about a second when memory is full.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        let usual = self.shared.freeze_at.swap(1, Relaxed);
        let settled = loop {
            if self.merge.is_none() && self.shared.memory.read().active.rows.is_empty() {
                break Ok(());
            }
            self.merge_some(SETTLE);
            if self.shared.disk_full.load(Relaxed) {
                break Err(StoreError::DiskFull("journal.db".into()));
            }
            if self.shared.dead.load(Relaxed) {
                break Err(StoreError::Fatal("journal.db".into()));
            }
        };
        self.shared.freeze_at.store(usual, Relaxed);
        settled
    }

    /// One transaction, judged as every commit is.
    pub(super) fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = self
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(fault)
            .and_then(|()| work(self))
            .and_then(|done| self.connection.execute_batch("COMMIT").map_err(fault).map(|()| done));
        if done.is_err() {
            let _ = self.connection.execute_batch("ROLLBACK"); // SQLite may have rolled back by itself
        }
        self.judge_commit(done.as_ref().err());
        done
    }

    /// Positions are never used twice, also when the newest rows are taken out.
    pub(super) fn keep_highest(&self) -> Result<(), StoreError> {
        let highest = *self.shared.committed.borrow();
        tables::set_meta(&self.connection, "highest", Some(highest.cast_signed()))
    }
}

/// Takes everything about a merged reading out but its number and its place in the books.
pub(super) fn take_out(
    c: &Connection,
    folding: &days::Folding,
    r: &Reading,
    zone: &Zone,
    removed: &mut Books,
) -> Result<(), StoreError> {
    let id = number(r.id).cast_signed();
    let whose = owner(r.patient, r.device);
    days::touch(c, folding, week(r.measured_at), whose)?;
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        c.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(fault).map(drop)
    };
    run(
        "DELETE FROM series WHERE wk = ?1 AND owner = ?2 AND measured = ?3 AND id = ?4",
        params![week(r.measured_at), whose, r.measured_at.as_micros(), id],
    )?;
    places::take_out(c, r.id)?;
    run("DELETE FROM unassigned WHERE id = ?1", params![id])?;
    run("DELETE FROM assigned WHERE id = ?1", params![id])?;
    numbers::bury(c, r)?;
    let key = (day_number(r.received_at.day(zone)), r.device);
    *removed.entry(key).or_default() += Counts { stored: 1, ..Counts::default() };
    Ok(())
}

/// Writes down how many rows of each day and device are no longer there.
pub(super) fn count_removed(c: &Connection, removed: &Books) -> Result<(), StoreError> {
    let mut statement = c
        .prepare_cached(
            "INSERT INTO removed(day, device, stored, quarantined) VALUES(?1, ?2, ?3, ?4)
             ON CONFLICT(day, device) DO UPDATE SET stored = stored + excluded.stored,
             quarantined = quarantined + excluded.quarantined",
        )
        .map_err(fault)?;
    for ((day, device), counts) in removed {
        let (stored, quarantined) = (counts.stored.cast_signed(), counts.quarantined.cast_signed());
        statement.execute(params![day, device.as_i64(), stored, quarantined]).map_err(fault)?;
    }
    Ok(())
}

/// What `meta` calls the first and the last moment of a stretch.
type Names = [&'static str; 2];

/// To be told to a projection.
const STALE: Names = ["stale_from", "stale_to"];
/// Told to a projection that runs, and not known to be durably noted there: the next start tells it.
const UNFOLLOWED: Names = ["unfollowed_from", "unfollowed_to"];

/// A projection of the series has rows of this stretch that are no longer stored: it must send those weeks anew.
pub(super) fn note_stale(c: &Connection, stretch: Stretch) -> Result<(), StoreError> {
    widen_noted(c, STALE, stretch)
}

/// Within the transaction that gives readings of these moments to somebody else, or says more of them.
pub(super) fn note_unfollowed(c: &Connection, times: impl Iterator<Item = Timestamp>) -> Result<(), StoreError> {
    let mut stretch: Stretch = None;
    times.for_each(|at| widen(&mut stretch, at));
    widen_noted(c, UNFOLLOWED, stretch)
}

/// Before the commit thread begins: what the former process told a projection may have ended with it.
pub(super) fn unfollowed_is_stale(c: &Connection) -> Result<(), StoreError> {
    let stretch = noted(c, UNFOLLOWED)?;
    if stretch.is_none() {
        return Ok(());
    }
    let view = c.unchecked_transaction().map_err(fault)?;
    widen_noted(&view, STALE, stretch)?;
    forget_noted(&view, UNFOLLOWED)?;
    view.commit().map_err(fault)
}

fn widen_noted(c: &Connection, names: Names, stretch: Stretch) -> Result<(), StoreError> {
    let Some((from, to)) = stretch else { return Ok(()) };
    let known = noted(c, names)?;
    let mut wider = known;
    widen(&mut wider, from);
    widen(&mut wider, to);
    let Some((from, to)) = wider.filter(|_| wider != known) else { return Ok(()) };
    tables::set_meta(c, names[0], Some(from.as_micros()))?;
    tables::set_meta(c, names[1], Some(to.as_micros()))
}

fn noted(c: &Connection, names: Names) -> Result<Stretch, StoreError> {
    let from = tables::meta(c, names[0])?.map(Timestamp::from_micros);
    Ok(from.zip(tables::meta(c, names[1])?.map(Timestamp::from_micros)))
}

fn forget_noted(c: &Connection, names: Names) -> Result<(), StoreError> {
    names.into_iter().try_for_each(|name| tables::set_meta(c, name, None))
}

/// A file of an older program, read before it was brought forward, lacks newer tables.
pub(super) fn has_table(c: &Connection, name: &str) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1";
    Ok(c.query_row(sql, [name], |_| Ok(())).optional().map_err(fault)?.is_some())
}

impl super::Readings {
    /// The stretch of measurement times in which readings were erased or dropped, or changed in a former process that no
    /// projection is known to have followed, since a projection was last told so with
    /// [`super::Readings::projection_mended`]; none where nothing is to be done.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn projection_stale(&self) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
        self.control(|writer| noted(&writer.connection, STALE)).await
    }

    /// A projection has durably noted every change up to the one with this number ([`super::Moved`]).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn projection_followed(&self, number: u64) -> Result<(), StoreError> {
        self.control(move |writer| {
            // Changes are made on this thread: none comes in between.
            if number < writer.shared.moves.load(Relaxed) || noted(&writer.connection, UNFOLLOWED)?.is_none() {
                return Ok(());
            }
            writer.in_transaction(|w| forget_noted(&w.connection, UNFOLLOWED))
        })
        .await
    }

    /// A projection has sent this stretch anew, or was filled again from nothing. A stretch that has grown meanwhile
    /// stays noted.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn projection_mended(&self, stretch: (Timestamp, Timestamp)) -> Result<(), StoreError> {
        self.control(move |writer| {
            if noted(&writer.connection, STALE)?.is_none_or(|(from, to)| from < stretch.0 || to > stretch.1) {
                return Ok(());
            }
            writer.in_transaction(|w| forget_noted(&w.connection, STALE))
        })
        .await
    }
}
