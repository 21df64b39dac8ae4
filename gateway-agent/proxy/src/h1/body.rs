//! Bodies: where they end when they are received, and how their end is told when they are sent.

use super::chunks::Chunks;
use super::{Fault, Framing, HeadLimits};

/// Finds a body, and its end, in what is received.
#[derive(Clone, Debug)]
pub struct BodyReader(State);

#[derive(Clone, Debug)]
enum State {
    Length(u64),
    Chunked(Box<Chunks>),
    UntilClose,
}

/// What [`BodyReader::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Never empty.
    Data(&'a [u8]),
    /// All input is taken, and the body goes on.
    More,
    /// What is left of the input belongs to the next message.
    End,
}

impl BodyReader {
    /// `limits` are for trailers.
    pub fn new(framing: Framing, limits: HeadLimits) -> Self {
        Self(match framing {
            Framing::None => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Box::new(Chunks::new(limits))),
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// The same, but a fault if the body has more than `most` bytes: at once if it names its length, else when it has.
    pub fn within(mut self, most: Option<u64>) -> Result<Self, Fault> {
        match (&mut self.0, most) {
            (State::Length(length), Some(most)) if *length > most => return Err(Fault::BodySize),
            (State::Chunked(chunks), Some(most)) => chunks.allow(most),
            _ => {}
        }
        Ok(self)
    }

    /// Takes the next piece of the body from the input.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, Fault> {
        let data = match &mut self.0 {
            State::Length(left) => {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                let (data, rest) = input.split_at(len);
                *input = rest;
                *left -= len as u64;
                data
            }
            State::Chunked(chunks) => chunks.next(input)?.unwrap_or_default(),
            State::UntilClose => std::mem::take(input),
        };
        Ok(match data {
            [] if self.has_ended() => Piece::End,
            [] => Piece::More,
            data => Piece::Data(data),
        })
    }

    /// Whether the body's last byte was taken.
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            State::Length(left) => *left == 0,
            State::Chunked(chunks) => chunks.has_ended(),
            State::UntilClose => false,
        }
    }

    /// Whether the body may end here because the connection did.
    pub fn may_close(&self) -> bool {
        matches!(self.0, State::UntilClose) || self.has_ended()
    }

    /// The lines of the trailer section that may be passed on, line ends included.
    pub fn trailers(&self) -> &[u8] {
        match &self.0 {
            State::Chunked(chunks) => chunks.trailers(),
            _ => &[],
        }
    }
}

/// Writes a body for a receiver that learns its end from its own framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyWriter {
    /// As it is: the head has its length, or the connection ends with it.
    Plain,
    Chunked,
}

impl BodyWriter {
    /// Writes a piece of data, which is not empty.
    pub fn frame(self, data: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.extend_from_slice(data),
            Self::Chunked => {
                write_hex(data.len(), out);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Writes what ends a body; `trailers` are whole lines.
    pub fn finish(self, trailers: &[u8], out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_hex(number: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[(number >> (4 * digit)) & 0xf]));
}
