//! Why the projection does not go on at present. None of it ever reaches a device.

use crate::StoreError;

/// What stands in the way; the words name the remedy and hold no patient data.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The configuration cannot work.
    #[error("[store.questdb] {0}")]
    Config(String),
    /// No answer, or one from which nobody can tell whether the rows were taken: they are sent again.
    #[error("QuestDB does not answer: {0}")]
    Unreachable(String),
    /// The credentials were refused.
    #[error("QuestDB refuses the credentials: check [store.questdb] username and password_file")]
    Credentials,
    /// Rows were refused as malformed; which ones, nobody has asked yet.
    #[error("QuestDB refused a batch as malformed")]
    Malformed,
    /// Most rows of a batch are refused: that is no bad row, that is another table.
    #[error("QuestDB refuses {refused} of {sent} readings; nothing is set aside: see `hearthbeat doctor`")]
    MostRefused {
        /// How many.
        refused: usize,
        /// Of how many.
        sent: usize,
    },
    /// The table is not ours.
    #[error("table reading: {0}; rename it or drop it, it is made anew and filled")]
    Schema(String),
    /// The server takes rows and shows none of them.
    #[error("QuestDB has suspended table reading; it is resumed as soon as the server can")]
    Suspended,
    /// What was taken does not become visible.
    #[error("QuestDB does not apply what it took: {behind} transactions behind for {seconds} s")]
    Lagging {
        /// Transactions taken and not applied.
        behind: u64,
        /// For how long they did not become fewer.
        seconds: u64,
    },
    /// Too little room where QuestDB keeps its data.
    #[error("the disk of QuestDB has {free} bytes free, min_free_bytes is {limit}: projecting stands still")]
    DiskLow {
        /// Bytes that are free.
        free: u64,
        /// The limit.
        limit: u64,
    },
    /// The table was dropped, made anew or altered by somebody else meanwhile.
    #[error("table reading was made anew by somebody else; it is filled again")]
    Replaced,
    /// Counts differ even after the weeks in question were sent again.
    #[error("{weeks} weeks of table reading differ from the series even after they were sent again")]
    Mismatch {
        /// How many weeks.
        weeks: usize,
    },
    /// The position could not be read or written.
    #[error("projector.json: {0}")]
    Position(String),
    /// The readings' own files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service is ending.
    #[error("stopping")]
    Stopping,
}
