//! EndpointSlices: who serves a Service's port now, and who may finish what it serves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use gateway_agent_api::endpoint_slice::Endpoint as SliceEndpoint;
use gateway_agent_api::{EndpointSlice, Kind, ObjectRef, Typed};
use gateway_agent_tables::http::HttpEndpoints;
use gateway_agent_tables::{Endpoint, EndpointSet, Family, L4Delta, ObjectName, Protocol, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointPort;

use crate::Snapshot;

/// Which slices each Service has, and what they list.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    /// By name.
    of_service: BTreeMap<ObjectName, BTreeSet<String>>,
    listed: BTreeMap<ObjectName, Listed>,
    /// How often an address is listed beyond once.
    again: HashMap<(Protocol, SocketAddr), usize>,
}

#[derive(Debug)]
struct Listed {
    service: ObjectName,
    addresses: Box<[(Protocol, SocketAddr)]>,
}

impl Slices {
    /// Takes over what became of slices. Gives the Services that may have other endpoints now, and keeps `alive`: every
    /// address and port that any Service's slice lists, whatever its conditions.
    pub(crate) fn update<'c>(
        &mut self,
        changed: impl Iterator<Item = &'c ObjectRef>,
        snapshot: &Snapshot,
        alive: &mut BTreeSet<(Protocol, SocketAddr)>,
        delta: &mut L4Delta,
    ) -> BTreeSet<ObjectName> {
        let mut services = BTreeSet::new();
        for object in changed.filter(|object| object.kind == Kind::EndpointSlice) {
            let name = ObjectName {
                namespace: object.namespace.clone().unwrap_or_default(),
                name: object.name.clone(),
            };
            let former = self.listed.remove(&name);
            let listed = snapshot.find(object).and_then(EndpointSlice::of).and_then(Listed::of);
            // First what comes, then what goes: an address that stays isn't touched.
            for address in listed.iter().flat_map(|listed| &listed.addresses) {
                if alive.insert(*address) {
                    delta.alive.insert(*address);
                } else {
                    *self.again.entry(*address).or_default() += 1;
                }
            }
            if let Some(former) = former {
                for address in former.addresses {
                    self.unlist(address, alive, delta);
                }
                if let Some(slices) = self.of_service.get_mut(&former.service) {
                    slices.remove(&name.name);
                    if slices.is_empty() {
                        self.of_service.remove(&former.service);
                    }
                }
                services.insert(former.service);
            }
            if let Some(listed) = listed {
                self.of_service.entry(listed.service.clone()).or_default().insert(name.name.clone());
                services.insert(listed.service.clone());
                self.listed.insert(name, listed);
            }
        }
        services
    }

    fn unlist(
        &mut self,
        address: (Protocol, SocketAddr),
        alive: &mut BTreeSet<(Protocol, SocketAddr)>,
        delta: &mut L4Delta,
    ) {
        match self.again.get_mut(&address) {
            Some(times) if *times > 1 => *times -= 1,
            Some(_) => drop(self.again.remove(&address)),
            None => {
                alive.remove(&address);
                delta.alive.insert(address);
            }
        }
    }

    /// The endpoints that newcomers to a Service's port may be given.
    ///
    /// Slices know a port by its name in the Service, which is empty for an only port.
    pub(crate) fn endpoints(&self, key: &ServicePort, port_name: &str, snapshot: &Snapshot) -> EndpointSet {
        EndpointSet { ready: self.serving(key, port_name, snapshot).ready }
    }

    /// The same, and beside them those that only whom they know already may be given.
    pub(crate) fn serving(&self, key: &ServicePort, port_name: &str, snapshot: &Snapshot) -> HttpEndpoints {
        let mut ready = BTreeMap::new();
        let mut draining = BTreeMap::new();
        for slice in self.of_service.get(&key.service).into_iter().flatten() {
            let Some(slice) = snapshot.named::<EndpointSlice>(&key.service.namespace, slice) else {
                continue;
            };
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
                        *node = node.take().max(endpoint.node_name.as_deref().map(str::to_owned));
                    }
                }
            }
        }
        // As kube-proxy has it: while none is ready, those that still serve while they terminate are given newcomers.
        if ready.is_empty() {
            std::mem::swap(&mut ready, &mut draining);
        }
        let set = |of: BTreeMap<_, _>| of.into_iter().map(|(address, node)| Endpoint { address, node });
        HttpEndpoints { ready: set(ready).collect(), draining: set(draining).collect() }
    }
}

impl Listed {
    /// None: a slice of no Service.
    fn of(slice: &EndpointSlice) -> Option<Self> {
        let service = slice.service.as_deref()?;
        let namespace = slice.metadata.namespace.clone()?;
        let addresses = ports(slice).flat_map(|port| {
            [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(move |protocol| {
                addresses(slice, port, protocol).map(move |(_, address)| (protocol, address))
            })
        });
        Some(Self {
            service: ObjectName { namespace, name: service.to_owned() },
            addresses: addresses.collect(),
        })
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
        let ready = endpoint.ready.unwrap_or(true);
        let serving = endpoint.serving.unwrap_or(ready);
        let terminating = endpoint.terminating.unwrap_or(false);
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
    slice.ports.iter()
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
    slice
        .endpoints
        .iter()
        .filter_map(move |endpoint| Some((endpoint, SocketAddr::new(endpoint.address()?, number?))))
}

/// The protocol of a Service's or slice's port; None for those that no route forwards.
pub(crate) fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}
