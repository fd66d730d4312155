//! One connection's life: CONNECT within its time, a session, an end that is said where the protocol can say it.

use crate::{
    Uplink,
    auth::{self, Proven},
    codec::{self, Connect, Refusal, V4_IDENTIFIER_REJECTED, Version, encode, kind, reason},
    entrance::Place,
    gate::Gate,
    meters,
    session::{self, Opening, Will},
    subscriptions,
};
use bytes::{Bytes, BytesMut};
use std::{io, pin::Pin, sync::Arc, task, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout, timeout_at},
};
use wire::topic;

/// Topic aliases that a client may use.
pub(crate) const TOPIC_ALIASES: u16 = 16;
/// After the last word the socket is read on for so long and so far, or the kernel would take the word back.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;
/// CONNACK code of 3.1.1: not authorised.
const V4_NOT_AUTHORIZED: u8 = 5;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// TCP, TLS, WebSocket: bytes both ways.
pub(crate) struct Transport(Box<dyn Stream>);

impl Transport {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self(Box::new(stream))
    }

    /// Says the last bytes and closes in a way that lets the client read them.
    pub(crate) async fn close(mut self, last: &[u8]) {
        let said = async {
            self.write_all(last).await?;
            self.flush().await?;
            self.shutdown().await
        };
        if timeout(LINGER, said).await.is_ok_and(|r| r.is_ok()) {
            let mut left = LINGER_BYTES;
            let mut scrap = vec![0_u8; 4096]; // on the heap, or every idle connection would carry it
            let drain = async {
                while let Ok(n @ 1..) = self.read(&mut scrap).await {
                    left = left.saturating_sub(n);
                    if left == 0 {
                        return;
                    }
                }
            };
            let _ = timeout(LINGER, drain).await;
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        b: &mut ReadBuf<'_>,
    ) -> task::Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, b)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, b: &[u8]) -> task::Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, b)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

/// Why somebody was not let in.
struct Refused {
    why: &'static str,
    answer: Option<(Version, u8)>,
}

impl Refused {
    const fn silent(why: &'static str) -> Self {
        Self { why, answer: None }
    }

    const fn credential(version: Version) -> Self {
        let code = match version {
            Version::V4 => V4_NOT_AUTHORIZED,
            Version::V5 => reason::NOT_AUTHORIZED,
        };
        Self { why: "credential", answer: Some((version, code)) }
    }
}

/// Serves one connection to its end. `place`: what it holds until it is logged in.
pub(crate) async fn serve(
    gate: &Arc<Gate>,
    mut stream: Transport,
    names: &[String],
    deadline: Instant,
    mut place: Place,
) {
    let mut input = BytesMut::new();
    let mut stopping = gate.stopping.subscribe();
    let first = tokio::select! {
        _ = stopping.wait_for(|s| *s) => return,
        () = place.lost() => Ok(Err(Refused::silent("crowd"))),
        first = timeout_at(deadline, read_connect(gate, &mut stream, &mut input)) => first,
    };
    let opening = match first.unwrap_or(Err(Refused::silent("timeout"))) {
        Ok(body) => Box::pin(open(gate, &body, names, deadline)).await,
        Err(refused) => Err(refused),
    };
    drop(place);
    match opening {
        Ok(opening) => session::run(gate, stream, input, opening).await,
        Err(Refused { why, answer }) => {
            meters::refused(why);
            let mut last = BytesMut::new();
            if let Some((version, code)) = answer {
                encode::refused(&mut last, version, code);
            }
            Box::pin(stream.close(&last)).await;
        }
    }
}

/// The body of the first packet, which has to be CONNECT.
async fn read_connect(gate: &Gate, stream: &mut Transport, input: &mut BytesMut) -> Result<Bytes, Refused> {
    loop {
        match codec::head(input, gate.config.limits.packet_size) {
            Err(fault) => return Err(Refused::silent(fault.name())),
            Ok(Some(head)) if input.len() >= head.total => {
                let mut packet = input.split_to(head.total).freeze();
                let body = packet.split_off(head.header);
                return if head.kind() == kind::CONNECT { Ok(body) } else { Err(Refused::silent("not_connect")) };
            }
            Ok(_) if input.first().is_some_and(|first| first >> 4 != kind::CONNECT) => {
                return Err(Refused::silent("not_connect"));
            }
            Ok(_) => {}
        }
        input.reserve(512);
        if stream.read_buf(input).await.map_or(0, |n| n) == 0 {
            return Err(Refused::silent("gone"));
        }
    }
}

