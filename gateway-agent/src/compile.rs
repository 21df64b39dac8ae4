//! From objects to an outcome: the part that `run`, `controller` and `check` share.

use std::net::IpAddr;

use gateway_agent_routing::{self as routing, Node, Outcome, Snapshot, translate};

use crate::clock;
use crate::source::{Change, Found, Problem, Store};

/// The objects of files or of a cluster, as the pure core sees them.
#[derive(Debug)]
pub struct Compiler {
    store: Store,
    snapshot: Snapshot,
}

impl Compiler {
    pub fn new(node: Node) -> Self {
        Self { store: Store::default(), snapshot: Snapshot::new(node) }
    }

    /// Takes over what a look at the files found. True if that changes any object.
    pub fn update(&mut self, found: Found) -> bool {
        let changes = self.store.update(found);
        self.apply(changes)
    }

    /// Takes over changes. True if any object is another than before.
    pub fn apply(&mut self, changes: Vec<Change>) -> bool {
        let mut any = false;
        for change in changes {
            any |= match change {
                Change::Put(object) => {
                    let differs = self.snapshot.find(&object.object_ref()) != Some(&object);
                    if differs {
                        self.snapshot.insert(object);
                    }
                    differs
                }
                Change::Remove(object) => self.snapshot.remove(&object).is_some(),
            };
        }
        any
    }

    /// Replaces the addresses that the node has. True if they are others than before.
    pub fn set_node_addresses(&mut self, mut addresses: Vec<IpAddr>) -> bool {
        addresses.extend(&self.snapshot.node.gateway_addresses);
        addresses.sort_unstable();
        addresses.dedup();
        let changed = addresses != self.snapshot.node.addresses;
        self.snapshot.node.addresses = addresses;
        changed
    }

    /// Replaces the addresses that Gateways get which ask for none. True if they are others than before.
    pub fn set_gateway_addresses(&mut self, addresses: Vec<IpAddr>) -> bool {
        let node = &mut self.snapshot.node;
        let changed = addresses != node.gateway_addresses;
        node.addresses.clone_from(&addresses);
        node.gateway_addresses = addresses;
        changed
    }

    /// From now on, certificates are judged by the present time.
    pub fn set_time(&mut self) {
        self.snapshot.now = Some(clock::minutes());
    }

    pub fn outcome(&self) -> Outcome {
        translate(&self.snapshot)
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A problem of the outcome, with the place of its object.
    pub fn describe(&self, problem: &routing::Problem) -> String {
        match self.store.place(&problem.object) {
            Some(place) => format!("{place}: {problem}"),
            None => problem.to_string(),
        }
    }

    /// Of the files and of what admission says about the objects in them.
    pub fn problems(&self) -> Vec<Problem> {
        self.store.problems()
    }
}
