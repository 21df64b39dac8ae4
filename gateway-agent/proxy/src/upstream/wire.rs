//! The ways to an endpoint.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use gateway_agent_tables::http::BackendProtocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::h2;
use crate::socket::{Connect, Socket};
use crate::worker::Worker;

/// Something that takes requests in HTTP/1.1.
#[derive(Debug)]
pub(crate) enum Wire<S> {
    /// The endpoint speaks it.
    Socket(S),
    /// A stream of HTTP/2 that ends when the other half of the channel is dropped.
    Http2(h2::Pipe, #[expect(dead_code, reason = "the other half waits for its end")] oneshot::Sender<()>),
}

/// A new way to an endpoint.
pub(crate) async fn connect<C: Connect>(
    worker: &Rc<Worker<C>>,
    endpoint: SocketAddr,
    protocol: BackendProtocol,
) -> io::Result<Wire<C::Socket>> {
    match protocol {
        BackendProtocol::Http1 | BackendProtocol::WebSocket => {
            Ok(Wire::Socket(worker.connector.connect(endpoint).await?))
        }
        BackendProtocol::Http2 => {
            let (pipe, alive) = h2::open(worker, endpoint).await?;
            Ok(Wire::Http2(pipe, alive))
        }
    }
}

impl<S: Socket> Socket for Wire<S> {
    fn is_quiet(&mut self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_quiet(),
            Self::Http2(pipe, _) => pipe.is_quiet(),
        }
    }
}

impl<S: Socket> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Http2(pipe, _) => Pin::new(pipe).poll_read(cx, into),
        }
    }
}

impl<S: Socket> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, data),
            Self::Http2(pipe, _) => Pin::new(pipe).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Self::Http2(pipe, _) => Pin::new(pipe).poll_write_vectored(cx, parts),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Self::Http2(pipe, _) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Http2(pipe, _) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
