//! Episodes (alerts), their timeline, deliveries, and the commands people give.

use super::{episode_rows::rank, outbox::NewMessage, people::User};
use crate::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
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

    /// From the contract's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == text)
    }

    /// Every state.
    pub const ALL: &[Self] = &[
        Self::Open,
        Self::Notified,
        Self::Acknowledged,
        Self::FollowUp,
        Self::Resolved,
        Self::AutoResolved,
        Self::Expired,
    ];

    /// Nobody has acknowledged it yet.
    pub const fn is_unacknowledged(self) -> bool {
        matches!(self, Self::Open | Self::Notified)
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

impl DeliveryState {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::FailedTemp => "failed_temp",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Every state.
    pub const ALL: &[Self] = &[
        Self::Pending,
        Self::Accepted,
        Self::Delivered,
        Self::Read,
        Self::FailedTemp,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// From the contract's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == text)
    }
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
    /// It was made for a critical.
    pub critical: bool,
    /// It failed, and the book has not drawn its conclusion yet.
    pub unsettled: bool,
}

impl Delivery {
    /// Whether it went to one of the contacts that this user has now.
    pub fn is_at_contact_of(&self, user: &User) -> bool {
        user.contacts.iter().any(|c| c.channel == self.channel && c.address == self.address)
    }
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
    /// The same key of the same user with another body is refused.
    pub once: Option<OnceKey>,
}

/// What makes an action count once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnceKey {
    /// The caller's `Idempotency-Key`.
    pub key: String,
    /// Stands for everything that was asked under it, members that the action does not read included.
    pub digest: String,
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

/// What a signed acknowledge link stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which alert.
    pub alert: AlertId,
    /// Who was told; the acknowledgement is theirs.
    pub user: UserId,
    /// The cycle in which they were told.
    pub cycle: u32,
}

/// Why a link is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not made by this installation, or altered.
    #[error("this link is not valid")]
    Tampered,
    /// Older than 72 h.
    #[error("this link has expired")]
    Expired,
    /// The alert went into another cycle since.
    #[error("this link belongs to an earlier round")]
    OldCycle,
    /// The user may no longer act.
    #[error("this user is disabled")]
    Disabled,
    /// The registry could not be read.
    #[error("the service cannot check this link now")]
    Unavailable,
}

/// Which states a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StateFilter {
    #[default]
    Active,
    All,
    One(AlertState),
}

/// A question for a list of alerts. `Default` asks for every active one.
#[derive(Clone, Debug, Default)]
pub struct EpisodeQuery {
    /// Only of these patients; `None`: of all.
    pub patients: Option<HashSet<PatientId>>,
    /// Beside `patients`: also those to which a step called this user.
    pub or_called: Option<UserId>,
    /// Which states.
    pub state: StateFilter,
    /// Only this severity.
    pub severity: Option<Severity>,
    /// Only of this patient.
    pub patient: Option<PatientId>,
    /// Only of this team.
    pub team: Option<TeamId>,
    /// Only owned by this user.
    pub owner: Option<UserId>,
    /// As [`Episode::cursor`] of the last one seen; another text is as no cursor.
    pub after: Option<String>,
    /// At most so many; 0 is taken as 50.
    pub limit: usize,
}

/// What the alerts stage concluded in one cycle; stored whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct AlertBatch {
    /// Findings up to this sequence are taken in.
    pub position: Option<i64>,
    /// New and changed episodes.
    pub episodes: Vec<Episode>,
    /// Lines of timelines, in order.
    pub events: Vec<(AlertId, TimelineEvent)>,
    /// Whom a step called.
    pub called: Vec<(AlertId, UserId)>,
    /// Episodes whose waiting `alert.notification` rows are no longer wanted.
    pub withdraw: Vec<AlertId>,
    /// New outbox rows; a row whose id exists is left as it is.
    pub messages: Vec<NewMessage>,
    /// Failed deliveries that have been dealt with, as of so many attempts.
    pub settled: Vec<(String, u32)>,
    /// Findings and the alert they belong to.
    pub attached: Vec<(FindingId, AlertId)>,
    /// An idempotency key and the action's text.
    pub command: Option<(UserId, String, AlertId, String, Timestamp)>,
}

impl Episode {
    /// Where this episode stands in a list; opaque to callers.
    pub fn cursor(&self) -> String {
        format!("{}.{}.{}", rank(self), self.raised_at.as_micros(), self.id.as_i64())
    }

    /// The word of the state, for lists.
    pub const fn is_active(&self) -> bool {
        self.state.is_active()
    }
}
