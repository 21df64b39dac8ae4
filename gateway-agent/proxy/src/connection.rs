//! A client's connection: one request after the other.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::client::Client;
use crate::counters::Closed;
use crate::deadline::Deadline;
use crate::forward::{Outcome, forward};
use crate::h1::{Fault, Persistence};
use crate::h2;
use crate::plan::{Answered, Peers, Plan, ending};
use crate::reply::{Reason, Reply};
use crate::socket::{Connect, Socket};
use crate::stream::{Fed, Stream};
use crate::telemetry::{Protocol, Record};
use crate::worker::Worker;

/// How long a closed connection is read from, so that what the client is still sending doesn't reset it before the
/// client has read its answer (RFC 9112, 9.6).
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Serves a client until either side ends the connection; at once, if it is one too many.
pub(crate) async fn serve<S: Socket, C: Connect>(worker: Rc<Worker<C>>, socket: S, peers: Option<Rc<Peers>>) {
    let Some(peers) = &peers else { return worker.server.counters.count_closed(Closed::GatewayConnections) };
    let mut client = Stream::new(socket);
    let deadline = worker.deadlines.add();
    loop {
        let before = client.traffic();
        let received = next_plan(&worker, &mut client, &deadline, peers).await;
        let unmatched = || worker.meter.unmatched(Protocol::of(peers.is_http2, false));
        let (outcome, mut record) = match received {
            // Apart, as what follows: a connection that waits for its next request has no room for it.
            Received::Plan(Plan::Forward(mut request)) => {
                let outcome = Box::pin(forward(&worker, &mut client, &deadline, &mut request)).await;
                (outcome, request.record)
            }
            Received::Plan(Plan::Http2) => {
                return Box::pin(h2::serve(worker, client, Rc::clone(peers))).await;
            }
            Received::Plan(Plan::Reply(reply)) => {
                let (answered, record) = *reply;
                (Outcome::Reply(answered), record)
            }
            // Whoever doesn't speak HTTP wouldn't understand an answer in it (RFC 9113, 3.4).
            Received::Fault(fault @ Fault::Protocol) => {
                worker.server.counters.count_fault(fault);
                (Outcome::Close, unmatched())
            }
            Received::Fault(fault) => (refused(&worker, fault, Protocol::Http1), unmatched()),
            Received::Late => {
                (Outcome::Reply(Answered::and_close(Reply::new(Reason::ClientLate))), unmatched())
            }
            Received::Idle => return close(&worker, &mut client, &deadline).await,
            Received::End => return,
        };
        let keeps = match outcome {
            Outcome::Keep => true,
            Outcome::Close => false,
            Outcome::Abort => return record.finish(client.traffic().since(before)),
            Outcome::Reply(answered) => answer(&worker, &mut client, &answered, &mut record),
        };
        record.finish(client.traffic().since(before));
        if !keeps {
            return close(&worker, &mut client, &deadline).await;
        }
        client.rest(&worker.buffers);
    }
}

/// Serves one request of HTTP/2, whose client waits `patience` to take an answer of the proxy's own; None: there is nothing to
/// remember of it.
pub(crate) async fn serve_one<A: Client, C: Connect>(
    worker: &Rc<Worker<C>>,
    client: &mut A,
    plan: Result<Plan, (Fault, Protocol)>,
    patience: Duration,
) -> Option<Record> {
    let deadline = worker.deadlines.add();
    let (outcome, mut record) = match plan {
        Ok(Plan::Forward(mut request)) => {
            (forward(worker, client, &deadline, &mut request).await, request.record)
        }
        Ok(Plan::Reply(reply)) => {
            let (answered, record) = *reply;
            (Outcome::Reply(answered), record)
        }
        // It was planned from a head.
        Ok(Plan::Http2) => return None,
        Err((fault, protocol)) => (refused(worker, fault, protocol), worker.meter.unmatched(protocol)),
    };
    if let Outcome::Reply(answered) = outcome {
        answer(worker, client, &answered, &mut record);
        deadline.set(patience);
        // An error: nobody waits for it any more.
        poll_fn(|cx| if client.poll_sent(cx).is_ready() { Poll::Ready(()) } else { deadline.poll(cx) }).await;
    }
    Some(record)
}

