//! The stories.

pub(crate) mod agents;
pub(crate) mod nodes;
pub(crate) mod upgrade;
