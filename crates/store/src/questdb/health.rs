//! How the projection does, for `/readyz?verbose`, the ops page and metrics. It never makes the service unready.

use serde::Serialize;

/// What the projector is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not connected yet.
    #[default]
    Starting,
    /// Up to date but for what is on its way.
    Live,
    /// Behind, and sending in large batches.
    CatchingUp,
    /// Sending weeks, or everything, again from the series.
    Refilling,
    /// Something is in the way; tried again by itself. `reason` says what.
    Waiting,
    /// The server suspended the table.
    Suspended,
    /// Too little room where QuestDB keeps its data.
    DiskLow,
    /// Ended.
    Stopped,
}

/// How the projection does. Holds no patient data.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProjectorHealth {
    /// What it is doing.
    pub state: State,
    /// What is in the way, and the remedy.
    pub reason: Option<String>,
    /// Tries in a row that failed.
    pub failures: u32,
    /// Highest journal position that exists.
    pub committed: u64,
    /// Highest position that QuestDB acknowledged: that is not yet visible, and may vanish in a power cut.
    pub sent: u64,
    /// Highest position up to which the rows were counted on the server and agreed. A restart begins here.
    pub checked: u64,
    /// Readings sent since this process started, those sent again included.
    pub rows: u64,
    /// Readings that QuestDB refused, ever; they are listed in `projector-refused.jsonl`.
    pub quarantined: u64,
    /// Whether the table is suspended now.
    pub suspended: bool,
    /// How often that was found since this process started.
    pub suspensions: u64,
    /// Transactions taken and not applied, at the last look.
    pub lag_transactions: u64,
    /// They did not become fewer for too long.
    pub lagging: bool,
    /// Bytes free where QuestDB keeps its data; none where that is not on this machine.
    pub free_bytes: Option<u64>,
    /// Weeks that had to be sent again because their counts differed, since this process started.
    pub repaired_weeks: u64,
    /// Weeks that are noted to be sent again: a reading in them got another patient or time, or was erased.
    pub rewriting: u64,
    /// The newest change of stored readings ([`crate::Moved::number`]) that is noted in `rewriting`, or done.
    pub followed: u64,
    /// The server may have been another process since everything was counted: until that is done again, what it shows
    /// may be anything.
    pub recounting: bool,
    /// When the server was last seen to be the one that everything was counted on, and well.
    #[serde(skip)]
    pub looked: Option<std::time::Instant>,
}

impl ProjectorHealth {
    /// Whether everything that is committed was sent, counted and agreed.
    pub const fn is_settled(&self) -> bool {
        matches!(self.state, State::Live) && self.checked >= self.committed
    }

    /// Whether a human should look.
    pub const fn is_alarming(&self) -> bool {
        matches!(self.state, State::Suspended | State::DiskLow) || self.lagging || self.failures >= 5
    }

    /// Sets the gauges from these figures.
    pub(super) fn publish(&self) {
        #[allow(clippy::cast_precision_loss)] // A gauge is a double; positions stay far below 2^53.
        let set = |name: &'static str, value: u64| metrics::gauge!(name).set(value as f64);
        set("hearthbeat_questdb_behind_positions", self.committed.saturating_sub(self.sent));
        set("hearthbeat_questdb_unchecked_positions", self.committed.saturating_sub(self.checked));
        set("hearthbeat_questdb_lag_transactions", self.lag_transactions);
        set("hearthbeat_questdb_suspended", u64::from(self.suspended));
        set("hearthbeat_questdb_alarm", u64::from(self.is_alarming()));
        set("hearthbeat_questdb_refused_rows", self.quarantined);
        if let Some(free) = self.free_bytes {
            set("hearthbeat_questdb_free_bytes", free);
        }
    }
}
