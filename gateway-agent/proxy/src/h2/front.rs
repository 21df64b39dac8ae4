//! Clients that speak HTTP/2.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::Bytes;
use gateway_agent_tables::http::HttpLimits;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use tokio::task::spawn_local;

use super::backlog::{Backlog, Bounds, SMALL_FRAMES};
use super::caller::Caller;
use super::download::Download;
use super::flood::{Credit, Frames};
use super::io::{Guard, Io, poll_turn};
use super::upload::Upload;
use super::{PREFACE, message};
use crate::client::Client as _;
use crate::connection;
use crate::counters::Closed;
use crate::h1::{Fault, Framing, RequestHead};
use crate::held::{SMALL, TIGHT};
use crate::plan::{Peers, Plan, is_grpc};
use crate::socket::{Connect, Socket};
use crate::stream::Stream;
use crate::telemetry::Protocol;
use crate::worker::Worker;

/// Bytes of one stream's body that a client may send before they are passed on: what RFC 9113 (6.9.2) begins with.
const STREAM_WINDOW: u32 = (64 << 10) - 1;

/// The same of all streams together, which bounds what a connection can make the proxy keep: four that are slow don't
/// stop the others.
const CONNECTION_WINDOW: u32 = 256 << 10;

/// Once memory is tight, 4 kB more are read for streams that are stuck.
const BOUNDS: Bounds = Bounds { limit: TIGHT, beyond: SMALL };

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
    let handshake = builder(&limits).handshake::<_, Bytes>(io);
    let ends = Cell::new(false);
    let mut connection = pin!(async {
        let mut connection = handshake.await?;
        poll_fn(|cx| {
            if ends.get() {
                connection.graceful_shutdown();
            }
            while let Some((request, respond)) = ready!(connection.poll_accept(cx)).transpose()? {
                deadline.set(limits.idle_timeout);
                let (credit, backlog) = (Rc::clone(&credit), Rc::clone(&backlog));
                let (worker, peers) = (Rc::clone(&worker), Rc::clone(&peers));
                spawn_local(serve_stream(worker, peers, request, respond, credit, backlog, Open::of(&open)));
            }
            Poll::Ready(Ok(()))
        })
        .await
    });
    deadline.set(limits.idle_timeout);
    let end = poll_fn(|cx| {
        loop {
            backlog.begin_turn(cx);
            if let Poll::Ready(end) = poll_turn(connection.as_mut(), &client, &worker, cx) {
                return Poll::Ready(end);
            }
            let late = deadline.poll(cx).is_ready();
            if late && open.get() > 0 {
                deadline.set(limits.idle_timeout);
            } else if late && ends.get() {
                // The client was told, and has left the connection open.
                return Poll::Ready(None);
            } else if late || (worker.is_draining() && !ends.get()) {
                ends.set(true);
                deadline.set(limits.idle_timeout);
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

/// What h2 leaves to chance is said here.
fn builder(limits: &HttpLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head_bytes)
        .header_table_size(HEADER_TABLE)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_FRAMES)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(ERROR_RESETS));
    builder
}

/// What the client has done wrong; None: nothing, its connection broke.
fn fault(error: &h2::Error, credit: &Credit) -> Option<Closed> {
    if credit.is_flooded() {
        return Some(Closed::Flood);
    }
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

/// Serves one stream: its exchange, what comes of its body, and its answer, in one task.
async fn serve_stream<C: Connect>(
    worker: Rc<Worker<C>>,
    peers: Rc<Peers>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    credit: Rc<Credit>,
    backlog: Rc<Backlog>,
    _open: Open,
) {
    let (parts, body) = request.into_parts();
    let framing = message::framing(&parts.headers, body.is_end_stream());
    let plan = plan(&worker, &peers, &parts, framing).map_err(|fault| {
        let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        (fault, Protocol::of(true, is_grpc(content_type)))
    });
    let head = message::head_bytes(&parts);
    drop(parts);
    let upload = Upload::new(body, framing, &backlog, worker.buffers.ledger());
    let upload = Rc::new(RefCell::new(upload));
    let download = Download::new(respond, credit);
    let mut caller = Caller { head, upload: Rc::clone(&upload), download };
    let patience = peers.place.limits().stall_timeout;
    // Apart: a task is moved several times before it runs.
    let mut served = Box::pin(connection::serve_one(&worker, &mut caller, plan, patience));
    let record = poll_fn(|cx| {
        upload.borrow_mut().gather(cx);
        let served = served.as_mut().poll(cx);
        upload.borrow_mut().settle();
        served
    })
    .await;
    drop(served);
    if let Some(record) = record {
        record.finish(caller.passed());
    }
    caller.download.close();
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
