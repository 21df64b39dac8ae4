//! The statuses of Gateways.

use gateway_agent_api::{ObjectMeta, ObjectRef};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::listener::Listener;
use crate::route::DefaultScope;
use crate::status::{self, Condition};
use crate::{Outcome, Problem, Snapshot, infrastructure, overlap, tls};

impl<'a> Gateway<'a> {
    /// Whether a listener carries traffic.
    pub(crate) fn programmed(&self, listener: &Listener<'_>, snapshot: &Snapshot) -> Condition {
        if let Some(obstacle) = listener.obstacle(snapshot) {
            return obstacle;
        }
        if self.fault.is_some() {
            let message = format!("Gateway {} is not accepted; see its Accepted condition", self.name);
            Condition::no("Programmed", "Invalid", message).derived()
        } else if self.addresses.assigned.is_empty() {
            let message = format!("Gateway {} has no address; see its Programmed condition", self.name);
            Condition::no("Programmed", "Pending", message).derived()
        } else {
            Condition::yes("Programmed", "Programmed", listener.service_message(snapshot))
        }
    }

    /// Writes the Gateway's status; `attached` counts the routes of each listener.
    pub(crate) fn report(&self, attached: &[usize], snapshot: &Snapshot, outcome: &mut Outcome) {
        let object = self.object();
        let own = self.conditions(snapshot);
        outcome.problems.extend(status::problems(&object, None, &own));
        let listeners = self.listeners.iter().zip(attached).filter(|(it, _)| it.owner.set.is_none());
        let listeners: Vec<_> = listeners
            .map(|(it, count)| self.listener_status(it, *count, (&object, self.metadata), snapshot, outcome))
            .collect();
        outcome.statuses.insert(
            object,
            json!({
                "addresses": self.addresses.as_status(),
                "attachedListenerSets": self.attached_sets(snapshot),
                "conditions": status::conditions(&own, self.metadata),
                "listeners": listeners,
            }),
        );
        self.report_sets(attached, snapshot, outcome);
        self.report_held(snapshot, outcome);
        if snapshot.nodes.is_some() {
            outcome.infrastructure.extend(infrastructure::objects(self, snapshot));
        }
    }

    /// A listener that is served in part has nothing in its status that says so.
    fn report_held(&self, snapshot: &Snapshot, outcome: &mut Outcome) {
        for listener in &self.listeners {
            let Some(held) = self.held(listener, snapshot) else { continue };
            if !held.all {
                outcome.problems.insert(Problem {
                    object: self.owner(listener),
                    part: Some(format!("listener {}", listener.spec.name)),
                    condition: None,
                    reason: "PortUnavailable",
                    message: format!("{}; it is served elsewhere only", held.message),
                });
            }
            outcome.held.insert(listener.name.clone(), held);
        }
    }

    /// A listener's part of the status of its owner, which is a Gateway or ListenerSet.
    pub(crate) fn listener_status(
        &self,
        listener: &Listener<'_>,
        attached: usize,
        (owner, metadata): (&ObjectRef, &ObjectMeta),
        snapshot: &Snapshot,
        outcome: &mut Outcome,
    ) -> Value {
        let [accepted, conflicted] = listener.own_conditions(snapshot);
        let programmed = self.programmed(listener, snapshot);
        let mut conditions = vec![accepted, conflicted, programmed, listener.resolved_refs()];
        conditions.extend(overlap::condition(listener, &self.listeners));
        let part = format!("listener {}", listener.spec.name);
        outcome.problems.extend(status::problems(owner, Some(&part), &conditions));
        json!({
            "name": listener.spec.name,
            "supportedKinds": listener.supported_kinds(),
            "attachedRoutes": attached,
            "conditions": status::conditions(&conditions, metadata),
        })
    }

    fn conditions(&self, snapshot: &Snapshot) -> Vec<Condition> {
        let accepted = self.accepted(snapshot);
        let programmed = self.overall_programmed(&accepted, snapshot);
        let mut conditions = vec![accepted, programmed, self.resolved_refs()];
        conditions.extend(self.default_gateway());
        // The API: absent when it doesn't hold.
        if tls::is_insecure(self.spec) {
            conditions.push(Condition::yes(
                "InsecureFrontendValidationMode",
                "ConfigurationChanged",
                "clients without a valid certificate are served too (AllowInsecureFallback): backends have to check \
                 who asks",
            ));
        }
        conditions
    }

