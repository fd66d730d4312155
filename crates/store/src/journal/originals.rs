//! The raw bytes of each message of which something was kept, until retention or an erasure ends them: with them a wrong
//! decode can be repaired, and what a meter really sent can be shown.
//!
//! Goes in: a message's bytes, in the transaction that commits its rows, as they are; later, outside of any commit, many
//! messages packed into one compressed block. Comes out: the bytes of one message.
//! Must never: cost the commit more than a copy, stand in for a reading, outlive the person in it.

use super::{Desk, Readings, desk::Changes, tables, tables::fault, writer::Writer};
use crate::StoreError;
use bytes::Bytes;
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use foldhash::HashSet;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    io::{Read, Write},
};
use vitals::{DeviceKey, Entry, PatientId, ReadingId, Timestamp};

/// The step that brings the table.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS original(id INTEGER PRIMARY KEY, last INTEGER NOT NULL, received INTEGER NOT NULL,
    packed INTEGER NOT NULL, b BLOB NOT NULL);
";

/// Bytes of messages in one packed block: more packs better, and makes the look-up of one message and an erasure slower.
const BLOCK: usize = 64 << 10;
/// Blocks written between two commits, so that nobody waits long.
const BLOCKS: usize = 8;
/// Bytes that one message may have unpacked: a block that claims more is damaged.
const LONGEST: u64 = 256 << 20;
/// Up to where rows are packed, in `meta`.
const PACKED: &str = "originals_packed";

/// A message as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Original {
    /// The tail of its topic.
    pub route: String,
    /// When the server had it.
    pub received_at: Timestamp,
    /// Without what an adapter called personal.
    pub bytes: Vec<u8>,
    /// The patient to whom everything in it belongs; none when it speaks of others too, or of nobody.
    pub sole_owner: Option<PatientId>,
}

impl std::fmt::Debug for Original {
    /// Without the bytes: they are a patient's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Original").field("route", &self.route).finish_non_exhaustive()
    }
}

/// What stands before a message's bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head<'a> {
    /// Id of its first row.
    pub(super) message: u64,
    /// Readings in it, known ones included.
    pub(super) answered: u32,
    pub(super) received: i64,
    /// Who sent it, and of whom it speaks; below zero: -1 less the id of a reading in it that was known already.
    pub(super) devices: Vec<i64>,
    #[serde(borrow)]
    route: Cow<'a, str>,
    length: u64,
}

/// A message on its way into the file.
pub(super) type Arriving = (Head<'static>, Bytes);

/// What a desk remembers of the message that it has before it.
#[derive(Debug, Default)]
pub(super) struct Touched {
    devices: Vec<i64>,
    /// The same, to find one among many.
    spoken: HashSet<i64>,
    answered: u32,
    /// Readings and held entries that the message brings again.
    known: Vec<i64>,
    /// It brings again what was taken out: its bytes must not come back.
    erased: bool,
}

impl Touched {
    pub(super) fn begin(&mut self) {
        self.devices.clear();
        self.spoken.clear();
        self.known.clear();
        (self.answered, self.erased) = (0, false);
    }

    pub(super) fn know(&mut self, id: ReadingId) {
        self.known.push(-1 - id.as_i64());
    }

    pub(super) const fn bring_back(&mut self) {
        self.erased = true;
    }

    pub(super) fn answer(&mut self, device: DeviceKey) {
        self.answered += 1;
        let device = device.as_i64();
        // Nearly every message speaks of one device only.
        if self.devices.last() != Some(&device) && self.spoken.insert(device) {
            self.devices.push(device);
        }
    }
}

impl Desk<'_> {
    /// Of whom the present message said something that was answered.
    pub fn spoken_of(&self) -> Vec<DeviceKey> {
        self.touched().devices.iter().map(|key| DeviceKey::from_i64(*key)).collect()
    }

    /// Keeps the bytes of the present message beside its rows; nothing where it has none, or where it brings again what
    /// was taken out of the file. To be called last.
    pub fn keep_original(
        &mut self,
        sender: DeviceKey,
        route: Cow<'static, str>,
        received_at: Timestamp,
        bytes: &Bytes,
    ) {
        let Some(message) = self.message() else { return };
        let Touched { devices, answered, known, erased, .. } = self.touched();
        if *erased {
            return;
        }
        let mut devices = devices.clone();
        let answered = *answered;
        if !devices.contains(&sender.as_i64()) {
            devices.push(sender.as_i64());
        }
        devices.extend(known);
        let (received, length) = (received_at.as_micros(), bytes.len() as u64);
        let head = Head { message, answered, received, devices, route, length };
        self.changes.originals.push((head, bytes.clone()));
    }
}

