//! All objects that count at one moment, and the node that they are compiled for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use gateway_agent_api::{Kind, Object, ObjectRef, Typed};
use gateway_agent_tables::{FrontendKey, ListenerName};

use crate::Minutes;
use crate::address::Assignments;
use crate::facts::{Fact, Facts, Looks};
use crate::fill::fill;

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
    /// Places on this node's addresses that others have, with who has them.
    pub holders: BTreeMap<FrontendKey, String>,
    /// The nodes of the cluster, by name, for whoever assigns addresses in it; None: [`Self::node`] is the only one.
    pub nodes: Option<Vec<OfferingNode>>,
    objects: BTreeMap<Kind, BTreeMap<ObjectRef, Object>>,
    looks: Looks,
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
    /// Listeners that it can't serve since others have their ports, with who has them.
    pub refusals: BTreeMap<ListenerName, String>,
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

    /// What the kernel's programs and the proxy do.
    pub const SERVED: [Self; 3] = [Self::Tcp, Self::Udp, Self::Http];

    /// What the proxy accepts connections for, and no more.
    pub const ACCEPTED: [Self; 3] = [Self::Https, Self::TlsPassthrough, Self::TlsTerminate];
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
            served: Service::SERVED.into(),
            accepted: Service::ACCEPTED.into(),
            assigner: Assigner::default(),
            assignments: Assignments::new(),
            holders: BTreeMap::new(),
            nodes: None,
            objects: BTreeMap::new(),
            looks: Looks::default(),
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

    /// Gives back what trees have no use for, after many objects came: filled in order, they are half empty.
    pub fn fill(&mut self) {
        self.objects.values_mut().for_each(fill);
    }

    pub fn find(&self, object: &ObjectRef) -> Option<&Object> {
        self.looks.note(|| Fact::Object(object.clone()));
        self.objects.get(&object.kind)?.get(object)
    }

    /// All objects, by kind, namespace and name.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectRef, &Object)> {
        self.objects.values().flatten()
    }

    /// All objects of one kind, by namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.looks.note(|| Fact::Kind(kind, None));
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// All objects of one kind, by namespace and name.
    pub fn all<T: Typed + 'static>(&self) -> impl Iterator<Item = &T> {
        self.of_kind(T::KIND).filter_map(T::of)
    }

    /// The objects of a namespaced kind in one namespace, by name.
    pub fn in_namespace<T: Typed + 'static>(&self, namespace: &str) -> impl Iterator<Item = &T> {
        self.looks.note(|| Fact::Kind(T::KIND, Some(namespace.to_owned())));
        let first = ObjectRef::new(T::KIND, namespace, "");
        let objects = self.objects.get(&T::KIND).into_iter();
        let from_first = objects.flat_map(move |objects| objects.range(first.clone()..));
        from_first
            .take_while(move |(name, _)| name.namespace.as_deref() == Some(namespace))
            .filter_map(|(_, object)| T::of(object))
    }

    /// The object of this type with this name; `namespace` does not matter for cluster-scoped kinds.
    pub fn named<T: Typed + 'static>(&self, namespace: &str, name: &str) -> Option<&T> {
        self.find(&ObjectRef::new(T::KIND, namespace, name)).and_then(T::of)
    }

    /// What `compute` gives, and all that it looked at in the objects.
    pub(crate) fn watch<T>(&self, compute: impl FnOnce() -> T) -> (T, Facts) {
        self.looks.during(compute)
    }

    /// Everything but the objects.
    pub(crate) fn surroundings(&self) -> Self {
        let Self { node, now, served, accepted, assigner, assignments, holders, nodes, objects: _, looks: _ } =
            self;
        Self {
            node: node.clone(),
            now: *now,
            served: served.clone(),
            accepted: accepted.clone(),
            assigner: *assigner,
            assignments: assignments.clone(),
            holders: holders.clone(),
            nodes: nodes.clone(),
            objects: BTreeMap::new(),
            looks: Looks::default(),
        }
    }

    /// Whether something is another than in a former snapshot that all Gateways may depend on. They depend one by one on
    /// [`Self::assignments`], [`Self::holders`] and what nodes refuse; on the time only as they say (`recheck_at`), while it
    /// goes on; and where the controller assigns addresses, on those of the node.
    pub(crate) fn differs_for_all(&self, former: &Self) -> bool {
        let Self {
            node: Node { name, addresses, gateway_addresses, labels },
            now,
            served,
            accepted,
            assigner,
            assignments: _,
            holders: _,
            nodes,
            objects: _,
            looks: _,
        } = self;
        let is_timely = match (former.now, *now) {
            (None, None) => true,
            (Some(then), Some(now)) => then <= now,
            _ => false,
        };
        let offers = |nodes: &Option<Vec<OfferingNode>>| {
            let offer = |node: &OfferingNode| OfferingNode { refusals: BTreeMap::new(), ..node.clone() };
            nodes.as_ref().map(|nodes| nodes.iter().map(offer).collect::<Vec<_>>())
        };
        !is_timely
            || *name != former.node.name
            || *addresses != former.node.addresses && *assigner == Assigner::Here
            || *gateway_addresses != former.node.gateway_addresses
            || *labels != former.node.labels
            || *served != former.served
            || *accepted != former.accepted
            || *assigner != former.assigner
            || *nodes != former.nodes && offers(nodes) != offers(&former.nodes)
    }

    /// Whether everything but the objects is the same.
    pub(crate) fn is_surrounded_alike(&self, other: &Self) -> bool {
        !self.differs_for_all(other)
            && self.now == other.now
            && self.node == other.node
            && self.assignments == other.assignments
            && self.holders == other.holders
            && self.nodes == other.nodes
    }
}
