//! The kinds that this project defines. `cargo xtask codegen` writes their CRDs to deploy/crds.

#![allow(clippy::doc_markdown, reason = "the CRDs' descriptions, which people read as plain text")]
#![allow(clippy::duplicated_attributes, reason = "each printed column has a type")]

pub mod gateway_config;
pub mod gateway_node;
pub mod http;
pub mod telemetry;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use gateway_config::GatewayConfig;
use gateway_node::GatewayNode;

/// The API group of both.
pub const GROUP: &str = "gateway-agent.io";

/// The CRDs, as they are applied to a cluster.
pub fn crds() -> [CustomResourceDefinition; 2] {
    [GatewayConfig::crd(), GatewayNode::crd()].map(without_nulls)
}

/// Optional fields are left out, never null: an API server drops nulls of a field that isn't nullable, and people who ask
/// `kubectl explain` for the values of an enum don't see an empty one.
fn without_nulls(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, field| name != "nullable" || !field.is_boolean());
                if let Some(Value::Array(values)) = fields.get_mut("enum") {
                    values.retain(|value| !value.is_null());
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut json = serde_json::to_value(crd).expect("a CRD is JSON");
    strip(&mut json);
    serde_json::from_value(json).expect("still a CRD")
}
