//! The proxy: what clients send in HTTP is parsed here, matched by the HTTP tables, and forwarded to endpoints.
//!
//! It needs no capability. Sockets and tables come from the agent; nothing here knows of Kubernetes or of the kernel's
//! maps.
//!
//! [`Server`] is the process: tables, limits, counters. Each thread has a [`Worker`] with its own runtime, connections to
//! endpoints and memory. A connection is one task, which also drives the endpoint's socket while it forwards a request;
//! [`h1`], [`filter`] and [`session`] are the pure parts of that.
#![forbid(unsafe_code)]

mod accept;
mod answer;
mod auth;
mod client;
pub mod confine;
mod connection;
mod counters;
mod date;
mod deadline;
mod exchange;
pub mod filter;
mod forward;
pub mod h1;
mod h2;
mod held;
mod hello;
pub mod link;
pub mod matching;
mod mirror;
mod plan;
mod quota;
mod reply;
mod routing;
pub mod serve;
mod server;
pub mod session;
mod settings;
mod socket;
mod stream;
pub mod telemetry;
mod told;
pub mod trace;
mod upstream;
mod worker;

pub use counters::{Closed, Counters};
pub use reply::Reason;
pub use routing::Routing;
pub use server::Server;
pub use settings::Settings;
pub use socket::{Connect, Socket, Tcp};
pub use upstream::{Endpoint, Endpoints};
pub use worker::Worker;
