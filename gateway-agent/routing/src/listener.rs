//! Listeners: what each one serves, which of them exclude each other, and which routes they let in.

use std::num::NonZeroU16;

use gateway_agent_api::gateway::{GatewayListeners, GatewayListenersAllowedRoutesNamespacesFrom as From};
use gateway_agent_api::{Gateway, Kind};
use gateway_agent_tables::{ListenerName, ObjectName, Protocol};

use crate::Snapshot;
use crate::route::Route;
use crate::selector;
use crate::status::Condition;

/// A listener of one of our Gateways.
#[derive(Debug)]
pub(crate) struct Listener<'a> {
    pub(crate) name: ListenerName,
    pub(crate) spec: &'a GatewayListeners,
    /// None: no port, which the schema keeps out.
    port: Option<NonZeroU16>,
    /// None: a protocol that isn't known.
    protocol: Option<ListenerProtocol>,
    /// Kinds of routes that may attach.
    pub(crate) kinds: Vec<Kind>,
    /// Kinds in allowedRoutes that can't attach to this listener.
    invalid_kinds: Vec<&'a str>,
    /// Set when another listener wants the same traffic.
    pub(crate) conflict: Option<Conflict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerProtocol {
    Tcp,
    Udp,
    Http,
    Https,
    Tls,
}

/// Why a listener can't have its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl ListenerProtocol {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "TCP" => Self::Tcp,
            "UDP" => Self::Udp,
            "HTTP" => Self::Http,
            "HTTPS" => Self::Https,
            "TLS" => Self::Tls,
            _ => return None,
        })
    }

    pub(crate) fn transport(self) -> Protocol {
        if self == Self::Udp { Protocol::Udp } else { Protocol::Tcp }
    }

    /// Kinds of routes that fit the protocol and have a data plane.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Tcp => &[Kind::TcpRoute],
            Self::Udp => &[Kind::UdpRoute],
            Self::Http | Self::Https | Self::Tls => &[],
        }
    }

    /// Whether listeners of both protocols may share a port, told apart by what clients say after connecting.
    fn shares_port(self, other: Self) -> bool {
        matches!((self, other), (Self::Http, Self::Http) | (Self::Https | Self::Tls, Self::Https | Self::Tls))
    }
}

impl<'a> Listener<'a> {
    pub(crate) fn of(gateway: &'a Gateway, name: &ObjectName) -> Vec<Self> {
        let mut listeners: Vec<_> =
            gateway.spec.listeners.iter().map(|spec| Self::parse(spec, name.clone())).collect();
        let conflicts: Vec<_> =
            listeners.iter().map(|listener| listener.conflict_within(&listeners)).collect();
        for (listener, conflict) in listeners.iter_mut().zip(conflicts) {
            listener.conflict = conflict;
        }
        listeners
    }

    fn parse(spec: &'a GatewayListeners, gateway: ObjectName) -> Self {
        let protocol = ListenerProtocol::parse(&spec.protocol);
        let fitting = protocol.map_or(&[][..], ListenerProtocol::kinds);
        let wanted =
            spec.allowed_routes.as_ref().and_then(|routes| routes.kinds.as_ref()).filter(|k| !k.is_empty());
        let (mut kinds, mut invalid_kinds) = (Vec::new(), Vec::new());
        match wanted {
            None => kinds.extend(fitting),
            Some(wanted) => {
                for kind in wanted {
                    let group = kind.group.as_deref().unwrap_or(Kind::Gateway.group());
                    match Kind::find(group, &kind.kind).filter(|kind| fitting.contains(kind)) {
                        Some(kind) => kinds.push(kind),
                        None => invalid_kinds.push(kind.kind.as_str()),
                    }
                }
            }
        }
        Self {
            name: ListenerName { gateway, listener: spec.name.clone() },
            spec,
            port: u16::try_from(spec.port).ok().and_then(NonZeroU16::new),
            protocol,
            kinds,
            invalid_kinds,
            conflict: None,
        }
    }

    /// All listeners of a Gateway that exclude each other lose: the API forbids to pick one.
    fn conflict_within(&self, listeners: &[Self]) -> Option<Conflict> {
        let rival = listeners
            .iter()
            .filter(|other| !std::ptr::eq(*other, self) && other.spec.port == self.spec.port)
            .find_map(|other| Some((other, self.excludes(other)?)));
        rival.map(|(other, reason)| Conflict {
            reason,
            message: format!(
                "listeners {} ({}) and {} ({}) of Gateway {} both want port {}; give one of them another port{}",
                self.name.listener,
                self.spec.protocol,
                other.name.listener,
                other.spec.protocol,
                self.name.gateway,
                self.spec.port,
                if reason == "HostnameConflict" { " or hostname" } else { "" },
            ),
        })
    }

