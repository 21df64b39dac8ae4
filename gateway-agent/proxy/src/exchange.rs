//! One try of one request: it is sent to an endpoint and the answer to the client, both at the same time, and neither
//! is read faster than the other side takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::client::{AnswerHead, Client};
use crate::date;
use crate::deadline::Deadline;
use crate::filter::{Attempts, change_response};
use crate::h1::{BodyReader, BodyWriter, Ending, Fault, Framing, Persistence, Piece, ResponseHead, Version};
use crate::h2::Reset;
use crate::mirror::Mirrors;
use crate::plan::Forward;
use crate::session;
use crate::socket::Connect;
use crate::stream::{Fed, Stream};
use crate::telemetry::GrpcStatus;
use crate::upstream::{Endpoint, Wire};
use crate::worker::Worker;

/// Interim responses to one request: a 100, and a 103 or 102 now and then; curl takes no more either (since 8.6).
const MOST_INTERIMS: u8 = 32;

/// A request on its way to an endpoint, and the answer on its way back.
pub(crate) struct Exchange<'x, 'r, A, C: Connect> {
    pub(crate) worker: &'x Worker<C>,
    pub(crate) client: &'x mut A,
    pub(crate) upstream: &'x mut Stream<Wire<C::Socket>>,
    pub(crate) forward: &'x mut Forward,
    pub(crate) mirrors: &'x mut Mirrors,
    pub(crate) deadline: &'x Deadline,
    pub(crate) attempts: &'x mut Attempts<'r>,
    pub(crate) endpoint: &'x Endpoint,
    /// Bytes of `forward.request` that are sent.
    pub(crate) sent: usize,
    pub(crate) upload: Upload,
    pub(crate) answer: Answer,
}

/// How far the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// What the client sends is passed on.
    Open,
    Done,
    /// The endpoint takes no more. It may still answer.
    Broken,
}

/// How far the answer is.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing of it is with the client, but perhaps interim responses.
    Awaited,
    Body(BodyReader, BodyWriter, Finished),
    Ended(Finished),
}

/// What an answer leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The endpoint's connection may be used again, as far as its head said.
    pub(crate) keeps_upstream: bool,
    /// The client's connection stays open.
    pub(crate) keeps_client: bool,
    /// Both speak another protocol from now on.
    pub(crate) upgraded: bool,
}

/// Why there is no whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client closed, or takes nothing more.
    ClientGone,
    /// The client's body is malformed.
    ClientFault(Fault),
    /// The client stopped sending its body.
    ClientLate,
    /// The endpoint closed.
    Closed,
    /// What the endpoint sent is malformed.
    Malformed(Fault),
    /// The endpoint was silent for too long.
    Late,
    /// The answer's code is one that the rule retries, after this pause.
    Retried(Duration),
}

impl Broken {
    /// The status of gRPC for a call whose answer has begun. `reset` is what the endpoint said of it.
    pub(crate) fn grpc_status(self, reset: Option<Reset>) -> u8 {
        match self {
            // CANCELLED
            Self::ClientGone => 1,
            // INTERNAL
            Self::ClientFault(_) | Self::Malformed(_) => 13,
            // DEADLINE_EXCEEDED
            Self::ClientLate | Self::Late => 4,
            // UNAVAILABLE
            Self::Closed | Self::Retried(_) => reset.map_or(14, Reset::grpc_status),
        }
    }
}

