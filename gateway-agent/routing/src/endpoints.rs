//! EndpointSlices: who serves a Service's port now, and who may finish what it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use gateway_agent_api::EndpointSlice;
use gateway_agent_tables::{Endpoint, EndpointSet, Family, Protocol, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointPort};

use crate::Snapshot;

/// Says which Service a slice belongs to.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The slices of every Service, found by namespace and name.
#[derive(Debug)]
pub(crate) struct Slices<'a>(BTreeMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>);

impl<'a> Slices<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot) -> Self {
        let mut slices = BTreeMap::<_, Vec<_>>::new();
        for slice in snapshot.all::<EndpointSlice>() {
            let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
            if let (Some(namespace), Some(service)) = (slice.metadata.namespace.as_deref(), service) {
                slices.entry((namespace, service.as_str())).or_default().push(slice);
            }
        }
        Self(slices)
    }

    /// The endpoints that newcomers to a Service's port may be given: the ready ones, or while there is none, those
    /// that still serve while they terminate (as kube-proxy has it).
    ///
    /// Slices know a port by its name in the Service, which is empty for an only port.
    pub(crate) fn endpoints(&self, key: &ServicePort, port_name: &str) -> EndpointSet {
        let service = (key.service.namespace.as_str(), key.service.name.as_str());
        let mut ready = BTreeMap::new();
        let mut draining = BTreeMap::new();
        for slice in self.0.get(&service).into_iter().flatten() {
            for port in ports(slice).filter(|port| port.name.as_deref().unwrap_or_default() == port_name) {
                for (endpoint, address) in addresses(slice, port, key.protocol) {
                    let class = match Class::of(endpoint) {
                        Class::Ready => &mut ready,
                        Class::Draining => &mut draining,
                        Class::Unusable => continue,
                    };
                    if Family::of(address.ip()) == key.family {
                        let node: &mut Option<String> = class.entry(address).or_default();
                        // Slices may name an address twice while an endpoint moves between them.
                        *node = node.take().max(endpoint.node_name.clone());
                    }
                }
            }
        }
        let chosen = if ready.is_empty() { draining } else { ready };
        EndpointSet { ready: chosen.into_iter().map(|(address, node)| Endpoint { address, node }).collect() }
    }

    /// Every address and port that any Service's slice lists, whatever its conditions.
    pub(crate) fn alive(&self) -> BTreeSet<(Protocol, SocketAddr)> {
        let slices = self.0.values().flatten();
        slices
            .flat_map(|slice| ports(slice).map(move |port| (slice, port)))
            .flat_map(|(slice, port)| {
                [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(move |protocol| {
                    addresses(slice, port, protocol).map(move |(_, address)| (protocol, address))
                })
            })
            .collect()
    }
}

/// What an endpoint's conditions allow.
enum Class {
    Ready,
    /// Terminating, but still serving.
    Draining,
    Unusable,
}

impl Class {
    fn of(endpoint: &SliceEndpoint) -> Self {
        // The API: an unknown ready counts as true, an unknown serving as ready, an unknown terminating as false.
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
        if ready {
            Self::Ready
        } else if serving && terminating {
            Self::Draining
        } else {
            Self::Unusable
        }
    }
}

fn ports(slice: &EndpointSlice) -> impl Iterator<Item = &EndpointPort> {
    slice.ports.iter().flatten()
}

/// The slice's endpoints with their address at this port; none if the port has another protocol.
fn addresses<'a>(
    slice: &'a EndpointSlice,
    port: &'a EndpointPort,
    protocol: Protocol,
) -> impl Iterator<Item = (&'a SliceEndpoint, SocketAddr)> {
    let number = port
        .port
        .filter(|_| self::protocol(port.protocol.as_deref()) == Some(protocol))
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0);
    slice.endpoints.iter().filter_map(move |endpoint| {
        // The API defines no meaning for further addresses of one endpoint.
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        Some((endpoint, SocketAddr::new(address, number?)))
    })
}

/// The protocol of a Service's or slice's port; None for those that no route forwards.
pub(crate) fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}
