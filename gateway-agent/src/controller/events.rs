//! Events: what became worse, and what is well again. Statuses say what is; these say that it changed.

use std::collections::BTreeSet;

use gateway_agent_api::ObjectRef;
use gateway_agent_routing::CONTROLLER_NAME;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::Value;

use super::merge;
use crate::statuses::{self, Condition};

/// Something to be told about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub is_worse: bool,
    /// In CamelCase, as in conditions.
    pub reason: String,
    pub note: String,
}

/// The API server takes notes of 1 kB (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1024;

/// What nodes have yet to apply, which takes them moments.
const PENDING: &str = "Pending";

/// What a new status says that the old one didn't. One Event per change: the first condition that is worse gives the
/// reason, the note has all of them.
pub fn compare(old: Option<&Value>, new: &Value) -> Option<Told> {
    let before = old.map(judged).unwrap_or_default();
    let now = judged(new);
    let bad_before: BTreeSet<_> = before.iter().filter(|it| is_bad(it)).map(name).collect();
    let known: BTreeSet<_> = before.iter().map(name).collect();
    // Everything new is pending at first: that is no news.
    let is_news = |it: &&Condition| it.reason != PENDING || known.contains(&name(it));
    let worse = now.iter().filter(|it| is_bad(it) && !bad_before.contains(&name(it))).filter(is_news);
    let better = now.iter().filter(|it| it.is_good() && bad_before.contains(&name(it)));
    told(true, &worse.collect::<Vec<_>>()).or_else(|| told(false, &better.collect::<Vec<_>>()))
}

fn told(is_worse: bool, conditions: &[&Condition]) -> Option<Told> {
    let reason = conditions.first()?.reason.clone();
    Some(Told { is_worse, reason, note: shorten(&list(conditions)) })
}

/// Conditions of ours that are True or False; Unknown is what nobody has looked at yet.
fn judged(status: &Value) -> Vec<Condition> {
    let mut conditions = statuses::conditions(&merge::ours_alone(status));
    conditions.retain(|condition| condition.status != "Unknown");
    conditions
}

fn is_bad(condition: &Condition) -> bool {
    !condition.is_good()
}

fn name(condition: &Condition) -> (String, String) {
    (condition.part.clone(), condition.kind.clone())
}

/// `listener web: Accepted=False (PortUnavailable): port 80 of ...`. What a part has in common with the object is said once.
fn list(conditions: &[&Condition]) -> String {
    let of_object: Vec<_> = conditions.iter().filter(|it| it.part.is_empty()).collect();
    let is_said = |it: &Condition| {
        let same = |of_object: &Condition| {
            let is_same =
                (&of_object.kind, &of_object.status, &of_object.reason) == (&it.kind, &it.status, &it.reason);
            is_same && (it.is_good() || of_object.message == it.message)
        };
        !it.part.is_empty() && of_object.iter().any(|of_object| same(of_object))
    };
    let told = conditions.iter().filter(|it| !is_said(it)).map(|it| format!("{it}: {}", it.message));
    told.collect::<Vec<_>>().join("; ")
}

fn shorten(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let end =
        (0..=LONGEST_NOTE - "…".len()).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &note[..end])
}

