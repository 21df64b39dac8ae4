//! A socket as hyper wants it. It gathers what it is given: hyper flushes after each frame with data, and a system call
//! per frame would cost more than all the rest.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::socket::{Connect, Socket};
use crate::stream::{Fed, Stream};
use crate::worker::Worker;

/// hyper's end of a connection.
pub(super) struct Io<S, C: Connect> {
    stream: Shared<S>,
    worker: Rc<Worker<C>>,
    flushing: Flushing,
}

/// The socket, for hyper and for whoever drives the connection.
pub(super) type Shared<S> = Rc<RefCell<Stream<S>>>;

/// When what was gathered is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushing {
    /// When hyper says so.
    ByHyper,
    /// At the end of each [`poll_turn`]: for connections whose one future does all that there is to do.
    ByTurn,
}

/// Bytes from which on nothing more is gathered before they are sent: what one write of a large body takes.
const MOST: usize = 64 << 10;

impl<S, C: Connect> Io<S, C> {
    pub(super) fn new(stream: Stream<S>, worker: Rc<Worker<C>>, flushing: Flushing) -> (Self, Shared<S>) {
        let stream = Rc::new(RefCell::new(stream));
        (Self { stream: Rc::clone(&stream), worker, flushing }, stream)
    }
}

/// Polls a connection of hyper's, and sends what it has written; ready when either has ended.
pub(super) fn poll_turn<S: Socket, C: Connect, T>(
    connection: Pin<&mut impl Future<Output = T>>,
    stream: &Shared<S>,
    worker: &Worker<C>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let ended = connection.poll(cx).is_ready();
    let mut stream = stream.borrow_mut();
    let sent = stream.poll_flush(cx);
    stream.rest(&worker.buffers);
    match sent {
        // What is left is for nobody.
        Poll::Ready(Err(_)) => Poll::Ready(()),
        _ if ended => Poll::Ready(()),
        _ => Poll::Pending,
    }
}

impl<S: Socket, C: Connect> Read for Io<S, C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut take = |input: &mut &[u8]| {
            let (taken, left) = input.split_at(input.len().min(into.remaining()));
            into.put_slice(taken);
            *input = left;
        };
        let mut stream = self.stream.borrow_mut();
        if stream.feed_received(&mut take).is_none() {
            match ready!(stream.poll_feed(cx, &self.worker.buffers, |input, _| take(input)))? {
                Fed::Some(()) | Fed::End => {}
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket, C: Connect> Write for Io<S, C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.flushing {
            Flushing::ByTurn => Poll::Ready(Ok(())),
            Flushing::ByHyper => {
                let mut stream = self.stream.borrow_mut();
                ready!(stream.poll_flush(cx))?;
                stream.rest(&self.worker.buffers);
                Poll::Ready(Ok(()))
            }
        }
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
