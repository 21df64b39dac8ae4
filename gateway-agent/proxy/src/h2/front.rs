//! Clients that speak HTTP/2.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use gateway_agent_tables::http::HttpLimits;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite as _;
use tokio::task::spawn_local;

use super::backlog::{Backlog, Bounds, Stuck};
use super::flood::{Credit, Frames};
use super::io::{Guard, Io, poll_turn};
use super::pipe::{Pipe, pipe};
use super::{Local, PREFACE, message};
use crate::connection;
use crate::counters::Closed;
use crate::h1::{
    AnswerTo, BodyReader, BodyWriter, Fault, Framing, HeadLimits, Piece, RequestHead, ResponseHead,
};
use crate::held::{SMALL, TIGHT};
use crate::plan::{Peers, Plan, is_grpc};
use crate::socket::{Connect, Socket};
use crate::stream::{Fed, Stream};
use crate::telemetry::Protocol;
use crate::worker::Worker;

/// Bytes of one stream's body that a client may send before they are passed on: what RFC 9113 (6.9.2) begins with.
const STREAM_WINDOW: u32 = (64 << 10) - 1;

/// The same of all streams together, which bounds what a connection can make the proxy keep: four that are slow don't
/// stop the others.
const CONNECTION_WINDOW: u32 = 256 << 10;

/// Once memory is tight, 4 kB more are read for streams that are stuck.
const BOUNDS: Bounds = Bounds { stream: STREAM_WINDOW, all: CONNECTION_WINDOW, limit: TIGHT, beyond: SMALL };

/// Bytes of one stream's answer that wait for the client: as much as fits a frame of the default size.
const SEND_BUFFER: usize = 16 << 10;

/// Streams that were reset before they were looked at (CVE-2023-44487); h2's default.
const PENDING_RESETS: usize = 20;

/// Streams that the proxy has reset for the client's mistakes; h2's default is 1,024, and an honest client makes none.
const ERROR_RESETS: usize = 100;

/// Bytes of the table that compresses heads: what RFC 7541 (RFC 9113, 6.5.2) begins with.
const HEADER_TABLE: u32 = 4096;

/// Serves a client until either side ends the connection.
pub(crate) async fn serve<S: Socket, C: Connect>(worker: Rc<Worker<C>>, client: Stream<S>, peers: Rc<Peers>) {
    let (deadline, limits) = (worker.deadlines.add(), *peers.place.limits());
    let open: Rc<Cell<usize>> = Rc::default();
    let credit = Rc::new(Credit::new(worker.deadlines.now()));
    let backlog = Backlog::new(worker.buffers.ledger().clone(), BOUNDS);
    let guard = Guard {
        credit: Rc::clone(&credit),
        frames: Frames::after(PREFACE.len()),
        backlog: Rc::clone(&backlog),
    };
    let (io, client) = Io::new(client, Rc::clone(&worker), guard);
    let peers = Rc::new(Peers { is_http2: true, ..(*peers).clone() });
    let service = service_fn(|request| {
        deadline.set(limits.idle_timeout);
        let (credit, backlog) = (Rc::clone(&credit), Rc::clone(&backlog));
        handle(Rc::clone(&worker), Rc::clone(&peers), request, Open::of(&open), credit, backlog)
    });
    let mut connection = pin!(builder(&limits).serve_connection(TokioIo::new(io), service));
    deadline.set(limits.idle_timeout);
    let mut ends = false;
    let end = poll_fn(|cx| {
        loop {
            backlog.begin_turn(cx);
            if let Poll::Ready(end) = poll_turn(connection.as_mut(), &client, &worker, cx) {
                return Poll::Ready(end);
            }
            let late = deadline.poll(cx).is_ready();
            if late && open.get() > 0 {
                deadline.set(limits.idle_timeout);
            } else if late && ends {
                // The client was told, and has left the connection open.
                return Poll::Ready(None);
            } else if late || (worker.is_draining() && !ends) {
                ends = true;
                deadline.set(limits.idle_timeout);
                connection.as_mut().graceful_shutdown();
            } else {
                return Poll::Pending;
            }
        }
    })
    .await;
    match end {
        Some(Ok(())) => {
            deadline.set(connection::LINGER);
            poll_fn(|cx| connection::poll_closed(&worker, &mut client.borrow_mut(), &deadline, cx)).await;
        }
        Some(Err(error)) => {
            if let Some(reason) = fault(&error, &credit) {
                worker.server.counters.count_closed(reason);
            }
        }
        None => {}
    }
}

/// What hyper and h2 leave to chance is said here.
fn builder(limits: &HttpLimits) -> http2::Builder<Local> {
    let mut builder = http2::Builder::new(Local);
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head_bytes)
        .header_table_size(HEADER_TABLE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS);
    builder
}

