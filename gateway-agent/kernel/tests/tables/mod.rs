//! Short ways to write tables.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

use gateway_agent_tables::{
    Backend, Endpoint, EndpointSet, Family, Frontend, FrontendKey, L4Tables, ListenerName, ObjectName,
    Protocol, RouteKind, RouteName, ServicePort, Split, Target,
};

/// Name, weight and ready endpoints.
type BackendSpec<'a> = (&'a str, u32, &'a [Endpoint]);

#[derive(Debug)]
pub(crate) struct FrontendSpec {
    port: u16,
    backends: Vec<(String, u32, Vec<Endpoint>)>,
}

/// 192.0.2.1 at this port over TCP; no backends: no route.
pub(crate) fn frontend(port: u16, backends: &[BackendSpec<'_>]) -> FrontendSpec {
    let backends = backends.iter().map(|(name, weight, ready)| ((*name).to_owned(), *weight, ready.to_vec()));
    FrontendSpec { port, backends: backends.collect() }
}

/// 10.0.x.y:8080
pub(crate) fn endpoint(number: u16, node: &str) -> Endpoint {
    let [x, y] = number.to_be_bytes();
    Endpoint { address: SocketAddr::from((Ipv4Addr::new(10, 0, x, y), 8080)), node: Some(node.to_owned()) }
}

/// Each backend is a Service of its own for each frontend.
pub(crate) fn tables(frontends: &[FrontendSpec]) -> L4Tables {
    let mut tables = L4Tables::default();
    for spec in frontends {
        let mut backends = Vec::new();
        for (name, weight, ready) in &spec.backends {
            let service = service(&format!("{name}-{}", spec.port));
            tables.alive.extend(ready.iter().map(|e| (Protocol::Tcp, e.address)));
            tables.services.insert(service.clone(), EndpointSet { ready: ready.iter().cloned().collect() });
            backends.push(Backend { name: name.clone(), weight: *weight, target: Target::Service(service) });
        }
        let route =
            RouteName { kind: RouteKind::Tcp, object: name(&format!("route-{}", spec.port)), rule: 0 };
        let split = (!backends.is_empty()).then(|| Split::new(route, backends).unwrap());
        let listener = ListenerName { gateway: name("gateway"), listener: format!("port-{}", spec.port) };
        tables.frontends.insert(key(spec.port), Frontend { listener, split });
    }
    tables
}

fn key(port: u16) -> FrontendKey {
    let address = IpAddr::from([192, 0, 2, 1]);
    FrontendKey { address, port: NonZeroU16::new(port).unwrap(), protocol: Protocol::Tcp }
}

fn service(service: &str) -> ServicePort {
    let port = NonZeroU16::new(80).unwrap();
    ServicePort { service: name(service), port, protocol: Protocol::Tcp, family: Family::V4 }
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "test".to_owned(), name: name.to_owned() }
}
