//! What goes back to a client: PUBACKs in order of arrival, receipts after them, commands, live copies.

use crate::{
    Accepted, Unavailable,
    codec::encode,
    down::Message,
    end::End,
    meters,
    session::{OUTPUT, Session},
};
use runtime::BoxFuture;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use store::{DeviceCommand, StoreError};
use tokio::time::Instant;
use wire::topic::Down;

/// Acknowledged commands that are remembered until the store knows; more are never under way.
const FINISHED: usize = 64;

/// A publish on its way to its answer; answers leave in the order of these.
pub(crate) enum Work {
    Commit { result: BoxFuture<'static, Result<Accepted, Unavailable>>, pid: Option<u16>, bytes: usize },
    Refused { pid: u16, code: u8 },
}

pub(crate) enum Answer {
    Committed { result: Result<Accepted, Unavailable>, pid: Option<u16>, bytes: usize },
    Refused { pid: u16, code: u8 },
}

impl Future for Work {
    type Output = Answer;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        Poll::Ready(match self.get_mut() {
            Self::Commit { result, pid, bytes } => {
                let result = ready!(result.as_mut().poll(cx));
                Answer::Committed { result, pid: *pid, bytes: *bytes }
            }
            Self::Refused { pid, code } => Answer::Refused { pid: *pid, code: *code },
        })
    }
}

/// The present question to the store about commands, and how often something had been noted before it was asked.
pub(crate) type Fetch = BoxFuture<'static, (Option<u64>, Result<Vec<DeviceCommand>, StoreError>)>;

impl Session {
    /// Writes the answers of all commits that are through, in order of arrival. Only the oldest is asked: answers leave in
    /// order, and one fsync makes many of them ready with one waking.
    pub(crate) fn answer(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let (mut done, mut acknowledged) = (0_u32, 0);
        let outcome = loop {
            let Some(oldest) = self.work.front_mut() else { break Ok(()) };
            let Poll::Ready(answer) = Pin::new(oldest).poll(cx) else { break Ok(()) };
            self.work.pop_front();
            self.arrivals.pop_front();
            match answer {
                Answer::Refused { pid, code } => encode::puback(&mut self.output, self.version, pid, code),
                Answer::Committed { result, pid, bytes } => {
                    done += 1;
                    self.committing -= 1;
                    self.in_flight_bytes -= bytes;
                    self.gate.done(bytes);
                    match (result, pid) {
                        (Ok(accepted), pid) => {
                            if let Some(pid) = pid {
                                encode::puback(&mut self.output, self.version, pid, 0);
                                acknowledged += 1;
                            }
                            self.give_receipt(accepted);
                        }
                        (Err(Unavailable), Some(_)) => break Err(End::UNAVAILABLE),
                        (Err(Unavailable), None) => meters::left_out("qos_0_not_durable"),
                    }
                }
            }
        };
        if done > 0 {
            self.gate.meters.in_flight.decrement(done);
            self.gate.meters.pubacks.increment(acknowledged);
        }
        outcome
    }

    fn give_receipt(&mut self, accepted: Accepted) {
        if let (Some(qos), Some(receipt)) = (self.subscriptions.qos(Down::Receipts), accepted.receipt) {
            self.down.push(Message::receipt(receipt, qos), self.gate.config.limits.down_queue);
        }
    }

    pub(crate) fn copy_live(&mut self) {
        while self.output.len() < OUTPUT && self.tree.is_none() {
            let Some(copy) = self.seat.live.mailbox.copy() else { return };
            let packet = encode::Downward { topic: &copy.0, payload: &copy.1, pid: None, dup: false, expiry: None };
            if packet.size(self.version) <= self.window.maximum_packet_size {
                packet.encode(&mut self.output, self.version);
            }
        }
    }

    /// Asks the store for commands if this client listens for them and there may be some.
    pub(crate) fn want_commands(&mut self) {
        let device = self.seat.live.device.load().key;
        if self.gate.commanded.of(device).is_some() {
            self.fetch_commands(false);
        }
    }

    pub(crate) fn fetch_commands(&mut self, again: bool) {
        if self.subscriptions.qos(Down::Commands).is_none() {
            return;
        }
        if self.fetch.is_some() {
            self.fetch_again |= again;
            return;
        }
        let (device, store) = (self.seat.live.device.load().key, self.gate.store.clone());
        let noted = self.gate.commanded.of(device);
        self.fetch = Some(Box::pin(async move { (noted, store.pending_commands(device, store.clock().now()).await) }));
    }

    pub(crate) fn take_commands(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(fetch) = &mut self.fetch {
            let Poll::Ready((noted, found)) = fetch.as_mut().poll(cx) else { return };
            self.fetch = None;
            match found {
                Ok(commands) => self.queue_commands(noted, commands, now),
                Err(e) => tracing::warn!(error = %e, "commands cannot be read"),
            }
            if std::mem::take(&mut self.fetch_again) {
                self.fetch_commands(false);
            }
        }
    }

    fn queue_commands(&mut self, noted: Option<u64>, commands: Vec<DeviceCommand>, now: Instant) {
        let Some(qos) = self.subscriptions.qos(Down::Commands) else { return };
        if let (true, Some(noted)) = (commands.is_empty(), noted) {
            self.gate.commanded.nothing(self.seat.live.device.load().key, noted);
        }
        let clock = self.gate.store.clock().now();
        for command in commands.into_iter().filter(|c| !self.finished.contains(&c.id)).collect::<Vec<_>>() {
            let expires = now + command.expires_at.since(clock);
            if qos == 0 {
                self.command_done(command.id.clone()); // without an answer, sent is all that can be known
            }
            let message = Message::command(command.id, command.body.into(), qos, expires);
            self.down.push(message, self.gate.config.limits.down_queue);
        }
    }

    /// The device has a command: the store may forget it.
    pub(crate) fn command_done(&mut self, id: String) {
        if self.finished.len() >= FINISHED {
            self.finished.pop_front();
        }
        self.finished.push_back(id.clone());
        let store = self.gate.store.clone();
        tokio::spawn(async move {
            if let Err(e) = store.command_done(&id).await {
                tracing::warn!(error = %e, "an acknowledged command will be sent again");
            }
        });
    }
}
