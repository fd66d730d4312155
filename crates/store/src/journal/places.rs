//! `place`: under which key of `series` an id lies and of which message it is a part; the ids of 64 in one row, for ids are
//! given in a row and a row of SQLite costs more than what is in it.
//!
//! Goes in: readings that are being merged, moved or taken out. Comes out: keys by id, ascending.
//! Must never: say a place of something that is still only in the journal.

use super::{
    row::{SeriesKey, number, series_key, week},
    tables::{fault, put_unassigned},
};
use crate::StoreError;
use rusqlite::{Connection, OptionalExtension, params};
use vitals::{Reading, ReadingId, Timestamp};

/// The step that brings the table; what the table `locate` of before says is moved by [`move_in`].
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS place(block INTEGER PRIMARY KEY, b BLOB NOT NULL);";

/// Ids in one row.
const BLOCK: u64 = 64;
/// Bytes of one of them: the id's place in the block, how far back its message begins, owner, time of measurement.
const SIZE: usize = 1 + 2 + 8 + 8;

/// Where a merged reading lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) message: u64,
    pub(super) owner: i64,
    /// Microseconds.
    pub(super) measured: i64,
}

impl Place {
    fn of(message: u64, reading: &Reading) -> Self {
        let (_, owner, measured, id) = series_key(reading);
        Self { id, message, owner, measured }
    }

    pub(super) fn key(&self) -> SeriesKey {
        (week(Timestamp::from_micros(self.measured)), self.owner, self.measured, self.id)
    }

    fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0] = (self.id % BLOCK).to_le_bytes()[0];
        // No message holds so many readings that this is not exact.
        let back = u16::try_from(self.id - self.message).unwrap_or(u16::MAX);
        bytes[1..3].copy_from_slice(&back.to_le_bytes());
        bytes[3..11].copy_from_slice(&self.owner.to_le_bytes());
        bytes[11..].copy_from_slice(&self.measured.to_le_bytes());
        bytes
    }

    fn from_bytes(block: u64, bytes: &[u8; SIZE]) -> Self {
        let word = |at: usize| i64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let id = block * BLOCK + u64::from(bytes[0]);
        let back = u64::from(u16::from_le_bytes([bytes[1], bytes[2]]));
        Self { id, message: id.saturating_sub(back), owner: word(3), measured: word(11) }
    }
}

/// What `read` makes of the places of one block, ascending by id; none where it has no row.
fn look<T>(c: &Connection, block: u64, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
    c.prepare_cached("SELECT b FROM place WHERE block = ?1")
        .and_then(|mut s| s.query_row([block.cast_signed()], |r| Ok(read(r.get_ref(0)?.as_blob()?))).optional())
        .map_err(fault)
}

fn block(c: &Connection, block: u64) -> Result<Vec<Place>, StoreError> {
    Ok(look(c, block, |body| places(block, body).collect())?.unwrap_or_default())
}

fn places(block: u64, body: &[u8]) -> impl DoubleEndedIterator<Item = Place> + '_ {
    body.as_chunks::<SIZE>().0.iter().map(move |bytes| Place::from_bytes(block, bytes))
}

fn write(c: &Connection, block: u64, places: &[Place]) -> Result<(), StoreError> {
    let row = block.cast_signed();
    let written = if places.is_empty() {
        c.prepare_cached("DELETE FROM place WHERE block = ?1").and_then(|mut s| s.execute([row]))
    } else {
        let body: Vec<u8> = places.iter().flat_map(|p| p.to_bytes()).collect();
        c.prepare_cached("INSERT OR REPLACE INTO place(block, b) VALUES(?1, ?2)")
            .and_then(|mut s| s.execute(params![row, body]))
    };
    written.map(drop).map_err(fault)
}

/// Says where readings lie that are being merged, ascending, each with the id of its message. What was said stays.
pub(super) fn put(c: &Connection, readings: &[(u64, &Reading)]) -> Result<(), StoreError> {
    for group in readings.chunk_by(|(_, a), (_, b)| number(a.id) / BLOCK == number(b.id) / BLOCK) {
        let new = group.iter().map(|(message, reading)| Place::of(*message, reading));
        put_block(c, number(group[0].1.id) / BLOCK, new)?;
    }
    // Somebody's is never listed as nobody's: what was, left the list when it was given away.
    let mut nobodys = readings.iter().filter(|(_, reading)| reading.patient.is_none());
    nobodys.try_for_each(|(_, reading)| put_unassigned(c, reading))
}

fn put_block(c: &Connection, at: u64, new: impl Iterator<Item = Place>) -> Result<(), StoreError> {
    let mut all = block(c, at)?;
    let said = all.len();
    for place in new {
        if all[..said].binary_search_by_key(&place.id, |p| p.id).is_err() {
            all.push(place);
        }
    }
    all.sort_unstable_by_key(|p| p.id);
    write(c, at, &all)
}

/// Where a merged reading lies.
pub(super) fn of(c: &Connection, id: ReadingId) -> Result<Option<Place>, StoreError> {
    let id = number(id);
    let found = look(c, id / BLOCK, |body| places(id / BLOCK, body).find(|p| p.id == id))?;
    Ok(found.flatten())
}

/// Changes where a merged reading lies; nothing when it is not merged yet.
pub(super) fn shift(c: &Connection, reading: &Reading) -> Result<(), StoreError> {
    let at = number(reading.id) / BLOCK;
    let mut all = block(c, at)?;
    let Some(place) = all.iter_mut().find(|p| p.id == number(reading.id)) else { return Ok(()) };
    *place = Place::of(place.message, reading);
    write(c, at, &all)?;
    put_unassigned(c, reading)
}

