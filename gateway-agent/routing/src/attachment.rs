//! Which routes attach to which listeners, and for which host names.

use std::collections::BTreeMap;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::{HostPattern, ObjectName};

use crate::gateway::Gateway;
use crate::listener::Listener;
use crate::route::{ParentRef, Route};
use crate::status::Condition;
use crate::{Problem, Snapshot};

/// What became of one parentRef that names a parent of ours.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Index in the route's parents.
    pub(crate) parent: usize,
    pub(crate) gateway: usize,
    /// Where the route attaches, or the Accepted condition that says why nowhere.
    pub(crate) attached: Result<Vec<Attachment>, Condition>,
}

/// A route at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Index in the Gateway's listeners.
    pub(crate) listener: usize,
    /// At least one; each effective host name once.
    pub(crate) hosts: Vec<RouteHost>,
}

/// A host name for which a listener gives requests to a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteHost {
    /// What the route's and the listener's host names have in common.
    pub(crate) effective: HostPattern,
    /// The route's own host name: where the effective ones of two routes are the same, the more specific of their own
    /// comes first.
    pub(crate) own: HostPattern,
}

/// Where parentRefs lead.
#[derive(Debug)]
pub(crate) struct Parents<'g, 'a> {
    gateways: &'g [Gateway<'a>],
    by_name: BTreeMap<(Kind, &'g ObjectName), Parent>,
    snapshot: &'a Snapshot,
}

/// A Gateway, or a ListenerSet of it, by index.
#[derive(Clone, Copy, Debug)]
struct Parent {
    gateway: usize,
    set: Option<usize>,
}

impl<'g, 'a> Parents<'g, 'a> {
    pub(crate) fn new(gateways: &'g [Gateway<'a>], snapshot: &'a Snapshot) -> Self {
        let mut by_name = BTreeMap::new();
        for (index, gateway) in gateways.iter().enumerate() {
            by_name.insert((Kind::Gateway, &gateway.name), Parent { gateway: index, set: None });
            for (place, set) in gateway.sets.iter().enumerate() {
                by_name.insert((Kind::ListenerSet, &set.name), Parent { gateway: index, set: Some(place) });
            }
        }
        Self { gateways, by_name, snapshot }
    }

    /// What becomes of each parentRef that names a Gateway or ListenerSet of ours.
    pub(crate) fn judge(&self, route: &Route<'_>, problems: &mut Vec<Problem>) -> Vec<Verdict> {
        // Parents of other kinds belong to other controllers.
        let named = route
            .parents
            .iter()
            .enumerate()
            .filter_map(|(index, parent)| Some((index, parent, parent.target_kind()?)));
        named
            .filter_map(|(index, parent, kind)| {
                let name =
                    ObjectName { namespace: parent.namespace.to_owned(), name: parent.name.to_owned() };
                let Some(&target) = self.by_name.get(&(kind, &name)) else {
                    problems.extend(missing_parent(route, parent, kind, self.snapshot));
                    return None;
                };
                let attached = self.attach(parent, route, target);
                Some(Verdict { parent: index, gateway: target.gateway, attached })
            })
            .collect()
    }

    /// The listeners that accept the route, or the Accepted condition that says why none does.
    fn attach(
        &self,
        parent: &ParentRef<'_>,
        route: &Route<'_>,
        target: Parent,
    ) -> Result<Vec<Attachment>, Condition> {
        let gateway = &self.gateways[target.gateway];
        let set = target.set.map(|set| &gateway.sets[set]);
        let whole = set
            .map_or_else(|| format!("Gateway {}", gateway.name), |set| format!("ListenerSet {}", set.name));
        if set.is_some_and(|set| !set.allowed) {
            let message =
                format!("{whole} is not allowed at Gateway {}; see its Accepted condition", gateway.name);
            return Err(Condition::no("Accepted", "NoMatchingParent", message));
        }
        let listeners = gateway.listeners.iter().enumerate();
        let listeners: Vec<_> = listeners.filter(|(_, it)| it.owner.set == target.set).collect();
        choose(&listeners, parent, route, &whole, self.snapshot)
    }
}

