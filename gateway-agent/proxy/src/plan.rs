//! What becomes of a request, decided from its head while that still stands where it was received.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::Arc;

use gateway_agent_tables::http::{
    BackendProtocol, Cors, Filter, HttpAction, HttpBackend, HttpRule, HttpService, HttpTarget,
    ListenerMatcher, Redirect, RequestHead as Matched, RequestHost, RequestUrl, Scheme, SessionPersistence,
    Upstream,
};
use gateway_agent_tables::{FrontendKey, Protocol};
use http::Method;
use smallvec::SmallVec;

use crate::auth::{Awaits, Edits};
use crate::filter::{
    Budget, CorsAnswer, GRPC_TIMEOUT, Outgoing, TraceParent, change_request, cors, filters, grpc_timeout,
    is_preflight, may_repeat, mirrors, preflight,
};
use crate::h1::{
    AnswerTo, BodyReader, BodyWriter, Ending, Fault, Fields, Framing, Offers, Persistence, Piece,
    RequestHead, RequestLine, Version, write_request_head,
};
use crate::h2::{self, PREFACE};
use crate::held::{Held, Ledger};
use crate::matching::{self, Seen};
use crate::quota::{Place, RequestPlace};
use crate::reply::{Reason, Reply};
use crate::routing::Routing;
use crate::session::{self, Session};
use crate::settings::Settings;
use crate::telemetry::{self, LoggedHead, Meter, Record};
use crate::upstream::Endpoints;
use crate::worker::Buffers;

/// Where a connection comes from and to.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    pub(crate) frontend: FrontendKey,
    /// The client's address as text.
    pub(crate) client: Rc<str>,
    pub(crate) client_port: u16,
    /// The connection counts for a Gateway, whose limits hold.
    pub(crate) place: Rc<Place>,
    /// The request came by HTTP/2, which gRPC needs.
    pub(crate) is_http2: bool,
}

impl Peers {
    /// None: the Gateway has as many connections as it may have.
    pub(crate) fn new(local: SocketAddr, peer: SocketAddr, routing: &Routing) -> Option<Self> {
        // A socket of both families shows IPv4 addresses as IPv6 ones.
        let address = local.ip().to_canonical();
        // No connection leads to port 0.
        let port = NonZeroU16::new(local.port()).unwrap_or(NonZeroU16::MIN);
        let frontend = FrontendKey { address, port, protocol: Protocol::Tcp };
        Some(Self {
            frontend,
            client: peer.ip().to_canonical().to_string().into(),
            client_port: peer.port(),
            place: Rc::new(Place::take(routing.quota(&frontend))?),
            is_http2: false,
        })
    }
}

/// A request to be forwarded: all that is needed after its head is gone.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) rule: Arc<HttpRule>,
    /// Index among the rule's backends.
    backend: usize,
    pub(crate) endpoints: Endpoints,
    /// Those of backends that get a copy.
    pub(crate) mirrors: Copies,
    /// What the endpoints speak.
    pub(crate) protocol: BackendProtocol,
    /// The head as endpoints get it, and as much of the body as came with it.
    pub(crate) request: Vec<u8>,
    /// The same head for the first try at an endpoint that speaks HTTP/2.
    pub(crate) announced: Option<Box<h2::Head>>,
    /// What of the client's body is still to come.
    pub(crate) body: BodyReader,
    pub(crate) writer: BodyWriter,
    /// More of the body was taken from the client than `request` holds.
    pub(crate) streamed: bool,
    pub(crate) to: AnswerTo,
    pub(crate) may_repeat: bool,
    pub(crate) is_grpc: bool,
    pub(crate) cors: Option<CorsAnswer>,
    /// None: nobody else decides whether the request goes on.
    pub(crate) awaits: Option<Box<Awaits>>,
    /// Changes to the response that those ordered who let the request go on.
    pub(crate) granted: Vec<Edits>,
    /// None: the rule knows no sessions.
    pub(crate) session: Option<Session>,
    pub(crate) budget: Budget,
    pub(crate) client: ClientSide,
    /// Interim responses that were passed on.
    pub(crate) interims: u8,
    /// Of the request, as far as it is large.
    pub(crate) held: Option<Held>,
    /// The request counts for a Gateway, whose limits hold.
    pub(crate) place: RequestPlace,
    pub(crate) record: Record,
}

