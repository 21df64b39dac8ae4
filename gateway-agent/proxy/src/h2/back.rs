//! Endpoints that speak HTTP/2 (by prior knowledge: RFC 9113, 3.3).
//!
//! h2 without hyper around it: hyper's client passes each request through a channel to a task, and its body and its
//! answer through two more, and flushes for each of them. Here a request is a [`Call`], which the task that forwards it
//! reads and writes like a socket, and one task for each connection sends what all of them have written in a turn.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use hashbrown::HashMap;
use http::header::{CONTENT_LENGTH, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::io::{Io, poll_turn};
use super::message;
use super::reset::Reset;
use crate::h1::{
    BodyReader, BodyWriter, Ending, Framing, HeadLimits, Piece, RequestHead, write_response_head,
};
use crate::held::{Held, Ledger};
use crate::socket::{Connect, Socket};
use crate::stream::Stream;
use crate::worker::Worker;

/// Bytes of one stream's answer that an endpoint may send before they are passed on, and of all streams': hyper's
/// defaults, which keep a fast network busy.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;

/// Bytes of an answer's head, and streams until an endpoint has said how many it takes: hyper's defaults, too.
const HEAD: u32 = 16 << 10;
const FIRST_STREAMS: usize = 100;

/// The connections of one worker: one for each endpoint, with as many streams as the endpoint allows.
#[derive(Debug, Default)]
pub(crate) struct Connections(RefCell<HashMap<SocketAddr, Connection>>);

/// A connection, for those who have requests. Its task ends when all of them are gone.
#[derive(Clone, Debug)]
struct Connection {
    sender: SendRequest<Bytes>,
    /// h2 doesn't tell the task that the last sender was dropped.
    _used: Rc<oneshot::Sender<Infallible>>,
}

impl Connections {
    /// Forgets what has closed, and what leads to endpoints that are no longer ready: streams that are open there end.
    pub(crate) fn sweep(&self, is_ready: impl Fn(SocketAddr) -> bool) {
        self.0.borrow_mut().retain(|endpoint, connection| is_ready(*endpoint) && connection.takes_requests());
    }
}

impl Connection {
    /// False: it has closed, or is about to.
    fn takes_requests(&mut self) -> bool {
        !matches!(self.sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }
}

/// A way to this endpoint for one request in HTTP/1.1. The request is given up when the call is dropped.
pub(crate) async fn open<C: Connect>(worker: &Rc<Worker<C>>, endpoint: SocketAddr) -> io::Result<Call> {
    let known = worker.http2.0.borrow().get(&endpoint).cloned();
    let connection = match known.map(|mut known| (known.takes_requests(), known)) {
        Some((true, known)) => known,
        _ => connect(worker, endpoint).await?,
    };
    Ok(Call {
        connection,
        upload: Upload::Head,
        answer: Answer::Unasked,
        translated: Vec::new(),
        ledger: worker.buffers.ledger().clone(),
        held: None,
    })
}

async fn connect<C: Connect>(worker: &Rc<Worker<C>>, endpoint: SocketAddr) -> io::Result<Connection> {
    let socket = worker.connector.connect(endpoint).await?;
    let (io, stream) = Io::new(Stream::new(socket), Rc::clone(worker));
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD)
        // What comes for requests that clients have given up counts as mistakes of the endpoint, and the limit would end
        // those of others.
        .max_local_error_reset_streams(None)
        .initial_max_send_streams(FIRST_STREAMS);
    let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
    let (used, unused) = oneshot::channel();
    let worker_of_task = Rc::clone(worker);
    spawn_local(async move {
        let (mut connection, mut unused) = (pin!(connection), Some(unused));
        // Whoever has a request on it learns of a failure.
        poll_fn(|cx| {
            if unused.as_mut().is_some_and(|unused| Pin::new(unused).poll(cx).is_ready()) {
                unused = None;
            }
            poll_turn(connection.as_mut(), &stream, &worker_of_task, cx).map(drop)
        })
        .await;
    });
    let connection = Connection { sender, _used: Rc::new(used) };
    worker.http2.0.borrow_mut().insert(endpoint, connection.clone());
    Ok(connection)
}

/// One request of HTTP/2, which is written in HTTP/1.1, its head at once, and whose answer is read in HTTP/1.1. What fails
/// ends the answer, as an endpoint that closes its connection would.
#[derive(Debug)]
pub(crate) struct Call {
    /// Held to its end, so that the connection's task sees it.
    connection: Connection,
    upload: Upload,
    answer: Answer,
    /// Of the answer, in HTTP/1.1, and not read yet.
    translated: Vec<u8>,
    ledger: Ledger,
    /// What h2 has of the request's body, as far as it is much.
    held: Option<Held>,
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
        let request = converted(&head).ok_or(io::ErrorKind::InvalidInput)?;
        let reader = BodyReader::new(head.framing, limits);
        let sent = self.connection.sender.send_request(request, reader.has_ended());
        let (response, stream) = sent.map_err(io::Error::other)?;
        let asked = Asked { to_head: head.method == Method::HEAD, takes_trailers: head.takes_trailers };
        self.answer = Answer::Head(response, asked);
        self.upload = if reader.has_ended() { Upload::Done } else { Upload::Body(stream, reader) };
        match &written[head.len..] {
            [] => Ok(()),
            body => self.send(body),
        }
    }

    /// Gives h2 what comes of the body.
    fn send(&mut self, mut written: &[u8]) -> io::Result<()> {
        let Upload::Body(stream, reader) = &mut self.upload else { return Ok(()) };
        let mut data = Vec::with_capacity(written.len());
        while let Piece::Data(piece) = reader.next(&mut written).map_err(io::Error::other)? {
            data.extend_from_slice(piece);
        }
        self.held = self.ledger.hold(data.len());
        let ends = reader.has_ended();
        let trailers = if ends { message::trailers(reader.trailers()) } else { HeaderMap::new() };
        if !data.is_empty() || (ends && trailers.is_empty()) {
            stream.send_data(data.into(), ends && trailers.is_empty()).map_err(io::Error::other)?;
        }
        if !trailers.is_empty() {
            stream.send_trailers(trailers).map_err(io::Error::other)?;
        }
        if ends {
            self.upload = Upload::Done;
        }
        Ok(())
    }

    /// Waits until h2 has sent what it was given, and has room for more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Upload::Body(stream, _) = &mut self.upload else { return Poll::Ready(Ok(())) };
        stream.reserve_capacity(1);
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        self.held = None;
        Poll::Ready(Ok(()))
    }

    /// Takes the next part of the answer; ready without one when there is no more.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        match &mut self.answer {
            Answer::Head(response, asked) => {
                let (response, asked) = (ready!(Pin::new(response).poll(cx))?, *asked);
                self.answer = begin_answer(response, asked, &mut self.translated);
            }
            Answer::Body(stream, writer) => match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    stream.flow_control().release_capacity(data.len())?;
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
    let query = head.target.query.map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", head.target.path);
    let uri = Uri::builder().scheme("http").authority(head.host).path_and_query(path).build().ok()?;
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
    let would_be = length.filter(|_| bodiless && parts.status != StatusCode::NO_CONTENT);
    let fields = message::fields(&parts.headers, None);
    let reason = parts.status.canonical_reason().unwrap_or_default();
    write_response_head(out, (parts.status.as_u16(), reason), &fields, framing, would_be, Ending::Close);
    Answer::Body(body, if framing == Framing::Chunked { BodyWriter::Chunked } else { BodyWriter::Plain })
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
        // A small answer is read at once: head, body and trailers.
        while this.translated.len() < into.remaining() {
            if matches!(this.answer, Answer::Unasked | Answer::Ended | Answer::Failed(_)) {
                break;
            }
            match this.poll_answer(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => this.answer = Answer::Failed(Reset::of(&error)),
                Poll::Pending if this.translated.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if this.translated.is_empty() && !matches!(this.answer, Answer::Ended) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let len = this.translated.len().min(into.remaining());
        into.put_slice(&this.translated[..len]);
        this.translated.drain(..len);
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
