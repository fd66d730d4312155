//! Analytic questions over the PostgreSQL wire, prepared once a connection: range, count, day and week summaries.
//!
//! Answers may lag behind the journal and are for people who analyse; rules and alerts never ask here.

use super::{Config, Fault, TABLE, sql};
use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Mutex;
use tokio_postgres::{
    Client, Statement,
    types::{ToSql, Type},
};
use vitals::{Kind, PatientId, Timestamp, Zone};

/// A row of the table: numbers in mmHg and mmol/L. Debug shows no values.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)] // The columns of the contract, one to one.
pub struct Point {
    pub measured: Timestamp,
    pub device: String,
    pub epoch: i64,
    pub seq: i64,
    pub kind: String,
    pub received: Timestamp,
    pub systolic: Option<f64>,
    pub diastolic: Option<f64>,
    pub map: Option<f64>,
    pub pulse: Option<f64>,
    pub glucose: Option<f64>,
    pub unit: String,
    pub meal: Option<String>,
    pub time_quality: String,
    pub result: String,
}

impl std::fmt::Debug for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Point({} {}/{})", self.device, self.epoch, self.seq)
    }
}

/// How long one line of a summary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// A day of the zone.
    Day,
    /// A week of the zone, from Monday.
    Week,
}

/// Readings of one day or week that count (neither flagged nor excluded). Debug shows no values.
#[derive(Clone, PartialEq)]
pub struct Summary {
    /// First moment.
    pub from: Timestamp,
    /// How many.
    pub count: u64,
    /// Mean systolic, mmHg.
    pub systolic: Option<f64>,
    /// Mean diastolic, mmHg.
    pub diastolic: Option<f64>,
    /// Mean glucose, mmol/L, of those within the meter's range.
    pub glucose: Option<f64>,
    /// Lowest glucose.
    pub glucose_min: Option<f64>,
    /// Highest glucose.
    pub glucose_max: Option<f64>,
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Summary({} readings)", self.count)
    }
}

/// Where questions are asked. One connection, opened when needed; questions queue for it.
#[derive(Debug)]
pub struct Select {
    config: Config,
    open: Mutex<Option<Open>>,
}

struct Open {
    client: Client,
    prepared: HashMap<String, Statement>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

const POINT: &str = "measured, device, epoch, seq, kind, received, systolic, diastolic, map, pulse, glucose, unit, meal, \
                     time_quality, result";
const WHERE: &str = "patient = $1 AND kind = $2 AND measured >= $3 AND measured < $4";
const TYPES: [Type; 4] = [Type::VARCHAR, Type::VARCHAR, Type::TIMESTAMP, Type::TIMESTAMP];

impl Select {
    /// Connects when first asked.
    pub fn new(config: Config) -> Self {
        Self { config, open: Mutex::new(None) }
    }

    /// Readings of one patient and kind measured in `[from, to)`, ascending, at most `limit`.
    ///
    /// # Errors
    /// When QuestDB does not answer.
    pub async fn range(
        &self,
        patient: PatientId,
        kind: Kind,
        (from, to): (Timestamp, Timestamp),
        limit: u32,
    ) -> Result<Vec<Point>, Fault> {
        let text = format!("SELECT {POINT} FROM {TABLE} WHERE {WHERE} ORDER BY measured LIMIT {limit}");
        self.ask(text, patient, kind, (from, to)).await?.iter().map(|r| point(r).map_err(|e| sql::fault(&e))).collect()
    }

    /// How many readings of one patient and kind were measured in `[from, to)`.
    ///
    /// # Errors
    /// When QuestDB does not answer.
    pub async fn count(&self, patient: PatientId, kind: Kind, span: (Timestamp, Timestamp)) -> Result<u64, Fault> {
        let text = format!("SELECT count() FROM {TABLE} WHERE {WHERE}");
        let rows = self.ask(text, patient, kind, span).await?;
        let number = rows.first().map_or(Ok(0), |r| r.try_get::<_, i64>(0)).map_err(|e| sql::fault(&e))?;
        Ok(u64::try_from(number).unwrap_or_default())
    }

