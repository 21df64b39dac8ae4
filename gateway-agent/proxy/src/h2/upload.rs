//! A request's body on its way into the pipe, from a client that speaks HTTP/2.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use tokio::io::AsyncWrite as _;

use super::backlog::{Backlog, Stuck};
use super::message;
use super::pipe::Pipe;
use crate::h1::{BodyWriter, Framing};
use crate::socket::Connect;
use crate::stream::Stream;
use crate::worker::Worker;

pub(super) struct Upload<C: Connect> {
    worker: Rc<Worker<C>>,
    /// None: all of it came, or no more will.
    body: Option<RecvStream>,
    writer: BodyWriter,
    pipe: Stream<Pipe>,
    /// Bytes that wait for the pipe, which the client's windows lack.
    untaken: usize,
    backlog: Rc<Backlog>,
    /// The exchange doesn't take what came.
    stuck: Option<Stuck>,
}

/// What comes of a body.
enum Part {
    Data(Bytes),
    End(HeaderMap),
    /// The client breaks off.
    Broken,
}

impl<C: Connect> Upload<C> {
    pub(super) fn new(
        body: RecvStream,
        framing: Framing,
        pipe: Pipe,
        worker: &Rc<Worker<C>>,
        backlog: &Rc<Backlog>,
    ) -> Self {
        let writer = if framing == Framing::Chunked { BodyWriter::Chunked } else { BodyWriter::Plain };
        let (worker, pipe, backlog) = (Rc::clone(worker), Stream::new(pipe), Rc::clone(backlog));
        Self { worker, body: Some(body), writer, pipe, untaken: 0, backlog, stuck: None }
    }

    /// Passes on what comes; ready when there is no more. What the exchange doesn't take waits here: h2 would keep a large
    /// entry for each small frame.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let sent = self.pipe.poll_flush(cx);
            match &sent {
                Poll::Ready(Ok(())) => self.rest(),
                // The exchange has ended.
                Poll::Ready(Err(_)) => self.body = None,
                Poll::Pending if self.stuck.is_none() => self.stuck = Some(self.backlog.stick()),
                Poll::Pending => {}
            }
            let Some(body) = &mut self.body else { return sent.map(drop) };
            let Poll::Ready(part) = poll_part(body, cx) else {
                if sent.is_pending() {
                    self.pipe.hold(&self.worker.buffers);
                }
                return Poll::Pending;
            };
            let out = self.pipe.waiting(&self.worker.buffers);
            match part {
                Part::Data(data) => {
                    self.untaken += data.len();
                    if !data.is_empty() {
                        self.writer.frame(&data, out);
                    }
                }
                Part::End(trailers) => {
                    self.writer.finish(&message::lines(&trailers), out);
                    self.body = None;
                }
                Part::Broken => {
                    self.body = None;
                    return Pin::new(&mut self.pipe.socket).poll_shutdown(cx).map(drop);
                }
            }
        }
    }

    /// All that came is in the pipe: the client may send as much again.
    fn rest(&mut self) {
        self.stuck = None;
        self.pipe.rest(&self.worker.buffers);
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

impl<C: Connect> Drop for Upload<C> {
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
