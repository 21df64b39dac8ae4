//! All objects that count at one moment, and the node that they are compiled for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_agent_api::{Kind, Object, ObjectRef, Typed};

/// The state of the cluster, or of the files, as one node sees it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub node: Node,
    objects: BTreeMap<Kind, BTreeMap<ObjectRef, Object>>,
}

/// The node that a snapshot is compiled for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// As in an endpoint's nodeName.
    pub name: String,
    /// Every address that the node has: spec.addresses of a Gateway may name any of them.
    pub addresses: Vec<IpAddr>,
    /// What a Gateway without spec.addresses gets.
    pub gateway_addresses: Vec<IpAddr>,
}

impl Snapshot {
    pub fn new(node: Node) -> Self {
        Self { node, objects: BTreeMap::new() }
    }

    /// Adds an object, or replaces the one of the same name.
    pub fn insert(&mut self, object: Object) -> Option<Object> {
        self.objects.entry(object.kind()).or_default().insert(object.object_ref(), object)
    }

    pub fn remove(&mut self, object: &ObjectRef) -> Option<Object> {
        self.objects.get_mut(&object.kind)?.remove(object)
    }

    pub fn find(&self, object: &ObjectRef) -> Option<&Object> {
        self.objects.get(&object.kind)?.get(object)
    }

    /// All objects, by kind, namespace and name.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectRef, &Object)> {
        self.objects.values().flatten()
    }

    /// All objects of one kind, by namespace and name.
    pub fn all<T: Typed + 'static>(&self) -> impl Iterator<Item = &T> {
        self.objects.get(&T::KIND).into_iter().flat_map(BTreeMap::values).filter_map(T::of)
    }

    /// The object of this type with this name; `namespace` does not matter for cluster-scoped kinds.
    pub fn named<T: Typed + 'static>(&self, namespace: &str, name: &str) -> Option<&T> {
        self.find(&ObjectRef::new(T::KIND, namespace, name)).and_then(T::of)
    }
}
