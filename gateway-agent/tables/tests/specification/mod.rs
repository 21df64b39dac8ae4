//! The Gateway API's text on matching, sentence by sentence, with no thought of speed. Nothing here uses the compiled
//! matcher or its order.

use std::cmp::Ordering;

use gateway_agent_tables::ObjectName;
use gateway_agent_tables::http::{
    GrpcMatch, GrpcNameMatch, HeaderMatch, HttpMatch, HttpRouteKind, HttpRuleName, PathMatch, Pattern,
    QueryMatch, ValueMatch,
};

use crate::Request;

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) name: ObjectName,
    pub(crate) created: Option<i64>,
    pub(crate) hosts: Vec<String>,
    pub(crate) rules: Rules,
}

/// The matches of each rule.
#[derive(Clone, Debug)]
pub(crate) enum Rules {
    Http(Vec<Vec<HttpMatch>>),
    Grpc(Vec<Vec<GrpcMatch>>),
}

/// A match that a request meets, and all that can decide between several of them.
#[derive(Debug)]
struct Met<'a> {
    route: &'a Route,
    host: &'a str,
    /// The numbers that the text compares, the first one first; more wins.
    numbers: Vec<usize>,
    rule: usize,
}

impl Route {
    pub(crate) fn kind(&self) -> HttpRouteKind {
        match self.rules {
            Rules::Http(_) => HttpRouteKind::Http,
            Rules::Grpc(_) => HttpRouteKind::Grpc,
        }
    }
}

/// The listener of a request, by index: the most specific one.
pub(crate) fn listener(hosts: &[&str], request: &Request) -> Option<usize> {
    let matching = (0..hosts.len()).filter(|index| host_matches(hosts[*index], request.host));
    matching.max_by_key(|index| host_characters(hosts[*index]))
}

/// The rule that gets a request.
pub(crate) fn pick(routes: &[Route], request: &Request) -> Option<HttpRuleName> {
    let grpc = pick_of(HttpRouteKind::Grpc, routes, request).filter(|_| request.is_grpc);
    grpc.or_else(|| pick_of(HttpRouteKind::Http, routes, request))
}

fn pick_of(kind: HttpRouteKind, routes: &[Route], request: &Request) -> Option<HttpRuleName> {
    let mut met = Vec::new();
    for route in routes.iter().filter(|route| route.kind() == kind) {
        for host in route.hosts.iter().filter(|host| host_matches(host, request.host)) {
            match &route.rules {
                Rules::Http(rules) => {
                    for (rule, matches) in rules.iter().enumerate() {
                        let matches = matches.iter().filter(|one| http_matches(one, request));
                        met.extend(matches.map(|one| Met { route, host, numbers: http_numbers(one), rule }));
                    }
                }
                Rules::Grpc(rules) => {
                    for (rule, matches) in rules.iter().enumerate() {
                        let matches = matches.iter().filter(|one| grpc_matches(one, request));
                        met.extend(matches.map(|one| Met { route, host, numbers: grpc_numbers(one), rule }));
                    }
                }
            }
        }
    }
    let first = met.into_iter().reduce(|one, other| if comes_first(&other, &one) { other } else { one })?;
    let rule = u16::try_from(first.rule).expect("few rules");
    Some(HttpRuleName { kind, route: first.route.name.clone(), rule, name: None })
}

fn comes_first(one: &Met<'_>, other: &Met<'_>) -> bool {
    // "Characters in a matching non-wildcard hostname", then "characters in a matching hostname".
    let order = host_characters(other.host)
        .cmp(&host_characters(one.host))
        .then_with(|| other.numbers.cmp(&one.numbers))
        // "The oldest Route based on creation timestamp": one without is from a file, and older than all.
        .then_with(|| match (one.route.created, other.route.created) {
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (one, other) => one.cmp(&other),
        })
        // "The Route appearing first in alphabetical order by {namespace}/{name}".
        .then_with(|| path_of(one.route).cmp(&path_of(other.route)))
        // "The FIRST matching rule (in list order)".
        .then_with(|| one.rule.cmp(&other.rule));
    order == Ordering::Less
}

fn path_of(route: &Route) -> String {
    format!("{}/{}", route.name.namespace, route.name.name)
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let host = host.to_lowercase();
    // "Implementations MUST ignore any port value specified in the HTTP Host header."
    let host = host.split(':').next().expect("a first part");
    let (host, pattern): (Vec<_>, Vec<_>) = (host.split('.').collect(), pattern.split('.').collect());
    match pattern[0] {
        "" => true,
        // "Interpreted as a suffix match", of whole labels and not of none.
        "*" => host.len() >= pattern.len() && host.ends_with(&pattern[1..]),
        _ => host == pattern,
    }
}

