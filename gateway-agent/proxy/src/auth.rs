//! External authorization (GEP-1494): another service decides whether a request goes on. It is asked in the request's own
//! task, over the worker's connections, before anything of the request leaves for an endpoint or a mirror. Whatever goes
//! wrong refuses the request.

mod call;
mod grpc;
mod http;
mod messages;
mod query;
mod verdict;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

use gateway_agent_tables::FrontendKey;
use gateway_agent_tables::http::{AuthProtocol, ExternalAuth, Filter, HttpRule, Scheme, Upstream};
use tokio::time::{Instant, timeout_at};

use self::call::Call;
pub(crate) use self::call::CallError;
pub(crate) use self::verdict::{Denial, Edits};
use self::verdict::{Grant, Verdict};
use crate::client::{AnswerHead, Client};
use crate::deadline::Deadline;
use crate::filter::{Outgoing, change_request, filters};
use crate::forward::Outcome;
use crate::h1::{
    BodyReader, Ending, Fault, Fields, Framing, HeadLimits, Offers, Piece, RequestHead, RequestLine,
    write_request_head,
};
use crate::held::LARGE;
use crate::plan::{ClientSide, Forward, is_spoken, take_body};
use crate::reply::{Reason, Reply};
use crate::socket::Connect;
use crate::stream::Fed;
use crate::telemetry::Failure;
use crate::worker::{Buffers, Worker};

/// What tells a client that it may send its body (RFC 9110, 15.2.1).
const CONTINUE: (u16, &str) = (100, "Continue");

/// A request that goes on only if a service says so. Its head is as the filters before that one have left it.
#[derive(Debug)]
pub(crate) struct Awaits {
    /// Index among the filters of the rule and then of the backend.
    pub(crate) filter: usize,
    pub(crate) scheme: Scheme,
    pub(crate) frontend: FrontendKey,
    /// The client's address, as text, and its port.
    pub(crate) client: (Rc<str>, u16),
    /// The answer to a client that may go on; None: it is an endpoint's.
    pub(crate) redirect: Option<Box<Reply>>,
}

/// Asks all services that the request has to pass, one after the other; an error is what becomes of a request that may
/// not go on. `ends`: when the request's time is over.
pub(crate) async fn authorize<A: Client, C: Connect>(
    worker: &Rc<Worker<C>>,
    client: &mut A,
    deadline: &Deadline,
    forward: &mut Forward,
    ends: Option<Instant>,
) -> Result<(), Outcome> {
    let rule = Arc::clone(&forward.rule);
    while let Some(awaits) = forward.awaits.take() {
        let auth = external(&rule, forward, &awaits)?;
        if auth.body_limit > 0 {
            gather(worker, client, deadline, forward, auth.body_limit).await?;
        }
        let limit = Instant::now() + worker.server.settings.auth_timeout;
        let limit = ends.map_or(limit, |ends| limit.min(ends));
        let verdict = match timeout_at(limit, ask(worker, forward, &awaits, auth)).await {
            Ok(verdict) => verdict,
            Err(_) if ends == Some(limit) => return Err(refused(forward, Reason::Late)),
            Err(_) => Err(CallError::Late),
        };
        match verdict {
            Ok(Verdict::Granted(grant)) => go_on(&worker.buffers, forward, *awaits, grant)?,
            Ok(Verdict::Denied(denial)) => {
                return Err(Outcome::Reply(forward.answered(Reply::denied(denial))));
            }
            Err(error) => return Err(refused(forward, error.reason())),
        }
    }
    Ok(())
}

/// What becomes of a request if all services allow it and add nothing, and who they are.
pub(crate) fn suppose_granted(buffers: &Buffers, forward: &mut Forward) -> Result<Vec<Upstream>, Outcome> {
    let rule = Arc::clone(&forward.rule);
    let mut asked = Vec::new();
    while let Some(awaits) = forward.awaits.take() {
        asked.push(external(&rule, forward, &awaits)?.upstream.clone());
        go_on(buffers, forward, *awaits, Grant::default())?;
    }
    Ok(asked)
}

fn refused(forward: &Forward, reason: Reason) -> Outcome {
    Outcome::Reply(forward.answered(Reply::new(reason)))
}

