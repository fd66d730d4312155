//! Findings: what the rules concluded, in the order in which it changed, with the journal position they stand on.
//!
//! Goes in: [`FindingBatch`], one transaction each. Comes out: the list of one patient's findings, and the log of changes
//! that `alerts` follows. Must never: judge; change a finding once written, but for its retraction and its alert.

use super::{
    commands::{self, DeviceCommand},
    keeping::is_erased,
    patient_days::{self, DaysBatch},
};
use crate::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params, types::Value};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use vitals::{AlertId, Finding, FindingDraft, FindingId, OrganisationId, PatientId, ReadingId, Timestamp};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS finding(sequence INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL UNIQUE,
    patient INTEGER NOT NULL, rule TEXT NOT NULL, effective_at INTEGER NOT NULL, decided_at INTEGER NOT NULL,
    retracted_at INTEGER, alert INTEGER, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS finding_by_patient ON finding(patient, effective_at);
CREATE INDEX IF NOT EXISTS finding_by_alert ON finding(alert) WHERE alert IS NOT NULL;
CREATE TABLE IF NOT EXISTS finding_attached(finding INTEGER NOT NULL, reading INTEGER NOT NULL,
    PRIMARY KEY(finding, reading)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS finding_event(sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,
    finding INTEGER NOT NULL, readings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rules_position(one INTEGER PRIMARY KEY CHECK(one = 1), position INTEGER NOT NULL, scheduled INTEGER);
CREATE TABLE IF NOT EXISTS rule_timer(patient INTEGER PRIMARY KEY, due INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS season(station INTEGER NOT NULL, day TEXT NOT NULL, short REAL NOT NULL, long REAL NOT NULL,
    PRIMARY KEY(station, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS card(id TEXT PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL);
";

/// What one pass of the rules concluded. Committed whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct FindingBatch {
    /// Every journal entry up to here has been judged. Never goes back.
    pub position: u64,
    /// New conclusions, each with the commit time of the reading that decided, or the schedule's time.
    pub new: Vec<(FindingDraft, Timestamp)>,
    /// Conclusions that no longer hold, since when.
    pub retract: Vec<(FindingId, Timestamp)>,
    /// Readings that joined a conclusion later (over the limit while its episode is held).
    pub attach: Vec<(FindingId, Vec<ReadingId>)>,
    /// Asked of devices.
    pub commands: Vec<DeviceCommand>,
    /// The next moment at which a patient must be looked at without a new reading; `None` forgets it.
    pub timers: Vec<(PatientId, Option<Timestamp>)>,
    /// Every evaluation of the schedule (06:00 each day) up to here has been done; `None` leaves it as it was.
    pub scheduled: Option<Timestamp>,
    /// What stations shifted on a morning. Published once: what is written already stays.
    pub seasons: Vec<Season>,
    /// What is kept of patients' days.
    pub days: DaysBatch,
    /// Every change of stored readings up to this number has been judged; none leaves it as it was.
    pub moves: Option<i64>,
}

/// What all patients of a station shifted together, as seen on one morning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Season {
    /// Whose patients.
    pub station: OrganisationId,
    /// The morning's day.
    pub day: jiff::civil::Date,
    /// The median shift of the systolic day means, mmHg: 14 days against 42, 28 against 56; 0 where too few have it.
    pub shift: [f64; 2],
}

/// Where the rules stand, for their start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulesState {
    /// Every journal entry up to here has been judged.
    pub position: u64,
    /// Every evaluation of the schedule up to here has been done; none before the first start.
    pub scheduled: Option<Timestamp>,
    /// Which patients must be looked at when, without a new reading.
    pub timers: Vec<(PatientId, Timestamp)>,
    /// What was published of stations.
    pub seasons: Vec<Season>,
    /// Every change of stored readings up to this number has been judged.
    pub moves: i64,
}

impl FindingBatch {
    /// Nothing but a position, and days that are not right any more: they go with the next position.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty()
            && self.retract.is_empty()
            && self.attach.is_empty()
            && self.commands.is_empty()
            && self.timers.is_empty()
            && self.scheduled.is_none()
            && self.seasons.is_empty()
            && !self.days.changed.iter().any(|(_, body)| body.is_some())
    }
}

/// What happened to a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingChange {
    /// It was concluded (or, after a retraction, concluded again under the same id).
    Raised,
    /// It no longer holds.
    Retracted,
    /// These readings joined it; each reading is told once.
    Attached(Vec<ReadingId>),
}

/// One line of the log of changes.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingEvent {
    /// Strictly ascending in the order of commitment, from 1.
    pub sequence: i64,
    /// What happened.
    pub kind: FindingChange,
    /// The finding as it stands now: when a later line retracts it, `retracted_at` is already set here.
    pub finding: Finding,
}

