//! TCP and UDP: frontends, the weighted backends of their routes, and the endpoints of Services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// Everything that the kernel needs to forward TCP and UDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L4Tables {
    /// What clients connect to.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// The endpoints behind each Service port that a frontend names, per address family.
    pub services: BTreeMap<ServicePort, EndpointSet>,
    /// Every address and port of every Service that is still listed by an EndpointSlice, referenced by a route or
    /// not: flows to these live on, flows to others are reset.
    pub alive: BTreeSet<(Protocol, SocketAddr)>,
    /// Addresses that Gateways hold of pools: they belong to the gateway alone, and every node has their frontends. All
    /// other frontends have an address of this node.
    pub pool: BTreeSet<IpAddr>,
}

/// An address, port and protocol that a listener makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrontendKey {
    pub address: IpAddr,
    pub port: NonZeroU16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

/// What happens to a new connection or datagram that arrives at a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    pub listener: ListenerName,
    /// None: no route is attached, so newcomers are refused.
    pub split: Option<Split>,
}

/// A Gateway's listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListenerName {
    pub gateway: ObjectName,
    pub listener: String,
}

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    pub namespace: String,
    pub name: String,
}

/// The rule of a route whose backends share a frontend's newcomers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    pub kind: RouteKind,
    pub object: ObjectName,
    /// Index in spec.rules.
    pub rule: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    Tcp,
    Tls,
    Udp,
}

/// At most 16 weighted backends (the API's limit for one rule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    route: RouteName,
    backends: Vec<Backend>,
}

/// One backendRef of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// As the route names it, for people: `namespace/service:port`.
    pub name: String,
    /// Its share of the rule's sum of weights; at most 1,000,000 (the API's limit).
    pub weight: u32,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Forward to an endpoint of this; no ready endpoint there refuses the share.
    Service(ServicePort),
    /// The reference can't be followed: its share is refused.
    Refuse(Refusal),
}

/// Why a backend refuses its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The reference is invalid: no such Service or port, kind unknown, no grant.
    InvalidBackend,
}

/// One port of a Service in one address family: the unit that shares a Maglev ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    pub service: ObjectName,
    /// The Service's own port, not the endpoints'.
    pub port: NonZeroU16,
    pub protocol: Protocol,
    pub family: Family,
}

/// Endpoints that newcomers may be given. Those that only drain are in [`L4Tables::alive`] alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSet {
    pub ready: BTreeSet<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// The node it runs on, where its slice says so.
    pub node: Option<String>,
}

/// A split that the data plane could not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("a rule has {0} backends; the API allows 1 to {max}", max = Split::MAX_BACKENDS)]
    Backends(usize),
    #[error("backend {name} has weight {weight}; the API allows 0 to {max}", max = Backend::MAX_WEIGHT)]
    Weight { name: String, weight: u32 },
}

impl Split {
    /// maxItems of backendRefs in the TCPRoute and UDPRoute CRDs.
    pub const MAX_BACKENDS: usize = 16;

    pub fn new(route: RouteName, backends: Vec<Backend>) -> Result<Self, SplitError> {
        if backends.is_empty() || backends.len() > Self::MAX_BACKENDS {
            return Err(SplitError::Backends(backends.len()));
        }
        if let Some(b) = backends.iter().find(|b| b.weight > Backend::MAX_WEIGHT) {
            return Err(SplitError::Weight { name: b.name.clone(), weight: b.weight });
        }
        Ok(Self { route, backends })
    }

    pub fn route(&self) -> &RouteName {
        &self.route
    }

    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Below 2^25, so the program's 32-bit arithmetic can't overflow.
    pub fn total_weight(&self) -> u32 {
        self.backends.iter().map(|b| b.weight).sum()
    }
}

impl Backend {
    /// maximum of weight in the CRDs.
    pub const MAX_WEIGHT: u32 = 1_000_000;
}

impl Family {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port.get()), self.protocol)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.gateway, self.listener)
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCPRoute",
            Self::Tls => "TLSRoute",
            Self::Udp => "UDPRoute",
        })
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} rule {}", self.kind, self.object, self.rule)
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{} {}", self.service, self.port, self.protocol, self.family)
    }
}
