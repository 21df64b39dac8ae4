//! Endpoints, and which of them gets a request.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// An endpoint of any Services, with its load. All workers count in it, so it has its cache lines to itself.
#[derive(Debug)]
#[repr(align(128))]
pub struct Endpoint {
    pub address: SocketAddr,
    in_flight: AtomicU32,
}

/// The endpoints of one Service port that newcomers may be given.
pub type Endpoints = Arc<[Arc<Endpoint>]>;

/// A request that an endpoint is working on.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Endpoint>);

impl Endpoint {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, in_flight: AtomicU32::new(0) }
    }

    /// Requests that all workers have given it and that it has not finished.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }
}

impl InFlight {
    pub(crate) fn of(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(endpoint))
    }

    /// None: the endpoint has as many as it may have.
    pub(crate) fn within(endpoint: &Arc<Endpoint>, limit: Option<u32>) -> Option<Self> {
        // Dropped, it no longer counts.
        let one_more = Self::of(endpoint);
        limit.is_none_or(|limit| endpoint.in_flight() <= limit).then_some(one_more)
    }
}

impl Deref for InFlight {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Of two endpoints that haven't been tried the one with less to do; None: all have been tried. `random` gives numbers
/// that are even over all of u32.
pub(crate) fn pick<'a>(
    endpoints: &'a [Arc<Endpoint>],
    tried: &[SocketAddr],
    mut random: impl FnMut() -> u32,
) -> Option<&'a Arc<Endpoint>> {
    let mut even = |below: usize| ((u64::from(random()) * below as u64) >> 32) as usize;
    match endpoints {
        [] => None,
        [only] if tried.is_empty() => Some(only),
        several if tried.is_empty() => {
            let one = even(several.len());
            // Another one: every place but the first's.
            let other = (one + 1 + even(several.len() - 1)) % several.len();
            let (one, other) = (&several[one], &several[other]);
            Some(if other.in_flight() < one.in_flight() { other } else { one })
        }
        several => {
            let left = || several.iter().filter(|endpoint| !tried.contains(&endpoint.address));
            let place = even(left().count().max(1));
            left().nth(place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (0..count)
            .map(|port| Arc::new(Endpoint::new(SocketAddr::from(([192, 0, 2, 1], 1000 + port)))))
            .collect()
    }

    #[test]
    fn the_less_loaded_of_two_is_picked() {
        let endpoints = endpoints(2);
        let load = InFlight::of(&endpoints[0]);
        for random in [0, u32::MAX] {
            assert_eq!(pick(&endpoints, &[], || random).expect("one").address.port(), 1001);
        }
        drop(load);
        assert_eq!(endpoints[0].in_flight(), 0);
    }

    #[test]
    fn every_endpoint_is_tried_once() {
        let endpoints = endpoints(3);
        let mut tried = Vec::new();
        while let Some(endpoint) = pick(&endpoints, &tried, || u32::MAX / 2) {
            assert!(!tried.contains(&endpoint.address));
            tried.push(endpoint.address);
        }
        assert_eq!(tried.len(), 3);
        assert!(pick(&[], &[], || 0).is_none());
    }
}
