//! Connections to endpoints that speak HTTP/2 (by prior knowledge: RFC 9113, 3.3): one for each endpoint, and one more
//! when its streams are all taken. Requests wait for the one that is being made, so that many at once make no more.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use hashbrown::HashMap;
use http::Request;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::backlog::{Backlog, SMALL_FRAMES};
use super::flood::{Credit, Frames};
use super::io::{Guard, Io, poll_turn};
use super::windows::{self, Windows};
use crate::socket::Connect;
use crate::stream::Stream;
use crate::worker::Worker;

/// Bytes of an answer's head: hyper's default.
const HEAD: u32 = 16 << 10;

/// What h2 takes for the number of streams until the endpoint has said one, which never says this: it has 32 bits
/// (RFC 9113, 6.5.2).
const UNSAID: usize = usize::MAX - 1;

/// The connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Connections(RefCell<HashMap<SocketAddr, Known>>);

/// What there is to one endpoint.
#[derive(Debug, Default)]
struct Known {
    /// The first with room gets the next request, so that those fall idle that only a burst needed.
    open: Vec<Rc<Connection>>,
    opening: Option<Rc<Opening>>,
}

/// A connection that is being made, until the endpoint has said how many streams it takes.
#[derive(Debug, Default)]
struct Opening {
    /// There may be room, or none will come.
    changed: Notify,
    failed: Cell<Option<io::ErrorKind>>,
}

/// A connection, for those who have requests. Its task ends when all of them are gone.
#[derive(Debug)]
struct Connection {
    sender: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    /// It has had a stream before.
    was_used: Cell<bool>,
    /// The tick of the worker at which it was last seen with a stream.
    used_at: Cell<u32>,
    credit: Rc<Credit>,
    backlog: Rc<Backlog>,
    /// h2 doesn't tell the task that the last sender was dropped.
    _used: oneshot::Sender<Infallible>,
}

/// Room for one stream, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connection: Rc<Connection>,
    /// The connection has had a stream before, so the endpoint may be about to close it.
    pub(super) is_reused: bool,
}

/// Room on a connection to this endpoint. Errors: none was to be had.
pub(super) async fn place<C: Connect>(worker: &Rc<Worker<C>>, endpoint: SocketAddr) -> io::Result<Place> {
    loop {
        if let Some(place) = worker.http2.place(endpoint) {
            return Ok(place);
        }
        let opening = worker.http2.opening(endpoint).unwrap_or_else(|| begin(worker, endpoint));
        opening.changed.notified().await;
        if let Some(failed) = opening.failed.get() {
            return Err(failed.into());
        }
    }
}

impl Connections {
    fn place(&self, endpoint: SocketAddr) -> Option<Place> {
        let mut known = self.0.borrow_mut();
        let known = known.get_mut(&endpoint)?;
        known.open.retain(|connection| connection.is_open());
        known.open.iter().find(|connection| connection.has_room()).map(Place::take)
    }

    fn opening(&self, endpoint: SocketAddr) -> Option<Rc<Opening>> {
        self.0.borrow().get(&endpoint)?.opening.clone()
    }

    /// Those who wait find room, or learn that there will be none.
    fn opened(&self, endpoint: SocketAddr, opening: &Rc<Opening>, failed: Option<io::ErrorKind>) {
        if let Some(known) = self.0.borrow_mut().get_mut(&endpoint)
            && known.opening.as_ref().is_some_and(|known| Rc::ptr_eq(known, opening))
        {
            known.opening = None;
            opening.failed.set(failed);
            opening.changed.notify_waiters();
        }
    }

    /// Forgets what has closed, what had no stream since before this tick, and what leads to endpoints that are no longer
    /// ready: streams that are open there end.
    pub(crate) fn sweep(&self, now: u32, before: u32, is_ready: impl Fn(SocketAddr) -> bool) {
        self.0.borrow_mut().retain(|endpoint, known| {
            known.open.retain(|connection| {
                if connection.streams.get() > 0 {
                    connection.used_at.set(now);
                }
                connection.used_at.get() >= before && is_ready(*endpoint) && connection.is_open()
            });
            !known.open.is_empty() || known.opening.is_some()
        });
    }
}

impl Connection {
    /// False: it has closed, or is about to.
    fn is_open(&self) -> bool {
        let ready = self.sender.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
        !matches!(ready, Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        self.streams.get() < Self::most(&self.sender.borrow()) && !self.backlog.is_full()
    }

    /// Streams at once. One request goes before the endpoint has said how many it takes, and one to an endpoint that takes
    /// none, which may change its mind.
    fn most(sender: &SendRequest<Bytes>) -> usize {
        match sender.current_max_send_streams() {
            UNSAID => 1,
            said => said.max(1),
        }
    }
}

impl Place {
    fn take(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { connection: Rc::clone(connection), is_reused: connection.was_used.replace(true) }
    }

