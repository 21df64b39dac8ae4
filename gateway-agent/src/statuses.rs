//! Statuses as we write them: conditions get the time of their last transition.

use std::collections::BTreeMap;
use std::fmt;

use gateway_agent_api::ObjectRef;
use serde_json::Value;

/// The statuses as last written.
#[derive(Debug, Default)]
pub struct Statuses {
    written: BTreeMap<ObjectRef, Value>,
}

impl Statuses {
    /// Takes over the statuses of some objects, or that they have none any more; a condition whose status stays keeps its
    /// time, others get `now` (RFC 3339). Gives the objects that have another status now.
    pub fn update(
        &mut self,
        statuses: impl IntoIterator<Item = (ObjectRef, Option<Value>)>,
        now: &str,
    ) -> Vec<ObjectRef> {
        let mut changed = Vec::new();
        for (object, status) in statuses {
            let old = self.written.remove(&object);
            let Some(mut status) = status else { continue };
            stamp(&mut status, old.as_ref(), now);
            if old.as_ref() != Some(&status) {
                changed.push(object.clone());
            }
            self.written.insert(object, status);
        }
        changed
    }

    pub fn of(&self, object: &ObjectRef) -> Option<&Value> {
        self.written.get(object)
    }

    pub fn all(&self) -> impl Iterator<Item = (&ObjectRef, &Value)> {
        self.written.iter()
    }
}

/// A condition somewhere in a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The listener or parent that it is about; empty: the object.
    pub part: String,
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// The condition Programmed of a Gateway's status, or of one of the listeners in it.
pub fn programmed(part: &Value) -> Option<&Value> {
    part.get("conditions")?.as_array()?.iter().find(|condition| condition["type"] == "Programmed")
}

/// As [`programmed`], to be changed.
pub fn programmed_mut(part: &mut Value) -> Option<&mut Value> {
    part.get_mut("conditions")?.as_array_mut()?.iter_mut().find(|condition| condition["type"] == "Programmed")
}

/// What a condition says when what it stands for is not so.
pub fn turn_false(condition: &mut Value, reason: &str, message: &str) {
    condition["status"] = "False".into();
    condition["reason"] = reason.into();
    condition["message"] = message.into();
}

/// All conditions in a status.
pub fn conditions(status: &Value) -> Vec<Condition> {
    let mut found = Vec::new();
    collect_conditions("", status, &mut found);
    found
}

/// A status in a line: what is as it should be by its name only, the rest with its reason.
pub fn summary(status: &Value) -> String {
    let mut parts: Vec<(String, Vec<String>)> = Vec::new();
    for condition in conditions(status) {
        let known = parts.iter().position(|(part, _)| *part == condition.part);
        let known = known.unwrap_or_else(|| {
            parts.push((condition.part.clone(), Vec::new()));
            parts.len() - 1
        });
        if !condition.is_good() {
            let Condition { kind, status, reason, .. } = condition;
            parts[known].1.push(format!("{kind}={status} ({reason})"));
        }
    }
    let told = parts.into_iter().map(|(part, wrong)| {
        let verdict = if wrong.is_empty() { "ok".to_owned() } else { wrong.join(", ") };
        if part.is_empty() { verdict } else { format!("{part}: {verdict}") }
    });
    told.collect::<Vec<_>>().join("; ")
}

impl Condition {
    /// Most conditions should be True; the Gateway API has these that should be False.
    pub fn is_good(&self) -> bool {
        const SHOULD_BE_FALSE: [&str; 3] = ["Conflicted", "OverlappingTLSConfig", "PartiallyInvalid"];
        let wanted = if SHOULD_BE_FALSE.contains(&self.kind.as_str()) { "False" } else { "True" };
        self.status == wanted
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.part.is_empty() {
            write!(f, "{}: ", self.part)?;
        }
        write!(f, "{}={} ({})", self.kind, self.status, self.reason)
    }
}

fn collect_conditions(part: &str, value: &Value, found: &mut Vec<Condition>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_conditions(part, item, found)),
        Value::Object(_) if is_condition(value) => {
            let field = |name| text(value, name).unwrap_or_default().to_owned();
            found.push(Condition {
                part: part.to_owned(),
                kind: field("type"),
                status: field("status"),
                reason: field("reason"),
                message: field("message"),
            });
        }
        Value::Object(fields) => {
            let part = part_name(value).unwrap_or_else(|| part.to_owned());
            fields.values().for_each(|field| collect_conditions(&part, field, found));
        }
        _ => {}
    }
}

