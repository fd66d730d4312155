//! `[broker]` of the configuration.

use crate::upstream::Upstream;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Where the gate listens, and how much a stranger may ask of it. Times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Plain MQTT, `address:port`; `""` is off, port 0 takes a free one.
    pub mqtt: String,
    /// MQTT over TLS.
    pub mqtts: String,
    /// MQTT over WebSocket, path `/mqtt`.
    pub ws: String,
    /// MQTT over WebSocket over TLS.
    pub wss: String,
    /// Certificates of the TLS listeners.
    pub tls: Tls,
    /// Bounds.
    pub limits: Limits,
    /// An existing broker to take readings from.
    pub upstream: Upstream,
    /// A publish that is not durable after so long ends its connection without PUBACK. 1..=300, default 10.
    pub ack_timeout: u64,
    /// From the first byte of TCP to CONNECT, handshakes included. 1..=60, default 10.
    pub connect_timeout: u64,
    /// A client that takes none of the bytes meant for it for so long is closed. 1..=300, default 20.
    pub write_timeout: u64,
    /// For clients that ask for keep alive 0. 1..=65535, default 300.
    pub keep_alive: u16,
    /// Longest time that a session outlives its connection. Default 7 days.
    pub session_expiry: u32,
}

/// Files in PEM; read at start and at reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The server's certificate chain.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
    /// Authorities whose client certificates stand for a password.
    pub client_ca_file: Option<PathBuf>,
    /// So do, on `mqtts`, certificates of the installation's own device CA. Default true.
    pub device_ca: bool,
    /// Days for which the device CA signs. 1..=3650, default 730.
    pub certificate_days: u32,
    /// Where that CA's certificates are; no key of the configuration, `app` knows the folder.
    #[serde(skip)]
    pub device_ca_file: Option<PathBuf>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            client_ca_file: None,
            device_ca: true,
            certificate_days: 730,
            device_ca_file: None,
        }
    }
}

/// Bounds; each keeps one client from being felt by the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at a time, those in handshake included; more are closed at once. Default 20,000.
    pub connections: usize,
    /// Of these, connections that are not logged in yet; when there are more, the address with the most of them loses
    /// one. Default 10,000.
    pub handshakes: usize,
    /// Plain connections taken in a second, and at once; more wait, and addresses take turns. 0 = off. Default 10,000.
    pub connect_rate: u32,
    /// The same over TLS, where a handshake costs a processor most of a millisecond. Default 2,000.
    pub tls_connect_rate: u32,
    /// Logins a second of one device; more wait. 0 = off. Default 5.
    pub return_rate: u32,
    /// Logins above that rate that are taken at once. Default 50.
    pub return_burst: u32,
    /// Longest packet in bytes, header included. 1,024..=1,048,576, default 65,536.
    pub packet_size: usize,
    /// Publishes of one connection that may be under way; beyond that it is read more slowly. 64..=1,024, default 256.
    pub in_flight: u16,
    /// Messages a second of one device, 0 = off; beyond that it is read more slowly. Default 0.
    pub device_rate: u32,
    /// Messages above the rate that are taken at once. Default 100.
    pub device_burst: u32,
    /// Messages for a device that it has not acknowledged yet; beyond that new receipts are left out. Default 1,024.
    pub down_queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mqtt: "127.0.0.1:1883".into(),
            mqtts: String::new(),
            ws: String::new(),
            wss: String::new(),
            tls: Tls::default(),
            limits: Limits::default(),
            upstream: Upstream::default(),
            ack_timeout: 10,
            connect_timeout: 10,
            write_timeout: 20,
            keep_alive: 300,
            session_expiry: 7 * 24 * 3600,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            handshakes: 10_000,
            connect_rate: 10_000,
            tls_connect_rate: 2_000,
            return_rate: 5,
            return_burst: 50,
            packet_size: 65_536,
            in_flight: 256,
            device_rate: 0,
            device_burst: 100,
            down_queue: 1024,
        }
    }
}

/// A value that no gate can work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broker.{key}: {reason}")]
pub struct ConfigError {
    /// Below `broker`.
    pub key: &'static str,
    /// What to write instead.
    pub reason: String,
}

impl Config {
    /// Every fault of the values themselves; files and ports are tried by [`crate::start`].
    pub fn faults(&self) -> Vec<ConfigError> {
        let mut faults = Vec::new();
        let mut within = |key, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                faults.push(ConfigError { key, reason: format!("{value} is not within {low} to {high}") });
            }
        };
        within("ack_timeout", self.ack_timeout, 1, 300);
        within("connect_timeout", self.connect_timeout, 1, 60);
        within("write_timeout", self.write_timeout, 1, 300);
        within("keep_alive", u64::from(self.keep_alive), 1, 65_535);
        within("limits.connections", self.limits.connections as u64, 1, 1_000_000);
        within("limits.handshakes", self.limits.handshakes as u64, 16, 1_000_000);
        if self.limits.return_rate > 0 {
            within("limits.return_burst", u64::from(self.limits.return_burst), 1, 1_000_000);
        }
        within("limits.packet_size", self.limits.packet_size as u64, 1024, 1_048_576);
        within("limits.in_flight", u64::from(self.limits.in_flight), 64, 1024);
        within("tls.certificate_days", u64::from(self.tls.certificate_days), 1, 3650);
        within("limits.down_queue", self.limits.down_queue as u64, 16, 65_000);
        if self.limits.device_rate > 0 {
            within("limits.device_burst", u64::from(self.limits.device_burst), 1, 1_000_000);
        }
        for (key, address) in [("mqtt", &self.mqtt), ("mqtts", &self.mqtts), ("ws", &self.ws), ("wss", &self.wss)] {
            if !address.is_empty() && !address.contains(':') {
                let reason = format!("{address:?} is not ADDRESS:PORT, such as 127.0.0.1:1883; \"\" is off");
                faults.push(ConfigError { key, reason });
            }
        }
        let secure = !self.mqtts.is_empty() || !self.wss.is_empty();
        if secure && (self.tls.cert_file.is_none() || self.tls.key_file.is_none()) {
            let reason = "mqtts and wss need cert_file and key_file".to_owned();
            faults.push(ConfigError { key: "tls", reason });
        }
        faults.extend(self.upstream.faults(self.ack_timeout));
        faults
    }

    pub(crate) const fn ack_timeout(&self) -> Duration {
        Duration::from_secs(self.ack_timeout)
    }

    pub(crate) const fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout)
    }

    pub(crate) const fn write_timeout(&self) -> Duration {
        Duration::from_secs(self.write_timeout)
    }
}