/// All messages of one commit in one row.
pub(super) fn insert(c: &Connection, changes: &Changes) -> Result<(), StoreError> {
    let (Some((first, _)), Some((last, _))) = (changes.originals.first(), changes.originals.last()) else {
        return Ok(());
    };
    let mut body = Vec::with_capacity(changes.originals.iter().map(|(_, bytes)| bytes.len() + 64).sum());
    for (head, bytes) in &changes.originals {
        append(&mut body, head, bytes)?;
    }
    put(c, first.message, last.message, last.received, false, &body)
}

pub(super) fn append(body: &mut Vec<u8>, head: &Head<'_>, bytes: &[u8]) -> Result<(), StoreError> {
    // On the stack first: growing a vector byte by byte costs three times as much.
    let mut short = [0_u8; 256];
    match postcard::to_slice(head, &mut short) {
        Ok(written) => body.extend_from_slice(written),
        Err(_) => body.extend(postcard::to_stdvec(head).map_err(|e| damaged(&e))?),
    }
    body.extend_from_slice(bytes);
    Ok(())
}

fn put(c: &Connection, first: u64, last: u64, received: i64, packed: bool, body: &[u8]) -> Result<(), StoreError> {
    let mut statement = c
        .prepare_cached("INSERT OR REPLACE INTO original(id, last, received, packed, b) VALUES(?1, ?2, ?3, ?4, ?5)")
        .map_err(fault)?;
    let (first, last) = (first.cast_signed(), last.cast_signed());
    statement.execute(params![first, last, received, packed, body]).map(drop).map_err(fault)
}

fn damaged(e: &dyn std::fmt::Display) -> StoreError {
    StoreError::Database { what: "journal.db", reason: format!("an original cannot be read or written: {e}") }
}

pub(super) fn pack(body: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).map_err(|e| damaged(&e))
}

pub(super) fn unpack(packed: bool, body: &[u8]) -> Result<Cow<'_, [u8]>, StoreError> {
    if !packed {
        return Ok(Cow::Borrowed(body));
    }
    let mut whole = Vec::with_capacity(BLOCK * 2);
    DeflateDecoder::new(body).take(LONGEST).read_to_end(&mut whole).map_err(|e| damaged(&e))?;
    Ok(Cow::Owned(whole))
}

/// The messages of a row, in order.
pub(super) fn each<'b>(
    mut rest: &'b [u8],
    mut take: impl FnMut(Head<'b>, &'b [u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while !rest.is_empty() {
        let (head, after) = postcard::take_from_bytes::<Head<'b>>(rest).map_err(|e| damaged(&e))?;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let (bytes, after) = after.split_at_checked(length).ok_or_else(|| damaged(&"it ends too early"))?;
        take(head, bytes)?;
        rest = after;
    }
    Ok(())
}

/// Rows as they lie, ascending, after `id`.
pub(super) fn rows_after(
    c: &Connection,
    id: i64,
    f: &mut dyn FnMut(Stored) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement =
        c.prepare_cached("SELECT id, packed, b FROM original WHERE id > ?1 ORDER BY id").map_err(fault)?;
    let mut rows = statement.query([id]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let row =
            Stored { id: r.get(0).map_err(fault)?, packed: r.get(1).map_err(fault)?, body: r.get(2).map_err(fault)? };
        if !f(row)? {
            break;
        }
    }
    Ok(())
}

/// A row of the table.
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) packed: bool,
    pub(super) body: Vec<u8>,
}

