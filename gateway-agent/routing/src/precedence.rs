//! Who comes first where several objects want the same thing.

use std::cmp::Ordering;
use std::sync::Arc;

use gateway_agent_api::{ObjectMeta, ObjectRef, Time};
use gateway_agent_tables::ObjectName;

use crate::name::name_of;

/// The Gateway API's rule for conflicts: the oldest object by creation time, then the first in alphabetical order of
/// `namespace/name`. An object without a creation time (from a file) counts as older than any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Precedence<'a> {
    created: Option<&'a Time>,
    namespace: &'a str,
    name: &'a str,
}

impl Precedence<'_> {
    /// The text `namespace/name`: comparing the two parts instead would put `a/x` before `a-b/x`.
    fn path(&self) -> impl Iterator<Item = u8> {
        self.namespace.bytes().chain(*b"/").chain(self.name.bytes())
    }
}

impl Ord for Precedence<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.created.cmp(&other.created).then_with(|| {
            if self.namespace == other.namespace {
                self.name.cmp(other.name)
            } else {
                self.path().cmp(other.path())
            }
        })
    }
}

impl PartialOrd for Precedence<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An object's place among others, to be kept: by [`Precedence`], then by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    created: Option<Time>,
    pub(crate) object: Arc<ObjectRef>,
}

impl Rank {
    pub(crate) fn new(object: Arc<ObjectRef>, metadata: &ObjectMeta) -> Self {
        Self { created: metadata.creation_timestamp.clone(), object }
    }

    /// Of a Gateway.
    pub(crate) fn gateway(&self) -> ObjectName {
        name_of(&self.object)
    }

    fn precedence(&self) -> Precedence<'_> {
        Precedence {
            created: self.created.as_ref(),
            namespace: self.object.namespace.as_deref().unwrap_or_default(),
            name: &self.object.name,
        }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.precedence().cmp(&other.precedence()).then_with(|| self.object.kind.cmp(&other.object.kind))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl<'a> Precedence<'a> {
        fn of(metadata: &'a ObjectMeta) -> Self {
            Self {
                created: metadata.creation_timestamp.as_ref(),
                namespace: metadata.namespace.as_deref().unwrap_or_default(),
                name: metadata.name.as_deref().unwrap_or_default(),
            }
        }
    }

    /// The specification's sentences, one by one.
    fn transcription(a: &ObjectMeta, b: &ObjectMeta) -> Ordering {
        let seconds = |meta: &ObjectMeta| meta.creation_timestamp.as_ref().map(|time| time.0.as_second());
        let path = |meta: &ObjectMeta| {
            format!(
                "{}/{}",
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default()
            )
        };
        match (seconds(a), seconds(b)) {
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x < y => return Ordering::Less,
            (Some(x), Some(y)) if x > y => return Ordering::Greater,
            _ => {}
        }
        path(a).cmp(&path(b))
    }

    fn metadata() -> impl Strategy<Value = ObjectMeta> {
        let time = prop_oneof![Just(None), (0_i64..3).prop_map(Some)];
        (time, "[a-b.-]{0,3}", "[a-b.-]{0,3}").prop_map(|(seconds, namespace, name)| {
            let mut metadata = serde_json::json!({ "namespace": namespace, "name": name });
            if let Some(seconds) = seconds {
                metadata["creationTimestamp"] = format!("2026-01-01T00:00:0{seconds}Z").into();
            }
            serde_json::from_value(metadata).expect("a valid ObjectMeta")
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_specification(a in metadata(), b in metadata()) {
            prop_assert_eq!(Precedence::of(&a).cmp(&Precedence::of(&b)), transcription(&a, &b));
        }

        #[test]
        fn is_a_total_order(a in metadata(), b in metadata(), c in metadata()) {
            let (a, b, c) = (Precedence::of(&a), Precedence::of(&b), Precedence::of(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(!(a <= b && b <= c) || a <= c);
        }
    }

    #[test]
    fn the_slash_counts() {
        let meta = |namespace: &str, name: &str| ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        let (dash, plain) = (meta("a-b", "x"), meta("a", "x"));
        assert!(Precedence::of(&dash) < Precedence::of(&plain));
    }
}
