//! The head of a request.

use std::mem::MaybeUninit;

use http::Method;

use super::fields::{Kind, check_head, check_line_ends, field_fault, has_bare_cr, place, places, tokens};
use super::framing::Declared;
use super::target::check_host;
use super::{Fault, Fields, Framing, HeadLimits, Target, Version};

/// A request's head, its parts still where they were received.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    pub method: Method,
    pub version: Version,
    pub target: Target<'a>,
    /// Whom the request is for, with the port if the client named one; empty if HTTP/1.0 named none.
    pub host: &'a str,
    /// Without Host, Expect, framing and what belongs to the connection.
    pub fields: Fields<'a>,
    pub framing: Framing,
    pub persistence: Persistence,
    /// The protocol that the client offers to change to.
    pub upgrade: Option<&'a [u8]>,
    /// The client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// The client reads trailers (`TE: trailers`).
    pub takes_trailers: bool,
    /// Bytes of the head.
    pub len: usize,
}

/// What becomes of the connection after a message (RFC 9112, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1's default.
    Keep,
    /// HTTP/1.0's, or asked for.
    Close,
    /// HTTP/1.0 with `keep-alive`, which the answer must repeat.
    KeepAsAsked,
}

impl<'a> RequestHead<'a> {
    /// Reads the head that `bytes` begin with; None: it isn't complete, and nothing is wrong with it so far.
    pub fn parse(bytes: &'a [u8], limits: HeadLimits) -> Result<Option<Self>, Fault> {
        let mut lines = [const { MaybeUninit::uninit() }; HeadLimits::MAX_FIELDS];
        let lines = &mut lines[..limits.fields.min(HeadLimits::MAX_FIELDS)];
        let mut parsed = httparse::Request::new(&mut []);
        let len = match parsed.parse_with_uninit_headers(bytes, lines) {
            Ok(httparse::Status::Complete(len)) if len <= limits.bytes => len,
            Ok(httparse::Status::Complete(_)) => return Err(too_large(bytes)),
            Ok(httparse::Status::Partial) => return check_partial(bytes, limits).map(|()| None),
            Err(error) => return Err(fault(error, bytes)),
        };
        let head = &bytes[..len];
        let method = parsed.method.ok_or(Fault::RequestLine)?;
        check_head(head, place(head, method), parsed.headers)?;
        let method = Method::from_bytes(method.as_bytes());
        let method = method.map_err(|_| Fault::RequestLine)?;
        let (target, named) = Target::parse(&method, parsed.path.unwrap_or_default())?;
        let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let gathered = Gathered::of(head, parsed.headers)?;
        let framing = gathered.declared.of_request(version)?;
        Ok(Some(Self {
            host: gathered.host(version, named)?,
            framing,
            persistence: Persistence::of(version, gathered.options),
            upgrade: gathered.upgrade(version, framing),
            expects_continue: gathered.expects_continue(version, framing)?,
            takes_trailers: gathered.takes_trailers,
            method,
            version,
            target,
            fields: gathered.fields,
            len,
        }))
    }

    /// The head of a request that came in another form, with the checks that a head's parts meet in this one. What
    /// belongs to a connection must not be among the fields.
    pub fn of_parts(
        method: &Method,
        target: &'a str,
        host: &'a str,
        fields: Fields<'a>,
        framing: Framing,
    ) -> Result<Self, Fault> {
        let (target, _) = Target::parse(method, target)?;
        check_host(host)?;
        Ok(Self {
            method: method.clone(),
            version: Version::Http11,
            target,
            host,
            fields,
            framing,
            persistence: Persistence::Keep,
            upgrade: None,
            expects_continue: false,
            takes_trailers: false,
            len: 0,
        })
    }
}

/// The connection's options (RFC 9110, 7.6.1) that mean something here.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, whatever the others are")]
pub(super) struct Options {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Some name is not one of those known.
    pub(super) others: bool,
}

impl Options {
    pub(super) fn take(&mut self, value: &[u8]) {
        for option in tokens(value) {
            match option {
                _ if option.eq_ignore_ascii_case(b"close") => self.close = true,
                _ if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ => self.others = true,
            }
        }
    }
}

impl Persistence {
    pub(super) fn of(version: Version, options: Options) -> Self {
        match version {
            _ if options.close => Self::Close,
            Version::Http11 => Self::Keep,
            Version::Http10 if options.keep_alive => Self::KeepAsAsked,
            Version::Http10 => Self::Close,
        }
    }
}

/// What the field lines say, in one pass over them.
#[derive(Default)]
struct Gathered<'a> {
    fields: Fields<'a>,
    declared: Declared,
    options: Options,
    host: Option<&'a [u8]>,
    upgrade: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    takes_trailers: bool,
}

