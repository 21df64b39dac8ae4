//! The kernel's tables: frontends, and the splits of their routes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_agent_tables::{
    Backend, Family, Frontend, FrontendKey, Refusal, RouteName, ServicePort, Split, Target,
};

use crate::backend::Resolved;
use crate::bindings::{Bindings, Bound, PlaceId};
use crate::content::Content;
use crate::listener::ListenerProtocol;
use crate::place::Place;
use crate::stream::Rule;

/// The Service ports that splits name, and the ports' names in slices.
pub(crate) type PortNames = BTreeMap<ServicePort, String>;

/// What a TCP or UDP listener and its winning route make; nothing if it is of another protocol.
pub(crate) fn of_place(
    id: &PlaceId,
    place: &Place,
    bindings: &Bindings,
    ports: &mut PortNames,
) -> Vec<(FrontendKey, Frontend)> {
    if !matches!(place.protocol, Some(ListenerProtocol::Tcp | ListenerProtocol::Udp)) {
        return Vec::new();
    }
    // The oldest route gets all the traffic.
    let winner = bindings.attached(id).next().and_then(|(route, _)| bindings.routes.get(route));
    let frontends = place.frontends.iter().map(|key| {
        let split = winner.and_then(|bound| split(bound, key.address, ports));
        (*key, Frontend { listener: place.name.clone(), split })
    });
    frontends.collect()
}

/// The rule's share-out for a frontend of this address; a rule that the tables can't hold refuses everything.
pub(crate) fn split(bound: &Bound, frontend: IpAddr, ports: &mut PortNames) -> Option<Split> {
    let Some((Content::Stream(Rule { kind, backends }), _)) = &bound.content else { return None };
    let backends = backends
        .iter()
        .map(|backend| Backend {
            name: backend.name.clone(),
            weight: backend.weight,
            target: match &backend.target {
                Ok(resolved) => Target::Service(service(resolved, frontend, ports)),
                Err(_) => Target::Refuse(Refusal::InvalidBackend),
            },
        })
        .collect();
    let name = RouteName { kind: *kind, object: bound.name(), rule: 0 };
    Split::new(name, backends).ok()
}

/// A Service's port, with the endpoints of the frontend's family.
fn service(resolved: &Resolved, frontend: IpAddr, ports: &mut PortNames) -> ServicePort {
    let key = ServicePort {
        service: resolved.service.clone(),
        port: resolved.port,
        protocol: resolved.protocol,
        family: Family::of(frontend),
    };
    ports.insert(key.clone(), resolved.port_name.clone());
    key
}
