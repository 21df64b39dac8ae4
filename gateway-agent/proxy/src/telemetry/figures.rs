//! All that the proxy has counted, as it tells the agent.

use std::fmt::Debug;
use std::num::NonZeroU16;
use std::time::Instant;

use gateway_agent_tables::{ListenerName, ObjectName};
use serde::{Deserialize, Serialize};

use super::histogram::Distribution;
use super::registry::Registry;
use super::series::{Class, ListenerSeries, Series};
use super::subject::Subject;
use crate::counters::{Closed, Counters};
use crate::h1::Fault;
use crate::reply::Reason;
use crate::routing::Routing;

/// Since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Without order.
    pub requests: Vec<RequestFigures>,
    /// Without order.
    pub listeners: Vec<ListenerFigures>,
    /// In the order of Gateways and ports.
    pub connections: Vec<ConnectionFigures>,
    pub failures: Failures,
}

/// Requests of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFigures {
    pub subject: Subject,
    /// Requests by the class of their answers' codes, in the order of [`Class::ALL`].
    pub codes: [u64; Class::ALL.len()],
    /// Bytes of requests, heads too, as HTTP/1.1 has them.
    pub request_bytes: u64,
    /// Bytes of answers, heads too, as HTTP/1.1 has them.
    pub response_bytes: u64,
    /// Tries after the first one.
    pub retries: u64,
    /// Calls of gRPC by the name of the status that they ended with, or `none`.
    pub calls: Vec<(String, u64)>,
}

/// Requests of one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerFigures {
    /// None: requests of no listener.
    pub listener: Option<ListenerName>,
    /// Requests that are being answered.
    pub active: u64,
    /// From a request's head to the end of its answer; without upgraded connections.
    pub duration: Distribution,
    /// From a request's head to that of its answer.
    pub first_byte: Distribution,
}

/// Clients' connections to one port of a Gateway. Which listener one is for, only its requests tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFigures {
    pub gateway: ObjectName,
    pub port: NonZeroU16,
    /// Those that are open.
    pub open: u64,
}

/// What went wrong, or was done without an endpoint; not told apart by listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Malformed messages, by fault.
    pub faults: Vec<(String, u64)>,
    /// Answers of the proxy itself, by reason.
    pub replies: Vec<(String, u64)>,
    /// Connections that the proxy closed on its own account, by reason.
    pub closed: Vec<(String, u64)>,
    /// Answers that broke off.
    pub aborted: u64,
    /// Copies of requests that were lost.
    pub unmirrored: u64,
    /// Lines of the access log for which there was no room, or that could not be written.
    pub unlogged: u64,
}

impl Figures {
    pub(crate) fn of(registry: &Registry, routing: &Routing, counters: &Counters, now: Instant) -> Self {
        let (requests, listeners) = registry.figures(now);
        let failures = Failures {
            faults: Fault::ALL.map(|fault| (label(fault), counters.faults(fault))).into(),
            replies: Reason::ALL.map(|reason| (label(reason), counters.replies(reason))).into(),
            closed: Closed::ALL.map(|reason| (label(reason), counters.closed(reason))).into(),
            aborted: counters.aborted(),
            unmirrored: counters.unmirrored(),
            unlogged: registry.lost_lines(),
        };
        let connections = routing
            .connections()
            .into_iter()
            .map(|((gateway, port), open)| ConnectionFigures { gateway: gateway.clone(), port, open });
        Self { requests, listeners, connections: connections.collect(), failures }
    }
}

/// A variant's name as labels have it: `NoRoute` is `no_route`.
pub(super) fn label(variant: impl Debug) -> String {
    let mut label = String::new();
    for letter in format!("{variant:?}").chars() {
        if letter.is_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(letter.to_ascii_lowercase());
    }
    label
}

impl RequestFigures {
    pub(super) fn of(subject: Subject) -> Self {
        Self {
            subject,
            codes: Default::default(),
            request_bytes: 0,
            response_bytes: 0,
            retries: 0,
            calls: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, series: &Series) {
        for (sum, count) in self.codes.iter_mut().zip(&series.codes) {
            *sum += count.value();
        }
        self.request_bytes += series.request_bytes.value();
        self.response_bytes += series.response_bytes.value();
        self.retries += series.retries.value();
        series.calls.iter().for_each(|calls| calls.add_to(&mut self.calls));
    }
}

impl ListenerFigures {
    pub(super) fn of(listener: Option<ListenerName>) -> Self {
        let (duration, first_byte) = (Distribution::default(), Distribution::default());
        Self { listener, active: 0, duration, first_byte }
    }

    pub(super) fn add(&mut self, series: &ListenerSeries) {
        self.active += series.active.value();
        series.duration.add_to(&mut self.duration);
        series.first_byte.add_to(&mut self.first_byte);
    }
}
