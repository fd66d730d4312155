//! The worklist: who needs somebody first. Pure: episodes and patients in, order and reasons out.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use store::{AlertState, Episode};
use vitals::{PatientId, Severity, Timestamp};

/// Where a patient stands: smaller is earlier. Serialised as the list's cursor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    /// By severity and whether somebody has it in hand.
    rank: u8,
    /// Newer alerts first.
    newest: i64,
    /// For the order by name.
    name: String,
    id: i64,
}

/// What is open for one patient.
#[derive(Debug, Default)]
pub(crate) struct Open<'a> {
    pub(crate) count: usize,
    /// The one that puts them where they are.
    pub(crate) top: Option<&'a Episode>,
}

/// Open episodes by patient.
pub(crate) fn open_of(episodes: &[Episode]) -> HashMap<PatientId, Open<'_>> {
    let mut by_patient: HashMap<PatientId, Open<'_>> = HashMap::new();
    for episode in episodes {
        let open = by_patient.entry(episode.patient).or_default();
        open.count += 1;
        if open.top.is_none_or(|top| key(episode) < key(top)) {
            open.top = Some(episode);
        }
    }
    by_patient
}

fn key(episode: &Episode) -> (u8, i64) {
    (rank(episode), -episode.raised_at.as_micros())
}

fn rank(episode: &Episode) -> u8 {
    let waiting = matches!(episode.state, AlertState::Open | AlertState::Notified);
    let severity = match episode.severity {
        Severity::Critical => 0,
        Severity::Urgent => 1,
        Severity::Routine => 2,
        Severity::Info => 3,
    };
    severity * 2 + u8::from(!waiting)
}

/// By risk.
pub(crate) fn by_risk(id: PatientId, top: Option<&Episode>, last_seen: Option<Timestamp>) -> Place {
    let (rank, newest) = top.map_or((u8::MAX, -last_seen.map_or(0, Timestamp::as_micros)), key);
    Place { rank, newest, name: String::new(), id: id.as_i64() }
}

/// By name.
pub(crate) fn by_name(id: PatientId, name: &str) -> Place {
    Place { rank: 0, newest: 0, name: name.to_owned(), id: id.as_i64() }
}
