//! ListenerSets: further listeners of a Gateway, written by others than its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_agent_api::gateway::GatewayAllowedListenersNamespacesFrom as From;
use gateway_agent_api::{self as api, Kind, ObjectMeta, ObjectRef, Typed as _};
use gateway_agent_tables::ObjectName;
use serde_json::json;

use crate::gateway::Gateway;
use crate::listener::{Listener, Owner};
use crate::listener_spec::ListenerSpec;
use crate::precedence::Rank;
use crate::selector::Namespaces;
use crate::status::{self, Condition};
use crate::{Outcome, Problem, Snapshot};

/// A ListenerSet whose parent is one of our Gateways.
#[derive(Debug)]
pub(crate) struct ListenerSet<'a> {
    pub(crate) name: ObjectName,
    metadata: &'a ObjectMeta,
    /// The Gateway takes it; its listeners are among the Gateway's.
    pub(crate) allowed: bool,
}

/// Which ListenerSets name which Gateways as their parents.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    parents: BTreeMap<ObjectRef, (ObjectName, Rank)>,
    by_parent: BTreeMap<ObjectName, BTreeSet<Rank>>,
}

impl Sets {
    /// Looks at a ListenerSet again. Gives the parents that it had and has, whatever they are.
    pub(crate) fn update(&mut self, object: &ObjectRef, snapshot: &Snapshot) -> [Option<ObjectName>; 2] {
        let former = self.parents.remove(object);
        if let Some((parent, rank)) = &former
            && let Some(sets) = self.by_parent.get_mut(parent)
        {
            sets.remove(rank);
            if sets.is_empty() {
                self.by_parent.remove(parent);
            }
        }
        let set = snapshot.find(object).and_then(api::ListenerSet::of);
        let present = set.and_then(|set| Some((parent(set)?, &set.metadata)));
        let present = present.map(|(parent, metadata)| {
            let rank = Rank::new(Arc::new(object.clone()), metadata);
            self.by_parent.entry(parent.clone()).or_default().insert(rank.clone());
            self.parents.insert(object.clone(), (parent.clone(), rank));
            parent
        });
        [former.map(|(parent, _)| parent), present]
    }

    /// All that are named as parents.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &ObjectName> {
        self.by_parent.keys()
    }

    /// The ListenerSets that name a Gateway, in order of precedence.
    fn of<'s>(&self, parent: &ObjectName, snapshot: &'s Snapshot) -> Vec<&'s api::ListenerSet> {
        let sets = self.by_parent.get(parent).into_iter().flatten();
        sets.filter_map(|rank| snapshot.find(&rank.object).and_then(api::ListenerSet::of)).collect()
    }

    /// Gives a Gateway the listeners of its ListenerSets.
    pub(crate) fn attach<'s>(&self, gateway: &mut Gateway<'s>, snapshot: &'s Snapshot) {
        for set in self.of(&gateway.name, snapshot) {
            add(gateway, set, set.metadata.namespace.as_deref().unwrap_or_default(), snapshot);
        }
    }

    /// What is wrong with the ListenerSets whose parent is not one of our Gateways.
    pub(crate) fn orphans(&self, parent: &ObjectName, snapshot: &Snapshot) -> Vec<Problem> {
        let sets = self.of(parent, snapshot).into_iter();
        sets.filter_map(|set| missing_parent(set, parent, snapshot)).collect()
    }
}

/// None: not a Gateway.
fn parent(set: &api::ListenerSet) -> Option<ObjectName> {
    let parent = &set.spec.parent_ref;
    let group = parent.group.as_deref().unwrap_or(Kind::Gateway.group());
    let kind = parent.kind.as_deref().unwrap_or(Kind::Gateway.name());
    let namespace = parent.namespace.as_ref().or(set.metadata.namespace.as_ref());
    (Kind::find(group, kind) == Some(Kind::Gateway))
        .then(|| ObjectName { namespace: namespace.cloned().unwrap_or_default(), name: parent.name.clone() })
}

fn add<'a>(gateway: &mut Gateway<'a>, set: &'a api::ListenerSet, namespace: &'a str, snapshot: &Snapshot) {
    let allowed = allowed_listeners(gateway).admit(namespace, &gateway.name.namespace, snapshot);
    let name =
        ObjectName { namespace: namespace.to_owned(), name: set.metadata.name.clone().unwrap_or_default() };
    if allowed {
        let owner = Owner { namespace, set: Some(gateway.sets.len()) };
        for spec in set.spec.listeners.iter().map(ListenerSpec::from) {
            let mut listener = Listener::parse(spec, &gateway.name, owner);
            listener.name.listener = format!("{name}/{}", listener.spec.name);
            gateway.listeners.push(listener);
        }
    }
    gateway.sets.push(ListenerSet { name, metadata: &set.metadata, allowed });
}

