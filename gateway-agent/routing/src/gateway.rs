//! Our Gateways: addresses, listeners and who wins a port.

use std::collections::BTreeMap;

use gateway_agent_api::{self as api, Kind, ObjectMeta, ObjectRef};
use gateway_agent_tables::{FrontendKey, ObjectName};
use serde_json::{Value, json};

use crate::address::{self, Addresses};
use crate::gateway_class::Classes;
use crate::listener::{Conflict, Listener};
use crate::precedence::Precedence;
use crate::status::{self, Condition};
use crate::{Outcome, Problem, Snapshot};

/// A Gateway whose class is ours.
#[derive(Debug)]
pub(crate) struct Gateway<'a> {
    pub(crate) name: ObjectName,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) addresses: Addresses,
    pub(crate) listeners: Vec<Listener<'a>>,
    /// What is wrong with the Gateway itself, whatever its listeners.
    fault: Option<Condition>,
}

/// Our Gateways, in order of precedence, with all conflicts between listeners settled.
pub(crate) fn ours<'a>(
    snapshot: &'a Snapshot,
    classes: &Classes<'a>,
    outcome: &mut Outcome,
) -> Vec<Gateway<'a>> {
    let mut gateways: Vec<_> = snapshot
        .all::<api::Gateway>()
        .filter_map(|gateway| {
            let Some(accepted) = classes.get(gateway.spec.gateway_class_name.as_str()) else {
                outcome.problems.extend(missing_class(gateway, snapshot));
                return None;
            };
            Some(Gateway::parse(gateway, *accepted, snapshot))
        })
        .collect();
    gateways.sort_by(|a, b| Precedence::of(a.metadata).cmp(&Precedence::of(b.metadata)));
    settle_claims(&mut gateways);
    gateways
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

