//! Connections that can be ended from our side: after the drain's patience a half-sent request must not keep the store.
//!
//! Goes in: a listener and a word that tells when to end. Comes out: connections that fail to read from then on.
//! Must never: look at what goes through.

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// The listener.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    /// True, or its sender gone: every connection ends.
    pub(crate) shut: watch::Receiver<bool>,
}

impl Listener for Door {
    type Io = Passage;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Passage, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let mut shut = self.shut.clone();
        let shut = Box::pin(async move { drop(shut.wait_for(|shut| *shut).await) });
        (Passage { stream, shut, over: false }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection.
pub(crate) struct Passage {
    stream: TcpStream,
    shut: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
}

impl AsyncRead for Passage {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        // Asked only where there is nothing to read; that poll is also what wakes a reader that waits.
        if read.is_pending() && (self.over || self.shut.as_mut().poll(cx).is_ready()) {
            self.over = true;
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl AsyncWrite for Passage {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