/// Endpoints, one of which gets a copy, and what they speak.
pub(crate) type Copies = SmallVec<[(Endpoints, BackendProtocol); 1]>;

/// What of the client decides how it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientSide {
    pub(crate) version: Version,
    pub(crate) persistence: Persistence,
    /// It speaks HTTP/2, whatever the version says.
    pub(crate) is_http2: bool,
}

/// What is to be done, and how the client is to be answered.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The client speaks HTTP/2 from its first byte on.
    Http2,
    Forward(Box<Forward>),
    /// Apart: what becomes of most requests is handed on through several layers, and would be as large.
    Reply(Box<(Answered, Record)>),
}

/// An answer of the proxy itself, to one request.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) to_head: bool,
    pub(crate) persistence: Persistence,
}

impl Answered {
    /// The connection can stay open only if the body came whole: nobody reads the rest.
    fn new(reply: Reply, to_head: bool, persistence: Persistence, body: &BodyReader) -> Self {
        let persistence = if body.has_ended() { persistence } else { Persistence::Close };
        Self { reply, to_head, persistence }
    }

    /// To a request that was not understood.
    pub(crate) fn and_close(reply: Reply) -> Self {
        Self { reply, to_head: false, persistence: Persistence::Close }
    }
}

impl Forward {
    pub(crate) fn backend(&self) -> Option<&HttpBackend> {
        self.backend_of(&self.rule)
    }

    /// The same, of a handle to the rule that outlives changes to the request.
    pub(crate) fn backend_of<'r>(&self, rule: &'r HttpRule) -> Option<&'r HttpBackend> {
        backend_at(rule, self.backend)
    }

    /// Counts what the request takes of memory.
    pub(crate) fn hold(&mut self, ledger: &Ledger) {
        self.held = None;
        self.held = ledger.hold(self.request.capacity());
    }

    pub(crate) fn backend_index(&self) -> usize {
        self.backend
    }

    /// Whether `request` is all that was taken from the client, so that it can be sent again from the beginning.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.streamed
    }

    /// The answer of the proxy instead of an endpoint's.
    pub(crate) fn answered(&self, reply: Reply) -> Answered {
        let reply = reply.with_rule(&self.rule).with_cors(self.cors.as_ref()).with_grpc(self.is_grpc);
        Answered::new(reply, self.to.head, self.client.persistence, &self.body)
    }
}

impl ClientSide {
    /// How a response ends its exchange, if the connection may stay open as far as the proxy is concerned.
    pub(crate) fn ending(self, may_stay: bool) -> Ending<'static> {
        ending(if may_stay { self.persistence } else { Persistence::Close })
    }
}

pub(crate) fn ending(persistence: Persistence) -> Ending<'static> {
    match persistence {
        Persistence::Keep => Ending::Open,
        Persistence::KeepAsAsked => Ending::KeepAlive,
        Persistence::Close => Ending::Close,
    }
}

/// What decisions are made from.
#[derive(Clone, Copy)]
pub(crate) struct Planner<'p> {
    pub(crate) peers: &'p Peers,
    pub(crate) routing: &'p Routing,
    pub(crate) settings: &'p Settings,
    pub(crate) buffers: &'p Buffers,
    pub(crate) meter: &'p Meter,
    /// Gives numbers that are even over all of u32.
    pub(crate) random: &'p dyn Fn() -> u32,
}

