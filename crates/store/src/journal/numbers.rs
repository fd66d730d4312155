//! `numbers`: which reading lies under which number of a device; those of a block of 32 numbers in one row, for a meter
//! counts on by one and a row of SQLite costs more than what is in it.
//!
//! Goes in: numbers that are being merged, or whose reading is taken out. Comes out: a device's numbers, for ever.
//! Must never: take a number for a second reading of the same life of the counter.

use super::{
    Known,
    clustered::Cluster,
    keeping,
    row::{self, Row, unreadable},
    tables::fault,
};
use crate::StoreError;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use vitals::{DeviceKey, Reading, ReadingId, Timestamp};

/// The step that brings the table; what the table `identity` of before says is moved by [`super::numbers_before`].
/// The block stands first: it keeps what arrives at the same time together in the file, whoever sent it.
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS numbers(block INTEGER, device INTEGER, b BLOB NOT NULL,
    PRIMARY KEY(block, device)) WITHOUT ROWID;";

/// Numbers in one block.
pub(super) const BLOCK: i64 = 32;

/// The block in which number `seq` of a device lies.
pub(super) const fn block(seq: i64) -> i64 {
    seq.div_euclid(BLOCK)
}

/// One number of a device, and what lies under it in one life of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) seq: i64,
    pub(super) known: Known,
}

impl Number {
    const fn order(&self) -> (i64, u32) {
        (self.seq, self.known.epoch)
    }
}

/// A number as it lies in its row: what it shares with the one before it is not said again. What is added later begins
/// anew, so that nobody has to read what is there.
#[derive(Serialize, Deserialize)]
struct Packed {
    /// Place within the block, with [`FORM`] and perhaps [`ANEW`].
    place: u8,
    epoch: u32,
    /// From the one before; where it begins anew, from 0.
    id: i64,
    /// From the last one before that has a time; where it begins anew, from 0.
    told: Option<i64>,
    mark: [u8; 8],
}

/// In every first byte of a number: what has another form one day has another sign.
const FORM: u8 = 0x40;
/// In the first byte of a number that says everything itself.
const ANEW: u8 = 0x20;
const PLACE: u8 = 0x1f;

/// Puts numbers behind what is there.
fn pack(body: &mut Vec<u8>, numbers: impl Iterator<Item = Number>) -> Result<(), StoreError> {
    let (mut sign, mut id, mut told) = (FORM | ANEW, 0, 0);
    for Number { seq, known } in numbers {
        let this = known.told.map(Timestamp::as_micros);
        let packed = Packed {
            place: seq.rem_euclid(BLOCK).to_le_bytes()[0] | sign,
            epoch: known.epoch,
            id: known.id.as_i64().wrapping_sub(id),
            told: this.map(|at| at.wrapping_sub(told)),
            mark: known.fingerprint.to_le_bytes(),
        };
        row::append(body, &packed)?;
        (sign, id, told) = (FORM, known.id.as_i64(), this.unwrap_or(told));
    }
    Ok(())
}

/// Ascending by number and epoch. What a merge that began anew put in twice is there once, as it came first.
fn unpack(block: i64, mut body: &[u8]) -> Result<Vec<Number>, StoreError> {
    let mut numbers = Vec::with_capacity(body.len() / 16 + 1);
    let (mut id, mut told) = (0_i64, 0_i64);
    while !body.is_empty() {
        let (packed, behind) = postcard::take_from_bytes::<Packed>(body).map_err(|e| unreadable(&e))?;
        body = behind;
        match packed.place & !PLACE {
            FORM => {}
            sign if sign == FORM | ANEW => (id, told) = (0, 0),
            _ => return Err(unreadable(&"a number in an unknown form")),
        }
        id = id.wrapping_add(packed.id);
        let this = packed.told.map(|from| told.wrapping_add(from));
        told = this.unwrap_or(told);
        let known = Known {
            id: ReadingId::from_i64(id),
            epoch: packed.epoch,
            told: this.map(Timestamp::from_micros),
            fingerprint: u64::from_le_bytes(packed.mark),
        };
        let place = i64::from(packed.place & PLACE);
        numbers.push(Number { seq: block.wrapping_mul(BLOCK).wrapping_add(place), known });
    }
    numbers.sort_by_key(Number::order);
    numbers.dedup_by_key(|n| n.order());
    Ok(numbers)
}

