//! The raw bytes of each message of which something was kept, until retention or an erasure ends them: with them a wrong
//! decode can be repaired, and what a meter really sent can be shown.
//!
//! Goes in: a message's bytes, in the transaction that commits its rows; later, outside of any commit, many messages of
//! small commits packed into one block. Comes out: the bytes of one message.
//! Must never: cost the commit more than a copy, stand in for a reading, outlive the person in it.

use super::{
    Desk, Readings,
    desk::Changes,
    originals_form::{BLOCK, Form, append, each},
    tables,
    tables::fault,
    writer::Writer,
};
use crate::StoreError;
use bytes::Bytes;
use foldhash::HashSet;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use vitals::{DeviceKey, Entry, PatientId, ReadingId, Timestamp};

/// The step that brings the table.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS original(id INTEGER PRIMARY KEY, last INTEGER NOT NULL, received INTEGER NOT NULL,
    packed INTEGER NOT NULL, b BLOB NOT NULL);
";

/// Bytes of messages in one commit from which on they are not left to be packed later.
const QUICKLY: usize = 16 << 10;
/// Blocks written between two commits, so that nobody waits long.
const BLOCKS: usize = 8;
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
    pub(super) length: u64,
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

/// The messages of one commit. Where they are many they are packed at once, quickly: written as they are, they would be
/// written again when they are packed. A few are one row that waits for more.
pub(super) fn insert(c: &Connection, changes: &Changes) -> Result<(), StoreError> {
    let whole: usize = changes.originals.iter().map(|(_, bytes)| bytes.len() + 64).sum();
    let mut body = Vec::with_capacity(whole.min(2 * BLOCK));
    let mut span = Span::default();
    for (head, bytes) in &changes.originals {
        span.widen(head);
        append(&mut body, head, bytes)?;
        if body.len() >= BLOCK {
            put(c, std::mem::take(&mut span), Form::Quick, &Form::Quick.pack(&body)?)?;
            body.clear();
        }
    }
    if body.is_empty() {
        return Ok(());
    }
    let form = if body.len() < QUICKLY { Form::Plain } else { Form::Quick };
    put(c, span, form, &form.pack(&body)?)
}

/// Which messages lie in a row.
#[derive(Clone, Copy, Default)]
struct Span {
    /// None as long as there is no message.
    first: Option<u64>,
    last: u64,
    received: i64,
}

impl Span {
    fn widen(&mut self, head: &Head<'_>) {
        self.received = if self.first.is_some() { self.received.max(head.received) } else { head.received };
        self.first.get_or_insert(head.message);
        self.last = head.message;
    }
}

fn put(c: &Connection, span: Span, form: Form, body: &[u8]) -> Result<(), StoreError> {
    let mut statement = c
        .prepare_cached("INSERT OR REPLACE INTO original(id, last, received, packed, b) VALUES(?1, ?2, ?3, ?4, ?5)")
        .map_err(fault)?;
    let (first, last) = (span.first.unwrap_or(span.last).cast_signed(), span.last.cast_signed());
    statement.execute(params![first, last, span.received, form.as_i64(), body]).map(drop).map_err(fault)
}

/// Rows as they lie, ascending, after `id`; only those of a form where one is asked for.
pub(super) fn rows_after(
    c: &Connection,
    id: i64,
    only: Option<Form>,
    f: &mut dyn FnMut(Stored) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = c
        .prepare_cached("SELECT id, packed, b FROM original WHERE id > ?1 AND packed = ifnull(?2, packed) ORDER BY id")
        .map_err(fault)?;
    let mut rows = statement.query(params![id, only.map(Form::as_i64)]).map_err(fault)?;
    while let Some(r) = rows.next().map_err(fault)? {
        let form = Form::from_i64(r.get(1).map_err(fault)?)?;
        if !f(Stored { id: r.get(0).map_err(fault)?, form, body: r.get(2).map_err(fault)? })? {
            break;
        }
    }
    Ok(())
}

/// A row of the table.
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) form: Form,
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
            .map(|e| match &e.entry {
                Entry::Reading(reading) => reading.patient,
                Entry::Held(_) => None,
            })
            .collect();
        let row: Option<(i64, Vec<u8>)> = self.shared.readers.with(|c| {
            c.prepare_cached("SELECT packed, b FROM original WHERE id <= ?1 AND last >= ?1 ORDER BY id DESC LIMIT 1")
                .and_then(|mut s| s.query_row([message.cast_signed()], |r| Ok((r.get(0)?, r.get(1)?))).optional())
                .map_err(fault)
        })?;
        let Some((form, body)) = row else { return Ok(None) };
        let body = Form::from_i64(form)?.unpack(&body)?;
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
#[derive(Default)]
struct Run {
    rows: Vec<(i64, usize)>,
    blocks: Vec<(Span, Vec<u8>)>,
    messages: u64,
}

fn some_blocks(c: &Connection) -> Result<Run, StoreError> {
    let mut some = Run::default();
    let mut open: Vec<u8> = Vec::new();
    let mut span = Span::default();
    rows_after(c, tables::meta(c, PACKED)?.unwrap_or(-1), Some(Form::Plain), &mut |row| {
        let mut waiting = Vec::new();
        each(&row.body, |head, bytes| {
            span.widen(&head);
            append(&mut open, &head, bytes)?;
            some.messages += 1;
            if open.len() >= BLOCK {
                waiting.push((std::mem::take(&mut span), Form::Small.pack(&open)?.into_owned()));
                open.clear();
            }
            Ok(())
        })?;
        some.rows.push((row.id, row.body.len()));
        some.blocks.append(&mut waiting);
        Ok(some.blocks.len() < BLOCKS)
    })?;
    // Rows are replaced whole: what is left of the last one makes a smaller block.
    if !some.blocks.is_empty() && !open.is_empty() {
        some.blocks.push((span, Form::Small.pack(&open)?.into_owned()));
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
            c.execute("DELETE FROM original WHERE id BETWEEN ?1 AND ?2 AND packed = 0", [first, last])
                .map_err(fault)?;
            for (span, body) in &some.blocks {
                put(c, *span, Form::Small, body)?;
            }
            let highest = some.blocks.last().map_or(last, |(span, _)| last.max(span.first.unwrap_or(0).cast_signed()));
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
