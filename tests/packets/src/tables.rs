//! Short ways to write what the agent feeds the kernel with.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use gateway_agent_tables::{
    Backend, EndpointSet, Family, Frontend, FrontendKey, L4Tables, ListenerName, ObjectName, Refusal,
    RouteKind, RouteName, ServicePort, Split, Target,
};

pub use gateway_agent_tables::Endpoint;
pub use gateway_agent_tables::Protocol::{self, Tcp, Udp};

/// The node that the tests' agent runs on.
pub const HERE: &str = "here";

/// Another node.
pub const THERE: &str = "there";

/// A backendRef: its Service's name and weight, and what is behind it.
#[derive(Clone, Debug)]
pub struct Share {
    name: &'static str,
    weight: u32,
    ready: Option<Vec<Endpoint>>,
}

/// A share of these ready endpoints.
pub fn share(name: &'static str, weight: u32, ready: &[Endpoint]) -> Share {
    Share { name, weight, ready: Some(ready.to_vec()) }
}

/// The share of an invalid backendRef.
pub fn invalid(name: &'static str, weight: u32) -> Share {
    Share { name, weight, ready: None }
}

/// An endpoint on this node.
pub fn here(address: SocketAddr) -> Endpoint {
    Endpoint { address, node: Some(HERE.to_owned()) }
}

/// An endpoint on another node.
pub fn there(address: SocketAddr) -> Endpoint {
    Endpoint { address, node: Some(THERE.to_owned()) }
}

/// Tables in the making.
#[derive(Clone, Debug, Default)]
pub struct Plan(pub L4Tables);

impl Plan {
    /// A frontend and the backends that share its newcomers; none: no route is attached.
    #[must_use]
    pub fn route(mut self, protocol: Protocol, frontend: SocketAddr, shares: &[Share]) -> Self {
        let backends: Vec<_> = shares.iter().map(|share| self.backend(protocol, frontend, share)).collect();
        let kind = if protocol == Tcp { RouteKind::Tcp } else { RouteKind::Udp };
        let route = RouteName { kind, object: name(&format!("route-{}", frontend.port())), rule: 0 };
        let split = (!backends.is_empty()).then(|| Split::new(route, backends).expect("a split that fits"));
        let listener = format!("{protocol}-{frontend}");
        let listener = ListenerName { gateway: name("gateway"), listener };
        let key = FrontendKey { address: frontend.ip(), port: port(frontend.port()), protocol };
        self.0.frontends.insert(key, Frontend { listener, split });
        self
    }

    /// An endpoint that only keeps its flows.
    #[must_use]
    pub fn draining(mut self, protocol: Protocol, endpoint: SocketAddr) -> Self {
        self.0.alive.insert((protocol, endpoint));
        self
    }

    /// The address is of a pool.
    #[must_use]
    pub fn pool(mut self, address: SocketAddr) -> Self {
        self.0.pool.insert(address.ip());
        self
    }

    fn backend(&mut self, protocol: Protocol, frontend: SocketAddr, share: &Share) -> Backend {
        let target = match &share.ready {
            None => Target::Refuse(Refusal::InvalidBackend),
            Some(ready) => {
                let family = Family::of(frontend.ip());
                let service = ServicePort { service: name(share.name), port: port(80), protocol, family };
                self.0.alive.extend(ready.iter().map(|endpoint| (protocol, endpoint.address)));
                let set = EndpointSet { ready: ready.iter().cloned().collect() };
                self.0.services.insert(service.clone(), set);
                Target::Service(service)
            }
        };
        Backend { name: share.name.to_owned(), weight: share.weight, target }
    }
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "test".to_owned(), name: name.to_owned() }
}

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).expect("ports are not 0")
}
