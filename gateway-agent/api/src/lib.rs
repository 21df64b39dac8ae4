//! The objects that gateway-agent reads: their types, their names, and the admission of documents that no API server
//! has checked.
//!
//! A further kind is a line in the table of [`object`], and for kinds that come with a CRD the generated type
//! (`src/generated`) and the trimmed CRD (`crds/`).

#![forbid(unsafe_code)]

pub mod admission;
mod generated;
mod object;

pub use generated::{gateway, gateway_class, reference_grant, tcp_route, udp_route};
pub use object::{Kind, Object, ObjectRef, Typed};

pub use gateway::Gateway;
pub use gateway_class::GatewayClass;
pub use k8s_openapi::api::core::v1::{Namespace, Service};
pub use k8s_openapi::api::discovery::v1::EndpointSlice;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
pub use reference_grant::ReferenceGrant;
pub use tcp_route::TcpRoute;
pub use udp_route::UdpRoute;
