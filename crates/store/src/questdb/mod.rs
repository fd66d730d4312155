//! QuestDB as a projection of the journal: what analysts query, never what a reading rests on.
//!
//! One blocking thread pulls committed readings in journal order and sends them over ILP/HTTP into one deduplicated
//! table. The way of a row: [`Source`] (journal or series) -> [`sender::Lane`] -> table `reading` -> checked by counting.
//! Goes in: a [`Source`], a [`Config`], the data folder. Comes out: the table, [`ProjectorHealth`], answers to questions over many people.
//! Must never: acknowledge a reading, hold up a commit, believe that an acknowledgement of QuestDB is visibility, print
//! a value, a name or a password.

mod check;
mod config;
mod doctor;
mod fault;
mod follow;
mod health;
mod position;
mod projector;
mod row;
mod schema;
mod select;
pub mod sender;
mod source;
mod sql;
mod watch;

pub use config::Config;
pub use doctor::{Report, doctor};
pub use fault::Fault;
pub use follow::{follow, tell_stale};
pub use health::{ProjectorHealth, State};
pub use projector::{Handle, rebuild, start};
pub use row::Row;
pub use schema::{COLUMNS, TABLE};
pub(crate) use select::Select;
pub use source::{Page, Source};
