//! What there shall be in a cluster, by whom it is made for. Names can meet, since they are cut and joined: of those who want
//! an object of one name, the first gets it.

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::ObjectRef;
use serde_json::Value;

use crate::precedence::Rank;

#[derive(Debug, Default)]
pub(crate) struct Made {
    wanted: BTreeMap<Rank, BTreeSet<ObjectRef>>,
    owners: BTreeMap<ObjectRef, Rank>,
    /// What came later than the owners.
    waiting: BTreeMap<ObjectRef, BTreeMap<Rank, Value>>,
}

impl Made {
    /// Replaces what is made for somebody; `all` holds what there shall be.
    pub(crate) fn set(
        &mut self,
        owner: &Rank,
        objects: BTreeMap<ObjectRef, Value>,
        all: &mut BTreeMap<ObjectRef, Value>,
    ) {
        for object in self.wanted.remove(owner).unwrap_or_default() {
            self.remove(owner, &object, all);
        }
        if !objects.is_empty() {
            self.wanted.insert(owner.clone(), objects.keys().cloned().collect());
        }
        for (object, value) in objects {
            self.add(owner, object, value, all);
        }
    }

    fn add(&mut self, owner: &Rank, object: ObjectRef, value: Value, all: &mut BTreeMap<ObjectRef, Value>) {
        let Some(holder) = self.owners.get_mut(&object) else {
            self.owners.insert(object.clone(), owner.clone());
            all.insert(object, value);
            return;
        };
        let waiting = self.waiting.entry(object.clone()).or_default();
        if owner < holder {
            let holder = std::mem::replace(holder, owner.clone());
            waiting.extend(all.insert(object, value).map(|former| (holder, former)));
        } else {
            waiting.insert(owner.clone(), value);
        }
    }

    fn remove(&mut self, owner: &Rank, object: &ObjectRef, all: &mut BTreeMap<ObjectRef, Value>) {
        let is_held = self.owners.get(object) == Some(owner);
        if is_held {
            self.owners.remove(object);
            all.remove(object);
        }
        let Some(waiting) = self.waiting.get_mut(object) else { return };
        if !is_held {
            waiting.remove(owner);
        } else if let Some((next, value)) = waiting.pop_first() {
            self.owners.insert(object.clone(), next);
            all.insert(object.clone(), value);
        }
        if waiting.is_empty() {
            self.waiting.remove(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gateway_agent_api::{Kind, ObjectMeta};

    use super::*;

    #[test]
    fn of_those_who_want_one_name_the_first_gets_it() {
        let rank = |name| {
            let metadata = ObjectMeta::default();
            Rank::new(Arc::new(ObjectRef::new(Kind::Gateway, "n", name)), &metadata)
        };
        let object = ObjectRef::new(Kind::Service, "n", "same");
        let (mut made, mut all) = (Made::default(), BTreeMap::new());
        // Who wants it or no longer does, and whose it is then.
        let steps = [
            ("b", true, Some("b")),
            ("c", true, Some("b")),
            ("a", true, Some("a")),
            ("b", false, Some("a")),
            ("a", false, Some("c")),
            ("c", false, None),
        ];
        for (name, wants, owner) in steps {
            let wanted = wants.then(|| (object.clone(), Value::from(name))).into_iter().collect();
            made.set(&rank(name), wanted, &mut all);
            assert_eq!(all.get(&object).and_then(Value::as_str), owner, "after {name}");
        }
        assert!(made.wanted.is_empty() && made.owners.is_empty() && made.waiting.is_empty());
    }
}
