//! What a computation looked at, so that it need not be repeated until that changes.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use gateway_agent_api::{Kind, ObjectRef};
use gateway_agent_tables::ObjectName;

/// Something in a [`Snapshot`](crate::Snapshot) that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fact {
    /// An object, whether or not it exists, and what follows from it: the listeners of a Gateway, the policies of a
    /// Service.
    Object(ObjectRef),
    /// Which objects of a kind there are, and what they say; None: in all namespaces.
    Kind(Kind, Option<String>),
}

pub(crate) type Facts = BTreeSet<Fact>;

impl Fact {
    /// A Service.
    pub(crate) fn service(name: &ObjectName) -> Self {
        Self::Object(ObjectRef::new(Kind::Service, &name.namespace, &name.name))
    }

    /// What is no longer as it was when an object was added, replaced or removed.
    pub(crate) fn about(object: &ObjectRef) -> [Self; 3] {
        [
            Self::Object(object.clone()),
            Self::Kind(object.kind, object.namespace.clone()),
            Self::Kind(object.kind, None),
        ]
    }
}

/// Notes what is looked at while somebody wants to know it.
#[derive(Debug, Default)]
pub(crate) struct Looks(RefCell<Option<Facts>>);

impl Looks {
    /// What `compute` gives, and all that it noted meanwhile.
    pub(crate) fn during<T>(&self, compute: impl FnOnce() -> T) -> (T, Facts) {
        let outer = self.0.replace(Some(Facts::new()));
        let value = compute();
        (value, self.0.replace(outer).unwrap_or_default())
    }

    pub(crate) fn note(&self, fact: impl FnOnce() -> Fact) {
        if let Some(facts) = &mut *self.0.borrow_mut() {
            facts.insert(fact());
        }
    }
}

/// Nobody wants to know yet what is looked at in a copy.
impl Clone for Looks {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Which computations, each named by the object that it is made for, looked at which facts.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    facts: HashMap<Arc<ObjectRef>, Vec<Arc<Fact>>>,
    readers: HashMap<Arc<Fact>, HashSet<Arc<ObjectRef>>>,
}

impl Readers {
    /// Replaces what a computation looked at.
    pub(crate) fn set(&mut self, reader: &Arc<ObjectRef>, facts: Facts) {
        self.forget(reader);
        let facts = facts.into_iter().map(|fact| {
            let fact =
                self.readers.get_key_value(&fact).map_or_else(|| Arc::new(fact), |(it, _)| Arc::clone(it));
            self.readers.entry(Arc::clone(&fact)).or_default().insert(Arc::clone(reader));
            fact
        });
        let facts: Vec<_> = facts.collect();
        if !facts.is_empty() {
            self.facts.insert(Arc::clone(reader), facts);
        }
    }

    pub(crate) fn forget(&mut self, reader: &ObjectRef) {
        for fact in self.facts.remove(reader).unwrap_or_default() {
            if let Some(readers) = self.readers.get_mut(&fact) {
                readers.remove(reader);
                if readers.is_empty() {
                    self.readers.remove(&fact);
                }
            }
        }
    }

    /// Who looked at a fact.
    pub(crate) fn of(&self, fact: &Fact) -> impl Iterator<Item = &Arc<ObjectRef>> {
        self.readers.get(fact).into_iter().flatten()
    }

    /// What a computation looked at.
    pub(crate) fn facts(&self, reader: &ObjectRef) -> impl Iterator<Item = &Fact> {
        self.facts.get(reader).into_iter().flatten().map(|fact| &**fact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> ObjectRef {
        ObjectRef::new(Kind::Service, "n", name)
    }

    #[test]
    fn readers_are_found_by_what_they_last_looked_at() {
        let (reader, fact) = (Arc::new(object("reader")), |name| Fact::Object(object(name)));
        let mut readers = Readers::default();
        readers.set(&reader, Facts::from([fact("a"), fact("b")]));
        readers.set(&reader, Facts::from([fact("b"), fact("c")]));
        let found = |readers: &Readers, name| readers.of(&fact(name)).count();
        assert_eq!(["a", "b", "c"].map(|name| found(&readers, name)), [0, 1, 1]);
        readers.forget(&reader);
        assert!(readers.facts.is_empty() && readers.readers.is_empty());
    }

    #[test]
    fn only_what_is_looked_at_meanwhile_is_noted() {
        let (looks, fact) = (Looks::default(), |name| Fact::Object(object(name)));
        looks.note(|| fact("before"));
        let (((), inner), outer) = looks.during(|| {
            looks.note(|| fact("outside"));
            looks.during(|| looks.note(|| fact("inside")))
        });
        looks.note(|| fact("after"));
        assert_eq!((inner, outer), (Facts::from([fact("inside")]), Facts::from([fact("outside")])));
    }
}
