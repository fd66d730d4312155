//! What the API asks of the stages beside it. `app` fills this in; the API depends on none of them.
//!
//! Goes in: closures and facts. Must never: hold a stage's type, block, or outlive the drain.

use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};
use store::{
    CardRecord, ChainFault, ChainWarning, Command, CommandError, Episode, Leave, Link, LinkError, OnCallLevel,
    RuleScope, StoreError, Team,
};
use tokio::sync::watch;
use vitals::{DeviceId, Patient, ReadingId, TeamId, Timestamp, Zone};

/// A question that takes a value and is answered later.
pub type Ask<In, Out> = Arc<dyn Fn(In) -> BoxFuture<'static, Out> + Send + Sync>;

/// Everything the API asks of other stages.
#[derive(Clone)]
pub struct Links {
    /// The zone in which times are written.
    pub zone: Zone,
    /// Does what a person asked of an alert; returns when it is durable.
    pub act: Ask<Command, Result<Episode, CommandError>>,
    /// Who would be called for a critical of this team at that moment.
    pub on_call: Ask<(TeamId, Timestamp), Result<Vec<OnCallLevel>, StoreError>>,
    /// Whether a critical of this team reaches somebody throughout the next 14 days.
    pub check_team: Ask<Team, Result<Vec<ChainWarning>, ChainFault>>,
    /// Steps, of any team, that call nobody during this stored leave and would call somebody without it.
    pub emptied_by: Ask<Leave, Vec<(TeamId, ChainWarning)>>,
    /// What an acknowledge link stands for. Changes nothing.
    pub read_link: Ask<String, Result<Link, LinkError>>,
    /// Decodes and judges a held entry again, with the present code, allow list and bindings.
    pub replay: Ask<ReadingId, Result<Replayed, StoreError>>,
    /// Signs a device's request (PKCS #10, PEM) with the installation's device CA.
    pub certify: Ask<(DeviceId, String), Result<Certificate, CertifyError>>,
    /// What the rules say of themselves, of edits and of the past.
    pub rules: RuleLinks,
    /// The present figures of each stage, in the order of the pipeline.
    pub pipeline: Arc<dyn Fn() -> Vec<StageFigures> + Send + Sync>,
    /// Every readiness check, done now.
    pub checks: Ask<(), Vec<Check>>,
    /// Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Only with `--test-clock`: moves the clock, answers when everything due has been handed over.
    pub test_clock: Option<Ask<Timestamp, Result<(), TestClockError>>>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Links")
    }
}

/// A device's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM.
    pub certificate: String,
    /// PEM of the authority that signed it.
    pub chain: String,
    /// Hexadecimal.
    pub serial: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertifyError {
    /// The request is at fault; says how, and what to send instead.
    #[error("{0}")]
    Request(String),
    /// The authority is.
    #[error("{0}")]
    Authority(String),
}

/// What the API asks of the rules.
#[derive(Clone)]
pub struct RuleLinks {
    /// The cards in force at this moment, as they are shown.
    pub cards: Ask<(), Result<Vec<CardRecord>, StoreError>>,
    /// Whether an edit may be written, and what to write.
    pub check: Ask<RuleContent, Result<CheckedRule, RuleFault>>,
    /// Whether a rollback may bring this back; the installed card's version.
    pub check_return: Ask<RuleReturn, Result<u32, RuleFault>>,
    /// Whether a patient may have the rule parameters of their plan.
    pub check_plan: Ask<Arc<Patient>, Result<(), RuleFault>>,
    /// Lives a stretch of the past again, without any effect: a JSON object's text. Dropped, it ends.
    pub rehearse: Ask<RehearsalOrder, Result<String, RuleFault>>,
}

impl fmt::Debug for RuleLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleLinks")
    }
}

/// What somebody wants a rule to be.
#[derive(Clone, Debug)]
pub struct RuleContent {
    /// Of which rule.
    pub rule: String,
    /// For whom.
    pub scope: RuleScope,
    /// `{"card": …}` or `{"parameters": {…}}`, a JSON object's text.
    pub content: String,
}

/// What a rollback would bring back.
#[derive(Clone, Debug)]
pub struct RuleReturn {
    /// Of which rule.
    pub rule: String,
    /// For whom.
    pub scope: RuleScope,
    /// As it was stored; none for what stood before any edit.
    pub body: Option<String>,
}

/// An edit that may be written.
#[derive(Clone, Debug)]
pub struct CheckedRule {
    /// To be stored.
    pub body: String,
    /// The card as it would be shown.
    pub shown: CardRecord,
    /// The installed card's version.
    pub base: u32,
}

/// What to rehearse.
#[derive(Clone, Debug)]
pub struct RehearsalOrder {
    /// The rules on trial, and what they would be; with `content` empty a rule is on trial as it is.
    pub edits: Vec<RuleContent>,
    /// First moment.
    pub from: Timestamp,
    /// First moment no longer.
    pub to: Timestamp,
    /// On whom; the caller may see each of them.
    pub patients: Vec<Arc<Patient>>,
    /// Hears how many of how many patients are done.
    pub progress: watch::Sender<(usize, usize)>,
}

/// Why the rules did not do it.
#[derive(Clone, Debug)]
pub enum RuleFault {
    /// What was sent cannot be.
    Refused {
        /// Which member.
        field: String,
        /// What is wrong, and what to do.
        remedy: String,
    },
    /// Another rehearsal is under way.
    Busy,
    /// The store could not answer.
    Store(StoreError),
}

/// What became of a held entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// It has left quarantine.
    pub released: bool,
    /// One for each reading in it.
    pub results: Vec<ReplayedReading>,
}

/// What became of one reading of a held entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedReading {
    /// Its number.
    pub seq: Option<i64>,
    /// `stored flagged excluded duplicate quarantined`.
    pub result: &'static str,
    /// What is stored.
    pub id: Option<ReadingId>,
    /// Why it is flagged, or held still.
    pub reasons: Vec<Box<str>>,
}

/// What went through a stage since the process started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageFigures {
    /// `broker`, `ingest`, `journal`, `rules`, `alerts`, …
    pub stage: &'static str,
    /// Taken in.
    pub taken: u64,
    /// Handed on.
    pub given: u64,
    /// How far it is behind, in its own units (entries, messages).
    pub lag: u64,
    /// What went wrong.
    pub errors: u64,
}

/// One line of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `journal`, `registry`, `router`, …
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// `disk_full`, … where it is not.
    pub reason: Option<String>,
}

/// Why the test clock was not moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestClockError {
    /// It never goes back.
    #[error("the clock never goes back")]
    Backwards,
    /// A stage did not come to rest.
    #[error("{0}")]
    Stuck(String),
}
