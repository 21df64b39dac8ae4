//! The tables that requests are forwarded by, compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use gateway_agent_tables as tables;
use gateway_agent_tables::http::{
    HttpEndpoints, HttpFrontend, HttpLimits, HttpMatcher, HttpService, HttpTables,
};
use gateway_agent_tables::persistent::PersistentMap;
use gateway_agent_tables::{FrontendKey, HttpDelta, ListenerName, ObjectName};

use crate::quota::{Quota, Used};
use crate::upstream::{Endpoint, Endpoints};

/// What all workers share of the tables. Immutable: [`Routing::update`] makes the next one.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    pub(crate) matcher: HttpMatcher,
    /// How many came before.
    pub(crate) generation: u64,
    services: PersistentMap<HttpService, Service>,
    /// Every endpoint once, whatever Services it is of: its load counts for all of them.
    endpoints: PersistentMap<SocketAddr, Known>,
    /// Whose connections those to an address and port are, and what holds for them.
    quotas: PersistentMap<FrontendKey, (ObjectName, Arc<Quota>)>,
    /// What each Gateway uses, whatever its limits are by now.
    used: PersistentMap<ObjectName, Arc<Used>>,
    /// For connections that come before the tables that say whose they are.
    unknown: Arc<Quota>,
}

#[derive(Clone, Debug)]
struct Service {
    ready: Endpoints,
    /// Endpoints that only the sessions may be given that they have.
    draining: Endpoints,
}

#[derive(Clone, Debug)]
struct Known {
    endpoint: Arc<Endpoint>,
    /// Of how many Services it is, and of how many of them newcomers may be given it.
    services: u32,
    ready: u32,
}

impl Routing {
    /// Compiles these tables, whatever was known before; see [`Routing::update`].
    #[must_use]
    pub fn replace(&self, tables: &HttpTables, connections: u32) -> Self {
        let mut all = self.matcher.keys();
        all.services.extend(self.services.iter().map(|(service, _)| service.clone()));
        all.extend(HttpDelta::all(tables));
        self.update(tables, &all, connections)
    }

