//! Clients, the proxy and endpoints on real sockets: HTTP/1.1 in front and behind.

mod connections;
mod failures;
mod messages;
mod rig;
mod routes;
