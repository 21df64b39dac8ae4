//! Which routes attach to which listeners, and for which host names.

use std::sync::Arc;

use gateway_agent_api::gateway::GatewayDefaultScope;
use gateway_agent_api::{Gateway, ObjectRef};
use gateway_agent_tables::{HostPattern, ObjectName};
use serde_json::Value;

use crate::frame::{Frame, Target};
use crate::place::Place;
use crate::route::{DefaultScope, ParentRef, Route};
use crate::status::Condition;
use crate::{Problem, Snapshot};

/// What became of one parentRef that names a parent of ours, or of a default Gateway that the route asks for.
#[derive(Debug)]
pub(crate) struct Verdict {
    via: Via,
    pub(crate) gateway: Arc<ObjectName>,
    /// Where the route attaches, or the Accepted condition that says why nowhere.
    pub(crate) attached: Result<Box<[Attachment]>, Condition>,
}

/// What leads a route to a Gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    /// Index in the route's parents.
    ParentRef(usize),
    /// `useDefaultGateways`.
    Default,
}

/// A route at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Index in the Gateway's listeners.
    pub(crate) listener: usize,
    /// At least one; each effective host name once.
    pub(crate) hosts: Arc<[RouteHost]>,
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

/// What becomes of each parentRef that names a Gateway or ListenerSet of ours, and what is wrong with the others.
pub(crate) fn judge(route: &Route<'_>, frame: &Frame, snapshot: &Snapshot) -> (Box<[Verdict]>, Vec<Problem>) {
    let (mut verdicts, mut problems) = (Vec::new(), Vec::new());
    // Parents of other kinds belong to other controllers.
    let named = route
        .parents
        .iter()
        .enumerate()
        .filter_map(|(index, parent)| Some((index, parent, parent.target_kind()?)));
    for (index, parent, kind) in named {
        let name = ObjectName { namespace: parent.namespace.to_owned(), name: parent.name.to_owned() };
        // What Gateways make follows from their objects: to ask for the one is to look at the other.
        let object = ObjectRef::new(kind, &name.namespace, &name.name);
        let exists = snapshot.find(&object).is_some();
        match frame.target(kind, &name) {
            Some(target) => {
                let attached = attach(parent, route, &target, frame, snapshot);
                verdicts.push(Verdict { via: Via::ParentRef(index), gateway: target.gateway, attached });
            }
            None if exists => {}
            None => problems.push(missing_parent(route, &object)),
        }
    }
    match route.default_gateways {
        DefaultScope::None => {}
        DefaultScope::All => {
            let defaulted = at_default_gateways(route, frame, snapshot);
            verdicts.extend(defaulted);
            problems.extend(no_default_gateway(route, snapshot));
        }
        DefaultScope::Unknown(scope) => problems.push(unknown_scope(route, scope)),
    }
    (verdicts.into(), problems)
}

/// What becomes of the route at each default Gateway: the same as if it named each of them (GEP-3793).
fn at_default_gateways(route: &Route<'_>, frame: &Frame, snapshot: &Snapshot) -> Vec<Verdict> {
    let names_it = |gateway: &ObjectName| route.parents.iter().any(|parent| parent.is_whole(gateway));
    let gateways = frame.gateways.values().filter(|gateway| gateway.is_default && !names_it(&gateway.name));
    let verdicts = gateways.map(|gateway| {
        let parent = ParentRef::whole(&gateway.name);
        let target = Target { gateway: Arc::clone(&gateway.name), set: None };
        let attached = attach(&parent, route, &target, frame, snapshot);
        Verdict { via: Via::Default, gateway: target.gateway, attached }
    });
    verdicts.collect()
}

/// The listeners that accept the route, or the Accepted condition that says why none does.
fn attach(
    parent: &ParentRef<'_>,
    route: &Route<'_>,
    target: &Target,
    frame: &Frame,
    snapshot: &Snapshot,
) -> Result<Box<[Attachment]>, Condition> {
    let gateway = &frame.gateways[&*target.gateway];
    let set = target.set.map(|set| &gateway.sets[set]);
    let whole =
        set.map_or_else(|| format!("Gateway {}", gateway.name), |set| format!("ListenerSet {}", set.name));
    if set.is_some_and(|set| !set.allowed) {
        let message =
            format!("{whole} is not allowed at Gateway {}; see its Accepted condition", gateway.name);
        return Err(Condition::no("Accepted", "NoMatchingParent", message));
    }
    let places = gateway.places.iter().enumerate();
    let places: Vec<_> = places.filter(|(_, it)| it.set == target.set).collect();
    choose(&places, parent, route, &whole, snapshot)
}

