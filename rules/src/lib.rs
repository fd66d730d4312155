//! Rules: from readings in order of commitment to findings, by cards that a medical lead signs.
//!
//! Goes in: the journal's entries, patients with their plans, cards, moments. Comes out: findings, retractions, readings
//! that joined a finding, and requests to measure again; committed together with the position that they stand on.
//!
//! What is concluded is a function of (patient and plan, set of readings, moment, cards): the order in which readings come
//! in, repeats and batches decide nothing but how soon it is known. The state in memory is a cache of the store.
//!
//! Must never: page anybody, average across units, count a flagged reading (HI and LO excepted), print a value or a name.

mod acute;
mod adherence;
mod asks;
mod card;
mod cards;
mod care;
mod catalogue;
mod cause;
mod conclusion;
mod daily;
mod days;
mod engine;
mod error;
mod follow_up;
mod force;
mod handover;
mod judge;
mod kept_days;
mod late;
mod levels;
mod live;
mod mornings;
mod numbers;
mod pattern;
mod person;
mod point;
mod quality;
mod question;
mod regimen;
mod rehearsal;
mod schedule;
mod season;
mod silence;
mod stage;
pub mod statistics;
mod sums;
mod sustained;
mod track;
mod trend;
mod turn;
mod window;

#[cfg(test)]
mod kept_tests;

pub use card::{Card, Owner, Parameter, Predicate, Subject, Text, Unit};
pub use cards::Cards;
pub use catalogue::Rule;
pub use cause::{Cause, Link, Meter};
pub use engine::Engine;
pub use error::Error;
pub use force::{Checked, Content, Force};
pub use numbers::{Numbers, Origin};
pub use person::World;
pub use point::{Point, Value};
pub use rehearsal::{Bounds, Counts, Example, Judged, Rehearsal, Report, RuleRow, WeekRow, rehearse};
pub use stage::{Config, Handle, check, start};
pub use turn::Pace;