/// Reads the client's body to its end, behind the head: the service is to see it, or to hear that it is too large.
async fn gather<A: Client, C: Connect>(
    worker: &Worker<C>,
    client: &mut A,
    deadline: &Deadline,
    forward: &mut Forward,
    most: u32,
) -> Result<(), Outcome> {
    let gathered = match expect_body(&forward.request, &forward.body) {
        Ok(waits) => {
            if waits {
                let (fields, framing, ending) = (&Fields::default(), Framing::None, Ending::Open);
                let head = AnswerHead { line: CONTINUE, fields, framing, would_be: None, ending };
                client.begin(&worker.buffers, head);
            }
            limit_body(forward, most)
        }
        Err(fault) => Err(fault),
    };
    let gathered = match gathered {
        Ok(()) => poll_fn(|cx| poll_gather(worker, client, deadline, forward, cx)).await,
        Err(fault) => Err(Ungathered::Fault(fault)),
    };
    gathered.map_err(|ungathered| match ungathered {
        Ungathered::Fault(fault) => {
            worker.server.counters.count_fault(fault);
            Outcome::Reply(forward.answered(Reply::fault(fault)))
        }
        Ungathered::Reason(reason) => refused(forward, reason),
        Ungathered::Gone => {
            forward.record.fail(Failure::ClientGone);
            Outcome::Abort
        }
    })
}

/// Why a body is not there as a whole.
enum Ungathered {
    Fault(Fault),
    Reason(Reason),
    /// The client has gone.
    Gone,
}

/// Whether the client waits until it is told to send its body.
fn expect_body(request: &[u8], body: &BodyReader) -> Result<bool, Fault> {
    Ok(Waiting::parse(request)?.head.expects_continue && !body.has_ended())
}

/// What has come counts too.
fn limit_body(forward: &mut Forward, most: u32) -> Result<(), Fault> {
    let come = Waiting::parse(&forward.request)?.body()?.len() as u64;
    let left = u64::from(most).checked_sub(come).ok_or(Fault::BodySize)?;
    forward.body = forward.body.clone().within(Some(left))?;
    Ok(())
}

fn poll_gather<A: Client, C: Connect>(
    worker: &Worker<C>,
    client: &mut A,
    deadline: &Deadline,
    forward: &mut Forward,
    cx: &mut std::task::Context<'_>,
) -> Poll<Result<(), Ungathered>> {
    let (buffers, patience) = (&worker.buffers, forward.place.limits().stall_timeout);
    deadline.set(patience);
    while !forward.body.has_ended() {
        if buffers.ledger().is_tight() && forward.request.len() > LARGE {
            return Poll::Ready(Err(Ungathered::Reason(Reason::GatewayBusy)));
        }
        if ready!(client.poll_sent(cx)).is_err() {
            return Poll::Ready(Err(Ungathered::Gone));
        }
        match client.poll_body(cx, buffers, |input, _| take_body(input, forward)) {
            Poll::Ready(Ok(Fed::Some(taken))) => taken.map_err(Ungathered::Fault)?,
            Poll::Ready(Ok(Fed::End) | Err(_)) => return Poll::Ready(Err(Ungathered::Gone)),
            Poll::Pending => {
                ready!(deadline.poll(cx));
                return Poll::Ready(Err(Ungathered::Reason(Reason::ClientLate)));
            }
        }
        forward.hold(buffers.ledger());
        deadline.set(patience);
    }
    Poll::Ready(Ok(()))
}

/// The filter that the request waits for, if its service can be talked to.
fn external<'r>(rule: &'r HttpRule, forward: &Forward, awaits: &Awaits) -> Result<&'r ExternalAuth, Outcome> {
    match filters(rule, forward.backend_of(rule)).nth(awaits.filter) {
        Some(Filter::ExternalAuth(auth)) if is_spoken(&auth.upstream) => Ok(auth),
        _ => Err(refused(forward, Reason::InvalidRoute)),
    }
}