impl Planner<'_> {
    /// Reads the request that `input` begins with and decides; None: its head isn't complete. Takes the head from the
    /// input and what is there of the body.
    pub(crate) fn plan(self, input: &mut &[u8]) -> Result<Option<Plan>, Fault> {
        if input.starts_with(PREFACE) {
            return Ok(Some(Plan::Http2));
        }
        if PREFACE.starts_with(input) {
            return Ok(None);
        }
        let Some(head) = RequestHead::parse(input, self.peers.place.heads())? else { return Ok(None) };
        let mut rest = &input[head.len..];
        let plan = self.plan_head(head, &mut rest)?;
        *input = rest;
        Ok(Some(plan))
    }

    /// Decides about a request with this head, and takes from `rest` what is there of its body.
    pub(crate) fn plan_head(self, head: RequestHead<'_>, rest: &mut &[u8]) -> Result<Plan, Fault> {
        let (to_head, persistence, framing) = (head.method == Method::HEAD, head.persistence, head.framing);
        Ok(match self.decide(head)? {
            Ok(mut forward) => {
                take_body(rest, &mut forward)?;
                forward.hold(self.buffers.ledger());
                Plan::Forward(forward)
            }
            Err((reply, record)) => {
                let mut body = BodyReader::new(framing, self.peers.place.heads());
                while let Piece::Data(_) = body.next(rest)? {}
                Plan::Reply(Box::new((Answered::new(reply, to_head, persistence, &body), record)))
            }
        })
    }

    fn decide(self, head: RequestHead<'_>) -> Result<Result<Box<Forward>, (Reply, Record)>, Fault> {
        let host = RequestHost::of(head.host);
        let is_grpc = self.peers.is_http2 && is_grpc(head.fields.first("content-type"));
        let listener = self.routing.matcher.listener(&self.peers.frontend, &host);
        let paths = listener.map(|listener| listener.settings.paths).unwrap_or_default();
        let path = paths.normalise(head.target.path)?;
        let list;
        let mut head = head;
        if let Some(listener) = listener {
            let forwarded = matching::forwarded(listener, &head, &self.peers.client);
            list = forwarded.list(&head.fields);
            forwarded.apply(&mut head.fields, list.as_deref());
        }
        let seen = Seen::of(&head);
        let rule = listener.and_then(|listener| {
            let method = matching::method(listener, &head, &host, &path);
            let matched = Matched::new(&host, &method, &path, &seen).with_query(head.target.query);
            listener.pick(&matched.with_grpc(is_grpc))
        });
        let protocol = telemetry::Protocol::of(self.peers.is_http2, is_grpc);
        let record = |backend| {
            let matched = telemetry::Matched { listener, rule, backend };
            let logged = || self.logged(&head);
            self.meter.record(self.routing.generation, matched, protocol, self.random, logged)
        };
        let (Some(listener), Some(rule)) = (listener, rule) else {
            return Ok(Err((Reply::new(Reason::NoRoute).with_grpc(is_grpc), record(None))));
        };
        // HTTP/1.0 may name no host; the address is one that leads here, too.
        let here = host.as_str().is_empty().then(|| match self.peers.frontend.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        let url = RequestUrl {
            scheme: listener.scheme,
            host: here.as_deref().unwrap_or(host.as_str()),
            port: listener.port,
            path: &path,
            query: head.target.query,
        };
        let own = |reply: Reply| {
            let backend = reply.backend.and_then(|index| backend_at(rule, index));
            let cors = cors(rule, backend).map(|cors| CorsAnswer::of(cors, &head.fields));
            reply.with_rule(rule).with_cors(cors.as_ref()).with_grpc(is_grpc)
        };
        if let Some(reply) = answer(rule, &head, url) {
            return Ok(Err((own(reply), record(None))));
        }
        let place = self.peers.place.request().ok_or_else(|| Reply::new(Reason::GatewayBusy));
        let deadline = is_grpc.then(|| head.fields.first(GRPC_TIMEOUT).and_then(grpc_timeout)).flatten();
        let choose = || self.choose(rule, url, &head);
        Ok(match place.and_then(|place| Ok((place, choose()?))) {
            Ok((place, chosen)) => {
                let record = record(chosen.backend.map(|backend| self::place(rule, backend)));
                let mut forward = self.forward(head, path, listener, rule, chosen, (place, record))?;
                forward.is_grpc = is_grpc;
                forward.budget = forward.budget.within(deadline);
                Ok(forward)
            }
            Err(reply) => {
                let record = record(reply.backend);
                Err((own(reply), record))
            }
        })
    }

    fn logged<'h>(&'h self, head: &'h RequestHead<'_>) -> LoggedHead<'h> {
        LoggedHead {
            client: &self.peers.client,
            method: head.method.as_str(),
            host: head.host,
            path: head.target.path,
            protocol: match head.version {
                _ if self.peers.is_http2 => "HTTP/2",
                Version::Http11 => "HTTP/1.1",
                Version::Http10 => "HTTP/1.0",
            },
            user_agent: head.fields.first("user-agent"),
        }
    }

    /// The session that a request belongs to at the backend that the weights gave it to (GEP-1619: sessions choose among
    /// endpoints, never among backends).
    fn session(
        self,
        rule: &HttpRule,
        persistence: &SessionPersistence,
        service: &HttpService,
        fields: &Fields<'_>,
        scheme: Scheme,
    ) -> Session {
        let mut session = Session { endpoint: None, others: Vec::new(), service: service.clone(), scheme };
        for token in session::tokens(persistence, fields, session::now()) {
            if token.backend == session::backend(service) {
                let endpoint = session.endpoint.take();
                session.endpoint =
                    endpoint.or_else(|| self.routing.endpoint(service, token.endpoint).map(Arc::clone));
            } else if is_backend(rule, token.backend)
                && session.others.iter().all(|other| other.backend != token.backend)
            {
                session.others.push(token);
            }
        }
        session
    }

    /// The backend that the weights give the request to, and its endpoints.
    fn choose<'a>(
        &'a self,
        rule: &'a HttpRule,
        url: RequestUrl<'_>,
        head: &RequestHead<'_>,
    ) -> Result<Chosen<'a>, Reply> {
        let split = match &rule.action {
            HttpAction::Forward(split) => split,
            HttpAction::Redirect(to) => return Ok(Chosen::redirect(None, redirect(to, url))),
            HttpAction::Refuse(_) => return Err(Reply::new(Reason::InvalidRoute)),
        };
        let backend = split.pick((self.random)()).ok_or_else(|| Reply::new(Reason::InvalidRoute))?;
        let refuse = |reply: Reply| reply.with_backend(place(rule, backend));
        let invalid = || refuse(Reply::new(Reason::InvalidRoute));
        if let Some(reply) = cors(rule, Some(backend)).and_then(|cors| answer_preflight(cors, head)) {
            return Err(refuse(reply));
        }
        match &backend.target {
            HttpTarget::Forward(upstream) if !is_spoken(upstream) => Err(invalid()),
            HttpTarget::Forward(upstream) => {
                let endpoints = self.routing.endpoints(&upstream.service);
                let endpoints = endpoints.ok_or_else(|| refuse(Reply::new(Reason::NoEndpoint)))?;
                Ok(Chosen::of(backend, endpoints, upstream))
            }
            HttpTarget::Redirect(to) if is_guarded(rule, Some(backend)) => {
                Ok(Chosen::redirect(Some(backend), redirect(to, url)))
            }
            HttpTarget::Redirect(to) => Err(refuse(redirect(to, url))),
            HttpTarget::Refuse(_) => Err(invalid()),
        }
    }

    /// A conversation in another protocol can't be copied; nor do copies go to endpoints that can't be talked to.
    fn mirrors(self, rule: &HttpRule, backend: &HttpBackend, upgrade: bool) -> Copies {
        let chosen = mirrors(rule, backend, self.random).map(|mirror| &mirror.upstream);
        let spoken = chosen.filter(|upstream| !upgrade && is_spoken(upstream));
        let known = spoken.filter_map(|upstream| {
            Some((Arc::clone(self.routing.endpoints(&upstream.service)?), upstream.protocol))
        });
        known.collect()
    }

    fn forward(
        self,
        head: RequestHead<'_>,
        path: Cow<'_, str>,
        listener: &ListenerMatcher,
        rule: &Arc<HttpRule>,
        chosen: Chosen<'_>,
        (place, mut record): (RequestPlace, Record),
    ) -> Result<Box<Forward>, Fault> {
        let Chosen { backend, endpoints, upstream, redirect } = chosen;
        let scheme = listener.scheme;
        let session = upstream.zip(rule.session.as_deref()).map(|(upstream, persistence)| {
            self.session(rule, persistence, &upstream.service, &head.fields, scheme)
        });
        let body = BodyReader::new(head.framing, place.heads());
        let body = body.within(listener.settings.limits.body_bytes)?;
        let trace = TraceParent::of(&head.fields, self.random);
        record.trace(&trace);
        let cors = cors(rule, backend).map(|cors| CorsAnswer::of(cors, &head.fields));
        let mut outgoing = Outgoing { host: head.host.into(), path, fields: head.fields };
        trace.apply(&mut outgoing.fields);
        let asks = change_request(&mut outgoing, rule, backend, 0);
        let line = RequestLine {
            method: &head.method,
            path: &outgoing.path,
            query: head.target.query,
            host: &outgoing.host,
        };
        let offers =
            Offers { upgrade: head.upgrade, waits: head.expects_continue, trailers: head.takes_trailers };
        let mut request = self.buffers.take();
        write_request_head(&mut request, line, &outgoing.fields, head.framing, offers);
        let protocol = upstream.map_or(BackendProtocol::Http1, |upstream| upstream.protocol);
        // One that waits may still be changed.
        let is_announced = protocol == BackendProtocol::Http2 && asks.is_none();
        let announced = is_announced
            .then(|| h2::Head::of(line, &outgoing.fields, head.framing, head.takes_trailers, request.len()));
        Ok(Box::new(Forward {
            rule: Arc::clone(rule),
            // One that there is not, if the rule redirects.
            backend: backend.map_or(0, |backend| self::place(rule, backend)),
            endpoints,
            protocol,
            mirrors: backend.map_or(Copies::new(), |it| self.mirrors(rule, it, head.upgrade.is_some())),
            request,
            announced: announced.flatten().map(Box::new),
            body,
            writer: if head.framing == Framing::Chunked { BodyWriter::Chunked } else { BodyWriter::Plain },
            streamed: false,
            to: AnswerTo::new(&head.method, head.upgrade.is_some()),
            may_repeat: may_repeat(&head.method),
            cors,
            awaits: asks.map(|filter| {
                let client = (Rc::clone(&self.peers.client), self.peers.client_port);
                Box::new(Awaits { filter, client, scheme, frontend: self.peers.frontend, redirect })
            }),
            granted: Vec::new(),
            session,
            is_grpc: false,
            budget: Budget::of(rule.timeouts, self.settings.request_timeout),
            client: ClientSide {
                version: head.version,
                persistence: head.persistence,
                is_http2: self.peers.is_http2,
            },
            interims: 0,
            held: None,
            place,
            record,
        }))
    }
}

