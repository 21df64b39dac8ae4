//! Statuses have several writers. What is ours is replaced; what belongs to others stays as it is.

use gateway_agent_routing::CONTROLLER_NAME;
use serde_json::{Map, Value};

/// What a status has to become.
#[derive(Clone, Debug, PartialEq)]
pub enum Merged {
    /// It says everything already.
    Same,
    /// Somebody wrote about a newer generation of the object than we have seen.
    Newer,
    Write {
        status: Value,
        /// Entries of ours that the API's limit leaves no room for.
        left_out: usize,
    },
}

/// Condition types of the Gateway API and its GEPs that we write, so that one which no longer holds goes away. All others belong to
/// somebody else.
const OURS: [&str; 10] = [
    "Accepted",
    "AddressesAssigned",
    "Conflicted",
    "DefaultGateway",
    "InsecureFrontendValidationMode",
    "OverlappingTLSConfig",
    "PartiallyInvalid",
    "Programmed",
    "ResolvedRefs",
    "SupportedVersion",
];

/// Lists that all controllers share: their name, what an entry is about, and how many entries the CRDs allow.
const SHARED: [(&str, &str, usize); 2] = [("parents", "parentRef", 32), ("ancestors", "ancestorRef", 16)];

/// Merges what we have to say into a status as it stands. A condition whose status stays keeps its time; others get
/// `now` (RFC 3339).
pub fn merge(current: Option<&Value>, desired: &Value, now: &str) -> Merged {
    let none = Value::Object(Map::new());
    let current = current.unwrap_or(&none);
    if is_older(desired, current) {
        return Merged::Newer;
    }
    let mut status = current.as_object().cloned().unwrap_or_default();
    let mut left_out = 0;
    for (field, desired) in desired.as_object().into_iter().flatten() {
        let old = current.get(field);
        let merged = match SHARED.iter().find(|(shared, ..)| shared == field) {
            Some((_, reference, limit)) => {
                let (entries, surplus) = merge_shared(old, desired, reference, *limit, now);
                left_out += surplus;
                entries
            }
            None => merge_field(field, old, desired, now),
        };
        if merged.is_null() {
            status.remove(field);
        } else {
            status.insert(field.clone(), merged);
        }
    }
    let status = Value::Object(status);
    if status == *current { Merged::Same } else { Merged::Write { status, left_out } }
}

/// What has to be said so that nothing of ours remains in the lists that are shared; None if nothing is there.
pub fn farewell(current: &Value) -> Option<Value> {
    let lists = SHARED.iter().filter(|(field, ..)| items(current.get(field)).any(is_entry_of_ours));
    let farewell: Map<_, _> =
        lists.map(|(field, ..)| ((*field).to_owned(), Value::Array(Vec::new()))).collect();
    (!farewell.is_empty()).then_some(Value::Object(farewell))
}

/// The fields of a status that a merge patch has to name to turn `current` into `status`.
pub fn difference(current: Option<&Value>, status: &Value) -> Value {
    let empty = Map::new();
    let current = current.and_then(Value::as_object).unwrap_or(&empty);
    let status = status.as_object().unwrap_or(&empty);
    let changed = status.iter().filter(|(field, value)| current.get(*field) != Some(*value));
    let gone = current.keys().filter(|field| !status.contains_key(*field));
    changed
        .map(|(field, value)| (field.clone(), value.clone()))
        .chain(gone.map(|field| (field.clone(), Value::Null)))
        .collect::<Map<_, _>>()
        .into()
}

fn merge_field(field: &str, old: Option<&Value>, desired: &Value, now: &str) -> Value {
    match field {
        "conditions" => merge_conditions(old, desired, now),
        "listeners" => {
            let merged = items(Some(desired)).map(|listener| {
                let old = items(old).find(|old| old.get("name") == listener.get("name"));
                merge_entry(old, listener, now)
            });
            merged.collect()
        }
        _ => desired.clone(),
    }
}

