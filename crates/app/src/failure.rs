//! Why a command did not succeed, and the exit code that says so.

/// One enum for the binary.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Exit 2: the configuration or an argument is wrong; each line names place and remedy.
    #[error("{0}")]
    Configuration(String),
    /// Exit 1: it was right and did not work.
    #[error("{0}")]
    Failed(String),
    /// Exit 1 without a word more: everything was said already, or nobody listens any more.
    #[error("")]
    Quiet,
}

impl Failure {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Failed(_) | Self::Quiet => 1,
        }
    }

    pub(crate) const fn is_quiet(&self) -> bool {
        matches!(self, Self::Quiet)
    }

    /// "what was attempted: why not".
    pub(crate) fn failed(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {why}"))
    }
}

impl From<store::StoreError> for Failure {
    fn from(e: store::StoreError) -> Self {
        Self::Failed(e.to_string())
    }
}
