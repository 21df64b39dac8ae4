//! Counters of one worker. Only its thread adds to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::grpc::Calls;
use super::histogram::Histogram;
use super::subject::Protocol;

/// A number that one thread adds to and others read: no instruction has to lock the bus.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, number: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(number), Relaxed);
    }

    pub(super) fn subtract(&self, number: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(number), Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Requests of one subject. Workers never write to one cache line, nor to neighbours that are fetched in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Series {
    pub(super) codes: [Count; Class::ALL.len()],
    pub(super) request_bytes: Count,
    pub(super) response_bytes: Count,
    pub(super) retries: Count,
    /// None: they call nothing.
    pub(super) calls: Option<Box<Calls>>,
    pub(super) listener: Arc<ListenerSeries>,
}

/// Requests of one listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ListenerSeries {
    /// Requests that are being answered.
    pub(super) active: Count,
    /// From a request's head to the end of its answer.
    pub(super) duration: Histogram,
    /// To the head of its answer.
    pub(super) first_byte: Histogram,
}

impl Series {
    pub(super) fn of(listener: Arc<ListenerSeries>, protocol: Protocol) -> Self {
        Self {
            codes: Default::default(),
            request_bytes: Count::default(),
            response_bytes: Count::default(),
            retries: Count::default(),
            calls: (protocol == Protocol::Grpc).then(Box::default),
            listener,
        }
    }
}

/// The class of an answer's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// The client had gone before it could be answered.
    None,
    Informational,
    Successful,
    Redirection,
    ClientError,
    ServerError,
}

impl Class {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Informational,
        Self::Successful,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// 0: there was no answer. Codes that have no class count as 5xx (RFC 9110, 15).
    pub(super) fn of(code: u16) -> Self {
        match code {
            0 => Self::None,
            100..200 => Self::Informational,
            200..300 => Self::Successful,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// As labels have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Informational => "1xx",
            Self::Successful => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}
