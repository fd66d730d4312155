//! A client that says exactly the bytes it is told to.

use crate::world::{PASSWORD, World};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Packet(u8, Vec<u8>),
    Closed,
    Silent,
}

pub(crate) use Got::{Closed, Packet, Silent};

pub(crate) struct Client {
    pub(crate) stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

pub(crate) fn length(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = u8::try_from(n % 128).unwrap();
        n /= 128;
        out.push(if n > 0 { byte | 128 } else { byte });
        if n == 0 {
            return out;
        }
    }
}

pub(crate) fn text(s: &str) -> Vec<u8> {
    [&u16::try_from(s.len()).unwrap().to_be_bytes()[..], s.as_bytes()].concat()
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &length(body.len()), body].concat()
}

/// A CONNECT that can be bent.
#[derive(Clone)]
pub(crate) struct Hello<'a> {
    pub(crate) id: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) level: u8,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: &'a [u8],
    pub(crate) will: Option<(&'a str, &'a [u8])>,
    pub(crate) will_properties: &'a [u8],
}

pub(crate) fn hello(id: &str) -> Hello<'_> {
    let user = Some(id);
    Hello {
        id,
        user,
        password: Some(PASSWORD),
        level: 4,
        clean: true,
        keep_alive: 60,
        properties: b"",
        will: None,
        will_properties: b"",
    }
}

pub(crate) fn hello5(id: &str) -> Hello<'_> {
    Hello { level: 5, ..hello(id) }
}

impl Hello<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let flag = |on, bit| if on { bit } else { 0_u8 };
        let flags = flag(self.clean, 2)
            | flag(self.user.is_some(), 0x80)
            | flag(self.password.is_some(), 0x40)
            | flag(self.will.is_some(), 4);
        let five = |bytes: &[u8]| {
            if self.level == 5 { [&length(bytes.len())[..], bytes].concat() } else { Vec::new() }
        };
        let mut b = [&text("MQTT")[..], &[self.level, flags], &self.keep_alive.to_be_bytes()].concat();
        b.extend(five(self.properties));
        b.extend(text(self.id));
        if let Some((topic, payload)) = self.will {
            b.extend(five(self.will_properties));
            b.extend(text(topic));
            b.extend(text(std::str::from_utf8(payload).unwrap()));
        }
        b.extend(self.user.map(text).unwrap_or_default());
        b.extend(self.password.map(text).unwrap_or_default());
        packet(0x10, &b)
    }
}

pub(crate) fn publish(level: u8, topic: &str, pid: u16, payload: &[u8]) -> Vec<u8> {
    publish_with(level, topic, pid, payload, b"")
}

/// `pid` 0: QoS 0.
pub(crate) fn publish_with(level: u8, topic: &str, pid: u16, payload: &[u8], properties: &[u8]) -> Vec<u8> {
    let mut b = text(topic);
    if pid > 0 {
        b.extend(pid.to_be_bytes());
    }
    if level == 5 {
        b.extend(length(properties.len()));
        b.extend(properties);
    }
    b.extend(payload);
    packet(if pid > 0 { 0x32 } else { 0x30 }, &b)
}

pub(crate) fn subscribe(level: u8, pid: u16, filters: &[&str]) -> Vec<u8> {
    let at_qos_1: Vec<(&str, u8)> = filters.iter().map(|f| (*f, 1)).collect();
    subscribe_with(level, pid, &at_qos_1, b"")
}

/// Filters with their options (the QoS, in 3.1.1).
pub(crate) fn subscribe_with(level: u8, pid: u16, filters: &[(&str, u8)], properties: &[u8]) -> Vec<u8> {
    let mut b = pid.to_be_bytes().to_vec();
    if level == 5 {
        b.extend(length(properties.len()));
        b.extend(properties);
    }
    for (filter, options) in filters {
        b.extend(text(filter));
        b.push(*options);
    }
    packet(0x82, &b)
}

pub(crate) fn unsubscribe(level: u8, pid: u16, filter: &str) -> Vec<u8> {
    let none: &[u8] = if level == 5 { &[0] } else { &[] };
    packet(0xA2, &[&pid.to_be_bytes()[..], none, &text(filter)].concat())
}