/// The merged numbers of one block of a device, ascending by number and epoch.
pub(super) fn of_block(c: &Connection, block: i64, device: DeviceKey) -> Result<Vec<Number>, StoreError> {
    let row = params![block, device.as_i64()];
    let found = c
        .prepare_cached("SELECT b FROM numbers WHERE block = ?1 AND device = ?2")
        .and_then(|mut s| s.query_row(row, |r| Ok(unpack(block, r.get_ref(0)?.as_blob()?))).optional())
        .map_err(fault)?;
    found.unwrap_or_else(|| Ok(Vec::new()))
}

/// Puts the numbers of one block of a device in the place of those that were there.
pub(super) fn write(c: &Connection, block: i64, device: DeviceKey, numbers: &[Number]) -> Result<(), StoreError> {
    let device = device.as_i64();
    let written = if numbers.is_empty() {
        c.prepare_cached("DELETE FROM numbers WHERE block = ?1 AND device = ?2")
            .and_then(|mut s| s.execute(params![block, device]))
    } else {
        let mut body = Vec::with_capacity(24 * numbers.len());
        pack(&mut body, numbers.iter().copied())?;
        c.prepare_cached("INSERT OR REPLACE INTO numbers(block, device, b) VALUES(?1, ?2, ?3)")
            .and_then(|mut s| s.execute(params![block, device, body]))
    };
    written.map(drop).map_err(fault)
}

/// Puts the numbers of readings in, each with its block and device, ascending. Under which something lies already, that
/// stays.
pub(super) fn put(c: &Connection, rows: &[(Cluster, &Row)]) -> Result<(), StoreError> {
    let mut add = c
        .prepare_cached(
            "INSERT INTO numbers(block, device, b) VALUES(?1, ?2, ?3)
             ON CONFLICT(block, device) DO UPDATE SET b = CAST(b || excluded.b AS BLOB)",
        )
        .map_err(fault)?;
    let mut body = Vec::new();
    for group in rows.chunk_by(|(a, _), (b, _)| a == b) {
        let (block, device) = group[0].0;
        let numbers = group.iter().filter_map(|(_, row)| Some(Number { seq: row.reading()?.seq, known: row.known()? }));
        body.clear();
        pack(&mut body, numbers)?;
        add.execute(params![block, device, body]).map_err(fault)?;
    }
    Ok(())
}

/// Every merged reading of `device` with this number, one an epoch.
pub(super) fn known(c: &Connection, device: DeviceKey, seq: i64) -> Result<Vec<Known>, StoreError> {
    let numbers = of_block(c, block(seq), device)?;
    Ok(numbers.into_iter().filter(|n| n.seq == seq).map(|n| n.known).collect())
}

/// The highest number of `device` that is merged. Skips from block to block, for the table is ordered by those.
pub(super) fn highest(c: &Connection, device: DeviceKey) -> Result<Option<i64>, StoreError> {
    let mut below = c.prepare_cached("SELECT max(block) FROM numbers WHERE block < ?1").map_err(fault)?;
    let mut block = i64::MAX;
    loop {
        let Some(next) = below.query_row([block], |r| r.get(0)).map_err(fault)? else { return Ok(None) };
        if let Some(last) = of_block(c, next, device)?.last() {
            return Ok(Some(last.seq));
        }
        block = next;
    }
}

/// What is left of the number of a reading that is taken out: that it was answered. Nothing where the device has no
/// counter: its numbers are made of values, of which nothing may stay.
pub(super) fn bury(c: &Connection, r: &Reading) -> Result<(), StoreError> {
    let mut all = of_block(c, block(r.seq), r.device)?;
    let is = |n: &Number| n.order() == (r.seq, r.epoch) && n.known.id == r.id;
    let Some(at) = all.iter().position(is) else { return Ok(()) };
    if r.seq < 0 {
        all.remove(at);
    } else {
        all[at].known.fingerprint = keeping::ERASED;
    }
    write(c, block(r.seq), r.device, &all)
}

