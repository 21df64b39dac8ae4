//! A socket as hyper wants it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::ReadBuf;

use super::PREFACE;
use super::flood::{Credit, Frames};
use crate::socket::{Connect, Socket};
use crate::worker::Worker;

/// A socket, and what was read from it before.
pub(super) struct Io<S, C: Connect> {
    socket: S,
    before: Vec<u8>,
    worker: Rc<Worker<C>>,
    /// None: an endpoint, whose frames are taken as they come.
    guard: Option<(Rc<Credit>, Frames)>,
}

impl<S, C: Connect> Io<S, C> {
    pub(super) fn new(socket: S, before: Vec<u8>, worker: Rc<Worker<C>>) -> Self {
        Self { socket, before, worker, guard: None }
    }

    /// Ends the connection when the client's credit does.
    pub(super) fn with_credit(self, credit: Rc<Credit>) -> Self {
        Self { guard: Some((credit, Frames::after(PREFACE.len()))), ..self }
    }

    fn check(&mut self, read: &[u8]) -> io::Result<()> {
        let now = self.worker.deadlines.now();
        match &mut self.guard {
            Some((credit, frames)) => credit.pay(frames, read, now).map_err(io::Error::other),
            None => Ok(()),
        }
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
            let taken: Vec<u8> = self.before.drain(..len).collect();
            self.check(&taken)?;
            into.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.buffers.scratch();
        let len = scratch.len().min(into.remaining());
        let mut read = ReadBuf::new(&mut scratch[..len]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
        self.check(read.filled())?;
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