impl Readings {
    /// The message that brought a reading, or a held entry; none where it was not kept, or is not kept any more.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn original(&self, id: ReadingId) -> Result<Option<Original>, StoreError> {
        let readings = self.clone();
        let found = tokio::task::spawn_blocking(move || readings.find_original(id));
        found.await.unwrap_or(Err(StoreError::Closed))
    }

    fn find_original(&self, id: ReadingId) -> Result<Option<Original>, StoreError> {
        let position = id.as_i64().cast_unsigned();
        let at = self.entries_after(position.saturating_sub(1), 1)?;
        let Some(message) = at.first().filter(|e| e.position == position).map(|e| e.message) else { return Ok(None) };
        let rows = self.entries_after(message.saturating_sub(1), 1)?;
        let owners: Vec<Option<PatientId>> = rows
            .iter()
            .filter(|e| e.message == message)
            .map(|e| match &*e.entry {
                Entry::Reading(reading) => reading.patient,
                Entry::Held(_) => None,
            })
            .collect();
        let row: Option<(bool, Vec<u8>)> = self.shared.readers.with(|c| {
            c.prepare_cached("SELECT packed, b FROM original WHERE id <= ?1 AND last >= ?1 ORDER BY id DESC LIMIT 1")
                .and_then(|mut s| s.query_row([message.cast_signed()], |r| Ok((r.get(0)?, r.get(1)?))).optional())
                .map_err(fault)
        })?;
        let Some((packed, body)) = row else { return Ok(None) };
        let body = unpack(packed, &body)?;
        let mut found = None;
        each(&body, |head, bytes| {
            if head.message == message {
                // What was known already, and what was moved or dropped since, has no row here: it may be another's.
                let all_here = usize::try_from(head.answered).is_ok_and(|n| n == owners.len());
                let first = owners.first().copied().flatten();
                found = Some(Original {
                    route: head.route.clone().into_owned(),
                    received_at: Timestamp::from_micros(head.received),
                    bytes: bytes.to_vec(),
                    sole_owner: first.filter(|p| all_here && owners.iter().all(|o| *o == Some(*p))),
                });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Packs what has come since the last time, once it is worth a block; how many messages. Reading and compressing
    /// are done here, away from the commit thread.
    ///
    /// # Errors
    /// When the file cannot be read or written; what is not packed stays as it is.
    pub async fn pack_originals(&self) -> Result<u64, StoreError> {
        let mut packed = 0;
        loop {
            let readings = self.clone();
            let some = tokio::task::spawn_blocking(move || readings.shared.readers.with(some_blocks));
            let some = some.await.unwrap_or(Err(StoreError::Closed))?;
            if some.blocks.is_empty() {
                return Ok(packed);
            }
            let messages = some.messages;
            if !self.control(move |writer| writer.replace_by_blocks(&some)).await? {
                return Ok(packed); // an erasure came in between: the next time
            }
            packed += messages;
        }
    }
}

/// A run of unpacked rows, and the same packed.
struct Run {
    rows: Vec<(i64, usize)>,
    blocks: Vec<(u64, u64, i64, Vec<u8>)>,
    messages: u64,
}

fn some_blocks(c: &Connection) -> Result<Run, StoreError> {
    let mut some = Run { rows: Vec::new(), blocks: Vec::new(), messages: 0 };
    let mut open: Vec<u8> = Vec::new();
    let mut span: Option<(u64, u64, i64)> = None;
    rows_after(c, tables::meta(c, PACKED)?.unwrap_or(-1), &mut |row| {
        if row.packed {
            return Ok(true);
        }
        let mut waiting = Vec::new();
        each(&row.body, |head, bytes| {
            let (first, received) =
                span.map_or((head.message, head.received), |(first, _, at)| (first, at.max(head.received)));
            span = Some((first, head.message, received));
            append(&mut open, &head, bytes)?;
            some.messages += 1;
            if open.len() >= BLOCK
                && let Some((first, last, received)) = span.take()
            {
                waiting.push((first, last, received, pack(&open)?));
                open.clear();
            }
            Ok(())
        })?;
        some.rows.push((row.id, row.body.len()));
        some.blocks.append(&mut waiting);
        Ok(some.blocks.len() < BLOCKS)
    })?;
    if some.blocks.is_empty() {
        return Ok(some);
    }
    // Rows are replaced whole: what is left of the last one makes a smaller block.
    if let Some((first, last, received)) = span {
        some.blocks.push((first, last, received, pack(&open)?));
    }
    Ok(some)
}

impl Writer {
    /// False, and nothing is changed, when the rows are not what they were.
    fn replace_by_blocks(&mut self, some: &Run) -> Result<bool, StoreError> {
        let (Some((first, _)), Some((last, _))) = (some.rows.first(), some.rows.last()) else { return Ok(false) };
        let bytes: usize = some.rows.iter().map(|(_, length)| length).sum();
        let (first, last) = (*first, *last);
        self.in_transaction(|writer| {
            let c = &writer.connection;
            let now: (i64, Option<i64>) = c
                .prepare_cached(
                    "SELECT count(*), sum(length(b)) FROM original WHERE id BETWEEN ?1 AND ?2 AND packed = 0",
                )
                .and_then(|mut s| s.query_row([first, last], |r| Ok((r.get(0)?, r.get(1)?))))
                .map_err(fault)?;
            if now != (i64::try_from(some.rows.len()).unwrap_or(-1), i64::try_from(bytes).ok()) {
                return Ok(false);
            }
            c.execute("DELETE FROM original WHERE id BETWEEN ?1 AND ?2", [first, last]).map_err(fault)?;
            for (first, last, received, body) in &some.blocks {
                put(c, *first, *last, *received, true, body)?;
            }
            let highest = some.blocks.last().map_or(last, |(block, ..)| last.max(block.cast_signed()));
            tables::set_meta(c, PACKED, Some(highest))?;
            Ok(true)
        })
    }

    /// Drops whole rows of which the newest message was received before `from`, of the `most` oldest; how many.
    pub(super) fn drop_originals(&mut self, from: Timestamp, most: usize) -> Result<usize, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = "DELETE FROM original WHERE id IN (SELECT id FROM original ORDER BY id LIMIT ?2) AND received < ?1";
        self.in_transaction(|writer| writer.connection.execute(sql, params![from.as_micros(), most]).map_err(fault))
    }
}

#[cfg(test)]
#[path = "originals_tests.rs"]
mod tests;
