//! What became of alerts, for reports on their burden: gone through once, row by row, never gathered.
//!
//! Goes in: a time. Comes out: each alert raised in it, given to whoever counts. Must never: say whose it was called.

use crate::{Store, StoreError};
use rusqlite::{Connection, Row, params};
use vitals::{PatientId, Severity, Timestamp};

/// One alert as a report counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Whose.
    pub patient: PatientId,
    /// The rule of its gravest finding.
    pub rule: String,
    /// The gravest that it came to.
    pub severity: Severity,
    /// Somebody may still have to act.
    pub is_active: bool,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// When somebody first acknowledged it.
    pub acknowledged_at: Option<Timestamp>,
    /// The word with which a person resolved it.
    pub outcome: Option<String>,
}

/// Both ranks are named, so that the index by order serves the time.
const FATES: &str = "SELECT patient, json_extract(body, '$.rule'), severity, active, raised_at,
        (SELECT min(at) FROM episode_event WHERE alert = episode.id AND event = 'acknowledged'),
        (SELECT detail FROM episode_event WHERE alert = episode.id AND event = 'resolved' ORDER BY id DESC LIMIT 1)
    FROM episode WHERE rank IN (0, 1) AND raised_at >= ?1 AND raised_at < ?2";

fn fate(r: &Row<'_>) -> Result<Fate, StoreError> {
    let severity: String = r.get(2)?;
    // What a person wrote follows the outcome's word after a colon.
    let resolved: Option<String> = r.get(6)?;
    let outcome = resolved.map(|text| text.split(':').next().unwrap_or_default().to_owned());
    Ok(Fate {
        patient: PatientId::from_i64(r.get(0)?),
        rule: r.get(1)?,
        severity: Severity::parse(&severity).unwrap_or(Severity::Routine),
        is_active: r.get(3)?,
        raised_at: Timestamp::from_micros(r.get(4)?),
        acknowledged_at: r.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
        outcome,
    })
}

fn go_through<T>(
    c: &Connection,
    (from, to): (Timestamp, Timestamp),
    mut sum: T,
    count: impl Fn(&mut T, Fate),
) -> Result<T, StoreError> {
    let mut statement = c.prepare_cached(FATES)?;
    let mut rows = statement.query(params![from.as_micros(), to.as_micros()])?;
    while let Some(row) = rows.next()? {
        count(&mut sum, fate(row)?);
    }
    Ok(sum)
}

impl Store {
    /// Counts every alert raised in `from..to` into `sum`.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn count_alerts<T: Send + 'static>(
        &self,
        span: (Timestamp, Timestamp),
        sum: T,
        count: impl Fn(&mut T, Fate) + Send + 'static,
    ) -> Result<T, StoreError> {
        self.registry.read(move |c| go_through(c, span, sum, count)).await
    }
}
