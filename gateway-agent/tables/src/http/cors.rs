//! Cross-origin resource sharing (the Fetch standard), as far as a gateway answers for a backend.

use std::num::{NonZeroU16, NonZeroU32};

use serde::{Deserialize, Serialize};

use super::{FieldName, MethodName, Scheme};
use crate::HostPattern;

/// Who may read responses from a page of another origin, and what it may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Empty: no origin.
    pub allow_origins: Vec<Origin>,
    /// With credentials no answer may hold `*`: what the request asked for is repeated instead.
    pub allow_credentials: bool,
    pub allow_methods: AllowList<MethodName>,
    pub allow_headers: AllowList<FieldName>,
    pub expose_headers: AllowList<FieldName>,
    /// Seconds that a client may remember the answer to a preflight request.
    pub max_age: NonZeroU32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllowList<T> {
    /// `*`
    All,
    /// In the order that the filter has them; empty: the field is left out of responses.
    These(Vec<T>),
}

/// Origins that may read responses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// `*`
    All,
    /// `scheme://host:port`; the port is the scheme's own unless it was given.
    Of { scheme: Scheme, host: HostPattern, port: NonZeroU16 },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin; write http:// or https://, a host name, and a port if it is not the scheme's own, or *"
)]
pub struct OriginError(String);

impl Cors {
    /// max-age where a filter has none (the API's default), in seconds.
    pub const DEFAULT_MAX_AGE: NonZeroU32 = NonZeroU32::new(5).expect("not zero");

    /// Whether pages of the origin, as its header has it, may read responses.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.allow_origins.iter().any(|allowed| allowed.matches(origin))
    }
}

impl Origin {
    /// `*`, or an origin whose host may be `*` or begin with `*.`.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self::All);
        }
        let error = || OriginError(text.to_owned());
        let (scheme, host, port) = split(text).ok_or_else(error)?;
        let host = match host {
            "" => None,
            "*" => Some(HostPattern::Any),
            host => HostPattern::parse(host),
        };
        Ok(Self::Of { scheme, host: host.ok_or_else(error)?, port })
    }

    /// Whether an `Origin` header's value is one of these. Hosts have no case, so `null` and hosts that are no names,
    /// such as IPv6 addresses, are only among all.
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of { scheme, host, port } => {
                split(origin).is_some_and(|(its_scheme, its_host, its_port)| {
                    (its_scheme, its_port) == (*scheme, *port)
                        && !its_host.is_empty()
                        && host.matches(&its_host.to_ascii_lowercase())
                })
            }
        }
    }
}

/// Scheme, host and port of an origin.
fn split(origin: &str) -> Option<(Scheme, &str, NonZeroU16)> {
    let (scheme, rest) = origin.split_once("://")?;
    let scheme = Scheme::parse(scheme)?;
    match rest.split_once(':') {
        None => Some((scheme, rest, scheme.port())),
        Some((host, port)) => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            port.parse().ok().filter(|_| digits).map(|port| (scheme, host, port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_by_scheme_host_and_port() {
        for (allowed, origin, matches) in [
            ("*", "https://www.foo.com", true),
            ("*", "null", true),
            ("https://www.foo.com", "https://www.foo.com", true),
            ("https://www.foo.com", "https://www.foo.com:443", true),
            ("https://www.foo.com", "https://WWW.foo.com", true),
            ("https://www.foo.com", "http://www.foo.com", false),
            ("https://www.foo.com", "https://www.foo.com:8443", false),
            ("https://www.foo.com:8443", "https://www.foo.com:8443", true),
            ("https://*.bar.com", "https://www.bar.com", true),
            ("https://*.bar.com", "https://a.b.bar.com", true),
            ("https://*.bar.com", "https://bar.com", false),
            ("https://*.bar.com", "https://bar.com.evil.org", false),
            ("http://*", "http://anything", true),
            ("http://*", "https://anything", false),
            ("http://*:8080", "http://anything:8080", true),
            ("http://*", "null", false),
        ] {
            let parsed = Origin::parse(allowed).expect("an origin");
            assert_eq!(parsed.matches(origin), matches, "{allowed} {origin}");
        }
    }

    #[test]
    fn only_origins_are_read() {
        for text in [
            "",
            "foo.com",
            "ftp://foo.com",
            "https://",
            "https://foo.com:0",
            "https://foo.com/x",
            "https://a:+1",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
