//! From objects to tables and statuses: which Gateways are ours, which listeners they make, which routes attach to
//! them, and where the routes' backends lead.
//!
//! [`translate`] is a pure function: no input but the [`Snapshot`], no output but the [`Outcome`].

#![forbid(unsafe_code)]

mod address;
mod attachment;
mod backend;
mod backend_tls;
mod bindings;
mod claims;
mod content;
mod copies;
mod counted;
mod duration;
mod endpoints;
mod experimental;
mod facts;
pub mod features;
mod fill;
mod frame;
mod framing;
mod frontends;
mod gateway;
mod gateway_class;
mod gateway_status;
mod grant;
mod held;
mod http;
mod infrastructure;
mod listener;
mod listener_set;
mod listener_spec;
mod listener_status;
mod name;
mod overlap;
mod place;
mod policy_status;
mod precedence;
mod problem;
mod route;
mod route_status;
mod selector;
mod settings;
mod snapshot;
mod sni;
mod status;
mod stream;
mod tls;
mod translation;
mod uses;
mod xbackend;

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::ObjectRef;
use gateway_agent_tables::{ListenerName, Tables};
use serde_json::Value;

pub use address::{Address, Assignments};
pub use copies::copy;
pub use features::Release;
pub use infrastructure::is_infrastructure;
pub use problem::Problem;
pub use settings::{http_in_full, of_node as node_settings};
pub use snapshot::{Assigner, Node, OfferingNode, Service, Snapshot};
pub use translation::{Changes, Translation};

/// The spec.controllerName of every GatewayClass that is ours.
pub const CONTROLLER_NAME: &str = "gateway-agent.io/controller";

/// Whole minutes since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minutes(pub u64);

/// Objects, and entries of the data of each.
pub type Copies = BTreeMap<ObjectRef, BTreeSet<&'static str>>;

/// Everything that follows from a [`Snapshot`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// For the data planes of the snapshot's node.
    pub tables: Tables,
    /// The statuses that belong to us, without `lastTransitionTime`: whoever writes them knows the time, and what was
    /// written before.
    pub statuses: BTreeMap<ObjectRef, Value>,
    /// Secrets and bundles of trust anchors that data planes need, and the entries of each: what is referred to by what
    /// is accepted, and granted. Agents get copies of these, since they may not read the originals.
    pub copies: Copies,
    /// What is wrong with objects.
    pub problems: BTreeSet<Problem>,
    /// Places on this node's addresses that listeners want and others have, each with who has it.
    pub held: BTreeMap<ListenerName, Held>,
    /// What there shall be for Gateways in a cluster, for whoever assigns addresses there: Services and EndpointSlices, as
    /// the API server shall have them.
    pub infrastructure: BTreeMap<ObjectRef, Value>,
    /// What Gateways have been given: the input of the next translation, where addresses are assigned.
    pub assignments: Assignments,
    /// When time alone would change the outcome.
    pub recheck_at: Option<Minutes>,
}

/// What of a listener a node can't serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Nothing of the listener is left that the node could serve.
    pub all: bool,
    /// Who has which places, for people.
    pub message: String,
}

/// Compiles a snapshot. [`Translation`] does the same for one that changes.
pub fn translate(snapshot: &Snapshot) -> Outcome {
    let mut translation = Translation::default();
    translation.update(snapshot, &snapshot.objects().map(|(object, _)| object.clone()).collect());
    translation.into_outcome()
}
