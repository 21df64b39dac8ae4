//! Clients, the proxy and endpoints on real sockets: HTTP/1.1 and HTTP/2, in front and behind.

mod connections;
mod failures;
mod http2;
mod messages;
mod rig;
mod routes;
mod telemetry;
