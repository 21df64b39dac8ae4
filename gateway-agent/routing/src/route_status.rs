//! The statuses of routes.

use std::collections::BTreeMap;

use gateway_agent_tables::HostPattern;
use serde_json::{Value, json};

use crate::attachment::{Attachment, Verdict};
use crate::bindings::Bindings;
use crate::gateway::Gateway;
use crate::listener::ListenerProtocol;
use crate::route::Route;
use crate::status::{self, Condition};
use crate::{CONTROLLER_NAME, Outcome, Problem, sni};

/// maxItems of status.parents in the CRDs of routes.
const MAX_PARENTS: usize = 32;

/// For listeners whose routes can't share a host name the route that gets it, by index of Gateway and listener.
type Winners<'b> = BTreeMap<(usize, usize), BTreeMap<&'b HostPattern, usize>>;

/// Writes a status for every route. One without parents of ours has an empty list, so that entries go that we wrote
/// when it had some.
pub(crate) fn report(bindings: &Bindings<'_>, outcome: &mut Outcome) {
    let winners = winners(bindings);
    for (index, bound) in bindings.routes.iter().enumerate() {
        let object = &bound.route.object;
        if let Some((_, content)) = &bound.content {
            let refs = std::slice::from_ref(&content.refs);
            outcome.problems.extend(status::problems(object, None, refs));
        }
        let room = MAX_PARENTS.saturating_sub(bound.route.foreign_parents);
        outcome.problems.extend(bound.verdicts.iter().skip(room).map(|verdict| full(&bound.route, verdict)));
        let parents: Vec<_> = bound
            .verdicts
            .iter()
            .take(room)
            .map(|verdict| parent_status(index, verdict, bindings, &winners, &mut outcome.problems))
            .collect();
        outcome.statuses.insert(object.clone(), json!({ "parents": parents }));
    }
}

fn full(route: &Route<'_>, verdict: &Verdict) -> Problem {
    let parent = &route.parents[verdict.parent];
    let whole = format!("{} {}/{}", parent.kind, parent.namespace, parent.name);
    Problem {
        object: route.object.clone(),
        part: Some(format!("parent {whole}")),
        condition: None,
        reason: "StatusListFull",
        message: format!(
            "status.parents has room for {MAX_PARENTS} entries and none for {whole}; detach the route from other parents"
        ),
    }
}

fn winners<'b>(bindings: &'b Bindings<'_>) -> Winners<'b> {
    let places = bindings.gateways.iter().enumerate().flat_map(|(index, gateway)| {
        let listeners = gateway.listeners.iter().enumerate();
        let exclusive = listeners.filter(|(_, listener)| {
            !matches!(listener.protocol, Some(ListenerProtocol::Http | ListenerProtocol::Https))
        });
        exclusive.map(move |(place, _)| (index, place))
    });
    places.map(|(index, place)| ((index, place), sni::winners(bindings.attached(index, place)))).collect()
}

fn parent_status(
    index: usize,
    verdict: &Verdict,
    bindings: &Bindings<'_>,
    winners: &Winners<'_>,
    problems: &mut Vec<Problem>,
) -> Value {
    let bound = &bindings.routes[index];
    let object = &bound.route.object;
    let gateway = &bindings.gateways[verdict.gateway];
    let parent = &bound.route.parents[verdict.parent];
    let whole = format!("{} {}/{}", parent.kind, parent.namespace, parent.name);
    let part = format!("parent {whole}");
    let mut conditions = Vec::new();
    match &verdict.attached {
        Ok(attachments) => {
            let shadows = shadows(index, verdict.gateway, attachments, bindings, winners);
            let content = bound.content.as_ref().map(|(_, content)| content);
            let refusal = content.and_then(|content| content.refusal.clone());
            conditions.push(refusal.unwrap_or_else(|| accepted(gateway, &whole, attachments, &shadows)));
            conditions.extend(content.and_then(|content| content.partial.clone()));
            problems.extend(shadows.into_iter().map(|message| Problem {
                object: object.clone(),
                part: Some(part.clone()),
                condition: None,
                reason: "OlderRouteWins",
                message,
            }));
        }
        Err(refusal) => conditions.push(refusal.clone()),
    }
    problems.extend(status::problems(object, Some(&part), &conditions));
    conditions.extend(bound.content.as_ref().map(|(_, content)| content.refs.clone()));
    json!({
        "parentRef": parent.verbatim,
        "controllerName": CONTROLLER_NAME,
        "conditions": status::conditions(&conditions, bound.route.metadata),
    })
}

fn accepted(gateway: &Gateway<'_>, whole: &str, attachments: &[Attachment], shadows: &[String]) -> Condition {
    let names: Vec<_> = attachments.iter().map(|it| gateway.listeners[it.listener].spec.name).collect();
    let mut message = format!("attached to {} of {whole}", names.join(", "));
    for shadow in shadows {
        message.push_str("; ");
        message.push_str(shadow);
    }
    Condition::yes("Accepted", "Accepted", message)
}

/// A message for each listener whose traffic, or that for a host name, goes to another route.
fn shadows(
    index: usize,
    gateway: usize,
    attachments: &[Attachment],
    bindings: &Bindings<'_>,
    winners: &Winners<'_>,
) -> Vec<String> {
    let mut lost = Vec::new();
    for attachment in attachments {
        let listener = &bindings.gateways[gateway].listeners[attachment.listener];
        let Some(winners) = winners.get(&(gateway, attachment.listener)) else { continue };
        for host in &attachment.hosts {
            let Some(winner) = winners.get(&host.effective).filter(|winner| **winner != index) else {
                continue;
            };
            let (what, order) = match &host.effective {
                HostPattern::Any => ("all its traffic".to_owned(), "age and name"),
                host => (format!("what is for {host}"), "host name, age and name"),
            };
            lost.push(format!(
                "listener {} sends {what} to {}, which comes first by {order}; detach one of the two routes",
                listener.spec.name, bindings.routes[*winner].route.object,
            ));
        }
    }
    lost
}
