//! Heads and trailers, from one version to the other.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::h1::{Fields, Framing};

/// The fields of an HTTP/2 message that HTTP/1.1 doesn't write itself. Cookies are one field there (RFC 9113, 8.2.3):
/// `cookies` is what [`cookies`] gave.
pub(super) fn fields<'a>(headers: &'a HeaderMap, cookies: Option<&'a [u8]>) -> Fields<'a> {
    let mut fields = Fields::default();
    for (name, value) in headers {
        if ![CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE].contains(name) {
            fields.push(name.as_str(), value.as_bytes());
        }
    }
    if let Some(cookies) = cookies {
        fields.push("cookie", cookies);
    }
    fields
}

pub(super) fn cookies(headers: &HeaderMap) -> Option<Vec<u8>> {
    let parts: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    (!parts.is_empty()).then(|| parts.join(&b"; "[..]))
}

/// How HTTP/1.1 tells the end of a body that has begun or not, and perhaps named its length.
pub(super) fn framing(headers: &HeaderMap, has_ended: bool) -> Framing {
    match content_length(headers) {
        Some(length) => Framing::Length(length),
        None if has_ended => Framing::None,
        None => Framing::Chunked,
    }
}

/// h2 has compared it with the body's length already.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bytes of a request's head, as HTTP/1.1 has them.
pub(super) fn head_bytes(parts: &Parts) -> u64 {
    const LINE: usize = "  HTTP/1.1\r\nHost: \r\n\r\n".len();
    let target = parts.uri.path_and_query().map_or(1, |target| target.as_str().len());
    let host = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    (parts.method.as_str().len() + target + host + LINE + field_bytes(&parts.headers)) as u64
}

/// The same of a response's.
pub(super) fn answer_bytes(headers: &HeaderMap) -> u64 {
    const LINE: usize = "HTTP/1.1 200 OK\r\n\r\n".len();
    (LINE + field_bytes(headers)) as u64
}

fn field_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

/// Whether the sender reads trailers.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

/// The fields of an HTTP/1.1 message. Their values share one allocation.
pub(super) fn headers(fields: &Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(fields.iter().count() + MORE);
    let mut values = Vec::with_capacity(fields.iter().map(|field| field.value.len()).sum());
    fields.iter().for_each(|field| values.extend_from_slice(field.value));
    let mut values = Bytes::from(values);
    for field in fields.iter() {
        let value = HeaderValue::from_maybe_shared(values.split_to(field.value.len()));
        if let (Some(name), Ok(mut value)) = (name(field.name), value) {
            value.set_sensitive(ONCE.contains(&name.as_str()));
            headers.append(name, value);
        }
    }
    headers
}

fn name(text: &str) -> Option<HeaderName> {
    let own = OWN.iter().find(|own| own.as_str().eq_ignore_ascii_case(text));
    own.cloned().or_else(|| HeaderName::from_bytes(text.as_bytes()).ok())
}

/// What the proxy itself adds to most requests, and `http` has no cheap names for.
static OWN: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("traceparent"),
];

/// Fields that are added to those of HTTP/1.1: its framing.
const MORE: usize = 2;

/// Fields that are another one with each request: in the table that compresses heads they would push out what comes again
/// (RFC 7541, 7.1.3).
const ONCE: [&str; 1] = ["traceparent"];

/// Trailers as whole lines, which were checked when they were read.
pub(super) fn trailers(lines: &[u8]) -> HeaderMap {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let pairs = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        pair(&line[..colon], line[colon + 1..].trim_ascii())
    });
    pairs.collect()
}

/// Trailers as whole lines.
pub(super) fn lines(trailers: &HeaderMap) -> Vec<u8> {
    const LINE: usize = 64;
    let mut lines = Vec::with_capacity(trailers.len() * LINE);
    for (name, value) in trailers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

fn pair(name: &[u8], value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}
