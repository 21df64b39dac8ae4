//! The statuses of routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_agent_tables::{HostPattern, ObjectName};
use serde_json::{Value, json};

use crate::attachment::{Attachment, Verdict};
use crate::bindings::{Bound, PlaceId};
use crate::frame::Frame;
use crate::route::Route;
use crate::sni::Winners;
use crate::status::{self, Condition};
use crate::{CONTROLLER_NAME, Problem};

/// maxItems of status.parents in the CRDs of routes.
const MAX_PARENTS: usize = 32;

/// A route's status and problems. One without parents of ours has an empty list, so that entries go that we wrote when it
/// had some.
pub(crate) fn verdict(
    route: &Route<'_>,
    bound: &Bound,
    frame: &Frame,
    winners: &BTreeMap<PlaceId, Winners>,
) -> (Value, Vec<Problem>) {
    let mut problems = bound.problems.clone();
    if let Some((_, content)) = &bound.content {
        let refs = std::slice::from_ref(&content.refs);
        problems.extend(status::problems(&route.object, None, refs));
    }
    let room = MAX_PARENTS.saturating_sub(route.foreign_parents);
    problems.extend(bound.verdicts.iter().skip(room).map(|verdict| full(route, verdict)));
    let context = Context { route, bound, frame, winners };
    let verdicts = bound.verdicts.iter().take(room);
    let parents: Vec<_> = verdicts.map(|verdict| context.parent_status(verdict, &mut problems)).collect();
    (json!({ "parents": parents }), problems)
}

fn full(route: &Route<'_>, verdict: &Verdict) -> Problem {
    let (_, whole) = verdict.parent(route);
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

struct Context<'a> {
    route: &'a Route<'a>,
    bound: &'a Bound,
    frame: &'a Frame,
    winners: &'a BTreeMap<PlaceId, Winners>,
}

impl Context<'_> {
    fn parent_status(&self, verdict: &Verdict, problems: &mut Vec<Problem>) -> Value {
        let object = &self.route.object;
        let (parent_ref, whole) = verdict.parent(self.route);
        let part = format!("parent {whole}");
        let mut conditions = Vec::new();
        let content = self.bound.content.as_ref().map(|(_, content)| content);
        match &verdict.attached {
            Ok(attachments) => {
                let shadows = self.shadows(&verdict.gateway, attachments);
                let refusal = content.and_then(|content| content.refusal.as_deref().cloned());
                let accepted = || self.accepted(&verdict.gateway, &whole, attachments, &shadows);
                conditions.push(refusal.unwrap_or_else(accepted));
                conditions.extend(content.and_then(|content| content.partial.as_deref().cloned()));
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
        conditions.extend(content.map(|content| content.refs.clone()));
        json!({
            "parentRef": parent_ref,
            "controllerName": CONTROLLER_NAME,
            "conditions": status::conditions(&conditions, self.route.metadata),
        })
    }

    fn accepted(
        &self,
        gateway: &ObjectName,
        whole: &str,
        attachments: &[Attachment],
        shadows: &[String],
    ) -> Condition {
        let places = attachments.iter().filter_map(|it| self.frame.place(gateway, it.listener));
        let names: Vec<_> = places.map(|place| place.section.as_str()).collect();
        let mut message = format!("attached to {} of {whole}", names.join(", "));
        for shadow in shadows {
            message.push_str("; ");
            message.push_str(shadow);
        }
        Condition::yes("Accepted", "Accepted", message)
    }

    /// A message for each listener whose traffic, or that for a host name, goes to another route.
    fn shadows(&self, gateway: &Arc<ObjectName>, attachments: &[Attachment]) -> Vec<String> {
        let mut lost = Vec::new();
        for attachment in attachments {
            let id = PlaceId { gateway: Arc::clone(gateway), listener: attachment.listener };
            let Some(winners) = self.winners.get(&id) else { continue };
            let Some(place) = self.frame.place(gateway, attachment.listener) else { continue };
            for host in &*attachment.hosts {
                let Some(winner) =
                    winners.get(&host.effective).filter(|winner| ***winner != self.route.object)
                else {
                    continue;
                };
                let (what, order) = match &host.effective {
                    HostPattern::Any => ("all its traffic".to_owned(), "age and name"),
                    host => (format!("what is for {host}"), "host name, age and name"),
                };
                lost.push(format!(
                    "listener {} sends {what} to {winner}, which comes first by {order}; detach one of the two routes",
                    place.section,
                ));
            }
        }
        lost
    }
}
