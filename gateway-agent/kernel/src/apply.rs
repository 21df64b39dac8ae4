//! Tables into maps: in an order in which no packet ever meets half of a change.
//!
//! What is added is added from the inside out: endpoints, port bits, rings, splits, frontends. What is removed is
//! removed from the outside in: frontends, and only when every program that read them has finished, splits, rings and
//! endpoints. That takes some 20 ms, which nobody has to wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;

use aya::maps::MapError;
use gateway_agent_tables::{FrontendKey, L4Delta, L4Tables, RouteName, ServicePort};
use thiserror::Error;

use crate::endpoints::Endpoints;
use crate::frontends::Frontends;
use crate::peers::{PeerLink, Peers};
use crate::ports::Ports;
use crate::rings::{Rings, targets};
use crate::store::Store;
use crate::{flows, sys};

/// What [`crate::Kernel::apply`] changed and what it could not.
#[derive(Debug, Default)]
#[must_use]
pub struct ApplyReport {
    /// Map entries written or removed; 0: everything was in place already.
    pub changes: usize,
    /// What is not in the kernel as the tables say. Everything else is.
    pub problems: Vec<ApplyProblem>,
    freed: bool,
}

/// Something that the kernel doesn't hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApplyProblem {
    #[error("frontend {frontend} is not served: all {capacity} frontends are in use; {}", raise("frontends"))]
    FrontendsFull { frontend: FrontendKey, capacity: u32 },
    #[error(
        "frontend {frontend} keeps its former backends: all {capacity} splits are in use; {}",
        raise("frontends")
    )]
    SplitsFull { frontend: FrontendKey, capacity: u32 },
    #[error(
        "{route} at {frontend}: backend {backend} is served but not counted: all {capacity} backends are in use; {}",
        raise("backends")
    )]
    BackendsFull { frontend: FrontendKey, route: RouteName, backend: String, capacity: u32 },
    #[error(
        "Service port {service} gets no connections: all {capacity} Service ports are in use; {}",
        raise("services")
    )]
    ServicesFull { service: ServicePort, capacity: u32 },
    #[error(
        "Service port {service} has a shorter ring or none: {needed} places in a row are not free in {capacity}; {}",
        raise("ring-places")
    )]
    RingPlacesFull { service: ServicePort, needed: u32, capacity: u32 },
    #[error(
        "endpoint {endpoint} of {service} gets no connections: all {capacity} endpoints are in use; {}",
        raise("endpoints")
    )]
    EndpointsFull { service: ServicePort, endpoint: SocketAddr, capacity: u32 },
    #[error("frontend {frontend} is not served: {cause}")]
    NotSteered { frontend: FrontendKey, cause: String },
    #[error("{object}: the kernel refused a change of map {map}: {cause}; the next change tries again")]
    Map { map: &'static str, object: String, cause: String },
}

impl ApplyProblem {
    /// The frontend that is not as the tables say.
    pub fn frontend(&self) -> Option<FrontendKey> {
        match self {
            Self::FrontendsFull { frontend, .. }
            | Self::SplitsFull { frontend, .. }
            | Self::NotSteered { frontend, .. } => Some(*frontend),
            _ => None,
        }
    }
}

/// The way out of a full table, by a name of [`crate::Sizes::NAMES`].
fn raise(size: &str) -> String {
    format!("raise --size {size} (pinned tables keep their sizes until `gateway-agent detach`)")
}

impl ApplyReport {
    pub(crate) fn problem(&mut self, problem: ApplyProblem) {
        self.problems.push(problem);
    }

    pub(crate) fn map_problem(&mut self, map: &'static str, object: &impl Display, error: &MapError) {
        self.problem(ApplyProblem::Map { map, object: object.to_string(), cause: crate::one_line(error) });
    }

    /// Counts a write or reports why there was none; true: it was written.
    pub(crate) fn wrote(
        &mut self,
        map: &'static str,
        object: &impl Display,
        result: Result<(), MapError>,
    ) -> bool {
        match result {
            Ok(()) => self.changes += 1,
            Err(error) => {
                self.map_problem(map, object, &error);
                return false;
            }
        }
        true
    }

    pub(crate) fn not_steered(&mut self, frontends: &BTreeSet<FrontendKey>, cause: &str) {
        for frontend in frontends {
            self.problem(ApplyProblem::NotSteered { frontend: *frontend, cause: cause.to_owned() });
        }
    }

    /// There is room that wasn't there before.
    pub(crate) fn freed(&mut self) {
        self.freed = true;
    }

    /// Every split and ring is that of the tables.
    fn is_complete(&self) -> bool {
        !self.problems.iter().any(|p| matches!(p, ApplyProblem::Map { .. } | ApplyProblem::SplitsFull { .. }))
    }
}

/// The maps as the agent last wrote them.
pub(crate) struct Feed {
    pub(crate) store: Store,
    endpoints: Endpoints,
    rings: Rings,
    frontends: Frontends,
    ports: Ports,
    peers: Peers,
    /// Everything is in the kernel as the tables said that were applied last.
    settled: bool,
}

