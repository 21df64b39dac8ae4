//! Statuses as we write them: conditions get the time of their last transition.

use std::collections::BTreeMap;

use gateway_agent_api::ObjectRef;
use serde_json::Value;

/// The statuses as last written.
#[derive(Debug, Default)]
pub struct Statuses {
    written: BTreeMap<ObjectRef, Value>,
}

impl Statuses {
    /// Takes over new statuses; a condition whose status stays keeps its time, others get `now` (RFC 3339). Gives
    /// the objects whose status changed.
    pub fn update(&mut self, statuses: BTreeMap<ObjectRef, Value>, now: &str) -> Vec<ObjectRef> {
        let mut changed = Vec::new();
        let mut before = std::mem::take(&mut self.written);
        for (object, mut status) in statuses {
            let old = before.remove(&object);
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

/// Each condition in a status as `part Type=Status (Reason)`, for people.
pub fn conditions(status: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_conditions("", status, &mut found);
    found
}

fn collect_conditions(part: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_conditions(part, item, found)),
        Value::Object(fields) => {
            if let (Some(kind), Some(status)) = (text(value, "type"), text(value, "status")) {
                let reason = text(value, "reason").unwrap_or_default();
                found.push(format!("{part}{kind}={status} ({reason})"));
                return;
            }
            let part = part_name(value).map_or_else(|| part.to_owned(), |name| format!("{name}: "));
            fields.values().for_each(|field| collect_conditions(&part, field, found));
        }
        _ => {}
    }
}

/// Of a listener or of a parent of a route.
fn part_name(value: &Value) -> Option<String> {
    if let Some(parent) = value.get("parentRef") {
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

    fn gateway(listener: &str, accepted: &str) -> BTreeMap<ObjectRef, Value> {
        let condition = |status: &str| json!({"type": "Accepted", "status": status, "reason": "R"});
        let status = json!({
            "conditions": [condition("True")],
            "listeners": [{"name": listener, "conditions": [condition(accepted)]}],
        });
        BTreeMap::from([(ObjectRef::new(Kind::Gateway, "a", "b"), status)])
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
        let status = gateway("x", "False").into_values().next().unwrap();
        assert_eq!(conditions(&status), ["Accepted=True (R)", "listener x: Accepted=False (R)"]);
        let route = json!({"parents": [{"parentRef": {"name": "g", "sectionName": "s"},
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]}]});
        assert_eq!(conditions(&route), ["parent g/s: Accepted=True (Accepted)"]);
    }
}