impl<A: Client, C: Connect> Exchange<'_, '_, A, C> {
    /// Runs until the answer is with the client. Within `limit`, if there is one.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        limit: Option<Pin<&mut Sleep>>,
    ) -> Poll<Result<Finished, Broken>> {
        if self.poll_upload(cx)?.is_ready() && self.upload == Upload::Open {
            self.upload = Upload::Done;
        }
        if self.client.has_left(cx) {
            return Poll::Ready(Err(Broken::ClientGone));
        }
        if let Poll::Ready(result) = self.poll_answer(cx) {
            return Poll::Ready(result);
        }
        if limit.is_some_and(|limit| limit.poll(cx).is_ready()) {
            return Poll::Ready(Err(Broken::Late));
        }
        match self.deadline.poll(cx) {
            Poll::Ready(()) if self.upload == Upload::Open => Poll::Ready(Err(Broken::ClientLate)),
            Poll::Ready(()) => Poll::Ready(Err(Broken::Late)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether the client has anything of the final answer, so that it can't be told otherwise.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self.answer, Answer::Awaited)
    }

    /// Sends the request, and what comes of its body.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.upload != Upload::Open {
            return Poll::Ready(Ok(()));
        }
        loop {
            if ready!(self.poll_send(cx)).is_err() {
                self.upload = Upload::Broken;
                return Poll::Ready(Ok(()));
            }
            if self.forward.body.has_ended() {
                return Poll::Ready(Ok(()));
            }
            let Self { worker, client, upstream, forward, mirrors, .. } = self;
            let fed = ready!(client.poll_body(cx, &worker.buffers, |input, cx| {
                pass_on_body(input, cx, forward, upstream, mirrors, worker)
            }));
            match fed {
                Ok(Fed::Some(passed)) => passed?,
                Ok(Fed::End) | Err(_) => return Poll::Ready(Err(Broken::ClientGone)),
            }
            self.deadline.set(self.forward.place.limits().stall_timeout);
        }
    }

    /// Sends what there is of the request.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.upstream.poll_send_all(cx, &self.forward.request, &mut self.sent))?;
        let flushed = self.upstream.poll_flush(cx);
        if flushed.is_pending() {
            self.upstream.hold(&self.worker.buffers);
        }
        flushed
    }

    /// Reads the answer and sends it to the client.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Finished, Broken>> {
        loop {
            match self.client.poll_sent(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::ClientGone)),
                Poll::Pending => {
                    self.client.keep(&self.worker.buffers);
                    self.upstream.socket.stick(cx);
                    return Poll::Pending;
                }
            }
            if let Answer::Ended(finished) = self.answer {
                return Poll::Ready(Ok(finished));
            }
            let Self { worker, client, upstream, forward, attempts, endpoint, answer, .. } = self;
            let uploaded = forward.body.has_ended();
            let mut to =
                Relay { worker, client: &mut **client, forward, attempts, endpoint, answer, uploaded };
            if matches!(to.answer, Answer::Awaited)
                && let Some(answered) = ready!(upstream.socket.poll_head(cx))
            {
                let head = answered.head(to.forward.place.heads()).map_err(Broken::Malformed)?;
                to.take_head(head)?;
                self.deadline.set(self.forward.place.limits().stall_timeout);
                continue;
            }
            match ready!(upstream.poll_feed(cx, &worker.buffers, |input, cx| to.take(input, cx))) {
                Ok(Fed::Some(taken)) => taken?,
                Ok(Fed::End) => to.end()?,
                Err(_) => return Poll::Ready(Err(Broken::Closed)),
            }
            self.deadline.set(self.forward.place.limits().stall_timeout);
        }
    }
}

/// Passes what came of the client's body on to the endpoint, and to those that get a copy. As long as there is room behind
/// the head it stays there, and all can be sent again.
fn pass_on_body<C: Connect>(
    input: &mut &[u8],
    cx: &mut Context<'_>,
    forward: &mut Forward,
    upstream: &mut Stream<Wire<C::Socket>>,
    mirrors: &mut Mirrors,
    worker: &Worker<C>,
) -> Result<(), Broken> {
    forward.streamed |= input.len() > forward.request.capacity() - forward.request.len();
    loop {
        match forward.body.next(input).map_err(Broken::ClientFault)? {
            Piece::Data(data) if forward.streamed && forward.writer == BodyWriter::Plain => {
                mirrors.send(data);
                // A failure shows again with the next flush.
                let _ = upstream.send(cx, &worker.buffers, data);
            }
            Piece::Data(data) => {
                let out = way_out(&mut forward.request, forward.streamed, upstream, worker);
                let before = out.len();
                forward.writer.frame(data, out);
                mirrors.send(&out[before..]);
            }
            Piece::More => return Ok(()),
            Piece::End => {
                let out = way_out(&mut forward.request, forward.streamed, upstream, worker);
                let before = out.len();
                forward.writer.finish(forward.body.trailers(), out);
                mirrors.finish(&out[before..]);
                return Ok(());
            }
        }
    }
}

/// Where to write what is sent next of a request.
fn way_out<'o, C: Connect>(
    request: &'o mut Vec<u8>,
    streamed: bool,
    upstream: &'o mut Stream<Wire<C::Socket>>,
    worker: &Worker<C>,
) -> &'o mut Vec<u8> {
    if streamed { upstream.waiting(&worker.buffers) } else { request }
}

/// What takes the answer's bytes.
struct Relay<'x, 'r, A, C: Connect> {
    worker: &'x Worker<C>,
    client: &'x mut A,
    forward: &'x mut Forward,
    attempts: &'x mut Attempts<'r>,
    endpoint: &'x Endpoint,
    answer: &'x mut Answer,
    /// The client has sent its whole request.
    uploaded: bool,
}

