//! An answer on its way to a client that speaks HTTP/2.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode};

use super::flood::Credit;
use super::{message, outgoing};
use crate::client::AnswerHead;
use crate::h1::Framing;
use crate::held::{Held, Ledger};

pub(super) struct Download {
    state: State,
    credit: Rc<Credit>,
    /// Bytes of the answer, with its heads as HTTP/1.1 has them.
    sent: u64,
    /// Data that h2 has not got.
    waiting: Vec<u8>,
    /// Counts it, as far as it is much.
    held: Option<Held>,
    /// What follows the data, if nothing more does.
    end: Option<HeaderMap>,
}

/// How far the answer is.
enum State {
    Head(SendResponse<Bytes>),
    Body(SendStream<Bytes>),
    /// h2 has all of it.
    Sent,
    /// The client takes nothing more of this stream.
    GivenUp,
}

impl Download {
    pub(super) fn new(respond: SendResponse<Bytes>, credit: Rc<Credit>) -> Self {
        Self { state: State::Head(respond), credit, sent: 0, waiting: Vec::new(), held: None, end: None }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Head(respond) => respond.poll_reset(cx).map(drop),
            State::Body(stream) => stream.poll_reset(cx).map(drop),
            State::Sent => Poll::Pending,
            State::GivenUp => Poll::Ready(()),
        }
    }

    pub(super) fn begin(&mut self, head: AnswerHead<'_>) {
        let State::Head(respond) = &mut self.state else { return };
        let response = converted(&head);
        self.sent += message::answer_bytes(response.headers());
        if head.is_interim() {
            // An error: the stream was given up, which shows again.
            let _ = respond.send_informational(response);
            return;
        }
        self.credit.earn_answer();
        let ends = matches!(head.framing, Framing::None | Framing::Length(0));
        self.state = match respond.send_response(response, ends) {
            Ok(_) if ends => State::Sent,
            Ok(stream) => State::Body(stream),
            Err(_) => State::GivenUp,
        };
    }

    pub(super) fn send(&mut self, data: &[u8]) {
        self.sent += data.len() as u64;
        self.waiting.extend_from_slice(data);
    }

    /// `trailers` are whole lines.
    pub(super) fn end(&mut self, trailers: &[u8]) {
        self.sent += trailers.len() as u64;
        self.end = Some(message::trailers(trailers));
    }

    /// Gives h2 what waits, as far as the client has room for it.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = match &mut self.state {
            State::Head(_) | State::Sent => return Poll::Ready(Ok(())),
            State::GivenUp => Err(Reason::CANCEL.into()),
            State::Body(_) if self.waiting.is_empty() && self.end.is_none() => return Poll::Ready(Ok(())),
            State::Body(stream) => {
                let room =
                    if self.waiting.is_empty() { Ok(()) } else { ready!(outgoing::poll_room(stream, cx)) };
                self.held = None;
                let data = std::mem::take(&mut self.waiting);
                self.credit.earn_data(data.len());
                room.and_then(|()| outgoing::give(stream, data, self.end.as_mut().map(std::mem::take)))
            }
        };
        match (&sent, &self.end) {
            (Err(_), _) => self.state = State::GivenUp,
            (Ok(()), Some(_)) => self.state = State::Sent,
            (Ok(()), None) => {}
        }
        Poll::Ready(sent.map_err(io::Error::other))
    }

    pub(super) fn hold(&mut self, ledger: &Ledger) {
        ledger.hold_more(&mut self.held, self.waiting.capacity());
    }

    /// Nothing more follows: the client learns of it if that is not all.
    pub(super) fn close(self) {
        match self.state {
            State::Head(mut respond) => respond.send_reset(Reason::INTERNAL_ERROR),
            State::Body(mut stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            State::Sent | State::GivenUp => {}
        }
    }
}

fn converted(head: &AnswerHead<'_>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.line.0).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = message::headers(head.fields);
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
