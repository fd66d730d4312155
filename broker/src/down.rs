//! What goes down to one client and is not acknowledged yet: receipts and commands, in order, bounded.
//!
//! Goes in: messages, PUBACKs. Comes out: PUBLISH packets, within what the client said it takes.
//! Must never: forget a command (the store has it until its PUBACK), grow without bound.

use crate::{
    codec::{Version, encode::Downward},
    meters,
};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use tokio::time::Instant;
use vitals::DeviceId;
use wire::topic::{self, Down, Tree};

/// Bytes that wait for one client. Full: new receipts are left out and counted; commands stay in the store.
const BYTES_WAITING: usize = 1 << 20;

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) what: Down,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    /// For a command: its id, and when it is no longer worth sending.
    pub(crate) command: Option<(String, Instant)>,
    /// Packet identifier once it was sent.
    sent: Option<u16>,
}

impl Message {
    pub(crate) const fn receipt(payload: Bytes, qos: u8) -> Self {
        Self { what: Down::Receipts, payload, qos, command: None, sent: None }
    }

    pub(crate) const fn command(id: String, payload: Bytes, qos: u8, expires: Instant) -> Self {
        Self { what: Down::Commands, payload, qos, command: Some((id, expires)), sent: None }
    }
}

/// The queue; what was sent and is not acknowledged stands first, in the order sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct DownQueue {
    messages: VecDeque<Message>,
    /// How many from the front were sent in this connection.
    in_flight: usize,
    bytes: usize,
    last_pid: u16,
}

/// The client's own topics, built once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics {
    receipts: String,
    commands: String,
}

impl Topics {
    pub(crate) fn new(tree: Tree, own: &DeviceId) -> Self {
        Self { receipts: topic::down(tree, own, Down::Receipts), commands: topic::down(tree, own, Down::Commands) }
    }

    fn of(&self, what: Down) -> &str {
        match what {
            Down::Receipts => &self.receipts,
            Down::Commands => &self.commands,
        }
    }
}

/// What the client takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) version: Version,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: usize,
}

impl DownQueue {
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message unless it is full; a command that is here already is not added twice.
    pub(crate) fn push(&mut self, message: Message, limit: usize) {
        if let Some((id, _)) = &message.command
            && self.messages.iter().any(|m| m.command.as_ref().is_some_and(|(known, _)| known == id))
        {
            return;
        }
        if self.messages.len() >= limit || self.bytes + message.payload.len() > BYTES_WAITING {
            meters::left_out("queue_full");
            return;
        }
        self.bytes += message.payload.len();
        self.messages.push_back(message);
    }

    /// After a reconnect: everything is sent again, what was sent before as a repeat.
    pub(crate) const fn resume(&mut self) {
        self.in_flight = 0;
    }

    /// Writes what may be sent now. Returns how many were written.
    pub(crate) fn fill(
        &mut self,
        out: &mut BytesMut,
        high: usize,
        window: Window,
        topics: &Topics,
        now: Instant,
    ) -> u64 {
        let mut written = 0;
        while out.len() < high && self.in_flight < usize::from(window.receive_maximum) {
            let Some(message) = self.messages.get(self.in_flight) else { break };
            let (dup, known) = (message.sent.is_some(), message.sent);
            let expires = message.command.as_ref().map(|(_, at)| *at);
            if !dup && expires.is_some_and(|at| at <= now) {
                self.drop_at(self.in_flight);
                meters::left_out("expired");
                continue;
            }
            let pid = if message.qos == 0 { None } else { Some(known.unwrap_or_else(|| self.next_pid())) };
            let message = &self.messages[self.in_flight];
            let expiry = expires.map(|at| whole_seconds(at.saturating_duration_since(now)));
            let packet = Downward { topic: topics.of(message.what), payload: &message.payload, pid, dup, expiry };
            if packet.size(window.version) > window.maximum_packet_size {
                self.drop_at(self.in_flight);
                meters::left_out("client_packet_size");
                continue;
            }
            packet.encode(out, window.version);
            written += 1;
            if pid.is_some() {
                self.messages[self.in_flight].sent = pid;
                self.in_flight += 1;
            } else {
                self.drop_at(self.in_flight);
            }
        }
        written
    }

