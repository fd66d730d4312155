//! One MQTT connection to the broker above, 3.1.1 or 5 alike. A new one is made for every connection, so that nothing of
//! an old one (a handle to acknowledge, an unsent packet) can be taken for the new one's.
//!
//! Goes in: acknowledgements, messages down. Comes out: events.
//! Must never: reconnect by itself, acknowledge by itself.

use super::{
    config::{Target, Upstream},
    tls,
};
use bytes::Bytes;
use rumqttc::{self as v4, v5};
use std::time::Duration;

/// Messages of ours that the broker may still have to acknowledge.
const OWN_IN_FLIGHT: u16 = 64;
/// From the first packet to CONNACK, TLS included.
const CONNECT_WITHIN: u64 = 10;
/// As much as MQTT can say: a message that only we find too long must not stand in the way of all behind it.
const LONGEST: u32 = 268_435_455;

/// Why there is no connection, for metrics, `/readyz` and one line of log; never what a packet held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) why: &'static str,
    /// The system's or the broker's words.
    pub(super) detail: String,
}

impl Lost {
    pub(super) fn new(why: &'static str, detail: impl std::fmt::Display) -> Self {
        Self { why, detail: detail.to_string() }
    }
}

/// What is to be acknowledged; worth something only on the link that it came from.
#[derive(Debug)]
pub(super) struct Handle(u16);

/// What happened.
pub(super) enum Event {
    /// The session stands; the broker takes packets of so many bytes.
    Connected { maximum_packet_size: usize },
    /// A message; at QoS 0 there is nothing to acknowledge.
    Message { topic: Bytes, payload: Bytes, handle: Option<Handle> },
    /// What was subscribed to is granted, or not.
    Subscribed { granted: bool },
    /// The next message of ours went out under this identifier.
    Sent(u16),
    /// The broker has it, or will not have it.
    Taken { pid: u16, well: bool },
    /// Nothing that concerns us.
    Other,
}

/// The half that says something.
pub(super) enum Sender {
    V4(v4::AsyncClient),
    V5(v5::AsyncClient),
}

/// The half that has to be polled for anything to happen.
pub(super) enum Poller {
    V4(Box<v4::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// What is left over there when the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// The session with its queue: the next connection goes on with it.
    Session,
    /// Nothing.
    Passing,
}

/// Makes a link; the first poll connects. `waiting`: how many acknowledgements may wait in it.
pub(super) fn link(config: &Upstream, target: &Target, waiting: usize, stay: Stay) -> Result<(Sender, Poller), Lost> {
    let passing = stay == Stay::Passing;
    let transport =
        if target.tls { v4::Transport::tls_with_config(tls::config(config)?) } else { v4::Transport::tcp() };
    let credentials = credentials(config)?;
    let keep_alive = Duration::from_secs(u64::from(config.keep_alive));
    let mut network = v4::NetworkOptions::new();
    network.set_connection_timeout(CONNECT_WITHIN).set_tcp_nodelay(true);
    let capacity = waiting + usize::from(OWN_IN_FLIGHT);
    if config.protocol == 4 {
        let mut options = v4::MqttOptions::new(&config.client_id, &target.host, target.port);
        options.set_transport(transport).set_keep_alive(keep_alive).set_clean_session(passing).set_manual_acks(true);
        options.set_inflight(OWN_IN_FLIGHT).set_max_packet_size(LONGEST as usize, LONGEST as usize);
        if let Some((user, password)) = credentials {
            options.set_credentials(user, password);
        }
        let (client, mut events) = v4::AsyncClient::new(options, capacity);
        events.set_network_options(network);
        return Ok((Sender::V4(client), Poller::V4(Box::new(events))));
    }
    let mut options = v5::MqttOptions::new(&config.client_id, &target.host, target.port);
    options.set_transport(transport).set_keep_alive(keep_alive).set_clean_start(passing).set_manual_acks(true);
    options
        .set_session_expiry_interval(Some(if passing { 0 } else { config.session_expiry }))
        .set_receive_maximum(Some(config.in_flight));
    options.set_max_packet_size(Some(LONGEST)).set_outgoing_inflight_upper_limit(OWN_IN_FLIGHT);
    options.set_connection_timeout(CONNECT_WITHIN).set_network_options(network);
    if let Some((user, password)) = credentials {
        options.set_credentials(user, password);
    }
    let (client, events) = v5::AsyncClient::new(options, capacity);
    Ok((Sender::V5(client), Poller::V5(Box::new(events))))
}

fn credentials(config: &Upstream) -> Result<Option<(String, String)>, Lost> {
    if config.username.is_empty() {
        return Ok(None);
    }
    let password = match &config.password_file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| Lost::new("password_file", format!("{}: {e}", path.display())))?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
    };
    Ok(Some((config.username.clone(), password)))
}