pub(crate) fn readings(id: &str) -> String {
    format!("hb/v1/devices/{id}/readings")
}

pub(crate) fn receipts(id: &str) -> String {
    format!("hb/v1/devices/{id}/receipts")
}

pub(crate) fn commands(id: &str) -> String {
    format!("hb/v1/devices/{id}/commands")
}

/// A message that came down, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    /// 0 at QoS 0.
    pub(crate) pid: u16,
    pub(crate) topic: String,
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Heard {
    pub(crate) fn ack(&self) -> Vec<u8> {
        packet(0x40, &self.pid.to_be_bytes())
    }
}

/// A PUBLISH that the gate sent. Its properties are shorter than 128 bytes.
pub(crate) fn heard(got: Got, level: u8) -> Heard {
    let Packet(first, body) = got else { panic!("{got:x?} instead of a message") };
    assert_eq!(first >> 4, 3, "not a PUBLISH: {first:#x} {body:x?}");
    let (dup, qos) = (first & 8 != 0, first >> 1 & 3);
    let topic_ends = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..topic_ends].to_vec()).unwrap();
    let (pid, mut at) = match qos {
        0 => (0, topic_ends),
        _ => (u16::from_be_bytes([body[topic_ends], body[topic_ends + 1]]), topic_ends + 2),
    };
    let mut properties = Vec::new();
    if level == 5 {
        let n = usize::from(body[at]);
        properties = body[at + 1..=at + n].to_vec();
        at += 1 + n;
    }
    Heard { dup, qos, pid, topic, properties, payload: body[at..].to_vec() }
}

pub(crate) fn puback(pid: u16) -> Got {
    Packet(0x40, pid.to_be_bytes().to_vec())
}

impl Client {
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    pub(crate) async fn tcp(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn open(world: &World) -> Self {
        Self::tcp(world.gate.addresses().mqtt.unwrap()).await
    }

    /// Says hello and is let in; the CONNACK's body.
    pub(crate) async fn login(world: &World, hello: &Hello<'_>) -> (Self, Vec<u8>) {
        let mut c = Self::open(world).await;
        match c.ask(&hello.bytes()).await {
            Packet(0x20, body) if body[1] == 0 => (c, body),
            other => panic!("{} was not let in: {other:x?}", hello.id),
        }
    }

    pub(crate) async fn enter(world: &World, id: &str) -> Self {
        Self::login(world, &hello(id)).await.0
    }

    pub(crate) async fn enter5(world: &World, id: &str) -> Self {
        Self::login(world, &hello5(id)).await.0
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) -> &mut Self {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
        self
    }

    pub(crate) async fn ask(&mut self, bytes: &[u8]) -> Got {
        self.say(bytes).await.hear().await
    }

    pub(crate) async fn hear(&mut self) -> Got {
        self.hear_within(Duration::from_secs(10)).await
    }

    /// A message comes down.
    pub(crate) async fn message(&mut self, level: u8) -> Heard {
        heard(self.hear().await, level)
    }

    /// Nothing comes for a moment.
    pub(crate) async fn is_silent(&mut self) -> bool {
        self.hear_within(Duration::from_millis(150)).await == Silent
    }

    pub(crate) async fn hear_within(&mut self, within: Duration) -> Got {
        timeout(within, self.next()).await.unwrap_or(Silent)
    }

    async fn next(&mut self) -> Got {
        loop {
            if let Some((got, n)) = split(&self.buffer) {
                self.buffer.drain(..n);
                return got;
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).await {
                Ok(n @ 1..) => self.buffer.extend_from_slice(&chunk[..n]),
                _ => return Closed,
            }
        }
    }

    /// It is alive and served.
    pub(crate) async fn ping(&mut self) {
        assert_eq!(self.ask(b"\xc0\0").await, Packet(0xD0, Vec::new()), "no answer to a ping");
    }
}

fn split(b: &[u8]) -> Option<(Got, usize)> {
    let (mut n, mut at) = (0_usize, 1);
    loop {
        let byte = *b.get(at)?;
        n |= usize::from(byte & 127) << (7 * (at - 1));
        at += 1;
        if byte < 128 {
            break;
        }
    }
    let body = b.get(at..at + n)?.to_vec();
    Some((Packet(b[0], body), at + n))
}
