//! The tables that the proxy gets: listeners, the routes of their host names, and endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_agent_tables::http::{HttpListener, HttpService, HttpTables, Scheme};
use gateway_agent_tables::{EndpointSet, Family, HostPattern, Protocol, ServicePort};

use super::Rules;
use crate::Snapshot;
use crate::bindings::{Attached, Bindings};
use crate::content::Content;
use crate::endpoints::Slices;
use crate::listener::{Listener, ListenerProtocol};

/// Compiles what listeners of protocols HTTP and HTTPS make.
pub(crate) fn compile(bindings: &Bindings<'_>, slices: &Slices<'_>, snapshot: &Snapshot) -> HttpTables {
    let mut tables = HttpTables::default();
    for (index, gateway) in bindings.gateways.iter().enumerate() {
        for (place, listener) in gateway.listeners.iter().enumerate() {
            let Some((mut made, hostname)) = listener_of(listener) else { continue };
            let frontends = gateway.frontends_of(listener, snapshot);
            if frontends.is_empty() {
                continue;
            }
            let name = &listener.name;
            for key in frontends {
                let of_frontend = tables.frontends.entry(key).or_default();
                of_frontend.listeners.insert(hostname.clone(), name.clone());
            }
            for attached in bindings.attached(index, place) {
                attach(attached, bindings, slices, &mut made, &mut tables);
            }
            tables.listeners.insert(name.clone(), made);
        }
    }
    tables
}

/// The listener, without routes yet, and its host name; None: one of another protocol.
fn listener_of<'l>(listener: &'l Listener<'_>) -> Option<(HttpListener, &'l HostPattern)> {
    let scheme = match listener.protocol? {
        ListenerProtocol::Http => Scheme::Http,
        ListenerProtocol::Https => Scheme::Https,
        ListenerProtocol::Tcp | ListenerProtocol::Udp | ListenerProtocol::Tls(_) => return None,
    };
    let made = HttpListener { scheme, port: listener.port?, hosts: BTreeMap::new() };
    Some((made, listener.hostname.as_ref()?))
}

/// Puts a route under its own host names: requests are for one of the listener's already.
fn attach(
    attached: &Attached,
    bindings: &Bindings<'_>,
    slices: &Slices<'_>,
    listener: &mut HttpListener,
    tables: &mut HttpTables,
) {
    let bound = &bindings.routes[attached.route];
    let Some((Content::Http(compiled), _)) = &bound.content else { return };
    let name = &bound.route.name;
    for host in &attached.hosts {
        let of_host = listener.hosts.entry(host.own.clone()).or_default();
        match &compiled.rules {
            Rules::Http(_) => of_host.http.insert(name.clone()),
            Rules::Grpc(_) => of_host.grpc.insert(name.clone()),
        };
    }
    match &compiled.rules {
        Rules::Http(route) => drop(tables.http_routes.insert(name.clone(), Arc::clone(route))),
        Rules::Grpc(route) => drop(tables.grpc_routes.insert(name.clone(), Arc::clone(route))),
    }
    for (service, port_name) in &compiled.services {
        if !tables.services.contains_key(service) {
            tables.services.insert(service.clone(), endpoints(service, port_name, slices));
        }
    }
}

/// Endpoints of both families: the proxy connects to either, whatever the client came by.
fn endpoints(service: &HttpService, port_name: &str, slices: &Slices<'_>) -> EndpointSet {
    let of_families = [Family::V4, Family::V6].map(|family| {
        let key = ServicePort {
            service: service.service.clone(),
            port: service.port,
            protocol: Protocol::Tcp,
            family,
        };
        slices.endpoints(&key, port_name).ready
    });
    EndpointSet { ready: of_families.into_iter().flatten().collect() }
}