/// Gives each (address, port, protocol) to the oldest Gateway that wants it; a listener that loses one of them loses
/// all, since a listener must be available on every address of its Gateway.
fn settle_claims(gateways: &mut [Gateway<'_>]) {
    // Who has each place so far, by index of Gateway and listener; HTTP listeners may share one.
    let mut claims = BTreeMap::<FrontendKey, Vec<(usize, usize)>>::new();
    for index in 0..gateways.len() {
        for place in 0..gateways[index].listeners.len() {
            let keys = gateways[index].claimed_by(&gateways[index].listeners[place]);
            let listener = &gateways[index].listeners[place];
            let conflict = keys.iter().find_map(|key| {
                let holders = claims.get(key)?.iter().filter(|(holder, _)| *holder != index);
                holders
                    .map(|&(holder, held)| &gateways[holder].listeners[held])
                    .find_map(|holder| lost(listener, holder, key))
            });
            if conflict.is_some() {
                gateways[index].listeners[place].conflict = conflict;
            } else {
                for key in keys {
                    claims.entry(key).or_default().push((index, place));
                }
            }
        }
    }
}

fn lost(listener: &Listener<'_>, holder: &Listener<'_>, key: &FrontendKey) -> Option<Conflict> {
    let reason = listener.excludes(holder)?;
    let message = format!(
        "port {} of {} belongs to listener {} of Gateway {}, which comes first by age and name; give listener {} another \
         port, or its Gateway another address",
        key.port, key.address, holder.name.listener, holder.name.gateway, listener.name.listener
    );
    Some(Conflict { reason, message })
}

impl<'a> Gateway<'a> {
    fn parse(gateway: &'a api::Gateway, class_accepted: bool, snapshot: &Snapshot) -> Self {
        let name = ObjectName {
            namespace: gateway.metadata.namespace.clone().unwrap_or_default(),
            name: gateway.metadata.name.clone().unwrap_or_default(),
        };
        let addresses = address::assign(gateway, &name, &snapshot.node);
        let parameters = gateway.spec.infrastructure.as_ref().and_then(|it| it.parameters_ref.as_ref());
        let fault = if !class_accepted {
            let class = &gateway.spec.gateway_class_name;
            Some(("Invalid", format!("GatewayClass {class} is not accepted; see its status")))
        } else if let Some(parameters) = parameters {
            let message = format!(
                "infrastructure.parametersRef of Gateway {name} names {} {}, a kind that holds no settings for this \
                 controller; remove parametersRef",
                parameters.kind, parameters.name
            );
            Some(("InvalidParameters", message))
        } else {
            addresses.unsupported.clone().map(|message| ("UnsupportedAddress", message))
        };
        Self {
            listeners: Listener::of(gateway, &name),
            metadata: &gateway.metadata,
            addresses,
            fault: fault.map(|(reason, message)| Condition::no("Accepted", reason, message)),
            name,
        }
    }

    /// The places that a listener wants.
    fn claimed_by(&self, listener: &Listener<'_>) -> Vec<FrontendKey> {
        let socket = listener.socket().filter(|_| self.fault.is_none());
        let addresses = self.addresses.assigned.iter();
        let keys = socket.into_iter().flat_map(|(port, protocol)| {
            addresses.clone().map(move |&address| FrontendKey { address, port, protocol })
        });
        keys.collect()
    }

    /// The frontends that a listener makes: all its places, if it carries traffic.
    pub(crate) fn frontends_of(&self, listener: &Listener<'_>) -> Vec<FrontendKey> {
        if self.programmed(listener).status { self.claimed_by(listener) } else { Vec::new() }
    }

    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef::new(Kind::Gateway, &self.name.namespace, &self.name.name)
    }

    fn programmed(&self, listener: &Listener<'_>) -> Condition {
        if let Some(obstacle) = listener.obstacle() {
            return obstacle;
        }
        let name = &listener.name.listener;
        if self.fault.is_some() {
            let message = format!("Gateway {} is not accepted; see its Accepted condition", self.name);
            Condition::no("Programmed", "Invalid", message).derived()
        } else if self.addresses.assigned.is_empty() {
            let message = format!("Gateway {} has no address; see its Programmed condition", self.name);
            Condition::no("Programmed", "Pending", message).derived()
        } else {
            Condition::yes("Programmed", "Programmed", format!("listener {name} carries traffic"))
        }
    }

    /// Writes the Gateway's status; `attached` counts each listener's routes.
    pub(crate) fn report(&self, attached: &[usize], outcome: &mut Outcome) {
        let object = self.object();
        let own = self.conditions();
        outcome.problems.extend(status::problems(&object, None, &own));
        let mut listeners = Vec::new();
        for (listener, attached) in self.listeners.iter().zip(attached) {
            let [accepted, conflicted] = listener.own_conditions();
            let conditions = [accepted, conflicted, self.programmed(listener), listener.resolved_refs()];
            let part = format!("listener {}", listener.name.listener);
            outcome.problems.extend(status::problems(&object, Some(&part), &conditions));
            listeners.push(json!({
                "name": listener.name.listener,
                "supportedKinds": supported_kinds(listener),
                "attachedRoutes": attached,
                "conditions": status::conditions(&conditions, self.metadata),
            }));
        }
        let addresses: Vec<_> = self.addresses.assigned.iter().filter(|_| self.fault.is_none()).collect();
        let addresses: Vec<_> =
            addresses.into_iter().map(|ip| json!({ "type": "IPAddress", "value": ip.to_string() })).collect();
        outcome.statuses.insert(
            object,
            json!({
                "addresses": addresses,
                "conditions": status::conditions(&own, self.metadata),
                "listeners": listeners,
            }),
        );
    }

    fn conditions(&self) -> [Condition; 3] {
        let accepted = self.accepted();
        let programmed = self.overall_programmed(&accepted);
        [accepted, programmed, self.resolved_refs()]
    }

    fn accepted(&self) -> Condition {
        if let Some(fault) = &self.fault {
            return fault.clone();
        }
        let invalid = self.list(|listener| !listener.is_valid());
        if invalid.is_empty() {
            return Condition::yes("Accepted", "Accepted", format!("Gateway {} is valid", self.name));
        }
        let valid = self.list(Listener::is_valid);
        let message = format!("Gateway {}: listeners not valid: {invalid}; see their conditions", self.name);
        if valid.is_empty() {
            Condition::no("Accepted", "ListenersNotValid", message).derived()
        } else {
            Condition::yes("Accepted", "ListenersNotValid", format!("{message}; accepted: {valid}"))
        }
    }

    fn overall_programmed(&self, accepted: &Condition) -> Condition {
        if !accepted.status {
            let message = format!("Gateway {} is not accepted", self.name);
            return Condition::no("Programmed", "Invalid", message).derived();
        }
        if let Some((reason, message)) = &self.addresses.missing {
            return Condition::no("Programmed", reason, message.as_str());
        }
        let programmed = self.list(|listener| self.programmed(listener).status);
        if programmed.is_empty() {
            let message =
                format!("no listener of Gateway {} carries traffic; see their conditions", self.name);
            return Condition::no("Programmed", "Pending", message).derived();
        }
        Condition::yes("Programmed", "Programmed", format!("listeners that carry traffic: {programmed}"))
    }

    fn resolved_refs(&self) -> Condition {
        let unresolved = self.list(|listener| !listener.resolved_refs().status);
        if unresolved.is_empty() {
            return Condition::yes("ResolvedRefs", "ResolvedRefs", "all references are valid");
        }
        let message = format!("listeners with invalid references: {unresolved}; see their conditions");
        Condition::no("ResolvedRefs", "ListenersNotResolved", message).derived()
    }

    fn list(&self, filter: impl Fn(&Listener<'a>) -> bool) -> String {
        let names = self.listeners.iter().filter(|listener| filter(listener));
        names.map(|listener| listener.name.listener.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn supported_kinds(listener: &Listener<'_>) -> Vec<Value> {
    listener.kinds.iter().map(|kind| json!({ "group": kind.group(), "kind": kind.name() })).collect()
}