/// The identity of a conclusion: the same rule, patient, severity, `effective_at` and readings give the same id,
/// whenever and however often it is concluded.
pub fn finding_id(draft: &FindingDraft) -> FindingId {
    let mut hash = Sha256::new();
    hash.update(draft.patient.as_i64().to_le_bytes());
    hash.update(draft.rule.as_bytes());
    hash.update([0]);
    hash.update(draft.severity.as_str().as_bytes());
    hash.update(draft.effective_at.as_micros().to_le_bytes());
    let mut readings: Vec<i64> = draft.readings.iter().map(|r| r.as_i64()).collect();
    readings.sort_unstable();
    readings.iter().for_each(|r| hash.update(r.to_le_bytes()));
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    FindingId::new(u64::from_le_bytes(first))
}

impl Store {
    /// Writes what one pass concluded; returns after its fsync. The same batch twice changes nothing.
    ///
    /// # Errors
    /// As every write.
    pub async fn commit_findings(&self, batch: FindingBatch) -> Result<(), StoreError> {
        let (changes, bell) = (self.registry.finding_changes.clone(), self.registry.commands().clone());
        let asked = !batch.commands.is_empty();
        let told = move |last: &i64| {
            announce(&changes, *last);
            if asked {
                bell.ring();
            }
        };
        self.registry.write_then(move |c| write_batch(c, &batch), told).await.map(drop)
    }

    /// As [`Store::commit_findings`], for threads.
    ///
    /// # Errors
    /// As every write.
    pub fn commit_findings_blocking(&self, batch: FindingBatch) -> Result<(), StoreError> {
        let asked = !batch.commands.is_empty();
        let last = self.registry.write_blocking(move |c| write_batch(c, &batch))?;
        announce(&self.registry.finding_changes, last);
        if asked {
            self.registry.commands().ring();
        }
        Ok(())
    }

    /// Up to which journal position everything has been judged.
    ///
    /// # Errors
    /// As every read.
    pub async fn rules_position(&self) -> Result<u64, StoreError> {
        self.registry.read(position).await
    }

    /// The log of changes after `sequence`, oldest first.
    ///
    /// # Errors
    /// As every read.
    pub async fn findings_after(&self, sequence: i64, limit: usize) -> Result<Vec<FindingEvent>, StoreError> {
        self.registry.read(move |c| events_after(c, sequence, limit)).await
    }

    /// The highest sequence of the log of changes; moves with every commit that adds to it.
    pub fn finding_changes(&self) -> watch::Receiver<i64> {
        self.registry.finding_changes.subscribe()
    }

    /// One finding.
    ///
    /// # Errors
    /// As every read.
    pub async fn finding(&self, id: FindingId) -> Result<Option<Finding>, StoreError> {
        self.registry
            .read(move |c| {
                let sql = format!("{FINDING} WHERE id = ?1");
                c.prepare_cached(&sql)?.query_row([id.as_i64()], row).optional()?.map(finding).transpose()
            })
            .await
    }

    /// A patient's findings, retracted ones included, in order of storage; `from` and `to` (excluded) mean `effective_at`.
    ///
    /// # Errors
    /// As every read.
    pub async fn findings_of(
        &self,
        patient: PatientId,
        rule: Option<String>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        after: Option<FindingId>,
        limit: usize,
    ) -> Result<Vec<Finding>, StoreError> {
        self.registry.read(move |c| list(c, patient, rule, from, to, after, limit)).await
    }

