//! Types of the Gateway API's kinds, generated from the experimental channel's CRDs of Gateway API v1.7.0
//! (Go module sigs.k8s.io/gateway-api, folder config/crd/experimental) by kopium 0.24.
//!
//! For each kind:
//! ```text
//! kopium -f gateway.networking.k8s.io_gateways.yaml --schema=disabled --docs --derive=PartialEq
//! yq -f crds/trim.jq gateway.networking.k8s.io_gateways.yaml > crds/gateways.json
//! ```
//! (No `--derive=Default`: some required enums of Gateway have no default to derive.)
//! The types carry neither defaults nor limits: admission applies those from the CRDs.

// Generated text, not ours to polish.
#![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]

pub mod gateway;
pub mod gateway_class;
pub mod reference_grant;
pub mod tcp_route;
pub mod udp_route;
