//! One meter on the line: connects, publishes with an outbox, hears receipts and commands, comes back after a loss.
//!
//! Goes in: messages. Comes out: a yes per message at its PUBACK, and what the service said.
//! Must never: report a message as acknowledged that is not; give up on a message while the device is let in.

use crate::{
    Error,
    codec::{self, Packet, Version},
    credentials::Credential,
    outbox::Outbox,
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::timeout,
};
use vitals::DeviceId;
use wire::topic::{self, Down, Tree, Up};

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

impl std::str::FromStr for Target {
    type Err = Error;

    /// `mqtt://host:port` or `host:port`; the port defaults to 1883.
    fn from_str(text: &str) -> Result<Self, Error> {
        let address = text.strip_prefix("mqtt://").unwrap_or(text).trim_end_matches('/');
        if address.is_empty() || address.contains('/') {
            return Err(Error::Input(format!("{text:?} is no broker address: expected mqtt://host:port")));
        }
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => Ok(Self(address.into())),
            None => Ok(Self(format!("{address}:1883"))),
            Some(Err(_)) => Err(Error::Input(format!("{text:?}: the port is a number from 1 to 65535"))),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a meter speaks.
#[derive(Clone, Debug)]
pub struct Options {
    /// Protocol level.
    pub version: Version,
    /// Publishes unacknowledged at once; the contract grants at least 64.
    pub window: usize,
    /// Subscribe to receipts.
    pub receipts: bool,
    /// Subscribe to commands.
    pub commands: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { version: Version::V4, window: 32, receipts: false, commands: false }
    }
}

/// What a meter hears.
#[derive(Debug)]
pub enum Heard {
    /// A receipt's JSON.
    Receipt(Vec<u8>),
    /// A command's JSON.
    Command(Vec<u8>),
}

/// The message will never be acknowledged: the device was refused, or the meter was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the meter was refused by the broker and has stopped")]
pub struct Gone;

struct Job {
    payload: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// Messages handed over and not yet taken by the connection's task; when full, `publish` waits.
const JOBS: usize = 64;
/// Receipts and commands not yet read by the owner; when full, the meter reads nothing more from its socket.
const HEARD: usize = 256;
const CONNECT_WAIT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: u16 = 60;

/// A meter that is on the line until it is dropped.
#[derive(Debug)]
pub struct Meter {
    jobs: mpsc::Sender<Job>,
}

impl Meter {
    /// Connects once; from then on the meter reconnects by itself. Dropping the receiver means not listening.
    ///
    /// # Errors
    /// [`Error::Io`] when nobody answers, [`Error::Refused`] when the credential is not taken.
    pub async fn connect(
        target: &Target,
        credential: Credential,
        options: Options,
    ) -> Result<(Self, mpsc::Receiver<Heard>), Error> {
        let id: DeviceId =
            credential.id.parse().map_err(|_| Error::Input(format!("{:?} is no device id", credential.id)))?;
        let topics = Topics {
            readings: topic::up(Tree::Devices, &id, &Up::Readings),
            receipts: topic::down(Tree::Devices, &id, Down::Receipts),
            commands: topic::down(Tree::Devices, &id, Down::Commands),
        };
        let stream = open(&target.0, options.version, &credential, KEEP_ALIVE, CONNECT_WAIT).await?;
        let (jobs, todo) = mpsc::channel(JOBS);
        let (say, heard) = mpsc::channel(HEARD);
        let outbox = Outbox::new(options.window);
        let task = Task { target: target.0.clone(), credential, options, topics, outbox, todo, say };
        tokio::spawn(task.run(stream));
        Ok((Self { jobs }, heard))
    }

    /// Publishes a reading message and waits for its PUBACK, through any number of lost connections.
    ///
    /// # Errors
    /// [`Gone`] when the broker refuses this device.
    pub async fn publish(&self, payload: Vec<u8>) -> Result<(), Gone> {
        self.send(payload).await?.await.map_err(|_| Gone)
    }

