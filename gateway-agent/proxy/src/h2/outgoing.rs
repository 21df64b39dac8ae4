//! A body that is given to h2.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

/// Waits until h2 has sent what it was given, and has room for more.
pub(super) fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            // Nothing more is taken.
            None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
        }
    }
    Poll::Ready(Ok(()))
}

/// Gives data to h2, which may be empty, and what ends the body.
pub(super) fn give(
    stream: &mut SendStream<Bytes>,
    data: Vec<u8>,
    end: Option<HeaderMap>,
) -> Result<(), h2::Error> {
    let last = end.as_ref().is_some_and(HeaderMap::is_empty);
    if !data.is_empty() || last {
        stream.send_data(data.into(), last)?;
    }
    match end {
        Some(trailers) if !last => stream.send_trailers(trailers),
        Some(_) | None => Ok(()),
    }
}
