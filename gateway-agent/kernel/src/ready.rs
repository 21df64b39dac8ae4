//! Which endpoints newcomers may be given, by all the Service ports that have them.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use gateway_agent_tables::{Endpoint, L4Tables, ServicePort};

use crate::endpoints::{EndpointKey, key};

/// The endpoints of the tables that were looked at last.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    of_service: HashMap<Arc<ServicePort>, Vec<EndpointKey>>,
    services: HashMap<EndpointKey, Vec<Arc<ServicePort>>>,
}

/// Where an endpoint belongs.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// One Service port that has it.
    pub(crate) service: &'a ServicePort,
    /// Whether it runs on this node.
    pub(crate) local: bool,
    /// The node that it runs on, where a slice says so.
    pub(crate) node: Option<&'a str>,
}

impl Ready {
    /// Looks at these Service ports again. Gives the endpoints that they have, or had.
    pub(crate) fn update(
        &mut self,
        tables: &L4Tables,
        services: &BTreeSet<ServicePort>,
    ) -> BTreeSet<EndpointKey> {
        let mut touched = BTreeSet::new();
        for service in services {
            if let Some((service, former)) = self.of_service.remove_entry(service) {
                for endpoint in &former {
                    self.leave(endpoint, &service);
                }
                touched.extend(former);
            }
            let Some(set) = tables.services.get(service) else { continue };
            let service = Arc::new(service.clone());
            let endpoints: Vec<_> = set.ready.iter().map(|endpoint| key(&service, endpoint)).collect();
            for endpoint in &endpoints {
                let services = self.services.entry(*endpoint).or_default();
                // A set may name an address with several nodes.
                if !services.contains(&service) {
                    services.push(Arc::clone(&service));
                }
            }
            touched.extend(&endpoints);
            self.of_service.insert(service, endpoints);
        }
        touched
    }

    fn leave(&mut self, endpoint: &EndpointKey, service: &ServicePort) {
        if let Some(services) = self.services.get_mut(endpoint) {
            services.retain(|it| **it != *service);
            if services.is_empty() {
                self.services.remove(endpoint);
            }
        }
    }

    pub(crate) fn contains(&self, endpoint: &EndpointKey) -> bool {
        self.services.contains_key(endpoint)
    }

    /// All Service ports that have endpoints.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServicePort> {
        self.of_service.keys().map(|service| &**service)
    }

    /// None: no Service port has the endpoint.
    pub(crate) fn place<'a>(
        &'a self,
        endpoint: &EndpointKey,
        tables: &'a L4Tables,
        here: &str,
    ) -> Option<Place<'a>> {
        let services = self.services.get(endpoint)?;
        let first = services.iter().min()?;
        let nodes = || services.iter().flat_map(|service| nodes(tables, service, endpoint.1));
        let local = nodes().any(|node| node == here);
        Some(Place { service: first, local, node: nodes().min() })
    }
}

/// The nodes that a Service port names for an address.
fn nodes<'a>(
    tables: &'a L4Tables,
    service: &ServicePort,
    address: SocketAddr,
) -> impl Iterator<Item = &'a str> {
    let first = Endpoint { address, node: None };
    let sets = tables.services.get(service).into_iter();
    let endpoints = sets.flat_map(move |set| set.ready.range(&first..));
    endpoints.take_while(move |it| it.address == address).filter_map(|it| it.node.as_deref())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use gateway_agent_tables::{EndpointSet, Family, ObjectName, Protocol};

    use super::*;

    fn service(name: &str) -> ServicePort {
        let service = ObjectName { namespace: "n".into(), name: name.into() };
        ServicePort { service, port: NonZeroU16::MIN, protocol: Protocol::Tcp, family: Family::V4 }
    }

    fn put(tables: &mut L4Tables, name: &str, endpoints: &[(&str, Option<&str>)]) {
        let endpoint = |(address, node): &(&str, Option<&str>)| Endpoint {
            address: address.parse().expect("an address"),
            node: node.map(str::to_owned),
        };
        let set = EndpointSet { ready: endpoints.iter().map(endpoint).collect() };
        tables.services.insert(service(name), set);
    }

    #[test]
    fn an_endpoint_is_ready_as_long_as_any_service_has_it() {
        let (mut tables, mut ready) = (L4Tables::default(), Ready::default());
        let all = BTreeSet::from([service("a"), service("b")]);
        let shared = "10.0.0.1:80";
        let endpoint = (Protocol::Tcp, shared.parse().expect("an address"));
        put(&mut tables, "a", &[(shared, None)]);
        put(&mut tables, "b", &[(shared, Some("here")), ("10.0.0.2:80", None)]);
        assert_eq!(ready.update(&tables, &all).len(), 2);
        let place = ready.place(&endpoint, &tables, "here").expect("a place");
        assert_eq!((place.service, place.local, place.node), (&service("a"), true, Some("here")));

        put(&mut tables, "b", &[]);
        assert_eq!(ready.update(&tables, &BTreeSet::from([service("b")])).len(), 2);
        assert!(!ready.place(&endpoint, &tables, "here").expect("a place").local);
        tables.services.clear();
        ready.update(&tables, &all);
        assert!(!ready.contains(&endpoint) && ready.services().next().is_none());
    }
}
