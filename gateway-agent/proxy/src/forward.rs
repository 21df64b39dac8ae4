//! Forwarding a request: endpoints are tried until one answers, as far as a request may be sent twice.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gateway_agent_tables::http::BackendProtocol;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::auth::authorize;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::exchange::{Answer, Broken, Exchange, Finished, Upload};
use crate::filter::Attempts;
use crate::h1::BodyWriter;
use crate::h2::Reset;
use crate::mirror::Mirrors;
use crate::plan::{Answered, Forward};
use crate::reply::{Reason, Reply};
use crate::socket::Connect;
use crate::stream::Stream;
use crate::telemetry::{Failure, GrpcStatus};
use crate::upstream::{self, Endpoint, InFlight, Wire, pick};
use crate::worker::Worker;

/// What becomes of the client's connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It waits for the next request.
    Keep,
    /// It ends once all is sent.
    Close,
    /// It ends at once: the client is gone, or must see that its answer broke off.
    Abort,
    /// The client is still to be answered.
    Reply(Answered),
}

/// How one try ended.
enum Try {
    Done(Outcome),
    /// Another try may follow, after this pause.
    Again(Duration),
    /// A connection that had been idle had just been closed: not the endpoint's fault, and not a try.
    Stale,
    /// The endpoint did not accept a connection.
    Unreachable,
}

/// Forwards a request and the answer to it.
pub(crate) async fn forward<A: Client, C: Connect>(
    worker: &Rc<Worker<C>>,
    client: &mut A,
    deadline: &Deadline,
    forward: &mut Forward,
) -> Outcome {
    let rule = Arc::clone(&forward.rule);
    let mut attempts = Attempts::new(rule.retry.as_deref());
    let ends = forward.budget.request.map(|limit| Instant::now() + limit);
    let mut tried: Vec<SocketAddr> = Vec::new();
    if forward.awaits.is_some()
        && let Err(outcome) = Box::pin(authorize(worker, client, deadline, forward, ends)).await
    {
        return outcome;
    }
    let mut mirrors = Mirrors::start(worker, forward);
    let (mut fresh, mut again) = (false, false);
    // Of those tried, the ones that may get no more.
    let mut busy = 0;
    let outcome = loop {
        let of_session = forward.session.as_ref().and_then(|session| session.endpoint.as_ref());
        let picked = match of_session.filter(|_| tried.is_empty()) {
            Some(endpoint) => Some(endpoint),
            // After so many that refused, all the others may do so too.
            None if tried.len() - busy >= worker.server.settings.endpoints_tried => None,
            None => pick(&forward.endpoints, &tried, || worker.random()),
        };
        let Some(endpoint) = picked else {
            let reason = if busy > 0 { Reason::EndpointsBusy } else { Reason::Unreachable };
            // Nothing was sent, so whatever it asks may be tried again.
            match attempts.after_failure(worker.random()).filter(|_| reason == Reason::Unreachable) {
                Some(pause) if wait(pause, ends).await => {
                    tried.clear();
                    again = true;
                    continue;
                }
                Some(_) => break Outcome::Reply(forward.answered(Reply::new(Reason::Late))),
                None => break Outcome::Reply(forward.answered(Reply::new(reason))),
            }
        };
        let limit = forward.place.limits().endpoint_requests;
        let Some(at_work) = InFlight::within(endpoint, limit) else {
            tried.push(endpoint.address);
            busy += 1;
            continue;
        };
        if std::mem::take(&mut again) {
            forward.record.retry();
        }
        forward.record.endpoint(at_work.address);
        match attempt(worker, client, deadline, forward, &mut mirrors, &mut attempts, &at_work, ends, fresh)
            .await
        {
            Try::Done(outcome) => break outcome,
            Try::Stale => fresh = true,
            Try::Again(pause) => {
                again = true;
                if !wait(pause, ends).await {
                    break Outcome::Reply(forward.answered(Reply::new(Reason::Late)));
                }
            }
            Try::Unreachable => {
                tried.push(at_work.address);
                again = true;
            }
        }
    };
    worker.buffers.give(std::mem::take(&mut forward.request));
    outcome
}

/// Waits before another try; false: the request's time is over.
async fn wait(pause: Duration, ends: Option<Instant>) -> bool {
    let resumes = Instant::now() + pause;
    sleep_until(ends.map_or(resumes, |ends| ends.min(resumes))).await;
    ends.is_none_or(|ends| resumes < ends)
}

