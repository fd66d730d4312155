//! Devices that do not exist, and what judges the service through them.
//!
//! Goes in: scenarios, seeds, recorded readings, a broker's address. Comes out: MQTT traffic as any meter would
//! send it, and reports. An outsider: it knows the contract (topics and domain words, from `wire` and `vitals`) and
//! nothing of the service's inside; it has its own MQTT codec, its own encoder and its own outbox.
//! Must never: depend on a stage or on the store; lose a reading that has no PUBACK; print a secret.

pub mod codec;
pub mod cohort;
pub mod credentials;
pub mod dice;
pub mod disk;
pub mod history;
pub mod live;
pub mod load;
pub mod message;
pub mod meter;
pub mod outbox;
pub mod replay;

/// What can go wrong before or during a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A scenario, an argument or a file has something that cannot be meant.
    #[error("{0}")]
    Input(String),
    /// A file or a socket.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the file or address.
        what: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The broker answered CONNECT with a refusal.
    #[error("{device} was refused by the broker (code {code:#04x}): check the device's secret")]
    Refused {
        /// The device id.
        device: String,
        /// CONNACK return or reason code.
        code: u8,
    },
    /// The broker sent bytes that are no MQTT, or nothing at all.
    #[error("{device}: {what}")]
    Broken {
        /// The device id.
        device: String,
        /// What happened.
        what: &'static str,
    },
}

impl Error {
    /// Wraps a system error with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
