//! What the clients of a Gateway have taken of this process, and how much they may take, so that one Gateway's clients
//! can't take another one down.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use gateway_agent_tables::http::HttpLimits;

use crate::h1::HeadLimits;

/// What holds for the connections to one address and port.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    limits: HttpLimits,
    used: Arc<Used>,
}

/// What all connections of a Gateway use together; all workers count in it, so it has its cache lines to itself.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Used([AtomicU32; 2]);

/// Of what a Gateway has so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connection,
    Request,
}

/// A connection or a request that counts, and what holds for it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    quota: Arc<Quota>,
    kind: Kind,
}

impl Quota {
    pub(crate) fn new(limits: HttpLimits, used: Arc<Used>) -> Self {
        Self { limits, used }
    }

    pub(crate) fn limits(&self) -> &HttpLimits {
        &self.limits
    }

    /// Of requests and responses.
    pub(crate) fn heads(&self) -> HeadLimits {
        HeadLimits { bytes: self.limits.head_bytes as usize, fields: self.limits.head_fields.into() }
    }

    /// Whether this is the same as one with these limits, for the same Gateway.
    pub(crate) fn is_of(&self, limits: &HttpLimits, used: &Arc<Used>) -> bool {
        self.limits == *limits && Arc::ptr_eq(&self.used, used)
    }

    fn limit(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Connection => self.limits.connections,
            Kind::Request => self.limits.requests,
        }
    }
}

impl Place {
    /// None: the Gateway has as many already as it may have.
    pub(crate) fn take(quota: &Arc<Quota>, kind: Kind) -> Option<Self> {
        let before = quota.used.0[kind as usize].fetch_add(1, Relaxed);
        // Dropped, it no longer counts.
        let place = Self { quota: Arc::clone(quota), kind };
        (before < quota.limit(kind)).then_some(place)
    }

    /// One more of another kind, under the same limits.
    pub(crate) fn with(&self, kind: Kind) -> Option<Self> {
        Self::take(&self.quota, kind)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.quota.used.0[self.kind as usize].fetch_sub(1, Relaxed);
    }
}

impl Deref for Place {
    type Target = Quota;

    fn deref(&self) -> &Quota {
        &self.quota
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_count_what_they_have() {
        let used = Arc::default();
        let limits = HttpLimits { connections: 1, requests: 2, ..HttpLimits::default() };
        let quota = Arc::new(Quota::new(limits, Arc::clone(&used)));
        let connection = Place::take(&quota, Kind::Connection).expect("the first");
        assert!(Place::take(&quota, Kind::Connection).is_none());
        let requests = [connection.with(Kind::Request), connection.with(Kind::Request)];
        assert!(requests.iter().all(Option::is_some) && connection.with(Kind::Request).is_none());
        // Other limits of the same Gateway count the same.
        let more = Arc::new(Quota::new(HttpLimits { connections: 2, ..limits }, used));
        let second = Place::take(&more, Kind::Connection);
        assert!(second.is_some() && Place::take(&more, Kind::Connection).is_none());
        drop((connection, second));
        assert!(Place::take(&quota, Kind::Connection).is_some());
    }
}
