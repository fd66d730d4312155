//! `j0` and `j1`: the lines of the journal as they lie in the file, those of one commit in few rows, for a row of SQLite
//! costs more than what is in it.
//!
//! Goes in: lines, in the order of their ids. Comes out: the same lines; one of them may be replaced.
//! Must never: put lines of two commits into one row, take for granted what a damaged file claims.

use super::{
    row::{Row, unreadable},
    tables::{Half, fault},
};
use crate::StoreError;
use rusqlite::{Connection, OptionalExtension, params};

/// First byte of a row of many lines, since version 11 of the file: after it how many they are, in four bytes, then each with
/// its length before it, in four bytes; their ids go up by one. A row that begins otherwise is of before, and one line.
const MANY: u8 = 4;
/// Lines in one row: whoever says something else of one writes all of them again.
const MOST: usize = 128;
/// Bytes of a number.
const NUMBER: usize = size_of::<u32>();

/// Appends the lines of one commit.
pub(super) fn append(c: &Connection, half: Half, rows: &[Row]) -> Result<(), StoreError> {
    // `OR ROLLBACK` for the reason in [`super::fill`].
    let sql =
        half.of("INSERT OR ROLLBACK INTO j0(id, b) VALUES(?1, ?2)", "INSERT OR ROLLBACK INTO j1(id, b) VALUES(?1, ?2)");
    let mut insert = c.prepare_cached(sql).map_err(fault)?;
    let mut body = Vec::new();
    for side_by_side in rows.chunk_by(|a, b| a.id + 1 == b.id) {
        for some in side_by_side.chunks(MOST) {
            body.clear();
            body.push(MANY);
            body.extend_from_slice(&number(some.len())?);
            for row in some {
                put(&mut body, |body| row.append_to(body))?;
            }
            insert.execute(params![some[0].id.cast_signed(), body]).map_err(fault)?;
        }
    }
    Ok(())
}

