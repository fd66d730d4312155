//! The questions, asked of an engine: of the embedded series through the store, of QuestDB in SQL, as an analyst would.

use crate::{
    questdb_server::{Server, TextRow},
    story::Installation,
    truth::{Means, row},
};
use std::collections::BTreeMap;
use store::ReadingQuery;
use vitals::{Kind, PatientId, Timestamp, Zone};

pub enum Engine {
    Embedded,
    QuestDb(Server),
}

pub type Span = (Timestamp, Timestamp);

impl Engine {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::QuestDb(_) => "questdb",
        }
    }

    /// Everything, in no order that matters.
    pub async fn rows(&self, at: &Installation) -> Vec<TextRow> {
        match self {
            Self::Embedded => {
                let mut rows = Vec::new();
                let mut visit = |r: &vitals::Reading| {
                    rows.push(row(r));
                    Ok(())
                };
                at.store().readings().export_readings(&mut visit).unwrap();
                rows.sort();
                rows
            }
            Self::QuestDb(server) => server.rows().await,
        }
    }

    pub async fn range(&self, at: &Installation, patient: PatientId, kind: Kind, (from, to): Span) -> Vec<TextRow> {
        match self {
            Self::Embedded => {
                let query = ReadingQuery { patient, kind: Some(kind), from, to, after: None, limit: 100_000 };
                at.store().readings().range(query).await.unwrap().iter().map(|r| row(r)).collect()
            }
            Self::QuestDb(server) => {
                let (from, to) = (from.as_micros(), to.as_micros());
                let rest = format!(
                    "WHERE patient = '{patient}' AND kind = '{}' AND measured >= cast({from} AS TIMESTAMP) \
                     AND measured < cast({to} AS TIMESTAMP) ORDER BY measured",
                    kind.as_str()
                );
                server.select(&rest).await
            }
        }
    }

    /// Newest first.
    pub async fn last(&self, at: &Installation, patient: PatientId, n: usize) -> Vec<TextRow> {
        match self {
            Self::Embedded => {
                let (from, to) = (Timestamp::MIN, Timestamp::MAX);
                let query = ReadingQuery { patient, kind: None, from, to, after: None, limit: 100_000 };
                let all = at.store().readings().range(query).await.unwrap();
                all.iter().rev().take(n).map(|r| row(r)).collect()
            }
            Self::QuestDb(server) => {
                server.select(&format!("WHERE patient = '{patient}' ORDER BY measured DESC LIMIT {n}")).await
            }
        }
    }

    pub async fn latest(&self, at: &Installation, people: &[PatientId]) -> BTreeMap<PatientId, Timestamp> {
        match self {
            Self::Embedded => {
                let mut all = BTreeMap::new();
                for patient in people {
                    if let Some(r) = at.store().readings().latest(*patient).await.unwrap() {
                        all.insert(*patient, r.measured_at);
                    }
                }
                all
            }
            Self::QuestDb(server) => {
                let text = "SELECT patient, cast(measured AS LONG) FROM reading WHERE patient IS NOT NULL \
                            LATEST ON measured PARTITION BY patient";
                let rows = server.ask(text).await;
                let pair = |r: &Vec<Option<String>>| {
                    let at = r[1].as_ref().unwrap().parse().unwrap();
                    (r[0].as_ref().unwrap().parse().unwrap(), Timestamp::from_micros(at))
                };
                rows.iter().map(pair).collect()
            }
        }
    }

    pub async fn means(&self, at: &Installation, patient: PatientId, kind: Kind, weeks: bool, zone: &Zone) -> Means {
        match self {
            Self::Embedded => at.days(patient, kind, weeks, zone).await,
            Self::QuestDb(server) => {
                let value = if kind == Kind::BloodPressure { "systolic" } else { "glucose" };
                let text = format!(
                    "SELECT cast(measured AS LONG), count({value}), avg({value}) FROM reading WHERE patient = '{patient}' \
                     AND kind = '{}' AND result = 'stored' AND {value} IS NOT NULL \
                     SAMPLE BY {} ALIGN TO CALENDAR TIME ZONE '{}'",
                    kind.as_str(),
                    if weeks { "1w" } else { "1d" },
                    zone.name()
                );
                let line = |r: &Vec<Option<String>>| {
                    let number = |i: usize| r[i].as_ref().unwrap();
                    let first = Timestamp::from_micros(number(0).parse().unwrap()).day(zone);
                    (first, (number(1).parse().unwrap(), number(2).parse().unwrap()))
                };
                server.ask(&text).await.iter().map(line).collect()
            }
        }
    }
}
