//! Which messages speak of one person, and taking exactly those out.
//!
//! Goes in: what the file has of the person, before it goes. Comes out: how many messages went.
//! Must never: leave bytes that may be the person's; take a message that is known to be another's.

use super::{
    originals::{Head, Stored, rows_after},
    originals_form::{append, each},
    places,
    tables::fault,
};
use crate::StoreError;
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};
use vitals::{DeviceKey, Held, Reading, Timestamp};

/// A clock that ran ahead may have dated a reading after the message that brought it.
const AHEAD: Duration = Duration::from_secs(86_400);

/// What points to a person's messages.
#[derive(Default)]
pub(super) struct Traces {
    /// Readings and held entries.
    ids: HashSet<i64>,
    /// Ids of the messages that brought them.
    messages: HashSet<u64>,
    /// Who may have sent of them.
    devices: BTreeSet<DeviceKey>,
    /// Not before.
    since: Option<Timestamp>,
}

impl Traces {
    /// Before the rows go. `devices` with the moment from which the person wore each.
    pub(super) fn of(
        c: &Connection,
        readings: &[Reading],
        held: &[Held],
        worn: impl Iterator<Item = (DeviceKey, Timestamp)>,
    ) -> Result<Self, StoreError> {
        let mut this = Self::default();
        for reading in readings {
            this.ids.insert(reading.id.as_i64());
            this.messages.extend(places::of(c, reading.id)?.map(|place| place.message));
        }
        for held in held {
            let message: Option<i64> = c
                .prepare_cached("SELECT message FROM held WHERE id = ?1")
                .and_then(|mut s| s.query_row([held.id.as_i64()], |r| r.get(0)).optional())
                .map_err(fault)?;
            this.ids.insert(held.id.as_i64());
            this.messages.extend(message.map(i64::cast_unsigned));
        }
        let seen =
            readings.iter().map(|r| (r.device, r.measured_at)).chain(held.iter().map(|h| (h.device, h.received_at)));
        for (device, at) in worn.chain(seen) {
            this.devices.insert(device);
            this.since = Some(this.since.map_or(at, |known| known.min(at)));
        }
        Ok(this)
    }

    /// Whether a message speaks of the person, or may: its rows are theirs, or it brings again what is theirs, or not
    /// all of it is accounted for (rows that retention dropped; messages of before the known ones were written down).
    fn concern(&self, c: &Connection, head: &Head<'_>) -> Result<bool, StoreError> {
        let since = self.since.map_or(i64::MIN, |at| at.minus(AHEAD).as_micros());
        let about = |d: &i64| *d >= 0 && self.devices.contains(&DeviceKey::from_i64(*d));
        if head.received < since || !head.devices.iter().any(about) {
            return Ok(false);
        }
        let known = || head.devices.iter().filter(|d| **d < 0).map(|d| -1 - d);
        if self.messages.contains(&head.message) || known().any(|id| self.ids.contains(&id)) {
            return Ok(true);
        }
        let (first, message) = (head.message.cast_signed(), head.message.cast_signed());
        let end = first.saturating_add(i64::from(head.answered));
        let held: i64 = c
            .prepare_cached("SELECT count(*) FROM held WHERE id >= ?1 AND id < ?2 AND message = ?3")
            .and_then(|mut s| s.query_row(params![first, end, message], |r| r.get(0)))
            .map_err(fault)?;
        let mut readings = 0;
        places::each(c, head.message, end.cast_unsigned(), &mut |place| {
            readings += usize::from(place.message == head.message);
            Ok(true)
        })?;
        Ok(usize::try_from(held).unwrap_or(0) + readings + known().count()
            < usize::try_from(head.answered).unwrap_or(usize::MAX))
    }
}

/// Which messages are to go. Before the rows do.
pub(super) fn find(c: &Connection, traces: &Traces) -> Result<HashSet<u64>, StoreError> {
    let mut found = HashSet::new();
    rows_after(c, -1, None, &mut |row| {
        each(&row.form.unpack(&row.body)?, |head, _| {
            if traces.concern(c, &head)? {
                found.insert(head.message);
            }
            Ok(())
        })?;
        Ok(true)
    })?;
    Ok(found)
}

/// How many of these messages are there.
pub(super) fn count(c: &Connection, messages: &HashSet<u64>) -> Result<u64, StoreError> {
    let mut found = 0;
    rows_after(c, -1, None, &mut |row| {
        each(&row.form.unpack(&row.body)?, |head, _| {
            found += u64::from(messages.contains(&head.message));
            Ok(())
        })?;
        Ok(true)
    })?;
    Ok(found)
}

/// Takes them out; how many. Bytes of others in them go too: a message is not cut in pieces, and nobody's readings change.
pub(super) fn erase(c: &Connection, messages: &HashSet<u64>) -> Result<u64, StoreError> {
    let mut erased = 0;
    let mut changed: Vec<(Stored, Vec<u8>)> = Vec::new();
    rows_after(c, -1, None, &mut |row| {
        let mut left = Vec::new();
        let mut gone = false;
        each(&row.form.unpack(&row.body)?, |head, bytes| {
            if messages.contains(&head.message) {
                erased += 1;
                gone = true;
                return Ok(());
            }
            append(&mut left, &head, bytes)
        })?;
        if gone {
            let left = if left.is_empty() { left } else { row.form.pack(&left)?.into_owned() };
            changed.push((Stored { body: Vec::new(), ..row }, left));
        }
        Ok(true)
    })?;
    for (row, left) in changed {
        match left.is_empty() {
            true => c.execute("DELETE FROM original WHERE id = ?1", [row.id]),
            false => c.execute("UPDATE original SET b = ?2 WHERE id = ?1", params![row.id, left]),
        }
        .map_err(fault)?;
    }
    Ok(erased)
}
