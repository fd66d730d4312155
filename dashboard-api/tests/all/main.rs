//! The API over HTTP, on a real store. One program: each file by itself would be linked with everything again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may break a test")]

mod acts;
mod common;
mod edge;
mod gone;
mod live;
mod login;
mod manners;
mod readings;
mod reports;
mod rules;
mod scope;