/// A parent of another controller is none of our business; one that doesn't exist has no status to say so.
fn missing_parent(route: &Route<'_>, target: &ObjectRef) -> Problem {
    Problem {
        object: route.object.clone(),
        part: Some(format!("parent {target}")),
        condition: None,
        reason: "ParentNotFound",
        message: format!("{target} does not exist; create it, or correct the parentRef"),
    }
}

/// Whose Gateways they are doesn't matter: somebody else's serve the route just as well.
fn no_default_gateway(route: &Route<'_>, snapshot: &Snapshot) -> Option<Problem> {
    let is_default = |gateway: &Gateway| gateway.spec.default_scope == Some(GatewayDefaultScope::All);
    (!snapshot.all::<Gateway>().any(is_default)).then(|| Problem {
        object: route.object.clone(),
        part: None,
        condition: None,
        reason: "NoDefaultGateway",
        message: "useDefaultGateways is All, and no Gateway has defaultScope All; give one that, or name a Gateway in \
                  parentRefs"
            .to_owned(),
    })
}

fn unknown_scope(route: &Route<'_>, scope: &str) -> Problem {
    Problem {
        object: route.object.clone(),
        part: None,
        condition: None,
        reason: "UnsupportedValue",
        message: format!(
            "useDefaultGateways is {scope:?}, which is not supported, so that no default Gateway takes the route; use All"
        ),
    }
}

impl Verdict {
    /// The parentRef as the route's status has it, and the object that it leads to, for people.
    pub(crate) fn parent(&self, route: &Route<'_>) -> (Value, String) {
        let show =
            |it: &ParentRef<'_>| (it.verbatim.clone(), format!("{} {}/{}", it.kind, it.namespace, it.name));
        match self.via {
            Via::ParentRef(index) => show(&route.parents[index]),
            Via::Default => show(&ParentRef::whole(&self.gateway)),
        }
    }
}

/// The listeners of the parent that the parentRef means and that accept the route.
fn choose(
    listeners: &[(usize, &Place)],
    parent: &ParentRef<'_>,
    route: &Route<'_>,
    whole: &str,
    snapshot: &Snapshot,
) -> Result<Box<[Attachment]>, Condition> {
    let meant: Vec<_> = listeners
        .iter()
        .filter(|(_, listener)| parent.section.is_none_or(|section| section == listener.section))
        .filter(|(_, listener)| parent.port.is_none_or(|port| port == listener.port))
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
                    attached.push(Attachment { listener: index, hosts: hosts.into() });
                }
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    if !attached.is_empty() {
        return Ok(attached.into());
    }
    if strangers.is_empty() {
        let message = format!("{} can't attach to {whole}: {}", route.object, refusals.join("; "));
        return Err(Condition::no("Accepted", "NotAllowedByListeners", message));
    }
    let message = no_common_host(route, whole, &strangers);
    Err(Condition::no("Accepted", "NoMatchingListenerHostname", message))
}

/// What the route's and the listener's host names have in common.
fn common_hosts(route: &Route<'_>, listener: &Place) -> Vec<RouteHost> {
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

fn no_match(parent: &ParentRef<'_>, whole: &str, listeners: &[(usize, &Place)]) -> String {
    let wanted = match (parent.section, parent.port) {
        (Some(section), Some(port)) => format!("listener {section} on port {port}"),
        (Some(section), None) => format!("listener {section}"),
        (None, Some(port)) => format!("listener on port {port}"),
        (None, None) => "listener".to_owned(),
    };
    let has = listeners
        .iter()
        .map(|(_, listener)| format!("{} on port {}", listener.section, listener.port))
        .collect::<Vec<_>>()
        .join(", ");
    format!("{whole} has no {wanted}, it has {has}; correct sectionName or port of the parentRef")
}

fn no_common_host(route: &Route<'_>, whole: &str, listeners: &[&Place]) -> String {
    let wanted = route.hostnames.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let has = listeners
        .iter()
        .map(|listener| format!("{} ({})", listener.section, listener.hostname_text))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "{} is for {wanted}, which no listener of {whole} that takes the route is for: {has}; add a matching hostname \
         to the route or to a listener",
        route.object
    )
}
