//! The kernel's tables: frontends, the splits of their routes, and the endpoints behind those.

use std::net::IpAddr;

use gateway_agent_tables::{
    Backend, EndpointSet, Family, Frontend, L4Tables, Refusal, RouteName, ServicePort, Split, Target,
};

use crate::Snapshot;
use crate::backend::Resolved;
use crate::bindings::{Bindings, Bound};
use crate::content::Content;
use crate::endpoints::Slices;
use crate::listener::ListenerProtocol;
use crate::stream::Rule;

/// Compiles what TCP and UDP listeners and their winning routes make.
pub(crate) fn compile(bindings: &Bindings<'_>, slices: &Slices<'_>, snapshot: &Snapshot) -> L4Tables {
    let mut tables = L4Tables { alive: slices.alive(), ..L4Tables::default() };
    for (index, gateway) in bindings.gateways.iter().enumerate() {
        for (place, listener) in gateway.listeners.iter().enumerate() {
            if !matches!(listener.protocol, Some(ListenerProtocol::Tcp | ListenerProtocol::Udp)) {
                continue;
            }
            // The oldest route gets all the traffic.
            let winner = bindings.attached(index, place).first().map(|it| &bindings.routes[it.route]);
            for key in gateway.frontends_of(listener, snapshot) {
                let split = winner.and_then(|bound| split(bound, key.address, slices, &mut tables));
                tables.frontends.insert(key, Frontend { listener: listener.name.clone(), split });
            }
        }
    }
    tables
}

/// The rule's share-out for a frontend of this address; a rule that the tables can't hold refuses everything.
pub(crate) fn split(
    bound: &Bound<'_>,
    frontend: IpAddr,
    slices: &Slices<'_>,
    tables: &mut L4Tables,
) -> Option<Split> {
    let Some((Content::Stream(Rule { kind, backends }), _)) = &bound.content else { return None };
    let backends = backends
        .iter()
        .map(|backend| Backend {
            name: backend.name.clone(),
            weight: backend.weight,
            target: match &backend.target {
                Ok(resolved) => Target::Service(service(resolved, frontend, slices, tables)),
                Err(_) => Target::Refuse(Refusal::InvalidBackend),
            },
        })
        .collect();
    let name = RouteName { kind: *kind, object: bound.route.name.clone(), rule: 0 };
    Split::new(name, backends).ok()
}

/// Puts a Service's port into the tables, with the endpoints of the frontend's family.
fn service(resolved: &Resolved, frontend: IpAddr, slices: &Slices<'_>, tables: &mut L4Tables) -> ServicePort {
    let key = ServicePort {
        service: resolved.service.clone(),
        port: resolved.port,
        protocol: resolved.protocol,
        family: Family::of(frontend),
    };
    if !tables.services.contains_key(&key) {
        let endpoints: EndpointSet = slices.endpoints(&key, &resolved.port_name);
        tables.services.insert(key.clone(), endpoints);
    }
    key
}
