//! Clients, the proxy and endpoints on real sockets: HTTP/1.1 and HTTP/2, in front and behind.

mod access_log;
mod auth_envoy;
mod auth_grpc;
mod auth_http;
mod connections;
mod cors;
mod draining;
mod failures;
mod floods;
mod frames;
mod grpc;
mod h2spec;
mod http2;
mod http2_connections;
mod http2_endpoints;
mod http2_windows;
mod limits;
mod matches;
mod messages;
mod mirrors;
mod modifiers;
mod rig;
mod routes;
mod sessions;
mod telemetry;
mod urls;
