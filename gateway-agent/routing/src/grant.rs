//! ReferenceGrants: what a namespace lets others refer to.

use gateway_agent_api::{Kind, ReferenceGrant};

use crate::Snapshot;

/// All grants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grants<'a>(&'a Snapshot);

/// A reference from one namespace to an object of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) from: Kind,
    pub(crate) from_namespace: &'a str,
    pub(crate) to: Kind,
    pub(crate) to_namespace: &'a str,
    pub(crate) to_name: &'a str,
}

impl<'a> Grants<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot) -> Self {
        Self(snapshot)
    }

    /// Whether the reference stays in its namespace or the other one grants it. Does not look at the target.
    pub(crate) fn permit(self, reference: Reference<'_>) -> bool {
        let Reference { from_namespace, to_namespace, .. } = reference;
        from_namespace == to_namespace
            || self.0.in_namespace::<ReferenceGrant>(to_namespace).any(|it| covers(it, reference))
    }
}

fn covers(grant: &ReferenceGrant, reference: Reference<'_>) -> bool {
    let from = grant.spec.from.iter().any(|from| {
        from.group == reference.from.group()
            && from.kind == reference.from.name()
            && from.namespace == reference.from_namespace
    });
    let to = grant.spec.to.iter().any(|to| {
        to.group == reference.to.group()
            && to.kind == reference.to.name()
            && to.name.as_deref().is_none_or(|name| name == reference.to_name)
    });
    from && to
}
