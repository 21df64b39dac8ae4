//! Heads as they are sent: first lines, framing and the connection's own fields are always written anew.

use http::Method;

use super::fields::write_line;
use super::{Fields, Framing};

/// What a request asks, and whom.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub host: &'a str,
}

/// What the sender of a request offers for this connection alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offers<'a> {
    /// Another protocol.
    pub upgrade: Option<&'a [u8]>,
    /// To wait for 100 before it sends the body.
    pub waits: bool,
    /// To read trailers.
    pub trailers: bool,
}

/// What becomes of the connection after a response, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<'a> {
    /// It stays open, which HTTP/1.1 need not say.
    Open,
    /// It stays open, said to a client of HTTP/1.0 that asked for it.
    KeepAlive,
    Close,
    /// It goes over to this protocol.
    Upgrade(&'a [u8]),
}

/// Writes the head of a request. Host comes first (RFC 9110, 7.2).
pub fn write_request_head(
    out: &mut Vec<u8>,
    line: RequestLine<'_>,
    fields: &Fields<'_>,
    framing: Framing,
    offers: Offers<'_>,
) {
    out.extend_from_slice(line.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(line.path.as_bytes());
    if let Some(query) = line.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_line(out, "Host", line.host.as_bytes());
    fields.write(out);
    write_framing(out, framing);
    if offers.waits {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    match (offers.upgrade, offers.trailers) {
        (Some(protocol), _) => write_upgrade(out, protocol),
        (None, true) => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
        (None, false) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of a response; `reason` may be empty. `would_be` is the length of the body that answers to HEAD and
/// 304 speak of.
pub fn write_response_head(
    out: &mut Vec<u8>,
    (status, reason): (u16, &str),
    fields: &Fields<'_>,
    framing: Framing,
    would_be: Option<u64>,
    ending: Ending<'_>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, status.into());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    fields.write(out);
    write_framing(out, would_be.map_or(framing, Framing::Length));
    match ending {
        Ending::Open => {}
        Ending::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Ending::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Ending::Upgrade(protocol) => write_upgrade(out, protocol),
    }
    out.extend_from_slice(b"\r\n");
}

fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn write_upgrade(out: &mut Vec<u8>, protocol: &[u8]) {
    out.extend_from_slice(b"Connection: Upgrade\r\n");
    write_line(out, "Upgrade", protocol);
}

/// What `write!` would, for a tenth of its instructions: two numbers are in every answer.
fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; MAX_DIGITS];
    let mut first = MAX_DIGITS;
    loop {
        first -= 1;
        digits[first] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[first..]);
        }
    }
}

/// Of the largest number of 64 bits.
const MAX_DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_usual() {
        for number in [0, 7, 10, 200, 1024, 4_294_967_296, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