/// What the client has done wrong; None: nothing, its connection broke.
fn fault(error: &hyper::Error, credit: &Credit) -> Option<Closed> {
    if credit.is_flooded() {
        return Some(Closed::Flood);
    }
    let error = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    match error.reason()? {
        h2::Reason::ENHANCE_YOUR_CALM => Some(Closed::Flood),
        _ if error.is_library() => Some(Closed::Http2),
        _ => None,
    }
}

/// An open stream.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn of(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn handle<C: Connect>(
    worker: Rc<Worker<C>>,
    peers: Rc<Peers>,
    request: Request<Incoming>,
    open: Open,
    credit: Rc<Credit>,
    backlog: Rc<Backlog>,
) -> Result<Response<Bridge<C>>, Infallible> {
    let (parts, body) = request.into_parts();
    let framing = message::framing(&parts.headers, body.is_end_stream());
    let plan = plan(&worker, &peers, &parts, framing).map_err(|fault| {
        let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        (fault, Protocol::of(true, is_grpc(content_type)))
    });
    let received = message::head_bytes(&parts);
    let (ours, theirs) = pipe(worker.buffers.ledger());
    let exchange = connection::serve_one(Rc::clone(&worker), theirs, plan, received);
    let exchange: Pin<Box<dyn Future<Output = ()>>> = match framing {
        Framing::None => Box::pin(exchange),
        _ => Box::pin(Upload::new(body, framing, ours.writer(), &worker, backlog).beside(exchange)),
    };
    let mut bridge = Bridge {
        exchange: Some(exchange),
        worker,
        pipe: Stream::new(ours),
        answer: None,
        trailers: None,
        credit,
        _open: open,
    };
    let to = AnswerTo::new(&parts.method, false);
    let head = poll_fn(|cx| bridge.poll_head(cx, to)).await;
    // Small answers are there with their heads. From here on hyper polls the body only if the client has room for it;
    // the exchange goes on by itself, with its deadlines.
    if let Some(exchange) = bridge.exchange.take() {
        spawn_local(exchange);
    }
    Ok(match head {
        Some(head) => {
            bridge.credit.earn_answer();
            let mut response = Response::new(bridge);
            (*response.status_mut(), *response.headers_mut()) = head;
            response
        }
        None => bridge.refused(StatusCode::BAD_GATEWAY),
    })
}

/// What becomes of a request.
fn plan<C: Connect>(
    worker: &Worker<C>,
    peers: &Peers,
    parts: &Parts,
    framing: Framing,
) -> Result<Plan, Fault> {
    let host = host(parts).ok_or(Fault::Host)?;
    let limits = peers.place.heads();
    if parts.headers.len() > limits.fields {
        return Err(Fault::FieldCount);
    }
    let cookies = message::cookies(&parts.headers);
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let fields = message::fields(&parts.headers, cookies.as_deref());
    let mut head = RequestHead::of_parts(&parts.method, target, host, fields, framing)?;
    head.takes_trailers = message::takes_trailers(&parts.headers);
    worker.with_planner(peers, |planner| planner.plan_head(head, &mut &[][..]))
}

/// Whom the request is for: `:authority`, with which Host must agree, or Host alone (RFC 9113, 8.3.1).
fn host(parts: &Parts) -> Option<&str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let field = hosts.next().map(HeaderValue::to_str).transpose().ok()?;
    if hosts.next().is_some() || parts.method == Method::CONNECT {
        return None;
    }
    match (parts.uri.authority().map(http::uri::Authority::as_str), field) {
        (Some(authority), Some(field)) => authority.eq_ignore_ascii_case(field).then_some(authority),
        (authority, field) => authority.or(field),
    }
}

/// A request's body on its way into the pipe.
struct Upload<C: Connect> {
    worker: Rc<Worker<C>>,
    /// None: all of it came, or no more will.
    body: Option<Incoming>,
    writer: BodyWriter,
    pipe: Stream<Pipe>,
    backlog: Rc<Backlog>,
    /// The exchange doesn't take what came.
    stuck: Option<Stuck>,
}

impl<C: Connect> Upload<C> {
    fn new(
        body: Incoming,
        framing: Framing,
        pipe: Pipe,
        worker: &Rc<Worker<C>>,
        backlog: Rc<Backlog>,
    ) -> Self {
        let writer = if framing == Framing::Chunked { BodyWriter::Chunked } else { BodyWriter::Plain };
        let (worker, pipe) = (Rc::clone(worker), Stream::new(pipe));
        Self { worker, body: Some(body), writer, pipe, backlog, stuck: None }
    }