/// Ours in the places where they were, then new ones; those of others stay where they are.
fn merge_shared(
    old: Option<&Value>,
    desired: &Value,
    reference: &str,
    limit: usize,
    now: &str,
) -> (Value, usize) {
    let mut wanted: Vec<&Value> = items(Some(desired)).collect();
    let mut entries: Vec<Value> = Vec::new();
    for old in items(old) {
        if !is_entry_of_ours(old) {
            entries.push(old.clone());
            continue;
        }
        let about = |entry: &&Value| entry.get(reference) == old.get(reference);
        if let Some(place) = wanted.iter().position(about) {
            entries.push(merge_entry(Some(old), wanted.remove(place), now));
        }
    }
    entries.extend(wanted.into_iter().map(|new| merge_entry(None, new, now)));
    let mut surplus = entries.len().saturating_sub(limit);
    let left_out = surplus;
    while surplus > 0
        && let Some(last) = entries.iter().rposition(is_entry_of_ours)
    {
        entries.remove(last);
        surplus -= 1;
    }
    (Value::Array(entries), left_out - surplus)
}

/// An entry of ours, with the conditions that others added to it.
fn merge_entry(old: Option<&Value>, desired: &Value, now: &str) -> Value {
    let mut entry = desired.clone();
    if let Some(conditions) = desired.get("conditions") {
        entry["conditions"] = merge_conditions(old.and_then(|old| old.get("conditions")), conditions, now);
    }
    entry
}

fn merge_conditions(old: Option<&Value>, desired: &Value, now: &str) -> Value {
    let mut wanted: Vec<&Value> = items(Some(desired)).collect();
    let mut conditions = Vec::new();
    for old in items(old) {
        let kind = text(old, "type");
        if let Some(place) = wanted.iter().position(|new| text(new, "type") == kind) {
            conditions.push(stamped(wanted.remove(place), Some(old), now));
        } else if !OURS.contains(&kind) {
            conditions.push(old.clone());
        }
    }
    conditions.extend(wanted.into_iter().map(|new| stamped(new, None, now)));
    Value::Array(conditions)
}

fn stamped(new: &Value, old: Option<&Value>, now: &str) -> Value {
    let kept = old.filter(|old| text(old, "status") == text(new, "status"));
    let time = kept.map(|old| text(old, "lastTransitionTime")).filter(|time| !time.is_empty());
    let mut condition = new.clone();
    condition["lastTransitionTime"] = time.unwrap_or(now).into();
    condition
}

/// Whether the status already speaks of a newer generation than we do.
fn is_older(desired: &Value, current: &Value) -> bool {
    let newest = |status| of_ours(status).filter_map(|it| it.get("observedGeneration")?.as_i64()).max();
    newest(desired).is_some_and(|ours| newest(current).is_some_and(|theirs| theirs > ours))
}

/// Every condition in a status that is ours.
fn of_ours(status: &Value) -> impl Iterator<Item = &Value> {
    let own = items(status.get("conditions"));
    let listeners = items(status.get("listeners")).flat_map(|listener| items(listener.get("conditions")));
    let shared = SHARED.iter().flat_map(|(field, ..)| items(status.get(field)));
    let entries = shared.filter(|entry| is_entry_of_ours(entry)).flat_map(|it| items(it.get("conditions")));
    own.chain(listeners).chain(entries).filter(|condition| OURS.contains(&text(condition, "type")))
}

/// A status without what others wrote.
pub fn ours_alone(status: &Value) -> Value {
    let own = |(field, value): (&String, &Value)| {
        let kept: Value = if field == "conditions" {
            items(Some(value)).filter(|it| OURS.contains(&text(it, "type"))).cloned().collect()
        } else if SHARED.iter().any(|(shared, ..)| shared == field) {
            items(Some(value)).filter(|entry| is_entry_of_ours(entry)).map(ours_alone).collect()
        } else if field == "listeners" {
            items(Some(value)).map(ours_alone).collect()
        } else {
            value.clone()
        };
        (field.clone(), kept)
    };
    status.as_object().into_iter().flatten().map(own).collect::<Map<_, _>>().into()
}