/// Who may add listeners; the API's default is nobody.
fn allowed_listeners(gateway: &Gateway<'_>) -> Namespaces {
    let namespaces = gateway.spec.allowed_listeners.as_ref().and_then(|it| it.namespaces.as_ref());
    match namespaces.and_then(|namespaces| namespaces.from.as_ref()) {
        Some(From::All) => Namespaces::All,
        Some(From::Same) => Namespaces::Same,
        Some(From::Selector) => {
            Namespaces::selected(namespaces.and_then(|namespaces| namespaces.selector.as_ref()))
        }
        Some(From::None | From::Unknown(_)) | None => Namespaces::None,
    }
}

/// A Gateway of another controller is none of our business; one that doesn't exist has nobody to say so.
fn missing_parent(set: &api::ListenerSet, wanted: &ObjectName, snapshot: &Snapshot) -> Option<Problem> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    snapshot.named::<api::Gateway>(&wanted.namespace, &wanted.name).is_none().then(|| Problem {
        object: ObjectRef::new(Kind::ListenerSet, namespace, name),
        part: Some(format!("parent Gateway {wanted}")),
        condition: None,
        reason: "ParentNotFound",
        message: format!("Gateway {wanted} does not exist; create it, or correct the parentRef"),
    })
}

impl ListenerSet<'_> {
    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef::new(Kind::ListenerSet, &self.name.namespace, &self.name.name)
    }
}

impl Gateway<'_> {
    /// How many ListenerSets are attached: those that are let in and accepted.
    pub(crate) fn attached_sets(&self, snapshot: &Snapshot) -> usize {
        (0..self.sets.len()).filter(|index| self.set_conditions(*index, snapshot)[0].status).count()
    }

    /// Writes the statuses of the Gateway's ListenerSets; `attached` counts the routes of each listener.
    pub(crate) fn report_sets(&self, attached: &[usize], snapshot: &Snapshot, outcome: &mut Outcome) {
        for (index, set) in self.sets.iter().enumerate() {
            let object = set.object();
            let conditions = self.set_conditions(index, snapshot);
            outcome.problems.extend(status::problems(&object, None, &conditions));
            let own = self.listeners.iter().zip(attached).filter(|(it, _)| it.owner.set == Some(index));
            let listeners: Vec<_> = own
                .map(|(it, count)| {
                    self.listener_status(it, *count, (&object, set.metadata), snapshot, outcome)
                })
                .collect();
            let conditions = status::conditions(&conditions, set.metadata);
            outcome.statuses.insert(object, json!({ "conditions": conditions, "listeners": listeners }));
        }
    }

    /// Accepted and Programmed.
    fn set_conditions(&self, index: usize, snapshot: &Snapshot) -> [Condition; 2] {
        let set = &self.sets[index];
        if !set.allowed {
            let message = format!(
                "Gateway {} takes ListenerSets of {}, not of {}; change its allowedListeners, or move the ListenerSet",
                self.name,
                allowed_listeners(self).rule(),
                set.name.namespace
            );
            return refused("NotAllowed", message);
        }
        let gateway = self.accepted(snapshot);
        if self.fault.is_some() {
            let message = format!("Gateway {} is not accepted; see its Accepted condition", self.name);
            return refused("ParentNotAccepted", message);
        }
        let own = || self.listeners.iter().filter(|listener| listener.owner.set == Some(index));
        let names = |valid: bool| {
            let names = own().filter(|it| it.is_usable(snapshot) == valid).map(|it| it.spec.name);
            names.collect::<Vec<_>>().join(", ")
        };
        let (valid, invalid) = (names(true), names(false));
        if valid.is_empty() {
            let message = format!("listeners not valid: {invalid}; see their conditions");
            let [accepted, programmed] = refused("ListenersNotValid", message);
            return [accepted.derived(), programmed];
        }
        let accepted = if invalid.is_empty() {
            Condition::yes("Accepted", "Accepted", format!("attached to Gateway {}", self.name))
        } else {
            let message = format!("listeners not valid: {invalid}; see their conditions; accepted: {valid}");
            Condition::yes("Accepted", "ListenersNotValid", message)
        };
        let carrying = own().filter(|it| self.programmed(it, snapshot).status).map(|it| it.spec.name);
        let carrying = carrying.collect::<Vec<_>>().join(", ");
        let programmed = if !carrying.is_empty() {
            let message = format!("listeners that carry traffic: {carrying}");
            Condition::yes("Programmed", "Programmed", message)
        } else if self.addresses.assigned.is_empty() || !gateway.status {
            let message = format!("Gateway {} is not programmed; see its Programmed condition", self.name);
            Condition::no("Programmed", "ParentNotProgrammed", message).derived()
        } else {
            let message = "no listener carries traffic; see their conditions";
            Condition::no("Programmed", "Invalid", message).derived()
        };
        [accepted, programmed]
    }
}

fn refused(reason: &'static str, message: String) -> [Condition; 2] {
    [
        Condition::no("Accepted", reason, message.as_str()),
        Condition::no("Programmed", reason, message).derived(),
    ]
}
