//! Whose a stored reading is, when that changes: bindings were mended, somebody assigned it by hand.
//!
//! On the commit thread, so that no reading slips between the old bindings and the new.

use super::{
    Readings, lines, packed,
    query::merged_reading,
    row::{Row, owner, series_key},
    tables::fault,
    writer::Writer,
};
use crate::StoreError;
use rusqlite::params;
use std::sync::Arc;
use vitals::{Binding, DeviceKey, DeviceKind, Entry, PatientId, Reading, ReadingId};

impl Readings {
    /// Gives the stored readings of `device` to whom its present bindings say. Returns how many moved.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn reattribute(&self, device: DeviceKey) -> Result<usize, StoreError> {
        self.control(move |writer| writer.reattribute(device)).await
    }

    /// Gives nobody's reading to `patient`; later changes of bindings do not take it away.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it is somebody's by now: whoever asks saw it on a list a moment ago.
    /// [`StoreError::NotFound`], also where the patient was erased; when the file cannot be written.
    pub async fn assign(&self, id: ReadingId, patient: PatientId) -> Result<(), StoreError> {
        self.control(move |writer| writer.assign(id, patient, true)).await
    }

    /// The same whoever has it, as a change of bindings does it with many.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also where the patient was erased; when the file cannot be written.
    pub async fn reassign(&self, id: ReadingId, patient: PatientId) -> Result<(), StoreError> {
        self.control(move |writer| writer.assign(id, patient, false)).await
    }

    /// Takes something held off the list. Its bytes stay in the file, and it stays known when it is sent again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; when the file cannot be written.
    pub async fn discard(&self, id: ReadingId) -> Result<(), StoreError> {
        self.control(move |writer| writer.discard(id)).await
    }
}

impl Writer {
    fn reattribute(&mut self, device: DeviceKey) -> Result<usize, StoreError> {
        // At a kiosk the token said whose each reading is, once and for all.
        if self.directory.device_by_key(device).is_some_and(|d| d.kind == DeviceKind::Kiosk) {
            return Ok(0);
        }
        let bindings = self.directory.bindings(device);
        let stored = self.readings_of(device)?;
        let moved: Vec<(Arc<Reading>, Reading)> = {
            let memory = self.shared.memory.read();
            stored
                .into_iter()
                .filter_map(|r| {
                    let patient = memory.assigned.get(&r.id).copied().or_else(|| whose(&bindings, &r));
                    (patient != r.patient).then(|| {
                        let after = Reading { patient, ..(*r).clone() };
                        (r, after)
                    })
                })
                .collect()
        };
        let count = moved.len();
        self.amend(moved, None)?;
        Ok(count)
    }

    fn assign(&mut self, id: ReadingId, patient: PatientId, if_nobodys: bool) -> Result<(), StoreError> {
        // An erasure may have come between the question and this: what is assigned after it would never be found.
        if self.directory.is_erased(patient) {
            return Err(StoreError::NotFound("patient"));
        }
        let in_memory = self.shared.memory.read().row(id).map(|row| row.reading().cloned());
        let found = match in_memory {
            Some(reading) => reading,
            None => merged_reading(&self.connection, id)?,
        };
        let before = found.ok_or(StoreError::NotFound("reading"))?;
        if if_nobodys && before.patient.is_some() {
            return Err(StoreError::Conflict("it belongs to somebody already".into()));
        }
        let after = Reading { patient: Some(patient), ..(*before).clone() };
        self.amend(vec![(before, after)], Some((id, patient)))
    }

    fn discard(&mut self, id: ReadingId) -> Result<(), StoreError> {
        let in_memory = self.shared.memory.read().row(id).map(|row| matches!(&row.entry, Entry::Held(_)));
        let is_held = match in_memory {
            Some(held) => held,
            None => self
                .connection
                .query_row("SELECT EXISTS(SELECT 1 FROM held WHERE id = ?1)", [id.as_i64()], |r| r.get(0))
                .map_err(fault)?,
        };
        if !is_held {
            return Err(StoreError::NotFound("held reading"));
        }
        let done =
            self.connection.execute("INSERT OR IGNORE INTO discarded(id) VALUES(?1)", [id.as_i64()]).map_err(fault);
        self.judge_commit(done.as_ref().err());
        done?;
        self.shared.memory.write().discarded.insert(id);
        Ok(())
    }

