//! All objects that count at one moment, and the node that they are compiled for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use gateway_agent_api::{Kind, Object, ObjectRef, Typed};

use crate::Minutes;
use crate::address::Assignments;

/// The state of the cluster, or of the files, as one node sees it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub node: Node,
    /// When this is compiled: certificates are judged by it. None: their dates aren't judged.
    pub now: Option<Minutes>,
    /// What the running data planes can do; a listener that needs more is not programmed.
    pub served: BTreeSet<Service>,
    /// What they take connections for at least: such a listener is programmed, and says what it doesn't do yet.
    pub accepted: BTreeSet<Service>,
    pub assigner: Assigner,
    /// What Gateways have been given, as their statuses say.
    pub assignments: Assignments,
    /// The nodes of the cluster, by name, for whoever assigns addresses in it; None: [`Self::node`] is the only one.
    pub nodes: Option<Vec<OfferingNode>>,
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
    pub labels: BTreeMap<String, String>,
}

/// A node of the cluster, as the controller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferingNode {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub addresses: Vec<IpAddr>,
    /// It serves, so that Gateways may get its addresses.
    pub published: bool,
}

/// Who gives Gateways their addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assigner {
    /// Whoever compiles the snapshot: what was assigned before is kept as far as it is still right.
    #[default]
    Here,
    /// The cluster's controller: [`Snapshot::assignments`] is what counts.
    Controller,
}

/// Something that a data plane can do for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    Tcp,
    Udp,
    Http,
    Https,
    TlsPassthrough,
    TlsTerminate,
    /// Passthrough and Terminate on one port.
    TlsMixed,
}

impl Service {
    pub const ALL: [Self; 7] = [
        Self::Tcp,
        Self::Udp,
        Self::Http,
        Self::Https,
        Self::TlsPassthrough,
        Self::TlsTerminate,
        Self::TlsMixed,
    ];

    /// What the kernel's programs do.
    pub const KERNEL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// What the proxy accepts connections for.
    pub const PROXY: [Self; 4] = [Self::Http, Self::Https, Self::TlsPassthrough, Self::TlsTerminate];
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "protocol TCP",
            Self::Udp => "protocol UDP",
            Self::Http => "protocol HTTP",
            Self::Https => "protocol HTTPS",
            Self::TlsPassthrough => "protocol TLS with mode Passthrough",
            Self::TlsTerminate => "protocol TLS with mode Terminate",
            Self::TlsMixed => "both modes of protocol TLS on one port",
        })
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new(Node::default())
    }
}

impl Snapshot {
    pub fn new(node: Node) -> Self {
        Self {
            node,
            now: None,
            served: Service::KERNEL.into(),
            accepted: Service::PROXY.into(),
            assigner: Assigner::default(),
            assignments: Assignments::new(),
            nodes: None,
            objects: BTreeMap::new(),
        }
    }

    pub fn serves(&self, service: Service) -> bool {
        self.served.contains(&service)
    }

    pub fn accepts(&self, service: Service) -> bool {
        self.accepted.contains(&service) || self.serves(service)
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
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values)
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
