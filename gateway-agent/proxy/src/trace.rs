//! What would become of a request, decided by what decides in earnest, and with nothing sent: for people.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway_agent_tables::http::{HttpAction, HttpRule, HttpSplit, Upstream};
use http::StatusCode;

use crate::auth::suppose_granted;
use crate::filter::Budget;
use crate::forward::Outcome;
use crate::h1::Fault;
use crate::plan::{Answered, Forward, Peers, Plan, Planner};
use crate::reply::Reason;
use crate::routing::Routing;
use crate::settings::Settings;
use crate::telemetry::{AccessLog, Meter, Registry};
use crate::worker::Buffers;

/// A request as a client would send it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The address and port that it connects to.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub is_http2: bool,
    /// The whole head, in HTTP/1.1.
    pub head: &'q [u8],
}

#[derive(Debug)]
pub enum Decision {
    /// It is malformed.
    Refused(Fault),
    /// The proxy answers itself.
    Answered(Answer),
    /// Each backend that has a weight gets its share.
    Forwarded(Vec<Share>),
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub reason: Reason,
    pub location: Option<String>,
}

/// What becomes of the requests that the weights give to one backend.
#[derive(Debug)]
pub struct Share {
    /// Index among the rule's backends.
    pub backend: usize,
    pub outcome: Result<Forwarded, Answer>,
}

#[derive(Debug)]
pub struct Forwarded {
    /// Index among the rule's backends.
    pub backend: usize,
    /// Services that have to allow it, one after the other.
    pub asks: Vec<Upstream>,
    /// As endpoints get it; such services may add to it.
    pub head: String,
    /// Those that it may go to; with a session, the one that it goes to first.
    pub endpoints: Vec<SocketAddr>,
    /// From the head to the response's end, all tries included; None: no limit.
    pub request_timeout: Option<Duration>,
    /// Of one try.
    pub attempt_timeout: Option<Duration>,
}

/// What would become of it. `rule` is the one that it meets, if there is one.
pub fn decide(
    routing: &Routing,
    settings: &Settings,
    question: Question<'_>,
    rule: Option<&HttpRule>,
) -> Decision {
    // Nobody looks at what is counted and logged here.
    let registry = Registry::new(AccessLog::new(Box::new(std::io::sink())));
    let (buffers, meter) = (Buffers::default(), Meter::new(Arc::new(registry)));
    let Some(mut peers) = Peers::new(question.local, question.peer, routing) else {
        let (status, reason) = (StatusCode::SERVICE_UNAVAILABLE, Reason::GatewayBusy);
        return Decision::Answered(Answer { status, reason, location: None });
    };
    peers.is_http2 = question.is_http2;
    // What is mirrored doesn't matter here, so one number serves all that is left to chance.
    let plan = |random: u32| {
        let random = &|| random;
        let planner = Planner { peers: &peers, routing, settings, buffers: &buffers, meter: &meter, random };
        planner.plan(&mut { question.head })
    };
    let split = match rule.map(|rule| &rule.action) {
        Some(HttpAction::Forward(split)) => Some(split),
        _ => None,
    };
    let shares = split.into_iter().flat_map(shares).collect::<Vec<_>>();
    let mut outcomes = Vec::new();
    let mut by_rule = false;
    for (backend, random) in shares {
        match plan(random) {
            Err(fault) => return Decision::Refused(fault),
            Ok(plan) => match settle(plan, &buffers) {
                Ok(forwarded) => outcomes.push(Share { backend, outcome: Ok(forwarded) }),
                Err((answer, of_rule)) => {
                    by_rule |= of_rule;
                    outcomes.push(Share { backend, outcome: Err(answer) });
                }
            },
        }
    }
    if outcomes.is_empty() || by_rule {
        return match plan(0) {
            Err(fault) => Decision::Refused(fault),
            Ok(plan) => Decision::Answered(
                settle(plan, &buffers).err().map_or_else(Answer::none, |(answer, _)| answer),
            ),
        };
    }
    Decision::Forwarded(outcomes)
}

/// Where a request goes; or what it is answered, and whether that is so whatever the backend, as for a browser's question
/// what it may send.
fn settle(plan: Option<Plan>, buffers: &Buffers) -> Result<Forwarded, (Answer, bool)> {
    match plan {
        Some(Plan::Forward(mut forward)) => match suppose_granted(buffers, &mut forward) {
            Ok(asks) => Ok(Forwarded::of(&forward, asks)),
            Err(Outcome::Reply(answered)) => Err((Answer::of(&answered), false)),
            Err(_) => Err((Answer::none(), false)),
        },
        Some(Plan::Reply(reply)) => {
            let (answered, _) = &*reply;
            let is_cors = matches!(answered.reply.reason, Reason::Preflight | Reason::OriginRefused);
            Err((Answer::of(answered), is_cors && answered.reply.backend.is_none()))
        }
        None | Some(Plan::Http2) => Err((Answer::none(), false)),
    }
}

/// For each backend that gets anything, its index and a number that picks it: one from the middle of its share.
fn shares(split: &HttpSplit) -> Vec<(usize, u32)> {
    let total = u64::from(split.total_weight());
    let mut before = 0;
    let mut found = Vec::new();
    for (index, backend) in split.backends().iter().enumerate() {
        let weight = u64::from(backend.weight);
        if weight > 0 {
            let middle = ((2 * before + weight) << 31) / total;
            found.push((index, u32::try_from(middle).unwrap_or(u32::MAX)));
        }
        before += weight;
    }
    found
}

impl Forwarded {
    fn of(forward: &Forward, asks: Vec<Upstream>) -> Self {
        let first = forward.session.as_ref().and_then(|session| session.endpoint.as_ref());
        let all = forward.endpoints.iter();
        let endpoints = match first {
            Some(endpoint) => vec![endpoint.address],
            None => all.map(|endpoint| endpoint.address).collect(),
        };
        let Budget { request, attempt } = forward.budget;
        Self {
            backend: forward.backend_index(),
            asks,
            head: String::from_utf8_lossy(&forward.request).into_owned(),
            endpoints,
            request_timeout: request,
            attempt_timeout: attempt,
        }
    }
}

impl Answer {
    fn of(Answered { reply, .. }: &Answered) -> Self {
        let location = reply.location().map(str::to_owned);
        Self { status: reply.status(), reason: reply.reason, location }
    }

    /// A whole head of HTTP/1.1 is never waited for, and nothing is forwarded without a backend.
    fn none() -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: Reason::Malformed, location: None }
    }
}
