//! Episodes (alerts), their timeline, deliveries, and the commands people give.

use crate::StoreError;
use serde::{Deserialize, Serialize};
use vitals::{AlertId, Concept, FindingId, PatientId, ReadingId, RuleId, Severity, TeamId, Timestamp, UserId};

/// Where an episode stands (contract: alerts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AlertState {
    Open,
    Notified,
    Acknowledged,
    FollowUp,
    Resolved,
    AutoResolved,
    Expired,
}

impl AlertState {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Notified => "notified",
            Self::Acknowledged => "acknowledged",
            Self::FollowUp => "follow_up",
            Self::Resolved => "resolved",
            Self::AutoResolved => "auto_resolved",
            Self::Expired => "expired",
        }
    }

    /// Somebody may still have to act.
    pub const fn is_active(self) -> bool {
        !matches!(self, Self::Resolved | Self::AutoResolved | Self::Expired)
    }
}

/// One matter of one patient that a human must handle: at most one active per (patient, concept).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Episode {
    pub id: AlertId,
    pub patient: PatientId,
    pub team: Option<TeamId>,
    pub concept: Concept,
    pub severity: Severity,
    /// The severity that an acknowledgement covered; anything worse pages again.
    pub acked_severity: Option<Severity>,
    pub state: AlertState,
    pub rule: RuleId,
    pub raised_at: Timestamp,
    /// 1 for the first step of the chain; 0 before anybody was told.
    pub level: u32,
    pub cycle: u32,
    pub next_at: Option<Timestamp>,
    /// Readings over the limit in the episode.
    pub count: u32,
    pub owner: Option<UserId>,
    pub exhausted: bool,
    pub snoozed_until: Option<Timestamp>,
    pub held_until: Option<Timestamp>,
    pub inhibited_by: Option<AlertId>,
    pub previous: Option<AlertId>,
    pub readings: Vec<ReadingId>,
    pub findings: Vec<FindingId>,
    /// As the deciding finding gives it: a JSON object's text.
    pub evidence: String,
    /// The chain as it was when the episode opened; a later edit does not alter a running one.
    pub chain: Vec<Vec<String>>,
    /// Whatever else the book needs to go on after a restart; only `alerts` reads it.
    pub book: String,
    #[serde(skip)]
    pub version: i64,
}

/// One line of an episode's timeline. `event` is one of the contract's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TimelineEvent {
    pub at: Timestamp,
    pub event: String,
    pub by: Option<UserId>,
    pub detail: Option<String>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum DeliveryState {
    Pending,
    Accepted,
    Delivered,
    Read,
    FailedTemp,
    Failed,
    Cancelled,
    Expired,
}

/// One message to one person on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Delivery {
    /// The stable key: `webhook-id`.
    pub id: String,
    pub alert: Option<AlertId>,
    /// `alert.notification`, `alert.acknowledged`, …
    pub kind: String,
    pub channel: String,
    pub user: Option<UserId>,
    pub address: String,
    pub level: u32,
    pub cycle: u32,
    pub attempts: u32,
    pub state: DeliveryState,
    pub created_at: Timestamp,
    pub not_before: Timestamp,
    pub provider_word: Option<String>,
}

/// What a person does with an alert (contract: HTTP API, alerts).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Action {
    Ack,
    Unack { reason: Option<String> },
    Assign { user: UserId },
    Snooze { minutes: i64 },
    Escalate,
    FollowUp { contacted_at: Timestamp, how: String, note: Option<String>, due_at: Option<Timestamp> },
    Resolve { outcome: String, note: Option<String> },
    Comment { text: String },
    Feedback { text: String },
}

/// An action by a person, once: the same key and body again has no second effect.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Command {
    pub alert: AlertId,
    pub action: Action,
    pub by: UserId,
    /// Unique per user; the same key with another action is refused.
    pub idempotency_key: Option<String>,
}

/// Why an action had no effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// No such alert.
    #[error("no such alert")]
    NotFound,
    /// It cannot be done in the present state.
    #[error("the alert is {}", .0.as_str())]
    State(AlertState),
    /// A member is wrong; says which and what would be right.
    #[error("{field}: {remedy}")]
    Invalid {
        /// Which member.
        field: &'static str,
        /// What would be right.
        remedy: String,
    },
    /// The idempotency key was used for something else.
    #[error("this Idempotency-Key was used with another body")]
    KeyReused,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}
