//! The map `endpoints`: an id for each (protocol, address) that flows may have.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use aya::maps::{Array, MapData, MapError};
use gateway_agent_tables::{Endpoint, L4Tables, Protocol, ServicePort};
use gateway_common::maps::{self, EndpointState};

use crate::address::{mapped, number, protocol, socket};
use crate::apply::{ApplyProblem, ApplyReport};
use crate::ids::Ids;
use crate::peers::{NO_PEER, Peers};
use crate::ready::{Place, Ready};
use crate::store::Store;
use crate::sys;

pub(crate) type EndpointKey = (Protocol, SocketAddr);
type EndpointMap = Array<MapData, maps::Endpoint>;

#[derive(Debug)]
pub(crate) struct Endpoints {
    node: String,
    ids: Ids,
    /// Ready or draining.
    known: HashMap<EndpointKey, Known>,
    ready: Ready,
    /// Those that are ready no more, until no program can still be about to choose them.
    lowering: HashMap<EndpointKey, Lowering>,
}

/// What an endpoint is to become.
#[derive(Debug)]
struct Lowering {
    state: EndpointState,
    /// It was noted before the wait began that is under way.
    waits: bool,
}

#[derive(Debug)]
struct Known {
    id: u32,
    value: maps::Endpoint,
}

impl Endpoints {
    /// What an earlier agent left.
    pub(crate) fn recover(map: &EndpointMap, node: &str) -> Result<Self, MapError> {
        let mut known = HashMap::new();
        for (id, value) in (0u32..).zip(map.iter()) {
            let value = value?;
            if value.state == EndpointState::Gone as u8 {
                continue;
            }
            if let Some(protocol) = protocol(value.protocol) {
                known.insert((protocol, socket(value.address, value.port)), Known { id, value });
            }
        }
        let ids = Ids::recover(map.len(), known.values().map(|k| k.id));
        Ok(Self { node: node.to_owned(), ids, known, ready: Ready::default(), lowering: HashMap::new() })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &EndpointKey> {
        self.known.keys()
    }

    /// Whether one runs on the node with this id.
    pub(crate) fn has_peer(&self, peer: u32) -> bool {
        self.known.values().any(|known| known.value.peer == peer)
    }

    pub(crate) fn id(&self, key: &EndpointKey) -> Option<u32> {
        self.known.get(key).map(|known| known.id)
    }

    /// The Service ports whose endpoints are known.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServicePort> {
        self.ready.services()
    }

    /// Makes every endpoint ready that a ring of these Service ports will have. Gives the endpoints that they have, or had.
    pub(crate) fn raise(
        &mut self,
        store: &mut Store,
        tables: &L4Tables,
        services: &BTreeSet<ServicePort>,
        peers: &mut Peers,
        report: &mut ApplyReport,
    ) -> BTreeSet<EndpointKey> {
        let Store { endpoints: map, labels, .. } = store;
        let touched = self.ready.update(tables, services);
        self.make_room(map, &touched, report);
        for &key in &touched {
            let Some(Place { service, local, node }) = self.ready.place(&key, tables, &self.node) else {
                continue;
            };
            let peer = match node.filter(|_| !local).map_or(Ok(NO_PEER), |node| peers.id(labels, node)) {
                Ok(peer) => peer,
                Err(error) => {
                    report.map_problem("labels", &key.1, &error);
                    NO_PEER
                }
            };
            let (id, generation, new) = match self.known.get(&key) {
                Some(known) => (known.id, known.value.generation, false),
                None => match allocate(&mut self.ids, map) {
                    Ok(Some((id, generation))) => (id, generation, true),
                    Ok(None) => {
                        let (service, endpoint, capacity) = (service.clone(), key.1, self.ids.capacity());
                        report.problem(ApplyProblem::EndpointsFull { service, endpoint, capacity });
                        continue;
                    }
                    Err(error) => {
                        report.map_problem("endpoints", &key.1, &error);
                        continue;
                    }
                },
            };
            let value = endpoint(&key, EndpointState::Ready, generation, local, peer);
            if !new && self.known[&key].value == value {
                continue;
            }
            // A new use shows its generation before it is ready: flows of the former use see it as gone throughout.
            let gone = maps::Endpoint { state: EndpointState::Gone as u8, ..value };
            let announced = if new { map.set(id, gone, 0) } else { Ok(()) };
            if report.wrote("endpoints", &key.1, announced.and_then(|()| map.set(id, value, 0))) {
                self.known.insert(key, Known { id, value });
            } else if new {
                self.ids.free(id);
            }
        }
        touched
    }

