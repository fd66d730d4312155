//! The table `identity` of files before version 12: a row for each number of a device. Now `numbers` says the same.
//!
//! Goes in: a file of an older program. Comes out: its numbers, to be counted or to be moved.
//! Must never: put anything into it.

use super::{
    Known,
    numbers::{self, Number},
    tables::fault,
};
use crate::StoreError;
use rusqlite::{Connection, Row, params};
use vitals::{DeviceKey, ReadingId, Timestamp};

/// What [`number`] reads.
const COLUMNS: &str = "SELECT seq, epoch, id, told, mark, block, device FROM identity";

fn number(r: &Row<'_>) -> Result<Number, rusqlite::Error> {
    let known = Known {
        id: ReadingId::from_i64(r.get(2)?),
        epoch: r.get(1)?,
        told: r.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
        fingerprint: r.get::<_, i64>(4)?.cast_unsigned(),
    };
    Ok(Number { seq: r.get(0)?, known })
}

/// As [`numbers::known`].
pub(super) fn known(c: &Connection, device: DeviceKey, seq: i64) -> Result<Vec<Known>, StoreError> {
    let sql = format!("{COLUMNS} WHERE block = ?1 AND device = ?2 AND seq = ?3");
    let mut statement = c.prepare_cached(&sql).map_err(fault)?;
    let at = params![numbers::block(seq), device.as_i64(), seq];
    let rows = statement.query_map(at, |r| number(r).map(|n| n.known)).map_err(fault)?;
    rows.collect::<Result<_, _>>().map_err(fault)
}

/// As [`numbers::each`].
pub(super) fn each(c: &Connection, f: &mut dyn FnMut(DeviceKey, &Number)) -> Result<(), StoreError> {
    let mut statement = c.prepare(COLUMNS).map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        f(DeviceKey::from_i64(r.get(6).map_err(fault)?), &number(r).map_err(fault)?);
    }
    Ok(())
}

/// Moves everything into `numbers`.
pub(super) fn move_on(c: &Connection) -> Result<(), StoreError> {
    {
        let sql = format!("{COLUMNS} ORDER BY block, device, seq, epoch");
        let mut statement = c.prepare(&sql).map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        let (mut of, mut all) = ((0, 0), Vec::new());
        let write = |(block, device), all: &[Number]| numbers::write(c, block, DeviceKey::from_i64(device), all);
        while let Some(r) = rows.next().map_err(fault)? {
            let at = (r.get(5).map_err(fault)?, r.get(6).map_err(fault)?);
            if at != of {
                write(of, &all)?;
                all.clear();
                of = at;
            }
            all.push(number(r).map_err(fault)?);
        }
        write(of, &all)?;
    }
    c.execute_batch("DROP TABLE identity").map_err(fault)
}
