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

use super::{
    GrpcMatch, HostRoutes, HttpListener, HttpMatch, HttpRoute, HttpRule, HttpSettings, HttpTables,
    HttpTelemetry, Names, Scheme,
};
use crate::persistent::PersistentMap;
use crate::{FrontendKey, HostPattern, HttpDelta, ListenerName, ObjectName};

use candidate::{Candidate, Matched};
use grpc::Services;
use hosts::HostMap;
use paths::Paths;

pub use explain::{Considered, Unmet, Wanted, explain};
pub use head::{RequestFields, RequestHead, RequestHost};

/// [`HttpTables`], compiled for matching. Immutable: [`HttpMatcher::update`] makes the next one.
#[derive(Clone, Debug, Default)]
pub struct HttpMatcher {
    frontends: PersistentMap<FrontendKey, HostMap<Arc<ListenerName>>>,
    listeners: PersistentMap<Arc<ListenerName>, Arc<ListenerMatcher>>,
    /// What is compiled anew when a route changes.
    http_places: Places,
    grpc_places: Places,
}

/// The listeners' host names that each route is on.
type Places = PersistentMap<ObjectName, Vec<Place>>;
type Place = (Arc<ListenerName>, HostPattern);

/// The routes of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMatcher {
    pub name: Arc<ListenerName>,
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
    /// In the order of their names.
    routes: Vec<(ObjectName, Arc<HttpRoute<M>>)>,
    index: Index,
}

/// Finds the candidates that a request may meet.
trait MatchIndex<M> {
    /// Of candidates in order of precedence, with their matches.
    fn of(candidates: Vec<(&M, Candidate<M>)>) -> Self;
}

impl HttpMatcher {
    pub fn new(tables: &HttpTables) -> Self {
        Self::default().update(tables, &HttpDelta::all(tables))
    }

    /// Compiles what this delta names of these tables; all else is taken over.
    #[must_use]
    pub fn update(&self, tables: &HttpTables, delta: &HttpDelta) -> Self {
        let mut next = self.clone();
        for key in &delta.frontends {
            let listeners = tables.frontends.get(key).map(|frontend| &frontend.listeners);
            let named = |(host, name): (&HostPattern, &ListenerName)| (host.clone(), Arc::new(name.clone()));
            next.frontends.put(*key, listeners.map(|listeners| listeners.iter().map(named).collect()));
        }
        for (name, hosts) in self.stale(tables, delta) {
            next.compile(&name, hosts, tables);
        }
        next
    }

    /// All that it was compiled from.
    pub fn keys(&self) -> HttpDelta {
        HttpDelta {
            frontends: self.frontends.iter().map(|(key, _)| *key).collect(),
            listeners: self.listeners.iter().map(|(name, _)| ListenerName::clone(name)).collect(),
            http_routes: self.http_places.iter().map(|(route, _)| route.clone()).collect(),
            grpc_routes: self.grpc_places.iter().map(|(route, _)| route.clone()).collect(),
            ..HttpDelta::default()
        }
    }

    /// The host names that have to be compiled again, by listener.
    fn stale(
        &self,
        tables: &HttpTables,
        delta: &HttpDelta,
    ) -> BTreeMap<Arc<ListenerName>, BTreeSet<HostPattern>> {
        let mut stale: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for name in &delta.listeners {
            let hosts = stale.entry(Arc::new(name.clone())).or_default();
            hosts.extend(self.listeners.get(name).into_iter().flat_map(|known| known.hosts()));
            hosts.extend(tables.listeners.get(name).into_iter().flat_map(|it| it.hosts.keys().cloned()));
        }
        for (name, host) in &delta.hosts {
            stale.entry(Arc::new(name.clone())).or_default().insert(host.clone());
        }
        let http = delta.http_routes.iter().filter_map(|route| self.http_places.get(route));
        let grpc = delta.grpc_routes.iter().filter_map(|route| self.grpc_places.get(route));
        for (name, host) in http.chain(grpc).flatten() {
            stale.entry(Arc::clone(name)).or_default().insert(host.clone());
        }
        stale
    }