/// Of a listener or of a parent of a route.
fn part_name(value: &Value) -> Option<String> {
    if let Some(parent) = value.get("parentRef").or_else(|| value.get("ancestorRef")) {
        let section = text(parent, "sectionName").map(|s| format!("/{s}")).unwrap_or_default();
        return Some(format!("parent {}{section}", text(parent, "name")?));
    }
    value.get("conditions")?;
    Some(format!("listener {}", text(value, "name")?))
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

fn stamp(new: &mut Value, old: Option<&Value>, now: &str) {
    match new {
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let counterpart = old.and_then(|old| counterpart(item, index, old));
                stamp(item, counterpart, now);
            }
        }
        Value::Object(_) if is_condition(new) => {
            let kept = old.filter(|old| old.get("status") == new.get("status"));
            let time = kept.and_then(|old| text(old, "lastTransitionTime")).unwrap_or(now);
            new["lastTransitionTime"] = time.into();
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                stamp(field, old.and_then(|old| old.get(name)), now);
            }
        }
        _ => {}
    }
}

fn is_condition(value: &Value) -> bool {
    ["type", "status", "reason"].iter().all(|field| text(value, field).is_some())
}

/// Items of a list are the same if what names them is: conditions by type, listeners by name, parents by their
/// reference; where nothing names them, by place.
fn counterpart<'a>(item: &Value, index: usize, old: &'a Value) -> Option<&'a Value> {
    const NAMES: [&str; 4] = ["type", "name", "parentRef", "controllerName"];
    let old = old.as_array()?;
    if NAMES.iter().all(|name| item.get(name).is_none()) {
        return old.get(index);
    }
    old.iter().find(|candidate| NAMES.iter().all(|name| candidate.get(name) == item.get(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_agent_api::Kind;
    use serde_json::json;

    fn gateway(listener: &str, accepted: &str) -> [(ObjectRef, Option<Value>); 1] {
        let condition = |status: &str| json!({"type": "Accepted", "status": status, "reason": "R"});
        let status = json!({
            "conditions": [condition("True")],
            "listeners": [{"name": listener, "conditions": [condition(accepted)]}],
        });
        [(ObjectRef::new(Kind::Gateway, "a", "b"), Some(status))]
    }

    fn times(statuses: &Statuses) -> (String, String) {
        let status = statuses.of(&ObjectRef::new(Kind::Gateway, "a", "b")).unwrap();
        let time = |pointer: &str| status.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        (time("/conditions/0/lastTransitionTime"), time("/listeners/0/conditions/0/lastTransitionTime"))
    }

    #[test]
    fn only_transitions_move_the_time() {
        let mut statuses = Statuses::default();
        assert_eq!(statuses.update(gateway("x", "True"), "t1").len(), 1);
        assert_eq!(times(&statuses), ("t1".into(), "t1".into()));
        assert_eq!(statuses.update(gateway("x", "True"), "t2"), []);
        assert_eq!(statuses.update(gateway("x", "False"), "t3").len(), 1);
        assert_eq!(times(&statuses), ("t1".into(), "t3".into()));
        statuses.update(gateway("y", "False"), "t4");
        assert_eq!(times(&statuses), ("t1".into(), "t4".into()));
    }

    #[test]
    fn conditions_are_told_with_their_part() {
        let told = |status: &Value| conditions(status).iter().map(ToString::to_string).collect::<Vec<_>>();
        let [(_, Some(status))] = gateway("x", "False") else { panic!("a status") };
        assert_eq!(told(&status), ["Accepted=True (R)", "listener x: Accepted=False (R)"]);
        assert_eq!(summary(&status), "ok; listener x: Accepted=False (R)");
        let route = json!({"parents": [{"parentRef": {"name": "g", "sectionName": "s"},
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]}]});
        assert_eq!(told(&route), ["parent g/s: Accepted=True (Accepted)"]);
        assert_eq!(summary(&route), "parent g/s: ok");
    }
}
