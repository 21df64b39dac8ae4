//! Request targets and the hosts they are for (RFC 9112, 3.2; RFC 3986).

use gateway_agent_tables::http::ByteSet;
use http::Method;

use super::Fault;

/// What a request asks for, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Absolute, or `*`; not normalised.
    pub path: &'a str,
    /// Behind the `?`.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads the target of a request line. In absolute form it names the host too, which then counts instead of Host
    /// (RFC 9112, 3.2.2).
    pub(super) fn parse(method: &Method, text: &'a str) -> Result<(Self, Option<&'a str>), Fault> {
        if method == Method::CONNECT {
            return Err(Fault::Connect);
        }
        if text.starts_with('/') {
            return Ok((Self::split(text)?, None));
        }
        if text == "*" {
            let allowed = method == Method::OPTIONS;
            return if allowed { Ok((Self { path: "*", query: None }, None)) } else { Err(Fault::Target) };
        }
        let (authority, rest) = absolute(text).ok_or(Fault::Target)?;
        check_host(authority).map_err(|_| Fault::Target)?;
        let target = match Self::split(rest)? {
            // OPTIONS without a path asks about the server (RFC 9112, 3.2.4).
            Self { path: "", query: None } if method == Method::OPTIONS => Self { path: "*", query: None },
            Self { path: "", query } => Self { path: "/", query },
            target => target,
        };
        Ok((target, Some(authority)))
    }

    fn split(text: &'a str) -> Result<Self, Fault> {
        let (path, rest) = text.split_at(PATH.len_of(text.as_bytes()));
        match rest.strip_prefix('?') {
            None if rest.is_empty() => Ok(Self { path, query: None }),
            Some(query) if QUERY.has_all(query.as_bytes()) => Ok(Self { path, query: Some(query) }),
            _ => Err(Fault::Target),
        }
    }
}

/// Authority, and what follows it, of an `http` or `https` URI.
fn absolute(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (!authority.is_empty()).then_some((authority, rest))
}

/// What may stand in a query: visible ASCII without `#`, which would begin a fragment, and without `\`, which some take
/// for a slash. Browsers send `"`, `<`, `>`, `^`, `` ` ``, `{`, `|` and `}` unencoded, so these pass.
static QUERY: ByteSet = ByteSet::graphic_but(b"#\\");

/// The same in a path, which a query ends.
static PATH: ByteSet = ByteSet::graphic_but(b"#\\?");

/// Checks a Host field's value or a URI's authority: a name, an IPv4 address or an IPv6 address in brackets, and a port
/// (RFC 9110, 7.2). Names are those of DNS, with `_`, which some hosts have. It may be empty.
pub(super) fn check_host(host: &str) -> Result<(), Fault> {
    let (name_is_valid, port) = if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(Fault::Host)?;
        (address.parse::<std::net::Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = host.split_at(NAME.len_of(host.as_bytes()));
        (port.is_empty() || !name.is_empty(), port)
    };
    if name_is_valid && is_port(port) { Ok(()) } else { Err(Fault::Host) }
}

static NAME: ByteSet = ByteSet::alphanumeric_and(b"-._");

/// Nothing, or a colon and at most five digits (of 65535), which may be none (RFC 3986, 3.2.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some("") => true,
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_methods() {
        let parse = |method: &str, text| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            Target::parse(&method, text).map(|(target, host)| (target.path, target.query, host))
        };
        for (method, text, result) in [
            ("GET", "/", Ok(("/", None, None))),
            ("GET", "/a/b?c=d?e", Ok(("/a/b", Some("c=d?e"), None))),
            ("GET", "/a?", Ok(("/a", Some(""), None))),
            ("GET", "//a/b", Ok(("//a/b", None, None))),
            ("GET", "http://a.b:80/c?d", Ok(("/c", Some("d"), Some("a.b:80")))),
            ("GET", "HTTPS://a", Ok(("/", None, Some("a")))),
            ("GET", "http://a?b", Ok(("/", Some("b"), Some("a")))),
            ("OPTIONS", "*", Ok(("*", None, None))),
            ("OPTIONS", "http://a", Ok(("*", None, Some("a")))),
            ("OPTIONS", "http://a/", Ok(("/", None, Some("a")))),
            ("GET", "*", Err(Fault::Target)),
            ("GET", "a.b:80", Err(Fault::Target)),
            ("GET", "a/b", Err(Fault::Target)),
            ("GET", "ftp://a/", Err(Fault::Target)),
            ("GET", "http:///a", Err(Fault::Target)),
            ("GET", "http://user@a/", Err(Fault::Target)),
            ("GET", "http://a:b/", Err(Fault::Target)),
            ("GET", "/a#b", Err(Fault::Target)),
            ("GET", "/a\\b", Err(Fault::Target)),
            ("GET", "/\u{e4}", Err(Fault::Target)),
            ("CONNECT", "a.b:443", Err(Fault::Connect)),
            ("CONNECT", "/", Err(Fault::Connect)),
        ] {
            assert_eq!(parse(method, text), result, "{method} {text}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_ports() {
        for host in
            ["", "a", "A.b.", "a_b", "a:80", "a:", "192.0.2.1:65535", "[::1]", "[2001:db8::1]:80", "[::1]:"]
        {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
        for host in [
            "a b", "a/b", "a@b", "a,b", "a:b", "a:80:80", "a:65536", "a:+1", ":80", "::1", "[::1", "[a]",
            "[::1]80", "[]", "a%20b", "a?b",
        ] {
            assert_eq!(check_host(host), Err(Fault::Host), "{host}");
        }
    }
}
