//! The TLS tables: listeners and routes by the name in the ClientHello.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use gateway_agent_api::ObjectRef;
use gateway_agent_tables::{FrontendKey, HostPattern, ObjectName, SniRoutes, TlsListener, TlsService};

use crate::bindings::{Bindings, PlaceId};
use crate::frontends::{self, PortNames};
use crate::listener::ListenerProtocol;
use crate::listener_spec::TlsMode;
use crate::place::Place;

/// For host names that routes can't share the route that gets each.
pub(crate) type Winners = BTreeMap<HostPattern, Arc<ObjectRef>>;

/// What a listener of protocol TLS or HTTPS makes; nothing if it is of another.
pub(crate) fn of_place(
    place: &Place,
    client_certificate: Option<&ObjectName>,
    winners: &Winners,
    bindings: &Bindings,
    ports: &mut PortNames,
) -> Vec<(FrontendKey, TlsListener)> {
    let mut made = Vec::new();
    for key in &place.frontends {
        let Some(service) = service(place, || routes(winners, bindings, key.address, ports)) else {
            continue;
        };
        let client_certificate = client_certificate.cloned();
        made.push((*key, TlsListener { name: place.name.clone(), service, client_certificate }));
    }
    made
}

/// None: a listener of another protocol.
fn service(place: &Place, routes: impl FnOnce() -> SniRoutes) -> Option<TlsService> {
    let termination = place.termination.clone();
    match place.protocol? {
        ListenerProtocol::Tls(TlsMode::Passthrough) => Some(TlsService::Passthrough(routes())),
        ListenerProtocol::Tls(TlsMode::Terminate) => Some(TlsService::Terminate(termination?, routes())),
        ListenerProtocol::Https => Some(TlsService::Https(termination?)),
        ListenerProtocol::Tcp | ListenerProtocol::Udp | ListenerProtocol::Http => None,
    }
}

fn routes(winners: &Winners, bindings: &Bindings, frontend: IpAddr, ports: &mut PortNames) -> SniRoutes {
    let routes = winners.iter().filter_map(|(host, route)| {
        let split = frontends::split(bindings.routes.get(route)?, frontend, ports)?;
        Some((host.clone(), split))
    });
    SniRoutes(routes.collect())
}

/// The route that gets the connections for each effective host name: the one whose own host name is the most
/// specific, then the oldest.
pub(crate) fn winners(id: &PlaceId, bindings: &Bindings) -> Winners {
    let mut best = BTreeMap::new();
    for (age, (route, attached)) in bindings.attached(id).enumerate() {
        for host in &*attached.hosts {
            let rank = (Reverse(host.own.specificity()), age, route);
            let entry = best.entry(&host.effective).or_insert(rank);
            *entry = rank.min(*entry);
        }
    }
    best.into_iter().map(|(host, (_, _, route))| (host.clone(), Arc::clone(route))).collect()
}