    /// Hands a message over; the receiver resolves at its PUBACK. Order is kept.
    ///
    /// # Errors
    /// [`Gone`] when the broker has refused this device.
    pub async fn send(&self, payload: Vec<u8>) -> Result<oneshot::Receiver<()>, Gone> {
        let (done, acked) = oneshot::channel();
        self.jobs.send(Job { payload, done }).await.map_err(|_| Gone)?;
        Ok(acked)
    }
}

/// Opens a connection and shakes hands.
pub(crate) async fn open(
    address: &str,
    version: Version,
    credential: &Credential,
    keep_alive: u16,
    wait: Duration,
) -> Result<TcpStream, Error> {
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let shake = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut out = Vec::with_capacity(128);
        codec::connect(&mut out, version, &credential.id, credential.secret.as_deref(), keep_alive);
        stream.write_all(&out).await?;
        // A CONNACK is read to its last byte and no further, so nothing behind it is lost.
        let mut answer = Vec::with_capacity(64);
        loop {
            match codec::parse(&answer, version) {
                Ok(Some((Packet::ConnAck(code), _))) => return Ok(Ok((stream, code))),
                Ok(None) => answer.push(stream.read_u8().await?),
                Ok(Some(_)) | Err(_) => return Ok(Err("the answer to CONNECT is no CONNACK")),
            }
        }
    };
    let device = || credential.id.clone();
    match timeout(wait, shake).await.unwrap_or_else(|_| Err(late())) {
        Ok(Ok((stream, 0))) => Ok(stream),
        Ok(Ok((_, code))) => Err(Error::Refused { device: device(), code }),
        Ok(Err(what)) => Err(Error::Broken { device: device(), what }),
        Err(e) => Err(Error::Io { what: format!("connect to {address}"), source: e }),
    }
}

struct Topics {
    readings: String,
    receipts: String,
    commands: String,
}

struct Task {
    target: String,
    credential: Credential,
    options: Options,
    topics: Topics,
    outbox: Outbox<oneshot::Sender<()>>,
    todo: mpsc::Receiver<Job>,
    say: mpsc::Sender<Heard>,
}

/// Why a connection ended.
enum End {
    /// Reconnect and send the rest again.
    Lost,
    /// The owner let go and everything is acknowledged.
    Finished,
}

impl Task {
    async fn run(mut self, first: TcpStream) {
        let mut stream = Some(first);
        let mut pause = Duration::from_millis(20);
        loop {
            if let Some(open) = stream.take() {
                match self.serve(open).await {
                    Ok(End::Finished) => return,
                    Ok(End::Lost) | Err(_) => self.outbox.disconnected(),
                }
            }
            if self.todo.is_closed() && self.todo.is_empty() && self.outbox.is_empty() {
                return;
            }
            tokio::time::sleep(pause).await;
            match open(&self.target, self.options.version, &self.credential, KEEP_ALIVE, CONNECT_WAIT).await {
                Ok(open) => {
                    pause = Duration::from_millis(20);
                    stream = Some(open);
                }
                Err(Error::Refused { .. }) => return,
                Err(_) => pause = (pause * 2).min(Duration::from_secs(2)),
            }
        }
    }

    async fn serve(&mut self, mut stream: TcpStream) -> std::io::Result<End> {
        let mut out = Vec::new();
        let wanted = [(self.options.receipts, &self.topics.receipts), (self.options.commands, &self.topics.commands)];
        let filters: Vec<&str> = wanted.iter().filter(|(on, _)| *on).map(|(_, t)| t.as_str()).collect();
        if !filters.is_empty() {
            codec::subscribe(&mut out, self.options.version, 65_535, &filters);
        }
        let mut input = Vec::with_capacity(4096);
        let mut ping = tokio::time::interval(Duration::from_secs(u64::from(KEEP_ALIVE) / 2));
        ping.reset();
        let mut open = true;
        loop {
            while let Some(next) = self.outbox.next_to_send() {
                codec::publish(
                    &mut out,
                    self.options.version,
                    &self.topics.readings,
                    &next.payload,
                    next.pid,
                    next.again,
                );
            }
            stream.write_all(&out).await?;
            out.clear();
            if !open && self.outbox.is_empty() {
                stream.write_all(&codec::DISCONNECT).await?;
                return Ok(End::Finished);
            }
            let room = self.outbox.len() < self.options.window;
            tokio::select! {
                job = self.todo.recv(), if open && room => match job {
                    Some(job) => self.outbox.push(job.payload, job.done),
                    None => open = false,
                },
                n = stream.read_buf(&mut input) => {
                    if n? == 0 || !self.read(&mut input, &mut out).await {
                        return Ok(End::Lost);
                    }
                }
                _ = ping.tick() => out.extend_from_slice(&codec::PING),
            }
        }
    }

    /// Handles every whole packet; false when the connection is of no use any more.
    async fn read(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
        let mut used = 0;
        loop {
            let heard = match codec::parse(&input[used..], self.options.version) {
                Ok(None) => break,
                Err(_) => return false,
                Ok(Some((packet, length))) => {
                    used += length;
                    match packet {
                        Packet::PubAck { pid, reason } if reason < 0x80 => {
                            if let Some(waiting) = self.outbox.acked(pid) {
                                let _ = waiting.tag.send(());
                            }
                            None
                        }
                        // Refused: the message stays in the outbox; a meter knows no other answer than to try again.
                        Packet::PubAck { .. } | Packet::Disconnect(_) => return false,
                        Packet::Publish { topic, payload, pid } => {
                            if let Some(pid) = pid {
                                codec::puback(out, pid);
                            }
                            (topic == self.topics.receipts)
                                .then(|| Heard::Receipt(payload.to_vec()))
                                .or_else(|| (topic == self.topics.commands).then(|| Heard::Command(payload.to_vec())))
                        }
                        Packet::ConnAck(_) | Packet::SubAck(_) | Packet::PingResp => None,
                    }
                }
            };
            if let Some(heard) = heard {
                let _ = self.say.send(heard).await;
            }
        }
        input.drain(..used);
        true
    }
}

#[cfg(test)]
mod tests;
