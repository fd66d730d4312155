//! The evaluator's stories, properties and tables. One program: each file by itself would be linked with everything again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may break a test")]

mod awkward;
mod cards;
mod care;
mod catalogue;
mod flood;
mod force;
mod handover;
mod holds;
mod old_numbers;
mod order;
mod rehearsal;
mod scenarios;
mod silence;
mod stage;
mod statistics;
mod stories;
mod story;
mod trends;
mod worse;