    /// The reason why two listeners of one port and address can't both be served.
    pub(crate) fn excludes(&self, other: &Self) -> Option<&'static str> {
        let (mine, others) = (self.protocol?, other.protocol?);
        if mine.transport() != others.transport() {
            None
        } else if !mine.shares_port(others) {
            Some("ProtocolConflict")
        } else if self.spec.hostname.as_deref().unwrap_or_default()
            == other.spec.hostname.as_deref().unwrap_or_default()
        {
            Some("HostnameConflict")
        } else {
            None
        }
    }

    /// What the listener takes of each address; None if it may not have it.
    pub(crate) fn socket(&self) -> Option<(NonZeroU16, Protocol)> {
        let (port, protocol) = self.port.zip(self.protocol).filter(|_| self.conflict.is_none())?;
        Some((port, protocol.transport()))
    }

    /// Accepted, so without conflict.
    pub(crate) fn is_valid(&self) -> bool {
        self.socket().is_some()
    }

    /// Whether routes of this kind and namespace may attach; if not, why. No condition of the listener matters here.
    pub(crate) fn admits(&self, route: &Route<'_>, snapshot: &Snapshot) -> Result<(), String> {
        let listener = &self.name.listener;
        if !self.kinds.contains(&route.object.kind) {
            let kinds = self.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            return Err(format!(
                "listener {listener} ({}) takes {}; attach to another listener, or change its protocol or \
                 allowedRoutes.kinds",
                self.spec.protocol,
                if kinds.is_empty() { "no routes" } else { &kinds },
            ));
        }
        let namespaces = self.spec.allowed_routes.as_ref().and_then(|routes| routes.namespaces.as_ref());
        let from = namespaces.and_then(|namespaces| namespaces.from.as_ref()).unwrap_or(&From::Same);
        let namespace = &route.name.namespace;
        let (allowed, rule) = match from {
            From::All => (true, ""),
            From::Same => (*namespace == self.name.gateway.namespace, "its own namespace only"),
            From::Selector => (
                namespaces
                    .and_then(|namespaces| namespaces.selector.as_ref())
                    .is_some_and(|selector| selector::selects(selector, namespace, snapshot)),
                "namespaces that its selector matches",
            ),
            // What can't be understood must let nobody in.
            From::Unknown(_) => (false, "namespaces that this version doesn't know how to choose"),
        };
        if allowed {
            return Ok(());
        }
        Err(format!(
            "listener {listener} takes routes of {rule}, not of {namespace}; change allowedRoutes.namespaces of the \
             listener or move the route"
        ))
    }

    /// Accepted and Conflicted.
    pub(crate) fn own_conditions(&self) -> [Condition; 2] {
        let listener = &self.name.listener;
        if let Some(Conflict { reason, message }) = &self.conflict {
            return [
                Condition::no("Accepted", reason, message.as_str()).derived(),
                Condition::yes("Conflicted", reason, message.as_str()),
            ];
        }
        let accepted = if self.protocol.is_none() {
            let protocol = &self.spec.protocol;
            let message = format!(
                "listener {listener} has protocol {protocol}, which is not supported; use TCP or UDP"
            );
            Condition::no("Accepted", "UnsupportedProtocol", message)
        } else if self.port.is_none() {
            let message =
                format!("listener {listener} has port {}; use a number from 1 to 65535", self.spec.port);
            Condition::no("Accepted", "PortUnavailable", message)
        } else {
            Condition::yes("Accepted", "Accepted", format!("listener {listener} is valid"))
        };
        let no_conflict = format!("nothing else wants port {}", self.spec.port);
        [accepted, Condition::no("Conflicted", "NoConflicts", no_conflict)]
    }

    pub(crate) fn resolved_refs(&self) -> Condition {
        if self.invalid_kinds.is_empty() {
            return Condition::yes("ResolvedRefs", "ResolvedRefs", "all references are valid");
        }
        Condition::no(
            "ResolvedRefs",
            "InvalidRouteKinds",
            format!(
                "allowedRoutes.kinds of listener {} has {}, which can't attach to protocol {}; remove it",
                self.name.listener,
                self.invalid_kinds.join(", "),
                self.spec.protocol
            ),
        )
    }

    /// Why the listener can't carry traffic although it has an address: Programmed's reason and message.
    pub(crate) fn obstacle(&self) -> Option<Condition> {
        let listener = &self.name.listener;
        if let Some(Conflict { reason, message }) = &self.conflict {
            return Some(Condition::no("Programmed", reason, message.as_str()).derived());
        }
        let Some((_, protocol)) = self.port.zip(self.protocol) else {
            let message = format!("listener {listener} is not accepted; correct its port or protocol");
            return Some(Condition::no("Programmed", "Invalid", message).derived());
        };
        if protocol.kinds().is_empty() {
            return Some(Condition::no(
                "Programmed",
                "Pending",
                format!(
                    "this version has no data plane for protocol {}, so listener {listener} carries no traffic; use \
                     TCP or UDP",
                    self.spec.protocol
                ),
            ));
        }
        self.kinds.is_empty().then(|| {
            let message = format!(
                "allowedRoutes.kinds of listener {listener} lets no route in; remove the invalid kinds"
            );
            Condition::no("Programmed", "Invalid", message).derived()
        })
    }
}