/// Replaces a line where it is still there.
pub(super) fn replace(c: &Connection, half: Half, row: &Row) -> Result<(), StoreError> {
    let sql = half.of(
        "SELECT id, b FROM j0 WHERE id <= ?1 ORDER BY id DESC LIMIT 1",
        "SELECT id, b FROM j1 WHERE id <= ?1 ORDER BY id DESC LIMIT 1",
    );
    let found: Option<(i64, Vec<u8>)> = c
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([row.id.cast_signed()], |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .map_err(fault)?;
    let Some((first, before)) = found else { return Ok(()) };
    let mut body = Vec::with_capacity(before.len() + NUMBER);
    match many(&before)? {
        None if first.cast_unsigned() == row.id => row.append_to(&mut body)?,
        Some((count, lines)) if row.id - first.cast_unsigned() < u64::from(count) => {
            body.extend_from_slice(&before[..1 + NUMBER]);
            for (id, line) in (first.cast_unsigned()..).zip(split(lines)) {
                let line = line?;
                put(&mut body, |body| {
                    if id == row.id {
                        return row.append_to(body);
                    }
                    body.extend_from_slice(line);
                    Ok(())
                })?;
            }
        }
        _ => return Ok(()),
    }
    let sql = half.of("UPDATE j0 SET b = ?2 WHERE id = ?1", "UPDATE j1 SET b = ?2 WHERE id = ?1");
    c.prepare_cached(sql).and_then(|mut s| s.execute(params![first, body])).map_err(fault)?;
    Ok(())
}

/// Every line of one half, ascending by id.
pub(super) fn each(
    c: &Connection,
    half: Half,
    f: &mut dyn FnMut(Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement =
        c.prepare(half.of("SELECT id, b FROM j0 ORDER BY id", "SELECT id, b FROM j1 ORDER BY id")).map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let first = r.get::<_, i64>(0).map_err(fault)?.cast_unsigned();
        let body = r.get_ref(1).map_err(fault)?.as_blob().unwrap_or_default();
        let Some((count, lines)) = many(body)? else {
            f(Row::decode(first, body)?)?;
            continue;
        };
        let mut found = 0;
        for (id, line) in (first..).zip(split(lines)) {
            f(Row::decode(id, line?)?)?;
            found += 1;
        }
        if found != count {
            return Err(unreadable(&"it holds another number of lines than it says"));
        }
    }
    Ok(())
}

/// How many lines a row says it holds, and what comes after that; none when it is one line of before.
fn many(body: &[u8]) -> Result<Option<(u32, &[u8])>, StoreError> {
    let Some(rest) = body.strip_prefix(&[MANY]) else { return Ok(None) };
    let (count, lines) = rest.split_first_chunk().ok_or_else(|| unreadable(&"it ends too early"))?;
    Ok(Some((u32::from_le_bytes(*count), lines)))
}

fn put(body: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let at = body.len();
    body.extend_from_slice(&[0; NUMBER]);
    write(body)?;
    let length = number(body.len() - at - NUMBER)?;
    body[at..at + NUMBER].copy_from_slice(&length);
    Ok(())
}

fn number(n: usize) -> Result<[u8; NUMBER], StoreError> {
    u32::try_from(n).map(u32::to_le_bytes).map_err(|_| unreadable(&"a line is longer than any message"))
}

/// The lines of a row; an error where it ends too early, and nothing after it.
fn split(mut rest: &[u8]) -> impl Iterator<Item = Result<&[u8], StoreError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let line = rest.split_first_chunk().and_then(|(said, after)| {
            let length = usize::try_from(u32::from_le_bytes(*said)).ok()?;
            after.split_at_checked(length)
        });
        let Some((line, after)) = line else {
            rest = &[];
            return Some(Err(unreadable(&"it ends too early")));
        };
        rest = after;
        Some(Ok(line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tables;
    use vitals::{DeviceKey, Entry, Held, ReadingId, Reason, Timestamp};

    fn row(id: u64, bytes: usize) -> Row {
        let held = Held {
            id: ReadingId::from_i64(id.cast_signed()),
            device: DeviceKey::new(id % 3),
            epoch: 0,
            seq: None,
            patient: None,
            measured_at: None,
            received_at: Timestamp::from_seconds(1_772_409_600),
            reasons: vec![Reason::NoValue],
            bytes: vec![7; bytes],
            route: "readings".into(),
        };
        Row::new((id, id), 20_260_302, (None, false), Entry::Held(held.into())).unwrap()
    }

    fn lengths(c: &Connection) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        each(c, Half::Zero, &mut |row| {
            let Entry::Held(held) = &row.entry else { panic!() };
            found.push((row.id, held.bytes.len()));
            Ok(())
        })
        .unwrap();
        found
    }

    fn opened() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let c = tables::open(&folder.path().join("journal.db")).unwrap();
        (folder, c)
    }

    #[test]
    fn lines_come_back_in_order_whatever_their_ids_and_one_can_be_replaced() {
        let (_folder, c) = opened();
        let mut all: Vec<(u64, usize)> = (1..=300).chain(302..=302).chain(400..=401).map(|id| (id, 5)).collect();
        all[250].1 = 100_000;
        let rows: Vec<Row> = all.iter().map(|(id, bytes)| row(*id, *bytes)).collect();
        append(&c, Half::Zero, &rows).unwrap();
        assert_eq!(lengths(&c), all);
        let count: i64 = c.query_row("SELECT count(*) FROM j0", [], |r| r.get(0)).unwrap();
        assert_eq!(count, 3 + 1 + 1, "three rows for 300 lines, one for each of the others' runs");
        for id in [1, 128, 129, 302, 401] {
            replace(&c, Half::Zero, &row(id, 9)).unwrap();
            all.iter_mut().find(|(known, _)| *known == id).unwrap().1 = 9;
        }
        for id in [0, 301, 399, 402] {
            replace(&c, Half::Zero, &row(id, 9)).unwrap();
        }
        assert_eq!(lengths(&c), all, "what is not there is not put there");
    }

    #[test]
    fn a_line_of_before_version_11_is_read_and_replaced_as_it_lies() {
        let (_folder, c) = opened();
        let mut body = Vec::new();
        row(7, 5).append_to(&mut body).unwrap();
        c.execute("INSERT INTO j0(id, b) VALUES(7, ?1)", [&body]).unwrap();
        append(&c, Half::Zero, &[row(8, 6), row(9, 6)]).unwrap();
        assert_eq!(lengths(&c), [(7, 5), (8, 6), (9, 6)]);
        replace(&c, Half::Zero, &row(7, 3)).unwrap();
        assert_eq!(lengths(&c), [(7, 3), (8, 6), (9, 6)]);
    }

    #[test]
    fn a_damaged_row_is_an_error() {
        let (_folder, c) = opened();
        append(&c, Half::Zero, &[row(1, 5), row(2, 5)]).unwrap();
        let whole: Vec<u8> = c.query_row("SELECT b FROM j0", [], |r| r.get(0)).unwrap();
        for end in 1..whole.len() {
            c.execute("UPDATE j0 SET b = ?1", [&whole[..end]]).unwrap();
            assert!(each(&c, Half::Zero, &mut |_| Ok(())).is_err(), "{end}");
        }
    }
}
