//! The kernel's tables: frontends, the splits of their routes, and the endpoints behind those.

use std::net::IpAddr;

use gateway_agent_tables::{
    Backend, EndpointSet, Family, Frontend, L4Tables, Protocol, Refusal, RouteName, ServicePort, Split,
    Target,
};

use crate::attachment::Attachments;
use crate::backend::{Resolved, Unresolved};
use crate::endpoints::Slices;
use crate::gateway::Gateway;
use crate::route::{BackendRef, Route};

/// Compiles what listeners and their winning routes make.
pub(crate) fn compile(
    gateways: &[Gateway<'_>],
    routes: &[Route<'_>],
    attachments: &Attachments,
    slices: &Slices<'_>,
) -> L4Tables {
    let mut tables = L4Tables { alive: slices.alive(), ..L4Tables::default() };
    for (index, gateway) in gateways.iter().enumerate() {
        for (place, listener) in gateway.listeners.iter().enumerate() {
            let winner = attachments.winner(index, place);
            for key in gateway.frontends_of(listener) {
                let split = winner.and_then(|route| {
                    split(&routes[route], attachments.backends(route), key.address, slices, &mut tables)
                });
                tables.frontends.insert(key, Frontend { listener: listener.name.clone(), split });
            }
        }
    }
    tables
}

/// The rule's share-out for a frontend of this address; a rule that the tables can't hold refuses everything.
fn split(
    route: &Route<'_>,
    targets: &[Result<Resolved, Unresolved>],
    frontend: IpAddr,
    slices: &Slices<'_>,
    tables: &mut L4Tables,
) -> Option<Split> {
    let rule = route.rules.first()?;
    let backends = rule.iter().zip(targets).map(|(reference, target)| Backend {
        name: name(reference),
        weight: reference.weight,
        target: match target {
            Ok(resolved) => Target::Service(service(resolved, route.protocol(), frontend, slices, tables)),
            Err(_) => Target::Refuse(Refusal::InvalidBackend),
        },
    });
    let name = RouteName { kind: route.kind, object: route.name.clone(), rule: 0 };
    let backends = backends.collect();
    Split::new(name, backends).ok()
}

/// Puts a Service's port into the tables, with the endpoints of the frontend's family.
fn service(
    resolved: &Resolved,
    protocol: Protocol,
    frontend: IpAddr,
    slices: &Slices<'_>,
    tables: &mut L4Tables,
) -> ServicePort {
    let key = ServicePort {
        service: resolved.service.clone(),
        port: resolved.port,
        protocol,
        family: Family::of(frontend),
    };
    if !tables.services.contains_key(&key) {
        let endpoints: EndpointSet = slices.endpoints(&key, &resolved.port_name);
        tables.services.insert(key.clone(), endpoints);
    }
    key
}

fn name(reference: &BackendRef<'_>) -> String {
    let BackendRef { namespace, name, port, .. } = reference;
    match port {
        Some(port) => format!("{namespace}/{name}:{port}"),
        None => format!("{namespace}/{name}"),
    }
}
