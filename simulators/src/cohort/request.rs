//! What a meter is asked, as the virtual patient hears it.
//!
//! Goes in: a command's body (contract: device protocol). Comes out: a request to measure again; none for anything else.

use serde::Deserialize;
use std::time::Duration;
use vitals::{Kind, Timestamp};

/// A request to measure again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Pressure or glucose.
    pub kind: Kind,
    /// How often.
    pub times: u32,
    /// How long after it is heard.
    pub after: Duration,
    /// When it is made once more, if nobody answers.
    pub once_more: Option<Timestamp>,
    /// It is the one that is made once more.
    pub repeats: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Command {
    #[serde(rename = "type")]
    what: String,
    kind: Option<Kind>,
    times: Option<u32>,
    after_seconds: Option<u64>,
    repeat_at: Option<String>,
    repeat_of: Option<String>,
}

impl Request {
    /// From a command's body; none where it asks for something else.
    pub fn of(body: &[u8]) -> Option<Self> {
        let command: Command = serde_json::from_slice(body).ok().filter(|c: &Command| c.what == "remeasure")?;
        Some(Self {
            kind: command.kind?,
            times: command.times.unwrap_or(1),
            after: Duration::from_secs(command.after_seconds.unwrap_or(60)),
            once_more: command.repeat_at.and_then(|at| Timestamp::parse_rfc3339(&at).ok()),
            repeats: command.repeat_of.is_some(),
        })
    }
}
