//! GatewayConfig: all settings in one place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::http::Http;
use super::telemetry::Telemetry;

/// Settings of gateway-agent. A GatewayClass names one in parametersRef; a Gateway may name another one of its own
/// namespace in infrastructure.parametersRef, whose addresses, http and telemetry.accessLog then come first, field by
/// field. What neither sets has its default.
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GatewayConfigSpec {
    /// Which addresses Gateways get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
    /// How HTTP and gRPC are read, and what clients may take of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// The network devices that agents attach to. Of a Gateway's own GatewayConfig this does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Devices>,
    /// What is told of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
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

/// The network devices that agents attach to: all but lo and bridges, whose ports count.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// Names or patterns, such as wg0 or docker*, of devices to leave alone; a change takes up to 10 s. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 32)))]
    pub exclude: Option<Vec<String>>,
}

/// A span of time as GEP-2257 writes it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Duration(pub String);

/// How GEP-2257 writes spans of time, in all CRDs.
pub(crate) const DURATION_PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

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
            "pattern": DURATION_PATTERN,
            // Less than a tick of the proxy (250 ms) means nothing more exact, and nobody waits for a month.
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
            http: match (self.http, class.http) {
                (Some(own), Some(class)) => Some(own.over(class)),
                (own, class) => own.or(class),
            },
            // They are a node's, not a Gateway's.
            devices: class.devices,
            telemetry: match (self.telemetry, class.telemetry) {
                (Some(own), class) => Some(own.over(class.unwrap_or_default())),
                (None, class) => class,
            },
        }
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
                "http": { "trustedHops": 1 },
                "devices": { "exclude": ["wg0"] },
                "telemetry": { "accessLog": { "mode": "All" }, "maxSeries": 10 },
            }))
        };
        let own = spec(json!({
            "addresses": { "mode": "Node" },
            "devices": { "exclude": ["eth0"] },
            "telemetry": { "accessLog": { "mode": "Sampled" }, "maxSeries": 20 },
        }));
        let expected = json!({
            "addresses": { "mode": "Node", "pools": [{ "name": "a", "ranges": ["192.0.2.0/28"] }] },
            "http": { "trustedHops": 1 },
            "devices": { "exclude": ["wg0"] },
            "telemetry": { "accessLog": { "mode": "Sampled" }, "maxSeries": 10 },
        });
        assert_eq!(own.over(class()), spec(expected));
        assert_eq!(GatewayConfigSpec::default().over(class()), class());
    }
}
