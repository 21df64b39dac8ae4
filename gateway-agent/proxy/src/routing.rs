//! The tables that requests are forwarded by, compiled.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway_agent_tables::http::{HttpMatcher, HttpService, HttpTables};
use hashbrown::{HashMap, HashSet};

use crate::upstream::{Endpoint, Endpoints};

/// What all workers share of the tables. Immutable: [`Routing::update`] makes the next one.
#[derive(Debug, Default)]
pub struct Routing {
    pub(crate) matcher: HttpMatcher,
    /// How many came before.
    pub(crate) generation: u64,
    services: HashMap<HttpService, Endpoints>,
    /// Every endpoint once, whatever Services it is of: its load counts for all of them.
    endpoints: HashMap<SocketAddr, Arc<Endpoint>>,
}

impl Routing {
    /// Compiles these tables. What didn't change, and the load of endpoints, is taken over.
    #[must_use]
    pub fn update(&self, tables: &HttpTables) -> Self {
        let addresses: HashSet<_> =
            tables.services.values().flat_map(|set| &set.ready).map(|endpoint| endpoint.address).collect();
        let endpoints: HashMap<_, _> = addresses
            .into_iter()
            .map(|address| {
                let known = self.endpoints.get(&address).cloned();
                (address, known.unwrap_or_else(|| Arc::new(Endpoint::new(address))))
            })
            .collect();
        let services = tables.services.iter().map(|(service, set)| {
            let ready = set.ready.iter().map(|endpoint| Arc::clone(&endpoints[&endpoint.address]));
            (service.clone(), ready.collect())
        });
        Self {
            matcher: self.matcher.update(tables),
            generation: self.generation + 1,
            services: services.collect(),
            endpoints,
        }
    }

    pub(crate) fn endpoints(&self, service: &HttpService) -> Option<&Endpoints> {
        self.services.get(service).filter(|endpoints| !endpoints.is_empty())
    }

    pub(crate) fn is_ready(&self, endpoint: SocketAddr) -> bool {
        self.endpoints.contains_key(&endpoint)
    }
}
