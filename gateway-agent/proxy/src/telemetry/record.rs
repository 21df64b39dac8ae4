//! What is remembered of one request until it ends.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::figures::label;
use super::grpc::GrpcStatus;
use super::line::{Ended, Line};
use super::series::{Class, Series};
use crate::filter::TraceParent;
use crate::reply::{Reason, Reply};

/// A request from its head to the end of its answer. It must be [finished](Record::finish); one that is dropped before,
/// since its stream was reset, counts as one whose client has gone.
#[derive(Debug)]
#[must_use = "a request that is not finished has no traffic"]
pub(crate) struct Record {
    series: Arc<Series>,
    began: Instant,
    /// Of the answer; 0: there is none.
    code: u16,
    first_byte: Duration,
    retries: u32,
    /// Of a call of gRPC that has ended.
    grpc: Option<GrpcStatus>,
    /// Why it did not end well.
    failure: Option<Failure>,
    is_counted: bool,
    /// None: it is not logged.
    line: Option<Box<Line>>,
}

/// Why a request did not end well.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// The proxy answered for the endpoint, for this reason.
    Answered(Reason),
    /// The client left.
    ClientGone,
    /// The answer broke off.
    Aborted,
}

/// Bytes of a client's connection, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// Received, and made something of.
    pub(crate) received: u64,
    /// Sent, or about to be.
    pub(crate) sent: u64,
}

/// Such a connection is no longer HTTP, and takes as long as its users like.
const SWITCHING_PROTOCOLS: u16 = 101;

impl Record {
    pub(super) fn begin(series: Arc<Series>) -> Self {
        series.listener.active.add(1);
        Self {
            series,
            began: Instant::now(),
            code: 0,
            first_byte: Duration::ZERO,
            retries: 0,
            grpc: None,
            is_counted: false,
            failure: None,
            line: None,
        }
    }

    /// The head of the final answer is on its way to the client.
    pub(crate) fn answer(&mut self, code: u16) {
        self.code = code;
        self.first_byte = self.began.elapsed();
    }

    /// The answer says, or not, what came of the call.
    pub(crate) fn grpc(&mut self, status: Option<GrpcStatus>) {
        self.grpc = status.or(self.grpc);
    }

    /// The proxy answers itself.
    pub(crate) fn reply(&mut self, reply: &Reply) {
        self.answer(reply.status().as_u16());
        self.grpc(reply.grpc_status());
        if !matches!(reply.reason, Reason::Redirect | Reason::Preflight) {
            self.fail(Failure::Answered(reply.reason));
        }
    }

    /// The request is part of this trace.
    pub(crate) fn trace(&mut self, parent: &TraceParent) {
        if let Some(line) = &mut self.line {
            line.trace(parent.trace_id());
        }
    }

    /// The request is given to this endpoint.
    pub(crate) fn endpoint(&mut self, endpoint: SocketAddr) {
        if let Some(line) = &mut self.line {
            line.endpoint(endpoint);
        }
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    pub(super) fn log(&mut self, line: Line) {
        self.line = Some(Box::new(line));
    }

    /// The request is sent once more.
    pub(crate) fn retry(&mut self) {
        self.retries += 1;
    }

    /// Nothing more of the request or its answer follows.
    pub(crate) fn finish(mut self, traffic: Traffic) {
        self.count(traffic);
    }

    fn count(&mut self, traffic: Traffic) {
        self.is_counted = true;
        let series = &self.series;
        series.codes[Class::of(self.code) as usize].add(1);
        series.request_bytes.add(traffic.received);
        series.response_bytes.add(traffic.sent);
        if let Some(calls) = &series.calls {
            calls.add(self.grpc);
        }
        if self.retries > 0 {
            series.retries.add(self.retries.into());
        }
        if self.code != 0 {
            series.listener.first_byte.observe(self.first_byte);
        }
        let took = self.began.elapsed();
        if self.code != SWITCHING_PROTOCOLS {
            series.listener.duration.observe(took);
        }
        if let Some(line) = self.line.take() {
            let failure = self.failure.map(Failure::name);
            let Self { code, grpc, retries, .. } = *self;
            line.end(&Ended { code, grpc, traffic, took, retries, failure });
        }
    }
}

impl Failure {
    fn name(self) -> Cow<'static, str> {
        match self {
            Self::Answered(reason) => label(reason).into(),
            Self::ClientGone => "client_gone".into(),
            Self::Aborted => "aborted".into(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_counted {
            self.failure.get_or_insert(Failure::ClientGone);
            self.count(Traffic::default());
        }
        self.series.listener.active.subtract(1);
    }
}

impl Traffic {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            received: self.received.wrapping_sub(before.received),
            sent: self.sent.wrapping_sub(before.sent),
        }
    }
}
