//! The stories.

pub(crate) mod agents;
pub(crate) mod nodes;
pub(crate) mod partitions;
pub(crate) mod upgrade;
