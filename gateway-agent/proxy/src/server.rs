//! What all workers share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use gateway_agent_tables::HttpDelta;
use gateway_agent_tables::http::HttpTables;

use crate::counters::Counters;
use crate::routing::Routing;
use crate::settings::Settings;
use crate::telemetry::{AccessLog, Figures, Output, Registry};

/// The proxy of one process: its tables, limits and counters. Each thread serves connections by its own
/// [`Worker`](crate::Worker).
#[derive(Debug)]
pub struct Server {
    pub(crate) routing: ArcSwap<Routing>,
    pub(crate) settings: Settings,
    pub(crate) draining: AtomicBool,
    pub counters: Counters,
    pub(crate) registry: Arc<Registry>,
}

impl Server {
    /// Its access log goes to standard output.
    pub fn new(settings: Settings) -> Arc<Self> {
        Self::with_log(settings, Box::new(std::io::stdout()))
    }

    /// Its access log goes there.
    pub fn with_log(settings: Settings, log: Output) -> Arc<Self> {
        Arc::new(Self {
            routing: ArcSwap::default(),
            settings,
            draining: AtomicBool::new(false),
            counters: Counters::default(),
            registry: Arc::new(Registry::new(AccessLog::new(log))),
        })
    }

    /// Forwards requests by these tables from now on, and by none of those before; requests in flight keep their rules.
    /// Call this and [`Server::update`] from one thread.
    pub fn replace(&self, tables: &HttpTables) {
        let next = self.routing.load().replace(tables, self.most_connections());
        self.routing.store(Arc::new(next));
    }

    /// Forwards requests by these tables from now on, which differ from those before in what the delta names.
    pub(crate) fn update(&self, tables: &HttpTables, delta: &HttpDelta) {
        let next = self.routing.load().update(tables, delta, self.most_connections());
        self.routing.store(Arc::new(next));
    }

    /// One Gateway's clients leave room for those of others.
    fn most_connections(&self) -> u32 {
        self.settings.connections / 2
    }

    /// What was counted for things that these tables don't have is kept for a while only.
    pub(crate) fn compare(&self, tables: &HttpTables) {
        self.registry.compare(tables, Instant::now());
    }

    /// All that was counted, at this moment.
    pub fn figures(&self) -> Figures {
        Figures::of(&self.registry, &self.routing.load(), &self.counters, Instant::now())
    }

    /// Waits until what requests that have ended logged is written, at most so long.
    pub fn flush(&self, patience: Duration) {
        self.registry.flush(patience);
    }

    /// Ends every connection after the request that it is serving, or the next one. Those of HTTP/1.1 that ask nothing for
    /// [`Settings::idle_grace`] end then: a request may be on its way, and whoever sends it would not know whether it was
    /// served (RFC 9112, 9.3.1). HTTP/2 has a word for it (RFC 9113, 6.8).
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }
}
