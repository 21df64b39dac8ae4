//! A body that is given to h2, out of HTTP/1.1.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

use super::message;
use crate::h1::{BodyReader, Fault, Piece};

/// What takes it, and what reads it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) stream: SendStream<Bytes>,
    pub(super) reader: BodyReader,
}

/// What h2 was given.
#[derive(Debug)]
pub(super) struct Given {
    /// Bytes of data.
    pub(super) len: usize,
    /// With the body's end.
    pub(super) ends: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OutgoingError {
    #[error(transparent)]
    Malformed(#[from] Fault),
    #[error(transparent)]
    Refused(#[from] h2::Error),
}

impl Outgoing {
    /// Waits until h2 has sent what it was given, and has room for more.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                // Nothing more is taken.
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives h2 what came of the body, and its end.
    pub(super) fn give(&mut self, mut input: &[u8]) -> Result<Given, OutgoingError> {
        let Self { stream, reader } = self;
        let mut data = Vec::with_capacity(input.len());
        while let Piece::Data(piece) = reader.next(&mut input)? {
            data.extend_from_slice(piece);
        }
        let (len, ends) = (data.len(), reader.has_ended());
        let trailers = if ends { message::trailers(reader.trailers()) } else { HeaderMap::new() };
        let last = ends && trailers.is_empty();
        if !data.is_empty() || last {
            stream.send_data(data.into(), last)?;
        }
        if !trailers.is_empty() {
            stream.send_trailers(trailers)?;
        }
        Ok(Given { len, ends })
    }
}
