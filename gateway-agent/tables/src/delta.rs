//! What a change of the tables is about: whatever is not named here is as it was before.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use crate::http::{HttpService, HttpTables};
use crate::{FrontendKey, HostPattern, ListenerName, ObjectName, Protocol, ServicePort};

/// What may differ between the former [`Tables`](crate::Tables) and the present ones, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub l4: L4Delta,
    pub tls: TlsDelta,
    pub http: HttpDelta,
}

/// Keys of [`L4Tables`](crate::L4Tables).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L4Delta {
    pub frontends: BTreeSet<FrontendKey>,
    pub services: BTreeSet<ServicePort>,
    pub alive: BTreeSet<(Protocol, SocketAddr)>,
    pub pool: BTreeSet<IpAddr>,
}

/// Keys of [`TlsTables`](crate::TlsTables).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsDelta {
    pub frontends: BTreeSet<FrontendKey>,
    pub certificates: BTreeSet<ObjectName>,
    pub backends: BTreeSet<(ObjectName, NonZeroU16)>,
}

/// Keys of [`HttpTables`](crate::http::HttpTables).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpDelta {
    pub frontends: BTreeSet<FrontendKey>,
    pub listeners: BTreeSet<ListenerName>,
    /// Of listeners that are otherwise as they were.
    pub hosts: BTreeSet<(ListenerName, HostPattern)>,
    pub http_routes: BTreeSet<ObjectName>,
    pub grpc_routes: BTreeSet<ObjectName>,
    pub services: BTreeSet<HttpService>,
}

impl HttpDelta {
    /// By which tables differ from empty ones.
    pub fn all(tables: &HttpTables) -> Self {
        Self {
            frontends: tables.frontends.keys().copied().collect(),
            listeners: tables.listeners.keys().cloned().collect(),
            hosts: BTreeSet::new(),
            http_routes: tables.http_routes.keys().cloned().collect(),
            grpc_routes: tables.grpc_routes.keys().cloned().collect(),
            services: tables.services.keys().cloned().collect(),
        }
    }

    /// Adds what another one names.
    pub fn extend(&mut self, other: Self) {
        let Self { frontends, listeners, hosts, http_routes, grpc_routes, services } = other;
        self.frontends.extend(frontends);
        self.listeners.extend(listeners);
        self.hosts.extend(hosts);
        self.http_routes.extend(http_routes);
        self.grpc_routes.extend(grpc_routes);
        self.services.extend(services);
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
