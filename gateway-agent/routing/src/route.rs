//! Routes: what all kinds have in common.

use gateway_agent_api::{Kind, Object, ObjectMeta, ObjectRef, Typed};
use gateway_agent_tables::{Backend, HostPattern, ObjectName};
use serde_json::Value;

use crate::CONTROLLER_NAME;

/// A route of any kind. Its rules are the affair of [`crate::content`], by kind.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    pub(crate) object: ObjectRef,
    pub(crate) name: ObjectName,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) parents: Vec<ParentRef<'a>>,
    /// Host names that the route is for; empty: every name, or a kind that knows none.
    pub(crate) hostnames: Vec<HostPattern>,
    /// Entries of other controllers in its status, which stay.
    pub(crate) foreign_parents: usize,
    source: &'a Object,
}

/// What a route wants to attach to; the API's defaults are filled in.
#[derive(Debug)]
pub(crate) struct ParentRef<'a> {
    /// As the route has it: statuses repeat it so.
    pub(crate) verbatim: Value,
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) section: Option<&'a str>,
    pub(crate) port: Option<i32>,
}

/// One backend of a rule; the API's defaults are filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendRef<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) port: Option<i32>,
    pub(crate) weight: u32,
}

/// The kinds that are routes.
pub(crate) const KINDS: [Kind; 5] =
    [Kind::HttpRoute, Kind::GrpcRoute, Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute];

impl<'a> Route<'a> {
    /// None: the object is no route.
    pub(crate) fn parse(source: &'a Object) -> Option<Self> {
        let metadata = source.metadata();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let (parents, foreign_parents, hostnames): (_, _, Option<&'a [String]>) = match source {
            Object::HttpRoute(route) => {
                (parent_refs!(route, namespace), foreign_parents!(route), route.spec.hostnames.as_deref())
            }
            Object::GrpcRoute(route) => {
                (parent_refs!(route, namespace), foreign_parents!(route), route.spec.hostnames.as_deref())
            }
            Object::TlsRoute(route) => {
                (parent_refs!(route, namespace), foreign_parents!(route), Some(&route.spec.hostnames))
            }
            Object::TcpRoute(route) => (parent_refs!(route, namespace), foreign_parents!(route), None),
            Object::UdpRoute(route) => (parent_refs!(route, namespace), foreign_parents!(route), None),
            _ => return None,
        };
        let object = source.object_ref();
        Some(Self {
            name: ObjectName { namespace: namespace.to_owned(), name: object.name.clone() },
            object,
            metadata,
            parents,
            // What is no hostname the schema keeps out; it matches nothing.
            hostnames: hostnames
                .unwrap_or_default()
                .iter()
                .filter_map(|name| HostPattern::parse(name))
                .collect(),
            foreign_parents,
            source,
        })
    }

    /// The object that the route is made of.
    pub(crate) fn typed<T: Typed>(&self) -> Option<&'a T> {
        T::of(self.source)
    }
}

impl ParentRef<'_> {
    /// None: a kind that belongs to other controllers.
    pub(crate) fn target_kind(&self) -> Option<Kind> {
        Kind::find(self.group, self.kind).filter(|kind| matches!(kind, Kind::Gateway | Kind::ListenerSet))
    }
}

/// The parentRefs of a route: the kinds' generated types differ in name only.
macro_rules! parent_refs {
    ($route:expr, $namespace:expr) => {
        $route
            .spec
            .parent_refs
            .iter()
            .flatten()
            .map(|parent| ParentRef {
                verbatim: serde_json::to_value(parent).unwrap_or_default(),
                group: parent.group.as_deref().unwrap_or(Kind::Gateway.group()),
                kind: parent.kind.as_deref().unwrap_or(Kind::Gateway.name()),
                namespace: parent.namespace.as_deref().unwrap_or($namespace),
                name: &parent.name,
                section: parent.section_name.as_deref().filter(|section| !section.is_empty()),
                port: parent.port,
            })
            .collect()
    };
}
use parent_refs;

/// How many entries of other controllers a route's status has.
macro_rules! foreign_parents {
    ($route:expr) => {{
        let parents = $route.status.iter().flat_map(|status| &status.parents);
        parents.filter(|parent| parent.controller_name != CONTROLLER_NAME).count()
    }};
}
use foreign_parents;

/// A backendRef of any kind of route in the given namespace: the kinds' generated types differ in name only.
macro_rules! backend_ref {
    ($backend:expr, $namespace:expr) => {{
        let backend = $backend;
        $crate::route::BackendRef {
            group: backend.group.as_deref().unwrap_or(gateway_agent_api::Kind::Service.group()),
            kind: backend.kind.as_deref().unwrap_or(gateway_agent_api::Kind::Service.name()),
            namespace: backend.namespace.as_deref().unwrap_or($namespace),
            name: &backend.name,
            port: backend.port,
            weight: $crate::route::weight(backend.weight),
        }
    }};
}
pub(crate) use backend_ref;

/// The schema keeps weights from 0 to 1,000,000; whatever slipped past it is brought back into that range.
pub(crate) fn weight(weight: Option<i32>) -> u32 {
    weight.map_or(1, |weight| u32::try_from(weight).unwrap_or(0).min(Backend::MAX_WEIGHT))
}
