//! One client that was let in: reads, commits, answers in order, all in one task and with one write for many answers.
//!
//! Goes in: bytes, results of commits, letters from the rest of the gate. Comes out: bytes, and an end with its reason.
//! Must never: acknowledge before the commit, out of order, or hold more than its bounds; when one of them is reached,
//! the client is read later.

use crate::{
    Uplink,
    codec::Version,
    connection::Transport,
    down::{DownQueue, Topics, Window},
    end::End,
    gate::Gate,
    mailbox,
    outbound::{Fetch, Work},
    pace::Pace,
    subscriptions::{Subscriptions, tree},
    table::{Kept, Seat},
};
use bytes::{Buf, BytesMut};
use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    time::{Instant, Sleep},
};
use wire::topic::{Tree, Up};

/// Bytes of publishes under way in one connection. Full: it is read later.
const IN_FLIGHT_BYTES: usize = 1 << 20;
/// Bytes that wait to be written. Above: nothing more goes down, and the client is read later.
pub(crate) const OUTPUT: usize = 64 << 10;
/// What a read asks for: little of an idle client, much of a busy one.
const READ: std::ops::RangeInclusive<usize> = 1024..=32_768;
/// At the end of the process a connection has so long for what is under way.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What the handshake found out.
pub(crate) struct Opening {
    pub(crate) version: Version,
    pub(crate) seat: Seat,
    pub(crate) kept: Option<Kept>,
    pub(crate) will: Option<Will>,
    pub(crate) connack: BytesMut,
    /// Without a byte for so long the client is gone.
    pub(crate) silence: Duration,
    /// The session outlives the connection by so much.
    pub(crate) expiry: Duration,
    /// It was asked for at CONNECT; only then may DISCONNECT change it.
    pub(crate) asked_expiry: bool,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: usize,
}

/// What is said when the client is lost.
pub(crate) struct Will {
    pub(crate) uplink: Uplink,
    pub(crate) delay: Duration,
}

pub(crate) struct Session {
    pub(crate) gate: Arc<Gate>,
    pub(crate) seat: Seat,
    pub(crate) version: Version,
    pub(crate) tree: Option<Tree>,
    pub(crate) window: Window,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) down: DownQueue,
    pub(crate) topics: Topics,
    pub(crate) stream: Transport,
    pub(crate) input: BytesMut,
    read_size: usize,
    pub(crate) output: BytesMut,
    flush: bool,
    pub(crate) work: VecDeque<Work>,
    /// How many of `work` are commits.
    pub(crate) committing: u32,
    /// When each of `work` came in.
    pub(crate) arrivals: VecDeque<Instant>,
    pub(crate) in_flight_bytes: usize,
    pub(crate) aliases: Vec<Option<Option<Up>>>,
    pub(crate) pace: Option<Pace>,
    /// Read on only from here: the device is above its rate.
    pub(crate) resume_at: Option<Instant>,
    silence: Duration,
    heard: Instant,
    /// Since when the client has taken nothing of what waits for it.
    stuck: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    pub(crate) fetch: Option<Fetch>,
    pub(crate) fetch_again: bool,
    pub(crate) finished: VecDeque<String>,
    pub(crate) will: Option<Will>,
    pub(crate) expiry: Duration,
    pub(crate) asked_expiry: bool,
    /// Nothing more is read; once all is answered and written (or it is too late) the session ends so.
    pub(crate) ending: Option<(End, Instant)>,
}

/// Serves a client until it ends, and what is to be done after that.
pub(crate) async fn run(gate: &Arc<Gate>, stream: Transport, input: BytesMut, opening: Opening) {
    gate.meters.accepted.increment(1);
    let mut session = Box::new(Session::new(gate.clone(), stream, input, opening));
    let end = poll_fn(|cx| session.poll(cx)).await;
    // Boxed, so that an idle connection does not carry the room that its end will need.
    Box::pin(session.finish(end)).await;
}

impl Session {
    fn new(gate: Arc<Gate>, stream: Transport, input: BytesMut, opening: Opening) -> Self {
        let now = Instant::now();
        let device = opening.seat.live.device.load_full();
        let tree = tree(&device.kind);
        let (mut subscriptions, mut down) = opening.kept.map(|k| (k.subscriptions, k.down)).unwrap_or_default();
        subscriptions.review(gate.store.directory(), &device);
        down.resume();
        gate.followers.set(&opening.seat.live, &[], &subscriptions.live);
        let limits = &gate.config.limits;
        let mut session = Self {
            version: opening.version,
            topics: tree.map(|tree| Topics::new(tree, &device.id)).unwrap_or_default(),
            tree,
            window: Window {
                version: opening.version,
                receive_maximum: opening.receive_maximum,
                maximum_packet_size: opening.maximum_packet_size,
            },
            subscriptions,
            down,
            stream,
            input,
            read_size: *READ.start(),
            output: opening.connack,
            flush: false,
            work: VecDeque::new(),
            committing: 0,
            arrivals: VecDeque::new(),
            in_flight_bytes: 0,
            aliases: Vec::new(),
            pace: Pace::new(limits.device_rate, limits.device_burst, now),
            resume_at: None,
            silence: opening.silence,
            heard: now,
            stuck: None,
            timer: Box::pin(tokio::time::sleep_until(now + opening.silence)),
            fetch: None,
            fetch_again: false,
            finished: VecDeque::new(),
            will: opening.will,
            expiry: opening.expiry,
            asked_expiry: opening.asked_expiry,
            ending: None,
            seat: opening.seat,
            gate,
        };
        session.note_session();
        session.want_commands();
        session
    }

