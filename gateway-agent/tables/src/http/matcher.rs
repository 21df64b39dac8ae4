//! Finding the rule of a request, in time that grows with the request and not with the number of routes.
//!
//! Hosts are found by hash, from the exact name over ever shorter wildcards; paths by hash at each `/`, the exact one
//! first; what shares a host and a path stands in order of precedence. Only matches on the very same host and path,
//! which differ in method, headers or query, are tried one after the other.

mod candidate;
mod explain;
mod grpc;
mod head;
mod hosts;
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    GrpcMatch, HostRoutes, HttpFrontend, HttpListener, HttpMatch, HttpRoute, HttpRule, HttpSettings,
    HttpTables, HttpTelemetry, Scheme,
};
use crate::{FrontendKey, ListenerName, ObjectName};

use candidate::{Candidate, Matched};
use grpc::Services;
use hosts::HostMap;
use paths::Paths;

pub use explain::{Considered, Unmet, Wanted, explain};
pub use head::{RequestFields, RequestHead, RequestHost};

/// [`HttpTables`], compiled for matching. Immutable: [`HttpMatcher::update`] makes the next one.
#[derive(Clone, Debug, Default)]
pub struct HttpMatcher {
    frontends: HashMap<FrontendKey, HostMap<Arc<ListenerMatcher>>>,
    listeners: BTreeMap<ListenerName, Arc<ListenerMatcher>>,
}

/// The routes of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMatcher {
    pub name: ListenerName,
    /// Of its clients' URLs.
    pub scheme: Scheme,
    /// As the Gateway has it.
    pub port: NonZeroU16,
    /// Of its Gateway.
    pub settings: HttpSettings,
    pub telemetry: HttpTelemetry,
    http: HostMap<Arc<Host<HttpMatch, Paths>>>,
    grpc: HostMap<Arc<Host<GrpcMatch, Services>>>,
}

/// The routes of one host name, and the index of their matches.
#[derive(Debug)]
struct Host<M, Index> {
    routes: Vec<Arc<HttpRoute<M>>>,
    index: Index,
}

/// Finds the candidates that a request may meet.
trait MatchIndex<M> {
    /// Of candidates in order of precedence, with their matches.
    fn of(candidates: Vec<(&M, Candidate<M>)>) -> Self;
}

impl HttpMatcher {
    pub fn new(tables: &HttpTables) -> Self {
        Self::default().update(tables)
    }

    /// Compiles these tables; host names whose routes are the same ones as before are taken over.
    #[must_use]
    pub fn update(&self, tables: &HttpTables) -> Self {
        let listeners: BTreeMap<_, _> = tables
            .listeners
            .iter()
            .map(|(name, listener)| {
                let previous = self.listeners.get(name).map(Arc::as_ref);
                (name.clone(), Arc::new(ListenerMatcher::compile(name, listener, tables, previous)))
            })
            .collect();
        let frontends = tables.frontends.iter().map(|(key, HttpFrontend { listeners: names })| {
            let of_frontend = names
                .iter()
                .filter_map(|(host, name)| Some((host.clone(), Arc::clone(listeners.get(name)?))));
            (*key, of_frontend.collect())
        });
        Self { frontends: frontends.collect(), listeners }
    }

    /// The listener that requests for this host belong to, on a connection to this frontend. Where a connection was
    /// made for another listener's name (by SNI), the request is misdirected (RFC 9110, 15.5.20).
    pub fn listener(&self, frontend: &FrontendKey, host: &RequestHost<'_>) -> Option<&Arc<ListenerMatcher>> {
        self.frontends.get(frontend)?.matching(host.as_str()).next()
    }
}

impl ListenerMatcher {
    fn compile(
        name: &ListenerName,
        listener: &HttpListener,
        tables: &HttpTables,
        previous: Option<&Self>,
    ) -> Self {
        let hosts = |of: fn(&HostRoutes) -> &BTreeSet<ObjectName>| {
            listener
                .hosts
                .iter()
                .map(move |(host, routes)| (host, of(routes)))
                .filter(|(_, routes)| !routes.is_empty())
        };
        let http = hosts(|routes| &routes.http).map(|(host, routes)| {
            let previous = previous.and_then(|previous| previous.http.get(host));
            (host.clone(), Host::compile(routes, &tables.http_routes, previous))
        });
        let grpc = hosts(|routes| &routes.grpc).map(|(host, routes)| {
            let previous = previous.and_then(|previous| previous.grpc.get(host));
            (host.clone(), Host::compile(routes, &tables.grpc_routes, previous))
        });
        Self {
            name: name.clone(),
            scheme: listener.scheme,
            port: listener.port,
            settings: listener.settings,
            telemetry: listener.telemetry,
            http: http.collect(),
            grpc: grpc.collect(),
        }
    }

    /// The rule that gets a request for one of the listener's hosts; None: no route has it, which is a 404, or
    /// UNIMPLEMENTED to gRPC.
    pub fn pick<F: RequestFields>(&self, head: &RequestHead<'_, F>) -> Option<&Arc<HttpRule>> {
        let host = head.host.as_str();
        let of_grpc = || {
            let (service, method) = head.grpc_names()?;
            self.grpc.matching(host).find_map(|host| host.index.pick(service, method, head))
        };
        of_grpc().or_else(|| self.http.matching(host).find_map(|host| host.index.pick(head)))
    }
}

impl<M: Matched, Index: MatchIndex<M>> Host<M, Index> {
    fn compile(
        names: &BTreeSet<ObjectName>,
        all: &BTreeMap<ObjectName, Arc<HttpRoute<M>>>,
        previous: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let routes = || names.iter().filter_map(|name| all.get_key_value(name));
        if let Some(previous) = previous
            && previous.routes.len() == routes().count()
            && previous.routes.iter().zip(routes()).all(|(one, (_, other))| Arc::ptr_eq(one, other))
        {
            return Arc::clone(previous);
        }
        let mut candidates: Vec<_> = routes().flat_map(|(name, route)| candidate::of(name, route)).collect();
        candidates.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let candidates = candidates.into_iter().map(|(_, matched, candidate)| (matched, candidate));
        let index = Index::of(candidates.collect());
        Arc::new(Self { routes: routes().map(|(_, route)| Arc::clone(route)).collect(), index })
    }
}
