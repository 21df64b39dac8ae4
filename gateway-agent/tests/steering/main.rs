//! Connections to HTTP and TLS listeners, from a client to the proxy, while proxies and agents come and go. Needs root.
#![allow(clippy::unwrap_used, reason = "what can't be set up fails the test")]

mod listeners;
mod load;
mod node;
mod observed;
mod page;
mod replaced;
