//! Routes: one form for all kinds, and which listeners they attach to.

use gateway_agent_api::{Kind, ObjectMeta, ObjectRef, TcpRoute, UdpRoute};
use gateway_agent_tables::{Backend, ObjectName, Protocol, RouteKind};
use serde_json::Value;

use crate::Snapshot;
use crate::gateway::Gateway;
use crate::precedence::Precedence;
use crate::status::Condition;

/// A route of any kind that the kernel forwards.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    pub(crate) object: ObjectRef,
    pub(crate) name: ObjectName,
    pub(crate) kind: RouteKind,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) parents: Vec<ParentRef<'a>>,
    /// The backendRefs of each rule.
    pub(crate) rules: Vec<Vec<BackendRef<'a>>>,
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

/// All routes, in order of precedence.
pub(crate) fn all(snapshot: &Snapshot) -> Vec<Route<'_>> {
    let mut routes: Vec<_> = snapshot
        .all::<TcpRoute>()
        .map(Route::from)
        .chain(snapshot.all::<UdpRoute>().map(Route::from))
        .collect();
    routes.sort_by(|a, b| {
        Precedence::of(a.metadata).cmp(&Precedence::of(b.metadata)).then(a.kind.cmp(&b.kind))
    });
    routes
}

/// The kinds' generated types differ in name only.
macro_rules! from_route {
    ($type:ident, $kind:expr, $route_kind:expr) => {
        impl<'a> From<&'a $type> for Route<'a> {
            fn from(route: &'a $type) -> Self {
                let namespace = route.metadata.namespace.as_deref().unwrap_or_default();
                let name = route.metadata.name.as_deref().unwrap_or_default();
                let parents = route.spec.parent_refs.iter().flatten().map(|parent| ParentRef {
                    verbatim: serde_json::to_value(parent).unwrap_or_default(),
                    group: parent.group.as_deref().unwrap_or(Kind::Gateway.group()),
                    kind: parent.kind.as_deref().unwrap_or(Kind::Gateway.name()),
                    namespace: parent.namespace.as_deref().unwrap_or(namespace),
                    name: &parent.name,
                    section: parent.section_name.as_deref().filter(|section| !section.is_empty()),
                    port: parent.port,
                });
                let rules = route.spec.rules.iter().map(|rule| {
                    let backends = rule.backend_refs.iter().map(|backend| BackendRef {
                        group: backend.group.as_deref().unwrap_or(Kind::Service.group()),
                        kind: backend.kind.as_deref().unwrap_or(Kind::Service.name()),
                        namespace: backend.namespace.as_deref().unwrap_or(namespace),
                        name: &backend.name,
                        port: backend.port,
                        weight: weight(backend.weight),
                    });
                    backends.collect()
                });
                Self {
                    object: ObjectRef::new($kind, namespace, name),
                    name: ObjectName { namespace: namespace.to_owned(), name: name.to_owned() },
                    kind: $route_kind,
                    metadata: &route.metadata,
                    parents: parents.collect(),
                    rules: rules.collect(),
                }
            }
        }
    };
}

from_route!(TcpRoute, Kind::TcpRoute, RouteKind::Tcp);
from_route!(UdpRoute, Kind::UdpRoute, RouteKind::Udp);

/// The schema keeps weights from 0 to 1,000,000; whatever slipped past it is brought back into that range.
fn weight(weight: Option<i32>) -> u32 {
    weight.map_or(1, |weight| u32::try_from(weight).unwrap_or(0).min(Backend::MAX_WEIGHT))
}

impl Route<'_> {
    pub(crate) fn protocol(&self) -> Protocol {
        match self.kind {
            RouteKind::Tcp => Protocol::Tcp,
            RouteKind::Udp => Protocol::Udp,
        }
    }

    /// The rules after the first, which nothing tells from the first; only old API versions allow them.
    pub(crate) fn surplus_rules(&self) -> Option<Condition> {
        (self.rules.len() > 1).then(|| {
            let dropped = (1..self.rules.len()).map(|index| index.to_string()).collect::<Vec<_>>().join(", ");
            Condition::yes(
                "PartiallyInvalid",
                "UnsupportedValue",
                format!(
                    "Dropped Rule {dropped}: {} has no way to match rules, so rule 0 takes everything; keep one rule",
                    self.object
                ),
            )
        })
    }
}

impl ParentRef<'_> {
    pub(crate) fn is_gateway(&self) -> bool {
        Kind::find(self.group, self.kind) == Some(Kind::Gateway)
    }

    /// Indices of the Gateway's listeners that accept the route, or the Accepted condition that says why none does.
    pub(crate) fn attach(
        &self,
        route: &Route<'_>,
        gateway: &Gateway<'_>,
        snapshot: &Snapshot,
    ) -> Result<Vec<usize>, Condition> {
        let meant: Vec<_> = gateway
            .listeners
            .iter()
            .enumerate()
            .filter(|(_, listener)| self.section.is_none_or(|section| section == listener.name.listener))
            .filter(|(_, listener)| self.port.is_none_or(|port| port == listener.spec.port))
            .collect();
        if meant.is_empty() {
            return Err(Condition::no("Accepted", "NoMatchingParent", self.no_match(gateway)));
        }
        let mut refusals = Vec::new();
        let mut attached = Vec::new();
        for (index, listener) in meant {
            match listener.admits(route, snapshot) {
                Ok(()) => attached.push(index),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if attached.is_empty() {
            let message =
                format!("{} can't attach to Gateway {}: {}", route.object, gateway.name, refusals.join("; "));
            return Err(Condition::no("Accepted", "NotAllowedByListeners", message));
        }
        Ok(attached)
    }

    fn no_match(&self, gateway: &Gateway<'_>) -> String {
        let wanted = match (self.section, self.port) {
            (Some(section), Some(port)) => format!("listener {section} on port {port}"),
            (Some(section), None) => format!("listener {section}"),
            (None, Some(port)) => format!("listener on port {port}"),
            (None, None) => "listener".to_owned(),
        };
        let has = gateway
            .listeners
            .iter()
            .map(|listener| format!("{} on port {}", listener.name.listener, listener.spec.port))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "Gateway {} has no {wanted}, it has {has}; correct sectionName or port of the parentRef",
            gateway.name
        )
    }
}
