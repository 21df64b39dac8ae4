//! A socket as h2 wants it. It gathers what it is given: h2 flushes after each frame with data, and a system call per
//! frame would cost more than all the rest.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::backlog::Backlog;
use super::flood::{Credit, Frames};
use crate::socket::{Connect, Socket};
use crate::stream::{Fed, Stream};
use crate::worker::Worker;

/// h2's end of a connection. What was gathered is sent at the end of each [`poll_turn`].
pub(super) struct Io<S, C: Connect> {
    stream: Shared<S>,
    worker: Rc<Worker<C>>,
    guard: Guard,
}

/// The socket, for h2 and for whoever drives the connection.
pub(super) type Shared<S> = Rc<RefCell<Stream<S>>>;

/// What is made of what a peer sends: the connection ends when its credit does, and no more is read than the backlog has
/// room for.
pub(super) struct Guard {
    pub(super) credit: Rc<Credit>,
    pub(super) frames: Frames,
    pub(super) backlog: Rc<Backlog>,
}

/// Bytes from which on nothing more is gathered before they are sent: what one write of a large body takes.
const MOST: usize = 64 << 10;

impl<S, C: Connect> Io<S, C> {
    pub(super) fn new(stream: Stream<S>, worker: Rc<Worker<C>>, guard: Guard) -> (Self, Shared<S>) {
        let stream = Rc::new(RefCell::new(stream));
        (Self { stream: Rc::clone(&stream), worker, guard }, stream)
    }
}

/// Polls a connection of h2's, and sends what it has written; ready when it has ended (with how it did) or the socket
/// has failed.
pub(super) fn poll_turn<S: Socket, C: Connect, T>(
    connection: Pin<&mut impl Future<Output = T>>,
    stream: &Shared<S>,
    worker: &Worker<C>,
    cx: &mut Context<'_>,
) -> Poll<Option<T>> {
    let turn = connection.poll(cx);
    let mut stream = stream.borrow_mut();
    let sent = stream.poll_flush(cx);
    stream.rest(&worker.buffers);
    if sent.is_pending() {
        stream.hold(&worker.buffers);
    }
    match (turn, sent) {
        // What is left is for nobody.
        (Poll::Ready(end), _) => Poll::Ready(Some(end)),
        (Poll::Pending, Poll::Ready(Err(_))) => Poll::Ready(None),
        (Poll::Pending, _) => Poll::Pending,
    }
}

impl<S: Socket, C: Connect> AsyncRead for Io<S, C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, worker, guard: Guard { credit, frames, backlog } } = self.get_mut();
        ready!(backlog.poll_room(cx));
        let mut take = |input: &mut &[u8]| {
            let (taken, left) = input.split_at(input.len().min(into.remaining()));
            let of_bodies = credit.pay(frames, taken, worker.deadlines.now()).map_err(io::Error::other)?;
            backlog.add(taken.len(), of_bodies);
            into.put_slice(taken);
            *input = left;
            Ok(())
        };
        let mut stream = stream.borrow_mut();
        if let Some(taken) = stream.feed_received(&mut take) {
            return Poll::Ready(taken);
        }
        match ready!(stream.poll_feed(cx, &worker.buffers, |input, _| take(input)))? {
            Fed::Some(taken) => Poll::Ready(taken),
            Fed::End => Poll::Ready(Ok(())),
        }
    }
}

impl<S: Socket, C: Connect> AsyncWrite for Io<S, C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream.borrow_mut();
        ready!(stream.poll_flush(cx))?;
        Pin::new(&mut stream.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let gathered = stream.waiting(&self.worker.buffers);
        if gathered.len() >= MOST {
            ready!(stream.poll_flush(cx))?;
        }
        let gathered = stream.waiting(&self.worker.buffers);
        for part in parts {
            gathered.extend_from_slice(part);
        }
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }
}
