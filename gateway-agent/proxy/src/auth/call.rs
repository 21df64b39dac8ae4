//! One question to a service, and its whole answer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use gateway_agent_tables::http::BackendProtocol;
use smallvec::SmallVec;

use crate::forward::connect;
use crate::h1::{AnswerTo, BodyReader, Fault, HeadLimits, Persistence, Piece, ResponseHead};
use crate::reply::Reason;
use crate::socket::Connect;
use crate::stream::{Fed, Stream};
use crate::upstream::{Endpoints, InFlight, Wire, pick};
use crate::worker::Worker;

/// Bytes of an answer's body: one read. Pages for people to log in at are shorter, or elsewhere and led to by a redirect.
const MOST: usize = 64 << 10;

pub(super) struct Call<'c> {
    pub(super) endpoints: &'c Endpoints,
    pub(super) protocol: BackendProtocol,
    /// A whole request in HTTP/1.1.
    pub(super) request: &'c [u8],
    pub(super) to: AnswerTo,
}

/// A whole answer in HTTP/1.1.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    /// Whole lines.
    pub(super) trailers: Vec<u8>,
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The service has no endpoint, or none that accepts connections and answers.
    Unreachable,
    /// It took too long.
    Late,
    /// What it sent is no answer to the question.
    Malformed,
}

impl CallError {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Unreachable => Reason::AuthUnreachable,
            Self::Late => Reason::AuthLate,
            Self::Malformed => Reason::AuthMalformed,
        }
    }
}

impl Call<'_> {
    /// Endpoints that don't accept a connection, or don't answer on it, are passed over: a question changes nothing. A
    /// connection that others have used may just have been closed, so that another one to the same endpoint comes first.
    pub(super) async fn ask<C: Connect>(
        &self,
        worker: &Rc<Worker<C>>,
        limits: HeadLimits,
    ) -> Result<Answer, CallError> {
        let mut tried: SmallVec<[SocketAddr; 4]> = SmallVec::new();
        let is_http2 = self.protocol == BackendProtocol::Http2;
        let mut fresh = false;
        while tried.len() < worker.server.settings.endpoints_tried {
            let endpoint = pick(self.endpoints, &tried, || worker.random()).map(Arc::clone);
            let endpoint = endpoint.ok_or(CallError::Unreachable)?;
            let _in_flight = InFlight::of(&endpoint);
            let address = endpoint.address;
            let pooled = if fresh || is_http2 { None } else { worker.pool.borrow_mut().take(address) };
            let is_used = pooled.is_some() || (is_http2 && !fresh);
            let connected = match pooled {
                Some(stream) => Ok(stream),
                None => connect(worker, address, self.protocol, None).await,
            };
            let Ok(mut stream) = connected else {
                tried.push(address);
                continue;
            };
            let mut exchange = Exchange::new(self, limits);
            match poll_fn(|cx| exchange.poll(cx, worker, &mut stream)).await {
                Err(CallError::Unreachable) if is_used => fresh = true,
                Err(CallError::Unreachable) => {
                    tried.push(address);
                    fresh = false;
                }
                Err(error) => return Err(error),
                Ok(keeps) => {
                    if keeps {
                        worker.keep(address, stream);
                    }
                    return exchange.answer.ok_or(CallError::Malformed);
                }
            }
        }
        Err(CallError::Unreachable)
    }
}

/// A question on its way, and the answer on its way back: a service may answer before it has read all.
struct Exchange<'c> {
    request: &'c [u8],
    /// Bytes of it.
    sent: usize,
    to: AnswerTo,
    limits: HeadLimits,
    answer: Option<Answer>,
    reader: Option<BodyReader>,
    keeps: bool,
}

impl<'c> Exchange<'c> {
    fn new(call: &Call<'c>, limits: HeadLimits) -> Self {
        let (request, to) = (call.request, call.to);
        Self { request, sent: 0, to, limits, answer: None, reader: None, keeps: false }
    }

    /// Ready when the answer is there; whether the connection may be used again.
    fn poll<C: Connect>(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker<C>,
        stream: &mut Stream<Wire<C::Socket>>,
    ) -> Poll<Result<bool, CallError>> {
        let uploaded = match stream.poll_send_all(cx, self.request, &mut self.sent) {
            Poll::Ready(Ok(())) => true,
            // It may have answered all the same.
            Poll::Ready(Err(_)) | Poll::Pending => false,
        };
        loop {
            let fed = ready!(stream.poll_feed(cx, &worker.buffers, |input, _| self.take(input)));
            match fed {
                Ok(Fed::Some(Ok(false))) => {}
                Ok(Fed::Some(Ok(true))) => {
                    return Poll::Ready(Ok(self.keeps && uploaded && !stream.has_received()));
                }
                Ok(Fed::Some(Err(_))) => return Poll::Ready(Err(CallError::Malformed)),
                Ok(Fed::End) if self.reader.as_ref().is_some_and(BodyReader::may_close) => {
                    return Poll::Ready(Ok(false));
                }
                Ok(Fed::End) | Err(_) if self.answer.is_some() => {
                    return Poll::Ready(Err(CallError::Malformed));
                }
                Ok(Fed::End) | Err(_) => return Poll::Ready(Err(CallError::Unreachable)),
            }
        }
    }

    /// Whether the answer has ended.
    fn take(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        while self.reader.is_none() {
            let received = *input;
            let Some(head) = ResponseHead::parse(received, self.to, self.limits)? else { return Ok(false) };
            *input = &received[head.len..];
            if !head.is_interim() {
                self.keeps = head.persistence != Persistence::Close;
                self.reader = Some(BodyReader::new(head.framing, self.limits));
                let head = received[..head.len].to_vec();
                self.answer = Some(Answer { head, body: Vec::new(), trailers: Vec::new() });
            }
        }
        let (Some(reader), Some(answer)) = (&mut self.reader, &mut self.answer) else { return Ok(false) };
        loop {
            match reader.next(input)? {
                Piece::Data(data) if answer.body.len() + data.len() > MOST => return Err(Fault::BodySize),
                Piece::Data(data) => answer.body.extend_from_slice(data),
                Piece::More => return Ok(false),
                Piece::End => {
                    answer.trailers = reader.trailers().to_vec();
                    return Ok(true);
                }
            }
        }
    }
}