    /// Every stored reading of a device. The owners that it ever had say where to look.
    fn readings_of(&mut self, device: DeviceKey) -> Result<Vec<Arc<Reading>>, StoreError> {
        let mut owners: Vec<i64> = self.history(device)?.owners().iter().map(|p| owner(Some(*p), device)).collect();
        owners.push(owner(None, device));
        let memory = self.shared.memory.read();
        let first = memory.first_id();
        let mut all: Vec<Arc<Reading>> = Vec::new();
        let mut statement = self
            .connection
            .prepare_cached("SELECT owner, measured, id, b FROM series WHERE wk = ?1 AND owner = ?2 AND id < ?3")
            .map_err(fault)?;
        for wk in &memory.weeks {
            for owner in &owners {
                let bounds = params![wk, owner, i64::try_from(first).unwrap_or(i64::MAX)];
                let mut rows = statement.query(bounds).map_err(fault)?;
                while let Some(r) = rows.next().map_err(fault)? {
                    let reading = packed::reading(r, 0)?;
                    if reading.device == device {
                        all.push(Arc::new(reading));
                    }
                }
            }
        }
        let rows = memory.tables().flat_map(|t| &t.rows);
        all.extend(rows.filter_map(Row::reading).filter(|r| r.device == device).cloned());
        Ok(all)
    }

    /// Writes readings under other owners: one transaction, then memory.
    fn amend(
        &mut self,
        moved: Vec<(Arc<Reading>, Reading)>,
        by_hand: Option<(ReadingId, PatientId)>,
    ) -> Result<(), StoreError> {
        if moved.is_empty() {
            return Ok(());
        }
        for (_, after) in &moved {
            if let Some(patient) = after.patient {
                self.history(after.device)?.owned_by(patient);
            }
        }
        let moved: Vec<(Arc<Reading>, Arc<Reading>)> = moved.into_iter().map(|(b, a)| (b, Arc::new(a))).collect();
        let written = self.write_amended(&moved, by_hand);
        if written.is_err() {
            let _ = self.connection.execute_batch("ROLLBACK");
            self.shared.newest.undo(&self.connection);
        }
        self.judge_commit(written.as_ref().err());
        written?;
        let mut memory = self.shared.memory.write();
        for (_, after) in &moved {
            memory.amend(after);
        }
        memory.weeks.extend(moved.iter().map(|(_, after)| series_key(after).0));
        memory.assigned.extend(by_hand);
        let times = || moved.iter().map(|(_, after)| after.measured_at);
        if let (Some(first), Some(last)) = (times().min(), times().max()) {
            self.shared.tell_moved(first, last);
            self.shared.log.tell(&moved);
        }
        Ok(())
    }

    fn write_amended(
        &self,
        moved: &[(Arc<Reading>, Arc<Reading>)],
        by_hand: Option<(ReadingId, PatientId)>,
    ) -> Result<(), StoreError> {
        let c = &self.connection;
        c.execute_batch("BEGIN IMMEDIATE").map_err(fault)?;
        for (before, after) in moved {
            self.rewrite(before, after)?;
        }
        if let Some((id, patient)) = by_hand {
            c.execute(
                "INSERT OR REPLACE INTO assigned(id, patient) VALUES(?1, ?2)",
                params![id.as_i64(), patient.as_i64()],
            )
            .map_err(fault)?;
        }
        for (_, after) in moved {
            if let Some(history) = self.histories.get(&after.device) {
                super::desk::store_history(c, after.device, history)?;
            }
        }
        super::keeping::note_unfollowed(c, moved.iter().map(|(_, after)| after.measured_at))?;
        c.execute_batch("COMMIT").map_err(fault)
    }

    /// Changes the journal's row where the reading is not merged yet, so that a restart sees the same.
    pub(super) fn amend_journal(&self, after: &Arc<Reading>) -> Result<(), StoreError> {
        let memory = self.shared.memory.read();
        let mut halves = memory.frozen.iter().map(|t| (t, self.active.other())).chain([(&memory.active, self.active)]);
        let Some((row, half)) = halves.find_map(|(t, half)| t.row(after.id).map(|row| (row, half))) else {
            return Ok(());
        };
        let mut row = row.clone();
        row.say(Entry::Reading(after.clone()));
        lines::replace(&self.connection, half, &row)
    }
}

/// Whose a reading is by the bindings of its device, at the moment of measurement.
pub(super) fn whose(bindings: &[Binding], r: &Reading) -> Option<PatientId> {
    bindings.iter().find(|b| b.covers(r.user_slot, r.measured_at)).map(|b| b.patient)
}