fn is_entry_of_ours(entry: &Value) -> bool {
    text(entry, "controllerName") == CONTROLLER_NAME
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use serde_json::json;

    fn condition(kind: &str, status: &str, generation: i64, time: Option<&str>) -> Value {
        let mut condition = json!({"type": kind, "status": status, "reason": "R", "message": "m",
            "observedGeneration": generation});
        if let Some(time) = time {
            condition["lastTransitionTime"] = time.into();
        }
        condition
    }

    fn entry(controller: &str, parent: &str, conditions: &[Value]) -> Value {
        json!({"parentRef": {"name": parent}, "controllerName": controller, "conditions": conditions})
    }

    fn written(current: &Value, desired: &Value) -> Value {
        match merge(Some(current), desired, "now") {
            Merged::Write { status, left_out: 0 } => status,
            other => panic!("{other:?}"),
        }
    }

    /// Current, desired and expected conditions, in short: type, status, generation, time.
    #[test]
    fn conditions_merge() {
        type Short<'a> = (&'a str, &'a str, i64, &'a str);
        type Case<'a> = (&'a str, &'a [Short<'a>], &'a [Short<'a>], &'a [Short<'a>]);
        let long = |short: &[Short<'_>]| -> Vec<_> {
            short
                .iter()
                .map(|(kind, status, generation, time)| {
                    condition(kind, status, *generation, (!time.is_empty()).then_some(time))
                })
                .collect()
        };
        let cases: [Case<'_>; 6] = [
            ("the first", &[], &[("Accepted", "True", 1, "")], &[("Accepted", "True", 1, "now")]),
            (
                "a newer generation is no transition",
                &[("Accepted", "True", 1, "t1")],
                &[("Accepted", "True", 2, "")],
                &[("Accepted", "True", 2, "t1")],
            ),
            (
                "a transition",
                &[("Accepted", "Unknown", 0, "t1"), ("Programmed", "True", 1, "t1")],
                &[("Programmed", "True", 1, ""), ("Accepted", "True", 1, "")],
                &[("Accepted", "True", 1, "now"), ("Programmed", "True", 1, "t1")],
            ),
            (
                "those of others stay, at their places",
                &[
                    ("a.example/Good", "Maybe", 9, "t0"),
                    ("Accepted", "True", 1, "t1"),
                    ("Ready", "True", 8, "t2"),
                ],
                &[("Accepted", "False", 1, "")],
                &[
                    ("a.example/Good", "Maybe", 9, "t0"),
                    ("Accepted", "False", 1, "now"),
                    ("Ready", "True", 8, "t2"),
                ],
            ),
            (
                "ours that no longer hold go",
                &[("Accepted", "True", 1, "t1"), ("PartiallyInvalid", "True", 1, "t1")],
                &[("Accepted", "True", 1, "")],
                &[("Accepted", "True", 1, "t1")],
            ),
            (
                "the status differs in nothing but another's generation",
                &[("Accepted", "True", 1, "t1"), ("a.example/Good", "True", 7, "t0")],
                &[("Accepted", "True", 2, "")],
                &[("Accepted", "True", 2, "t1"), ("a.example/Good", "True", 7, "t0")],
            ),
        ];
        for (case, current, desired, expected) in cases {
            let merged =
                written(&json!({"conditions": long(current)}), &json!({"conditions": long(desired)}));
            assert_eq!(merged, json!({"conditions": long(expected)}), "{case}");
        }
    }

    /// Those that the Gateway API has given up are left to others.
    #[test]
    fn every_condition_of_the_gateway_api_is_ours() {
        let known: BTreeSet<_> =
            gateway_agent_api::conditions::ALL.iter().map(|(_, kind, _)| *kind).collect();
        let ours = OURS.into_iter().chain(["Detached", "Ready", "Scheduled"]);
        // GEP-3793 names it, the API's sources don't yet.
        assert_eq!(known, ours.filter(|kind| *kind != "DefaultGateway").collect());
    }

    #[test]
    fn what_is_said_already_is_not_said_again() {
        let desired = json!({"conditions": [condition("Accepted", "True", 2, None)], "addresses": []});
        let Merged::Write { status, .. } = merge(None, &desired, "t1") else { panic!("not written") };
        assert_eq!(merge(Some(&status), &desired, "t2"), Merged::Same);
    }

    #[test]
    fn a_newer_status_is_left_alone() {
        let current = json!({"conditions": [condition("Accepted", "True", 3, Some("t1"))]});
        let desired = json!({"conditions": [condition("Accepted", "False", 2, None)]});
        assert_eq!(merge(Some(&current), &desired, "now"), Merged::Newer);
        let theirs =
            json!({"parents": [entry("other", "a", &[condition("Accepted", "True", 3, Some("t1"))])]});
        let ours =
            json!({"parents": [entry(CONTROLLER_NAME, "a", &[condition("Accepted", "True", 2, None)])]});
        assert!(matches!(merge(Some(&theirs), &ours, "now"), Merged::Write { .. }));
    }

    #[test]
    fn listeners_are_ours_but_for_the_conditions_of_others() {
        let foreign = condition("a.example/Good", "True", 1, Some("t0"));
        let current = json!({
            "listeners": [
                {"name": "gone", "conditions": [foreign]},
                {"name": "a", "attachedRoutes": 1, "conditions": [condition("Accepted", "True", 1, Some("t1")), foreign]},
            ],
            "addresses": [{"value": "192.0.2.1"}],
            "invented": 1,
        });
        let desired = json!({
            "listeners": [
                {"name": "a", "attachedRoutes": 2, "conditions": [condition("Accepted", "True", 1, None)]},
                {"name": "b", "attachedRoutes": 0, "conditions": [condition("Accepted", "True", 1, None)]},
            ],
            "addresses": null,
        });
        let expected = json!({
            "listeners": [
                {"name": "a", "attachedRoutes": 2, "conditions": [condition("Accepted", "True", 1, Some("t1")), foreign]},
                {"name": "b", "attachedRoutes": 0, "conditions": [condition("Accepted", "True", 1, Some("now"))]},
            ],
            "invented": 1,
        });
        let merged = written(&current, &desired);
        assert_eq!(merged, expected);
        let patch = difference(Some(&current), &merged);
        assert_eq!(patch, json!({"listeners": expected["listeners"], "addresses": null}));
    }

    #[test]
    fn parents_of_others_stay() {
        let good = |time| vec![condition("Accepted", "True", 1, time)];
        let other =
            json!({"parentRef": {"name": "a"}, "controllerName": "other", "conditions": [], "more": [1]});
        let current = json!({"parents": [
            entry(CONTROLLER_NAME, "gone", &good(Some("t1"))), other, entry(CONTROLLER_NAME, "a", &good(Some("t1"))),
        ]});
        let desired = json!({"parents": [
            entry(CONTROLLER_NAME, "b", &good(None)), entry(CONTROLLER_NAME, "a", &good(None)),
        ]});
        let expected = json!({"parents": [
            other, entry(CONTROLLER_NAME, "a", &good(Some("t1"))), entry(CONTROLLER_NAME, "b", &good(Some("now"))),
        ]});
        assert_eq!(written(&current, &desired), expected);
        let left = farewell(&expected).map(|farewell| written(&expected, &farewell));
        assert_eq!(left, Some(json!({"parents": [other]})));
        assert_eq!(farewell(&json!({"parents": [other]})), None);
    }

    #[test]
    fn full_lists_leave_out_ours() {
        let others: Vec<_> = (0..31).map(|n| entry("other", &format!("p{n}"), &[])).collect();
        let desired =
            json!({"parents": [entry(CONTROLLER_NAME, "a", &[]), entry(CONTROLLER_NAME, "b", &[])]});
        let Merged::Write { status, left_out } = merge(Some(&json!({"parents": others})), &desired, "now")
        else {
            panic!("not written")
        };
        assert_eq!((status["parents"].as_array().map(Vec::len), left_out), (Some(32), 1));
        assert_eq!(status["parents"][31]["parentRef"]["name"], "a");
    }
}
