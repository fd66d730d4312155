//! MQTT over WebSocket (RFC 6455): the opening request, then frames that carry a stream of bytes.
//!
//! Goes in: a connection on which a browser speaks. Comes out: the same as a plain byte stream.
//! Must never: hold a whole message (frames are unmasked as they arrive), or take text, extensions or unmasked frames.

use base64::Engine;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha1::{Digest, Sha1};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Longest opening request.
const REQUEST: usize = 8192;
/// Bytes read at a time.
const CHUNK: usize = 4096;
/// Longest frame written; a longer write becomes several frames.
const FRAME: usize = 65_536;
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What the opening request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Opening {
    /// A WebSocket for MQTT; the value of `Sec-WebSocket-Accept`.
    Accept(String),
    /// Anything else: the answer.
    Refuse(&'static str),
}

/// Answers the opening request; the caller bounds its time.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<WebSocket<S>> {
    let mut input = BytesMut::with_capacity(1024);
    let end = loop {
        if let Some(at) = input.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if input.len() > REQUEST {
            return Err(invalid("the opening request is too long"));
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let request = input.split_to(end).freeze();
    match opening(&request) {
        Opening::Refuse(answer) => {
            let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            Err(invalid("no WebSocket for MQTT was asked for"))
        }
        Opening::Accept(key) => {
            let text = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await?;
            Ok(WebSocket::new(stream, input))
        }
    }
}

fn opening(request: &Bytes) -> Opening {
    let Ok(text) = std::str::from_utf8(request) else { return Opening::Refuse("400 Bad Request") };
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target, version) = (first.next(), first.next().unwrap_or_default(), first.next());
    if method != Some("GET") || version != Some("HTTP/1.1") {
        return Opening::Refuse("405 Method Not Allowed");
    }
    if target.split('?').next() != Some("/mqtt") {
        return Opening::Refuse("404 Not Found");
    }
    let headers: Vec<(&str, &str)> =
        lines.filter_map(|l| l.split_once(':')).map(|(name, value)| (name.trim(), value.trim())).collect();
    let values =
        |name: &'static str| headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v);
    let lists = |name, word: &str| values(name).flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(word));
    if !lists("upgrade", "websocket") || !lists("connection", "upgrade") {
        return Opening::Refuse("426 Upgrade Required\r\nUpgrade: websocket");
    }
    if values("sec-websocket-version").next() != Some("13") {
        return Opening::Refuse("426 Upgrade Required\r\nSec-WebSocket-Version: 13");
    }
    let decoded = |k: &&str| base64::engine::general_purpose::STANDARD.decode(k).is_ok_and(|k| k.len() == 16);
    match values("sec-websocket-key").next().filter(decoded) {
        Some(key) if lists("sec-websocket-protocol", "mqtt") => {
            let digest = Sha1::new_with_prefix(key).chain_update(MAGIC).finalize();
            Opening::Accept(base64::engine::general_purpose::STANDARD.encode(digest))
        }
        _ => Opening::Refuse("400 Bad Request"),
    }
}

/// The frame whose payload is arriving.
#[derive(Debug, Default)]
struct Frame {
    left: u64,
    mask: [u8; 4],
    at: usize,
    /// A message is under way whose last frame has not come.
    unfinished: bool,
}

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A byte stream within WebSocket frames.
pub(crate) struct WebSocket<S> {
    stream: S,
    input: BytesMut,
    /// Frames not yet written; at most one of our own and a few answers to pings.
    output: BytesMut,
    frame: Frame,
    closed: bool,
}

/// A control or data frame's beginning, taken off the input.
enum Next {
    Data,
    Nothing,
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    fn new(stream: S, input: BytesMut) -> Self {
        Self { stream, input, output: BytesMut::new(), frame: Frame::default(), closed: false }
    }

