//! One connection to the broker above, from CONNACK to its end: messages are committed in the order in which they came,
//! and acknowledged in that order, each only after its commit.
//!
//! Goes in: messages of that broker, commands of the store. Comes out: uplinks for the sink, acknowledgements, receipts.
//! Must never: acknowledge what is not durable, drop what came at QoS 1, let one message hold up those behind it for ever.

use super::{
    Shared,
    commands::Order,
    link::{Event, Handle, Lost, Poller, Sender},
};
use crate::{Accepted, Stranger, Unavailable, Uplink, meters, subscriptions};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesOrdered};
use runtime::BoxFuture;
use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use vitals::DeviceId;
use wire::topic::{self, Down, Tree};

/// What is taken: every device's and gateway's way up, each once.
pub(super) const FILTERS: [&str; 9] = [
    "hb/v1/devices/+/readings",
    "hb/v1/devices/+/gatt/+",
    "hb/v1/devices/+/fhir",
    "hb/v1/devices/+/vendor/+",
    "hb/v1/devices/+/hello",
    "hb/v1/devices/+/status",
    "hb/v1/gateways/+/readings",
    "hb/v1/gateways/+/hello",
    "hb/v1/gateways/+/status",
];

/// Bytes taken and not yet committed. Full: nothing is read until the first of them is through.
const IN_FLIGHT_BYTES: usize = 16 << 20;
/// At the end of the process what is under way has so long.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Who said something, and how to answer.
struct Origin {
    handle: Option<Handle>,
    /// Where the receipt goes; a stranger gets none.
    sender: Option<(Tree, DeviceId)>,
    bytes: usize,
    since: Instant,
}

/// Something to be handed to the link, in this order.
enum Outgoing {
    Acknowledge(Handle),
    Publish { topic: String, payload: Bytes, expiry: Option<u32>, command: Option<String> },
}

type Commit = BoxFuture<'static, Result<Accepted, Unavailable>>;

