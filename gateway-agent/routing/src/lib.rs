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
mod endpoints;
mod frontends;
mod gateway;
mod gateway_class;
mod gateway_status;
mod grant;
mod http;
mod infrastructure;
mod listener;
mod listener_set;
mod listener_spec;
mod listener_status;
mod overlap;
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

use std::collections::{BTreeMap, BTreeSet};

use gateway_agent_api::ObjectRef;
use gateway_agent_tables::Tables;
use serde_json::Value;

use backend::Backends;
use backend_tls::Policies;
use bindings::Bindings;
use endpoints::Slices;
use grant::Grants;

pub use address::{Address, Assignments};
pub use copies::copy;
pub use problem::Problem;
pub use snapshot::{Assigner, Node, OfferingNode, Service, Snapshot};

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
    /// Secrets and bundles of trust anchors that data planes need, and the entries of each: what is referred to by what
    /// is accepted, and granted. Agents get copies of these, since they may not read the originals.
    pub copies: BTreeMap<ObjectRef, BTreeSet<&'static str>>,
    /// What is wrong with an object, sorted.
    pub problems: Vec<Problem>,
    /// What Gateways have been given: the input of the next translation, where addresses are assigned.
    pub assignments: Assignments,
    /// When time alone would change the outcome.
    pub recheck_at: Option<Minutes>,
}

/// Compiles a snapshot.
pub fn translate(snapshot: &Snapshot) -> Outcome {
    let mut outcome = Outcome::default();
    let classes = gateway_class::ours(snapshot, &mut outcome);
    let mut gateways = gateway::ours(snapshot, &classes, &mut outcome);
    listener_set::attach(&mut gateways, snapshot, &mut outcome);
    claims::settle(&mut gateways, snapshot);
    let grants = Grants::of(snapshot);
    let mut resolver = tls::Resolver::new(snapshot, &grants);
    resolver.resolve(&mut gateways);
    let policies = Policies::of(snapshot, &grants);
    let backends = Backends { snapshot, grants: &grants, policies: &policies };
    let routes = route::all(snapshot);
    let bindings = Bindings::settle(gateways, routes, &backends, snapshot, &mut outcome.problems);
    for (index, gateway) in bindings.gateways.iter().enumerate() {
        gateway.report(&bindings.counts(index), snapshot, &mut outcome);
    }
    route_status::report(&bindings, &mut outcome);
    copies::of_gateways(&bindings.gateways, snapshot, &mut outcome);
    let slices = Slices::of(snapshot);
    outcome.tables.l4 = frontends::compile(&bindings, &slices, snapshot);
    outcome.tables.l4.pool = address::of_pools(&bindings.gateways);
    outcome.tables.tls =
        sni::compile(&bindings, &resolver.certificates, &slices, &mut outcome.tables.l4, snapshot);
    outcome.tables.http = http::tables(&bindings, &slices, snapshot);
    policy_status::report(&policies, &bindings, snapshot, &mut outcome);
    outcome.problems.append(&mut resolver.problems);
    outcome.recheck_at = resolver.certificates.usable().filter_map(|(_, loaded)| loaded.recheck_at).min();
    outcome.problems.sort();
    outcome.problems.dedup();
    outcome
}