    /// What a restarted evaluator needs of one patient: un-retracted findings effective from `from`, with the readings
    /// that joined each.
    ///
    /// # Errors
    /// As every read.
    pub fn concluded_blocking(
        &self,
        patient: PatientId,
        from: Timestamp,
    ) -> Result<Vec<(Finding, Vec<ReadingId>)>, StoreError> {
        self.registry.read_blocking(|c| {
            with_readings(c, patient, "effective_at >= ?2 AND retracted_at IS NULL", from.as_micros())
        })
    }

    /// When people logged a contact with a patient, or how an alert ended, from `from` on; ascending.
    ///
    /// # Errors
    /// As every read.
    pub fn contacts_blocking(&self, patient: PatientId, from: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        self.registry.read_blocking(|c| {
            let sql = "SELECT v.at FROM episode e JOIN episode_event v ON v.alert = e.id
                WHERE e.patient = ?1 AND v.event IN ('follow_up', 'resolved') AND v.by IS NOT NULL AND v.at >= ?2
                ORDER BY v.at";
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(params![patient.as_i64(), from.as_micros()], |r| r.get(0))?;
            rows.map(|at| Ok(Timestamp::from_micros(at?))).collect()
        })
    }

    /// When people closed alerts of a patient to which findings belong that are effective from `from`, and of which rule.
    ///
    /// # Errors
    /// As every read.
    pub fn closed_alerts_blocking(
        &self,
        patient: PatientId,
        from: Timestamp,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.registry.read_blocking(|c| {
            let sql = "SELECT DISTINCT f.rule, v.at FROM finding f JOIN episode_event v ON v.alert = f.alert
                WHERE f.patient = ?1 AND f.effective_at >= ?2 AND v.event = 'resolved' AND v.by IS NOT NULL";
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map([patient.as_i64(), from.as_micros()], |r| Ok((r.get(0)?, r.get(1)?)))?;
            rows.map(|r| r.map(|(rule, at)| (rule, Timestamp::from_micros(at)))).map(|r| Ok(r?)).collect()
        })
    }

    /// Everything ever concluded of one patient, retracted conclusions too, with the readings that joined each.
    ///
    /// # Errors
    /// As every read.
    pub fn findings_with_readings_blocking(
        &self,
        patient: PatientId,
    ) -> Result<Vec<(Finding, Vec<ReadingId>)>, StoreError> {
        self.registry.read_blocking(|c| with_readings(c, patient, "sequence > ?2", 0))
    }

    /// Where the rules stand. For their start.
    ///
    /// # Errors
    /// As every read.
    pub fn rules_state_blocking(&self) -> Result<RulesState, StoreError> {
        self.registry.read_blocking(|c| {
            let mut statement = c.prepare("SELECT patient, due FROM rule_timer")?;
            let rows =
                statement.query_map([], |r| Ok((PatientId::from_i64(r.get(0)?), Timestamp::from_micros(r.get(1)?))))?;
            let timers = rows.collect::<Result<_, _>>()?;
            let scheduled: Option<Option<i64>> =
                c.query_row("SELECT scheduled FROM rules_position", [], |r| r.get(0)).optional()?;
            let scheduled = scheduled.flatten().map(Timestamp::from_micros);
            Ok(RulesState {
                position: position(c)?,
                scheduled,
                timers,
                seasons: seasons(c)?,
                moves: patient_days::moves(c)?,
            })
        })
    }
}

/// Writes down to which alert a finding belongs; called inside the transaction that writes the episode.
pub(crate) fn set_alert(c: &Connection, id: FindingId, alert: AlertId) -> Result<(), StoreError> {
    c.prepare_cached("UPDATE finding SET alert = ?1 WHERE id = ?2")?.execute(params![alert.as_i64(), id.as_i64()])?;
    Ok(())
}

/// The highest sequence of the log of changes, for the start.
pub(super) fn last_event(c: &Connection) -> Result<i64, StoreError> {
    Ok(c.query_row("SELECT coalesce(max(sequence), 0) FROM finding_event", [], |r| r.get(0))?)
}