    /// Compiles a listener's routes of these host names.
    fn compile(&mut self, name: &Arc<ListenerName>, hosts: BTreeSet<HostPattern>, tables: &HttpTables) {
        let listener = tables.listeners.get(&**name);
        let known = self.listeners.get(name).map(|known| ListenerMatcher::clone(known));
        // Without either there is nothing to be done.
        let empty = || listener.map(|listener| ListenerMatcher::empty(Arc::clone(name), listener));
        let Some(mut matcher) = known.or_else(empty) else { return };
        let none = HostRoutes::default();
        for host in hosts {
            let HostRoutes { http, grpc } = listener.and_then(|it| it.hosts.get(&host)).unwrap_or(&none);
            let place = (Arc::clone(&matcher.name), host);
            recompile(&mut matcher.http, &place, http, &tables.http_routes, &mut self.http_places);
            recompile(&mut matcher.grpc, &place, grpc, &tables.grpc_routes, &mut self.grpc_places);
        }
        let matcher = listener.map(|listener| Arc::new(matcher.with_terms(listener)));
        self.listeners.put(Arc::clone(name), matcher);
    }

    /// The listener that requests for this host belong to, on a connection to this frontend. Where a connection was
    /// made for another listener's name (by SNI), the request is misdirected (RFC 9110, 15.5.20).
    pub fn listener(&self, frontend: &FrontendKey, host: &RequestHost<'_>) -> Option<&Arc<ListenerMatcher>> {
        let mut names = self.frontends.get(frontend)?.matching(host.as_str());
        names.find_map(|name| self.listeners.get(name))
    }
}

/// Compiles what a listener has for one host name, and notes which routes are there.
fn recompile<M: Matched, Index: MatchIndex<M>>(
    hosts: &mut HostMap<Arc<Host<M, Index>>>,
    place: &Place,
    names: &Names,
    all: &BTreeMap<ObjectName, Arc<HttpRoute<M>>>,
    places: &mut Places,
) {
    let previous = hosts.get(&place.1);
    let next = Host::compile(names, all, previous);
    if previous.is_some_and(|previous| Arc::ptr_eq(previous, &next)) {
        return;
    }
    let known = previous.map(|previous| previous.routes.as_slice()).unwrap_or_default();
    for (name, _) in known.iter().filter(|(name, _)| !next.has(name)) {
        let mut left = places.get(name).cloned().unwrap_or_default();
        left.retain(|other| other != place);
        places.put(name.clone(), (!left.is_empty()).then_some(left));
    }
    for (name, _) in next.routes.iter().filter(|(name, _)| !previous.is_some_and(|known| known.has(name))) {
        let mut more = places.get(name).cloned().unwrap_or_default();
        more.push(place.clone());
        places.insert(name.clone(), more);
    }
    hosts.put(place.1.clone(), (!next.routes.is_empty()).then_some(next));
}

impl ListenerMatcher {
    fn empty(name: Arc<ListenerName>, listener: &HttpListener) -> Self {
        let HttpListener { scheme, port, settings, telemetry, hosts: _ } = *listener;
        let (http, grpc) = Default::default();
        Self { name, scheme, port, settings, telemetry, http, grpc }
    }

    /// The same routes, and all else as this listener has it.
    fn with_terms(self, listener: &HttpListener) -> Self {
        Self { http: self.http, grpc: self.grpc, ..Self::empty(self.name, listener) }
    }

    fn hosts(&self) -> impl Iterator<Item = HostPattern> {
        self.http.patterns().chain(self.grpc.patterns())
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
        names: &Names,
        all: &BTreeMap<ObjectName, Arc<HttpRoute<M>>>,
        previous: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let routes = || names.iter().filter_map(|name| all.get_key_value(name));
        if let Some(previous) = previous
            && previous.routes.len() == routes().count()
            && previous.routes.iter().zip(routes()).all(|((_, one), (_, other))| Arc::ptr_eq(one, other))
        {
            return Arc::clone(previous);
        }
        let mut candidates: Vec<_> = routes().flat_map(|(name, route)| candidate::of(name, route)).collect();
        candidates.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let candidates = candidates.into_iter().map(|(_, matched, candidate)| (matched, candidate));
        let index = Index::of(candidates.collect());
        let routes = routes().map(|(name, route)| (name.clone(), Arc::clone(route)));
        Arc::new(Self { routes: routes.collect(), index })
    }

    fn has(&self, route: &ObjectName) -> bool {
        self.routes.binary_search_by(|(name, _)| name.cmp(route)).is_ok()
    }
}
