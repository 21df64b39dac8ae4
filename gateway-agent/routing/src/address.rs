//! The addresses of a Gateway.

use std::net::IpAddr;

use gateway_agent_api::Gateway;

use crate::Node;

/// What a Gateway asked for and what it gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// In the order of spec.addresses, or the node's own order.
    pub(crate) assigned: Vec<IpAddr>,
    /// Addresses of a type that isn't supported: the Gateway can't be accepted.
    pub(crate) unsupported: Option<String>,
    /// Reason and message for Programmed when not all that was asked for could be assigned.
    pub(crate) missing: Option<(&'static str, String)>,
}

/// Assigns addresses: those that spec.addresses names and the node has, else the node's Gateway addresses.
pub(crate) fn assign(gateway: &Gateway, name: &impl std::fmt::Display, node: &Node) -> Addresses {
    let wanted = gateway.spec.addresses.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        let missing = node.gateway_addresses.is_empty().then(|| too_few(name, node));
        return Addresses { assigned: node.gateway_addresses.clone(), unsupported: None, missing };
    }
    let mut addresses = Addresses::default();
    let mut any = 0;
    for address in wanted {
        let kind = address.r#type.as_deref().unwrap_or("IPAddress");
        let value = address.value.as_deref().unwrap_or_default();
        if kind != "IPAddress" {
            addresses.unsupported.get_or_insert_with(|| {
                format!("address {value:?} of Gateway {name} has type {kind}, which is not supported; use IPAddress")
            });
        } else if address.routability.as_deref().is_some_and(|routability| !routability.is_empty()) {
            addresses.missing.get_or_insert_with(|| {
                (
                    "AddressNotUsable",
                    format!("address {value:?} of Gateway {name} asks for a routability, which is not supported; remove it"),
                )
            });
        } else if value.is_empty() {
            any += 1;
        } else {
            match value.parse().ok().filter(|ip| node.addresses.contains(ip)) {
                Some(ip) => addresses.assigned.push(ip),
                None => {
                    addresses.missing.get_or_insert_with(|| {
                        let message = format!(
                            "node {} does not have address {value} of Gateway {name}; name an address of the node, or \
                             add this one to it",
                            node.name
                        );
                        ("AddressNotUsable", message)
                    });
                }
            }
        }
    }
    assign_any(&mut addresses, any, name, node);
    addresses
}

/// Entries without a value get one Gateway address each.
fn assign_any(addresses: &mut Addresses, count: usize, name: &impl std::fmt::Display, node: &Node) {
    let free = node.gateway_addresses.iter().filter(|ip| !addresses.assigned.contains(ip)).copied();
    let chosen: Vec<_> = free.take(count).collect();
    if chosen.len() < count {
        addresses.missing.get_or_insert_with(|| too_few(name, node));
    }
    addresses.assigned.extend(chosen);
}

fn too_few(name: &impl std::fmt::Display, node: &Node) -> (&'static str, String) {
    let message = format!(
        "node {} has too few Gateway addresses for Gateway {name}; start the agent with --node-address, or name an \
         address of the node in spec.addresses",
        node.name
    );
    ("AddressNotAssigned", message)
}
