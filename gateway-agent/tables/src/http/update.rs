//! A change of [`HttpTables`] as it is sent: what its delta names, with the present values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    GrpcMatch, HostRoutes, HttpEndpoints, HttpFrontend, HttpListener, HttpMatch, HttpRoute, HttpService,
    HttpTables,
};
use crate::{FrontendKey, HostPattern, HttpDelta, ListenerName, ObjectName};

/// What is to be put in place of what was there. Applied to empty tables, one of [`HttpDelta::all`] makes all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpUpdate {
    frontends: Values<FrontendKey, HttpFrontend>,
    listeners: Values<ListenerName, HttpListener>,
    /// Of listeners that are not in `listeners`, or were put there before.
    hosts: BTreeMap<ListenerName, Values<HostPattern, HostRoutes>>,
    http_routes: Values<ObjectName, Arc<HttpRoute<HttpMatch>>>,
    grpc_routes: Values<ObjectName, Arc<HttpRoute<GrpcMatch>>>,
    services: Values<HttpService, HttpEndpoints>,
}

/// By key; None: there is nothing any more.
type Values<K, V> = BTreeMap<K, Option<V>>;

impl HttpUpdate {
    /// What leads to these tables from those that differ by `delta`.
    pub fn new(tables: &HttpTables, delta: &HttpDelta) -> Self {
        let mut hosts: BTreeMap<_, Values<_, _>> = BTreeMap::new();
        for (name, host) in delta.hosts.iter().filter(|(name, _)| !delta.listeners.contains(name)) {
            let Some(listener) = tables.listeners.get(name) else { continue };
            let of_listener = hosts.entry(name.clone()).or_default();
            of_listener.insert(host.clone(), listener.hosts.get(host).cloned());
        }
        Self {
            frontends: values(&delta.frontends, &tables.frontends),
            listeners: values(&delta.listeners, &tables.listeners),
            hosts,
            http_routes: values(&delta.http_routes, &tables.http_routes),
            grpc_routes: values(&delta.grpc_routes, &tables.grpc_routes),
            services: values(&delta.services, &tables.services),
        }
    }

    /// Adds a later one: what both change is as that says.
    pub fn extend(&mut self, later: Self) {
        for name in later.listeners.keys() {
            self.hosts.remove(name);
        }
        for (name, hosts) in later.hosts {
            self.hosts.entry(name).or_default().extend(hosts);
        }
        self.frontends.extend(later.frontends);
        self.listeners.extend(later.listeners);
        self.http_routes.extend(later.http_routes);
        self.grpc_routes.extend(later.grpc_routes);
        self.services.extend(later.services);
    }

    /// What it is about.
    pub fn delta(&self) -> HttpDelta {
        let of_listener = |(name, hosts): (&ListenerName, &Values<HostPattern, HostRoutes>)| -> Vec<_> {
            hosts.keys().map(|host| (name.clone(), host.clone())).collect()
        };
        HttpDelta {
            frontends: self.frontends.keys().copied().collect(),
            listeners: self.listeners.keys().cloned().collect(),
            hosts: self.hosts.iter().flat_map(of_listener).collect(),
            http_routes: self.http_routes.keys().cloned().collect(),
            grpc_routes: self.grpc_routes.keys().cloned().collect(),
            services: self.services.keys().cloned().collect(),
        }
    }

    pub fn apply(self, tables: &mut HttpTables) {
        put(self.frontends, &mut tables.frontends);
        put(self.listeners, &mut tables.listeners);
        for (name, hosts) in self.hosts {
            if let Some(listener) = tables.listeners.get_mut(&name) {
                put(hosts, &mut listener.hosts);
            }
        }
        put(self.http_routes, &mut tables.http_routes);
        put(self.grpc_routes, &mut tables.grpc_routes);
        put(self.services, &mut tables.services);
    }
}

fn values<K: Ord + Clone, V: Clone>(keys: &BTreeSet<K>, table: &BTreeMap<K, V>) -> Values<K, V> {
    keys.iter().map(|key| (key.clone(), table.get(key).cloned())).collect()
}

fn put<K: Ord, V>(values: Values<K, V>, table: &mut BTreeMap<K, V>) {
    for (key, value) in values {
        match value {
            Some(value) => drop(table.insert(key, value)),
            None => drop(table.remove(&key)),
        }
    }
}
