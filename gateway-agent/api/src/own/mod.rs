//! The kinds that this project defines. `cargo xtask codegen` writes their CRDs to deploy/crds.

#![allow(clippy::doc_markdown, reason = "the CRDs' descriptions, which people read as plain text")]
#![allow(clippy::duplicated_attributes, reason = "each printed column has a type")]

pub mod gateway_config;
pub mod gateway_node;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use gateway_config::GatewayConfig;
use gateway_node::GatewayNode;

/// The API group of both.
pub const GROUP: &str = "gateway-agent.io";

/// The CRDs, as they are applied to a cluster.
pub fn crds() -> [CustomResourceDefinition; 2] {
    [GatewayConfig::crd(), GatewayNode::crd()]
}
