//! Matches, conditions and filters in a few words.

use std::time::Duration;

use gateway_agent_proxy::Reason;
use gateway_agent_proxy::trace::Forwarded;
use gateway_agent_tables::http::{
    Considered, Filter, GrpcMatch, GrpcNameMatch, HeaderEdits, HeaderMatch, HttpAction, HttpMatch,
    HttpRefusal, HttpRule, HttpTarget, PathMatch, PathRewrite, QueryMatch, Unmet, ValueMatch, Wanted,
};
use humantime::format_duration;

pub(super) fn wanted(wanted: Wanted<'_>) -> String {
    match wanted {
        Wanted::Http(HttpMatch { path: wanted, method, headers, query }) => {
            let mut parts = vec![path(wanted)];
            parts.extend(method.iter().map(|method| format!("method {method}")));
            parts.extend(headers.iter().map(header));
            parts.extend(query.iter().map(parameter));
            parts.join(", ")
        }
        Wanted::Grpc(GrpcMatch { service, method, headers }) => {
            let names = format!("gRPC service {}, method {}", name(service), name(method));
            [names].into_iter().chain(headers.iter().map(header)).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The first condition that isn't met.
pub(super) fn unmet(unmet: Unmet<'_>, of: &Considered<'_>) -> String {
    match (unmet, of.wanted) {
        (Unmet::Host, _) => format!("the host is not {}", of.host),
        (Unmet::Grpc, _) => {
            "it is no gRPC call (HTTP/2, content-type application/grpc, path /SERVICE/METHOD)".to_owned()
        }
        (Unmet::GrpcService, Wanted::Grpc(wanted)) => format!("the service is not {}", name(&wanted.service)),
        (Unmet::GrpcMethod, Wanted::Grpc(wanted)) => format!("the method is not {}", name(&wanted.method)),
        (Unmet::Path, Wanted::Http(wanted)) => format!("the path is not {}", path(&wanted.path)),
        (Unmet::Method, Wanted::Http(HttpMatch { method: Some(method), .. })) => {
            format!("the method is not {method}")
        }
        (Unmet::Header(wanted), _) => format!("no {}", header(wanted)),
        (Unmet::Query(wanted), _) => format!("no {}", parameter(wanted)),
        // Conditions of the other kind of route, or none at all.
        (Unmet::GrpcService | Unmet::GrpcMethod | Unmet::Path | Unmet::Method, _) => {
            "another request".to_owned()
        }
    }
}

fn path(wanted: &PathMatch) -> String {
    match wanted {
        PathMatch::Exact(path) => format!("exactly {path}"),
        PathMatch::Pattern(pattern) => format!("like {pattern}"),
        PathMatch::Prefix(path) => format!("{path} or below"),
    }
}

fn name(wanted: &GrpcNameMatch) -> String {
    match wanted {
        GrpcNameMatch::Any => "any".to_owned(),
        GrpcNameMatch::Exact(name) => name.as_str().to_owned(),
        GrpcNameMatch::Pattern(pattern) => format!("like {pattern}"),
    }
}

fn header(wanted: &HeaderMatch) -> String {
    format!("header {} {}", wanted.name, value(&wanted.value))
}

fn parameter(wanted: &QueryMatch) -> String {
    format!("query parameter {} {}", wanted.name, value(&wanted.value))
}

fn value<T: ToString>(wanted: &ValueMatch<T>) -> String {
    match wanted {
        ValueMatch::Exact(exact) => format!("= {:?}", exact.to_string()),
        ValueMatch::Pattern(pattern) => format!("like {pattern}"),
    }
}

pub(super) fn filter(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(edits) => format!("request headers: {}", changes(edits)),
        Filter::ResponseHeaders(edits) => format!("response headers: {}", changes(edits)),
        Filter::Rewrite(rewrite) => {
            let host = rewrite.hostname.as_ref().map(|name| format!("host {name}"));
            let path = rewrite.path.as_ref().map(|path| match path {
                PathRewrite::Full(path) => format!("path {path}"),
                PathRewrite::Prefix { matched, replacement } => {
                    format!("path {matched}... to {replacement}...")
                }
            });
            format!("rewrite: {}", host.into_iter().chain(path).collect::<Vec<_>>().join(", "))
        }
        Filter::Mirror(mirror) => format!("mirror: {} of requests to {}", mirror.share, mirror.upstream),
        Filter::Cors(_) => "CORS".to_owned(),
        Filter::ExternalAuth(auth) => format!("external authorization by {}", auth.upstream),
    }
}

fn changes(edits: &HeaderEdits) -> String {
    let remove = edits.remove().iter().map(|name| format!("remove {name}"));
    let set = edits.set().iter().map(|(name, value)| format!("set {name}: {value}"));
    let add = edits.add().iter().map(|(name, value)| format!("add {name}: {value}"));
    remove.chain(set).chain(add).collect::<Vec<_>>().join(", ")
}

/// Of the whole request, and of each try.
pub(super) fn timeouts(forwarded: &Forwarded) -> (Option<String>, Option<String>) {
    let text = |limit: Option<Duration>| limit.map(|limit| format_duration(limit).to_string());
    (text(forwarded.request_timeout), text(forwarded.attempt_timeout))
}

/// Why a request gets 404 that no listener has.
pub(super) const NO_LISTENER: &str = "no listener there has the host";

/// Why the proxy answers itself.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Redirect => "redirected",
        Reason::Preflight => "a browser's question what it may send",
        Reason::OriginRefused => "CORS doesn't allow the origin",
        Reason::Malformed => "the request is malformed",
        Reason::NoRoute => "no route of the listener has the request",
        Reason::NoEndpoint => "the Service has no ready endpoint",
        _ => "the request can't be served",
    }
}

/// Why a rule, or one of its backends, is answered with 500.
pub(super) fn refusal(rule: Option<&HttpRule>, backend: Option<usize>) -> &'static str {
    let Some(rule) = rule else { return "the route is invalid; see its status" };
    let target = match (&rule.action, backend) {
        (HttpAction::Refuse(refusal), _) => return of(*refusal),
        (HttpAction::Forward(split), Some(backend)) => split.backends().get(backend).map(|it| &it.target),
        (HttpAction::Redirect(_), _) => return AUTH_BY_TLS,
        (HttpAction::Forward(_), None) => None,
    };
    match target {
        Some(HttpTarget::Refuse(refusal)) => of(*refusal),
        Some(HttpTarget::Forward(upstream)) if upstream.encrypted => {
            "the backend is spoken to by TLS, which the proxy doesn't do"
        }
        Some(HttpTarget::Forward(_) | HttpTarget::Redirect(_)) => AUTH_BY_TLS,
        None => "all weights are 0",
    }
}

const AUTH_BY_TLS: &str = "a service that must allow it is spoken to by TLS, which the proxy doesn't do";

fn of(refusal: HttpRefusal) -> &'static str {
    match refusal {
        HttpRefusal::NoBackend => "the rule names no backend and doesn't redirect",
        HttpRefusal::InvalidBackend => {
            "the reference to the backend is invalid; ResolvedRefs in the route's status says why"
        }
        HttpRefusal::InvalidRule => {
            "a part of the rule can't be served and must not be skipped; the route's status says which"
        }
    }
}