/// Checks a CONNECT and takes the device's place.
async fn open(gate: &Arc<Gate>, body: &[u8], names: &[String], deadline: Instant) -> Result<Opening, Refused> {
    let connect = codec::decode_connect(body).map_err(|refusal| match refusal {
        Refusal::Close(fault) => Refused::silent(fault.name()),
        Refusal::Answer(version, code) => Refused { why: "connect", answer: Some((version, code)) },
    })?;
    let version = connect.version;
    let answer = |why, v4, v5| {
        let code = if version == Version::V4 { v4 } else { v5 };
        Err(Refused { why, answer: Some((version, code)) })
    };
    if connect.authentication_method {
        return answer("method", V4_NOT_AUTHORIZED, reason::BAD_AUTHENTICATION_METHOD);
    }
    if connect.client_id.is_empty() {
        return answer("client_id", V4_IDENTIFIER_REJECTED, reason::CLIENT_ID_INVALID);
    }
    let directory = gate.store.directory();
    let Some(Proven { device, by_certificate }) = auth::authenticate(directory, &connect, names) else {
        return Err(Refused::credential(version));
    };
    let will = match &connect.will {
        Some(will) if will.qos > 1 => return answer("will", V4_NOT_AUTHORIZED, reason::QOS_NOT_SUPPORTED),
        Some(will) if will.retain => return answer("will", V4_NOT_AUTHORIZED, reason::RETAIN_NOT_SUPPORTED),
        Some(will) => Some(own_will(&device, will).ok_or(Refused::credential(version))?),
        None => None,
    };
    let id = device.id.clone();
    // A device that comes back again and again waits; it may not keep the others from coming in.
    if timeout_at(deadline, gate.returns.pass(&id)).await.is_err() {
        return Err(Refused::silent("returns"));
    }
    let (seat, kept) = gate.table.enter(device, by_certificate).await;
    if directory.device(id.as_str()).is_none_or(|now| now.revoked) {
        return Err(Refused::credential(version)); // withdrawn in this very moment
    }
    Ok(opening(gate, &connect, seat, kept, will))
}

/// The will, if it is one of the device's own messages.
fn own_will(device: &Arc<vitals::Device>, will: &codec::Will<'_>) -> Option<Will> {
    let tree = subscriptions::tree(&device.kind)?;
    let route = topic::parse_up(tree, &device.id, will.topic)?;
    let payload = Bytes::copy_from_slice(will.payload);
    let uplink = Uplink { device: device.clone(), tree, route, payload, wants_receipt: false, will: true };
    Some(Will { uplink, delay: Duration::from_secs(u64::from(will.delay)) })
}

fn opening(
    gate: &Gate,
    connect: &Connect<'_>,
    seat: crate::table::Seat,
    kept: Option<crate::table::Kept>,
    will: Option<Will>,
) -> Opening {
    let longest = gate.config.session_expiry;
    let expiry = match (connect.version, connect.clean) {
        (Version::V4, true) => 0,
        (Version::V4, false) => longest,
        (Version::V5, _) => connect.session_expiry.min(longest),
    };
    let keep_alive = if connect.keep_alive == 0 { gate.config.keep_alive } else { connect.keep_alive };
    let kept = kept.filter(|_| !connect.clean);
    let announced = encode::Announced {
        receive_maximum: gate.config.limits.in_flight,
        maximum_packet_size: u32::try_from(gate.config.limits.packet_size).unwrap_or(u32::MAX),
        topic_alias_maximum: TOPIC_ALIASES,
        keep_alive: (connect.keep_alive == 0).then_some(keep_alive),
        session_expiry: (expiry != connect.session_expiry).then_some(expiry),
    };
    let mut connack = BytesMut::with_capacity(48);
    encode::accepted(&mut connack, connect.version, kept.is_some(), &announced);
    Opening {
        version: connect.version,
        seat,
        kept,
        will,
        connack,
        // 1.5 x, as the protocol has it.
        silence: Duration::from_secs(u64::from(keep_alive)) * 3 / 2,
        expiry: Duration::from_secs(u64::from(expiry)),
        asked_expiry: connect.session_expiry > 0,
        receive_maximum: connect.receive_maximum,
        maximum_packet_size: connect.maximum_packet_size,
    }
}
