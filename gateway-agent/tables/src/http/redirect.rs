//! Redirects: where a client is sent instead.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{Hostname, PathRewrite};

/// An answer with a `Location`, made of the request's URL and what replaces its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// None: the request's.
    pub scheme: Option<Scheme>,
    /// None: the request's.
    pub hostname: Option<Hostname>,
    /// None: the request's.
    pub path: Option<PathRewrite>,
    /// None: that of `scheme`, and without one the listener's.
    pub port: Option<NonZeroU16>,
    pub status: RedirectStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scheme {
    Http,
    Https,
}

/// Status codes that the API allows for a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RedirectStatus {
    MovedPermanently,
    Found,
    SeeOther,
    TemporaryRedirect,
    PermanentRedirect,
}

/// The URL that a client asked for.
#[derive(Clone, Copy, Debug)]
pub struct RequestUrl<'a> {
    pub scheme: Scheme,
    /// Without port; an IPv6 address in brackets.
    pub host: &'a str,
    /// The listener's, not the Host header's: the API has it so.
    pub port: NonZeroU16,
    pub path: &'a str,
    pub query: Option<&'a str>,
}

impl Redirect {
    /// The value of the response's `Location`. A port is left out where the scheme implies it.
    pub fn location(&self, request: RequestUrl<'_>) -> String {
        let scheme = self.scheme.unwrap_or(request.scheme);
        let host = self.hostname.as_ref().map_or(request.host, Hostname::as_str);
        let port = self.port.unwrap_or_else(|| self.scheme.map_or(request.port, Scheme::port));
        let path = self.path.as_ref().map(|rewrite| rewrite.apply(request.path));
        let path = path.as_deref().unwrap_or(request.path);
        // As a URI has it (RFC 9112, 3.2.4).
        let path = if path == "*" { "" } else { path };
        let port = if port == scheme.port() { String::new() } else { format!(":{port}") };
        let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

impl Scheme {
    /// As in a URL, in lower case; None: another scheme.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    /// RFC 9110, 4.2.
    pub const fn port(self) -> NonZeroU16 {
        match self {
            Self::Http => NonZeroU16::new(80).expect("not zero"),
            Self::Https => NonZeroU16::new(443).expect("not zero"),
        }
    }
}

impl RedirectStatus {
    /// None: a code that the API doesn't have.
    pub fn parse(code: i64) -> Option<Self> {
        Some(match code {
            301 => Self::MovedPermanently,
            302 => Self::Found,
            303 => Self::SeeOther,
            307 => Self::TemporaryRedirect,
            308 => Self::PermanentRedirect,
            _ => return None,
        })
    }

    pub fn code(self) -> http::StatusCode {
        match self {
            Self::MovedPermanently => http::StatusCode::MOVED_PERMANENTLY,
            Self::Found => http::StatusCode::FOUND,
            Self::SeeOther => http::StatusCode::SEE_OTHER,
            Self::TemporaryRedirect => http::StatusCode::TEMPORARY_REDIRECT,
            Self::PermanentRedirect => http::StatusCode::PERMANENT_REDIRECT,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Path;

    fn port(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).expect("a port")
    }

    /// Every combination that the API's text on `port` tells apart.
    #[test]
    fn ports_follow_scheme_and_listener() {
        use Scheme::{Http, Https};
        for (listener, asked, scheme, wanted, location) in [
            (80, Http, None, None, "http://a.example/p"),
            (80, Http, None, Some(80), "http://a.example/p"),
            (80, Http, None, Some(8080), "http://a.example:8080/p"),
            (80, Http, Some(Https), None, "https://a.example/p"),
            (80, Http, Some(Https), Some(443), "https://a.example/p"),
            (80, Http, Some(Https), Some(8443), "https://a.example:8443/p"),
            (8080, Http, None, None, "http://a.example:8080/p"),
            (8080, Http, None, Some(80), "http://a.example/p"),
            (8080, Http, Some(Http), None, "http://a.example/p"),
            (8080, Http, Some(Https), None, "https://a.example/p"),
            (443, Https, None, None, "https://a.example/p"),
            (443, Https, Some(Http), None, "http://a.example/p"),
            (443, Https, Some(Http), Some(8080), "http://a.example:8080/p"),
            (443, Https, None, Some(80), "https://a.example:80/p"),
        ] {
            let redirect = Redirect {
                scheme,
                hostname: None,
                path: None,
                port: wanted.map(port),
                status: RedirectStatus::Found,
            };
            let request = RequestUrl {
                scheme: asked,
                host: "a.example",
                port: port(listener),
                path: "/p",
                query: None,
            };
            assert_eq!(redirect.location(request), location, "{listener} {asked} {scheme:?} {wanted:?}");
        }
    }

    #[test]
    fn host_and_path_are_replaced_and_the_query_stays() {
        let redirect = Redirect {
            scheme: None,
            hostname: Some(Hostname::parse("example.org").expect("a name")),
            path: Some(PathRewrite::Prefix {
                matched: Path::parse("/old").expect("a path"),
                replacement: Path::parse("/new").expect("a path"),
            }),
            port: None,
            status: RedirectStatus::MovedPermanently,
        };
        let request = RequestUrl {
            scheme: Scheme::Http,
            host: "[2001:db8::1]",
            port: port(80),
            path: "/old/x",
            query: Some("a=b"),
        };
        assert_eq!(redirect.location(request), "http://example.org/new/x?a=b");
    }
}
