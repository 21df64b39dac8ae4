//! From objects to an outcome: the part that `run`, `controller` and `check` share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gateway_agent_api::{Object, ObjectRef};
use gateway_agent_routing::{
    self as routing, Address, Assigner, Assignments, Changes, Node, OfferingNode, Outcome, Snapshot,
    Translation,
};
use gateway_agent_tables::{FrontendKey, ObjectName};

use crate::clock;
use crate::source::{Change, Found, Problem, Store};

/// The objects of files or of a cluster, as the pure core sees them.
#[derive(Debug)]
pub struct Compiler {
    store: Store,
    snapshot: Snapshot,
    translation: Translation,
    /// Objects that the translation doesn't know of yet.
    changed: BTreeSet<ObjectRef>,
}

impl Compiler {
    pub fn new(node: Node) -> Self {
        Self {
            store: Store::default(),
            snapshot: Snapshot::new(node),
            translation: Translation::default(),
            changed: BTreeSet::new(),
        }
    }

    /// Of an agent in a cluster, whose controller gives Gateways their addresses.
    pub fn following(node: Node) -> Self {
        let mut compiler = Self::new(node);
        compiler.snapshot.assigner = Assigner::Controller;
        compiler.translation = Translation::of_tables();
        compiler
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
            let (name, differs) = match change {
                Change::Put(object) => {
                    self.note_assignment(&object);
                    let name = object.object_ref();
                    let differs = self.snapshot.find(&name) != Some(&object);
                    if differs {
                        self.snapshot.insert(object);
                    }
                    (name, differs)
                }
                Change::Remove(name) => {
                    let differs = self.snapshot.remove(&name).is_some();
                    (name, differs)
                }
            };
            if differs {
                self.changed.insert(name);
                any = true;
            }
        }
        any
    }

    /// Objects that are others than when it was compiled last.
    pub fn changed(&self) -> &BTreeSet<ObjectRef> {
        &self.changed
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

    /// Replaces the nodes whose addresses Gateways may get. True if they are others than before.
    pub fn set_nodes(&mut self, nodes: Vec<OfferingNode>) -> bool {
        let nodes = Some(nodes);
        let changed = nodes != self.snapshot.nodes;
        self.snapshot.nodes = nodes;
        changed
    }

    /// Replaces what others have of the node's ports. True if that is another than before.
    pub fn set_holders(&mut self, holders: BTreeMap<FrontendKey, String>) -> bool {
        let changed = holders != self.snapshot.holders;
        self.snapshot.holders = holders;
        changed
    }

    /// Replaces what Gateways get that ask for no address. True if that is another than before.
    pub fn set_gateway_addresses(&mut self, addresses: Vec<IpAddr>) -> bool {
        let changed = addresses != self.snapshot.node.gateway_addresses;
        self.snapshot.node.gateway_addresses = addresses;
        changed
    }

    /// Begins with what others have assigned.
    pub fn set_assignments(&mut self, assignments: Assignments) {
        self.snapshot.assignments = assignments;
    }

    /// From now on, certificates are judged by the present time.
    pub fn set_time(&mut self) {
        self.snapshot.now = Some(clock::minutes());
    }

    /// Compiles what changed since the last time, and tells what of the outcome may be another. Addresses that are
    /// assigned for the first time are Gateways' own from then on.
    pub fn compile(&mut self) -> Changes {
        if self.translation.is_new() {
            self.snapshot.fill();
        }
        let changes = self.translation.update(&self.snapshot, &std::mem::take(&mut self.changed));
        let assignments = &self.translation.outcome().assignments;
        if self.snapshot.assigner == Assigner::Here && self.snapshot.assignments != *assignments {
            self.snapshot.assignments.clone_from(assignments);
        }
        changes
    }

    /// As last compiled.
    pub fn outcome(&self) -> &Outcome {
        self.translation.outcome()
    }

    /// The status of a Gateway holds what the controller has assigned; elsewhere it is left out.
    fn note_assignment(&mut self, object: &Object) {
        let Object::Gateway(gateway) = object else { return };
        if self.snapshot.assigner == Assigner::Controller {
            let name = ObjectName {
                namespace: gateway.metadata.namespace.clone().unwrap_or_default(),
                name: gateway.metadata.name.clone().unwrap_or_default(),
            };
            let addresses = gateway.status.iter().flat_map(|status| status.addresses.iter().flatten());
            let addresses = addresses
                .filter_map(|it| Address::parse(it.r#type.as_deref().unwrap_or("IPAddress"), &it.value));
            self.snapshot.assignments.insert(name, addresses.collect());
        }
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