/// Forgets where a reading lies.
pub(super) fn take_out(c: &Connection, id: ReadingId) -> Result<(), StoreError> {
    let at = number(id) / BLOCK;
    let mut all = block(c, at)?;
    let before = all.len();
    all.retain(|p| p.id != number(id));
    if all.len() == before { Ok(()) } else { write(c, at, &all) }
}

/// Tells of every place with an id in `from..to`, ascending, as long as `take` says so.
pub(super) fn each(
    c: &Connection,
    from: u64,
    to: u64,
    take: &mut dyn FnMut(Place) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = c
        .prepare_cached("SELECT block, b FROM place WHERE block >= ?1 AND block <= ?2 ORDER BY block")
        .map_err(fault)?;
    let bounds = params![(from / BLOCK).cast_signed(), (to / BLOCK).cast_signed()];
    let mut rows = statement.query(bounds).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let at = r.get::<_, i64>(0).map_err(fault)?.cast_unsigned();
        for place in places(at, r.get_ref(1).map_err(fault)?.as_blob().unwrap_or_default()) {
            if (from..to).contains(&place.id) && !take(place)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The highest id that has a place; 0 where none has.
pub(super) fn highest(c: &Connection) -> Result<u64, StoreError> {
    let last: Option<i64> = c.query_row("SELECT max(block) FROM place", [], |r| r.get(0)).map_err(fault)?;
    let last = last.map(|at| block(c, at.cast_unsigned())).transpose()?;
    Ok(last.and_then(|all| all.last().map(|p| p.id)).unwrap_or(0))
}

/// Moves what the table `locate` of an older file says.
pub(super) fn move_in(c: &Connection) -> Result<(), StoreError> {
    {
        let mut statement = c.prepare("SELECT id, message, owner, measured FROM locate ORDER BY id").map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        let mut waiting: Vec<Place> = Vec::new();
        loop {
            let next = rows.next().map_err(fault)?.map(|r| {
                Ok::<_, rusqlite::Error>(Place {
                    id: r.get::<_, i64>(0)?.cast_unsigned(),
                    message: r.get::<_, i64>(1)?.cast_unsigned(),
                    owner: r.get(2)?,
                    measured: r.get(3)?,
                })
            });
            let next = next.transpose().map_err(fault)?;
            if let Some(first) = waiting.first().filter(|w| next.is_none_or(|n| n.id / BLOCK != w.id / BLOCK)) {
                write(c, first.id / BLOCK, &waiting)?;
                waiting.clear();
            }
            match next {
                Some(place) => waiting.push(place),
                None => break,
            }
        }
    }
    c.execute_batch("DROP TABLE locate").map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Connection {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(SCHEMA).unwrap();
        c
    }

    fn all(c: &Connection, from: u64, to: u64) -> Vec<Place> {
        let mut all = Vec::new();
        let mut take = |place| {
            all.push(place);
            Ok(true)
        };
        each(c, from, to, &mut take).unwrap();
        all
    }

    proptest! {
        /// Ids in any steps, also the same step twice, come back once, ascending; the rest of a block stays when one goes.
        #[test]
        fn what_was_put_is_found(
            places in proptest::collection::btree_map(1..400_u64, (0..9_u64, any::<i64>(), any::<i64>()), 1..90),
            cut in 0..90_usize,
            (from, to) in (0..400_u64, 0..400_u64),
        ) {
            let places: Vec<Place> = places
                .iter()
                .map(|(id, (back, owner, measured))| Place { id: *id, message: id.saturating_sub(*back), owner: *owner, measured: *measured })
                .collect();
            let c = table();
            for part in [&places[..cut.min(places.len())], &places[..], &places[..1]] {
                for group in part.chunk_by(|a, b| a.id / BLOCK == b.id / BLOCK) {
                    put_block(&c, group[0].id / BLOCK, group.iter().copied()).unwrap();
                }
            }
            prop_assert_eq!(all(&c, 0, u64::MAX >> 1), places.clone());
            let within: Vec<Place> = places.iter().copied().filter(|p| (from..to).contains(&p.id)).collect();
            prop_assert_eq!(all(&c, from, to), within);
            prop_assert_eq!(highest(&c).unwrap(), places.last().unwrap().id);
            let gone = places[cut % places.len()];
            take_out(&c, ReadingId::new(gone.id)).unwrap();
            prop_assert_eq!(of(&c, ReadingId::new(gone.id)).unwrap(), None);
            for place in places.iter().filter(|p| p.id != gone.id) {
                prop_assert_eq!(of(&c, ReadingId::new(place.id)).unwrap(), Some(*place));
            }
        }
    }

    #[test]
    fn the_table_of_an_older_file_moves_in() {
        let c = table();
        c.execute_batch(
            "CREATE TABLE locate(id INTEGER PRIMARY KEY, message INTEGER, wk INTEGER, owner INTEGER, measured INTEGER);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
             INSERT INTO locate SELECT i * 3, i * 3 - i % 3, 0, -i, i * 1000000 FROM n;",
        )
        .unwrap();
        move_in(&c).unwrap();
        let expected: Vec<Place> = (1..=300_u64)
            .map(|i| {
                let i_signed = i.cast_signed();
                Place { id: i * 3, message: i * 3 - i % 3, owner: -i_signed, measured: i_signed * 1_000_000 }
            })
            .collect();
        assert_eq!(all(&c, 0, 10_000), expected);
        assert!(c.prepare("SELECT 1 FROM locate").is_err(), "the old table is gone");
    }
}
