//! The addresses that nodes have anyway.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateway_agent_api::own::gateway_config::GatewayConfigSpec;

use super::Address;
use crate::Snapshot;

/// What published nodes offer a Gateway of these settings, in order of their names.
pub(super) fn offered(settings: &GatewayConfigSpec, snapshot: &Snapshot) -> Vec<IpAddr> {
    let mut offered = Vec::new();
    for node in published(settings, snapshot) {
        for address in node.1 {
            if !offered.contains(address) {
                offered.push(*address);
            }
        }
    }
    offered
}

/// Published nodes that these settings select, and what each offers.
pub(crate) fn published<'s>(
    settings: &'s GatewayConfigSpec,
    snapshot: &'s Snapshot,
) -> impl Iterator<Item = (&'s str, &'s [IpAddr])> {
    let of_cluster = snapshot.nodes.iter().flatten().filter(|node| node.published);
    let of_cluster = of_cluster.filter(|node| selects(settings, &node.labels));
    let this = snapshot.nodes.is_none().then_some(&snapshot.node);
    let this = this.filter(|node| selects(settings, &node.labels));
    of_cluster
        .map(|node| (node.name.as_str(), node.addresses.as_slice()))
        .chain(this.map(|node| (node.name.as_str(), node.gateway_addresses.as_slice())))
}

/// Whether a Gateway may have an address that it names because a node has it.
pub(super) fn has(address: IpAddr, settings: &GatewayConfigSpec, snapshot: &Snapshot) -> bool {
    let of_this = || {
        let node = &snapshot.node;
        snapshot.nodes.is_none() && node.addresses.contains(&address) && selects(settings, &node.labels)
    };
    published(settings, snapshot).any(|(_, offered)| offered.contains(&address)) || of_this()
}

/// Every address of every node that is known, published or not, with the node's name. An address that a Gateway was given
/// may be on this node for that very reason.
pub(super) fn of_any_node(snapshot: &Snapshot) -> BTreeMap<IpAddr, &str> {
    let of_cluster = snapshot
        .nodes
        .iter()
        .flatten()
        .flat_map(|node| node.addresses.iter().map(|address| (*address, node.name.as_str())));
    let this = &snapshot.node;
    let given =
        |address: &IpAddr| snapshot.assignments.values().flatten().any(|it| *it == Address::Ip(*address));
    let own = this.addresses.iter().filter(|address| !given(address)).chain(&this.gateway_addresses);
    let own = own.map(|address| (*address, this.name.as_str()));
    of_cluster.chain(own).collect()
}

fn selects(settings: &GatewayConfigSpec, labels: &BTreeMap<String, String>) -> bool {
    let selector = settings.addresses.as_ref().and_then(|addresses| addresses.node_selector.as_ref());
    selector.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}
