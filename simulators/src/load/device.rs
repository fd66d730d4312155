//! One device of a load run: its socket, its outbox, its counter. No task per message, no timer of its own.

use super::tally::{Snapshot, Tally};
use crate::{
    codec::{self, Packet, Version},
    credentials::Credential,
    outbox::Outbox,
};
use std::{
    cell::RefCell,
    io::ErrorKind,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};

/// What the owner wants back at an acknowledgement.
#[derive(Debug)]
pub(super) struct Tag {
    /// Planned moment, microseconds after the start.
    pub planned: u64,
    pub phase: u16,
    /// A planned repeat of an earlier message.
    pub duplicate: bool,
    /// Sequence numbers from (included) to (not).
    pub seqs: std::ops::Range<u64>,
}

/// What the devices of a thread share.
pub(super) struct Shared {
    pub start: Instant,
    pub version: Version,
    /// End of each phase, microseconds.
    pub ends: Vec<u64>,
    pub tally: Tally,
    pub second: Snapshot,
    /// Lines for the acknowledgement log.
    pub acks: Option<Vec<u8>>,
    pub connected: u64,
    /// Readings without a PUBACK.
    pub waiting: u64,
    pub scratch: Vec<u8>,
}

impl Shared {
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A device; its task awaits the socket, the pacer hands it messages.
pub(super) struct Device {
    pub credential: Credential,
    pub topic: String,
    pub state: RefCell<State>,
}

pub(super) struct State {
    pub outbox: Outbox<Tag>,
    pub next_seq: u64,
    /// The newest message: payload and sequence numbers.
    pub last: Option<(Vec<u8>, std::ops::Range<u64>)>,
    pub stream: Option<TcpStream>,
    /// The plan cuts the connection.
    pub cut: bool,
    pub out: Vec<u8>,
    input: Vec<u8>,
    /// Of the task that awaits the socket.
    task: Option<Waker>,
}

impl State {
    /// Lets the device's task look again: the pacer has cut the connection, or left bytes that the socket did not take.
    pub(super) fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl Device {
    pub(super) fn new(credential: Credential, topic: String, window: usize, first_seq: u64) -> Self {
        let state = State {
            outbox: Outbox::new(window),
            next_seq: first_seq,
            last: None,
            stream: None,
            cut: false,
            out: Vec::new(),
            input: Vec::new(),
            task: None,
        };
        Self { credential, topic, state: RefCell::new(state) }
    }

    /// The connection is up: everything unacknowledged goes out again, oldest first.
    pub(super) fn connected(&self, stream: TcpStream, shared: &mut Shared) -> bool {
        let mut state = self.state.borrow_mut();
        state.stream = Some(stream);
        state.cut = false;
        state.out.clear();
        state.input.clear();
        shared.connected += 1;
        drop(state);
        self.flush(shared)
    }

    /// The connection is gone, for whatever reason.
    pub(super) fn disconnected(&self, shared: &mut Shared) {
        let mut state = self.state.borrow_mut();
        if state.stream.take().is_some() {
            shared.connected -= 1;
        }
        state.outbox.disconnected();
    }

    /// Writes what the window and the socket take; false when the connection is dead.
    pub(super) fn flush(&self, shared: &mut Shared) -> bool {
        let mut state = self.state.borrow_mut();
        let State { outbox, out, stream, .. } = &mut *state;
        let Some(stream) = stream else { return true };
        while let Some(next) = outbox.next_to_send() {
            if next.again {
                shared.tally.resent += next.tag.seqs.end - next.tag.seqs.start;
            }
            codec::publish(out, shared.version, &self.topic, &next.payload, next.pid, next.again);
        }
        while !out.is_empty() {
            match stream.try_write(out) {
                Ok(n) => drop(out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Ready when the connection has ended: true when the plan had it cut.
    pub(super) fn poll(&self, cx: &mut Context<'_>, shared: &mut Shared) -> Poll<bool> {
        let mut scratch = std::mem::take(&mut shared.scratch);
        let alive = self.read(cx, shared, &mut scratch);
        shared.scratch = scratch;
        let alive = alive && self.flush(shared);
        let mut state = self.state.borrow_mut();
        if state.cut || !alive {
            return Poll::Ready(state.cut);
        }
        if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        let unsent = !state.out.is_empty();
        match state.stream.as_ref().filter(|_| unsent).map(|stream| stream.poll_write_ready(cx)) {
            None | Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(Err(_))) => Poll::Ready(false),
            Some(Poll::Ready(Ok(()))) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Reads whatever is there and counts the acknowledgements, until the socket will wake the task; false when the
    /// connection is dead. By `poll_read`, which takes a short read for an empty socket and asks no second time.
    fn read(&self, cx: &mut Context<'_>, shared: &mut Shared, scratch: &mut [u8]) -> bool {
        let mut state = self.state.borrow_mut();
        let State { outbox, out, input, stream: Some(stream), .. } = &mut *state else { return false };
        loop {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return true,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return false,
            }
            let fresh = buffer.filled();
            let used = if input.is_empty() {
                let used = take_packets(fresh, &self.credential.id, outbox, out, shared);
                if let Some(used) = used {
                    input.extend_from_slice(&fresh[used..]);
                }
                used
            } else {
                input.extend_from_slice(fresh);
                let used = take_packets(input, &self.credential.id, outbox, out, shared);
                input.drain(..used.unwrap_or(0));
                used
            };
            if used.is_none() {
                return false;
            }
        }
    }
}

/// Handles every whole packet; how many bytes that was, or none when the connection is of no use any more.
fn take_packets(
    bytes: &[u8],
    id: &str,
    outbox: &mut Outbox<Tag>,
    out: &mut Vec<u8>,
    shared: &mut Shared,
) -> Option<usize> {
    let mut used = 0;
    while let Some((packet, length)) = codec::parse(&bytes[used..], shared.version).ok()? {
        used += length;
        match packet {
            Packet::PubAck { pid, reason } if reason < 0x80 => {
                if let Some(waiting) = outbox.acked(pid) {
                    count(&waiting.tag, id, shared);
                }
            }
            Packet::PubAck { .. } => {
                // The message stays, and the device tries again on a new connection, as any device would.
                shared.tally.refused += 1;
                return None;
            }
            Packet::Disconnect(_) => return None,
            Packet::Publish { pid: Some(pid), .. } => codec::puback(out, pid),
            _ => {}
        }
    }
    Some(used)
}

fn count(tag: &Tag, id: &str, shared: &mut Shared) {
    let now = shared.now();
    let readings = tag.seqs.end - tag.seqs.start;
    let latency = now.saturating_sub(tag.planned).max(1);
    let phase = usize::from(tag.phase);
    let in_time = shared.ends.get(phase).is_some_and(|end| now <= *end);
    if let Some(phase) = shared.tally.phases.get_mut(phase) {
        phase.acked += readings;
        phase.acked_in_time += if in_time { readings } else { 0 };
        phase.duplicates += if tag.duplicate { readings } else { 0 };
        phase.latency.saturating_record(latency);
    }
    shared.second.acked += readings;
    shared.second.latency.saturating_record(latency);
    shared.waiting -= readings;
    if let Some(log) = &mut shared.acks {
        for seq in tag.seqs.clone() {
            log.extend_from_slice(format!("{id},{seq}\n").as_bytes());
        }
    }
}