impl<'a> Gathered<'a> {
    fn of(head: &'a [u8], lines: &[httparse::Header<'a>]) -> Result<Self, Fault> {
        let mut gathered = Self { fields: Fields::with_source(head, lines.len()), ..Self::default() };
        for (line, at) in lines.iter().zip(places(head, lines)) {
            match Kind::of(line.name) {
                Kind::Other => gathered.fields.keep(line.name, line.value, at),
                Kind::Host if gathered.host.replace(line.value).is_some() => return Err(Fault::HostRepeated),
                Kind::Host | Kind::HopByHop => {}
                Kind::ContentLength => gathered.declared.content_length(line.value)?,
                Kind::TransferEncoding => gathered.declared.transfer_encoding(line.value)?,
                Kind::Connection => gathered.options.take(line.value),
                Kind::Upgrade => gathered.upgrade = Some(line.value),
                Kind::Te => gathered.takes_trailers |= tokens(line.value).any(is_trailers),
                Kind::Expect => gathered.expect = Some(line.value),
            }
        }
        if gathered.options.others {
            for line in lines.iter().filter(|line| Kind::of(line.name) == Kind::Connection) {
                remove_named(&mut gathered.fields, line.value);
            }
        }
        Ok(gathered)
    }

    /// The host of the target's absolute form, or that of the Host field, which must be there and valid in any case.
    fn host(&self, version: Version, named: Option<&'a str>) -> Result<&'a str, Fault> {
        let host = match self.host {
            Some(host) => std::str::from_utf8(host).map_err(|_| Fault::Host)?,
            None if version == Version::Http10 => "",
            None => return Err(Fault::HostMissing),
        };
        check_host(host)?;
        Ok(named.unwrap_or(host))
    }

    /// A change to HTTP/2 is not passed on: what it brings would not be read as requests here. Nor is one that comes with
    /// a body, whose end and the new protocol's beginning the endpoint could take for each other.
    fn upgrade(&self, version: Version, framing: Framing) -> Option<&'a [u8]> {
        let offered = self.upgrade.filter(|_| self.options.upgrade && version == Version::Http11)?;
        let is_http2 = tokens(offered).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
        (!is_http2 && matches!(framing, Framing::None | Framing::Length(0))).then_some(offered)
    }

    fn expects_continue(&self, version: Version, framing: Framing) -> Result<bool, Fault> {
        match self.expect {
            Some(expect) if expect.eq_ignore_ascii_case(b"100-continue") => {
                // RFC 9110, 10.1.1: ignored in HTTP/1.0, and meaningless without a body.
                Ok(version == Version::Http11 && !matches!(framing, Framing::None | Framing::Length(0)))
            }
            Some(_) => Err(Fault::Expectation),
            None => Ok(false),
        }
    }
}

fn is_trailers(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"trailers")
}

/// Removes the fields that Connection names. A client could strip with it what others rely on: fields that say who it is
/// and on whose behalf it comes stay.
pub(super) fn remove_named(fields: &mut Fields<'_>, connection: &[u8]) {
    const KEPT: [&str; 5] =
        ["authorization", "cookie", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    let names = tokens(connection).filter_map(|option| std::str::from_utf8(option).ok());
    for name in names.filter(|name| !KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))) {
        fields.remove(name);
    }
}

/// What can be told of a head before it is complete, so that a client need not be waited for in vain.
fn check_partial(bytes: &[u8], limits: HeadLimits) -> Result<(), Fault> {
    check_line_ends(bytes)?;
    if bytes.len() > limits.bytes { Err(too_large(bytes)) } else { Ok(()) }
}

fn too_large(bytes: &[u8]) -> Fault {
    let line = bytes.trim_ascii_start();
    // A request line that takes most of the head is the reason itself.
    let line_len = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    if line_len > bytes.len() / 2 { Fault::RequestLineSize } else { Fault::HeadSize }
}

fn fault(error: httparse::Error, bytes: &[u8]) -> Fault {
    let line = bytes.trim_ascii_start();
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match error {
        httparse::Error::NewLine if check_line_ends(bytes).is_err() => Fault::BareLf,
        httparse::Error::NewLine if has_bare_cr(bytes) => Fault::BareCr,
        httparse::Error::Version if names_version(line) => Fault::Version,
        httparse::Error::Token | httparse::Error::Version | httparse::Error::NewLine => {
            if names_http(line) {
                Fault::RequestLine
            } else {
                Fault::Protocol
            }
        }
        other => field_fault(other, bytes),
    }
}

/// Whether a line could be meant for a request line, although it is none.
fn names_http(line: &[u8]) -> bool {
    line.windows(5).any(|part| part.eq_ignore_ascii_case(b"http/"))
}

/// Whether a request line is right but for its version, which is `HTTP/digit.digit`.
fn names_version(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut parts = line.split(|byte| *byte == b' ').skip(1);
    let target = parts.next().unwrap_or_default();
    let is_version = |part: &[u8]| {
        matches!(part, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
    };
    !target.is_empty() && parts.next().is_some_and(is_version) && parts.next().is_none()
}
