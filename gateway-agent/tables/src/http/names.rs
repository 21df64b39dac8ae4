//! Small sets of names.

use serde::{Deserialize, Serialize};

use crate::ObjectName;

/// The routes of a host name, mostly one, for which a tree's node would take ten times as much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ObjectName>")]
pub struct Names(
    /// In order, each once.
    Vec<ObjectName>,
);

impl Names {
    /// False: it is in there already.
    pub fn insert(&mut self, name: ObjectName) -> bool {
        let Err(place) = self.0.binary_search(&name) else { return false };
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        self.0.insert(place, name);
        true
    }

    /// False: it isn't in there.
    pub fn remove(&mut self, name: &ObjectName) -> bool {
        self.0.binary_search(name).is_ok_and(|place| {
            self.0.remove(place);
            true
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &ObjectName> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<ObjectName>> for Names {
    fn from(mut names: Vec<ObjectName>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_each_is_there_once() {
        let name = |name: &str| ObjectName { namespace: "n".to_owned(), name: name.to_owned() };
        let mut names = Names::default();
        assert!(names.insert(name("b")) && names.insert(name("c")) && names.insert(name("a")));
        assert!(!names.insert(name("b")));
        assert!(names.iter().map(|name| name.name.as_str()).eq(["a", "b", "c"]));
        assert_eq!(Names::from(vec![name("c"), name("a"), name("b"), name("a")]), names);
        assert!(names.remove(&name("b")) && !names.remove(&name("b")));
        assert!(!names.is_empty());
    }
}
