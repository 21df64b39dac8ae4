//! The TLS tables: listeners and routes by the name in the ClientHello.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_agent_tables::{HostPattern, L4Tables, SniRoutes, TlsListener, TlsService, TlsTables};

use crate::Snapshot;
use crate::bindings::{Attached, Bindings};
use crate::endpoints::Slices;
use crate::frontends;
use crate::listener::{Listener, ListenerProtocol};
use crate::listener_spec::TlsMode;
use crate::tls::Certificates;

/// Compiles what listeners of protocols TLS and HTTPS make; the endpoints of their routes go to the other tables.
pub(crate) fn compile(
    bindings: &Bindings<'_>,
    certificates: &Certificates<'_>,
    slices: &Slices<'_>,
    l4: &mut L4Tables,
    snapshot: &Snapshot,
) -> TlsTables {
    let mut tables = TlsTables::default();
    for (index, gateway) in bindings.gateways.iter().enumerate() {
        for (place, listener) in gateway.listeners.iter().enumerate() {
            let Some(hostname) = &listener.hostname else { continue };
            for key in gateway.frontends_of(listener, snapshot) {
                let attached = bindings.attached(index, place);
                let routes = |l4: &mut L4Tables| sni_routes(attached, bindings, key.address, slices, l4);
                let Some(service) = service(listener, || routes(l4)) else { continue };
                let client_certificate = gateway.client_certificate.clone().ok().flatten();
                let listener = TlsListener { name: listener.name.clone(), service, client_certificate };
                tables.frontends.entry(key).or_default().listeners.insert(hostname.clone(), listener);
            }
        }
    }
    let usable = certificates.usable();
    tables.certificates = usable.map(|(name, loaded)| (name.clone(), loaded.certificate.clone())).collect();
    tables
}

/// None: a listener of another protocol.
fn service(listener: &Listener<'_>, routes: impl FnOnce() -> SniRoutes) -> Option<TlsService> {
    let termination = listener.tls.termination.clone();
    match listener.protocol? {
        ListenerProtocol::Tls(TlsMode::Passthrough) => Some(TlsService::Passthrough(routes())),
        ListenerProtocol::Tls(TlsMode::Terminate) => Some(TlsService::Terminate(termination?, routes())),
        ListenerProtocol::Https => Some(TlsService::Https(termination?)),
        ListenerProtocol::Tcp | ListenerProtocol::Udp | ListenerProtocol::Http => None,
    }
}

fn sni_routes(
    attached: &[Attached],
    bindings: &Bindings<'_>,
    frontend: IpAddr,
    slices: &Slices<'_>,
    l4: &mut L4Tables,
) -> SniRoutes {
    let routes = winners(attached).into_iter().filter_map(|(host, route)| {
        let split = frontends::split(&bindings.routes[route], frontend, slices, l4)?;
        Some((host.clone(), split))
    });
    SniRoutes(routes.collect())
}

/// The route that gets the connections for each effective host name: the one whose own host name is the most
/// specific, then the oldest.
pub(crate) fn winners(attached: &[Attached]) -> BTreeMap<&HostPattern, usize> {
    let mut best = BTreeMap::new();
    for Attached { route, hosts } in attached {
        for host in hosts {
            // Routes come in order of age, so an index is an age.
            let rank = (Reverse(host.own.specificity()), *route);
            let entry = best.entry(&host.effective).or_insert(rank);
            *entry = rank.min(*entry);
        }
    }
    best.into_iter().map(|(host, (_, route))| (host, route)).collect()
}
