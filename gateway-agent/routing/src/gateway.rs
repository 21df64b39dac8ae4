//! Our Gateways: addresses, and the listeners of each with those of its ListenerSets.

use std::net::IpAddr;
use std::sync::Arc;

use gateway_agent_api::gateway::GatewayDefaultScope;
use gateway_agent_api::own::gateway_config::GatewayConfigSpec;
use gateway_agent_api::{self as api, Kind, ObjectMeta, ObjectRef};
use gateway_agent_tables::{FrontendKey, ObjectName};

use crate::address::{Addresses, Asking, Origin, Pools, Wishes};
use crate::listener::{Listener, Owner};
use crate::listener_set::ListenerSet;
use crate::listener_spec::ListenerSpec;
use crate::precedence::Rank;
use crate::route::{DefaultScope, default_scope};
use crate::status::Condition;
use crate::tls::Fault;
use crate::{Held, Problem, Snapshot, gateway_class, held, infrastructure, settings};

/// A Gateway whose class is ours.
#[derive(Debug)]
pub(crate) struct Gateway<'a> {
    pub(crate) name: ObjectName,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) spec: &'a api::gateway::GatewaySpec,
    pub(crate) asking: Asking,
    pub(crate) addresses: Addresses,
    /// Its own, then those of its ListenerSets.
    pub(crate) listeners: Vec<Listener<'a>>,
    pub(crate) sets: Vec<ListenerSet<'a>>,
    /// What it shows to backends that ask for a certificate, or why it can't.
    pub(crate) client_certificate: Result<Option<ObjectName>, Fault>,
    /// What is wrong with the Gateway itself, whatever its listeners.
    pub(crate) fault: Option<Condition>,
}

/// The Gateway of a name, without its ListenerSets; or what is to be said where there is none of ours.
pub(crate) fn find<'a>(name: &ObjectName, snapshot: &'a Snapshot) -> Result<Gateway<'a>, Vec<Problem>> {
    let gateway = snapshot.named::<api::Gateway>(&name.namespace, &name.name).ok_or_else(Vec::new)?;
    let class = gateway_class::find(&gateway.spec.gateway_class_name, snapshot);
    let class = class.ok_or_else(|| missing_class(gateway, snapshot).into_iter().collect::<Vec<_>>())?;
    Ok(Gateway::parse(gateway, class.settings.as_ref().ok(), snapshot))
}

/// Whosever it is.
pub(crate) fn exists(name: &ObjectName, snapshot: &Snapshot) -> bool {
    snapshot.named::<api::Gateway>(&name.namespace, &name.name).is_some()
}

/// A Gateway of another controller is none of our business, but one without a class is nobody's.
fn missing_class(gateway: &api::Gateway, snapshot: &Snapshot) -> Option<Problem> {
    let class = &gateway.spec.gateway_class_name;
    snapshot.named::<api::GatewayClass>("", class).is_none().then(|| Problem {
        object: ObjectRef::new(
            Kind::Gateway,
            gateway.metadata.namespace.as_deref().unwrap_or_default(),
            gateway.metadata.name.as_deref().unwrap_or_default(),
        ),
        part: None,
        condition: None,
        reason: "GatewayClassNotFound",
        message: format!(
            "GatewayClass {class} does not exist, so no controller serves the Gateway; create it"
        ),
    })
}

