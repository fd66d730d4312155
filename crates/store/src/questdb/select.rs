//! Questions over many people, over the PostgreSQL wire, prepared once a connection, as the read-only user where one is
//! configured.
//!
//! One line of the answer is what one person's readings of one day or week come to; they are folded as they arrive, so
//! that no number of people fills the memory. Whether an answer may be believed is not decided here
//! ([`crate::population`]). Must never: write, or ask anything of one person.

use super::{Config, Fault, TABLE, sql};
use crate::population::{Fold, PopulationQuery, Share, Stretch, Stride, Total};
use futures_util::TryStreamExt;
use std::{
    collections::HashMap,
    pin::pin,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Mutex;
use tokio_postgres::{
    Client, Row, Statement,
    types::{ToSql, Type},
};
use vitals::{
    Kind, Timestamp, Zone,
    summary::{GLUCOSE_RANGE, HOME_TARGET},
};

/// Where questions are asked. One connection, opened when needed; questions queue for it.
#[derive(Debug)]
pub(crate) struct Select {
    config: Config,
    open: Mutex<Option<Open>>,
}

struct Open {
    client: Client,
    since: Instant,
    prepared: HashMap<String, Statement>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

/// Stretches, and since when the connection was open on which they were asked.
pub(crate) type Answer = (Vec<Stretch>, Instant);

impl Select {
    /// Connects when first asked.
    pub(crate) fn new(config: Config) -> Self {
        Self { config, open: Mutex::new(None) }
    }

    /// By day or week, ascending.
    ///
    /// # Errors
    /// When QuestDB does not answer.
    pub(crate) async fn population(&self, q: &PopulationQuery) -> Result<Answer, Fault> {
        let text = statement(q.kind, q.stride, &q.zone)?;
        let mut open = self.open.lock().await;
        let stale = open.as_ref().is_some_and(|o| !o.client.is_closed());
        // A caller that gives up in the middle of an answer leaves no connection behind.
        match self.once(&mut open, &text, q).await {
            // The connection, or a statement prepared before the table was made anew, may be stale: once more.
            Err(Fault::Unreachable(_)) if stale => self.once(&mut open, &text, q).await,
            answer => answer,
        }
    }

    async fn once(&self, slot: &mut Option<Open>, text: &str, q: &PopulationQuery) -> Result<Answer, Fault> {
        let mut open = match slot.take().filter(|o| !o.client.is_closed()) {
            Some(open) => open,
            None => {
                let since = Instant::now();
                let client = sql::connect(&self.config, &self.config.reader_login()?).await?;
                Open { client, since, prepared: HashMap::new() }
            }
        };
        let asked = tokio::time::timeout(self.config.request_time(), open.ask(text, q)).await;
        let stretches = asked.map_err(|_| Fault::Unreachable("a query took too long".into()))??;
        let since = open.since;
        *slot = Some(open);
        Ok((stretches, since))
    }
}

impl Open {
    async fn ask(&mut self, text: &str, q: &PopulationQuery) -> Result<Vec<Stretch>, Fault> {
        let statement = match self.prepared.get(text) {
            Some(statement) => statement.clone(),
            None => {
                let types = [Type::VARCHAR, Type::TIMESTAMP, Type::TIMESTAMP];
                let made = self.client.prepare_typed(text, &types).await.map_err(|e| sql::fault(&e))?;
                self.prepared.insert(text.to_owned(), made.clone());
                made
            }
        };
        let (kind, from, to) = (q.kind.as_str(), system(q.from), system(q.to));
        let values: [&(dyn ToSql + Sync); 3] = [&kind, &from, &to];
        let rows = self.client.query_raw(&statement, values).await.map_err(|e| sql::fault(&e))?;
        let mut rows = pin!(rows);
        let mut fold = Fold::new(q);
        let mut newest = None;
        while let Some(row) = rows.try_next().await.map_err(|e| sql::fault(&e))? {
            let (at, patient, share) = share(&row).map_err(|e| sql::fault(&e))?;
            let Ok(patient) = patient.parse() else { continue };
            let day = at.day(&q.zone);
            // Stretches come one after the other.
            if newest.is_none_or(|newest| day > newest) {
                fold.close_before(day);
                newest = Some(day);
            }
            fold.add(day, patient, &share);
        }
        Ok(fold.end())
    }
}

/// One line a person and stretch. The same words for the same kind, stride and zone: it is prepared once.
fn statement(kind: Kind, stride: Stride, zone: &Zone) -> Result<String, Fault> {
    // A zone's name is that of an IANA zone: letters, digits, `/`, `_`, `+`, `-`. It is checked all the same.
    let zone = zone.name();
    if !zone.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'+' | b'-')) {
        return Err(Fault::Config("the time zone has no IANA name".into()));
    }
    let unit = match stride {
        Stride::Day => "1d",
        Stride::Week => "1w",
    };
    let (first, second, target) = match kind {
        Kind::BloodPressure => {
            ("systolic", "diastolic", format!("systolic < {:?} AND diastolic < {:?}", HOME_TARGET.0, HOME_TARGET.1))
        }
        // `HI` and `LO` are NULL there.
        Kind::BloodGlucose => {
            ("glucose", "glucose", format!("glucose >= {:?} AND glucose <= {:?}", GLUCOSE_RANGE.0, GLUCOSE_RANGE.1))
        }
    };
    let how_many = |which: &str| format!("sum(CASE WHEN {which} THEN 1 ELSE 0 END)");
    let counts = [
        how_many(&format!("result = 'stored' AND {first} IS NOT NULL")),
        how_many(&format!("result != 'excluded' AND {first} IS NULL")),
        how_many(&format!("result = 'flagged' AND {first} IS NOT NULL")),
        how_many("result = 'excluded'"),
        how_many(&format!("result = 'stored' AND {target}")),
    ];
    let totals = [first, second].map(|column| {
        ["sum", "min", "max"].map(|f| format!("{f}(CASE WHEN result = 'stored' THEN {column} END)")).join(", ")
    });
    let (counts, totals) = (counts.join(", "), totals.join(", "));
    Ok(format!(
        "SELECT measured, patient, {counts}, {totals} FROM {TABLE} WHERE kind = $1 AND measured >= $2 AND measured < $3 \
         AND patient IS NOT NULL SAMPLE BY {unit} ALIGN TO CALENDAR TIME ZONE '{zone}'"
    ))
}