/// The state of one connection.
pub(super) struct Carrier<'a> {
    shared: &'a Shared,
    sender: Sender,
    commits: FuturesOrdered<Commit>,
    /// Of each commit, in the same order.
    origins: VecDeque<Origin>,
    bytes: usize,
    outgoing: VecDeque<Outgoing>,
    /// Publishes handed over and not yet written: the command that each is, if it is one.
    handed: VecDeque<Option<String>>,
    /// Written and not yet taken, by packet identifier.
    unconfirmed: HashMap<u16, (Option<String>, Instant)>,
    maximum_packet_size: usize,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(shared: &'a Shared, sender: Sender) -> Self {
        Self {
            shared,
            sender,
            commits: FuturesOrdered::new(),
            origins: VecDeque::new(),
            bytes: 0,
            outgoing: VecDeque::new(),
            handed: VecDeque::new(),
            unconfirmed: HashMap::new(),
            maximum_packet_size: usize::MAX,
        }
    }

    /// Carries until the connection is lost, or (then it returns) the process ends: what is under way is then committed
    /// and acknowledged first, and nothing more is taken.
    pub(super) async fn carry(&mut self, poller: &mut Poller, orders: &mut mpsc::Receiver<Order>) -> Result<(), Lost> {
        let drain = self.shared.drain.clone();
        let mut stopping = pin!(drain.stopping());
        let mut next = Box::pin(poller.next());
        let mut end = None;
        let mut said_goodbye = false;
        loop {
            self.hand_over();
            if end.is_some() && !said_goodbye && self.commits.is_empty() && self.outgoing.is_empty() {
                self.sender.disconnect();
                said_goodbye = true;
            }
            let (full, due) = (self.is_full(), self.due().into_iter().chain(end).min());
            // The link's future is kept until it is ready: dropped half-way it could lose what it was about to write.
            tokio::select! {
                biased;
                () = &mut stopping, if end.is_none() => end = Some(Instant::now() + STOP_WITHIN),
                Some(result) = self.commits.next(), if !self.commits.is_empty() => self.committed(result)?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return self.late(),
                event = &mut next, if !full => {
                    let event = match event {
                        Err(_) if end.is_some() => return Ok(()),
                        event => event?,
                    };
                    drop(next);
                    if end.is_none() || !matches!(event, Event::Message { .. }) {
                        self.take(event)?;
                    }
                    next = Box::pin(poller.next());
                }
                Some(order) = orders.recv(), if self.outgoing.is_empty() && end.is_none() => self.order(order),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.origins.len() >= self.shared.in_flight || self.bytes >= IN_FLIGHT_BYTES
    }

    /// When the first commit, or the oldest message of ours, has taken too long.
    fn due(&self) -> Option<Instant> {
        let commit = self.origins.front().map(|o| o.since + self.shared.ack_timeout);
        let down = self.unconfirmed.values().map(|(_, at)| *at + self.shared.confirm_timeout).min();
        commit.into_iter().chain(down).min()
    }

    /// Something took too long; the end of the process is no fault.
    fn late(&self) -> Result<(), Lost> {
        if self.shared.drain.is_stopping() {
            return Ok(());
        }
        let commit = self.origins.front().is_some_and(|o| o.since + self.shared.ack_timeout <= Instant::now());
        Err(Lost::new(if commit { "not_durable" } else { "unconfirmed" }, ""))
    }

    fn take(&mut self, event: Event) -> Result<(), Lost> {
        match event {
            Event::Connected { maximum_packet_size } => {
                self.maximum_packet_size = maximum_packet_size;
                if !self.sender.subscribe(&FILTERS) {
                    return Err(Lost::new("protocol", "cannot subscribe"));
                }
            }
            Event::Subscribed { granted: false } => {
                return Err(Lost::new(
                    "subscription_refused",
                    "let our user read hb/v1/devices/# and hb/v1/gateways/#",
                ));
            }
            Event::Subscribed { granted: true } => self.shared.health.up(),
            Event::Message { topic, payload, handle } => self.message(&topic, payload, handle),
            Event::Sent(pid) => {
                if let Some(command) = self.handed.pop_front() {
                    self.unconfirmed.insert(pid, (command, Instant::now()));
                }
            }
            Event::Taken { pid, well } => self.confirmed(pid, well),
            Event::Other => {}
        }
        Ok(())
    }

    fn message(&mut self, topic: &Bytes, mut payload: Bytes, handle: Option<Handle>) {
        self.shared.meters.received.increment(1);
        let bytes = topic.len() + payload.len();
        // Our own edge takes no longer ones. What is cut off here cannot be read, and is held as that.
        payload.truncate(self.shared.gate.config.limits.packet_size);
        let (sender, commit) = match self.known(topic) {
            Some(uplink) => {
                let sender = (uplink.tree, uplink.device.id.clone());
                self.shared.heard.note(uplink.device.key);
                (Some(sender), self.shared.gate.commit(Uplink { payload, ..uplink }))
            }
            None => {
                self.shared.meters.strangers.increment(1);
                let stranger = Stranger {
                    through: self.shared.through.clone(),
                    topic: String::from_utf8_lossy(topic).into_owned(),
                    payload,
                };
                (None, self.shared.gate.hold(stranger))
            }
        };
        self.commits.push_back(commit);
        self.origins.push_back(Origin { handle, sender, bytes, since: Instant::now() });
        self.bytes += bytes;
        self.shared.meters.in_flight.set(self.origins.len() as f64);
    }

    /// The device that the topic names, if it may say this. The broker above has checked that it is who it says.
    fn known(&self, topic: &[u8]) -> Option<Uplink> {
        let (tree, id, route) = topic::parse_any_up(std::str::from_utf8(topic).ok()?)?;
        let device = self.shared.gate.store.directory().device(id.as_str())?;
        let may = !device.revoked && subscriptions::tree(&device.kind) == Some(tree);
        may.then(|| Uplink { device, tree, route, payload: Bytes::new(), wants_receipt: true, will: false })
    }

    fn committed(&mut self, result: Result<Accepted, Unavailable>) -> Result<(), Lost> {
        let Some(origin) = self.origins.pop_front() else { return Ok(()) };
        self.bytes -= origin.bytes;
        self.shared.meters.in_flight.set(self.origins.len() as f64);
        let accepted = match (result, &origin.handle) {
            (Ok(accepted), _) => accepted,
            // Only a new connection brings it again.
            (Err(Unavailable), Some(_)) => return Err(Lost::new("not_durable", "")),
            (Err(Unavailable), None) => {
                meters::left_out("qos_0_not_durable");
                return Ok(());
            }
        };
        self.shared.meters.acknowledged.increment(1);
        self.shared.health.moved(Instant::now());
        // The receipt first: when we die between the two, the message comes again and is answered again.
        if let (Some((tree, id)), Some(payload)) = (&origin.sender, accepted.receipt) {
            let topic = topic::down(*tree, id, Down::Receipts);
            self.down(Outgoing::Publish { topic, payload, expiry: None, command: None });
        }
        self.outgoing.extend(origin.handle.map(Outgoing::Acknowledge));
        Ok(())
    }

    fn order(&mut self, order: Order) {
        let topic = topic::down(order.tree, &order.id, Down::Commands);
        let payload = Bytes::from(order.body);
        self.down(Outgoing::Publish { topic, payload, expiry: Some(order.expiry), command: Some(order.command) });
    }

    /// A message down, unless the broker says that it takes none of that length.
    fn down(&mut self, message: Outgoing) {
        let Outgoing::Publish { topic, payload, .. } = &message else { return };
        if topic.len() + payload.len() + 32 > self.maximum_packet_size {
            return meters::left_out("client_packet_size");
        }
        self.outgoing.push_back(message);
    }

    /// Gives to the link what it has room for.
    fn hand_over(&mut self) {
        while let Some(first) = self.outgoing.front_mut() {
            let went = match first {
                Outgoing::Acknowledge(handle) => self.sender.acknowledge(handle),
                Outgoing::Publish { topic, payload, expiry, command } => {
                    let went = self.sender.publish(topic, payload, *expiry);
                    if went {
                        self.handed.push_back(command.take());
                    }
                    went
                }
            };
            if !went {
                return;
            }
            self.outgoing.pop_front();
        }
    }

    /// The broker has a message of ours; a command is its business from now on.
    fn confirmed(&mut self, pid: u16, well: bool) {
        let Some((command, _)) = self.unconfirmed.remove(&pid) else { return };
        if !well {
            return meters::left_out("upstream_refused");
        }
        self.shared.meters.down.increment(1);
        let Some(command) = command else { return };
        let store = self.shared.gate.store.clone();
        tokio::spawn(async move {
            if let Err(e) = store.command_done(&command).await {
                tracing::warn!(error = %e, "a command that went up will be sent again");
            }
        });
    }
}

impl Drop for Carrier<'_> {
    fn drop(&mut self) {
        self.shared.meters.in_flight.set(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::topic::{Characteristic, Up, up};

    /// Whether an MQTT filter takes a topic.
    fn takes(filter: &str, topic: &str) -> bool {
        let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        filter.len() == topic.len() && filter.iter().zip(topic).all(|(f, t)| *f == "+" || *f == t)
    }

    #[test]
    fn every_way_up_is_subscribed_to_exactly_once() {
        let own: DeviceId = "d-1".parse().unwrap();
        let gatt = Up::Gatt(Characteristic::BloodPressure2a35);
        let ways = [Up::Readings, gatt, Up::Fhir, Up::Vendor("acme".into()), Up::Hello, Up::Status];
        for (tree, way) in [Tree::Devices, Tree::Gateways].into_iter().flat_map(|t| ways.iter().map(move |w| (t, w))) {
            let topic = up(tree, &own, way);
            let filters = FILTERS.iter().filter(|f| takes(f, &topic)).count();
            assert_eq!(filters, usize::from(topic::parse_up(tree, &own, &topic).is_some()), "{topic}");
        }
        for what in Down::ALL {
            assert!(!FILTERS.iter().any(|f| takes(f, &topic::down(Tree::Devices, &own, what))));
        }
    }
}