impl<'a> Gateway<'a> {
    /// `class` is None if the class is not accepted.
    fn parse(gateway: &'a api::Gateway, class: Option<&GatewayConfigSpec>, snapshot: &Snapshot) -> Self {
        let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
        let name = ObjectName {
            namespace: namespace.to_owned(),
            name: gateway.metadata.name.clone().unwrap_or_default(),
        };
        let (settings, fault) = match settings(gateway, &name, class, snapshot) {
            Ok(settings) => (settings, None),
            Err(fault) => (GatewayConfigSpec::default(), Some(fault)),
        };
        let wishes = Wishes::parse(&gateway.spec, settings.address_mode(), &name);
        let unsupported =
            |message: &String| Condition::no("Accepted", "UnsupportedAddress", message.as_str());
        let fault = fault.or_else(|| wishes.as_ref().err().map(unsupported));
        let owner = Owner { namespace, set: None };
        let listeners = gateway.spec.listeners.iter().map(ListenerSpec::from);
        Self {
            listeners: listeners.map(|spec| Listener::parse(spec, &name, owner)).collect(),
            sets: Vec::new(),
            client_certificate: Ok(None),
            metadata: &gateway.metadata,
            spec: &gateway.spec,
            fault,
            asking: Asking {
                gateway: name.clone(),
                class: gateway.spec.gateway_class_name.clone(),
                pools: Pools::of(&settings),
                settings: Arc::new(settings),
                wishes: wishes.unwrap_or(Wishes::Default),
            },
            addresses: Addresses::default(),
            name,
        }
    }

    /// The places that a listener wants, on all nodes.
    pub(crate) fn claimed_by(&self, listener: &Listener<'_>) -> Vec<FrontendKey> {
        let socket = listener.socket().filter(|_| self.fault.is_none());
        let keys = socket.into_iter().flat_map(|(port, protocol)| {
            self.addresses.ips().map(move |address| FrontendKey { address, port, protocol })
        });
        keys.collect()
    }

    /// The places where this node serves a listener: all it wants here, if it carries traffic.
    pub(crate) fn frontends_of(&self, listener: &Listener<'_>, snapshot: &Snapshot) -> Vec<FrontendKey> {
        let Some((port, protocol)) = listener.socket().filter(|_| self.programmed(listener, snapshot).status)
        else {
            return Vec::new();
        };
        let node = &snapshot.node;
        let is_here = |ip: &IpAddr| node.addresses.contains(ip) || node.gateway_addresses.contains(ip);
        let here = self
            .addresses
            .assigned
            .iter()
            .filter_map(|it| it.address.ip().filter(|ip| it.origin != Origin::Node || is_here(ip)));
        let keys = here.map(|address| FrontendKey { address, port, protocol });
        let keys = keys.filter(|key| !listener.held.iter().any(|(held, _)| held == key));
        keys.chain(infrastructure::balanced_frontends(self, (port, protocol), snapshot)).collect()
    }

    /// What this node can't serve of a listener that would else carry traffic; None: nothing is in the way.
    pub(crate) fn held(&self, listener: &Listener<'_>, snapshot: &Snapshot) -> Option<Held> {
        if listener.held.is_empty() || self.fault.is_some() {
            return None;
        }
        let causes: Vec<_> = listener.held.iter().map(|(key, holder)| held::explain(key, holder)).collect();
        Some(Held { all: self.frontends_of(listener, snapshot).is_empty(), message: causes.join("; ") })
    }

    pub(crate) fn default_scope(&self) -> DefaultScope<'a> {
        default_scope!(&self.spec.default_scope, GatewayDefaultScope)
    }

    pub(crate) fn rank(&self) -> Rank {
        Rank::new(Arc::new(self.object()), self.metadata)
    }

    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef::new(Kind::Gateway, &self.name.namespace, &self.name.name)
    }

    /// The object that a listener is written in.
    pub(crate) fn owner(&self, listener: &Listener<'_>) -> ObjectRef {
        listener.owner.set.map_or_else(|| self.object(), |set| self.sets[set].object())
    }
}

/// What holds for the Gateway, or why it can't be accepted.
fn settings(
    gateway: &api::Gateway,
    name: &ObjectName,
    class: Option<&GatewayConfigSpec>,
    snapshot: &Snapshot,
) -> Result<GatewayConfigSpec, Condition> {
    let Some(class) = class else {
        let class = &gateway.spec.gateway_class_name;
        let message = format!("GatewayClass {class} is not accepted; see its status");
        return Err(Condition::no("Accepted", "Invalid", message));
    };
    settings::of_gateway(gateway, name, class, snapshot)
        .map_err(|message| Condition::no("Accepted", "InvalidParameters", message))
}
