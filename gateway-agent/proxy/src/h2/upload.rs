//! A request's body on its way from a client that speaks HTTP/2.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::backlog::{Backlog, Stuck};
use super::message;
use crate::h1::{BodyWriter, Framing};
use crate::held::{Held, Ledger};
use crate::stream::Fed;

#[derive(Debug)]
pub(super) struct Upload {
    /// None: all of it came, or no more will.
    body: Option<RecvStream>,
    writer: BodyWriter,
    /// What came, in HTTP/1.1's framing, and the exchange has not taken.
    received: Vec<u8>,
    /// Bytes of it that the client's windows lack.
    untaken: usize,
    /// Bytes that the exchange has taken.
    taken: u64,
    backlog: Rc<Backlog>,
    /// The exchange doesn't take what came.
    stuck: Option<Stuck>,
    ledger: Ledger,
    /// Counts what was received, as far as it is much.
    held: Option<Held>,
}

/// What comes of a body.
enum Part {
    Data(Bytes),
    End(HeaderMap),
    /// The client breaks off.
    Broken,
}

impl Upload {
    pub(super) fn new(body: RecvStream, framing: Framing, backlog: &Rc<Backlog>, ledger: &Ledger) -> Self {
        Self {
            body: (framing != Framing::None).then_some(body),
            writer: if framing == Framing::Chunked { BodyWriter::Chunked } else { BodyWriter::Plain },
            received: Vec::new(),
            untaken: 0,
            taken: 0,
            backlog: Rc::clone(backlog),
            stuck: None,
            ledger: ledger.clone(),
            held: None,
        }
    }

    /// Bytes of the body, as the exchange has seen it.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes all that came from h2, which would keep a large entry for each small frame.
    pub(super) fn gather(&mut self, cx: &mut Context<'_>) {
        while let Some(body) = &mut self.body {
            let Poll::Ready(part) = poll_part(body, cx) else { return };
            match part {
                Part::Data(data) => {
                    self.untaken += data.len();
                    if !data.is_empty() {
                        self.writer.frame(&data, &mut self.received);
                    }
                }
                Part::End(trailers) => {
                    self.writer.finish(&message::lines(&trailers), &mut self.received);
                    self.body = None;
                }
                Part::Broken => self.body = None,
            }
        }
    }

    /// Gives what came to `f`, which takes what it consumes from its input.
    pub(super) fn poll_feed<T>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut &[u8], &mut Context<'_>) -> T,
    ) -> Poll<io::Result<Fed<T>>> {
        if self.received.is_empty() {
            self.gather(cx);
        }
        if self.received.is_empty() {
            return if self.body.is_some() { Poll::Pending } else { Poll::Ready(Ok(Fed::End)) };
        }
        let mut input = &self.received[..];
        let made = f(&mut input, cx);
        let taken = self.received.len() - input.len();
        self.received.drain(..taken);
        self.taken += taken as u64;
        if self.received.is_empty() {
            self.rest();
        }
        Poll::Ready(Ok(Fed::Some(made)))
    }

    /// The exchange had its turn: what it has not taken waits.
    pub(super) fn settle(&mut self) {
        if self.received.is_empty() {
            return;
        }
        if self.stuck.is_none() {
            self.stuck = Some(self.backlog.stick());
        }
        self.ledger.hold_more(&mut self.held, self.received.capacity());
    }

    /// All that came is taken: the client may send as much again.
    fn rest(&mut self) {
        self.stuck = None;
        if self.held.take().is_some() {
            self.received = Vec::new();
        }
        let taken = std::mem::take(&mut self.untaken);
        if taken > 0 {
            self.backlog.remove(taken);
            if let Some(body) = &mut self.body {
                // An error: no more than was taken is given back.
                let _ = body.flow_control().release_capacity(taken);
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.backlog.remove(self.untaken);
    }
}

fn poll_part(body: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Part> {
    Poll::Ready(match ready!(body.poll_data(cx)) {
        Some(Ok(data)) => Part::Data(data),
        Some(Err(_)) => Part::Broken,
        None => match ready!(body.poll_trailers(cx)) {
            Ok(trailers) => Part::End(trailers.unwrap_or_default()),
            Err(_) => Part::Broken,
        },
    })
}
