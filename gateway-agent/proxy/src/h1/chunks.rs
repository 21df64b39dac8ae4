//! The chunked transfer coding (RFC 9112, 7.1), read byte by byte where it isn't data.

use smallvec::{SmallVec, smallvec};

use super::fields::check_line_ends;
use super::{Fault, HeadLimits};

/// Where a reader of chunks stands.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    state: State,
    limits: HeadLimits,
    /// Bytes of data that may still come.
    allowed: u64,
    /// The lines of the trailer section, line ends included.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    Size,
    /// Within a size.
    Digits {
        size: u64,
        digits: u8,
    },
    /// Within an extension, which means nothing to anybody here.
    Extension {
        size: u64,
        len: u16,
    },
    /// Behind a size line's CR.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    End,
}

/// Digits of a size that fits 64 bits.
const MAX_DIGITS: u8 = 16;

/// Bytes of one chunk's extension. Signatures of object stores' clients have about 85.
const MAX_EXTENSION: u16 = 1024;

impl Chunks {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self { state: State::Size, limits, allowed: u64::MAX, trailers: Vec::new() }
    }

    /// Takes what comes next from `input`. Some: data, never empty. None: all of `input` is taken, or the body has ended.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
        loop {
            if let State::Data { left } = self.state {
                let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let (data, rest) = input.split_at(len);
                *input = rest;
                let left = left - len as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                return Ok((!data.is_empty()).then_some(data));
            }
            if self.state == State::End {
                return Ok(None);
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            self.state = self.after(*byte)?;
            *input = rest;
        }
    }

    pub(super) fn allow(&mut self, bytes: u64) {
        self.allowed = self.allowed.min(bytes);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == State::End
    }

    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn after(&mut self, byte: u8) -> Result<State, Fault> {
        Ok(match (self.state, byte) {
            (State::Size, _) => State::Digits { size: hex(byte)?, digits: 1 },
            (State::Digits { size, .. } | State::Extension { size, .. }, b'\r') => State::SizeEnd { size },
            (State::Digits { size, .. }, b';') => State::Extension { size, len: 0 },
            (State::Digits { digits: MAX_DIGITS, .. }, _) => return Err(Fault::ChunkSize),
            (State::Digits { size, digits }, _) => {
                State::Digits { size: size << 4 | hex(byte)?, digits: digits + 1 }
            }
            (State::Extension { size, len }, b'\t' | b' '..=b'~' | 0x80..) if len < MAX_EXTENSION => {
                State::Extension { size, len: len + 1 }
            }
            (State::Extension { .. }, b'\n') => return Err(Fault::BareLf),
            (State::Extension { .. }, _) => return Err(Fault::ChunkExtension),
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailers,
            (State::SizeEnd { size }, b'\n') => {
                self.allowed = self.allowed.checked_sub(size).ok_or(Fault::BodySize)?;
                State::Data { left: size }
            }
            (State::SizeEnd { .. }, _) => return Err(Fault::BareCr),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::DataCr | State::DataLf, _) => return Err(Fault::ChunkEnd),
            (State::Trailers, _) => self.take_trailer(byte)?,
            (State::Data { .. } | State::End, _) => unreachable!("both are handled before"),
        })
    }

    fn take_trailer(&mut self, byte: u8) -> Result<State, Fault> {
        if self.trailers.len() == self.limits.bytes {
            return Err(Fault::Trailers);
        }
        self.trailers.push(byte);
        if byte != b'\n' {
            return Ok(State::Trailers);
        }
        check_line_ends(&self.trailers[self.trailers.len().saturating_sub(2)..])?;
        let ends = self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n");
        if !ends {
            return Ok(State::Trailers);
        }
        if let Some(kept) = permitted(&self.trailers, self.limits)? {
            self.trailers = kept;
        }
        self.trailers.truncate(self.trailers.len() - 2);
        Ok(State::End)
    }
}

/// What is left of trailers when fields are dropped that may not come after a body (RFC 9110, 6.5.1); None: all of it.
fn permitted(trailers: &[u8], limits: HeadLimits) -> Result<Option<Vec<u8>>, Fault> {
    // A line each: an array for as many as there may be would cost more than all the rest.
    let lines = trailers.split_inclusive(|byte| *byte == b'\n').count();
    let lines = lines.min(limits.fields).min(HeadLimits::MAX_FIELDS);
    let mut lines: SmallVec<[_; 8]> = smallvec![httparse::EMPTY_HEADER; lines];
    let parsed = httparse::parse_headers(trailers, &mut lines).map_err(|_| Fault::Trailers)?;
    let httparse::Status::Complete((_, lines)) = parsed else { return Err(Fault::Trailers) };
    if lines.iter().all(|line| may_trail(line.name)) {
        return Ok(None);
    }
    let mut kept = Vec::new();
    for line in lines.iter().filter(|line| may_trail(line.name)) {
        super::fields::write_line(&mut kept, line.name, line.value);
    }
    kept.extend_from_slice(b"\r\n");
    Ok(Some(kept))
}

/// Whether a field may be a trailer: not if it frames, routes, authenticates or changes what the body means
/// (RFC 9110, 6.5.1), nor if this proxy or the endpoint trusts it as a header.
fn may_trail(name: &str) -> bool {
    const NEVER: [&str; 20] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authorization",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    ];
    let is_forwarded = name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("x-forwarded-"));
    !is_forwarded && !NEVER.iter().any(|never| never.eq_ignore_ascii_case(name))
}

fn hex(byte: u8) -> Result<u64, Fault> {
    char::from(byte).to_digit(16).map(u64::from).ok_or(Fault::ChunkSize)
}
