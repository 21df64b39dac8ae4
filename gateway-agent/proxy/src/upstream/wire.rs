//! The ways to an endpoint.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use gateway_agent_tables::http::BackendProtocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::h2;
use crate::socket::{Connect, Socket};
use crate::worker::Worker;

/// Something that takes requests in HTTP/1.1.
#[derive(Debug)]
pub(crate) enum Wire<S> {
    /// The endpoint speaks it.
    Socket(S),
    /// It speaks HTTP/2. Apart: connections that are kept, which are all of the other kind, have no room for it.
    Http2(Box<h2::Call>),
}

impl<S> Wire<S> {
    /// Whether it is a part of a connection that had requests before.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Socket(_) => false,
            Self::Http2(call) => call.is_reused(),
        }
    }

    /// By then the answer to a call of gRPC must be there.
    pub(crate) fn expire(&mut self, at: Option<Instant>) {
        if let Self::Http2(call) = self {
            call.expire(at);
        }
    }

    /// The head of the request that is about to be written, for an endpoint that speaks HTTP/2.
    pub(crate) fn announce(&mut self, head: Option<Box<h2::Head>>) {
        if let (Self::Http2(call), Some(head)) = (self, head) {
            call.announce(head);
        }
    }

    /// The head that comes next of the answer; None: it is to be read, or what follows it.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<h2::Answered>> {
        match self {
            Self::Socket(_) => Poll::Ready(None),
            Self::Http2(call) => call.poll_head(cx),
        }
    }

    /// The client has not taken what was read.
    pub(crate) fn stick(&mut self, cx: &mut Context<'_>) {
        if let Self::Http2(call) = self {
            call.stick(cx);
        }
    }

    /// Why the endpoint has not answered, if it has said so.
    pub(crate) fn reset(&self) -> Option<h2::Reset> {
        match self {
            Self::Socket(_) => None,
            Self::Http2(call) => call.reset(),
        }
    }
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
        BackendProtocol::Http2 => Ok(Wire::Http2(Box::new(h2::open(worker, endpoint).await?))),
    }
}

impl<S: Socket> Socket for Wire<S> {
    fn is_quiet(&mut self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_quiet(),
            Self::Http2(call) => call.is_quiet(),
        }
    }
}

impl<S: Socket> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Http2(call) => Pin::new(&mut **call).poll_read(cx, into),
        }
    }
}

impl<S: Socket> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, data),
            Self::Http2(call) => Pin::new(&mut **call).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Self::Http2(call) => Pin::new(&mut **call).poll_write_vectored(cx, parts),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Self::Http2(call) => Pin::new(&mut **call).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Http2(call) => Pin::new(&mut **call).poll_shutdown(cx),
        }
    }
}
