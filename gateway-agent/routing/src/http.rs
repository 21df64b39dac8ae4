//! The rules of HTTPRoutes and GRPCRoutes, and the HTTP tables that they make.
//!
//! Each part of a rule is parsed once, into types that can't hold what is wrong. What is wrong becomes a finding, which
//! makes the route's conditions, and a rule or a backend that refuses its share; everything else goes on.

mod action;
mod auth;
mod backends;
mod cors;
mod filters;
mod findings;
mod grpc_rules;
mod http_rules;
mod matches;
mod policy;
mod redirect;
pub(crate) mod settings;
pub(crate) mod tables;

use std::sync::Arc;

use gateway_agent_api as api;
use gateway_agent_tables::http::{GrpcMatch, HttpMatch, HttpRoute, HttpRouteKind, HttpService, RouteAge};

use crate::backend::Backends;
use crate::content::{ServiceUse, Verdict};
use crate::route::Route;

use findings::Findings;

/// The compiled rules of an HTTPRoute or GRPCRoute.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) rules: Rules,
    /// The ports of Services that the rules lead to, and their names in slices.
    pub(crate) services: Box<[(HttpService, String)]>,
}

#[derive(Debug)]
pub(crate) enum Rules {
    Http(Arc<HttpRoute<HttpMatch>>),
    Grpc(Arc<HttpRoute<GrpcMatch>>),
}

/// What the rules of a route are compiled with.
#[derive(Debug)]
struct Context<'c, 'a> {
    kind: HttpRouteKind,
    route: &'c Route<'a>,
    backends: &'c Backends<'a>,
}

/// None: a route of another kind.
pub(crate) fn compile(route: &Route<'_>, backends: &Backends<'_>) -> Option<(Compiled, Verdict)> {
    let age = RouteAge { created: route.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second()) };
    let mut findings = Findings::default();
    let rules = if let Some(source) = route.typed::<api::HttpRoute>() {
        let context = Context { kind: HttpRouteKind::Http, route, backends };
        let rules = http_rules::compile(&context, source.spec.rules.as_deref(), &mut findings);
        Rules::Http(Arc::new(HttpRoute { age, rules }))
    } else {
        let source = route.typed::<api::GrpcRoute>()?;
        let context = Context { kind: HttpRouteKind::Grpc, route, backends };
        let rules = grpc_rules::compile(&context, source.spec.rules.as_deref(), &mut findings);
        Rules::Grpc(Arc::new(HttpRoute { age, rules }))
    };
    Some(findings.settle(route, rules))
}

impl Compiled {
    /// The ports of Services that the rules lead to.
    pub(crate) fn services(&self) -> impl Iterator<Item = ServiceUse<'_>> {
        self.services.iter().map(|(HttpService { service, port }, port_name)| ServiceUse {
            service,
            port: *port,
            port_name,
        })
    }
}
