//! What is remembered of one request until it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::series::{Class, Series};

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
    is_counted: bool,
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
            is_counted: false,
        }
    }

    /// The head of the final answer is on its way to the client.
    pub(crate) fn answer(&mut self, code: u16) {
        self.code = code;
        self.first_byte = self.began.elapsed();
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
        if self.retries > 0 {
            series.retries.add(self.retries.into());
        }
        if self.code != 0 {
            series.listener.first_byte.observe(self.first_byte);
        }
        if self.code != SWITCHING_PROTOCOLS {
            series.listener.duration.observe(self.began.elapsed());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_counted {
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