    /// Waits for ids that are about to be free if these endpoints need more than there are.
    fn make_room(
        &mut self,
        map: &mut EndpointMap,
        touched: &BTreeSet<EndpointKey>,
        report: &mut ApplyReport,
    ) {
        let mut wanted = 0;
        for key in touched.iter().filter(|key| self.ready.contains(key)) {
            self.lowering.remove(key);
            wanted += usize::from(!self.known.contains_key(key));
        }
        if self.ids.free_count() < wanted && self.begin_release() {
            sys::wait_for_programs();
            self.release(map, report);
        }
    }

    /// Notes which of these endpoints are ready no more: those that are only listed are to drain, and those that aren't
    /// are to be gone. No ring may have them any more.
    pub(crate) fn lower<'k>(&mut self, tables: &L4Tables, endpoints: impl Iterator<Item = &'k EndpointKey>) {
        for key in endpoints {
            let Some(known) = self.known.get(key) else { continue };
            let state = match (self.ready.contains(key), tables.alive.contains(key)) {
                (true, _) => continue,
                (false, true) => EndpointState::Draining,
                (false, false) => EndpointState::Gone,
            };
            if known.value.state == state as u8 {
                self.lowering.remove(key);
            } else if self.lowering.get(key).is_none_or(|lowering| lowering.state != state) {
                self.lowering.insert(*key, Lowering { state, waits: false });
            }
        }
    }

    /// As [`Retired::begin`](crate::retired::Retired::begin).
    pub(crate) fn begin_release(&mut self) -> bool {
        self.lowering.values_mut().for_each(|lowering| lowering.waits = true);
        !self.lowering.is_empty()
    }

    /// When every program that may have read their rings has finished: flows of those that are gone are reset from now
    /// on, and their ids wait for reuse.
    pub(crate) fn release(&mut self, map: &mut EndpointMap, report: &mut ApplyReport) {
        let mut gone = Vec::new();
        for (key, Lowering { state, .. }) in self.lowering.extract_if(|_, lowering| lowering.waits) {
            let Some(known) = self.known.get_mut(&key) else { continue };
            let value = maps::Endpoint { state: state as u8, ..known.value };
            if report.wrote("endpoints", &key.1, map.set(known.id, value, 0)) {
                known.value = value;
                if state == EndpointState::Gone {
                    gone.push(key);
                }
            }
        }
        // By id, so that the order of reuse doesn't depend on the hash.
        gone.sort_by_key(|key| self.known[key].id);
        for key in gone {
            if let Some(known) = self.known.remove(&key) {
                self.ids.free(known.id);
                report.freed();
            }
        }
    }
}

/// An id and the generation of its coming use.
fn allocate(ids: &mut Ids, map: &EndpointMap) -> Result<Option<(u32, u32)>, MapError> {
    let Some(id) = ids.allocate() else { return Ok(None) };
    match map.get(&id, 0) {
        Ok(former) => Ok(Some((id, former.generation.wrapping_add(1)))),
        Err(error) => {
            ids.free(id);
            Err(error)
        }
    }
}

pub(crate) fn key(service: &ServicePort, endpoint: &Endpoint) -> EndpointKey {
    (service.protocol, SocketAddr::new(endpoint.address.ip(), endpoint.address.port()))
}

fn endpoint(
    key: &EndpointKey,
    state: EndpointState,
    generation: u32,
    local: bool,
    peer: u32,
) -> maps::Endpoint {
    maps::Endpoint {
        address: mapped(key.1.ip()),
        port: key.1.port(),
        protocol: number(key.0),
        state: state as u8,
        generation,
        local: u32::from(local),
        peer,
    }
}
