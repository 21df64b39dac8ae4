//! Listeners as they are written, whether in a Gateway or in a ListenerSet; the API's defaults are filled in.

use gateway_agent_api::Kind;
use gateway_agent_api::gateway::{
    GatewayListeners, GatewayListenersAllowedRoutesNamespacesFrom, GatewayListenersTlsMode,
};
use gateway_agent_api::listener_set::{
    ListenerSetListeners, ListenerSetListenersAllowedRoutesNamespacesFrom, ListenerSetListenersTlsMode,
};

use crate::selector::Namespaces;

#[derive(Clone, Debug)]
pub(crate) struct ListenerSpec<'a> {
    pub(crate) name: &'a str,
    /// Empty: every name.
    pub(crate) hostname: &'a str,
    pub(crate) port: i32,
    pub(crate) protocol: &'a str,
    pub(crate) tls: Option<TlsSpec<'a>>,
    /// Group and name of each kind in allowedRoutes; empty: those that fit the protocol.
    pub(crate) kinds: Vec<(&'a str, &'a str)>,
    pub(crate) namespaces: Namespaces,
    pub(crate) has_filters: bool,
    /// A field with a value that this version doesn't know, and the value.
    pub(crate) unknown: Option<(&'static str, &'a str)>,
}

#[derive(Clone, Debug)]
pub(crate) struct TlsSpec<'a> {
    pub(crate) mode: TlsMode,
    pub(crate) certificates: Vec<ObjectReference<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Terminate,
    Passthrough,
}

/// A reference to a Secret, ConfigMap or the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectReference<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    /// None: that of the object that refers.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
}

/// The kinds' generated types differ in name only.
macro_rules! listener_spec {
    ($type:ty, $from:ident, $mode:ident) => {
        impl<'a> From<&'a $type> for ListenerSpec<'a> {
            fn from(listener: &'a $type) -> Self {
                let allowed = listener.allowed_routes.as_ref();
                let kinds = allowed.and_then(|allowed| allowed.kinds.as_deref()).unwrap_or_default();
                let namespaces = allowed.and_then(|allowed| allowed.namespaces.as_ref());
                let mut unknown = None;
                let tls = listener.tls.as_ref().map(|tls| TlsSpec {
                    mode: match &tls.mode {
                        Some($mode::Passthrough) => TlsMode::Passthrough,
                        Some($mode::Terminate) | None => TlsMode::Terminate,
                        Some($mode::Unknown(value)) => {
                            unknown = Some(("tls.mode", value.as_str()));
                            TlsMode::Terminate
                        }
                    },
                    certificates: tls
                        .certificate_refs
                        .iter()
                        .flatten()
                        .map(|reference| ObjectReference {
                            group: reference.group.as_deref().unwrap_or_default(),
                            kind: reference.kind.as_deref().unwrap_or("Secret"),
                            namespace: reference.namespace.as_deref(),
                            name: &reference.name,
                        })
                        .collect(),
                });
                let filters = listener.filters.as_ref().and_then(|filters| filters.requests.as_ref());
                Self {
                    name: &listener.name,
                    hostname: listener.hostname.as_deref().unwrap_or_default(),
                    port: listener.port,
                    protocol: &listener.protocol,
                    tls,
                    kinds: kinds
                        .iter()
                        .map(|kind| {
                            (kind.group.as_deref().unwrap_or(Kind::Gateway.group()), kind.kind.as_str())
                        })
                        .collect(),
                    namespaces: match namespaces.and_then(|namespaces| namespaces.from.as_ref()) {
                        Some($from::All) => Namespaces::All,
                        Some($from::Same) | None => Namespaces::Same,
                        Some($from::Selector) => Namespaces::selected(
                            namespaces.and_then(|namespaces| namespaces.selector.as_ref()),
                        ),
                        Some($from::Unknown(value)) => {
                            unknown = Some(("allowedRoutes.namespaces.from", value.as_str()));
                            Namespaces::None
                        }
                    },
                    has_filters: filters.is_some_and(|requests| !requests.is_empty()),
                    unknown,
                }
            }
        }
    };
}

listener_spec!(GatewayListeners, GatewayListenersAllowedRoutesNamespacesFrom, GatewayListenersTlsMode);
listener_spec!(
    ListenerSetListeners,
    ListenerSetListenersAllowedRoutesNamespacesFrom,
    ListenerSetListenersTlsMode
);