/// Every merged number.
pub(super) fn each(c: &Connection, f: &mut dyn FnMut(DeviceKey, &Number)) -> Result<(), StoreError> {
    let mut statement = c.prepare("SELECT block, device, b FROM numbers").map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let (block, device) = (r.get(0).map_err(fault)?, DeviceKey::from_i64(r.get(1).map_err(fault)?));
        let body = r.get_ref(2).map_err(fault)?.as_blob().unwrap_or_default();
        unpack(block, body)?.iter().for_each(|number| f(device, number));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vitals::Entry;

    fn something() -> impl Strategy<Value = Known> {
        (any::<i64>(), 0..3_u32, any::<Option<i64>>(), any::<u64>()).prop_map(|(id, epoch, told, fingerprint)| Known {
            id: ReadingId::from_i64(id),
            epoch,
            told: told.map(Timestamp::from_micros),
            fingerprint,
        })
    }

    fn table() -> Connection {
        let c = Connection::open_in_memory().unwrap();
        c.execute_batch(SCHEMA).unwrap();
        c
    }

    proptest! {
        /// Whatever numbers lie in a block come back as they came first, of negative blocks too, in however many goes they
        /// were put in; a row that is cut, or anything else, is no row or another one, and nothing worse.
        #[test]
        fn what_was_packed_comes_back(
            block in prop_oneof![-3..3_i64, Just(i64::MIN / BLOCK), Just(i64::MAX / BLOCK)],
            goes in proptest::collection::vec(proptest::collection::vec((0..BLOCK, something()), 0..20), 0..5),
            cut in any::<proptest::sample::Index>(),
            rubbish in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let (mut body, mut all) = (Vec::new(), std::collections::BTreeMap::new());
            for go in goes {
                let numbers = go.into_iter().map(|(place, known)| Number { seq: block * BLOCK + place, known });
                let numbers: Vec<Number> = numbers.collect();
                pack(&mut body, numbers.iter().copied()).unwrap();
                numbers.into_iter().for_each(|n| { all.entry(n.order()).or_insert(n); });
            }
            prop_assert_eq!(unpack(block, &body).unwrap(), all.values().copied().collect::<Vec<_>>());
            if !body.is_empty()
                && let Ok(fewer) = unpack(block, &body[..cut.index(body.len())])
            {
                prop_assert!(fewer.iter().all(|n| all.get(&n.order()) == Some(n)));
            }
            let _ = unpack(block, &rubbish);
        }
    }

    /// Bodies are put behind each other by SQLite, which must take them for bytes, whatever is in them.
    #[test]
    fn a_merge_that_begins_anew_brings_every_number_once() {
        let c = table();
        let rows: Vec<Row> = (0..40)
            .map(|seq| {
                let reading = crate::journal::tests::reading(7, seq);
                let reading = Reading { id: ReadingId::new(900 + seq.cast_unsigned()), ..reading };
                let told = (seq % 3 > 0).then(|| Timestamp::from_micros(seq << 40));
                Row::new((900 + seq.cast_unsigned(), 900), 0, (told, false), Entry::Reading(reading.into())).unwrap()
            })
            .collect();
        let keyed: Vec<_> = (0..40).zip(&rows).map(|(seq, row)| ((block(seq), 7), row)).collect();
        for part in [&keyed[..5], &keyed[..20], &keyed[..], &keyed[30..]] {
            put(&c, part).unwrap();
        }
        for (seq, row) in (0..40).zip(&rows) {
            assert_eq!(known(&c, DeviceKey::new(7), seq).unwrap(), [row.known().unwrap()]);
        }
        let mut seen = 0;
        each(&c, &mut |_, _| seen += 1).unwrap();
        assert_eq!(seen, 40);
    }

    #[test]
    fn the_highest_is_found_over_the_blocks_of_others() {
        let c = table();
        let number = |seq| Number { seq, known: Known { id: ReadingId::new(1), epoch: 0, told: None, fingerprint: 7 } };
        for (device, seqs) in [(1, &[-90, -70][..]), (2, &[3, 31, 32]), (3, &[500])] {
            for seq in seqs {
                write(&c, block(*seq), DeviceKey::new(device), &[number(*seq)]).unwrap();
            }
        }
        let found = [1, 2, 3, 4].map(|device| highest(&c, DeviceKey::new(device)).unwrap());
        assert_eq!(found, [Some(-70), Some(32), Some(500), None]);
    }
}