struct Chosen<'a> {
    /// None: the rule redirects.
    backend: Option<&'a HttpBackend>,
    endpoints: Endpoints,
    /// None: the rule or the backend redirects.
    upstream: Option<&'a Upstream>,
    /// What a client is told that may go on.
    redirect: Option<Box<Reply>>,
}

impl<'a> Chosen<'a> {
    fn of(backend: &'a HttpBackend, endpoints: &Endpoints, upstream: &'a Upstream) -> Self {
        let (backend, upstream) = (Some(backend), Some(upstream));
        Self { backend, endpoints: Arc::clone(endpoints), upstream, redirect: None }
    }

    fn redirect(backend: Option<&'a HttpBackend>, reply: Reply) -> Self {
        let redirect = Some(Box::new(reply));
        Self { backend, endpoints: Endpoints::default(), upstream: None, redirect }
    }
}

/// Whether a service decides about requests before they are forwarded or redirected.
fn is_guarded(rule: &HttpRule, backend: Option<&HttpBackend>) -> bool {
    filters(rule, backend).any(|filter| matches!(filter, Filter::ExternalAuth(_)))
}

/// Whether the content type is one of gRPC's.
pub(crate) fn is_grpc(content_type: Option<&[u8]>) -> bool {
    let parts = content_type.and_then(|value| value.split_at_checked(GRPC.len()));
    // An encoding of messages may follow, or a parameter; gRPC-Web is another protocol.
    parts.is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(GRPC) && matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..])
    })
}

