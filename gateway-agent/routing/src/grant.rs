//! ReferenceGrants: what a namespace lets others refer to.

use gateway_agent_api::{Kind, ReferenceGrant};

use crate::Snapshot;

/// A reference from one namespace to an object of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) from: Kind,
    pub(crate) from_namespace: &'a str,
    pub(crate) to: Kind,
    pub(crate) to_namespace: &'a str,
    pub(crate) to_name: &'a str,
}

/// Whether the reference stays in its namespace or the other one grants it. Does not look at the target.
pub(crate) fn permits(snapshot: &Snapshot, reference: Reference<'_>) -> bool {
    reference.from_namespace == reference.to_namespace
        || snapshot
            .all::<ReferenceGrant>()
            .filter(|grant| grant.metadata.namespace.as_deref() == Some(reference.to_namespace))
            .any(|grant| covers(grant, reference))
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