impl<A: Client, C: Connect> Relay<'_, '_, A, C> {
    fn take(&mut self, input: &mut &[u8], cx: &mut Context<'_>) -> Result<(), Broken> {
        loop {
            match self.answer {
                Answer::Awaited => {
                    let received = *input;
                    let limits = self.forward.place.heads();
                    let head =
                        ResponseHead::parse(received, self.forward.to, limits).map_err(Broken::Malformed)?;
                    let Some(head) = head else { return Ok(()) };
                    *input = &received[head.len..];
                    self.take_head(head)?;
                }
                Answer::Body(reader, writer, finished) => {
                    match reader.next(input).map_err(Broken::Malformed)? {
                        Piece::Data(data) => {
                            let sent = self.client.send_body(cx, &self.worker.buffers, data, *writer);
                            sent.map_err(|_| Broken::ClientGone)?;
                        }
                        Piece::More => return Ok(()),
                        Piece::End => {
                            if self.forward.is_grpc {
                                self.forward.record.grpc(GrpcStatus::in_trailers(reader.trailers()));
                            }
                            self.client.end(&self.worker.buffers, reader.trailers(), *writer);
                            *self.answer = Answer::Ended(*finished);
                        }
                    }
                }
                Answer::Ended(_) => return Ok(()),
            }
        }
    }

    /// The endpoint sends no more.
    fn end(&mut self) -> Result<(), Broken> {
        match self.answer {
            Answer::Body(reader, writer, finished) if reader.may_close() => {
                self.client.end(&self.worker.buffers, &[], *writer);
                *self.answer = Answer::Ended(Finished { keeps_upstream: false, ..*finished });
                Ok(())
            }
            _ => Err(Broken::Closed),
        }
    }

    fn take_head(&mut self, head: ResponseHead<'_>) -> Result<(), Broken> {
        if head.is_interim() {
            self.forward.interims += 1;
            if self.forward.interims > MOST_INTERIMS {
                return Err(Broken::Malformed(Fault::Interims));
            }
            self.pass_on_interim(&head);
            return Ok(());
        }
        if self.forward.is_untouched()
            && let Some(pause) = self.attempts.after_code(head.status, self.worker.random())
        {
            return Err(Broken::Retried(pause));
        }
        self.forward.record.answer(head.status);
        if self.forward.is_grpc {
            self.forward.record.grpc(GrpcStatus::in_head(&head.fields));
        }
        let (framing, writer) = self.framing(&head);
        let until_close = framing == Framing::UntilClose;
        let may_stay = self.uploaded && !until_close && !self.worker.is_draining();
        let ending = match head.upgrade {
            Some(protocol) => Ending::Upgrade(protocol),
            None => self.forward.client.ending(may_stay),
        };
        let keeps_upstream = head.persistence != Persistence::Close && head.framing != Framing::UntilClose;
        let finished = Finished {
            keeps_upstream,
            keeps_client: matches!(ending, Ending::Open | Ending::KeepAlive),
            upgraded: head.upgrade.is_some(),
        };
        let date = head.fields.first("Date").is_none().then(date::now);
        let mut fields = head.fields;
        if let Some(date) = &date {
            fields.push("Date", date);
        }
        change_response(&mut fields, &self.forward.rule, self.forward.backend(), self.forward.cors.as_ref());
        self.forward.granted.iter().for_each(|edits| edits.apply(&mut fields));
        let persistence = self.forward.rule.session.as_ref();
        let token =
            persistence.and_then(|it| self.forward.session.as_ref()?.value(it, self.endpoint.address));
        if let (Some(persistence), Some(token)) = (persistence, &token) {
            session::give(&mut fields, persistence, token);
        }
        let line = (head.status, head.reason);
        let to_client = AnswerHead { line, fields: &fields, framing, would_be: head.would_be, ending };
        self.client.begin(&self.worker.buffers, to_client);
        *self.answer = match head.framing {
            Framing::None => Answer::Ended(finished),
            of_endpoint => {
                Answer::Body(BodyReader::new(of_endpoint, self.forward.place.heads()), writer, finished)
            }
        };
        Ok(())
    }

    /// 100 and 103, for instance; HTTP/1.0 has none.
    fn pass_on_interim(&mut self, head: &ResponseHead<'_>) {
        if self.forward.client.version == Version::Http11 {
            let line = (head.status, head.reason);
            let (fields, framing, ending) = (&head.fields, Framing::None, Ending::Open);
            self.client
                .begin(&self.worker.buffers, AnswerHead { line, fields, framing, would_be: None, ending });
        }
    }

    /// How the client learns where the answer ends.
    fn framing(&self, head: &ResponseHead<'_>) -> (Framing, BodyWriter) {
        match (head.framing, self.forward.client.version) {
            (Framing::None | Framing::Length(_), _) => (head.framing, BodyWriter::Plain),
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => {
                (Framing::Chunked, BodyWriter::Chunked)
            }
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
                (Framing::UntilClose, BodyWriter::Plain)
            }
        }
    }
}