    /// Compiles what the delta names of these tables. All else, the load of endpoints, and what Gateways use, is taken
    /// over. No Gateway gets more than `connections`.
    #[must_use]
    pub fn update(&self, tables: &HttpTables, delta: &HttpDelta, connections: u32) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        next.matcher = self.matcher.update(tables, delta);
        let supply = |service| next.supply(service, tables.services.get(service));
        let former: Vec<_> = delta.services.iter().filter_map(supply).collect();
        // After others have joined: an endpoint that goes from one Service to another keeps its load.
        for Service { ready, draining } in former {
            ready.iter().for_each(|endpoint| next.leave(endpoint, 1));
            draining.iter().for_each(|endpoint| next.leave(endpoint, 0));
        }
        for listener in &delta.listeners {
            next.know(&listener.gateway, tables);
        }
        let concerned = tables.frontends.iter().filter(|(_, frontend)| frontend.is_of(&delta.listeners));
        let concerned: BTreeSet<_> = concerned.map(|(key, _)| key).chain(&delta.frontends).collect();
        for key in concerned {
            next.limit(key, tables, connections);
        }
        next
    }

    /// Gives a Service these endpoints, or none if it is no more. Returns those that it had.
    fn supply(&mut self, service: &HttpService, endpoints: Option<&HttpEndpoints>) -> Option<Service> {
        let former = self.services.get(service).cloned();
        let next = endpoints.map(|HttpEndpoints { ready, draining }| Service {
            ready: ready.iter().map(|endpoint| self.join(endpoint, 1)).collect(),
            draining: draining.iter().map(|endpoint| self.join(endpoint, 0)).collect(),
        });
        self.services.put(service.clone(), next);
        former
    }

    /// One more Service has the endpoint.
    fn join(&mut self, endpoint: &tables::Endpoint, ready: u32) -> Arc<Endpoint> {
        let address = endpoint.address;
        let new = || Known { endpoint: Arc::new(Endpoint::new(address)), services: 0, ready: 0 };
        let mut known = self.endpoints.get(&address).cloned().unwrap_or_else(new);
        known.services += 1;
        known.ready += ready;
        let endpoint = Arc::clone(&known.endpoint);
        self.endpoints.insert(address, known);
        endpoint
    }

    /// One of the Services that have the endpoint has it no more.
    fn leave(&mut self, endpoint: &Endpoint, ready: u32) {
        let known = self.endpoints.get(&endpoint.address).cloned();
        let left =
            known.map(|known| Known { services: known.services - 1, ready: known.ready - ready, ..known });
        self.endpoints.put(endpoint.address, left.filter(|known| known.services > 0));
    }

    /// What a Gateway uses is kept as long as it has a listener.
    fn know(&mut self, gateway: &ObjectName, tables: &HttpTables) {
        let first = ListenerName { gateway: gateway.clone(), listener: String::new() };
        let is_there =
            tables.listeners.range(first..).next().is_some_and(|(name, _)| name.gateway == *gateway);
        let used = is_there.then(|| self.used.get(gateway).cloned().unwrap_or_default());
        self.used.put(gateway.clone(), used);
    }

    /// Sets what holds for connections to this address and port.
    fn limit(&mut self, key: &FrontendKey, tables: &HttpTables, connections: u32) {
        let quota = tables.frontends.get(key).and_then(|frontend| {
            let (gateway, limits) = terms(frontend, tables)?;
            let limits = HttpLimits { connections: limits.connections.min(connections), ..limits };
            let used = self.used.get(gateway)?;
            let known = self.quotas.get(key).map(|(_, quota)| quota);
            let open = || known.map(|quota| Arc::clone(quota.open())).unwrap_or_default();
            let same = known.filter(|quota| quota.is_of(&limits, used)).cloned();
            let quota = same.unwrap_or_else(|| Arc::new(Quota::new(limits, Arc::clone(used), open())));
            Some((gateway.clone(), quota))
        });
        self.quotas.put(*key, quota);
    }

    /// What holds for connections to this address and port.
    pub(crate) fn quota(&self, frontend: &FrontendKey) -> &Arc<Quota> {
        self.quotas.get(frontend).map_or(&self.unknown, |(_, quota)| quota)
    }

    /// Connections that are open, by the Gateway that they count for and their port.
    pub(crate) fn connections(&self) -> BTreeMap<(&ObjectName, NonZeroU16), u64> {
        let mut open = BTreeMap::new();
        for (key, (gateway, quota)) in self.quotas.iter() {
            *open.entry((gateway, key.port)).or_default() += u64::from(quota.open().load(Relaxed));
        }
        open
    }

    pub fn matcher(&self) -> &HttpMatcher {
        &self.matcher
    }

    pub(crate) fn endpoints(&self, service: &HttpService) -> Option<&Endpoints> {
        let Service { ready, .. } = self.services.get(service)?;
        Some(ready).filter(|endpoints| !endpoints.is_empty())
    }

    /// The endpoint of this address, if the Service still has it for sessions that are there with it.
    pub(crate) fn endpoint(&self, service: &HttpService, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        let Service { ready, draining } = self.services.get(service)?;
        find(ready, address).or_else(|| find(draining, address))
    }

    /// Whether any request may be given to it. One that drains is about to close what is idle.
    pub(crate) fn is_ready(&self, endpoint: SocketAddr) -> bool {
        self.endpoints.get(&endpoint).is_some_and(|known| known.ready > 0)
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

#[cfg(test)]
mod tests {
    use gateway_agent_tables::http::{HttpListener, HttpSettings, HttpTelemetry, Scheme};
    use gateway_agent_tables::{HostPattern, Protocol};
    use proptest::prelude::*;

    use super::*;

    fn port(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).expect("a port")
    }

    fn object(number: u16) -> ObjectName {
        ObjectName { namespace: "shop".to_owned(), name: number.to_string() }
    }

    fn service(number: u16) -> HttpService {
        HttpService { service: object(number), port: port(80) }
    }

    fn listener_name(number: u16) -> ListenerName {
        ListenerName { gateway: object(number / 2), listener: number.to_string() }
    }

    fn key(number: u16) -> FrontendKey {
        FrontendKey { address: [192, 0, 2, 1].into(), port: port(number + 1), protocol: Protocol::Tcp }
    }

    fn address(number: u16) -> SocketAddr {
        ([10, 0, 0, 1], number + 1).into()
    }

    /// Few of each kind, so that changes meet each other: Services with the numbers of their endpoints, listeners with
    /// their limits, frontends with their listeners.
    fn any_tables() -> impl Strategy<Value = HttpTables> {
        let numbers = || prop::collection::btree_set(0..4_u16, 0..3);
        let services = prop::collection::btree_map(0..3_u16, (numbers(), numbers()), 0..3);
        let listeners = prop::collection::btree_map(0..4_u16, 1..4_u32, 0..4);
        let frontends = prop::collection::btree_map(0..3_u16, numbers(), 0..3);
        (services, listeners, frontends).prop_map(|(services, listeners, frontends)| HttpTables {
            services: services.into_iter().map(|(it, sets)| (service(it), endpoints(sets))).collect(),
            listeners: listeners
                .into_iter()
                .map(|(it, limit)| (listener_name(it), listener(limit)))
                .collect(),
            frontends: frontends.into_iter().map(|(it, names)| (key(it), frontend(&names))).collect(),
            ..HttpTables::default()
        })
    }

    fn endpoints((ready, draining): (BTreeSet<u16>, BTreeSet<u16>)) -> HttpEndpoints {
        let set = |numbers: BTreeSet<u16>| {
            numbers.into_iter().map(|it| tables::Endpoint { address: address(it), node: None }).collect()
        };
        HttpEndpoints { ready: set(ready), draining: set(draining) }
    }

    fn listener(connections: u32) -> HttpListener {
        let limits = HttpLimits { connections, ..HttpLimits::default() };
        HttpListener {
            scheme: Scheme::Http,
            port: port(80),
            settings: HttpSettings { limits, ..HttpSettings::default() },
            hosts: BTreeMap::new(),
            telemetry: HttpTelemetry::default(),
        }
    }

    fn frontend(listeners: &BTreeSet<u16>) -> HttpFrontend {
        let host = |number: &u16| HostPattern::parse(&format!("{number}.example.com")).expect("a host name");
        HttpFrontend { listeners: listeners.iter().map(|it| (host(it), listener_name(*it))).collect() }
    }

    fn difference(before: &HttpTables, after: &HttpTables) -> HttpDelta {
        HttpDelta {
            frontends: differing(&before.frontends, &after.frontends),
            listeners: differing(&before.listeners, &after.listeners),
            services: differing(&before.services, &after.services),
            ..HttpDelta::default()
        }
    }

    fn differing<K: Ord + Clone, V: PartialEq>(one: &BTreeMap<K, V>, other: &BTreeMap<K, V>) -> BTreeSet<K> {
        one.keys().chain(other.keys()).filter(|key| one.get(key) != other.get(key)).cloned().collect()
    }

    /// Everything that the workers ask.
    fn answers(routing: &Routing) -> Vec<String> {
        let addresses = |endpoints: &Endpoints| endpoints.iter().map(|it| it.address).collect::<Vec<_>>();
        let of_service = |number| {
            let ready = routing.endpoints(&service(number)).map(addresses);
            let known = (0..4).map(|it| routing.endpoint(&service(number), address(it)).map(|it| it.address));
            format!("{number}: {ready:?} {:?}", known.collect::<Vec<_>>())
        };
        let of_frontend = |number| {
            let quota = routing.quota(&key(number));
            format!("{number}: {:?}", quota.limits())
        };
        let ready = (0..4).map(|number| routing.is_ready(address(number)).to_string());
        (0..3).map(of_service).chain((0..3).map(of_frontend)).chain(ready).collect()
    }

    proptest! {
        #[test]
        fn updates_lead_to_the_same_as_new_tables(steps in prop::collection::vec(any_tables(), 1..8)) {
            let (mut routing, mut before) = (Routing::default(), HttpTables::default());
            for after in steps {
                let next = routing.update(&after, &difference(&before, &after), 1_000);
                let fresh = Routing::default().replace(&after, 1_000);
                prop_assert_eq!(answers(&next), answers(&fresh));
                prop_assert_eq!(answers(&routing.replace(&after, 1_000)), answers(&fresh));
                for number in 0..4 {
                    let known = routing.endpoints.get(&address(number));
                    let same = known.zip(next.endpoints.get(&address(number)));
                    let shared = same.is_none_or(|(one, other)| Arc::ptr_eq(&one.endpoint, &other.endpoint));
                    prop_assert!(shared, "an endpoint that stays keeps its load");
                }
                (routing, before) = (next, after);
            }
        }
    }
}