/// Writes an Event beside its object.
pub async fn publish(
    client: Client,
    name: &ObjectRef,
    uid: &str,
    told: &Told,
    instance: &str,
) -> kube::Result<()> {
    let now = k8s_openapi::jiff::Timestamp::now();
    // Objects of the cluster have theirs in this namespace.
    let namespace = name.namespace.as_deref().unwrap_or("default");
    let event = Event {
        metadata: ObjectMeta {
            // The object's name may be as long as a name can be.
            generate_name: Some("gateway-agent-".to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(if told.is_worse { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(told.reason.clone()),
        note: Some(told.note.clone()),
        action: Some("UpdateStatus".to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(name.kind.api_version()),
            kind: Some(name.kind.name().to_owned()),
            namespace: name.namespace.clone(),
            name: Some(name.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER_NAME.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    };
    Api::<Event>::namespaced(client, namespace).create(&PostParams::default(), &event).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(accepted: (&str, &str), listener: (&str, &str)) -> Value {
        let condition = |kind: &str, (status, reason): (&str, &str)| json!([{"type": kind, "status": status, "reason": reason, "message": format!("{kind} {reason}")}]);
        json!({
            "conditions": condition("Accepted", accepted),
            "listeners": [{"name": "web", "conditions": condition("Programmed", listener)}],
        })
    }

    #[test]
    fn changes_are_told_once() {
        const GOOD: (&str, &str) = ("True", "Accepted");
        const PENDING: (&str, &str) = ("Unknown", "Pending");
        const BAD: (&str, &str) = ("False", "Invalid");
        const UP: (&str, &str) = ("True", "Programmed");
        let worse = |reason: &str, note: &str| Some((true, reason.to_owned(), note.to_owned()));
        let better = |reason: &str, note: &str| Some((false, reason.to_owned(), note.to_owned()));
        let cases = [
            ("all well from the beginning", None, (GOOD, UP), None),
            ("well after the default", Some((PENDING, PENDING)), (GOOD, UP), None),
            (
                "bad from the beginning",
                None,
                (BAD, UP),
                worse("Invalid", "Accepted=False (Invalid): Accepted Invalid"),
            ),
            (
                "worse",
                Some((GOOD, UP)),
                (GOOD, BAD),
                worse("Invalid", "listener web: Programmed=False (Invalid): Programmed Invalid"),
            ),
            ("as bad as before", Some((BAD, UP)), (BAD, UP), None),
            (
                "well again",
                Some((GOOD, BAD)),
                (GOOD, UP),
                better("Programmed", "listener web: Programmed=True (Programmed): Programmed Programmed"),
            ),
            (
                "better and worse",
                Some((BAD, UP)),
                (GOOD, BAD),
                worse("Invalid", "listener web: Programmed=False (Invalid): Programmed Invalid"),
            ),
        ];
        for (case, old, (accepted, listener), expected) in cases {
            let old = old.map(|(accepted, listener)| status(accepted, listener));
            let told = compare(old.as_ref(), &status(accepted, listener));
            assert_eq!(told.map(|told| (told.is_worse, told.reason, told.note)), expected, "{case}");
        }
    }

    #[test]
    fn what_is_pending_at_first_is_no_news_and_parts_do_not_repeat_it() {
        let status = |status: &str, reason: &str, of_listener: &str| {
            let condition = |message: &str| json!([{"type": "Programmed", "status": status, "reason": reason, "message": message}]);
            json!({"conditions": condition("2 of 3 nodes"), "listeners": [{"name": "web", "conditions": condition(of_listener)}]})
        };
        let pending = status("False", "Pending", "2 of 3 nodes");
        let well = status("True", "Programmed", "listener web carries traffic");
        let held = status("False", "Invalid", "port 80 is held by nginx");
        let note =
            |old: Option<&Value>, new: &Value| compare(old, new).map(|told| (told.is_worse, told.note));
        assert_eq!(note(None, &pending), None);
        let told = note(Some(&pending), &well).unwrap();
        assert_eq!(told, (false, "Programmed=True (Programmed): 2 of 3 nodes".to_owned()));
        assert!(note(Some(&well), &pending).unwrap().0, "it was served before");
        let (_, note) = note(Some(&well), &held).unwrap();
        let own = "listener web: Programmed=False (Invalid): port 80 is held by nginx";
        assert_eq!(note, format!("Programmed=False (Invalid): 2 of 3 nodes; {own}"));
    }

    #[test]
    fn what_others_say_is_theirs_to_tell() {
        let parent = |controller: &str| {
            json!({"parents": [{"controllerName": controller, "parentRef": {"name": "g"}, "conditions": [
                {"type": "Accepted", "status": "False", "reason": "R", "message": "m"},
                {"type": "a.example/Good", "status": "False", "reason": "R", "message": "m"},
            ]}]})
        };
        assert_eq!(compare(None, &parent("other")), None);
        let told = compare(None, &parent(CONTROLLER_NAME)).unwrap();
        assert_eq!(told.note, "parent g: Accepted=False (R): m");
    }

    #[test]
    fn notes_have_an_end() {
        let note = shorten(&"ä".repeat(600));
        assert!(note.len() <= LONGEST_NOTE && note.ends_with("ä…"));
    }
}
