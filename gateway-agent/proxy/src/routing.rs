//! The tables that requests are forwarded by, compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use gateway_agent_tables as tables;
use gateway_agent_tables::http::{HttpFrontend, HttpLimits, HttpMatcher, HttpService, HttpTables};
use gateway_agent_tables::{FrontendKey, ObjectName};
use hashbrown::{HashMap, HashSet};

use crate::quota::{Quota, Used};
use crate::upstream::{Endpoint, Endpoints};

/// What all workers share of the tables. Immutable: [`Routing::update`] makes the next one.
#[derive(Debug, Default)]
pub struct Routing {
    pub(crate) matcher: HttpMatcher,
    /// How many came before.
    pub(crate) generation: u64,
    services: HashMap<HttpService, Endpoints>,
    /// Endpoints that only the sessions may be given that they have; only Services that have such.
    draining: HashMap<HttpService, Endpoints>,
    /// Endpoints that drain everywhere.
    leaving: HashSet<SocketAddr>,
    /// Every endpoint once, whatever Services it is of: its load counts for all of them.
    endpoints: HashMap<SocketAddr, Arc<Endpoint>>,
    quotas: HashMap<FrontendKey, Arc<Quota>>,
    /// What each Gateway uses, whatever its limits are by now.
    used: BTreeMap<ObjectName, Arc<Used>>,
    /// For connections that come before the tables that say whose they are.
    unknown: Arc<Quota>,
}

impl Routing {
    /// Compiles these tables. What didn't change, the load of endpoints, and what Gateways use, is taken over. No Gateway
    /// gets more than `connections`.
    #[must_use]
    pub fn update(&self, tables: &HttpTables, connections: u32) -> Self {
        let sets = tables.services.values().flat_map(|set| set.ready.iter().chain(&set.draining));
        let addresses: HashSet<_> = sets.map(|endpoint| endpoint.address).collect();
        let endpoints: HashMap<_, _> = addresses
            .into_iter()
            .map(|address| {
                let known = self.endpoints.get(&address).cloned();
                (address, known.unwrap_or_else(|| Arc::new(Endpoint::new(address))))
            })
            .collect();
        let used: BTreeMap<_, _> = tables
            .listeners
            .keys()
            .map(|name| (name.gateway.clone(), self.used.get(&name.gateway).cloned().unwrap_or_default()))
            .collect();
        let quotas = tables.frontends.iter().filter_map(|(key, frontend)| {
            let (gateway, limits) = terms(frontend, tables)?;
            let limits = HttpLimits { connections: limits.connections.min(connections), ..limits };
            let used = &used[gateway];
            let known = self.quotas.get(key).filter(|quota| quota.is_of(&limits, used)).cloned();
            Some((*key, known.unwrap_or_else(|| Arc::new(Quota::new(limits, Arc::clone(used))))))
        });
        let quotas = quotas.collect();
        let ready: HashSet<_> = tables.services.values().flat_map(|set| &set.ready).collect();
        let leaving = tables.services.values().flat_map(|set| &set.draining);
        let leaving = leaving.filter(|endpoint| !ready.contains(endpoint)).map(|endpoint| endpoint.address);
        let shared = |set: &BTreeSet<tables::Endpoint>| -> Endpoints {
            set.iter().map(|endpoint| Arc::clone(&endpoints[&endpoint.address])).collect()
        };
        let services = tables.services.iter().map(|(service, set)| (service.clone(), shared(&set.ready)));
        let draining = tables.services.iter().filter(|(_, set)| !set.draining.is_empty());
        let draining = draining.map(|(service, set)| (service.clone(), shared(&set.draining)));
        Self {
            matcher: self.matcher.update(tables),
            generation: self.generation + 1,
            services: services.collect(),
            draining: draining.collect(),
            leaving: leaving.collect(),
            endpoints,
            quotas,
            used,
            unknown: Arc::clone(&self.unknown),
        }
    }

    /// Whose connections those to this address and port are, and what holds for them.
    pub(crate) fn quota(&self, frontend: &FrontendKey) -> &Arc<Quota> {
        self.quotas.get(frontend).unwrap_or(&self.unknown)
    }

    pub fn matcher(&self) -> &HttpMatcher {
        &self.matcher
    }

    pub(crate) fn endpoints(&self, service: &HttpService) -> Option<&Endpoints> {
        self.services.get(service).filter(|endpoints| !endpoints.is_empty())
    }

    /// The endpoint of this address, if the Service still has it for sessions that are there with it.
    pub(crate) fn endpoint(&self, service: &HttpService, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        let ready = self.services.get(service).and_then(|endpoints| find(endpoints, address));
        ready.or_else(|| find(self.draining.get(service)?, address))
    }

    /// Whether any request may be given to it. One that drains is about to close what is idle.
    pub(crate) fn is_ready(&self, endpoint: SocketAddr) -> bool {
        self.endpoints.contains_key(&endpoint) && !self.leaving.contains(&endpoint)
    }
}

/// The Gateway that a frontend's connections count for, and what they may take: where Gateways share it, the first of
/// them, and the less of each.
fn terms<'t>(frontend: &HttpFrontend, tables: &'t HttpTables) -> Option<(&'t ObjectName, HttpLimits)> {
    let listeners = frontend.listeners.values().filter_map(|name| tables.listeners.get_key_value(name));
    listeners
        .map(|(name, listener)| (&name.gateway, listener.settings.limits))
        .reduce(|(one, limits), (other, others)| (one.min(other), limits.strictest(others)))
}

/// Endpoints are in the order of their addresses, as tables have them.
fn find(endpoints: &Endpoints, address: SocketAddr) -> Option<&Arc<Endpoint>> {
    let place = endpoints.binary_search_by_key(&address, |endpoint| endpoint.address).ok()?;
    endpoints.get(place)
}
