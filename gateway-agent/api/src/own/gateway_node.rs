//! GatewayNode: what one node's agent reports.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::gateway_config::GatewayConfigSpec;

/// What the agent of a node reports. Its name is the node's; nothing is asked of it, so spec is empty.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "gateway-agent.io",
    version = "v1alpha1",
    kind = "GatewayNode",
    doc = "What the agent of a node reports.",
    category = "gateway-api",
    status = "GatewayNodeStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Problems", type_ = "integer", json_path = ".status.problemCount"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Kernel", type_ = "string", json_path = ".status.kernel"),
    printcolumn(name = "CNI", type_ = "string", json_path = ".status.cni", priority = 1),
    printcolumn(name = "Local", type_ = "string", json_path = ".status.delivery.local", priority = 1),
    printcolumn(name = "Remote", type_ = "string", json_path = ".status.delivery.remote", priority = 1),
    printcolumn(name = "Heartbeat", type_ = "date", json_path = ".status.lastHeartbeatTime", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct GatewayNodeSpec {}

/// The state of a node as its agent last saw it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayNodeStatus {
    /// Ready: whether the node forwards what its agent has applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// When the agent wrote this. With nothing new to tell it does so every 10 s, and in clusters of more than 500 nodes
    /// every 20 ms for each node: one that is silent for four times as long counts as gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub last_heartbeat_time: Option<Time>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Release of the kernel, as uname -r prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The network plugin, as far as its devices tell, or unknown. In brackets: what pods of this node are behind, and
    /// tunnels to other nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<String>,
    /// How packets of TCP and UDP get to endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// The node's addresses that Gateways can have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub addresses: Vec<String>,
    /// How far each kind is applied, by the name of its CRD, such as httproutes.gateway.networking.k8s.io (kinds without
    /// a group: services): the resourceVersion up to which the data plane holds what the API server told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub applied: BTreeMap<String, String>,
    /// Where programs are attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub hooks: Vec<Hook>,
    /// What keeps Gateways from being served on this node: the first 64, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub problems: Vec<NodeProblem>,
    /// How many problems there are.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub problem_count: i32,
    /// The settings in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<GatewayConfigSpec>,
}

/// How packets of TCP and UDP get to endpoints. Those of other protocols end in the proxy, whose own connections the node
/// routes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// To endpoints of this node; none: it has no pod. RedirectPeer: through the pod's veth, straight into its network
    /// namespace. Bridge: to the bridge that the pod is a port of. RedirectNeigh: to the device that the node's routing
    /// table names. Mixed: some of them so, some otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalDelivery>,
    /// From addresses of pools to endpoints of other nodes; none: there is no other node, or no such address. HandOn: as
    /// the packet is, to the endpoint's node, which shares a link. SNAT: by the routing table, from this node's address;
    /// so it is from nodes' addresses always. Mixed: some nodes share a link, some don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteDelivery>,
}

/// To endpoints of the same node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalDelivery {
    RedirectPeer,
    Bridge,
    RedirectNeigh,
    Mixed,
}

/// To endpoints of other nodes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteDelivery {
    HandOn,
    #[serde(rename = "SNAT")]
    Snat,
    Mixed,
}

/// A place in the kernel where programs are attached.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Such as tcx ingress.
    pub name: String,
    /// The number of devices that it is attached to; a changed number alone is no reason to report.
    #[schemars(range(min = 0))]
    pub devices: i32,
    /// Devices that it could not be attached to: the first 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub failures: Vec<HookFailure>,
}

/// A device that a program could not be attached to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HookFailure {
    /// The device's name.
    pub device: String,
    /// What the kernel said.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Why a Gateway, or one of its listeners, is not served on this node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeProblem {
    /// The Gateway's namespace.
    pub namespace: String,
    /// The Gateway's name.
    pub gateway: String,
    /// The listener; none: the whole Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// A word for the cause, such as PortUnavailable.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// The cause and the fix.
    #[schemars(length(max = 1024))]
    pub message: String,
}

fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// Kubernetes' own conditions, which bring no schema along.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": { "type": "string", "maxLength": 316, "description": "What is said." },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds." },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024, "description": "Why, in a word." },
                "message": { "type": "string", "maxLength": 32768, "description": "Why, for people." },
                "lastTransitionTime": { "type": "string", "format": "date-time", "description": "When status changed last." },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0, "description": "The object's generation that was looked at." },
            },
        },
    })
}
