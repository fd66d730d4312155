//! Virtual patients with written-down truth (clinical reference, section 5), and what the service made of them.
//!
//! Goes in: a scenario and a seed. Comes out: homes that measure and answer, truth, and a judgement of findings against
//! it, beside naive thresholds over the same readings. It knows the contract's words for findings and nothing of how
//! they come about. Must never: depend on the rules; let a seed give two cohorts; judge kindly.

mod api;
pub mod bars;
mod draw;
pub mod drive;
pub mod evaluate;
mod home;
pub mod interval;
mod line;
mod meter;
pub mod panel;
mod person;
mod request;
pub mod score;
mod script;
mod seen;
mod table;
mod truth;

pub use home::{DayTruth, Home, Next, Upload};
pub use line::{Fact, Worth};
pub use person::{Group, Pace, Person, Sugar};
pub use request::Request;
pub use score::Tally;
pub use script::{Script, Span};
pub use seen::{Alert, SEEN_AGAIN, Seen, alerts};
pub use table::table;
pub use truth::Truth;
