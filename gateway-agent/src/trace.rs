//! What would become of a request, and why it meets the rule that it meets: for people.
//!
//! The decision is the proxy's own; what stands around it says how it came about.

mod render;
mod words;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use gateway_agent_proxy::h1::{HeadLimits, RequestHead as Received};
use gateway_agent_proxy::matching::{self, Seen};
use gateway_agent_proxy::trace::{Answer, Decision, Forwarded, Share, decide};
use gateway_agent_proxy::{Reason, Routing, Settings};
use gateway_agent_tables::http::{
    Considered, HttpAction, HttpFrontend, HttpListener, HttpRule, HttpTables, RequestHead, RequestHost,
    explain,
};
use gateway_agent_tables::{FrontendKey, ListenerName};
use http::{Method, Uri};
use serde::{Deserialize, Serialize};

/// A request as somebody would make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub method: String,
    pub url: String,
    /// Names and values; a Host among them replaces the URL's.
    pub headers: Vec<(String, String)>,
    /// Where the client connects to; None: any of the gateway's addresses.
    pub address: Option<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    #[error("{0:?} is no method; write GET, POST or the like")]
    Method(String),
    #[error("{0:?} is no URL of HTTP; write http://HOST/PATH")]
    Url(String),
}

/// What would become of it, wherever it may arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    pub request: String,
    pub port: NonZeroU16,
    /// One for each set of addresses with the same listeners.
    pub ways: Vec<Way>,
    /// Where listeners of HTTP are, if none has the request's address and port.
    pub elsewhere: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    pub frontends: Vec<SocketAddr>,
    /// All listeners there; none is looked for if the request is malformed. Of those whose host name matches, the most specific one has the request.
    pub listeners: Vec<Listener>,
    /// The one that has it.
    pub listener: Option<String>,
    pub rule: Option<String>,
    /// Of the rule, the match that the request meets first.
    pub matched: Option<String>,
    pub filters: Vec<String>,
    pub outcome: Outcome,
    /// All other matches of the listener's routes, in the order in which they are tried.
    pub others: Vec<Other>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub name: String,
    pub host: String,
    pub matches: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// The proxy answers itself.
    Answered(Answered),
    Forwarded {
        shares: Vec<Portion>,
        /// From the head to the response's end.
        request_timeout: Option<String>,
        attempt_timeout: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    pub status: u16,
    pub cause: String,
    pub location: Option<String>,
}

/// What one backend gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Portion {
    /// `3 of 4`
    pub share: String,
    pub backend: String,
    /// Its own, after those of the rule.
    pub filters: Vec<String>,
    /// Services that have to allow it first; their answers may change the head.
    pub asks: Vec<String>,
    /// The head as endpoints get it, line by line.
    pub sends: Vec<String>,
    pub endpoints: Vec<SocketAddr>,
    /// Instead of sending it.
    pub answer: Option<Answered>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Other {
    pub rule: String,
    pub wanted: String,
    /// Why the request doesn't meet it; None: it would, but another comes first.
    pub unmet: Option<String>,
}

/// A client of the documentation (RFC 5737, RFC 3849).
fn client(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100)),
    }
}

impl Trace {
    pub fn of(tables: &HttpTables, question: &Question) -> Result<Self, QuestionError> {
        let request = Request::parse(question)?;
        let routing = Routing::default().replace(tables, u32::MAX);
        let mut ways: Vec<Way> = Vec::new();
        for (frontend, listeners) in groups(tables, &request, question.address) {
            ways.push(Way::of(tables, &routing, &request, &frontend, listeners));
        }
        let elsewhere = if ways.is_empty() {
            tables
                .frontends
                .keys()
                .map(|key| SocketAddr::new(key.address, key.port.get()).to_string())
                .collect()
        } else {
            Vec::new()
        };
        Ok(Self { request: request.shown, port: request.port, ways, elsewhere })
    }
}