    /// The client has it; the command's id when it was one.
    pub(crate) fn acknowledged(&mut self, pid: u16) -> Option<String> {
        let at = self.messages.iter().take(self.in_flight).position(|m| m.sent == Some(pid))?;
        self.in_flight -= 1;
        self.drop_at(at)?.command.map(|(id, _)| id)
    }

    fn drop_at(&mut self, at: usize) -> Option<Message> {
        let gone = self.messages.remove(at)?;
        self.bytes -= gone.payload.len();
        Some(gone)
    }

    /// An identifier that is not in use. The queue is far shorter than there are identifiers.
    fn next_pid(&mut self) -> u16 {
        loop {
            self.last_pid = self.last_pid.checked_add(1).unwrap_or(1);
            if !self.messages.iter().any(|m| m.sent == Some(self.last_pid)) {
                return self.last_pid;
            }
        }
    }
}

/// At least one, since 0 would say that it has expired.
fn whole_seconds(left: std::time::Duration) -> u32 {
    u32::try_from(left.as_secs().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(receive_maximum: u16) -> Window {
        Window { version: Version::V4, receive_maximum, maximum_packet_size: usize::MAX }
    }

    fn topics() -> Topics {
        Topics { receipts: "t".into(), commands: "c".into() }
    }

    fn fill(q: &mut DownQueue, w: Window) -> u64 {
        q.fill(&mut BytesMut::new(), usize::MAX, w, &topics(), Instant::now())
    }

    #[test]
    fn no_more_than_the_client_takes_and_all_again_after_a_reconnect() {
        let mut q = DownQueue::default();
        for n in 0..3_u8 {
            q.push(Message::receipt(Bytes::from(vec![n]), 1), 10);
        }
        assert_eq!(fill(&mut q, window(2)), 2);
        assert_eq!(fill(&mut q, window(2)), 0, "two are under way");
        assert_eq!(q.acknowledged(1), None);
        assert_eq!(fill(&mut q, window(2)), 1);
        q.resume();
        let mut out = BytesMut::new();
        assert_eq!(q.fill(&mut out, usize::MAX, window(9), &topics(), Instant::now()), 2);
        assert_eq!(
            &out[..],
            b"\x3a\x06\0\x01t\0\x02\x01\x3a\x06\0\x01t\0\x03\x02",
            "same identifiers, marked as repeats"
        );
        q.acknowledged(3);
        q.acknowledged(2);
        q.acknowledged(77);
        assert!(q.is_empty() && q.bytes == 0);
    }

    #[test]
    fn what_is_too_long_expired_or_too_much_is_left_out() {
        let mut q = DownQueue::default();
        q.push(Message::receipt(Bytes::from(vec![0; 100]), 1), 3);
        let past = Instant::now();
        q.push(Message::command("late".into(), Bytes::new(), 1, past), 3);
        q.push(Message::receipt(Bytes::from_static(b"x"), 0), 3);
        q.push(Message::receipt(Bytes::from_static(b"y"), 0), 3);
        let small = Window { version: Version::V5, receive_maximum: 5, maximum_packet_size: 50 };
        assert_eq!(fill(&mut q, small), 1, "only the first small receipt");
        assert!(q.is_empty());
    }

    #[test]
    fn a_command_is_not_queued_twice_and_is_known_by_its_acknowledgement() {
        let mut q = DownQueue::default();
        let later = Instant::now() + std::time::Duration::from_secs(60);
        for _ in 0..2 {
            q.push(Message::command("c1".into(), Bytes::new(), 1, later), 9);
        }
        assert_eq!(fill(&mut q, window(9)), 1);
        assert_eq!(q.acknowledged(1).as_deref(), Some("c1"));
    }
}