    /// One line for each day or week of `zone` in which something was measured.
    ///
    /// # Errors
    /// When QuestDB does not answer.
    pub async fn summaries(
        &self,
        patient: PatientId,
        kind: Kind,
        range: (Timestamp, Timestamp),
        span: Span,
        zone: &Zone,
    ) -> Result<Vec<Summary>, Fault> {
        let unit = match span {
            Span::Day => "1d",
            Span::Week => "1w",
        };
        // A zone's name is that of an IANA zone: letters, digits, `/`, `_`, `+`, `-`. It is checked all the same.
        let zone = zone.name();
        if !zone.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'+' | b'-')) {
            return Err(Fault::Config("the time zone has no IANA name".into()));
        }
        let text = format!(
            "SELECT measured, count(), avg(systolic), avg(diastolic), avg(glucose), min(glucose), max(glucose) \
             FROM {TABLE} WHERE {WHERE} AND result = 'stored' SAMPLE BY {unit} ALIGN TO CALENDAR TIME ZONE '{zone}'"
        );
        self.ask(text, patient, kind, range).await?.iter().map(|r| summary(r).map_err(|e| sql::fault(&e))).collect()
    }

    async fn ask(
        &self,
        text: String,
        patient: PatientId,
        kind: Kind,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Vec<tokio_postgres::Row>, Fault> {
        let patient = patient.to_string();
        let (kind, from, to) = (kind.as_str(), system(from), system(to));
        let values: [&(dyn ToSql + Sync); 4] = [&patient, &kind, &from, &to];
        let mut open = self.open.lock().await;
        let fresh = open.as_ref().is_none_or(|o| o.client.is_closed());
        match self.once(&mut open, &text, &values).await {
            // The connection, or a statement prepared before the table was made anew, may be stale: once more.
            Err(Fault::Unreachable(_)) if !fresh => {
                *open = None;
                self.once(&mut open, &text, &values).await
            }
            answer => answer,
        }
    }

    async fn once(
        &self,
        open: &mut Option<Open>,
        text: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, Fault> {
        let there = match open.take().filter(|o| !o.client.is_closed()) {
            Some(there) => open.insert(there),
            None => {
                let client = sql::connect(&self.config, &self.config.reader_login()?).await?;
                open.insert(Open { client, prepared: HashMap::new() })
            }
        };
        let answer = async {
            let statement = match there.prepared.get(text) {
                Some(statement) => statement.clone(),
                None => {
                    let statement = there.client.prepare_typed(text, &TYPES).await?;
                    there.prepared.insert(text.to_owned(), statement.clone());
                    statement
                }
            };
            there.client.query(&statement, values).await
        };
        match tokio::time::timeout(self.config.request_time(), answer).await {
            Ok(answer) => answer.map_err(|e| sql::fault(&e)),
            Err(_) => {
                *open = None;
                Err(Fault::Unreachable("a query took too long".into()))
            }
        }
    }
}

fn system(at: Timestamp) -> SystemTime {
    let micros = at.as_micros();
    let distance = Duration::from_micros(micros.unsigned_abs());
    let moved = if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moved.unwrap_or(UNIX_EPOCH)
}

fn moment(row: &tokio_postgres::Row, column: usize) -> Result<Timestamp, tokio_postgres::Error> {
    let at: SystemTime = row.try_get(column)?;
    let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_micros(match at.duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }))
}

fn point(r: &tokio_postgres::Row) -> Result<Point, tokio_postgres::Error> {
    Ok(Point {
        measured: moment(r, 0)?,
        device: r.try_get(1)?,
        epoch: r.try_get(2)?,
        seq: r.try_get(3)?,
        kind: r.try_get(4)?,
        received: moment(r, 5)?,
        systolic: r.try_get(6)?,
        diastolic: r.try_get(7)?,
        map: r.try_get(8)?,
        pulse: r.try_get(9)?,
        glucose: r.try_get(10)?,
        unit: r.try_get(11)?,
        meal: r.try_get(12)?,
        time_quality: r.try_get(13)?,
        result: r.try_get(14)?,
    })
}

fn summary(r: &tokio_postgres::Row) -> Result<Summary, tokio_postgres::Error> {
    Ok(Summary {
        from: moment(r, 0)?,
        count: u64::try_from(r.try_get::<_, i64>(1)?).unwrap_or_default(),
        systolic: r.try_get(2)?,
        diastolic: r.try_get(3)?,
        glucose: r.try_get(4)?,
        glucose_min: r.try_get(5)?,
        glucose_max: r.try_get(6)?,
    })
}