/// The addresses with the request's port, those with the same listeners together.
fn groups<'t>(
    tables: &'t HttpTables,
    request: &Request,
    address: Option<IpAddr>,
) -> Vec<(Vec<FrontendKey>, &'t HttpFrontend)> {
    let mut groups: Vec<(Vec<FrontendKey>, &HttpFrontend)> = Vec::new();
    for (key, frontend) in &tables.frontends {
        if key.port != request.port || address.is_some_and(|address| address != key.address) {
            continue;
        }
        match groups.iter_mut().find(|(_, known)| *known == frontend) {
            Some((keys, _)) => keys.push(*key),
            None => groups.push((vec![*key], frontend)),
        }
    }
    groups
}

/// A question, as bytes on a connection.
struct Request {
    shown: String,
    head: Vec<u8>,
    port: NonZeroU16,
    is_grpc: bool,
}

impl Request {
    fn parse(question: &Question) -> Result<Self, QuestionError> {
        let Question { method, url, headers, .. } = question;
        let wrong_url = || QuestionError::Url(url.clone());
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| QuestionError::Method(method.clone()))?;
        let uri: Uri = url.parse().map_err(|_| wrong_url())?;
        let default = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(wrong_url()),
        };
        let authority = uri.authority().ok_or_else(wrong_url)?;
        let port = NonZeroU16::new(authority.port_u16().unwrap_or(default)).ok_or_else(wrong_url)?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
        let has_host = headers.iter().any(|(name, _)| is(name, "host"));
        let host = (!has_host).then(|| format!("Host: {authority}\r\n"));
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines: Vec<_> = host.into_iter().chain(lines).collect();
        let head = format!("{method} {target} HTTP/1.1\r\n{}\r\n", lines.concat());
        let is_grpc = headers
            .iter()
            .any(|(name, value)| is(name, "content-type") && value.starts_with("application/grpc"));
        Ok(Self { shown: format!("{method} {url}"), head: head.into_bytes(), port, is_grpc })
    }
}

impl Way {
    fn of(
        tables: &HttpTables,
        routing: &Routing,
        request: &Request,
        frontends: &[FrontendKey],
        frontend: &HttpFrontend,
    ) -> Self {
        let local = SocketAddr::new(frontends[0].address, frontends[0].port.get());
        let met = Met::of(tables, routing, request, &frontends[0]);
        let client = client(local.ip());
        let question = gateway_agent_proxy::trace::Question {
            local,
            peer: SocketAddr::new(client, 1024),
            is_http2: request.is_grpc,
            head: &request.head,
        };
        let rule = met.as_ref().and_then(|met| met.rule);
        let mut outcome = Outcome::of(decide(routing, &Settings::default(), question, rule), rule);
        let found = met.as_ref().is_some_and(|met| met.listener.is_some());
        if let (Outcome::Answered(Answered { status: 404, cause, .. }), false) = (&mut outcome, found) {
            words::NO_LISTENER.clone_into(cause);
        }
        let place = met.as_ref().and_then(Met::place);
        let host = met.as_ref().map(|met| met.host.as_str());
        let listeners = frontend.listeners.iter().filter_map(|(pattern, name)| {
            Some(Listener {
                name: name.to_string(),
                host: pattern.to_string(),
                matches: pattern.matches(host?),
            })
        });
        let all = || met.iter().flat_map(|met| &met.considered);
        Self {
            frontends: frontends.iter().map(|key| SocketAddr::new(key.address, key.port.get())).collect(),
            listeners: listeners.collect(),
            listener: met.as_ref().and_then(|met| met.listener).map(ToString::to_string),
            rule: rule.map(|rule| rule.name.to_string()),
            matched: place.and_then(|place| all().nth(place)).map(|one| words::wanted(one.wanted)),
            filters: rule.into_iter().flat_map(|rule| &rule.filters).map(words::filter).collect(),
            outcome,
            others: all()
                .enumerate()
                .filter(|(at, _)| Some(*at) != place)
                .map(|(_, it)| Other::of(it))
                .collect(),
        }
    }
}

/// What the proxy's matcher finds, and what it found it among.
struct Met<'t> {
    host: String,
    /// None: none there has the host.
    listener: Option<&'t ListenerName>,
    rule: Option<&'t HttpRule>,
    considered: Vec<Considered<'t>>,
}