/// A parent of another controller is none of our business; one that doesn't exist has no status to say so.
fn missing_parent(
    route: &Route<'_>,
    parent: &ParentRef<'_>,
    kind: Kind,
    snapshot: &Snapshot,
) -> Option<Problem> {
    let target = ObjectRef::new(kind, parent.namespace, parent.name);
    snapshot.find(&target).is_none().then(|| Problem {
        object: route.object.clone(),
        part: Some(format!("parent {target}")),
        condition: None,
        reason: "ParentNotFound",
        message: format!("{target} does not exist; create it, or correct the parentRef"),
    })
}

/// The listeners of the parent that the parentRef means and that accept the route.
fn choose(
    listeners: &[(usize, &Listener<'_>)],
    parent: &ParentRef<'_>,
    route: &Route<'_>,
    whole: &str,
    snapshot: &Snapshot,
) -> Result<Vec<Attachment>, Condition> {
    let meant: Vec<_> = listeners
        .iter()
        .filter(|(_, listener)| parent.section.is_none_or(|section| section == listener.spec.name))
        .filter(|(_, listener)| parent.port.is_none_or(|port| port == listener.spec.port))
        .collect();
    if meant.is_empty() {
        let message = no_match(parent, whole, listeners);
        return Err(Condition::no("Accepted", "NoMatchingParent", message));
    }
    let mut refusals = Vec::new();
    let mut attached = Vec::new();
    let mut strangers = Vec::new();
    for &(index, listener) in meant {
        match listener.admits(route, snapshot) {
            Ok(()) => {
                let hosts = common_hosts(route, listener);
                if hosts.is_empty() {
                    strangers.push(listener);
                } else {
                    attached.push(Attachment { listener: index, hosts });
                }
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    if !attached.is_empty() {
        return Ok(attached);
    }
    if strangers.is_empty() {
        let message = format!("{} can't attach to {whole}: {}", route.object, refusals.join("; "));
        return Err(Condition::no("Accepted", "NotAllowedByListeners", message));
    }
    let message = no_common_host(route, whole, &strangers);
    Err(Condition::no("Accepted", "NoMatchingListenerHostname", message))
}

/// What the route's and the listener's host names have in common.
fn common_hosts(route: &Route<'_>, listener: &Listener<'_>) -> Vec<RouteHost> {
    // A listener whose hostname isn't one serves nothing; that is no fault of the route.
    let own = listener.hostname.as_ref().unwrap_or(&HostPattern::Any);
    if route.hostnames.is_empty() {
        return vec![RouteHost { effective: own.clone(), own: HostPattern::Any }];
    }
    let mut hosts: Vec<RouteHost> = Vec::new();
    for hostname in &route.hostnames {
        let Some(effective) = own.intersection(hostname) else { continue };
        match hosts.iter_mut().find(|host| host.effective == *effective) {
            Some(host) if host.own.specificity() >= hostname.specificity() => {}
            Some(host) => host.own = hostname.clone(),
            None => hosts.push(RouteHost { effective: effective.clone(), own: hostname.clone() }),
        }
    }
    hosts
}

fn no_match(parent: &ParentRef<'_>, whole: &str, listeners: &[(usize, &Listener<'_>)]) -> String {
    let wanted = match (parent.section, parent.port) {
        (Some(section), Some(port)) => format!("listener {section} on port {port}"),
        (Some(section), None) => format!("listener {section}"),
        (None, Some(port)) => format!("listener on port {port}"),
        (None, None) => "listener".to_owned(),
    };
    let has = listeners
        .iter()
        .map(|(_, listener)| format!("{} on port {}", listener.spec.name, listener.spec.port))
        .collect::<Vec<_>>()
        .join(", ");
    format!("{whole} has no {wanted}, it has {has}; correct sectionName or port of the parentRef")
}

fn no_common_host(route: &Route<'_>, whole: &str, listeners: &[&Listener<'_>]) -> String {
    let wanted = route.hostnames.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let has = listeners
        .iter()
        .map(|listener| format!("{} ({})", listener.spec.name, listener.spec.hostname))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "{} is for {wanted}, which no listener of {whole} that takes the route is for: {has}; add a matching hostname \
         to the route or to a listener",
        route.object
    )
}
