//! Listeners as routes and tables see them: without what they are made of, so that they can be kept and compared.

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::http::{HttpSettings, HttpTelemetry};
use gateway_agent_tables::{FrontendKey, HostPattern, ListenerName, Termination};

use crate::Snapshot;
use crate::gateway::Gateway;
use crate::http;
use crate::listener::{Listener, ListenerProtocol};
use crate::route::Route;
use crate::selector::Namespaces;

/// Where routes attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: ListenerName,
    /// As the parentRefs of routes name it.
    pub(crate) section: String,
    pub(crate) port: i32,
    /// None: a protocol that isn't known.
    pub(crate) protocol: Option<ListenerProtocol>,
    /// As the listener has it.
    pub(crate) protocol_name: String,
    /// None: not a hostname.
    pub(crate) hostname: Option<HostPattern>,
    /// As the listener has it.
    pub(crate) hostname_text: String,
    /// The Gateway's ListenerSet that it is written in; None: the Gateway itself.
    pub(crate) set: Option<usize>,
    /// The object that it is written in.
    pub(crate) owner: ObjectRef,
    /// Where it is served; empty while it carries no traffic.
    pub(crate) frontends: Vec<FrontendKey>,
    pub(crate) termination: Option<Termination>,
    /// Of its Gateway.
    pub(crate) http: HttpSettings,
    pub(crate) telemetry: HttpTelemetry,
    kinds: Vec<Kind>,
    namespaces: Namespaces,
    owner_namespace: String,
}

impl Place {
    pub(crate) fn new(listener: &Listener<'_>, gateway: &Gateway<'_>, snapshot: &Snapshot) -> Self {
        Self {
            name: listener.name.clone(),
            section: listener.spec.name.to_owned(),
            port: listener.spec.port,
            protocol: listener.protocol,
            protocol_name: listener.spec.protocol.to_owned(),
            hostname: listener.hostname.clone(),
            hostname_text: listener.spec.hostname.to_owned(),
            set: listener.owner.set,
            owner: gateway.owner(listener),
            frontends: gateway.frontends_of(listener, snapshot),
            termination: listener.tls.termination.clone(),
            http: http::settings::effective(gateway.asking.settings.http.as_ref()),
            telemetry: http::settings::telemetry(gateway.asking.settings.telemetry.as_ref()),
            kinds: listener.kinds.clone(),
            namespaces: listener.spec.namespaces.clone(),
            owner_namespace: listener.owner.namespace.to_owned(),
        }
    }

    /// Whether several routes may share a host name of it: requests choose among their rules.
    pub(crate) fn is_http(&self) -> bool {
        matches!(self.protocol, Some(ListenerProtocol::Http | ListenerProtocol::Https))
    }

    /// Whether routes of this kind and namespace may attach; if not, why. No condition of the listener matters here.
    pub(crate) fn admits(&self, route: &Route<'_>, snapshot: &Snapshot) -> Result<(), String> {
        let Self { section, .. } = self;
        if !self.kinds.contains(&route.object.kind) {
            let kinds = self.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            return Err(format!(
                "listener {section} ({}) takes {}; attach to another listener, or change its protocol or \
                 allowedRoutes.kinds",
                self.protocol_name,
                if kinds.is_empty() { "no routes" } else { &kinds },
            ));
        }
        let namespace = &route.name.namespace;
        if self.namespaces.admit(namespace, &self.owner_namespace, snapshot) {
            return Ok(());
        }
        Err(format!(
            "listener {section} takes routes of {}, not of {namespace}; change allowedRoutes.namespaces of the \
             listener or move the route",
            self.namespaces.rule()
        ))
    }
}