    /// What is to be kept of this session over a restart.
    pub(crate) fn note_session(&self) {
        self.gate.lasting.note(self.seat.live.device.load().key, &self.subscriptions, self.expiry);
    }

    /// One turn after another until nothing moves.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.turns(cx) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    fn turns(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let now = Instant::now();
            self.open_mail(cx, now)?;
            self.answer(cx)?;
            let mut digested = self.digest(now)?;
            while self.read(cx, now)? {
                digested |= self.digest(now)?;
            }
            let full = !self.may_take();
            if digested {
                self.answer(cx)?; // a commit begins when it is first polled
            }
            self.take_commands(cx, now);
            let sent = self.down.fill(&mut self.output, OUTPUT, self.window, &self.topics, now);
            if sent > 0 {
                self.gate.meters.down.increment(sent);
            }
            self.copy_live();
            let moved = self.write(cx, now)?;
            self.check_end(now)?;
            // What was answered or written may have made room for more.
            if moved || full && self.may_take() {
                continue;
            }
            if self.wait(cx, now)? {
                return Ok(());
            }
        }
    }

    fn open_mail(&mut self, cx: &Context<'_>, now: Instant) -> Result<(), End> {
        let mail = self.seat.live.mailbox.take(cx.waker());
        if mail & mailbox::REVOKED != 0 {
            return Err(End::REVOKED);
        }
        if mail & mailbox::TAKEN_OVER != 0 {
            return Err(End::TAKEN_OVER);
        }
        if mail & mailbox::STOP != 0 && self.ending.is_none_or(|(end, _)| end != End::STOP) {
            self.ending = Some((End::STOP, now + STOP_WITHIN));
        }
        if mail & mailbox::COMMANDS != 0 {
            self.fetch_commands(true);
        }
        Ok(())
    }

    /// Ends in order: what is under way is answered first.
    pub(crate) fn end_after_answers(&mut self, end: End, now: Instant) {
        if self.ending.is_none() {
            self.ending = Some((end, now + self.gate.config.ack_timeout()));
        }
    }

    fn check_end(&self, now: Instant) -> Result<(), End> {
        match self.ending {
            Some((end, until)) if until <= now || self.work.is_empty() && self.output.is_empty() => Err(end),
            _ => Ok(()),
        }
    }

    /// Whether the next packet may be taken.
    pub(crate) fn may_take(&self) -> bool {
        self.ending.is_none()
            && self.resume_at.is_none()
            && self.work.len() < usize::from(self.gate.config.limits.in_flight)
            && self.in_flight_bytes < IN_FLIGHT_BYTES
            && self.output.len() < OUTPUT
            && (self.work.is_empty() || !self.gate.is_full())
    }

    /// Writes what waits; whether more may be taken on because of it.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        let was_full = self.output.len() >= OUTPUT;
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Ready(Ok(n @ 1..)) => {
                    self.output.advance(n);
                    self.flush = true;
                    self.stuck = None;
                }
                Poll::Ready(_) => return Err(self.lost()),
                Poll::Pending => {
                    self.stuck.get_or_insert(now);
                    break;
                }
            }
        }
        if self.flush {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flush = false,
                Poll::Ready(Err(_)) => return Err(self.lost()),
                Poll::Pending => {}
            }
        }
        Ok(was_full && self.output.len() < OUTPUT)
    }

    /// The socket is gone; if an end was on its way already, that one counts.
    fn lost(&self) -> End {
        self.ending.map_or(End::LOST, |(end, _)| end)
    }

    /// Reads once; whether something came.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        if !self.may_take() {
            self.heard = now; // we do not listen, so the client is not silent
            return Ok(false);
        }
        let spare = self.input.capacity() - self.input.len();
        if spare < 256 {
            self.input.reserve(self.read_size);
        }
        let room = self.input.capacity() - self.input.len();
        match pin!(self.stream.read_buf(&mut self.input)).poll(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => {
                self.end_after_answers(End::LOST, now);
                Ok(true)
            }
            Poll::Ready(Ok(n)) => {
                self.heard = now;
                let size = if n == room {
                    self.read_size * 2
                } else if n < room / 4 {
                    self.read_size / 2
                } else {
                    return Ok(true);
                };
                self.read_size = size.clamp(*READ.start(), *READ.end());
                Ok(true)
            }
            Poll::Ready(Err(_)) => Err(self.lost()),
        }
    }

    /// The next moment at which something is too late.
    fn due(&self) -> Instant {
        let config = &self.gate.config;
        let mut due = self.heard + self.silence;
        let others = [
            self.arrivals.front().map(|at| *at + config.ack_timeout()),
            self.stuck.map(|at| at + config.write_timeout()),
            self.ending.map(|(_, until)| until),
            self.resume_at,
        ];
        for other in others.into_iter().flatten() {
            due = due.min(other);
        }
        due
    }

    /// Acts on what is too late by now; true when there is nothing to do but wait.
    fn wait(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, End> {
        let due = self.due();
        if due > now {
            // An earlier alarm than needed costs one look; setting it at every packet would cost more.
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                self.rest();
                self.timer.as_mut().reset(due);
            }
            return Ok(true);
        }
        let config = &self.gate.config;
        if self.arrivals.front().is_some_and(|at| *at + config.ack_timeout() <= now) {
            return Err(End::UNAVAILABLE);
        }
        if self.stuck.is_some_and(|at| at + config.write_timeout() <= now) {
            return Err(End::new("write_timeout", None));
        }
        if self.heard + self.silence <= now {
            return Err(End::SILENT);
        }
        self.resume_at.take_if(|at| *at <= now);
        Ok(false)
    }

    /// A quiet moment: memory that a burst needed goes back.
    fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
            self.read_size = *READ.start();
        }
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
    }
}