impl Sender {
    /// Asks for `filters`, at QoS 1. False when nothing more fits in now.
    pub(super) fn subscribe(&self, filters: &[&str]) -> bool {
        match self {
            Self::V4(client) => {
                let at = |f: &&str| v4::SubscribeFilter::new((*f).to_owned(), v4::QoS::AtLeastOnce);
                client.try_subscribe_many(filters.iter().map(at)).is_ok()
            }
            Self::V5(client) => {
                use v5::mqttbytes::{
                    QoS,
                    v5::{Filter, RetainForwardRule},
                };
                let at = |f: &&str| {
                    let mut filter = Filter::new(*f, QoS::AtLeastOnce);
                    // A retained reading is one that we have had, unless we are new here.
                    filter.retain_forward_rule = RetainForwardRule::OnNewSubscribe;
                    filter
                };
                client.try_subscribe_many(filters.iter().map(at)).is_ok()
            }
        }
    }

    /// Acknowledges. False when nothing more fits in now.
    pub(super) fn acknowledge(&self, Handle(pkid): &Handle) -> bool {
        match self {
            Self::V4(client) => {
                let mut publish = v4::Publish::from_bytes("", v4::QoS::AtLeastOnce, Bytes::new());
                publish.pkid = *pkid;
                client.try_ack(&publish).is_ok()
            }
            Self::V5(client) => {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                client.try_ack(&v5::mqttbytes::v5::Publish { pkid: *pkid, qos, ..Default::default() }).is_ok()
            }
        }
    }

    /// Publishes at QoS 1; `expiry` in seconds where the protocol can say it. False when nothing more fits in now.
    pub(super) fn publish(&self, topic: &str, payload: &Bytes, expiry: Option<u32>) -> bool {
        match self {
            Self::V4(client) => client.try_publish(topic, v4::QoS::AtLeastOnce, false, payload.to_vec()).is_ok(),
            Self::V5(client) => {
                let properties =
                    v5::mqttbytes::v5::PublishProperties { message_expiry_interval: expiry, ..Default::default() };
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                client.try_publish_with_properties(topic, qos, false, payload.clone(), properties).is_ok()
            }
        }
    }

