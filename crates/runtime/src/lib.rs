//! The ground under the stages: clock, drain, pacing, telemetry. Nothing here mentions a patient.
//!
//! Goes in: a choice of clock, a signal to stop. Comes out: time, deadlines, orderly ends.
//! Must never: know a stage, a format or a store.

mod clock;
pub mod crash;
mod drain;
mod paced;
pub mod telemetry;

pub use clock::{Clock, ClockError};
pub use drain::{Drain, DrainHandle, Fatal};
pub use paced::{BoxFuture, Paced};