    /// Begins the stream.
    pub(super) fn send(
        &self,
        request: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let connection = &self.connection;
        let mut sender = connection.sender.borrow_mut();
        if connection.streams.get() + 1 < Connection::most(&sender) {
            return sender.send_request(request, ends);
        }
        // A sender whose stream has to wait for room takes no other one.
        sender.clone().send_request(request, ends)
    }

    pub(super) fn backlog(&self) -> &Rc<Backlog> {
        &self.connection.backlog
    }

    pub(super) fn credit(&self) -> &Credit {
        &self.connection.credit
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        streams.set(streams.get() - 1);
    }
}

/// Makes one more connection, whoever waits for it.
fn begin<C: Connect>(worker: &Rc<Worker<C>>, endpoint: SocketAddr) -> Rc<Opening> {
    let opening = Rc::<Opening>::default();
    let mut known = worker.http2.0.borrow_mut();
    known.entry(endpoint).or_default().opening = Some(Rc::clone(&opening));
    spawn_local(run(Rc::clone(worker), endpoint, Rc::clone(&opening)));
    opening
}

async fn run<C: Connect>(worker: Rc<Worker<C>>, endpoint: SocketAddr, opening: Rc<Opening>) {
    let connecting = timeout(worker.server.settings.connect_timeout, worker.connector.connect(endpoint));
    let ended = match connecting.await {
        Ok(Ok(socket)) => drive(&worker, endpoint, &opening, socket).await,
        Ok(Err(error)) => Err(error),
        Err(late) => Err(late.into()),
    };
    // Whoever has a request on it learns of a failure.
    let failed = ended.err().map_or(io::ErrorKind::ConnectionAborted, |error| error.kind());
    worker.http2.opened(endpoint, &opening, Some(failed));
}

/// Drives a connection to its end.
async fn drive<C: Connect>(
    worker: &Rc<Worker<C>>,
    endpoint: SocketAddr,
    opening: &Rc<Opening>,
    socket: C::Socket,
) -> io::Result<()> {
    let credit = Rc::new(Credit::new(worker.deadlines.now()));
    let backlog = windows::backlog(worker.buffers.ledger());
    let guard = Guard { credit: Rc::clone(&credit), frames: Frames::after(0), backlog: Rc::clone(&backlog) };
    let (io, stream) = Io::new(Stream::new(socket), Rc::clone(worker), guard);
    let (sender, mut connection) = builder().handshake(io).await.map_err(io::Error::other)?;
    let (used, unused) = oneshot::channel();
    let made = Connection {
        sender: RefCell::new(sender),
        streams: Cell::new(0),
        was_used: Cell::new(false),
        used_at: Cell::new(worker.deadlines.now()),
        credit,
        backlog: Rc::clone(&backlog),
        _used: used,
    };
    if let Some(known) = worker.http2.0.borrow_mut().get_mut(&endpoint) {
        known.open.push(Rc::new(made));
    }
    opening.changed.notify_one();
    let (mut unused, mut windows, mut is_opening) = (Some(unused), Windows::default(), true);
    // It wakes the task, too, when memory is no longer tight.
    let deadline = worker.deadlines.add();
    deadline.set(worker.server.settings.connect_timeout);
    poll_fn(|cx| {
        if unused.as_mut().is_some_and(|unused| Pin::new(unused).poll(cx).is_ready()) {
            unused = None;
        }
        backlog.begin_turn(cx);
        windows.adapt(&mut connection, &backlog);
        let ended = poll_turn(Pin::new(&mut connection), &stream, worker, cx);
        let late = deadline.poll(cx).is_ready().then_some(io::ErrorKind::TimedOut);
        if is_opening && (late.is_some() || connection.max_concurrent_send_streams() != UNSAID) {
            is_opening = false;
            deadline.set(Duration::MAX);
            worker.http2.opened(endpoint, opening, late);
        }
        ended.map(drop)
    })
    .await;
    Ok(())
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(windows::STREAM)
        .initial_connection_window_size(windows::CONNECTION)
        .max_header_list_size(HEAD)
        .data_frame_budget(SMALL_FRAMES)
        // What comes for requests that clients have given up counts as mistakes of the endpoint, and the limit would end
        // those of others.
        .max_local_error_reset_streams(None)
        .initial_max_send_streams(UNSAID);
    builder
}