#[expect(clippy::too_many_arguments, reason = "the state of the loop above, and what it works with")]
async fn attempt<A: Client, C: Connect>(
    worker: &Rc<Worker<C>>,
    client: &mut A,
    deadline: &Deadline,
    forward: &mut Forward,
    mirrors: &mut Mirrors,
    attempts: &mut Attempts<'_>,
    endpoint: &Endpoint,
    ends: Option<Instant>,
    fresh: bool,
) -> Try {
    let limit = match forward.budget.attempt.map(|limit| Instant::now() + limit) {
        Some(limit) => Some(ends.map_or(limit, |ends| ends.min(limit))),
        None => ends,
    };
    let pooled = if fresh || forward.protocol == BackendProtocol::Http2 {
        None
    } else {
        worker.pool.borrow_mut().take(endpoint.address)
    };
    let was_pooled = pooled.is_some();
    let mut upstream = match pooled {
        Some(upstream) => upstream,
        // Apart, as what follows: most requests need no room for it.
        None => match Box::pin(connect(worker, endpoint.address, forward.protocol, limit)).await {
            Ok(stream) => stream,
            Err(_) if ends.is_some_and(|ends| ends <= Instant::now()) => {
                return Try::Done(Outcome::Reply(forward.answered(Reply::new(Reason::Late))));
            }
            Err(_) => return Try::Unreachable,
        },
    };
    let reused = was_pooled || (!fresh && upstream.socket.is_reused());
    upstream.socket.announce(forward.announced.take());
    if forward.is_grpc {
        upstream.socket.expire(limit);
    }
    deadline.set(forward.place.limits().stall_timeout);
    let mut sleep: Option<Pin<Box<Sleep>>> = limit.map(|limit| Box::pin(sleep_until(limit)));
    let mut exchange = Exchange {
        worker,
        client,
        upstream: &mut upstream,
        forward,
        mirrors,
        deadline,
        attempts,
        endpoint,
        sent: 0,
        upload: Upload::Open,
        answer: Answer::Awaited,
    };
    let result = poll_fn(|cx| exchange.poll(cx, sleep.as_mut().map(Pin::as_mut))).await;
    let (begun, upload, sent) = (exchange.has_begun(), exchange.upload, exchange.sent);
    let may_say_more = matches!(exchange.answer, Answer::Body(_, BodyWriter::Chunked, _));
    let reset = upstream.socket.reset();
    match result {
        Ok(finished) if finished.upgraded => Try::Done(Box::pin(client.splice(&mut upstream)).await),
        Ok(finished) => Try::Done(finish(worker, endpoint.address, upstream, upload, finished)),
        Err(Broken::Closed) if !begun && reused && may_replay(forward, sent) => Try::Stale,
        Err(Broken::Closed) if !begun && reset == Some(Reset::Unprocessed) && forward.is_untouched() => {
            if fresh {
                Try::Unreachable
            } else {
                Try::Stale
            }
        }
        Err(broken) => match failure(worker, forward, attempts, broken, reset, begun, ends) {
            Try::Done(Outcome::Abort) if forward.is_grpc && may_say_more && broken != Broken::ClientGone => {
                let status = broken.grpc_status(reset);
                forward.record.grpc(Some(GrpcStatus::of(status)));
                Box::pin(end_call(worker, client, status)).await
            }
            failed => failed,
        },
    }
}

/// Tells the caller of gRPC why the answer is not whole, which a stream that breaks off can't.
async fn end_call<A: Client, C: Connect>(worker: &Worker<C>, client: &mut A, status: u8) -> Try {
    let trailers = format!("grpc-status: {status}\r\n");
    client.end(&worker.buffers, trailers.as_bytes(), BodyWriter::Chunked);
    // An error: nobody waits for it any more.
    let _ = poll_fn(|cx| client.poll_sent(cx)).await;
    Try::Done(Outcome::Close)
}

/// Whether a request that got no answer on a connection used before may be sent on another one: the endpoint had closed
/// it and saw nothing, or it changes nothing to be served twice.
fn may_replay(forward: &Forward, sent: usize) -> bool {
    forward.is_untouched() && (forward.may_repeat || sent == 0)
}

pub(crate) async fn connect<C: Connect>(
    worker: &Rc<Worker<C>>,
    endpoint: SocketAddr,
    protocol: BackendProtocol,
    limit: Option<Instant>,
) -> io::Result<Stream<Wire<C::Socket>>> {
    let own = Instant::now() + worker.server.settings.connect_timeout;
    let limit = limit.map_or(own, |limit| limit.min(own));
    let wire = timeout_at(limit, upstream::connect(worker, endpoint, protocol)).await??;
    Ok(Stream::new(wire))
}

/// Keeps both connections if they are fit for another exchange.
fn finish<C: Connect>(
    worker: &Worker<C>,
    endpoint: SocketAddr,
    upstream: Stream<Wire<C::Socket>>,
    upload: Upload,
    finished: Finished,
) -> Outcome {
    let uploaded = upload == Upload::Done;
    // Bytes behind a complete answer belong to nobody.
    if finished.keeps_upstream && uploaded && !upstream.has_received() {
        worker.keep(endpoint, upstream);
    }
    if finished.keeps_client && uploaded { Outcome::Keep } else { Outcome::Close }
}

/// What a broken try leads to.
fn failure<C: Connect>(
    worker: &Worker<C>,
    forward: &mut Forward,
    attempts: &mut Attempts<'_>,
    broken: Broken,
    reset: Option<Reset>,
    begun: bool,
    ends: Option<Instant>,
) -> Try {
    if let Broken::ClientFault(fault) | Broken::Malformed(fault) = broken {
        worker.server.counters.count_fault(fault);
    }
    let reason = match broken {
        Broken::ClientGone => {
            forward.record.fail(Failure::ClientGone);
            return Try::Done(Outcome::Abort);
        }
        Broken::Retried(pause) => return Try::Again(pause),
        _ if begun => {
            worker.server.counters.count_abort();
            forward.record.fail(Failure::Aborted);
            return Try::Done(Outcome::Abort);
        }
        Broken::ClientFault(fault) => {
            return Try::Done(Outcome::Reply(forward.answered(Reply::fault(fault))));
        }
        Broken::ClientLate => Reason::ClientLate,
        Broken::Closed | Broken::Malformed(_) => Reason::BadAnswer,
        Broken::Late => Reason::Late,
    };
    let over = ends.is_some_and(|ends| ends <= Instant::now());
    // Never after a connection that broke: the endpoint may have done what it was asked.
    let again = broken == Broken::Late && forward.is_untouched() && forward.may_repeat;
    if let Some(pause) = attempts.after_failure(worker.random()).filter(|_| again && !over) {
        return Try::Again(pause);
    }
    let reset = reset.filter(|_| broken == Broken::Closed);
    let reply = Reply::new(reason).with_grpc_status(reset.map(Reset::grpc_status));
    Try::Done(Outcome::Reply(forward.answered(reply)))
}