fn announce(changes: &watch::Sender<i64>, last: i64) {
    changes.send_if_modified(|known| {
        let newer = last > *known;
        *known = last.max(*known);
        newer
    });
}

fn seasons(c: &Connection) -> Result<Vec<Season>, StoreError> {
    let mut statement = c.prepare("SELECT station, day, short, long FROM season")?;
    let rows = statement.query_map([], |r| {
        let day: String = r.get(1)?;
        Ok((OrganisationId::from_i64(r.get(0)?), day, [r.get(2)?, r.get(3)?]))
    })?;
    let mut out = Vec::new();
    for row in rows {
        let (station, day, shift) = row?;
        if let Ok(day) = day.parse() {
            out.push(Season { station, day, shift });
        }
    }
    Ok(out)
}

pub(crate) fn position(c: &Connection) -> Result<u64, StoreError> {
    let found: Option<i64> = c.query_row("SELECT position FROM rules_position", [], |r| r.get(0)).optional()?;
    Ok(found.map_or(0, i64::cast_unsigned))
}

fn write_batch(c: &Connection, batch: &FindingBatch) -> Result<i64, StoreError> {
    for (draft, decided_at) in &batch.new {
        raise(c, draft, *decided_at)?;
    }
    for (id, at) in &batch.retract {
        let sql = "UPDATE finding SET retracted_at = ?1 WHERE id = ?2 AND retracted_at IS NULL";
        if c.prepare_cached(sql)?.execute(params![at.as_micros(), id.as_i64()])? == 1 {
            tell(c, "retracted", *id, &[])?;
        }
    }
    for (id, readings) in &batch.attach {
        // An erasure may have taken the finding since this was concluded.
        let sql = "INSERT OR IGNORE INTO finding_attached(finding, reading) SELECT id, ?2 FROM finding WHERE id = ?1";
        let mut insert = c.prepare_cached(sql)?;
        let mut fresh = Vec::new();
        for reading in readings {
            if insert.execute(params![id.as_i64(), reading.as_i64()])? == 1 {
                fresh.push(*reading);
            }
        }
        if !fresh.is_empty() {
            tell(c, "attached", *id, &fresh)?;
        }
    }
    for command in &batch.commands {
        commands::insert_command(c, command)?;
    }
    for (patient, due) in &batch.timers {
        match due {
            Some(_) if is_erased(c, *patient)? => 0,
            Some(due) => c
                .prepare_cached("INSERT OR REPLACE INTO rule_timer(patient, due) VALUES(?1, ?2)")?
                .execute(params![patient.as_i64(), due.as_micros()])?,
            None => c.prepare_cached("DELETE FROM rule_timer WHERE patient = ?1")?.execute([patient.as_i64()])?,
        };
    }
    for s in &batch.seasons {
        c.prepare_cached("INSERT OR IGNORE INTO season(station, day, short, long) VALUES(?1, ?2, ?3, ?4)")?
            .execute(params![s.station.as_i64(), s.day.to_string(), s.shift[0], s.shift[1]])?;
    }
    patient_days::write(c, &batch.days, batch.moves)?;
    let sql = "INSERT INTO rules_position(one, position, scheduled) VALUES(1, ?1, ?2)
        ON CONFLICT(one) DO UPDATE SET position = max(position, excluded.position),
            scheduled = coalesce(excluded.scheduled, scheduled)";
    c.prepare_cached(sql)?.execute(params![batch.position.cast_signed(), batch.scheduled.map(Timestamp::as_micros)])?;
    last_event(c)
}

fn raise(c: &Connection, draft: &FindingDraft, decided_at: Timestamp) -> Result<(), StoreError> {
    if is_erased(c, draft.patient)? {
        return Ok(()); // concluded from what was still in memory
    }
    let id = finding_id(draft);
    let insert = "INSERT INTO finding(id, patient, rule, effective_at, decided_at, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT(id) DO UPDATE SET retracted_at = NULL, decided_at = excluded.decided_at, body = excluded.body
        WHERE retracted_at IS NOT NULL";
    let changed = c.prepare_cached(insert)?.execute(params![
        id.as_i64(),
        draft.patient.as_i64(),
        &*draft.rule,
        draft.effective_at.as_micros(),
        decided_at.as_micros(),
        serde_json::to_string(draft)?
    ])?;
    if changed == 1 { tell(c, "raised", id, &[]) } else { Ok(()) }
}

