//! What can go wrong when the stage starts.

/// One enum for the crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used; every fault with key and remedy.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// The registry could not be read or written.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}
