//! Routes: what all kinds have in common.

use gateway_agent_api::grpc_route::GrpcRouteUseDefaultGateways;
use gateway_agent_api::http_route::HttpRouteUseDefaultGateways;
use gateway_agent_api::tcp_route::TcpRouteUseDefaultGateways;
use gateway_agent_api::tls_route::TlsRouteUseDefaultGateways;
use gateway_agent_api::udp_route::UdpRouteUseDefaultGateways;
use gateway_agent_api::{Kind, Object, ObjectMeta, ObjectRef, Typed};
use gateway_agent_tables::{Backend, HostPattern, ObjectName};
use serde_json::{Value, json};

use crate::CONTROLLER_NAME;
use crate::backend::Referrer;

/// A route of any kind. Its rules are the affair of [`crate::content`], by kind.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    pub(crate) object: ObjectRef,
    pub(crate) name: ObjectName,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) parents: Vec<ParentRef<'a>>,
    pub(crate) default_gateways: DefaultScope<'a>,
    /// Host names that the route is for; empty: every name, or a kind that knows none.
    pub(crate) hostnames: Vec<HostPattern>,
    /// Entries of other controllers in its status, which stay.
    pub(crate) foreign_parents: usize,
    source: &'a Object,
}

/// Which routes a default Gateway stands for, and which of those Gateways a route asks for (GEP-3793).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultScope<'a> {
    None,
    All,
    /// One that this version doesn't know.
    Unknown(&'a str),
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
        let (Parents { named, foreign, default }, hostnames): (_, Option<&'a [String]>) = match source {
            Object::HttpRoute(route) => {
                (parents!(route, namespace, HttpRouteUseDefaultGateways), route.spec.hostnames.as_deref())
            }
            Object::GrpcRoute(route) => {
                (parents!(route, namespace, GrpcRouteUseDefaultGateways), route.spec.hostnames.as_deref())
            }
            Object::TlsRoute(route) => {
                (parents!(route, namespace, TlsRouteUseDefaultGateways), Some(&route.spec.hostnames))
            }
            Object::TcpRoute(route) => (parents!(route, namespace, TcpRouteUseDefaultGateways), None),
            Object::UdpRoute(route) => (parents!(route, namespace, UdpRouteUseDefaultGateways), None),
            _ => return None,
        };
        let object = source.object_ref();
        Some(Self {
            name: ObjectName { namespace: namespace.to_owned(), name: object.name.clone() },
            object,
            metadata,
            parents: named,
            default_gateways: default,
            // What is no hostname the schema keeps out; it matches nothing.
            hostnames: hostnames
                .unwrap_or_default()
                .iter()
                .filter_map(|name| HostPattern::parse(name))
                .collect(),
            foreign_parents: foreign,
            source,
        })
    }

    pub(crate) fn referrer(&self) -> Referrer<'_> {
        Referrer { kind: self.object.kind, namespace: &self.name.namespace }
    }

    /// The object that the route is made of.
    pub(crate) fn typed<T: Typed>(&self) -> Option<&'a T> {
        T::of(self.source)
    }
}

impl<'a> ParentRef<'a> {
    /// One that names a Gateway and none of its listeners.
    pub(crate) fn whole(gateway: &'a ObjectName) -> Self {
        let (kind, ObjectName { namespace, name }) = (Kind::Gateway, gateway);
        Self {
            verbatim: json!({
                "group": kind.group(),
                "kind": kind.name(),
                "namespace": namespace,
                "name": name,
            }),
            group: kind.group(),
            kind: kind.name(),
            namespace,
            name,
            section: None,
            port: None,
        }
    }

    /// Whether it names this Gateway and none of its listeners.
    pub(crate) fn is_whole(&self, gateway: &ObjectName) -> bool {
        self.target_kind() == Some(Kind::Gateway)
            && self.namespace == gateway.namespace
            && self.name == gateway.name
            && self.section.is_none()
            && self.port.is_none()
    }

    /// None: a kind that belongs to other controllers.
    pub(crate) fn target_kind(&self) -> Option<Kind> {
        Kind::find(self.group, self.kind).filter(|kind| matches!(kind, Kind::Gateway | Kind::ListenerSet))
    }
}

/// Whom a route wants to attach to, and who has said something of it.
struct Parents<'a> {
    named: Vec<ParentRef<'a>>,
    default: DefaultScope<'a>,
    /// Entries of other controllers in its status.
    foreign: usize,
}

/// The parents of a route: the kinds' generated types differ in name only.
macro_rules! parents {
    ($route:expr, $namespace:expr, $scope:ident) => {{
        let named = $route.spec.parent_refs.iter().flatten().map(|parent| ParentRef {
            verbatim: serde_json::to_value(parent).unwrap_or_default(),
            group: parent.group.as_deref().unwrap_or(Kind::Gateway.group()),
            kind: parent.kind.as_deref().unwrap_or(Kind::Gateway.name()),
            namespace: parent.namespace.as_deref().unwrap_or($namespace),
            name: &parent.name,
            section: parent.section_name.as_deref().filter(|section| !section.is_empty()),
            port: parent.port,
        });
        let entries = $route.status.iter().flat_map(|status| &status.parents);
        Parents {
            named: named.collect(),
            default: default_scope!(&$route.spec.use_default_gateways, $scope),
            foreign: entries.filter(|entry| entry.controller_name != CONTROLLER_NAME).count(),
        }
    }};
}
use parents;

/// A scope of default Gateways: the kinds' generated types differ in name only.
macro_rules! default_scope {
    ($scope:expr, $type:ident) => {
        match $scope {
            Some($type::All) => $crate::route::DefaultScope::All,
            Some($type::Unknown(scope)) if !scope.is_empty() => $crate::route::DefaultScope::Unknown(scope),
            Some($type::None | $type::Unknown(_)) | None => $crate::route::DefaultScope::None,
        }
    };
}
pub(crate) use default_scope;

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

/// A reference without weight; the generated types of those differ in name only.
macro_rules! object_ref {
    ($reference:expr, $namespace:expr) => {{
        let reference = $reference;
        $crate::route::BackendRef {
            group: reference.group.as_deref().unwrap_or(gateway_agent_api::Kind::Service.group()),
            kind: reference.kind.as_deref().unwrap_or(gateway_agent_api::Kind::Service.name()),
            namespace: reference.namespace.as_deref().unwrap_or($namespace),
            name: &reference.name,
            port: reference.port,
            weight: 1,
        }
    }};
}
pub(crate) use object_ref;

/// The schema keeps weights from 0 to 1,000,000; whatever slipped past it is brought back into that range.
pub(crate) fn weight(weight: Option<i32>) -> u32 {
    weight.map_or(1, |weight| u32::try_from(weight).unwrap_or(0).min(Backend::MAX_WEIGHT))
}