impl Feed {
    /// Continues where an earlier agent stopped: everything keeps its id.
    pub(crate) fn recover(mut store: Store, node: &str) -> Result<Self, MapError> {
        let endpoints = Endpoints::recover(&store.endpoints, node)?;
        let peers = Peers::recover(&mut store, &endpoints)?;
        let rings = Rings::recover(&mut store)?;
        let frontends = Frontends::recover(&mut store)?;
        let mut ports = Ports::new();
        for key in frontends.keys() {
            ports.add_frontend(key.protocol, key.port.get());
        }
        for (protocol, address) in endpoints.keys() {
            ports.add_endpoint(*protocol, address.port());
        }
        for flow in flows::live(&store.forward, &store.slots, sys::tick()) {
            ports.add_frontend(flow.protocol, flow.frontend.port());
            ports.add_endpoint(flow.protocol, flow.endpoint.port());
        }
        ports.write(&mut store.ports)?;
        Ok(Self { store, endpoints, rings, frontends, ports, peers, settled: false })
    }

    pub(crate) fn set_peers(&mut self, links: &BTreeMap<String, PeerLink>) -> Result<(), MapError> {
        self.peers.set(&mut self.store, links)
    }

    /// Makes everything as the tables say.
    pub(crate) fn apply(&mut self, tables: &L4Tables) -> ApplyReport {
        let all = self.everything(tables);
        // What was given up before is room for what comes.
        let before = self.settle();
        let mut report = self.whole_pass(tables, &all);
        if !report.problems.is_empty() && report.freed {
            // What didn't fit may fit now that the former tables' share is free.
            let first = std::mem::replace(&mut report, self.whole_pass(tables, &all));
            report.changes += first.changes;
        }
        report.changes += before.changes;
        self.settled = report.problems.is_empty();
        report
    }

    /// The same, if the tables differ from those that were applied last by what `delta` names. What they no longer have
    /// waits for [`Self::release`].
    pub(crate) fn update(&mut self, tables: &L4Tables, delta: &L4Delta) -> ApplyReport {
        if !self.settled {
            return self.apply(tables);
        }
        let first = self.pass(tables, delta);
        if first.problems.is_empty() {
            return first;
        }
        let mut second = self.apply(tables);
        second.changes += first.changes;
        second
    }

    /// From now on, all that was given up so far waits for the programs that run at this moment. False: nothing was.
    pub(crate) fn begin_release(&mut self) -> bool {
        self.frontends.begin_release() | self.rings.begin_release() | self.endpoints.begin_release()
    }

    /// These programs have finished: what waited for them is free.
    pub(crate) fn release(&mut self) -> ApplyReport {
        let mut report = ApplyReport::default();
        self.frontends.release(&mut report);
        self.rings.release(&mut report);
        self.endpoints.release(&mut self.store.endpoints, &mut report);
        self.settled &= report.problems.is_empty();
        report
    }

    /// Waits for them.
    fn settle(&mut self) -> ApplyReport {
        if !self.begin_release() {
            return ApplyReport::default();
        }
        sys::wait_for_programs();
        self.release()
    }

    fn whole_pass(&mut self, tables: &L4Tables, delta: &L4Delta) -> ApplyReport {
        let mut report = self.pass(tables, delta);
        let end = self.settle();
        report.changes += end.changes;
        report.freed |= end.freed;
        report.problems.extend(end.problems);
        report
    }

    /// All that the tables or the kernel have.
    fn everything(&self, tables: &L4Tables) -> L4Delta {
        let named = tables.frontends.values().flat_map(|frontend| targets(frontend.split.as_ref()));
        let known = self.rings.services().chain(self.endpoints.services());
        L4Delta {
            frontends: tables.frontends.keys().chain(self.frontends.keys()).copied().collect(),
            services: tables.services.keys().chain(known).chain(named).cloned().collect(),
            alive: self.endpoints.keys().copied().collect(),
            ..L4Delta::default()
        }
    }

    /// Looks at what the delta names.
    fn pass(&mut self, tables: &L4Tables, delta: &L4Delta) -> ApplyReport {
        let mut report = ApplyReport::default();
        let Self { store, endpoints, rings, frontends, ports, peers, settled: _ } = self;
        let L4Delta { frontends: keys, services, alive, pool } = delta;
        let mut keys = keys.clone();
        if !pool.is_empty() {
            // A split says whether its frontend's address is of a pool.
            keys.extend(tables.frontends.keys().filter(|key| pool.contains(&key.address)));
        }

        let mut touched = endpoints.raise(store, tables, services, peers, &mut report);
        for key in keys.iter().filter(|key| tables.frontends.contains_key(key)) {
            ports.add_frontend(key.protocol, key.port.get());
        }
        for (protocol, address) in touched.iter().filter(|key| endpoints.id(key).is_some()) {
            ports.add_endpoint(*protocol, address.port());
        }
        match ports.write(&mut store.ports) {
            Ok(written) => report.changes += usize::from(written),
            Err(error) => report.map_problem("ports", &"port sets", &error),
        }
        rings.write(store, tables, services, endpoints, &mut report);
        frontends.write(store, tables, &keys, rings, &mut report);

        frontends.remove(store, tables, &keys, &mut report);
        // Something in the kernel may be older than the tables: what it names can't be given up yet.
        let complete = report.is_complete();
        if complete {
            rings.retire(store, tables, services, &mut report);
        }
        if complete {
            touched.extend(alive);
            endpoints.lower(tables, touched.iter());
        }
        if !frontends.has_retired() && !rings.has_retired() && endpoints.begin_release() {
            // No program can be on its way to them.
            endpoints.release(&mut store.endpoints, &mut report);
        }
        report
    }
}
