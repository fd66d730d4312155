//! Channels: how bytes leave the house, and what the other side said.
//!
//! Goes in: a stable key and a body. Comes out: a [`Verdict`]. Must never: print a body, an address or a secret; retry.

use crate::config::{Config, Kind};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{StatusCode, Url, header::RETRY_AFTER};
use runtime::Clock;
use serde_json::Value;
use sha2::Sha256;
use std::{collections::HashMap, time::Duration};
use store::Outgoing;

/// What became of one attempt. The text is the provider's word, without any part of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Taken.
    Accepted(String),
    /// Not now; not before this much time has passed, where the provider says so.
    Temporary(String, Option<Duration>),
    /// This address is gone.
    Gone(String),
    /// The configuration no longer knows the channel.
    NoChannel,
}

#[derive(Debug)]
enum Channel {
    Log,
    Webhook { client: reqwest::Client, url: Url, key: Vec<u8> },
}

/// Every configured channel, ready to send.
#[derive(Debug)]
pub(crate) struct Channels(HashMap<String, Channel>);

impl Channels {
    /// # Errors
    /// A fault of the configuration, or that the TLS library cannot start.
    pub(crate) fn open(config: &Config) -> Result<Self, String> {
        let mut shared: Option<reqwest::Client> = None;
        let mut all = HashMap::new();
        for (name, channel) in &config.channels {
            let ready = match channel.kind {
                Kind::Log => Channel::Log,
                Kind::Webhook => {
                    let client = match &shared {
                        Some(client) => client.clone(),
                        None => shared.insert(client(config.send_timeout_seconds)?).clone(),
                    };
                    let url = Url::parse(&channel.url).map_err(|e| format!("channels.{name}.url: {e}"))?;
                    let key = channel.key().map_err(|e| format!("channels.{name}.{e}"))?;
                    Channel::Webhook { client, url, key }
                }
            };
            all.insert(name.clone(), ready);
        }
        Ok(Self(all))
    }

    /// One attempt.
    pub(crate) async fn send(&self, message: &Outgoing) -> Verdict {
        match self.0.get(&message.delivery.channel) {
            None => Verdict::NoChannel,
            Some(Channel::Log) => {
                log(message);
                Verdict::Accepted("logged".into())
            }
            Some(Channel::Webhook { client, url, key }) => post(client, url, key, message).await,
        }
    }
}

fn client(timeout_seconds: u32) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(u64::from(timeout_seconds)))
        // A redirect would carry the body to a place that nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|_| "the HTTP client cannot start".to_owned())
}

fn log(message: &Outgoing) {
    let body: Value = serde_json::from_str(&message.body).unwrap_or_default();
    let word = |name: &str| body["data"][name].as_str().unwrap_or("-").to_owned();
    tracing::info!(
        delivery = %message.delivery.id, kind = %message.delivery.kind,
        concept = word("concept"), severity = word("severity"), "message"
    );
}

/// Standard Webhooks: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
pub(crate) fn signature(key: &[u8], id: &str, stamp: &str, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(stamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

async fn post(client: &reqwest::Client, url: &Url, key: &[u8], message: &Outgoing) -> Verdict {
    let id = &message.delivery.id;
    // Receivers compare it with their own clock: real time, whatever clock the service runs on.
    let stamp = Clock::wall().as_micros().div_euclid(1_000_000).to_string();
    let signed = signature(key, id, &stamp, message.body.as_bytes());
    let request = client
        .post(url.clone())
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", &stamp)
        .header("webhook-signature", signed)
        .body(message.body.clone());
    match request.send().await {
        Ok(answer) => {
            let status = answer.status();
            let wait = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
            let word = format!("HTTP {}", status.as_u16());
            match status {
                s if s.is_success() => Verdict::Accepted(word),
                StatusCode::GONE => Verdict::Gone(word),
                _ => Verdict::Temporary(word, wait.map(Duration::from_secs)),
            }
        }
        Err(e) if e.is_timeout() => Verdict::Temporary("no answer in time".into(), None),
        Err(e) if e.is_connect() => Verdict::Temporary("cannot connect".into(), None),
        Err(_) => Verdict::Temporary("the connection broke".into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_specifications() {
        // The example of the Standard Webhooks specification.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
