//! What all workers share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use arc_swap::ArcSwap;
use gateway_agent_tables::http::HttpTables;

use crate::counters::Counters;
use crate::routing::Routing;
use crate::settings::Settings;
use crate::telemetry::{Figures, Registry};

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
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            routing: ArcSwap::default(),
            settings,
            draining: AtomicBool::new(false),
            counters: Counters::default(),
            registry: Arc::default(),
        })
    }

    /// Forwards requests by these tables from now on; those in flight keep their rules. Call it from one thread.
    pub fn update(&self, tables: &HttpTables) {
        // One Gateway's clients leave room for those of others.
        let next = self.routing.load().update(tables, self.settings.connections / 2);
        self.routing.store(Arc::new(next));
        self.registry.compare(tables, Instant::now());
    }

    /// All that was counted, at this moment.
    pub fn figures(&self) -> Figures {
        Figures::of(&self.registry, &self.counters, Instant::now())
    }

    /// Ends every connection after the request that it is serving, and idle ones at once (within half a second).
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }
}
