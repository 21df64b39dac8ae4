//! Idle connections to endpoints, of one worker.

use std::net::SocketAddr;

use hashbrown::HashMap;

use crate::socket::Socket;
use crate::stream::Stream;

/// Idle connections, the one used last on top: the others may grow old and go.
#[derive(Debug)]
pub(crate) struct Pool<S> {
    idle: HashMap<SocketAddr, Vec<Idle<S>>>,
}

#[derive(Debug)]
struct Idle<S> {
    stream: Stream<S>,
    /// Tick of the worker.
    since: u32,
}

impl<S> Default for Pool<S> {
    fn default() -> Self {
        Self { idle: HashMap::new() }
    }
}

impl<S: Socket> Pool<S> {
    /// A connection on which nothing came while it was idle: one that was closed, or that spoke unasked, is dropped.
    pub(crate) fn take(&mut self, endpoint: SocketAddr) -> Option<Stream<S>> {
        let idle = self.idle.get_mut(&endpoint)?;
        while let Some(Idle { mut stream, .. }) = idle.pop() {
            if stream.socket.is_quiet() {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection for the next request; beyond the limit it is closed.
    pub(crate) fn put(&mut self, endpoint: SocketAddr, stream: Stream<S>, now: u32, limit: usize) {
        let idle = self.idle.entry(endpoint).or_default();
        if idle.len() < limit {
            idle.push(Idle { stream, since: now });
        }
    }

    /// Closes what has been idle since before this tick, what an endpoint closed, and what leads to endpoints that are
    /// no longer ready.
    pub(crate) fn sweep(&mut self, before: u32, is_ready: impl Fn(SocketAddr) -> bool) {
        self.idle.retain(|endpoint, idle| {
            idle.retain_mut(|idle| {
                idle.since >= before && is_ready(*endpoint) && idle.stream.socket.is_quiet()
            });
            !idle.is_empty()
        });
    }
}
