//! What a route itself says, wherever it is attached: its rules, compiled, and the conditions that follow from them.
//!
//! A kind of route plugs in here: a variant of [`Content`], and an arm in [`Content::compile`]. Compiling a route
//! looks at nothing but the route and what its references lead to, so a change elsewhere leaves it as it is.

use std::num::NonZeroU16;

use gateway_agent_api::Kind;
use gateway_agent_tables::{ObjectName, RouteKind};

use crate::backend::{Backends, Resolved};
use crate::http;
use crate::route::Route;
use crate::status::Condition;
use crate::stream;

/// The compiled rules of a route.
#[derive(Debug)]
pub(crate) enum Content {
    Http(http::Compiled),
    Stream(stream::Rule),
}

/// The conditions that follow from a route's own content.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// ResolvedRefs.
    pub(crate) refs: Condition,
    /// Accepted False: no rule can be served. The route is attached all the same, and refuses what it matches.
    pub(crate) refusal: Option<Box<Condition>>,
    /// PartiallyInvalid: some rules are left out.
    pub(crate) partial: Option<Box<Condition>>,
}

impl Content {
    /// None: a kind that has no rules.
    pub(crate) fn compile(route: &Route<'_>, backends: &Backends<'_>) -> Option<(Self, Verdict)> {
        match route.object.kind {
            Kind::TcpRoute | Kind::TlsRoute | Kind::UdpRoute => {
                let (rule, verdict) = stream::compile(route, backends);
                Some((Self::Stream(rule), verdict))
            }
            Kind::HttpRoute | Kind::GrpcRoute => {
                let (compiled, verdict) = http::compile(route, backends)?;
                Some((Self::Http(compiled), verdict))
            }
            _ => None,
        }
    }

    /// The Services that the gateway connects to itself for this route, so that BackendTLSPolicies apply.
    pub(crate) fn encryptable_services(&self) -> Vec<ServiceUse<'_>> {
        match self {
            Self::Http(compiled) => compiled.services().collect(),
            Self::Stream(rule) if rule.kind == RouteKind::Tls => {
                rule.backends.iter().filter_map(|it| it.target.as_ref().ok()).map(ServiceUse::of).collect()
            }
            Self::Stream(_) => Vec::new(),
        }
    }
}

/// A Service's port that a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceUse<'c> {
    pub(crate) service: &'c ObjectName,
    pub(crate) port: NonZeroU16,
    /// Empty for an unnamed port.
    pub(crate) port_name: &'c str,
}

impl<'c> ServiceUse<'c> {
    pub(crate) fn of(resolved: &'c Resolved) -> Self {
        Self { service: &resolved.service, port: resolved.port, port_name: &resolved.port_name }
    }
}