/// What gRPC's content types begin with.
const GRPC: &[u8] = b"application/grpc";

/// Whether the proxy can talk to these endpoints.
pub(crate) fn is_spoken(upstream: &Upstream) -> bool {
    !upstream.encrypted
}

/// Moves what has come of the body behind the head.
pub(crate) fn take_body(rest: &mut &[u8], forward: &mut Forward) -> Result<(), Fault> {
    loop {
        match forward.body.next(rest)? {
            Piece::Data(data) => forward.writer.frame(data, &mut forward.request),
            Piece::More => return Ok(()),
            Piece::End => {
                forward.writer.finish(forward.body.trailers(), &mut forward.request);
                return Ok(());
            }
        }
    }
}

/// What the rule answers itself.
fn answer(rule: &HttpRule, head: &RequestHead<'_>, url: RequestUrl<'_>) -> Option<Reply> {
    if let Some(reply) = cors(rule, None).and_then(|cors| answer_preflight(cors, head)) {
        return Some(reply);
    }
    match &rule.action {
        HttpAction::Redirect(to) if !is_guarded(rule, None) => Some(redirect(to, url)),
        HttpAction::Refuse(_) => Some(Reply::new(Reason::InvalidRoute)),
        HttpAction::Forward(_) | HttpAction::Redirect(_) => None,
    }
}

