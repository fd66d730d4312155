//! The alerts stage: from findings to people who acknowledge.
//!
//! Goes in: findings in the order of the store, the clock, what people do. Comes out: episodes with their timelines, and
//! messages through the outbox, at least once each under a stable key.
//! Must never: judge a reading, forget an un-acknowledged critical, put a name or a value where it does not belong.
//!
//! `book` decides (pure), `desk` knows who is called and `cover` where nobody is, `message` how it looks, `stage` stores it whole,
//! `vigil` tells of empty steps, `dispatch` sends.

mod book;
mod channel;
mod config;
mod cover;
mod desk;
mod dispatch;
mod error;
mod handle;
mod hours;
mod in_range;
mod link;
mod message;
mod stage;
mod vigil;
mod work;

pub use config::{Channel, Config, Detail, Kind, Secret};
pub use error::Error;
pub use handle::{Handle, start};
pub use hours::Hours;
