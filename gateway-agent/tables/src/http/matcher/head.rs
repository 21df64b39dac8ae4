//! What matching needs to know of a request.

use std::borrow::Cow;
use std::cell::OnceCell;

use http::{HeaderName, Method};

use crate::http::ByteSet;

/// The head of a request; its path is normalised, and what is matched here is what is forwarded.
#[derive(Debug)]
pub struct RequestHead<'a, F> {
    pub host: &'a RequestHost<'a>,
    pub method: &'a Method,
    /// Absolute and without query.
    pub path: &'a str,
    /// Behind the `?`.
    pub query: Option<&'a str>,
    pub fields: &'a F,
    /// HTTP/2 with a content type of `application/grpc` (and what may follow it).
    pub is_grpc: bool,
    /// The query's parameters, decoded when the first match asks for one.
    parameters: OnceCell<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
}

/// A request's header fields, however they are held.
pub trait RequestFields {
    /// The values of all lines with this name, in order, without white space around them.
    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]>;
}

/// The host that a request is for: without port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHost<'a>(Cow<'a, str>);

impl<'a, F> RequestHead<'a, F> {
    pub fn new(host: &'a RequestHost<'a>, method: &'a Method, path: &'a str, fields: &'a F) -> Self {
        Self { host, method, path, query: None, fields, is_grpc: false, parameters: OnceCell::new() }
    }

    #[must_use]
    pub fn with_query(self, query: Option<&'a str>) -> Self {
        Self { query, ..self }
    }

    #[must_use]
    pub fn with_grpc(self, is_grpc: bool) -> Self {
        Self { is_grpc, ..self }
    }

    /// Service and method of a gRPC request; None: it isn't one.
    pub(super) fn grpc_names(&self) -> Option<(&'a str, &'a str)> {
        if !self.is_grpc {
            return None;
        }
        let (service, method) = self.path.strip_prefix('/')?.split_once('/')?;
        (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
    }

    /// The value of the first parameter with this name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.query?;
        let parameters = self.parameters.get_or_init(|| form_urlencoded::parse(query.as_bytes()).collect());
        parameters.iter().find(|(its_name, _)| its_name == name).map(|(_, value)| value.as_ref())
    }
}

impl<'a> RequestHost<'a> {
    /// Reads a Host header or an `:authority`: the port and a dot at the name's end count for nothing.
    pub fn of(authority: &'a str) -> Self {
        // Nothing to take away or to change: what most clients send.
        if SIMPLE.has_all(authority.as_bytes()) && !authority.ends_with('.') {
            return Self(authority.into());
        }
        let host = match authority.rsplit_once(':') {
            // What stands behind the last colon of a bare IPv6 address is no port.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
            }
            _ => authority,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Self(host.to_ascii_lowercase().into())
        } else {
            Self(host.into())
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a name is made of that is in lower case and has no port.
static SIMPLE: ByteSet = ByteSet::graphic_but(b":ABCDEFGHIJKLMNOPQRSTUVWXYZ");

impl RequestFields for http::HeaderMap {
    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(http::HeaderValue::as_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_without_port() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("example.com:", "example.com"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("a:b", "a:b"),
            ("", ""),
        ] {
            assert_eq!(RequestHost::of(authority).as_str(), host, "{authority}");
        }
    }

    #[test]
    fn only_paths_of_two_segments_call_a_grpc_method() {
        let (host, fields) = (RequestHost::of("a"), http::HeaderMap::new());
        let names = |path, is_grpc| {
            RequestHead::new(&host, &Method::POST, path, &fields).with_grpc(is_grpc).grpc_names()
        };
        assert_eq!(names("/a.B/C", true), Some(("a.B", "C")));
        assert_eq!(names("/a.B/C", false), None);
        for path in ["/", "/a.B", "/a.B/", "//C", "/a/b/c", "*"] {
            assert_eq!(names(path, true), None, "{path}");
        }
    }
}