    /// Says goodbye; the session over there stays.
    pub(super) fn disconnect(&self) {
        let _ = match self {
            Self::V4(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        };
    }
}

impl Poller {
    /// The next event. After an error this link is of no use any more.
    pub(super) async fn next(&mut self) -> Result<Event, Lost> {
        match self {
            Self::V4(events) => events.poll().await.map(of_v4).map_err(lost_v4),
            Self::V5(events) => events.poll().await.map(of_v5).map_err(lost_v5),
        }
    }
}

fn of_v4(event: v4::Event) -> Event {
    use v4::{Outgoing, Packet, SubscribeReasonCode};
    match event {
        v4::Event::Incoming(Packet::ConnAck(_)) => Event::Connected { maximum_packet_size: usize::MAX },
        v4::Event::Incoming(Packet::Publish(publish)) => {
            let handle = (publish.qos != v4::QoS::AtMostOnce).then_some(Handle(publish.pkid));
            Event::Message { topic: publish.topic.into(), payload: publish.payload, handle }
        }
        v4::Event::Incoming(Packet::SubAck(answer)) => {
            Event::Subscribed { granted: !answer.return_codes.contains(&SubscribeReasonCode::Failure) }
        }
        v4::Event::Incoming(Packet::PubAck(ack)) => Event::Taken { pid: ack.pkid, well: true },
        v4::Event::Outgoing(Outgoing::Publish(pid)) => Event::Sent(pid),
        _ => Event::Other,
    }
}

fn of_v5(event: v5::Event) -> Event {
    use v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
    match event {
        v5::Event::Incoming(Packet::ConnAck(answer)) => {
            let asked = answer.properties.and_then(|p| p.max_packet_size).and_then(|n| usize::try_from(n).ok());
            Event::Connected { maximum_packet_size: asked.unwrap_or(usize::MAX) }
        }
        v5::Event::Incoming(Packet::Publish(publish)) => {
            let handle = (publish.qos != v5::mqttbytes::QoS::AtMostOnce).then_some(Handle(publish.pkid));
            Event::Message { topic: publish.topic, payload: publish.payload, handle }
        }
        v5::Event::Incoming(Packet::SubAck(answer)) => {
            let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
            Event::Subscribed { granted: answer.return_codes.iter().all(granted) }
        }
        v5::Event::Incoming(Packet::PubAck(ack)) => {
            let well = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            Event::Taken { pid: ack.pkid, well }
        }
        v5::Event::Outgoing(v4::Outgoing::Publish(pid)) => Event::Sent(pid),
        _ => Event::Other,
    }
}

/// TLS 1.3 tells a client after its handshake that its certificate is missing, or not trusted.
fn io(why: &'static str, e: &std::io::Error) -> Lost {
    let of_tls = e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    Lost::new(if of_tls { "tls" } else { why }, e)
}

fn lost_v4(e: v4::ConnectionError) -> Lost {
    use v4::{ConnectionError as E, StateError as S};
    match e {
        E::ConnectionRefused(code) => Lost::new("refused", format!("{code:?}")),
        E::Io(e) => io("unreachable", &e),
        E::Tls(e) => Lost::new("tls", e),
        E::NetworkTimeout | E::FlushTimeout => Lost::new("timeout", ""),
        // What the socket said comes as a packet that could not be read, too.
        E::MqttState(S::Io(e) | S::Deserialization(v4::mqttbytes::Error::Io(e))) => io("closed", &e),
        E::MqttState(S::Deserialization(e)) => Lost::new("unreadable_packet", e),
        E::MqttState(S::ConnectionAborted) => Lost::new("closed", ""),
        E::MqttState(S::AwaitPingResp) => Lost::new("silent", ""),
        _ => Lost::new("protocol", ""),
    }
}

fn lost_v5(e: v5::ConnectionError) -> Lost {
    use v5::{ConnectionError as E, StateError as S};
    match e {
        E::ConnectionRefused(code) => Lost::new("refused", format!("{code:?}")),
        E::Io(e) => io("unreachable", &e),
        E::Tls(e) => Lost::new("tls", e),
        E::Timeout(_) => Lost::new("timeout", ""),
        E::MqttState(S::Io(e) | S::Deserialization(v5::mqttbytes::Error::Io(e))) => io("closed", &e),
        E::MqttState(S::Deserialization(e)) => Lost::new("unreadable_packet", e),
        E::MqttState(S::ConnectionAborted) => Lost::new("closed", ""),
        E::MqttState(S::AwaitPingResp) => Lost::new("silent", ""),
        E::MqttState(S::ServerDisconnect { reason_code, .. }) => Lost::new("sent_away", format!("{reason_code:?}")),
        _ => Lost::new("protocol", ""),
    }
}