    /// Whether routes that ask for default Gateways attach to it. GEP-3793: absent where nobody asked for that.
    fn default_gateway(&self) -> Option<Condition> {
        const KIND: &str = "DefaultGateway";
        match self.default_scope() {
            DefaultScope::None => None,
            DefaultScope::All => Some(Condition::yes(
                KIND,
                "DefaultGateway",
                format!(
                    "Gateway {} has default scope All: routes with useDefaultGateways All attach to it where its \
                     listeners take them",
                    self.name
                ),
            )),
            DefaultScope::Unknown(scope) => Some(Condition::no(
                KIND,
                "UnsupportedValue",
                format!(
                    "Gateway {} has defaultScope {scope:?}, which is not supported, so that it is no default Gateway; \
                     use All",
                    self.name
                ),
            )),
        }
    }

    pub(crate) fn accepted(&self, snapshot: &Snapshot) -> Condition {
        if let Some(fault) = &self.fault {
            return fault.clone();
        }
        let invalid = self.list(|listener| !listener.is_accepted(snapshot));
        if invalid.is_empty() {
            return Condition::yes("Accepted", "Accepted", format!("Gateway {} is valid", self.name));
        }
        let valid = self.list(|listener| listener.is_accepted(snapshot));
        let message = format!("Gateway {}: listeners not valid: {invalid}; see their conditions", self.name);
        if valid.is_empty() {
            Condition::no("Accepted", "ListenersNotValid", message).derived()
        } else {
            Condition::yes("Accepted", "ListenersNotValid", format!("{message}; accepted: {valid}"))
        }
    }

    fn overall_programmed(&self, accepted: &Condition, snapshot: &Snapshot) -> Condition {
        if !accepted.status {
            let message = format!("Gateway {} is not accepted", self.name);
            return Condition::no("Programmed", "Invalid", message).derived();
        }
        if let Some((reason, message)) = &self.addresses.missing {
            return Condition::no("Programmed", reason, message.as_str());
        }
        let programmed = |served| {
            self.list(|listener| {
                self.programmed(listener, snapshot).status && listener.is_served(snapshot) == served
            })
        };
        let (served, accepted) = (programmed(true), programmed(false));
        if served.is_empty() && accepted.is_empty() {
            let message =
                format!("no listener of Gateway {} carries traffic; see their conditions", self.name);
            return Condition::no("Programmed", "Pending", message).derived();
        }
        let parts = [
            (served, "listeners that carry traffic"),
            (
                accepted,
                "listeners that accept connections, and say in their conditions what they don't do yet",
            ),
        ];
        let parts = parts.iter().filter(|(names, _)| !names.is_empty());
        let message = parts.map(|(names, what)| format!("{what}: {names}")).collect::<Vec<_>>().join("; ");
        Condition::yes("Programmed", "Programmed", message)
    }

    fn resolved_refs(&self) -> Condition {
        if let Err(fault) = &self.client_certificate {
            return Condition::no("ResolvedRefs", fault.reason, fault.message.as_str());
        }
        let unresolved = self.list(|listener| !listener.resolved_refs().status);
        if unresolved.is_empty() {
            return Condition::yes("ResolvedRefs", "ResolvedRefs", "all references are valid");
        }
        let message = format!("listeners with invalid references: {unresolved}; see their conditions");
        Condition::no("ResolvedRefs", "ListenersNotResolved", message).derived()
    }

    /// The names of the Gateway's own listeners that pass the filter.
    fn list(&self, filter: impl Fn(&Listener<'a>) -> bool) -> String {
        let own = self.listeners.iter().filter(|listener| listener.owner.set.is_none());
        let names = own.filter(|listener| filter(listener)).map(|listener| listener.spec.name);
        names.collect::<Vec<_>>().join(", ")
    }
}
