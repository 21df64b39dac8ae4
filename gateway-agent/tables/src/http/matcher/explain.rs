//! Why a request meets the rule that it meets, and no other: for people.
//!
//! Which rule that is, is for [`ListenerMatcher::pick`](super::ListenerMatcher::pick) alone to say. Here every match is
//! looked at, in the order in which a request is offered to them; a test holds the first that it meets to what is picked.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::candidate::{Matched, unmet_grpc, unmet_http};
use super::head::{RequestFields, RequestHead};
use crate::http::precedence::AlphabeticalName;
use crate::http::{
    GrpcMatch, HeaderMatch, HostRoutes, HttpListener, HttpMatch, HttpRoute, HttpRule, HttpTables, MatchPlace,
    Names, PathMatch, QueryMatch,
};
use crate::{HostPattern, ObjectName};

/// A match of a rule that a request was compared with.
#[derive(Clone, Copy, Debug)]
pub struct Considered<'t> {
    /// As the route has it.
    pub host: &'t HostPattern,
    pub rule: &'t Arc<HttpRule>,
    /// Index among the rule's matches.
    pub index: usize,
    pub wanted: Wanted<'t>,
    /// None: the request meets it.
    pub unmet: Option<Unmet<'t>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted<'t> {
    Http(&'t HttpMatch),
    Grpc(&'t GrpcMatch),
}

/// The first condition that a request doesn't meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unmet<'t> {
    Host,
    /// It is no call of gRPC: HTTP/2, content type `application/grpc`, path `/service/method`.
    Grpc,
    GrpcService,
    GrpcMethod,
    Path,
    Method,
    Header(&'t HeaderMatch),
    Query(&'t QueryMatch),
}

/// All matches of a listener's routes: first those of the request's host, in order of precedence, then the others.
pub fn explain<'t, F: RequestFields>(
    listener: &'t HttpListener,
    tables: &'t HttpTables,
    head: &RequestHead<'_, F>,
) -> Vec<Considered<'t>> {
    let mut hosts: Vec<_> = listener.hosts.iter().collect();
    hosts.sort_by_key(|(host, _)| Reverse(host.specificity()));
    let (of_request, others): (Vec<_>, Vec<_>) =
        hosts.into_iter().partition(|(host, _)| host.matches(head.host.as_str()));
    let grpc = |host, routes: &'t HostRoutes, unmet: Option<Unmet<'t>>| {
        ordered(&routes.grpc, &tables.grpc_routes).into_iter().map(move |(rule, index, matched)| {
            let found = || match head.grpc_names() {
                Some((service, method)) => unmet_grpc(matched, service, method, head),
                None => Some(Unmet::Grpc),
            };
            Considered { host, rule, index, wanted: Wanted::Grpc(matched), unmet: unmet.or_else(found) }
        })
    };
    let http = |host, routes: &'t HostRoutes, unmet: Option<Unmet<'t>>| {
        ordered(&routes.http, &tables.http_routes).into_iter().map(move |(rule, index, matched)| {
            let found = || {
                if is_path(&matched.path, head.path) { unmet_http(matched, head) } else { Some(Unmet::Path) }
            };
            Considered { host, rule, index, wanted: Wanted::Http(matched), unmet: unmet.or_else(found) }
        })
    };
    let mut all = Vec::new();
    for (hosts, unmet) in [(of_request, None), (others, Some(Unmet::Host))] {
        all.extend(hosts.iter().flat_map(|(host, routes)| grpc(*host, routes, unmet)));
        all.extend(hosts.iter().flat_map(|(host, routes)| http(*host, routes, unmet)));
    }
    all
}

/// The matches of these routes, in order of precedence.
fn ordered<'t, M: Matched>(
    names: &'t Names,
    all: &'t BTreeMap<ObjectName, Arc<HttpRoute<M>>>,
) -> Vec<(&'t Arc<HttpRule>, usize, &'t M)> {
    let mut found = Vec::new();
    for (name, route) in names.iter().filter_map(|name| all.get_key_value(name)) {
        for (rule, of_rule) in route.rules.iter().enumerate() {
            for (index, matched) in of_rule.matches.iter().enumerate() {
                let place = MatchPlace { age: route.age, route: AlphabeticalName(name), rule, index };
                found.push((matched.precedence(place), &of_rule.rule, index, matched));
            }
        }
    }
    found.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    found.into_iter().map(|(_, rule, index, matched)| (rule, index, matched)).collect()
}

fn is_path(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(exact) => exact.as_str() == path,
        PathMatch::Pattern(pattern) => pattern.matches(path.as_bytes()),
        // The root's is the one for all, `*` included.
        PathMatch::Prefix(prefix) if prefix.as_prefix().is_empty() => true,
        PathMatch::Prefix(prefix) => {
            path.strip_prefix(prefix.as_prefix()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}
