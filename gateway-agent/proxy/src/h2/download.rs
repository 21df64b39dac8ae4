//! An answer on its way out of the pipe, to a client that speaks HTTP/2.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};

use super::flood::Credit;
use super::message;
use super::outgoing::{Outgoing, OutgoingError};
use super::pipe::Pipe;
use crate::h1::{AnswerTo, BodyReader, Framing, HeadLimits, ResponseHead};
use crate::socket::Connect;
use crate::stream::{Fed, Stream};
use crate::worker::Worker;

/// The stream's side of the pipe.
pub(super) struct Download<C: Connect> {
    worker: Rc<Worker<C>>,
    pipe: Stream<Pipe>,
    to: AnswerTo,
    credit: Rc<Credit>,
    state: State,
}

/// How far the answer is.
enum State {
    Head(SendResponse<Bytes>),
    Body(Outgoing),
    /// h2 has all of it.
    Sent,
}

/// The client takes nothing more of this stream.
#[derive(Debug, thiserror::Error)]
#[error("the stream was given up")]
pub(super) struct GivenUp;

impl<C: Connect> Download<C> {
    pub(super) fn new(
        worker: Rc<Worker<C>>,
        pipe: Pipe,
        to: AnswerTo,
        credit: Rc<Credit>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        Self { worker, pipe: Stream::new(pipe), to, credit, state: State::Head(respond) }
    }

    /// Ready when h2 has the whole answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), GivenUp>> {
        loop {
            match &mut self.state {
                State::Head(respond) => {
                    if respond.poll_reset(cx).is_ready() {
                        return Poll::Ready(Err(GivenUp));
                    }
                    ready!(self.poll_head(cx))?;
                }
                State::Body(body) => {
                    if body.stream.poll_reset(cx).is_ready() {
                        return Poll::Ready(Err(GivenUp));
                    }
                    ready!(self.poll_body(cx))?;
                }
                State::Sent => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), GivenUp>> {
        let Self { worker, pipe, to, credit, state } = self;
        let State::Head(respond) = state else { return Poll::Ready(Ok(())) };
        // The exchange has checked it.
        let limits = HeadLimits::CARRIED;
        let fed = ready!(pipe.poll_feed(cx, &worker.buffers, |input, _| {
            loop {
                let received = *input;
                let Ok(Some(head)) = ResponseHead::parse(received, *to, limits) else { return None };
                *input = &received[head.len..];
                if !head.is_interim() {
                    return Some((converted(&head), BodyReader::new(head.framing, limits)));
                }
                // An error: the stream was given up, which shows again.
                let _ = respond.send_informational(converted(&head));
            }
        }));
        let (response, reader) = match fed {
            Ok(Fed::Some(Some(begun))) => begun,
            Ok(Fed::Some(None)) => return Poll::Ready(Ok(())),
            Ok(Fed::End) | Err(_) => {
                let mut refused = Response::new(());
                *refused.status_mut() = StatusCode::BAD_GATEWAY;
                respond.send_response(refused, true).map_err(|_| GivenUp)?;
                *state = State::Sent;
                return Poll::Ready(Ok(()));
            }
        };
        credit.earn_answer();
        let ends = reader.has_ended();
        let stream = respond.send_response(response, ends).map_err(|_| GivenUp)?;
        *state = if ends { State::Sent } else { State::Body(Outgoing { stream, reader }) };
        // A small answer is there with its head.
        let received = pipe.take_received();
        if !received.is_empty() {
            self.send(&received)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what comes of the body, as far as the client has room for it.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), GivenUp>> {
        let Self { worker, pipe, state, .. } = self;
        let State::Body(body) = state else { return Poll::Ready(Ok(())) };
        ready!(body.poll_room(cx)).map_err(|_| GivenUp)?;
        let read = ready!(pipe.poll_feed(cx, &worker.buffers, |input, _| {
            let bytes = input.to_vec();
            *input = &[];
            bytes
        }));
        match read {
            Ok(Fed::Some(bytes)) => Poll::Ready(self.send(&bytes)),
            // It breaks off.
            Ok(Fed::End) | Err(_) => {
                body.stream.send_reset(Reason::INTERNAL_ERROR);
                Poll::Ready(Err(GivenUp))
            }
        }
    }

    /// Gives h2 what came of the body, and its end.
    fn send(&mut self, input: &[u8]) -> Result<(), GivenUp> {
        let State::Body(body) = &mut self.state else { return Ok(()) };
        let given = match body.give(input) {
            Ok(given) => given,
            Err(OutgoingError::Malformed(_)) => {
                body.stream.send_reset(Reason::INTERNAL_ERROR);
                return Err(GivenUp);
            }
            Err(OutgoingError::Refused(_)) => return Err(GivenUp),
        };
        self.credit.earn_data(given.len);
        if given.ends {
            self.state = State::Sent;
        }
        Ok(())
    }
}

fn converted(head: &ResponseHead<'_>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = message::headers(&head.fields);
    let length = match head.framing {
        // HTTP/2 tells an empty body by the end of its stream.
        Framing::Length(length) if length > 0 => Some(length),
        _ => head.would_be,
    };
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}
