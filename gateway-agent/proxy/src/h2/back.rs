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
use http::header::{CONTENT_LENGTH, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::backlog::Stuck;
use super::connections::{self, Place};
use super::reset::Reset;
use super::{message, outgoing, windows};
use crate::filter::{GRPC_TIMEOUT, grpc_timeout, write_grpc_timeout};
use crate::h1::{
    BodyReader, BodyWriter, Ending, Framing, HeadLimits, Piece, RequestHead, write_response_head,
};
use crate::held::{Held, Ledger, SMALL};
use crate::socket::{Connect, Socket};
use crate::worker::Worker;

/// A way to this endpoint for one request in HTTP/1.1. The request is given up when the call is dropped.
pub(crate) async fn open<C: Connect>(worker: &Rc<Worker<C>>, endpoint: SocketAddr) -> io::Result<Call> {
    Ok(Call {
        place: connections::place(worker, endpoint).await?,
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

/// What of a request decides how its answer is written.
#[derive(Clone, Copy, Debug)]
struct Asked {
    to_head: bool,
    takes_trailers: bool,
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

    /// Sends a head, and what follows it.
    fn begin(&mut self, written: &[u8]) -> io::Result<()> {
        // The head was checked where the client sent it.
        let limits = HeadLimits::CARRIED;
        let head = RequestHead::parse(written, limits).ok().flatten().ok_or(io::ErrorKind::InvalidInput)?;
        let mut request = converted(&head).ok_or(io::ErrorKind::InvalidInput)?;
        self.shorten(request.headers_mut());
        let reader = BodyReader::new(head.framing, limits);
        let sent = self.place.send(request, reader.has_ended());
        let (response, stream) = sent.map_err(io::Error::other)?;
        let asked = Asked { to_head: head.method == Method::HEAD, takes_trailers: head.takes_trailers };
        self.answer = Answer::Head(response, asked);
        self.upload = if reader.has_ended() { Upload::Done } else { Upload::Body(stream, reader) };
        match &written[head.len..] {
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

    /// Takes the next part of the answer; ready without one when there is no more.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        match &mut self.answer {
            Answer::Head(response, asked) => {
                if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                    return Poll::Ready(pass_on_interim(&interim?, &mut self.translated));
                }
                let (response, asked) = (ready!(Pin::new(response).poll(cx))?, *asked);
                self.place.credit().earn_answer();
                self.answer = begin_answer(response, asked, &mut self.translated);
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

fn converted(head: &RequestHead<'_>) -> Option<Request<()>> {
    let path = head.target.path;
    let path = match head.target.query {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(head.host).ok()?);
    parts.path_and_query = Some(path.ok()?);
    let uri = Uri::from_parts(parts).ok()?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = message::headers(&head.fields);
    let headers = request.headers_mut();
    if let Framing::Length(length) = head.framing {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if head.takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Some(request)
}

/// Writes an interim response, of which HTTP/2 has no 101 (RFC 9113, 8.6).
fn pass_on_interim(interim: &Response<()>, out: &mut Vec<u8>) -> Result<(), h2::Error> {
    let status = interim.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Reason::PROTOCOL_ERROR.into());
    }
    let line = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    let fields = message::fields(interim.headers(), None);
    write_response_head(out, line, &fields, Framing::None, None, Ending::Open);
    Ok(())
}

/// Writes the head of an answer.
fn begin_answer(response: Response<RecvStream>, asked: Asked, out: &mut Vec<u8>) -> Answer {
    let (parts, body) = response.into_parts();
    let bodiless = asked.to_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = message::content_length(&parts.headers);
    let framing = match length {
        _ if bodiless => Framing::None,
        // HTTP/1.1 has no place for trailers behind a body whose length it tells.
        Some(_) if asked.takes_trailers && !body.is_end_stream() => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None if body.is_end_stream() => Framing::Length(0),
        None => Framing::Chunked,
    };
    out.reserve(SMALL);
    let would_be = length.filter(|_| bodiless && parts.status != StatusCode::NO_CONTENT);
    let fields = message::fields(&parts.headers, None);
    let reason = parts.status.canonical_reason().unwrap_or_default();
    write_response_head(out, (parts.status.as_u16(), reason), &fields, framing, would_be, Ending::Close);
    Answer::Body(body, if framing == Framing::Chunked { BodyWriter::Chunked } else { BodyWriter::Plain })
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
