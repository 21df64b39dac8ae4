//! Attaching routes to listeners, and the routes' statuses.

use std::collections::BTreeMap;

use gateway_agent_api::{self as api, Kind};
use gateway_agent_tables::ObjectName;
use serde_json::{Value, json};

use crate::backend::{self, Resolved, Unresolved};
use crate::gateway::Gateway;
use crate::grant::Grants;
use crate::route::{ParentRef, Route};
use crate::status::{self, Condition};
use crate::{CONTROLLER_NAME, Outcome, Problem, Snapshot};

/// Which routes are attached where, and where they lead.
#[derive(Debug)]
pub(crate) struct Attachments {
    /// For each Gateway and listener the indices of its routes, in order of precedence.
    listeners: Vec<Vec<Vec<usize>>>,
    /// For each route its first rule's backends; empty for routes that have nothing to do with us.
    backends: Vec<Vec<Result<Resolved, Unresolved>>>,
}

/// What became of one parentRef.
struct Verdict<'a, 'b> {
    parent: &'a ParentRef<'b>,
    gateway: usize,
    /// Indices of the listeners, or the Accepted condition that says why there is none.
    listeners: Result<Vec<usize>, Condition>,
}

impl Attachments {
    /// Attaches the routes and writes their statuses; Gateways and routes are in order of precedence.
    pub(crate) fn settle(
        snapshot: &Snapshot,
        gateways: &[Gateway<'_>],
        routes: &[Route<'_>],
        outcome: &mut Outcome,
    ) -> Self {
        let by_name: BTreeMap<_, _> =
            gateways.iter().enumerate().map(|(index, it)| (&it.name, index)).collect();
        let grants = Grants::of(snapshot);
        let mut attachments = Self {
            listeners: gateways.iter().map(|it| vec![Vec::new(); it.listeners.len()]).collect(),
            backends: Vec::with_capacity(routes.len()),
        };
        let mut verdicts = Vec::with_capacity(routes.len());
        for (index, route) in routes.iter().enumerate() {
            let own = judge(route, gateways, &by_name, snapshot, outcome);
            attachments.note(index, &own);
            let backends = if own.is_empty() { Vec::new() } else { resolve(route, snapshot, &grants) };
            attachments.backends.push(backends);
            verdicts.push(own);
        }
        for (index, own) in verdicts.iter().enumerate().filter(|(_, own)| !own.is_empty()) {
            attachments.report(index, own, gateways, routes, outcome);
        }
        attachments
    }

    /// How many routes each listener of a Gateway has.
    pub(crate) fn counts(&self, gateway: usize) -> Vec<usize> {
        self.listeners[gateway].iter().map(Vec::len).collect()
    }

    /// The route that gets a listener's traffic, by index: the oldest one.
    pub(crate) fn winner(&self, gateway: usize, listener: usize) -> Option<usize> {
        self.listeners[gateway][listener].first().copied()
    }

    pub(crate) fn backends(&self, route: usize) -> &[Result<Resolved, Unresolved>] {
        &self.backends[route]
    }

    fn note(&mut self, route: usize, verdicts: &[Verdict<'_, '_>]) {
        for verdict in verdicts {
            for &listener in verdict.listeners.iter().flatten() {
                let attached = &mut self.listeners[verdict.gateway][listener];
                // Several parentRefs of one route may name the same listener.
                if attached.last() != Some(&route) {
                    attached.push(route);
                }
            }
        }
    }

    fn report(
        &self,
        index: usize,
        verdicts: &[Verdict<'_, '_>],
        gateways: &[Gateway<'_>],
        routes: &[Route<'_>],
        outcome: &mut Outcome,
    ) {
        let route = &routes[index];
        let resolved_refs = resolved_refs(&self.backends[index]);
        outcome.problems.extend(status::problems(&route.object, None, std::slice::from_ref(&resolved_refs)));
        let parents: Vec<_> = verdicts
            .iter()
            .map(|verdict| {
                let gateway = &gateways[verdict.gateway];
                let part = format!("parent Gateway {}", gateway.name);
                let mut conditions = Vec::new();
                match &verdict.listeners {
                    Ok(listeners) => {
                        let shadows = self.shadows(index, verdict.gateway, listeners, gateways, routes);
                        conditions.push(accepted(gateway, listeners, &shadows));
                        conditions.extend(route.surplus_rules());
                        outcome.problems.extend(shadows.into_iter().map(|message| Problem {
                            object: route.object.clone(),
                            part: Some(part.clone()),
                            condition: None,
                            reason: "OlderRouteWins",
                            message,
                        }));
                    }
                    Err(refusal) => conditions.push(refusal.clone()),
                }
                outcome.problems.extend(status::problems(&route.object, Some(&part), &conditions));
                conditions.push(resolved_refs.clone());
                parent_status(verdict.parent, &conditions, route)
            })
            .collect();
        outcome.statuses.insert(route.object.clone(), json!({ "parents": parents }));
    }

    /// A message for each listener whose traffic goes to an older route.
    fn shadows(
        &self,
        route: usize,
        gateway: usize,
        listeners: &[usize],
        gateways: &[Gateway<'_>],
        routes: &[Route<'_>],
    ) -> Vec<String> {
        let lost = listeners.iter().filter_map(|&listener| {
            let winner = self.winner(gateway, listener).filter(|winner| *winner != route)?;
            Some(format!(
                "listener {} sends all its traffic to {}, which comes first by age and name; detach one of the two routes",
                gateways[gateway].listeners[listener].name.listener, routes[winner].object
            ))
        });
        lost.collect()
    }
}

/// What becomes of each parentRef that names a Gateway of ours.
fn judge<'a, 'b>(
    route: &'a Route<'b>,
    gateways: &[Gateway<'_>],
    by_name: &BTreeMap<&ObjectName, usize>,
    snapshot: &Snapshot,
    outcome: &mut Outcome,
) -> Vec<Verdict<'a, 'b>> {
    // Parents of other kinds belong to other controllers.
    let named = route.parents.iter().filter(|parent| parent.is_gateway());
    named
        .filter_map(|parent| {
            let name = ObjectName { namespace: parent.namespace.to_owned(), name: parent.name.to_owned() };
            let Some(&gateway) = by_name.get(&name) else {
                outcome.problems.extend(missing_parent(route, parent, snapshot));
                return None;
            };
            let listeners = parent.attach(route, &gateways[gateway], snapshot);
            Some(Verdict { parent, gateway, listeners })
        })
        .collect()
}

/// A Gateway of another controller is none of our business; one that doesn't exist has no status to say so.
fn missing_parent(route: &Route<'_>, parent: &ParentRef<'_>, snapshot: &Snapshot) -> Option<Problem> {
    let ParentRef { namespace, name, .. } = parent;
    snapshot.named::<api::Gateway>(namespace, name).is_none().then(|| Problem {
        object: route.object.clone(),
        part: Some(format!("parent {} {namespace}/{name}", Kind::Gateway)),
        condition: None,
        reason: "ParentNotFound",
        message: format!("Gateway {namespace}/{name} does not exist; create it, or correct the parentRef"),
    })
}

fn resolve(route: &Route<'_>, snapshot: &Snapshot, grants: &Grants<'_>) -> Vec<Result<Resolved, Unresolved>> {
    let backends = route.rules.first().into_iter().flatten();
    backends.map(|backend| backend::resolve(snapshot, grants, route, backend)).collect()
}

fn accepted(gateway: &Gateway<'_>, listeners: &[usize], shadows: &[String]) -> Condition {
    let names: Vec<_> =
        listeners.iter().map(|&index| gateway.listeners[index].name.listener.as_str()).collect();
    let mut message = format!("attached to {} of Gateway {}", names.join(", "), gateway.name);
    for shadow in shadows {
        message.push_str("; ");
        message.push_str(shadow);
    }
    Condition::yes("Accepted", "Accepted", message)
}

/// The first unresolved backend gives the reason; the message has all of them.
fn resolved_refs(backends: &[Result<Resolved, Unresolved>]) -> Condition {
    let mut unresolved = backends.iter().filter_map(|backend| backend.as_ref().err());
    let Some(first) = unresolved.next() else {
        return Condition::yes("ResolvedRefs", "ResolvedRefs", "all references are valid");
    };
    let mut message = first.message.clone();
    for further in unresolved {
        message.push_str("; ");
        message.push_str(&further.message);
    }
    Condition::no("ResolvedRefs", first.reason, message)
}

fn parent_status(parent: &ParentRef<'_>, conditions: &[Condition], route: &Route<'_>) -> Value {
    json!({
        "parentRef": parent.verbatim,
        "controllerName": CONTROLLER_NAME,
        "conditions": status::conditions(conditions, route.metadata),
    })
}
