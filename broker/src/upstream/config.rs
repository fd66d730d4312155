//! `[broker.upstream]` of the configuration.

use crate::config::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// An existing broker from which readings are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `mqtt://HOST:PORT` or `mqtts://HOST:PORT`; `""` is off.
    pub url: String,
    /// 5, or 4 for a broker that speaks 3.1.1 only.
    pub protocol: u8,
    /// Names the persistent session over there; two installations on one broker need two names. 1..=64 characters.
    pub client_id: String,
    /// `""`: none.
    pub username: String,
    /// The password, read at every connection.
    pub password_file: Option<PathBuf>,
    /// Authorities that may have signed the broker's certificate, in PEM; needed with `mqtts`.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain, where the broker wants one.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Seconds between signs of life; never shorter than `ack_timeout`. 5..=3600, default 30.
    pub keep_alive: u16,
    /// Seconds for which the broker keeps our session and its queue while we are away (MQTT 5). Default 7 days.
    pub session_expiry: u32,
    /// Messages taken and not yet acknowledged; beyond that nothing is read. 1..=4096, default 256.
    pub in_flight: u16,
    /// Longest pause between two attempts, in seconds; the first is half a second. 1..=600, default 30.
    pub retry_max: u64,
    /// Seconds without a connection until `/readyz` says so. 1..=3600, default 30.
    pub alarm_after: u64,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: String::new(),
            protocol: 5,
            client_id: "hearthbeat".into(),
            username: String::new(),
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            keep_alive: 30,
            session_expiry: 7 * 24 * 3600,
            in_flight: 256,
            retry_max: 30,
            alarm_after: 30,
        }
    }
}

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Upstream {
    /// Whether readings are taken from another broker.
    pub const fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// The parts of `url`; none when it cannot be one.
    pub(crate) fn target(&self) -> Option<Target> {
        let (scheme, rest) = self.url.split_once("://")?;
        let (tls, usual) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return None,
        };
        let bracketed = rest.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match rest[bracketed..].rfind(':') {
            Some(at) => (&rest[..bracketed + at], rest[bracketed + at + 1..].parse().ok()?),
            None => (rest, usual),
        };
        let plain = !host.is_empty() && !host.contains(['/', '@', '?', ' ']);
        plain.then(|| Target { tls, host: host.to_owned(), port })
    }

    /// Every fault of the values themselves.
    pub(crate) fn faults(&self, ack_timeout: u64) -> Vec<ConfigError> {
        if !self.is_on() {
            return Vec::new();
        }
        let mut faults = Vec::new();
        let mut fault = |key, reason: String| faults.push(ConfigError { key, reason });
        match self.target() {
            None => fault(
                "upstream.url",
                "write mqtt://HOST:PORT or mqtts://HOST:PORT, without a user name in it; \"\" is off".into(),
            ),
            Some(target) if target.tls && self.ca_file.is_none() => {
                fault("upstream.ca_file", "mqtts needs the authority that signed the broker's certificate".into());
            }
            Some(_) => {}
        }
        if !matches!(self.protocol, 4 | 5) {
            fault("upstream.protocol", format!("{} is neither 5 nor 4 (MQTT 3.1.1)", self.protocol));
        }
        let name = &self.client_id;
        if name.is_empty() || name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            fault("upstream.client_id", "1 to 64 of A-Z a-z 0-9 . _ -".into());
        }
        if self.password_file.is_some() && self.username.is_empty() {
            fault("upstream.username", "a password needs a user name".into());
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            fault("upstream.key_file", "cert_file and key_file go together".into());
        }
        let mut within = |key, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                fault(key, format!("{value} is not within {low} to {high}"));
            }
        };
        // While commits are waited for nothing is read or sent: the broker must not take that for our death.
        within("upstream.keep_alive", u64::from(self.keep_alive), ack_timeout.max(5), 3600);
        within("upstream.in_flight", u64::from(self.in_flight), 1, 4096);
        within("upstream.retry_max", self.retry_max, 1, 600);
        within("upstream.alarm_after", self.alarm_after, 1, 3600);
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Upstream {
        Upstream { url: url.into(), ca_file: Some("ca.pem".into()), ..Upstream::default() }
    }

    #[test]
    fn an_address_is_taken_apart_or_refused() {
        let target = |url: &str| at(url).target().map(|t| (t.tls, t.host, t.port));
        assert_eq!(target("mqtt://broker.example"), Some((false, "broker.example".into(), 1883)));
        assert_eq!(target("mqtts://10.0.0.7:18883"), Some((true, "10.0.0.7".into(), 18883)));
        assert_eq!(target("mqtt://[::1]:1884"), Some((false, "[::1]".into(), 1884)));
        for wrong in
            ["broker:1883", "http://broker", "mqtt://", "mqtt://u:p@broker", "mqtt://broker:port", "mqtt://a/b"]
        {
            assert_eq!(target(wrong), None, "{wrong}");
            assert_eq!(at(wrong).faults(10)[0].key, "upstream.url");
        }
    }

    #[test]
    fn every_fault_names_its_key_and_nothing_is_asked_while_it_is_off() {
        assert!(Upstream { protocol: 9, ..Upstream::default() }.faults(10).is_empty());
        let faulty = [
            (Upstream { ca_file: None, ..at("mqtts://b") }, "upstream.ca_file"),
            (Upstream { protocol: 3, ..at("mqtt://b") }, "upstream.protocol"),
            (Upstream { client_id: "a b".into(), ..at("mqtt://b") }, "upstream.client_id"),
            (Upstream { password_file: Some("p".into()), ..at("mqtt://b") }, "upstream.username"),
            (Upstream { cert_file: Some("c".into()), ..at("mqtt://b") }, "upstream.key_file"),
            (Upstream { keep_alive: 9, ..at("mqtt://b") }, "upstream.keep_alive"),
            (Upstream { in_flight: 0, ..at("mqtt://b") }, "upstream.in_flight"),
        ];
        for (config, key) in faulty {
            let keys: Vec<&str> = config.faults(10).iter().map(|f| f.key).collect();
            assert_eq!(keys, [key]);
        }
        assert!(at("mqtts://b").faults(10).is_empty());
    }
}
