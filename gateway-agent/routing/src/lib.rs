//! From objects to tables and statuses: which Gateways are ours, which listeners they make, which routes attach to
//! them, and where the routes' backends lead.
//!
//! [`translate`] is a pure function: no input but the [`Snapshot`], no output but the [`Outcome`].

#![forbid(unsafe_code)]

mod address;
mod attachment;
mod backend;
mod endpoints;
mod frontends;
mod gateway;
mod gateway_class;
mod grant;
mod listener;
mod precedence;
mod problem;
mod route;
mod selector;
mod snapshot;
mod status;

use std::collections::BTreeMap;

use gateway_agent_api::ObjectRef;
use gateway_agent_tables::Tables;
use serde_json::Value;

use attachment::Attachments;
use endpoints::Slices;

pub use problem::Problem;
pub use snapshot::{Node, Snapshot};

/// The spec.controllerName of every GatewayClass that is ours.
pub const CONTROLLER_NAME: &str = "gateway-agent.io/controller";

/// Whole minutes since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minutes(pub u64);

/// Everything that follows from a [`Snapshot`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// For the data planes of the snapshot's node.
    pub tables: Tables,
    /// The statuses that belong to us, without `lastTransitionTime`: whoever writes them knows the time, and what was
    /// written before.
    pub statuses: BTreeMap<ObjectRef, Value>,
    /// What is wrong with an object, sorted.
    pub problems: Vec<Problem>,
    /// When time alone would change the outcome.
    pub recheck_at: Option<Minutes>,
}

/// Compiles a snapshot.
pub fn translate(snapshot: &Snapshot) -> Outcome {
    let mut outcome = Outcome::default();
    let classes = gateway_class::ours(snapshot, &mut outcome);
    let gateways = gateway::ours(snapshot, &classes, &mut outcome);
    let routes = route::all(snapshot);
    let attachments = Attachments::settle(snapshot, &gateways, &routes, &mut outcome);
    for (index, gateway) in gateways.iter().enumerate() {
        gateway.report(&attachments.counts(index), &mut outcome);
    }
    let slices = Slices::of(snapshot);
    outcome.tables.l4 = frontends::compile(&gateways, &routes, &attachments, &slices);
    outcome.problems.sort();
    outcome.problems.dedup();
    outcome
}
