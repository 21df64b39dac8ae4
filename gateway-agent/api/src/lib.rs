//! The objects that gateway-agent reads: their types, their names, and the admission of documents that no API server
//! has checked.
//!
//! A further kind is a line in the table of [`object`]. `cargo xtask codegen` writes the types of kinds that come with
//! the Gateway API's CRDs (`src/generated`) and these CRDs, trimmed (`crds/`). Kinds of this project are in [`own`].

#![forbid(unsafe_code)]

pub mod admission;
pub mod endpoint_slice;
mod generated;
mod object;
mod older;
pub mod own;
pub mod text;

pub use generated::{
    backend_tls_policy, conditions, gateway, gateway_class, grpc_route, http_route, listener_set,
    reference_grant, tcp_route, tls_route, udp_route, xbackend, xbackend_traffic_policy, xmesh,
    xtelemetry_policy,
};
pub use object::{DecodeError, Kind, Object, ObjectRef, Typed};

pub use backend_tls_policy::BackendTlsPolicy;
pub use endpoint_slice::EndpointSlice;
pub use gateway::Gateway;
pub use gateway_class::GatewayClass;
pub use grpc_route::GrpcRoute;
pub use http_route::HttpRoute;
// One type for all versions: they differ in name only.
pub use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
pub use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Secret, Service};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
pub use listener_set::ListenerSet;
pub use own::gateway_config::GatewayConfig;
pub use own::gateway_node::GatewayNode;
pub use reference_grant::ReferenceGrant;
pub use tcp_route::TcpRoute;
pub use tls_route::TlsRoute;
pub use udp_route::UdpRoute;
pub use xbackend::XBackend;
pub use xbackend_traffic_policy::XBackendTrafficPolicy;
pub use xmesh::XMesh;
pub use xtelemetry_policy::XTelemetryPolicy;
