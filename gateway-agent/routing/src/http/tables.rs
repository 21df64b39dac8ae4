//! The tables that the proxy gets: listeners, the routes of their host names, and endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_agent_tables::http::{HttpEndpoints, HttpListener, HttpService, HttpTables, Scheme};
use gateway_agent_tables::{Family, HttpDelta, ObjectName, Protocol, ServicePort};

use super::{Compiled, Rules};
use crate::Snapshot;
use crate::attachment::RouteHost;
use crate::endpoints::Slices;
use crate::listener::ListenerProtocol;
use crate::place::Place;

/// Puts a listener into the tables, without routes yet, if it is served and of protocol HTTP or HTTPS.
pub(crate) fn add_listener(place: &Place, tables: &mut HttpTables, delta: &mut HttpDelta) {
    let scheme = match place.protocol {
        Some(ListenerProtocol::Http) => Scheme::Http,
        Some(ListenerProtocol::Https) => Scheme::Https,
        _ => return,
    };
    let (Some(hostname), Some(first)) = (&place.hostname, place.frontends.first()) else { return };
    for key in &place.frontends {
        let frontend = tables.frontends.entry(*key).or_default();
        frontend.listeners.insert(hostname.clone(), place.name.clone());
        delta.frontends.insert(*key);
    }
    let listener = HttpListener {
        scheme,
        port: first.port,
        settings: place.http,
        hosts: BTreeMap::new(),
        telemetry: place.telemetry,
    };
    tables.listeners.insert(place.name.clone(), listener);
    delta.listeners.insert(place.name.clone());
}

/// Takes a listener out of the tables, with what routes put there.
pub(crate) fn remove_listener(place: &Place, tables: &mut HttpTables, delta: &mut HttpDelta) {
    if served(place, tables).is_none() {
        return;
    }
    tables.listeners.remove(&place.name);
    delta.listeners.insert(place.name.clone());
    for key in &place.frontends {
        let Some(frontend) = tables.frontends.get_mut(key) else { continue };
        frontend.listeners.retain(|_, name| *name != place.name);
        if frontend.listeners.is_empty() {
            tables.frontends.remove(key);
        }
        delta.frontends.insert(*key);
    }
}

/// None: it is not in the tables.
fn served<'t>(place: &Place, tables: &'t mut HttpTables) -> Option<&'t mut HttpListener> {
    // A name is a listener's own only while it is served.
    if place.is_http() && !place.frontends.is_empty() { tables.listeners.get_mut(&place.name) } else { None }
}

/// Puts a route under its own host names, since requests are for one of the listener's already; false: the listener is
/// not served.
pub(crate) fn attach(
    (route, compiled): (&ObjectName, &Compiled),
    hosts: &[RouteHost],
    place: &Place,
    tables: &mut HttpTables,
    delta: &mut HttpDelta,
) -> bool {
    let Some(made) = served(place, tables) else { return false };
    for host in hosts {
        delta.hosts.insert((place.name.clone(), host.own.clone()));
        let of_host = made.hosts.entry(host.own.clone()).or_default();
        match &compiled.rules {
            Rules::Http(_) => of_host.http.insert(route.clone()),
            Rules::Grpc(_) => of_host.grpc.insert(route.clone()),
        };
    }
    true
}

/// What [`attach`] did is undone; false: the listener is not served.
pub(crate) fn detach(
    (route, compiled): (&ObjectName, &Compiled),
    hosts: &[RouteHost],
    place: &Place,
    tables: &mut HttpTables,
    delta: &mut HttpDelta,
) -> bool {
    let Some(made) = served(place, tables) else { return false };
    for host in hosts {
        delta.hosts.insert((place.name.clone(), host.own.clone()));
        let Some(of_host) = made.hosts.get_mut(&host.own) else { continue };
        match &compiled.rules {
            Rules::Http(_) => of_host.http.remove(route),
            Rules::Grpc(_) => of_host.grpc.remove(route),
        };
        if of_host.http.is_empty() && of_host.grpc.is_empty() {
            made.hosts.remove(&host.own);
        }
    }
    true
}

/// Puts a route into the tables, or its present rules in place of former ones.
pub(crate) fn add_route(
    name: &ObjectName,
    compiled: &Compiled,
    tables: &mut HttpTables,
    delta: &mut HttpDelta,
) {
    match &compiled.rules {
        Rules::Http(route) => {
            tables.http_routes.insert(name.clone(), Arc::clone(route));
            delta.http_routes.insert(name.clone());
        }
        Rules::Grpc(route) => {
            tables.grpc_routes.insert(name.clone(), Arc::clone(route));
            delta.grpc_routes.insert(name.clone());
        }
    }
}

pub(crate) fn remove_route(
    name: &ObjectName,
    compiled: &Compiled,
    tables: &mut HttpTables,
    delta: &mut HttpDelta,
) {
    match &compiled.rules {
        Rules::Http(_) => {
            tables.http_routes.remove(name);
            delta.http_routes.insert(name.clone());
        }
        Rules::Grpc(_) => {
            tables.grpc_routes.remove(name);
            delta.grpc_routes.insert(name.clone());
        }
    }
}

/// Endpoints of both families: the proxy connects to either, whatever the client came by.
pub(crate) fn endpoints(
    service: &HttpService,
    port_name: &str,
    slices: &Slices,
    snapshot: &Snapshot,
) -> HttpEndpoints {
    let mut all = HttpEndpoints::default();
    for family in [Family::V4, Family::V6] {
        let key = ServicePort {
            service: service.service.clone(),
            port: service.port,
            protocol: Protocol::Tcp,
            family,
        };
        let of_family = slices.serving(&key, port_name, snapshot);
        all.ready.extend(of_family.ready);
        all.draining.extend(of_family.draining);
    }
    all
}
