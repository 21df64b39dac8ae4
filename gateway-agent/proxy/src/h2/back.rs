//! Requests to endpoints that speak HTTP/2.
//!
//! A request is a [`Call`], which the task that forwards it
//! reads and writes like a socket, and one task for each connection sends what all of them have written in a turn.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::backlog::Stuck;
use super::connections::{self, Place};
use super::head::{Answered, Asked, Head};
use super::reset::Reset;
use super::{message, outgoing, windows};
use crate::filter::{GRPC_TIMEOUT, grpc_timeout, write_grpc_timeout};
use crate::h1::{BodyReader, BodyWriter, Framing, HeadLimits, Piece};
use crate::held::{Held, Ledger};
use crate::socket::{Connect, Socket};
use crate::worker::Worker;

/// A way to this endpoint for one request in HTTP/1.1. The request is given up when the call is dropped.
pub(crate) async fn open<C: Connect>(worker: &Rc<Worker<C>>, endpoint: SocketAddr) -> io::Result<Call> {
    Ok(Call {
        place: connections::place(worker, endpoint).await?,
        announced: None,
        upload: Upload::Head,
        answer: Answer::Unasked,
        translated: Vec::new(),
        untaken: 0,
        kept: None,
        ledger: worker.buffers.ledger().clone(),
        held: None,
        stuck: None,
        expires: None,
    })
}

/// One request of HTTP/2, which is written in HTTP/1.1, its head at once, and whose answer is read in HTTP/1.1. What fails
/// ends the answer, as an endpoint that closes its connection would.
#[derive(Debug)]
pub(crate) struct Call {
    place: Place,
    announced: Option<Box<Head>>,
    upload: Upload,
    answer: Answer,
    /// Of the answer, in HTTP/1.1, and not read yet.
    translated: Vec<u8>,
    /// Bytes of bodies in it, which the endpoint's windows lack.
    untaken: usize,
    /// Counts it, as far as it is much.
    kept: Option<Held>,
    ledger: Ledger,
    /// What h2 has of the request's body, as far as it is much.
    held: Option<Held>,
    /// What came of the answer is not taken.
    stuck: Option<Stuck>,
    /// When whoever calls by gRPC gives up.
    expires: Option<Instant>,
}

/// How far the request is.
#[derive(Debug)]
enum Upload {
    Head,
    Body(SendStream<Bytes>, BodyReader),
    /// The endpoint has it, or takes no more.
    Done,
}

/// How far the answer is.
#[derive(Debug)]
enum Answer {
    Unasked,
    Head(ResponseFuture, Asked),
    Body(RecvStream, BodyWriter),
    Ended,
    /// As the endpoint has said; None: its connection broke.
    Failed(Option<Reset>),
}

impl Call {
    /// Whether the endpoint had requests on the same connection before, and may be about to close it.
    pub(crate) fn is_reused(&self) -> bool {
        self.place.is_reused
    }

    /// By then the answer must be there, which callers of gRPC tell endpoints.
    pub(crate) fn expire(&mut self, at: Option<Instant>) {
        self.expires = at;
    }

    /// The client has not taken what was read of the answer. What comes meanwhile is kept here: h2 would keep a large entry
    /// for each small frame.
    pub(crate) fn stick(&mut self, cx: &mut Context<'_>) {
        if self.stuck.is_none() {
            self.stuck = Some(windows::stick(self.place.backlog()));
        }
        while self.has_more() && self.translate(cx).is_ready() {}
        self.ledger.hold_more(&mut self.kept, self.translated.capacity());
    }

    /// Why the endpoint has not answered; None: it has, or may still, or its connection broke.
    pub(crate) fn reset(&self) -> Option<Reset> {
        match self.answer {
            Answer::Unasked => Some(Reset::Unprocessed),
            Answer::Failed(reset) => reset,
            Answer::Head(..) | Answer::Body(..) | Answer::Ended => None,
        }
    }

    /// The head of the request that is about to be written.
    pub(crate) fn announce(&mut self, head: Box<Head>) {
        self.announced = Some(head);
    }

    /// Sends a head, and what follows it.
    fn begin(&mut self, written: &[u8]) -> io::Result<()> {
        let head = self.announced.take().map(|head| *head).or_else(|| Head::read(written));
        let Head { mut request, framing, asked, len } = head.ok_or(io::ErrorKind::InvalidInput)?;
        self.shorten(request.headers_mut());
        let reader = BodyReader::new(framing, HeadLimits::CARRIED);
        let sent = self.place.send(request, reader.has_ended());
        let (response, stream) = sent.map_err(io::Error::other)?;
        self.answer = Answer::Head(response, asked);
        self.upload = if reader.has_ended() { Upload::Done } else { Upload::Body(stream, reader) };
        match &written[len..] {
            [] => Ok(()),
            body => self.send(body),
        }
    }

    /// A caller of gRPC tells how long it waits, of which time has passed, in other tries perhaps.
    fn shorten(&self, headers: &mut HeaderMap) {
        if let Some(at) = self.expires
            && let Some(timeout) = headers.get_mut(GRPC_TIMEOUT)
            && grpc_timeout(timeout.as_bytes()).is_some()
        {
            *timeout = write_grpc_timeout(at.saturating_duration_since(Instant::now()));
        }
    }

