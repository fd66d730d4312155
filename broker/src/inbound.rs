//! What a client's packets mean: the part of a session that decides who may say and hear what.

use crate::{
    Uplink,
    codec::{self, Fault, Filters, Packet, Publish, Version, encode, kind, reason},
    connection::TOPIC_ALIASES,
    end::End,
    meters,
    outbound::Work,
    session::Session,
};
use bytes::Bytes;
use tokio::time::Instant;
use wire::topic::{self, Down, Up};

impl Session {
    /// Takes every whole packet that lies in the input, as far as the bounds allow. Whether there is new work.
    pub(crate) fn digest(&mut self, now: Instant) -> Result<bool, End> {
        let mut any = false;
        while self.may_take() {
            let head = match codec::head(&self.input, self.gate.config.limits.packet_size) {
                Ok(Some(head)) if self.input.len() >= head.total => head,
                Ok(_) => break,
                Err(fault) => {
                    self.end_after_answers(fault.into(), now);
                    break;
                }
            };
            if head.kind() == kind::PUBLISH
                && let Some(pace) = &mut self.pace
                && let Err(later) = pace.take(now)
            {
                self.resume_at = Some(later);
                break;
            }
            let packet = self.input.split_to(head.total).freeze();
            any = true;
            let taken = match codec::decode(self.version, head, &packet[head.header..]) {
                Ok(Packet::Publish(publish)) => self.publish(&packet, &publish, now),
                Ok(other) => self.other(other),
                Err(fault) => Err(fault.into()),
            };
            if let Err(end) = taken {
                self.end_after_answers(end, now);
            }
        }
        Ok(any)
    }

    fn other(&mut self, packet: Packet<'_>) -> Result<(), End> {
        match packet {
            Packet::Publish(_) => {}
            Packet::PubAck { pid } => {
                if let Some(command) = self.down.acknowledged(pid) {
                    self.command_done(command);
                }
            }
            Packet::Subscribe { pid, filters } => self.subscribe(pid, &filters),
            Packet::Unsubscribe { pid, filters } => self.unsubscribe(pid, &filters),
            Packet::Ping => encode::pong(&mut self.output),
            Packet::Disconnect { with_will, session_expiry } => {
                if let Some(seconds) = session_expiry {
                    // What was to end with the connection cannot be made to last by its last word.
                    if !self.asked_expiry && seconds > 0 {
                        return Err(Fault::Protocol.into());
                    }
                    self.expiry =
                        std::time::Duration::from_secs(u64::from(seconds.min(self.gate.config.session_expiry)));
                }
                return Err(End { with_will, ..End::new("goodbye", None) });
            }
        }
        Ok(())
    }

    fn publish(&mut self, packet: &Bytes, publish: &Publish<'_>, now: Instant) -> Result<(), End> {
        self.gate.meters.publishes.increment(1);
        let Some(route) = self.route(publish)? else { return self.forbidden(publish, now) };
        let Some(tree) = self.tree else { return self.forbidden(publish, now) };
        let device = self.seat.live.device.load_full();
        let payload = packet.slice_ref(publish.payload);
        let bytes = packet.len();
        let wants_receipt = self.subscriptions.qos(Down::Receipts).is_some();
        let result = self.gate.commit(Uplink { device, tree, route, payload, wants_receipt, will: false });
        self.in_flight_bytes += bytes;
        self.gate.begin(bytes);
        self.committing += 1;
        self.gate.meters.in_flight.increment(1.0);
        self.arrivals.push_back(now);
        self.work.push_back(Work::Commit { result, pid: publish.pid, bytes });
        Ok(())
    }

    /// What the topic, or the alias that stands for it, means for this device; none when it may not publish there.
    fn route(&mut self, publish: &Publish<'_>) -> Result<Option<Up>, End> {
        let own = |session: &Self| {
            let device = session.seat.live.device.load();
            session.tree.and_then(|tree| topic::parse_up(tree, &device.id, publish.topic))
        };
        let Some(alias) = publish.alias else { return Ok(own(self)) };
        if alias > TOPIC_ALIASES {
            return Err(Fault::Alias.into());
        }
        let at = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            return self.aliases.get(at).cloned().flatten().ok_or_else(|| Fault::Protocol.into());
        }
        if self.aliases.len() <= at {
            self.aliases.resize(at + 1, None);
        }
        let route = own(self);
        self.aliases[at] = Some(route.clone());
        Ok(route)
    }

    /// A topic that is not the client's own: MQTT 5 is told in the PUBACK, 3.1.1 has only the close.
    fn forbidden(&mut self, publish: &Publish<'_>, now: Instant) -> Result<(), End> {
        meters::forbidden("publish");
        let wildcard = publish.topic.contains(['+', '#']);
        let code = if wildcard { reason::TOPIC_NAME_INVALID } else { reason::NOT_AUTHORIZED };
        match (self.version, publish.pid) {
            (Version::V5, Some(pid)) => {
                self.arrivals.push_back(now);
                self.work.push_back(Work::Refused { pid, code });
                Ok(())
            }
            _ => Err(End::new("topic", Some(code))),
        }
    }

    fn subscribe(&mut self, pid: u16, filters: &Filters<'_>) {
        let device = self.seat.live.device.load_full();
        let before = self.subscriptions.live.clone();
        let mut codes = Vec::new();
        for (filter, qos) in filters.iter() {
            let outcome = self.subscriptions.add(self.gate.store.directory(), &device, filter, qos);
            codes.push(match (outcome, self.version) {
                (Ok(granted), _) => granted,
                (Err(code), version) => {
                    meters::forbidden("subscribe");
                    if version == Version::V5 { code } else { 0x80 }
                }
            });
        }
        encode::suback(&mut self.output, self.version, pid, &codes);
        self.gate.followers.set(&self.seat.live, &before, &self.subscriptions.live);
        self.note_session();
        self.want_commands();
    }

    fn unsubscribe(&mut self, pid: u16, filters: &Filters<'_>) {
        let device = self.seat.live.device.load_full();
        let before = self.subscriptions.live.clone();
        let codes: Vec<u8> = filters.iter().map(|(filter, _)| self.subscriptions.remove(&device, filter)).collect();
        encode::unsuback(&mut self.output, self.version, pid, &codes);
        self.gate.followers.set(&self.seat.live, &before, &self.subscriptions.live);
        self.note_session();
    }
}