impl<'t> Met<'t> {
    /// None: the request is malformed.
    fn of(
        tables: &'t HttpTables,
        routing: &'t Routing,
        request: &Request,
        frontend: &FrontendKey,
    ) -> Option<Self> {
        let mut head = Received::parse(&request.head, HeadLimits::default()).ok()??;
        let host = RequestHost::of(head.host);
        let listener = routing.matcher().listener(frontend, &host);
        let paths = listener.map(|listener| listener.settings.paths).unwrap_or_default();
        let path = paths.normalise(head.target.path).ok()?;
        let client = client(frontend.address).to_string();
        let list;
        if let Some(listener) = listener {
            let forwarded = matching::forwarded(listener, &head, &client);
            list = forwarded.list(&head.fields);
            forwarded.apply(&mut head.fields, list.as_deref());
        }
        let method = listener.map(|listener| matching::method(listener, &head, &host, &path));
        let (method, seen) = (method.as_deref().unwrap_or(&head.method), Seen::of(&head));
        let matched = RequestHead::new(&host, method, &path, &seen)
            .with_query(head.target.query)
            .with_grpc(request.is_grpc);
        let rule = listener.and_then(|listener| listener.pick(&matched)).map(AsRef::as_ref);
        let table = |name: &ListenerName| -> Option<&'t HttpListener> { tables.listeners.get(name) };
        let considered = listener.and_then(|listener| table(&listener.name));
        let considered = considered.map(|listener| explain(listener, tables, &matched)).unwrap_or_default();
        Some(Self {
            host: host.as_str().to_owned(),
            listener: listener.map(|listener| &*listener.name),
            rule,
            considered,
        })
    }

    /// Which of the matches the request meets first.
    fn place(&self) -> Option<usize> {
        self.considered.iter().position(|considered| considered.unmet.is_none())
    }
}

impl Other {
    fn of(considered: &Considered<'_>) -> Self {
        Self {
            rule: considered.rule.name.to_string(),
            wanted: words::wanted(considered.wanted),
            unmet: considered.unmet.map(|unmet| words::unmet(unmet, considered)),
        }
    }
}

impl Outcome {
    fn of(decision: Decision, rule: Option<&HttpRule>) -> Self {
        match decision {
            Decision::Refused(fault) => Self::Answered(Answered {
                status: fault.status().as_u16(),
                cause: fault.to_string(),
                location: None,
            }),
            Decision::Answered(answer) => Self::Answered(Answered::of(answer, rule, None)),
            Decision::Forwarded(shares) => {
                let found = shares.iter().find_map(|share| share.outcome.as_ref().ok()).map(words::timeouts);
                let (request_timeout, attempt_timeout) = found.unwrap_or_default();
                let shares = shares.into_iter().map(|share| Portion::of(share, rule)).collect();
                Self::Forwarded { shares, request_timeout, attempt_timeout }
            }
        }
    }
}

impl Answered {
    fn of(answer: Answer, rule: Option<&HttpRule>, backend: Option<usize>) -> Self {
        let Answer { status, reason, location } = answer;
        let cause = match reason {
            Reason::InvalidRoute => words::refusal(rule, backend),
            other => words::reason(other),
        };
        Self { status: status.as_u16(), cause: cause.to_owned(), location }
    }
}

impl Portion {
    fn of(share: Share, rule: Option<&HttpRule>) -> Self {
        let Some(HttpAction::Forward(split)) = rule.map(|rule| &rule.action) else {
            unreachable!("only rules that forward have shares")
        };
        let backend = &split.backends()[share.backend];
        let mut portion = Self {
            share: format!("{} of {}", backend.weight, split.total_weight()),
            backend: backend.name.clone(),
            filters: backend.filters.iter().map(words::filter).collect(),
            asks: Vec::new(),
            sends: Vec::new(),
            endpoints: Vec::new(),
            answer: None,
        };
        match share.outcome {
            Ok(Forwarded { asks, head, endpoints, .. }) => {
                portion.asks = asks.iter().map(ToString::to_string).collect();
                portion.sends = head.trim_end().lines().map(str::to_owned).collect();
                portion.endpoints = endpoints;
            }
            Err(answer) => portion.answer = Some(Answered::of(answer, rule, Some(share.backend))),
        }
        portion
    }
}
