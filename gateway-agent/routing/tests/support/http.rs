//! Shows the HTTP tables as short YAML.

use gateway_agent_tables::http::{
    AllowList, AuthProtocol, Cors, Filter, GrpcMatch, GrpcNameMatch, HeaderEdits, HeaderMatch, HttpAction,
    HttpBackend, HttpMatch, HttpRoute, HttpRule, HttpSettings, HttpTables, HttpTarget, HttpTelemetry, Origin,
    PathMatch, PathRewrite, Redirect, SessionToken, Timeout, ValueMatch,
};
use serde_json::{Map, Value, json};

use super::{is_empty, show_endpoint};

/// Empty parts are left out.
pub(crate) fn show(tables: &HttpTables) -> Value {
    let frontends = tables.frontends.iter().map(|(key, frontend)| {
        let listeners =
            frontend.listeners.iter().map(|(host, name)| (host.to_string(), name.to_string().into()));
        (key.to_string(), listeners.collect::<Map<_, _>>().into())
    });
    let listeners = tables.listeners.iter().map(|(name, listener)| {
        let hosts = listener.hosts.iter().map(|(host, routes)| {
            let http = routes.http.iter().map(|name| format!("HTTPRoute {name}"));
            let grpc = routes.grpc.iter().map(|name| format!("GRPCRoute {name}"));
            (host.to_string(), grpc.chain(http).collect::<Vec<_>>().into())
        });
        let hosts: Map<_, _> = hosts.collect();
        let mut shown =
            json!({ "serves": format!("{} on {}", listener.scheme, listener.port), "hosts": hosts });
        // The defaults go without saying.
        if listener.settings != HttpSettings::default() {
            shown["settings"] = format!("{:?}", listener.settings).into();
        }
        if listener.telemetry != HttpTelemetry::default() {
            let HttpTelemetry { access_log, most_series } = listener.telemetry;
            let lines = access_log.map_or("none".to_owned(), |one_in| format!("one in {one_in}"));
            shown["telemetry"] = format!("{lines} logged, {most_series} series").into();
        }
        (name.to_string(), shown)
    });
    let services = tables.services.iter().map(|(service, endpoints)| {
        let draining = endpoints.draining.iter().map(|it| json!({ "draining": show_endpoint(it) }));
        (service.to_string(), endpoints.ready.iter().map(show_endpoint).chain(draining).collect())
    });
    let http = tables
        .http_routes
        .iter()
        .map(|(name, route)| (format!("HTTPRoute {name}"), show_route(route, http_match)));
    let grpc = tables
        .grpc_routes
        .iter()
        .map(|(name, route)| (format!("GRPCRoute {name}"), show_route(route, grpc_match)));
    without_empty(json!({
        "frontends": frontends.collect::<Map<_, _>>(),
        "listeners": listeners.collect::<Map<_, _>>(),
        "routes": http.chain(grpc).collect::<Map<_, _>>(),
        "services": services.collect::<Map<_, _>>(),
    }))
}

fn without_empty(mut shown: Value) -> Value {
    if let Some(parts) = shown.as_object_mut() {
        parts.retain(|_, part| !part.is_null() && !is_empty(part));
    }
    shown
}

fn show_route<M>(route: &HttpRoute<M>, show_match: impl Fn(&M) -> String) -> Value {
    let rules = route.rules.iter().map(|of_rule| {
        let HttpRule { name, filters, action, timeouts, retry, session } = of_rule.rule.as_ref();
        let timeout = |timeout: Timeout| match timeout {
            Timeout::Default => Value::Null,
            Timeout::Never => "never".into(),
            Timeout::After(after) => format!("{after:?}").into(),
        };
        let retry = retry.as_ref().map(|retry| {
            let codes: Vec<_> = retry.codes.iter().map(|code| code.code()).collect();
            format!("{} on {codes:?}, backoff {:?}", retry.attempts, retry.backoff)
        });
        let session = session.as_ref().map(|session| {
            let token = match &session.token {
                SessionToken::Cookie { name, path, lifetime } => format!("cookie {name} {path} {lifetime:?}"),
                SessionToken::Header(name) => format!("header {name}"),
            };
            format!("{token}, at most {:?}", session.absolute_timeout)
        });
        without_empty(json!({
            "name": name.name,
            "matches": of_rule.matches.iter().map(&show_match).collect::<Vec<_>>(),
            "filters": filters.iter().map(show_filter).collect::<Vec<_>>(),
            "action": show_action(action),
            "requestTimeout": timeout(timeouts.request),
            "backendTimeout": timeout(timeouts.backend_request),
            "retry": retry,
            "session": session,
        }))
    });
    rules.collect()
}

fn http_match(one: &HttpMatch) -> String {
    let mut parts = vec![match &one.path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Pattern(pattern) => format!("regex {pattern}"),
        PathMatch::Prefix(path) => format!("prefix {path}"),
    }];
    parts.extend(one.method.iter().map(|method| format!("method {method}")));
    parts.extend(one.headers.iter().map(header));
    parts.extend(one.query.iter().map(|it| format!("query {} {}", it.name, value(&it.value))));
    parts.join(", ")
}