    /// Passes on what comes as long as the exchange goes on, whether or not the client takes its answer.
    async fn beside(mut self, exchange: impl Future<Output = ()>) {
        let mut exchange = pin!(exchange);
        poll_fn(|cx| {
            // Ready: there is no more.
            let _ = self.poll(cx);
            exchange.as_mut().poll(cx)
        })
        .await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let sent = self.pipe.poll_flush(cx);
            if sent.is_pending() && self.stuck.is_none() {
                self.stuck = Some(self.backlog.stick());
                self.pipe.hold(&self.worker.buffers);
            }
            // An error: the exchange has ended.
            let is_taken = ready!(sent).is_ok();
            self.stuck = None;
            self.pipe.rest(&self.worker.buffers);
            let Some(body) = self.body.as_mut().filter(|_| is_taken) else { return Poll::Ready(()) };
            let frame = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                // A client that breaks off ends the pipe.
                Some(Err(_)) => {
                    self.body = None;
                    return Pin::new(&mut self.pipe.socket).poll_shutdown(cx).map(drop);
                }
                None => Frame::trailers(HeaderMap::new()),
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => self.writer.frame(&data, self.pipe.waiting(&self.worker.buffers)),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.writer.finish(&message::lines(&trailers), self.pipe.waiting(&self.worker.buffers));
                    self.body = None;
                }
            }
        }
    }
}

/// The stream's side of the pipe: the response's body.
struct Bridge<C: Connect> {
    worker: Rc<Worker<C>>,
    pipe: Stream<Pipe>,
    /// The other side, as long as this one drives it too.
    exchange: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// None: its head isn't there, or there is no body any more.
    answer: Option<BodyReader>,
    trailers: Option<HeaderMap>,
    credit: Rc<Credit>,
    _open: Open,
}

impl<C: Connect> Bridge<C> {
    /// An answer without body; nothing more is read or sent.
    fn refused(mut self, status: StatusCode) -> Response<Self> {
        self.answer = None;
        let mut response = Response::new(self);
        *response.status_mut() = status;
        response
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, to: AnswerTo) -> Poll<Option<(StatusCode, HeaderMap)>> {
        loop {
            if self.exchange.as_mut().is_some_and(|exchange| exchange.as_mut().poll(cx).is_ready()) {
                self.exchange = None;
            }
            let Self { worker, pipe, answer, .. } = self;
            // The exchange has checked it.
            let limits = HeadLimits::CARRIED;
            let fed = ready!(pipe.poll_feed(cx, &worker.buffers, |input, _| {
                loop {
                    let received = *input;
                    let Ok(Some(head)) = ResponseHead::parse(received, to, limits) else { return None };
                    *input = &received[head.len..];
                    // hyper can't pass others on.
                    if !head.is_interim() {
                        *answer = Some(BodyReader::new(head.framing, limits));
                        return Some(converted(&head));
                    }
                }
            }));
            match fed {
                Ok(Fed::Some(Some(head))) => return Poll::Ready(Some(head)),
                Ok(Fed::Some(None)) => {}
                Ok(Fed::End) | Err(_) => return Poll::Ready(None),
            }
        }
    }

    /// Data of what came, or nothing; sets the trailers at the end.
    fn take(&mut self, mut input: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut data = Vec::new();
        let Some(answer) = &mut self.answer else { return Ok(data) };
        loop {
            match answer.next(&mut input)? {
                Piece::Data(piece) => data.extend_from_slice(piece),
                Piece::More => return Ok(data),
                Piece::End => break,
            }
        }
        let trailers = message::trailers(answer.trailers());
        self.trailers = (!trailers.is_empty()).then_some(trailers);
        self.answer = None;
        Ok(data)
    }
}

fn converted(head: &ResponseHead<'_>) -> (StatusCode, HeaderMap) {
    let mut headers = message::headers(&head.fields);
    let length = match head.framing {
        // HTTP/2 tells an empty body by the end of its stream.
        Framing::Length(length) if length > 0 => Some(length),
        _ => head.would_be,
    };
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    (StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY), headers)
}

impl<C: Connect> Body for Bridge<C> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if self.answer.is_none() {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let this = &mut *self;
            let received = this.pipe.take_received();
            let data = if received.is_empty() {
                let worker = Rc::clone(&this.worker);
                let read = ready!(this.pipe.poll_feed(cx, &worker.buffers, |input, _| {
                    let bytes = input.to_vec();
                    *input = &[];
                    bytes
                }))?;
                match read {
                    Fed::Some(bytes) => this.take(&bytes),
                    Fed::End => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                }
            } else {
                this.take(&received)
            };
            let data = data.map_err(io::Error::other)?;
            if !data.is_empty() {
                self.credit.earn_data(data.len());
                return Poll::Ready(Some(Ok(Frame::data(data.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.answer.as_ref().is_none_or(BodyReader::has_ended)
    }
}
