//! What the clients of a Gateway have taken of this process, and how much they may take, so that one Gateway's clients
//! can't take another one down.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use gateway_agent_tables::http::HttpLimits;

use crate::h1::HeadLimits;

/// What holds for the connections to one address and port.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    limits: HttpLimits,
    used: Arc<Used>,
    /// Connections that are open, whatever the limits were when they came.
    open: Arc<AtomicU32>,
}

/// What all connections of a Gateway use together; all workers count in it, so it has its cache lines to itself.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Used([AtomicU32; 2]);

/// Of what a Gateway has so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Connection,
    Request,
}

/// A connection that counts, and what holds for it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Quota>);

/// A request that counts until it is dropped. It shares the place of its connection, which only one thread counts.
#[derive(Debug)]
pub(crate) struct RequestPlace(Rc<Place>);

impl Quota {
    /// What holds for the Gateway that has used so much, on an address and port that has so many connections open.
    pub(crate) fn new(limits: HttpLimits, used: Arc<Used>, open: Arc<AtomicU32>) -> Self {
        Self { limits, used, open }
    }

    /// Counts connections to the same address and port.
    pub(crate) fn open(&self) -> &Arc<AtomicU32> {
        &self.open
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
}

impl Used {
    /// False: there are as many already.
    fn add(&self, kind: Kind, limit: u32) -> bool {
        let is_free = self.0[kind as usize].fetch_add(1, Relaxed) < limit;
        if !is_free {
            self.remove(kind);
        }
        is_free
    }

    fn remove(&self, kind: Kind) {
        self.0[kind as usize].fetch_sub(1, Relaxed);
    }
}

impl Place {
    /// None: the Gateway has as many connections as it may have.
    pub(crate) fn take(quota: &Arc<Quota>) -> Option<Self> {
        let is_free = quota.used.add(Kind::Connection, quota.limits.connections);
        is_free.then(|| {
            quota.open.fetch_add(1, Relaxed);
            Self(Arc::clone(quota))
        })
    }

    /// None: the Gateway has as many requests as it may have.
    pub(crate) fn request(self: &Rc<Self>) -> Option<RequestPlace> {
        let is_free = self.used.add(Kind::Request, self.limits.requests);
        is_free.then(|| RequestPlace(Rc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.used.remove(Kind::Connection);
        self.open.fetch_sub(1, Relaxed);
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        self.used.remove(Kind::Request);
    }
}

impl Deref for Place {
    type Target = Quota;

    fn deref(&self) -> &Quota {
        &self.0
    }
}

impl Deref for RequestPlace {
    type Target = Quota;

    fn deref(&self) -> &Quota {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_count_what_they_have() {
        let used = Arc::default();
        let limits = HttpLimits { connections: 1, requests: 2, ..HttpLimits::default() };
        let quota = Arc::new(Quota::new(limits, Arc::clone(&used), Arc::default()));
        let connection = Rc::new(Place::take(&quota).expect("the first"));
        assert!(Place::take(&quota).is_none());
        let requests = [connection.request(), connection.request()];
        assert!(requests.iter().all(Option::is_some) && connection.request().is_none());
        // Other limits of the same Gateway count the same.
        let more =
            Arc::new(Quota::new(HttpLimits { connections: 2, ..limits }, used, Arc::clone(quota.open())));
        let second = Place::take(&more);
        assert!(second.is_some() && Place::take(&more).is_none());
        assert_eq!(more.open().load(Relaxed), 2, "those that came under other limits, too");
        drop((requests, connection, second));
        assert!(Place::take(&quota).is_some());
    }
}