fn grpc_match(one: &GrpcMatch) -> String {
    let name = |name: &GrpcNameMatch| match name {
        GrpcNameMatch::Any => "any".to_owned(),
        GrpcNameMatch::Exact(name) => name.as_str().to_owned(),
        GrpcNameMatch::Pattern(pattern) => format!("regex {pattern}"),
    };
    let names = format!("service {}, method {}", name(&one.service), name(&one.method));
    std::iter::once(names).chain(one.headers.iter().map(header)).collect::<Vec<_>>().join(", ")
}

fn header(header: &HeaderMatch) -> String {
    format!("header {} {}", header.name, value(&header.value))
}

fn value<T: ToString>(value: &ValueMatch<T>) -> String {
    match value {
        ValueMatch::Exact(exact) => format!("= {:?}", exact.to_string()),
        ValueMatch::Pattern(pattern) => format!("~ {pattern}"),
    }
}

fn show_filter(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(edits) => format!("request headers: {}", show_edits(edits)),
        Filter::ResponseHeaders(edits) => format!("response headers: {}", show_edits(edits)),
        Filter::Rewrite(rewrite) => {
            let host = rewrite.hostname.as_ref().map(|name| format!(" host {name}")).unwrap_or_default();
            format!("rewrite:{host}{}", rewrite.path.as_ref().map(show_path).unwrap_or_default())
        }
        Filter::Mirror(mirror) => format!("mirror {} to {}", mirror.share, mirror.upstream),
        Filter::Cors(cors) => show_cors(cors),
        Filter::ExternalAuth(auth) => {
            let protocol = match &auth.protocol {
                AuthProtocol::Grpc { request_headers } => format!("grpc, headers {}", list(request_headers)),
                AuthProtocol::Http { prefix, request_headers, response_headers } => format!(
                    "http, path {}, headers {}, answers {}",
                    prefix.as_ref().map_or_else(|| "as it is".to_owned(), ToString::to_string),
                    list(request_headers),
                    list(response_headers)
                ),
            };
            format!("authorize by {}: {protocol}, body {}", auth.upstream, auth.body_limit)
        }
    }
}

fn show_edits(edits: &HeaderEdits) -> String {
    let set = edits.set().iter().map(|(name, value)| format!("{name} = {value}"));
    let add = edits.add().iter().map(|(name, value)| format!("{name} += {value}"));
    let remove = edits.remove().iter().map(|name| format!("-{name}"));
    remove.chain(set).chain(add).collect::<Vec<_>>().join(", ")
}

fn show_path(path: &PathRewrite) -> String {
    match path {
        PathRewrite::Full(path) => format!(" path {path}"),
        PathRewrite::Prefix { matched, replacement } => format!(" prefix {matched} -> {replacement}"),
    }
}

fn show_cors(cors: &Cors) -> String {
    let origins: Vec<_> = cors
        .allow_origins
        .iter()
        .map(|origin| match origin {
            Origin::All => "*".to_owned(),
            Origin::Of { scheme, host, port } => format!("{scheme}://{host}:{port}"),
        })
        .collect();
    format!(
        "cors: origins {}, methods {}, headers {}, expose {}, {}credentials, {} s",
        origins.join(" "),
        allowed(&cors.allow_methods),
        allowed(&cors.allow_headers),
        allowed(&cors.expose_headers),
        if cors.allow_credentials { "" } else { "no " },
        cors.max_age
    )
}

fn allowed<T: ToString>(allowed: &AllowList<T>) -> String {
    match allowed {
        AllowList::All => "*".to_owned(),
        AllowList::These(these) => list(these),
    }
}

fn list<T: ToString>(entries: &[T]) -> String {
    if entries.is_empty() {
        return "-".to_owned();
    }
    entries.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn show_action(action: &HttpAction) -> Value {
    match action {
        HttpAction::Forward(split) => {
            split.backends().iter().map(|backend| show_backend(backend, split.total_weight())).collect()
        }
        HttpAction::Redirect(redirect) => show_redirect(redirect).into(),
        HttpAction::Refuse(refusal) => format!("{refusal:?}").into(),
    }
}

fn show_backend(backend: &HttpBackend, total: u32) -> Value {
    let target = match &backend.target {
        HttpTarget::Forward(upstream) => upstream.to_string(),
        HttpTarget::Redirect(redirect) => show_redirect(redirect),
        HttpTarget::Refuse(refusal) => format!("{refusal:?}"),
    };
    let shown = format!("{} of {total}: {} -> {target}", backend.weight, backend.name);
    if backend.filters.is_empty() {
        return shown.into();
    }
    json!({ "backend": shown, "filters": backend.filters.iter().map(show_filter).collect::<Vec<_>>() })
}

fn show_redirect(redirect: &Redirect) -> String {
    let part =
        |name: &str, part: Option<String>| part.map(|part| format!(" {name} {part}")).unwrap_or_default();
    format!(
        "redirect {}{}{}{}{}",
        redirect.status.code().as_u16(),
        part("scheme", redirect.scheme.map(|scheme| scheme.to_string())),
        part("host", redirect.hostname.as_ref().map(ToString::to_string)),
        part("port", redirect.port.map(|port| port.to_string())),
        redirect.path.as_ref().map(show_path).unwrap_or_default()
    )
}