/// What came from a client.
enum Received {
    Plan(Plan),
    Fault(Fault),
    /// A part of a head, and then nothing for too long.
    Late,
    /// Nothing for too long.
    Idle,
    /// The client has gone.
    End,
}

/// Reads a request's head and decides about it, all in one go: nothing of it needs to be kept.
async fn next_plan<S: Socket, C: Connect>(
    worker: &Worker<C>,
    client: &mut Stream<S>,
    deadline: &Deadline,
    peers: &Peers,
) -> Received {
    let limits = peers.place.limits();
    let plan = |input: &mut &[u8]| worker.with_planner(peers, |planner| planner.plan(input));
    let mut read = client.feed_received(plan);
    let mut begun = read.is_some();
    deadline.set(if begun { limits.head_timeout } else { limits.idle_timeout });
    poll_fn(|cx| {
        loop {
            match read.take() {
                Some(Ok(Some(plan))) => return Poll::Ready(Received::Plan(plan)),
                Some(Err(fault)) => return Poll::Ready(Received::Fault(fault)),
                Some(Ok(None)) if !begun => {
                    begun = true;
                    deadline.set(limits.head_timeout);
                }
                Some(Ok(None)) | None => {}
            }
            // What was answered before goes first.
            let fed = match client.poll_flush(cx) {
                Poll::Ready(Ok(())) => client.poll_feed(cx, &worker.buffers, |input, _| plan(input)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
            match fed {
                Poll::Ready(Ok(Fed::Some(made))) => read = Some(made),
                Poll::Ready(Ok(Fed::End) | Err(_)) => return Poll::Ready(Received::End),
                Poll::Pending => {
                    if deadline.poll(cx).is_pending() && (begun || !worker.leaves_idle()) {
                        return Poll::Pending;
                    }
                    return Poll::Ready(if begun { Received::Late } else { Received::Idle });
                }
            }
        }
    })
    .await
}

/// What a malformed request gets; it is counted.
fn refused<C: Connect>(worker: &Worker<C>, fault: Fault, protocol: Protocol) -> Outcome {
    worker.server.counters.count_fault(fault);
    let reply = Reply::fault(fault).with_grpc(protocol == Protocol::Grpc);
    Outcome::Reply(Answered::and_close(reply))
}

/// Writes the proxy's own answer. Whether the connection stays open.
fn answer<A: Client, C: Connect>(
    worker: &Worker<C>,
    client: &mut A,
    answered: &Answered,
    record: &mut Record,
) -> bool {
    record.reply(&answered.reply);
    worker.server.counters.count_reply(answered.reply.reason);
    let persistence = if worker.is_draining() { Persistence::Close } else { answered.persistence };
    answered.reply.give(client, &worker.buffers, answered.to_head, ending(persistence));
    persistence != Persistence::Close
}

/// Sends what waits, says that nothing follows, and reads until the client does the same.
async fn close<S: Socket, C: Connect>(worker: &Worker<C>, client: &mut Stream<S>, deadline: &Deadline) {
    deadline.set(LINGER);
    poll_fn(|cx| poll_closed(worker, client, deadline, cx)).await;
}

/// The same of a connection whose deadline is set.
pub(crate) fn poll_closed<S: Socket, C: Connect>(
    worker: &Worker<C>,
    client: &mut Stream<S>,
    deadline: &Deadline,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let closed = poll_close(worker, client, cx);
    if closed.is_ready() { closed } else { deadline.poll(cx) }
}

fn poll_close<S: Socket, C: Connect>(
    worker: &Worker<C>,
    client: &mut Stream<S>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let sent = ready!(client.poll_flush(cx)).is_ok();
    if !sent || ready!(Pin::new(&mut client.socket).poll_shutdown(cx)).is_err() {
        return Poll::Ready(());
    }
    loop {
        match ready!(client.poll_feed(cx, &worker.buffers, |input, _| *input = &[])) {
            Ok(Fed::Some(())) => {}
            Ok(Fed::End) | Err(_) => return Poll::Ready(()),
        }
    }
}