fn tell(c: &Connection, kind: &str, id: FindingId, readings: &[ReadingId]) -> Result<(), StoreError> {
    c.prepare_cached("INSERT INTO finding_event(kind, finding, readings) VALUES(?1, ?2, ?3)")?.execute(params![
        kind,
        id.as_i64(),
        serde_json::to_string(readings)?
    ])?;
    Ok(())
}

const FINDING: &str = "SELECT id, sequence, decided_at, retracted_at, alert, body FROM finding";

type FindingRow = (i64, i64, i64, Option<i64>, Option<i64>, String);

fn row(r: &Row<'_>) -> rusqlite::Result<FindingRow> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
}

fn finding((id, sequence, decided_at, retracted_at, alert, body): FindingRow) -> Result<Finding, StoreError> {
    Ok(Finding {
        id: FindingId::from_i64(id),
        sequence,
        draft: serde_json::from_str(&body)?,
        decided_at: Timestamp::from_micros(decided_at),
        retracted_at: retracted_at.map(Timestamp::from_micros),
        alert: alert.map(AlertId::from_i64),
    })
}

fn with_readings(
    c: &Connection,
    patient: PatientId,
    which: &'static str,
    bound: i64,
) -> Result<Vec<(Finding, Vec<ReadingId>)>, StoreError> {
    let mut statement = c.prepare_cached(&format!("{FINDING} WHERE patient = ?1 AND {which}"))?;
    let rows = statement.query_map([patient.as_i64(), bound], row)?;
    let mut attached = c.prepare_cached("SELECT reading FROM finding_attached WHERE finding = ?1")?;
    rows.map(|r| {
        let finding = finding(r?)?;
        let readings = attached.query_map([finding.id.as_i64()], |r| r.get(0))?;
        let readings: Result<Vec<_>, _> = readings.map(|r| r.map(ReadingId::from_i64)).collect();
        Ok((finding, readings?))
    })
    .collect()
}

fn events_after(c: &Connection, sequence: i64, limit: usize) -> Result<Vec<FindingEvent>, StoreError> {
    let sql = "SELECT f.id, f.sequence, f.decided_at, f.retracted_at, f.alert, f.body, e.sequence, e.kind, e.readings
        FROM finding_event e JOIN finding f ON f.id = e.finding WHERE e.sequence > ?1 ORDER BY e.sequence LIMIT ?2";
    let mut statement = c.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map([sequence, limit], |r| {
        Ok((row(r)?, r.get::<_, i64>(6)?, r.get::<_, String>(7)?, r.get::<_, String>(8)?))
    })?;
    rows.map(|r| {
        let (found, sequence, kind, readings) = r?;
        let kind = match kind.as_str() {
            "raised" => FindingChange::Raised,
            "retracted" => FindingChange::Retracted,
            _ => FindingChange::Attached(serde_json::from_str(&readings)?),
        };
        Ok(FindingEvent { sequence, kind, finding: finding(found)? })
    })
    .collect()
}

fn list(
    c: &Connection,
    patient: PatientId,
    rule: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    after: Option<FindingId>,
    limit: usize,
) -> Result<Vec<Finding>, StoreError> {
    let sql = format!(
        "{FINDING} WHERE patient = ?1 AND (?2 IS NULL OR rule = ?2) AND effective_at >= ?3 AND effective_at < ?4
            AND sequence > coalesce((SELECT sequence FROM finding WHERE id = ?5), 0) ORDER BY sequence LIMIT ?6"
    );
    let values: [Value; 6] = [
        patient.as_i64().into(),
        rule.into(),
        from.map_or(i64::MIN, Timestamp::as_micros).into(),
        to.map_or(i64::MAX, Timestamp::as_micros).into(),
        after.map(FindingId::as_i64).into(),
        i64::try_from(limit).unwrap_or(i64::MAX).into(),
    ];
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map(values, row)?;
    rows.map(|r| finding(r?)).collect()
}
