//! What a stage offers so that a manual clock can run a year in seconds.

use std::{future::Future, pin::Pin};
use vitals::Timestamp;

/// A boxed future, so that [`Paced`] can be used behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stage whose work can be waited for. Driven only by the test clock; in production stages wake by themselves.
pub trait Paced: Send + Sync {
    /// For messages and metrics.
    fn name(&self) -> &'static str;

    /// The earliest moment at which this stage has something to do without new input.
    fn next_due(&self) -> BoxFuture<'_, Option<Timestamp>>;

    /// Returns when all input committed before the call has been taken in and everything due at the clock's
    /// present moment has been done. Returns whether anything was done (then those downhill must settle again).
    fn settle(&self) -> BoxFuture<'_, bool>;
}