async fn ask<C: Connect>(
    worker: &Rc<Worker<C>>,
    forward: &Forward,
    awaits: &Awaits,
    auth: &ExternalAuth,
) -> Result<Verdict, CallError> {
    let waiting = Waiting::parse(&forward.request).map_err(|_| CallError::Malformed)?;
    let body =
        if auth.body_limit > 0 { waiting.body().map_err(|_| CallError::Malformed)? } else { Vec::new() };
    let about = About { head: &waiting.head, body: &body, client: forward.client, awaits };
    let (request, to) = match &auth.protocol {
        AuthProtocol::Http { prefix, request_headers, .. } => {
            http::question(&about, prefix.as_ref(), request_headers)
        }
        AuthProtocol::Grpc { request_headers } => grpc::question(&about, &auth.upstream, request_headers),
    };
    let _held = worker.buffers.ledger().hold(request.capacity() + body.capacity());
    let Upstream { protocol, .. } = auth.upstream;
    let endpoints = worker.server.routing.load().endpoints(&auth.upstream.service).cloned();
    let endpoints = endpoints.ok_or(CallError::Unreachable)?;
    let call = Call { endpoints: &endpoints, protocol, request: &request, to };
    let answer = call.ask(worker, forward.place.heads()).await?;
    match &auth.protocol {
        AuthProtocol::Http { response_headers, .. } => http::verdict(answer, to, response_headers),
        AuthProtocol::Grpc { .. } => grpc::verdict(&answer, to),
    }
}

/// What a service is asked about.
struct About<'a> {
    head: &'a RequestHead<'a>,
    /// Empty unless the service is to see it.
    body: &'a [u8],
    client: ClientSide,
    awaits: &'a Awaits,
}

/// Does what the service and then the other filters say, up to the next one that asks.
fn go_on(buffers: &Buffers, forward: &mut Forward, mut awaits: Awaits, grant: Grant) -> Result<(), Outcome> {
    forward.granted.extend(grant.response);
    let rule = Arc::clone(&forward.rule);
    let backend = forward.backend_of(&rule);
    let received = std::mem::replace(&mut forward.request, buffers.take());
    let Ok(Waiting { head, body }) = Waiting::parse(&received) else {
        return Err(refused(forward, Reason::InvalidRoute));
    };
    let mut outgoing =
        Outgoing { host: head.host.into(), path: head.target.path.into(), fields: head.fields };
    grant.request.apply(&mut outgoing.fields);
    let next = change_request(&mut outgoing, &rule, backend, awaits.filter + 1);
    let query = (!grant.query.is_empty()).then(|| grant.query.apply(head.target.query));
    let query = query.as_ref().map_or(head.target.query, Option::as_deref);
    let line = RequestLine { method: &head.method, path: &outgoing.path, query, host: &outgoing.host };
    let waits = head.expects_continue && !forward.body.has_ended();
    let offers = Offers { upgrade: head.upgrade, waits, trailers: head.takes_trailers };
    write_request_head(&mut forward.request, line, &outgoing.fields, head.framing, offers);
    forward.request.extend_from_slice(body);
    forward.hold(buffers.ledger());
    match (next, awaits.redirect.take()) {
        (Some(filter), redirect) => {
            forward.awaits = Some(Box::new(Awaits { filter, redirect, ..awaits }));
            Ok(())
        }
        (None, Some(redirect)) => Err(Outcome::Reply(forward.answered(*redirect))),
        (None, None) => Ok(()),
    }
}

/// A request that waits, as it stands in memory.
struct Waiting<'a> {
    head: RequestHead<'a>,
    /// As much as has come of it, framed.
    body: &'a [u8],
}

impl<'a> Waiting<'a> {
    fn parse(request: &'a [u8]) -> Result<Self, Fault> {
        // The proxy has written all of it.
        let head = RequestHead::parse(request, HeadLimits::CARRIED)?.ok_or(Fault::RequestLine)?;
        let body = &request[head.len..];
        Ok(Self { head, body })
    }

    /// What has come of the body itself.
    fn body(&self) -> Result<Vec<u8>, Fault> {
        let mut reader = BodyReader::new(self.head.framing, HeadLimits::CARRIED);
        let (mut input, mut data) = (self.body, Vec::new());
        while let Piece::Data(piece) = reader.next(&mut input)? {
            data.extend_from_slice(piece);
        }
        Ok(data)
    }
}