fn share(row: &Row) -> Result<(Timestamp, String, Share), tokio_postgres::Error> {
    let count = |i: usize| Ok::<_, tokio_postgres::Error>(u64::try_from(row.try_get::<_, i64>(i)?).unwrap_or_default());
    let number = |i: usize| Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<f64>>(i)?.unwrap_or_default());
    let total =
        |i: usize| Ok::<_, tokio_postgres::Error>(Total { sum: number(i)?, min: number(i + 1)?, max: number(i + 2)? });
    let share = Share {
        counted: count(2)?,
        beyond: count(3)?,
        flagged: count(4)?,
        excluded: count(5)?,
        in_target: count(6)?,
        totals: [total(7)?, total(10)?],
    };
    Ok((moment(row, 0)?, row.try_get(1)?, share))
}

/// The table begins in 1970; whoever asks from before asks from there.
fn system(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.as_micros()).unwrap_or_default();
    UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(UNIX_EPOCH)
}

fn moment(row: &Row, column: usize) -> Result<Timestamp, tokio_postgres::Error> {
    let at: SystemTime = row.try_get(column)?;
    let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_micros(match at.duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_is_no_zone_reaches_no_statement() {
        let zone = Zone::named("Asia/Shanghai").unwrap();
        let text = statement(Kind::BloodPressure, Stride::Week, &zone).unwrap();
        assert!(text.ends_with("SAMPLE BY 1w ALIGN TO CALENDAR TIME ZONE 'Asia/Shanghai'") && text.contains("$3"));
        assert!(Zone::named("x'; DROP TABLE reading; --").is_err());
    }
}