    /// Gives h2 what comes of the body.
    fn send(&mut self, written: &[u8]) -> io::Result<()> {
        let Upload::Body(stream, reader) = &mut self.upload else { return Ok(()) };
        let (mut input, mut data) = (written, Vec::with_capacity(written.len()));
        while let Piece::Data(piece) = reader.next(&mut input).map_err(io::Error::other)? {
            data.extend_from_slice(piece);
        }
        self.held = self.ledger.hold(data.len());
        self.place.credit().earn_data(data.len());
        let end = reader.has_ended().then(|| message::trailers(reader.trailers()));
        let ends = end.is_some();
        outgoing::give(stream, data, end).map_err(io::Error::other)?;
        if ends {
            self.upload = Upload::Done;
        }
        Ok(())
    }

    /// Waits until h2 has sent what it was given, and has room for more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Upload::Body(stream, _) = &mut self.upload else { return Poll::Ready(Ok(())) };
        ready!(outgoing::poll_room(stream, cx)).map_err(io::Error::other)?;
        self.held = None;
        Poll::Ready(Ok(()))
    }

    /// Whether more of the answer may come.
    fn has_more(&self) -> bool {
        matches!(self.answer, Answer::Head(..) | Answer::Body(..))
    }

    /// Takes the next part of the answer, or how it failed.
    fn translate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = ready!(self.poll_answer(cx)) {
            self.answer = Answer::Failed(Reset::of(&error));
        }
        Poll::Ready(())
    }

    /// So much of what was translated is read: the endpoint may send as much again.
    fn taken(&mut self, len: usize) {
        self.translated.drain(..len);
        let taken = if self.translated.is_empty() { self.untaken } else { self.untaken.min(len) };
        self.untaken -= taken;
        self.place.backlog().remove(taken);
        if let Answer::Body(stream, _) = &mut self.answer {
            // An error: no more than was taken is given back.
            let _ = stream.flow_control().release_capacity(taken);
        }
        if self.translated.is_empty() && self.kept.take().is_some() {
            self.translated = Vec::new();
        }
    }

    /// The head of the answer, or of an interim one, if it comes next: whoever takes it here gets what follows by reading.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<Answered>> {
        if !self.translated.is_empty() {
            return Poll::Ready(None);
        }
        self.stuck = None;
        let taken = ready!(self.take_head(cx));
        if let Err(error) = &taken {
            self.answer = Answer::Failed(Reset::of(error));
        }
        Poll::Ready(taken.ok().flatten())
    }

    /// None: it was taken before.
    fn take_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Answered>, h2::Error>> {
        let Answer::Head(response, asked) = &mut self.answer else { return Poll::Ready(Ok(None)) };
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            let interim = interim?;
            // HTTP/2 has none (RFC 9113, 8.6).
            let switches = interim.status() == StatusCode::SWITCHING_PROTOCOLS;
            return Poll::Ready(if switches {
                Err(Reason::PROTOCOL_ERROR.into())
            } else {
                Ok(Some(Answered::interim(interim)))
            });
        }
        let (answered, body) = Answered::of(ready!(Pin::new(response).poll(cx))?, *asked);
        self.place.credit().earn_answer();
        let is_chunked = answered.framing == Framing::Chunked;
        self.answer = Answer::Body(body, if is_chunked { BodyWriter::Chunked } else { BodyWriter::Plain });
        Poll::Ready(Ok(Some(answered)))
    }

    /// Takes the next part of the answer; ready without one when there is no more.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        match &mut self.answer {
            Answer::Head(..) => {
                if let Some(answered) = ready!(self.take_head(cx))? {
                    answered.write(&mut self.translated);
                }
            }
            Answer::Body(stream, writer) => match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.untaken += data.len();
                    self.place.credit().earn_data(data.len());
                    if !data.is_empty() {
                        writer.frame(&data, &mut self.translated);
                    }
                }
                // It has answered, and wants no more of the request (RFC 9113, 8.1).
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                    writer.finish(&[], &mut self.translated);
                    self.answer = Answer::Ended;
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    let trailers = ready!(stream.poll_trailers(cx))?.unwrap_or_default();
                    writer.finish(&message::lines(&trailers), &mut self.translated);
                    self.answer = Answer::Ended;
                }
            },
            Answer::Unasked | Answer::Ended | Answer::Failed(_) => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.place.backlog().remove(self.untaken);
    }
}

impl Socket for Call {
    /// It serves one exchange and is never used again.
    fn is_quiet(&mut self) -> bool {
        false
    }
}

impl AsyncRead for Call {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.stuck = None;
        // A small answer is read at once: head, body and trailers.
        while this.translated.len() < into.remaining() && this.has_more() {
            if this.translate(cx).is_pending() {
                if this.translated.is_empty() {
                    return Poll::Pending;
                }
                break;
            }
        }
        if this.translated.is_empty() && !matches!(this.answer, Answer::Ended) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let len = this.translated.len().min(into.remaining());
        into.put_slice(&this.translated[..len]);
        this.taken(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Call {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &this.upload {
            Upload::Head => this.begin(data),
            Upload::Body(..) => ready!(this.poll_room(cx)).and_then(|()| this.send(data)),
            Upload::Done => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if written.is_err() {
            this.upload = Upload::Done;
        }
        Poll::Ready(written.map(|()| data.len()))
    }

    /// The connection's task sends it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
