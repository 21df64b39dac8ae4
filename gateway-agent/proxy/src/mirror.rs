//! Copies of requests for other endpoints, whose answers nobody sees. The client never waits for one: a copy that can't
//! keep up ends early, and is counted.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gateway_agent_tables::http::BackendProtocol;
use smallvec::SmallVec;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::forward::connect;
use crate::h1::{AnswerTo, BodyReader, Fault, HeadLimits, Persistence, Piece, ResponseHead};
use crate::plan::Forward;
use crate::socket::Connect;
use crate::stream::{Fed, Stream};
use crate::upstream::{Endpoints, InFlight, Wire, pick};
use crate::worker::Worker;

/// Pieces of a body that wait for one mirror: 1 MB of what is read at once.
const PIECES: usize = 16;

/// Copies that one worker has under way: with 1 MB each, 256 MB at worst and for a moment.
const MOST: usize = 256;

/// Where the copies of one request's body go.
#[derive(Debug, Default)]
pub(crate) struct Mirrors(SmallVec<[Sender<Vec<u8>>; 1]>);

impl Mirrors {
    /// Starts the copies of a request.
    pub(crate) fn start<C: Connect>(worker: &Rc<Worker<C>>, forward: &Forward) -> Self {
        let mut mirrors = Self::default();
        for (endpoints, protocol) in &forward.mirrors {
            let Some(place) = Place::take(&worker.mirrors) else {
                worker.server.counters.count_unmirrored();
                continue;
            };
            let (sender, pieces) = channel(PIECES);
            let copy = Copy {
                request: forward.request.clone(),
                ends: forward.body.has_ended(),
                pieces,
                may_repeat: forward.may_repeat,
                to: forward.to,
                limits: forward.place.heads(),
                patience: forward.place.limits().stall_timeout,
                endpoints: Arc::clone(endpoints),
                protocol: *protocol,
            };
            if !copy.ends {
                mirrors.0.push(sender);
            }
            spawn_local(run(Rc::clone(worker), copy, place));
        }
        mirrors
    }

    /// Gives them what is sent to the endpoint. One that has no room gets no more.
    pub(crate) fn send(&mut self, sent: &[u8]) {
        self.0.retain(|sender| sender.try_send(sent.to_vec()).is_ok());
    }

    /// The last of it; an empty piece tells the end from one that broke off.
    pub(crate) fn finish(&mut self, sent: &[u8]) {
        if !sent.is_empty() {
            self.send(sent);
        }
        self.send(&[]);
        self.0.clear();
    }
}

/// One of the copies that a worker may have under way.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(taken: &Rc<Cell<usize>>) -> Option<Self> {
        if taken.get() == MOST {
            return None;
        }
        taken.set(taken.get() + 1);
        Some(Self(Rc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

struct Copy {
    /// What was there of the request when it was forwarded.
    request: Vec<u8>,
    /// That was all of it.
    ends: bool,
    /// The rest of its body.
    pieces: Receiver<Vec<u8>>,
    may_repeat: bool,
    to: AnswerTo,
    limits: HeadLimits,
    /// From its begin to its end.
    patience: Duration,
    endpoints: Endpoints,
    protocol: BackendProtocol,
}

async fn run<C: Connect>(worker: Rc<Worker<C>>, copy: Copy, _place: Place) {
    let sent = timeout(copy.patience, send(&worker, copy)).await;
    if !matches!(sent, Ok(Ok(()))) {
        worker.server.counters.count_unmirrored();
    }
}

/// An idle connection serves a copy that can be sent again if the endpoint has just closed it.
async fn send<C: Connect>(worker: &Rc<Worker<C>>, mut copy: Copy) -> io::Result<()> {
    let endpoint = pick(&copy.endpoints, &[], || worker.random()).map(Arc::clone);
    let endpoint = endpoint.ok_or(io::ErrorKind::NotFound)?;
    let _in_flight = InFlight::of(&endpoint);
    let reusable = copy.ends && copy.may_repeat && copy.protocol != BackendProtocol::Http2;
    let idle = if reusable { worker.pool.borrow_mut().take(endpoint.address) } else { None };
    if let Some(mut stream) = idle
        && let Ok(keeps) = copy.exchange(worker, &mut stream).await
    {
        if keeps {
            worker.keep(endpoint.address, stream);
        }
        return Ok(());
    }
    let mut stream = connect(worker, endpoint.address, copy.protocol, None).await?;
    if copy.exchange(worker, &mut stream).await? {
        worker.keep(endpoint.address, stream);
    }
    Ok(())
}

impl Copy {
    /// Whether the connection may be used again.
    async fn exchange<C: Connect>(
        &mut self,
        worker: &Rc<Worker<C>>,
        stream: &mut Stream<Wire<C::Socket>>,
    ) -> io::Result<bool> {
        stream.socket.write_all(&self.request).await?;
        while !self.ends {
            match self.pieces.recv().await {
                Some(piece) if piece.is_empty() => self.ends = true,
                Some(piece) => stream.socket.write_all(&piece).await?,
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        let mut answer = Discarded { to: self.to, limits: self.limits, keeps: false, body: None };
        poll_fn(|cx| answer.poll(cx, worker, stream)).await
    }
}

/// An answer that is read to its end and thrown away.
struct Discarded {
    to: AnswerTo,
    limits: HeadLimits,
    keeps: bool,
    body: Option<BodyReader>,
}

impl Discarded {
    fn poll<C: Connect>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<C>,
        stream: &mut Stream<Wire<C::Socket>>,
    ) -> Poll<io::Result<bool>> {
        loop {
            match ready!(stream.poll_feed(cx, &worker.buffers, |input, _| self.take(input)))? {
                Fed::Some(Ok(true)) => return Poll::Ready(Ok(self.keeps && !stream.has_received())),
                Fed::End if self.body.is_some() => return Poll::Ready(Ok(false)),
                Fed::End => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Fed::Some(Ok(false)) => {}
                Fed::Some(Err(fault)) => return Poll::Ready(Err(io::Error::other(fault))),
            }
        }
    }

    /// Whether the answer has ended.
    fn take(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        while self.body.is_none() {
            let received = *input;
            let Some(head) = ResponseHead::parse(received, self.to, self.limits)? else { return Ok(false) };
            *input = &received[head.len..];
            if !head.is_interim() {
                self.keeps = head.persistence != Persistence::Close;
                self.body = Some(BodyReader::new(head.framing, self.limits));
            }
        }
        let Some(body) = &mut self.body else { return Ok(false) };
        while let Piece::Data(_) = body.next(input)? {}
        Ok(body.has_ended())
    }
}
