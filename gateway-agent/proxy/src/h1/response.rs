//! The head of a response.

use std::mem::MaybeUninit;

use http::Method;

use super::fields::{Kind, check_head, check_line_ends, field_fault, has_bare_cr, places};
use super::framing::Declared;
use super::request::{Options, remove_named};
use super::{Fault, Fields, Framing, HeadLimits, Persistence, Version};

/// A response's head, its parts still where they were received.
#[derive(Clone, Debug)]
pub struct ResponseHead<'a> {
    /// 100 to 599.
    pub status: u16,
    pub reason: &'a str,
    /// Without framing and what belongs to the connection.
    pub fields: Fields<'a>,
    pub framing: Framing,
    /// The length that a body would have, in answers to HEAD and in 304.
    pub would_be: Option<u64>,
    pub persistence: Persistence,
    /// The protocol of a 101.
    pub upgrade: Option<&'a [u8]>,
    /// Bytes of the head.
    pub len: usize,
}

/// What of a request decides how its answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerTo {
    pub head: bool,
    /// It offered to change the protocol.
    pub upgrade: bool,
}

impl AnswerTo {
    pub fn new(method: &Method, upgrade: bool) -> Self {
        Self { head: method == Method::HEAD, upgrade }
    }
}

impl<'a> ResponseHead<'a> {
    /// Reads the head that `bytes` begin with; None: it isn't complete, and nothing is wrong with it so far.
    pub fn parse(bytes: &'a [u8], to: AnswerTo, limits: HeadLimits) -> Result<Option<Self>, Fault> {
        let mut lines = [const { MaybeUninit::uninit() }; HeadLimits::MAX_FIELDS];
        let lines = &mut lines[..limits.fields.min(HeadLimits::MAX_FIELDS)];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let len = match config.parse_response_with_uninit_headers(&mut parsed, bytes, lines) {
            Ok(httparse::Status::Complete(len)) if len <= limits.bytes => len,
            Ok(httparse::Status::Complete(_)) => return Err(Fault::HeadSize),
            Ok(httparse::Status::Partial) => return check_partial(bytes, limits).map(|()| None),
            Err(error) => return Err(fault(error, bytes)),
        };
        let head = &bytes[..len];
        // RFC 9112, 2.2 lets requests alone follow empty lines.
        if !head.starts_with(b"HTTP/") {
            return Err(Fault::StatusLine);
        }
        check_head(head, 0, parsed.headers)?;
        let status = parsed.code.filter(|code| (100..=599).contains(code)).ok_or(Fault::StatusLine)?;
        let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
        Self::gather(head, status, parsed.reason.unwrap_or_default(), version, parsed.headers, to).map(Some)
    }

    fn gather(
        head: &'a [u8],
        status: u16,
        reason: &'a str,
        version: Version,
        lines: &[httparse::Header<'a>],
        to: AnswerTo,
    ) -> Result<Self, Fault> {
        let (mut declared, mut options, mut upgrade) = (Declared::default(), Options::default(), None);
        let mut fields = Fields::with_source(head, lines.len());
        for (line, at) in lines.iter().zip(places(head, lines)) {
            match Kind::of(line.name) {
                Kind::ContentLength => declared.content_length(line.value)?,
                Kind::TransferEncoding => declared.transfer_encoding(line.value)?,
                Kind::Connection => options.take(line.value),
                Kind::Upgrade => upgrade = Some(line.value),
                Kind::HopByHop | Kind::Te => {}
                Kind::Other | Kind::Host | Kind::Expect => fields.keep(line.name, line.value, at),
            }
        }
        if options.others {
            for line in lines.iter().filter(|line| Kind::of(line.name) == Kind::Connection) {
                remove_named(&mut fields, line.value);
            }
        }
        let switches = status == 101;
        if switches && !(to.upgrade && options.upgrade && upgrade.is_some()) {
            return Err(Fault::Upgrade);
        }
        let of_body = declared.of_response(version)?;
        // RFC 9112, 6.3.
        let bodiless = to.head || status < 200 || matches!(status, 204 | 304);
        Ok(Self {
            status,
            reason,
            fields,
            framing: if bodiless { Framing::None } else { of_body },
            would_be: declared
                .length
                .filter(|_| (to.head || status == 304) && status >= 200 && status != 204),
            persistence: Persistence::of(version, options),
            upgrade: upgrade.filter(|_| switches),
            len: head.len(),
        })
    }

    /// As [`is_interim`] has it.
    pub fn is_interim(&self) -> bool {
        is_interim(self.status)
    }
}

/// Whether another head follows for the same request. 101 is the last that HTTP says on a connection.
pub(crate) fn is_interim(status: u16) -> bool {
    status < 200 && status != 101
}

fn check_partial(bytes: &[u8], limits: HeadLimits) -> Result<(), Fault> {
    check_line_ends(bytes)?;
    if bytes.len() > limits.bytes { Err(Fault::HeadSize) } else { Ok(()) }
}

fn fault(error: httparse::Error, bytes: &[u8]) -> Fault {
    match error {
        httparse::Error::NewLine if check_line_ends(bytes).is_err() => Fault::BareLf,
        httparse::Error::NewLine if has_bare_cr(bytes) => Fault::BareCr,
        httparse::Error::Version
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::NewLine => Fault::StatusLine,
        other => field_fault(other, bytes),
    }
}
