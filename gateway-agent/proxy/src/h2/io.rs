//! A socket as hyper wants it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::ReadBuf;

use crate::socket::{Connect, Socket};
use crate::worker::Worker;

/// A socket, and what was read from it before.
pub(super) struct Io<S, C: Connect> {
    socket: S,
    before: Vec<u8>,
    worker: Rc<Worker<C>>,
}

impl<S, C: Connect> Io<S, C> {
    pub(super) fn new(socket: S, before: Vec<u8>, worker: Rc<Worker<C>>) -> Self {
        Self { socket, before, worker }
    }
}

impl<S: Socket, C: Connect> Read for Io<S, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let len = self.before.len().min(into.remaining());
            into.put_slice(&self.before[..len]);
            self.before.drain(..len);
            return Poll::Ready(Ok(()));
        }
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.buffers.scratch();
        let len = scratch.len().min(into.remaining());
        let mut read = ReadBuf::new(&mut scratch[..len]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
        into.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket, C: Connect> Write for Io<S, C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }
}