    /// The next frame's beginning, or a control frame whole.
    fn begin(&mut self) -> io::Result<Next> {
        let b = &self.input[..];
        if b.len() < 2 {
            return Ok(Next::Nothing);
        }
        let (fin, opcode, masked, short) = (b[0] & 0x80 != 0, b[0] & 0x0F, b[1] & 0x80 != 0, b[1] & 0x7F);
        if b[0] & 0x70 != 0 || !masked {
            return Err(invalid("extension bits or an unmasked frame"));
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let header = 2 + extended + 4;
        if b.len() < header {
            return Ok(Next::Nothing);
        }
        let length = match short {
            126 => u64::from(u16::from_be_bytes([b[2], b[3]])),
            127 => u64::from_be_bytes([b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9]]),
            n => u64::from(n),
        };
        let mask = [b[header - 4], b[header - 3], b[header - 2], b[header - 1]];
        match opcode {
            BINARY | CONTINUATION if (opcode == CONTINUATION) == self.frame.unfinished => {
                self.input.advance(header);
                self.frame = Frame { left: length, mask, at: 0, unfinished: !fin };
                Ok(Next::Data)
            }
            CLOSE | PING | PONG if fin && extended == 0 => {
                let end = header + usize::from(short);
                if b.len() < end {
                    return Ok(Next::Nothing);
                }
                let mut payload = self.input.split_to(end).split_off(header);
                payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= mask[i & 3]);
                Ok(self.control(opcode, &payload))
            }
            _ => Err(invalid("a frame that is not binary, or out of order")),
        }
    }

    fn control(&mut self, opcode: u8, payload: &[u8]) -> Next {
        // Answers pile up only as fast as they are taken; one that sends pings and reads nothing gets no more.
        if opcode != PONG && self.output.len() < FRAME {
            let answer = if opcode == PING { PONG } else { CLOSE };
            self.output.put_u8(0x80 | answer);
            self.output.put_u8(u8::try_from(payload.len()).unwrap_or(0));
            self.output.put_slice(payload);
        }
        if opcode == CLOSE { Next::Closed } else { Next::Data }
    }

    /// Moves payload bytes of the present frame to `out`.
    fn unmask(&mut self, out: &mut ReadBuf<'_>) {
        let most = self.input.len().min(out.remaining());
        let n = usize::try_from(self.frame.left).unwrap_or(usize::MAX).min(most);
        let mut chunk = self.input.split_to(n);
        for byte in chunk.iter_mut() {
            *byte ^= self.frame.mask[self.frame.at & 3];
            self.frame.at = (self.frame.at + 1) & 3;
        }
        self.frame.left -= n as u64;
        out.put_slice(&chunk);
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.closed {
                let _ = this.poll_drain(cx)?;
                return Poll::Ready(Ok(()));
            }
            if this.frame.left > 0 && !this.input.is_empty() {
                this.unmask(out);
                return Poll::Ready(Ok(()));
            }
            if this.frame.left == 0 {
                match this.begin()? {
                    Next::Data => continue,
                    Next::Closed => {
                        this.closed = true;
                        continue;
                    }
                    Next::Nothing => {}
                }
            }
            if !this.output.is_empty() {
                let _ = this.poll_drain(cx)?; // answers to pings go out even when nobody writes
                let _ = Pin::new(&mut this.stream).poll_flush(cx)?;
            }
            let mut chunk = [0_u8; CHUNK];
            let mut buffer = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.input.extend_from_slice(buffer.filled());
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_drain(cx))?;
        let n = bytes.len().min(FRAME);
        this.output.put_u8(0x80 | BINARY);
        match u16::try_from(n) {
            Ok(short @ 0..=125) => this.output.put_slice(&short.to_be_bytes()[1..]),
            Ok(medium) => {
                this.output.put_u8(126);
                this.output.put_u16(medium);
            }
            Err(_) => {
                this.output.put_u8(127);
                this.output.put_u64(n as u64);
            }
        }
        this.output.put_slice(&bytes[..n]);
        // What does not go out now goes out with the next write or flush; the bytes are taken either way.
        let _ = this.poll_drain(cx)?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.closed = true;
            self.output.put_slice(&[0x80 | CLOSE, 2, 0x03, 0xE8]); // 1000, as usual
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST_TEXT: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
        out.extend(mask);
        out.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i & 3]));
        out
    }

    #[test]
    fn only_mqtt_on_its_path_is_let_in() {
        let ask = |text: &str| opening(&Bytes::copy_from_slice(text.as_bytes()));
        // The key and answer are the example of RFC 6455, section 1.3.
        assert_eq!(ask(REQUEST_TEXT), Opening::Accept("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into()));
        for (from, to) in
            [("/mqtt", "/other"), ("GET", "POST"), (": 13", ": 8"), ("ocol: mqtt", "ocol: chat"), ("Key: d", "Key: ")]
        {
            assert!(matches!(ask(&REQUEST_TEXT.replacen(from, to, 1)), Opening::Refuse(_)), "{to}");
        }
    }

    #[tokio::test]
    async fn fragments_pings_and_closes_are_understood() {
        let (mut client, server) = tokio::io::duplex(65_536);
        client.write_all(REQUEST_TEXT.as_bytes()).await.unwrap();
        let mut ws = accept(server).await.unwrap();
        let mut answer = vec![0; 512];
        let n = client.read(&mut answer).await.unwrap();
        assert!(answer[..n].starts_with(b"HTTP/1.1 101"));
        for frame in [
            masked(0x02, b"ab"),
            masked(0x89, b"hi"),
            masked(0x00, b"c"),
            masked(0x80, b""),
            masked(0x82, b"d"),
            masked(0x88, b""),
        ] {
            client.write_all(&frame).await.unwrap();
        }
        let mut got = Vec::new();
        ws.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"abcd");
        let n = client.read(&mut answer).await.unwrap();
        assert_eq!(&answer[..n], b"\x8a\x02hi\x88\x00");
    }

    #[tokio::test]
    async fn bytes_go_out_in_binary_frames() {
        for (length, header) in [(5, 2), (300, 4), (65_536, 10)] {
            let (mut reader, stream) = tokio::io::duplex(1 << 20);
            let mut ws = WebSocket::new(stream, BytesMut::new());
            ws.write_all(&vec![7; length]).await.unwrap();
            ws.flush().await.unwrap();
            let mut out = vec![0; header + length];
            reader.read_exact(&mut out).await.unwrap();
            assert_eq!((out[0], out[header - 1 + length]), (0x82, 7), "{length}");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_masked_binary_frame_ends_it() {
        for bad in
            [vec![0x82, 1, b'a'], masked(0x81, b"text"), masked(0xC2, b"x"), masked(0x80, b"x"), masked(0x09, b"x")]
        {
            let (mut client, server) = tokio::io::duplex(4096);
            client.write_all(REQUEST_TEXT.as_bytes()).await.unwrap();
            let mut ws = accept(server).await.unwrap();
            client.write_all(&bad).await.unwrap();
            assert!(ws.read(&mut [0; 9]).await.is_err(), "{bad:x?}");
        }
    }
}
