//! Asks the HTTP tables what becomes of requests.
//!
//! A request is written `GET http://host:port/path?query | Header: value | ...`; with `GRPC` instead of a method it is
//! a gRPC request, and `@address` at the end says which of several addresses it goes to.

use std::net::IpAddr;

use gateway_agent_tables::http::{
    Filter, HttpAction, HttpBackend, HttpMatcher, HttpRefusal, HttpRule, HttpTables, HttpTarget,
    ListenerMatcher, Redirect, RequestHead, RequestHost, RequestUrl, Scheme,
};
use gateway_agent_tables::{FrontendKey, Protocol};

/// What the data plane would do, in one line.
pub(crate) fn answer(tables: &HttpTables, request: &str) -> String {
    let request = Request::parse(request).unwrap_or_else(|| panic!("no request: {request}"));
    let matcher = HttpMatcher::new(tables);
    let frontends = tables.frontends.keys().filter(|key| key.port.get() == request.port);
    let frontend =
        frontends.filter(|key| request.address.is_none_or(|address| address == key.address)).copied().next();
    let Some(frontend) = frontend else { return "no frontend".to_owned() };
    assert_eq!(frontend.protocol, Protocol::Tcp);
    request.answer(tables, &matcher, &frontend)
}

struct Request<'a> {
    method: http::Method,
    is_grpc: bool,
    scheme: Scheme,
    authority: &'a str,
    port: u16,
    path: &'a str,
    query: Option<&'a str>,
    headers: http::HeaderMap,
    address: Option<IpAddr>,
}

impl<'a> Request<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(" | ");
        let (method, url) = parts.next()?.split_once(' ')?;
        let (scheme, rest) = url.split_once("://")?;
        let scheme = Scheme::parse(scheme)?;
        let (authority, target) = rest.split_at(rest.find('/')?);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let port = match authority.rsplit_once(':') {
            Some((_, port)) => port.parse().ok()?,
            None => scheme.port().get(),
        };
        let (mut headers, mut address) = (http::HeaderMap::new(), None);
        for part in parts {
            if let Some(text) = part.strip_prefix('@') {
                address = Some(text.parse().ok()?);
            } else {
                let (name, value) = part.split_once(": ")?;
                let name = http::HeaderName::from_bytes(name.as_bytes()).ok()?;
                headers.append(name, value.parse().ok()?);
            }
        }
        let is_grpc = method == "GRPC";
        let method = if is_grpc { http::Method::POST } else { method.parse().ok()? };
        Some(Self { method, is_grpc, scheme, authority, port, path, query, headers, address })
    }

    fn answer(&self, tables: &HttpTables, matcher: &HttpMatcher, frontend: &FrontendKey) -> String {
        let host = RequestHost::of(self.authority);
        let Some(listener) = matcher.listener(frontend, &host) else { return "no listener: 404".to_owned() };
        let head = RequestHead::new(&host, &self.method, self.path, &self.headers)
            .with_query(self.query)
            .with_grpc(self.is_grpc);
        let Some(rule) = listener.pick(&head) else {
            return format!("{}: 404", listener.name.listener);
        };
        format!("{}: {}: {}", listener.name.listener, rule.name, self.action(tables, listener, rule))
    }

    fn action(&self, tables: &HttpTables, listener: &ListenerMatcher, rule: &HttpRule) -> String {
        match &rule.action {
            HttpAction::Redirect(redirect) => self.redirect(listener, redirect),
            HttpAction::Refuse(refusal) => self.refuse(*refusal),
            HttpAction::Forward(split) => {
                let backends = split.backends().iter().filter(|backend| backend.weight > 0);
                let answers: Vec<_> =
                    backends.map(|backend| self.backend(tables, listener, rule, backend)).collect();
                if answers.is_empty() { self.refuse(HttpRefusal::NoBackend) } else { answers.join(" or ") }
            }
        }
    }

    fn backend(
        &self,
        tables: &HttpTables,
        listener: &ListenerMatcher,
        rule: &HttpRule,
        backend: &HttpBackend,
    ) -> String {
        let upstream = match &backend.target {
            HttpTarget::Redirect(redirect) => return self.redirect(listener, redirect),
            HttpTarget::Refuse(refusal) => return self.refuse(*refusal),
            HttpTarget::Forward(upstream) => upstream,
        };
        if tables.services[&upstream.service].ready.is_empty() {
            return format!(
                "{} without endpoints: {}",
                backend.name,
                if self.is_grpc { "UNAVAILABLE" } else { "503" }
            );
        }
        let (mut host, mut path) = (None, self.path.to_owned());
        for filter in rule.filters.iter().chain(&backend.filters) {
            if let Filter::Rewrite(rewrite) = filter {
                host = rewrite.hostname.as_ref().or(host);
                path = rewrite.path.as_ref().map_or(path.clone(), |rewrite| rewrite.apply(&path));
            }
        }
        let host = host.map(|host| format!(" host {host}")).unwrap_or_default();
        let path = if path == self.path { String::new() } else { format!(" path {path}") };
        format!("{}{host}{path}", backend.name)
    }

    fn redirect(&self, listener: &ListenerMatcher, redirect: &Redirect) -> String {
        assert_eq!(self.scheme, listener.scheme);
        let host = RequestHost::of(self.authority);
        let url = RequestUrl {
            scheme: listener.scheme,
            host: host.as_str(),
            port: listener.port,
            path: self.path,
            query: self.query,
        };
        format!("{} {}", redirect.status.code().as_u16(), redirect.location(url))
    }

    fn refuse(&self, refusal: HttpRefusal) -> String {
        let code = if self.is_grpc { "UNAVAILABLE" } else { HttpRefusal::STATUS.as_str() };
        format!("{refusal:?}: {code}")
    }
}
