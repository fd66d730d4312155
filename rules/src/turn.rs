//! Turns to have late readings judged: who sends much late pays for it with waiting, and nobody else does.

/// How much is judged again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Everything that waits.
    All,
    /// What is worth its cost now. Who sends much late pays for it with waiting, and nobody else does.
    Fair,
}

/// A patient's turns to have something judged again.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Waits for one.
    pub waits: bool,
    /// What the last one cost.
    pub cost: u32,
    /// Late readings since.
    pub came: u32,
    /// Rounds passed over since.
    pub passed: u32,
}

impl Turn {
    /// The cost of a turn is spread over the late readings that it judges and the rounds that it waited: what a patient
    /// costs grows with what they send, never with its square.
    pub(crate) const fn is_ripe(&self) -> bool {
        self.came as u64 * 16 + self.passed as u64 * 64 >= self.cost as u64
    }
}
