//! What went wrong, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::h1::Fault;
use crate::reply::Reason;

/// Why the proxy closed a connection of a client that was not at an end. Append-only: counters are indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its Gateway had as many as it may have.
    GatewayConnections,
    /// The process had as many as it may have.
    Connections,
    /// Frames of HTTP/2 that bring nothing came in numbers.
    Flood,
    /// HTTP/2 was not spoken as RFC 9113 has it.
    Http2,
}

impl Closed {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::GatewayConnections, Self::Connections, Self::Flood, Self::Http2];
}

/// Counters of requests that were refused or failed. Workers share them: they are not on the way of requests that
/// succeed.
#[derive(Debug)]
pub struct Counters {
    faults: [AtomicU64; Fault::ALL.len()],
    replies: [AtomicU64; Reason::ALL.len()],
    closed: [AtomicU64; Closed::ALL.len()],
    aborted: AtomicU64,
    unmirrored: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            faults: std::array::from_fn(|_| AtomicU64::new(0)),
            replies: std::array::from_fn(|_| AtomicU64::new(0)),
            closed: std::array::from_fn(|_| AtomicU64::new(0)),
            aborted: AtomicU64::new(0),
            unmirrored: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Requests and responses that were refused for this fault.
    pub fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault as usize].load(Relaxed)
    }

    /// Requests that the proxy answered itself for this reason.
    pub fn replies(&self, reason: Reason) -> u64 {
        self.replies[reason as usize].load(Relaxed)
    }

    /// Connections that were closed for this reason.
    pub fn closed(&self, reason: Closed) -> u64 {
        self.closed[reason as usize].load(Relaxed)
    }

    /// Responses that broke off, since the endpoint failed or a time-out passed.
    pub fn aborted(&self) -> u64 {
        self.aborted.load(Relaxed)
    }

    /// Copies of requests that did not reach an endpoint whole, or that it did not answer.
    pub fn unmirrored(&self) -> u64 {
        self.unmirrored.load(Relaxed)
    }

    pub(crate) fn count_fault(&self, fault: Fault) {
        self.faults[fault as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_reply(&self, reason: Reason) {
        self.replies[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_closed(&self, reason: Closed) {
        self.closed[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_unmirrored(&self) {
        self.unmirrored.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_abort(&self) {
        self.aborted.fetch_add(1, Relaxed);
    }
}