fn host_characters(host: &str) -> (usize, usize) {
    (if host.starts_with('*') { 0 } else { host.len() }, host.len())
}

/// "Exact" path match; "Prefix" path match with largest number of characters; method match; largest number of header
/// matches; largest number of query param matches. Regular expressions are left open: between exact and prefix here.
fn http_numbers(one: &HttpMatch) -> Vec<usize> {
    let path = match &one.path {
        PathMatch::Exact(_) => [2, 0],
        PathMatch::Pattern(pattern) => [1, pattern.as_str().len()],
        // "A trailing / is ignored."
        PathMatch::Prefix(path) => [0, path.as_str().trim_end_matches('/').len()],
    };
    vec![path[0], path[1], usize::from(one.method.is_some()), one.headers.len(), one.query.len()]
}

/// "Characters in a matching service", "characters in a matching method", "header matches". Regular expressions are
/// left open: after exact names, before none.
fn grpc_numbers(one: &GrpcMatch) -> Vec<usize> {
    let name = |wanted: &GrpcNameMatch| match wanted {
        GrpcNameMatch::Any => [0, 0],
        GrpcNameMatch::Pattern(pattern) => [1, pattern.as_str().len()],
        GrpcNameMatch::Exact(_) => [2, 0],
    };
    [&name(&one.service)[..], &name(&one.method), &[one.headers.len()]].concat()
}

fn http_matches(one: &HttpMatch, request: &Request) -> bool {
    let path = match &one.path {
        PathMatch::Exact(path) => path.as_str() == request.path,
        PathMatch::Pattern(pattern) => pattern_matches(pattern, request.path),
        // "A prefix path match on "/", which has the effect of matching every HTTP request": `OPTIONS *` too.
        PathMatch::Prefix(path) if path.as_str() == "/" => true,
        PathMatch::Prefix(path) => elements(request.path).starts_with(&elements(path.as_str())),
    };
    path && one.method.as_ref().is_none_or(|method| method.method().as_str() == request.method)
        && one.headers.iter().all(|header| header_matches(header, request))
        && one.query.iter().all(|parameter| parameter_matches(parameter, request))
}

/// "The list of labels in the path split by the / separator"; "a trailing / is ignored".
fn elements(path: &str) -> Vec<&str> {
    path.strip_suffix('/').unwrap_or(path).split('/').collect()
}

fn grpc_matches(one: &GrpcMatch, request: &Request) -> bool {
    let parts: Vec<_> = request.path.split('/').collect();
    let ["", service, method] = parts[..] else { return false };
    let is = |wanted: &GrpcNameMatch, name: &str| match wanted {
        GrpcNameMatch::Any => true,
        GrpcNameMatch::Exact(exact) => exact.as_str() == name,
        GrpcNameMatch::Pattern(pattern) => pattern_matches(pattern, name),
    };
    !service.is_empty()
        && !method.is_empty()
        && is(&one.service, service)
        && is(&one.method, method)
        && one.headers.iter().all(|header| header_matches(header, request))
}

fn header_matches(wanted: &HeaderMatch, request: &Request) -> bool {
    let lines = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted.name.as_str()));
    let lines: Vec<_> = lines.map(|(_, value)| *value).collect();
    let value = lines.join(", ");
    !lines.is_empty()
        && match &wanted.value {
            ValueMatch::Exact(exact) => exact.as_bytes() == value.as_bytes(),
            ValueMatch::Pattern(pattern) => pattern_matches(pattern, &value),
        }
}

/// "Match against the first value of the param."
fn parameter_matches(wanted: &QueryMatch, request: &Request) -> bool {
    let pairs =
        request.query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs = pairs.map(|(name, value)| (decoded(name), decoded(value)));
    let value = pairs.find(|(name, _)| *name == wanted.name).map(|(_, value)| value);
    value.is_some_and(|value| match &wanted.value {
        ValueMatch::Exact(exact) => *exact == value,
        ValueMatch::Pattern(pattern) => pattern_matches(pattern, &value),
    })
}

/// As far as the tests' own queries need it.
fn decoded(text: &str) -> String {
    text.replace('+', " ").replace("%31", "1")
}

fn pattern_matches(pattern: &Pattern, text: &str) -> bool {
    regex::Regex::new(&format!("^(?:{})$", pattern.as_str())).expect("a pattern").is_match(text)
}
