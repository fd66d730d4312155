//! One try at the broker above, for `hearthbeat doctor`: address, TLS, login, and whether we may read what we need.
//!
//! Goes in: the configuration. Comes out: that all is well, or a word and what to do about it.
//! Must never: touch the running service's session (another client id, nothing kept), acknowledge a message.

use super::{
    carrier::FILTERS,
    config::Upstream,
    link::{self, Event, Lost, Stay},
};
use std::time::Duration;
use tokio::time::timeout;

/// From the first packet to the granted subscription.
const WITHIN: Duration = Duration::from_secs(15);
/// Messages that may come before the subscription's answer: a session that is new has retained ones at most.
const WAITING: usize = 16;

/// Why readings cannot be taken from the broker above.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}: {detail}. {}", remedy(.why))]
pub struct Unreached {
    /// The word that `/readyz` says.
    pub why: &'static str,
    /// The system's or the broker's words.
    pub detail: String,
}

/// What to do about a word of `/readyz`.
const fn remedy(why: &str) -> &'static str {
    match why.as_bytes() {
        b"unreachable" | b"timeout" => "Is the host right, does it listen there, does a firewall let us through?",
        b"refused" => "Check username, password_file, and that broker's rules for our client_id",
        b"tls" => {
            "ca_file must hold the authority of that broker's certificate, the certificate our url's host; it may want \
             one of ours (cert_file, key_file)"
        }
        b"password_file" => "Give a readable file as [broker.upstream] password_file",
        b"subscription_refused" => "Let our user read hb/v1/devices/# and hb/v1/gateways/# over there",
        _ => "Its own log may say more",
    }
}

/// Connects, asks for everything that the service would ask for, and leaves. `Ok`: all of it is granted.
///
/// # Errors
/// [`Unreached`].
pub async fn probe(config: &Upstream) -> Result<(), Unreached> {
    let passing = Upstream { client_id: format!("{:.57}-doctor", config.client_id), ..config.clone() };
    match timeout(WITHIN, visit(&passing)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Lost { why, detail })) => Err(Unreached { why, detail }),
        Err(_) => Err(Unreached { why: "timeout", detail: "no answer to our subscription".into() }),
    }
}

async fn visit(config: &Upstream) -> Result<(), Lost> {
    let target = config.target().ok_or_else(|| Lost::new("unreachable", "upstream.url is no address"))?;
    let (sender, mut poller) = link::link(config, &target, WAITING, Stay::Passing)?;
    loop {
        match poller.next().await? {
            Event::Connected { .. } if !sender.subscribe(&FILTERS) => {
                return Err(Lost::new("protocol", "cannot subscribe"));
            }
            Event::Subscribed { granted: false } => {
                return Err(Lost::new("subscription_refused", "the connection itself is well"));
            }
            Event::Subscribed { granted: true } => break,
            _ => {}
        }
    }
    sender.disconnect();
    // The goodbye goes out with the next poll; whatever comes of it, we have seen enough.
    let _ = timeout(Duration::from_secs(1), poller.next()).await;
    Ok(())
}
