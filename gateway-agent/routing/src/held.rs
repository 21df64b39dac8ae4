//! Ports of nodes that others have: no listener takes them there, and one that no node can serve has no port at all.

use std::net::IpAddr;

use gateway_agent_tables::FrontendKey;

use crate::Snapshot;
use crate::address::Origin;
use crate::gateway::Gateway;
use crate::listener::{Conflict, Listener};
use crate::snapshot::{Assigner, OfferingNode};

/// Marks what this node can't serve of each listener of a Gateway, and those listeners that no node can serve.
pub(crate) fn settle(gateway: &mut Gateway<'_>, snapshot: &Snapshot) {
    for index in 0..gateway.listeners.len() {
        let listener = &gateway.listeners[index];
        let wanted = on_nodes(gateway, listener);
        let held: Vec<_> =
            wanted.iter().filter_map(|key| Some((*key, snapshot.holders.get(key)?.clone()))).collect();
        let refusal = match (&snapshot.nodes, snapshot.assigner) {
            (Some(nodes), _) => refused_by_all(gateway, listener, nodes),
            (None, Assigner::Here) => refused_here(listener, wanted.len(), &held),
            // The controller says so.
            (None, Assigner::Controller) => None,
        };
        // Elsewhere than on nodes, nobody has ports.
        let is_elsewhere = gateway.addresses.assigned.iter().any(|it| it.origin != Origin::Node);
        let refusal = refusal.filter(|_| !is_elsewhere);
        let listener = &mut gateway.listeners[index];
        listener.conflict = listener
            .conflict
            .take()
            .or_else(|| refusal.map(|message| Conflict { reason: "PortUnavailable", message }));
        listener.held = held;
    }
}

/// What is wrong with a place: who has it, and the fix.
pub(crate) fn explain(key: &FrontendKey, holder: &str) -> String {
    format!("port {} of {} belongs to {holder}", key.port, key.address)
}

fn on_nodes(gateway: &Gateway<'_>, listener: &Listener<'_>) -> Vec<FrontendKey> {
    let of_nodes: Vec<IpAddr> = gateway
        .addresses
        .assigned
        .iter()
        .filter(|it| it.origin == Origin::Node)
        .filter_map(|it| it.address.ip())
        .collect();
    gateway.claimed_by(listener).into_iter().filter(|key| of_nodes.contains(&key.address)).collect()
}

fn refused_here(listener: &Listener<'_>, wanted: usize, held: &[(FrontendKey, String)]) -> Option<String> {
    if wanted == 0 || held.len() < wanted {
        return None;
    }
    let causes: Vec<_> = held.iter().map(|(key, holder)| explain(key, holder)).collect();
    Some(format!("{}; give listener {} another port", causes.join("; "), listener.spec.name))
}

/// The nodes whose addresses the Gateway has say that they can't serve the listener.
fn refused_by_all(gateway: &Gateway<'_>, listener: &Listener<'_>, nodes: &[OfferingNode]) -> Option<String> {
    let has = |address: &IpAddr| gateway.addresses.ips().any(|ip| ip == *address);
    let serving = nodes.iter().filter(|node| node.published && node.addresses.iter().any(has));
    let refusals: Vec<_> =
        serving.map(|node| Some((node, node.refusals.get(&listener.name)?))).collect::<Option<_>>()?;
    let (node, cause) = refusals.first()?;
    let others = match refusals.len() {
        1 => String::new(),
        all => format!(" (none of {all} nodes can serve it)"),
    };
    Some(format!("node {}: {cause}{others}; give listener {} another port", node.name, listener.spec.name))
}