/// None: the request isn't one.
fn answer_preflight(cors: &Cors, head: &RequestHead<'_>) -> Option<Reply> {
    let answer = || preflight(cors, &head.fields).map_or(Reply::new(Reason::OriginRefused), Reply::preflight);
    is_preflight(&head.method, &head.fields).then(answer)
}

fn redirect(to: &Redirect, url: RequestUrl<'_>) -> Reply {
    Reply::redirect(to.status.code(), to.location(url))
}

fn backend_at(rule: &HttpRule, index: usize) -> Option<&HttpBackend> {
    match &rule.action {
        HttpAction::Forward(split) => split.backends().get(index),
        _ => None,
    }
}

/// Whether the hash of a session's backend is that of one of the rule's.
fn is_backend(rule: &HttpRule, hash: u32) -> bool {
    let HttpAction::Forward(split) = &rule.action else { return false };
    split.backends().iter().any(|backend| {
        matches!(&backend.target, HttpTarget::Forward(upstream) if session::backend(&upstream.service) == hash)
    })
}

/// A backend's index among those of its rule.
fn place(rule: &HttpRule, backend: &HttpBackend) -> usize {
    match &rule.action {
        HttpAction::Forward(split) => {
            split.backends().iter().position(|other| std::ptr::eq(other, backend)).unwrap_or_default()
        }
        _ => 0,
    }
}
