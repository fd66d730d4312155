//! What can go wrong in the rules.

use store::StoreError;

/// One enum for the crate. `Display` holds no patient data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A card is not one that this program can run; the previous set stays.
    #[error("{file}, line {line}: {what}. {remedy}")]
    Card {
        /// Which file.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An edit of a rule that may not be: nothing was changed.
    #[error("{field}: {what}. {remedy}")]
    Edit {
        /// Which member of it.
        field: String,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A rehearsal was ended by who asked for it.
    #[error("the rehearsal was ended")]
    Cancelled,
    /// A folder of cards cannot be read.
    #[error(
        "{folder}: {reason}. Give a readable folder of .toml cards, or leave `folder` out to use the built-in ones"
    )]
    Folder {
        /// Which.
        folder: String,
        /// The system's words.
        reason: String,
    },
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stage has ended.
    #[error("the rules have ended")]
    Ended,
}
