//! GatewayConfig: all settings in one place.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can name it")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Settings of gateway-agent. A GatewayClass names one in parametersRef; a Gateway may name another one of its own
/// namespace in infrastructure.parametersRef, whose addresses and clientAddress then come first. What neither sets
/// has its default.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "gateway-agent.io",
    version = "v1alpha1",
    kind = "GatewayConfig",
    namespaced,
    doc = "All settings of gateway-agent.",
    category = "gateway-api",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses.mode"),
    printcolumn(name = "Client address", type_ = "string", json_path = ".spec.clientAddress"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GatewayConfigSpec {
    /// Which addresses Gateways get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
    /// What endpoints see of a client. Any: every node serves, and endpoints on other nodes may see the node's address.
    /// Preserve: only nodes with a local endpoint serve, so that every endpoint sees the client's address. Default: Any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<ClientAddress>,
    /// The network devices that agents attach to. Of a Gateway's own GatewayConfig this does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Devices>,
    /// The data plane in the kernel. Of a Gateway's own GatewayConfig this does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
}

/// Which addresses Gateways get.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Where a Gateway without spec.addresses gets its addresses from. Node: the addresses that nodes have anyway.
    /// Pool: an address of a pool, announced by one node. LoadBalancer: what a Service of that type gets. Default: Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AddressMode>,
    /// Addresses that belong to Gateways alone. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub pools: Option<Vec<Pool>>,
    /// Labels of the nodes that offer their addresses; those of pools may be announced by any node that serves.
    /// Default: none, which is every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Which Gateways may share a node's address and port, told apart by hostname. Namespace: those of one namespace.
    /// Cluster: all that say so, but none gets a hostname that an older one of another namespace covers.
    /// Default: Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharing: Option<AddressSharing>,
}

/// Addresses that belong to Gateways alone, each to one of them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Names it in messages.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Such as 192.0.2.0/28, 192.0.2.16-192.0.2.31 or 2001:db8::1. Every address of a range counts, the first and the last
    /// too.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(max = 79), regex(pattern = r"^[0-9a-fA-F.:]+([/-][0-9a-fA-F.:]+)?$"))
    )]
    pub ranges: Vec<String>,
    /// Whether Gateways get its addresses without asking for one by name, in spec.addresses. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_assign: Option<bool>,
}

/// Where a Gateway's addresses come from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressMode {
    Node,
    Pool,
    LoadBalancer,
}

/// Which Gateways may share a node's address and port.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSharing {
    Namespace,
    Cluster,
}

/// What endpoints see of a client.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    Any,
    Preserve,
}

/// The network devices that agents attach to: all but lo and bridges, whose ports count.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// Names or patterns, such as wg0 or docker*, of devices to leave alone. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 32)))]
    pub exclude: Option<Vec<String>>,
}

/// The data plane in the kernel.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// Flows that a node holds at once, 253 bytes of memory each; a node whose tables hold another number keeps them
    /// until it is drained. Default: as many as fit a 64th of the node's memory, at most 629142.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub flows: Option<i32>,
    /// Source ports towards endpoints on other nodes. Default: 2048 to 29999.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snat_ports: Option<SnatPorts>,
    /// How long a flow lives without a packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<FlowTimeouts>,
}

/// A range of ports; whole groups of eight of it are used.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.last - self.first >= 14")
        .message("the range must hold a whole group of eight ports: make last at least first + 14")
)]
pub struct SnatPorts {
    /// The lowest port.
    #[schemars(range(min = 1024, max = 65535))]
    pub first: i32,
    /// The highest port.
    #[schemars(range(min = 1024, max = 65535))]
    pub last: i32,
}

/// How long a flow lives without a packet: from 100ms to 720h, written as 1h30m or 500ms.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FlowTimeouts {
    /// TCP, until the client has acknowledged the endpoint's SYN. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_opening: Option<Duration>,
    /// TCP. Default: 2h4m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_established: Option<Duration>,
    /// TCP, after one side has closed. Default: 4m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_half_closed: Option<Duration>,
    /// TCP, after both sides have closed, the endpoint first. Default: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_endpoint_closed: Option<Duration>,
    /// TCP, after both sides have closed, the client first, or one has reset. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_closed: Option<Duration>,
    /// UDP, until an answer and a further datagram of the client were seen. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_opening: Option<Duration>,
    /// UDP. Default: 2m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_established: Option<Duration>,
}

/// A span of time as GEP-2257 writes it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Duration(pub String);

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            // Four numbers with their units.
            "maxLength": 28,
            "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$",
            // More than a tick of the kernel's clock, and far from the sign bit of a difference of ticks.
            "x-kubernetes-validations": [{
                "rule": "duration(self) >= duration('100ms') && duration(self) <= duration('720h')",
                "message": "a time-out must be from 100ms to 720h",
            }],
        })
    }
}

impl GatewayConfigSpec {
    /// What holds for a Gateway that names these settings, under a GatewayClass that names `class`.
    #[must_use]
    pub fn over(self, class: Self) -> Self {
        Self {
            addresses: match (self.addresses, class.addresses) {
                (Some(own), Some(class)) => Some(own.over(class)),
                (own, class) => own.or(class),
            },
            client_address: self.client_address.or(class.client_address),
            // These are a node's, not a Gateway's.
            devices: class.devices,
            kernel: class.kernel,
        }
    }

    /// What endpoints see of a client, in effect.
    pub fn client_address(&self) -> ClientAddress {
        self.client_address.unwrap_or(ClientAddress::Any)
    }

    /// Where addresses come from, in effect.
    pub fn address_mode(&self) -> AddressMode {
        self.addresses.as_ref().and_then(|addresses| addresses.mode).unwrap_or(AddressMode::Node)
    }

    /// Who may share an address, in effect.
    pub fn address_sharing(&self) -> AddressSharing {
        self.addresses.as_ref().and_then(|addresses| addresses.sharing).unwrap_or(AddressSharing::Namespace)
    }
}

impl Addresses {
    fn over(self, class: Self) -> Self {
        Self {
            mode: self.mode.or(class.mode),
            pools: self.pools.or(class.pools),
            node_selector: self.node_selector.or(class.node_selector),
            sharing: self.sharing.or(class.sharing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_gateways_own_settings_come_first() {
        let spec = |json: Value| serde_json::from_value::<GatewayConfigSpec>(json).expect("a spec");
        let class = || {
            spec(json!({
                "addresses": { "mode": "Pool", "pools": [{ "name": "a", "ranges": ["192.0.2.0/28"] }] },
                "clientAddress": "Preserve",
                "devices": { "exclude": ["wg0"] },
            }))
        };
        let own = spec(json!({ "addresses": { "mode": "Node" }, "devices": { "exclude": ["eth0"] } }));
        let expected = json!({
            "addresses": { "mode": "Node", "pools": [{ "name": "a", "ranges": ["192.0.2.0/28"] }] },
            "clientAddress": "Preserve",
            "devices": { "exclude": ["wg0"] },
        });
        assert_eq!(own.over(class()), spec(expected));
        assert_eq!(GatewayConfigSpec::default().over(class()), class());
    }
}
