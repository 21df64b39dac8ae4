//! The proxy: what clients send in HTTP is parsed here, matched by the HTTP tables, and forwarded to endpoints.
//!
//! It needs no capability. Sockets and tables come from the agent; nothing here knows of Kubernetes or of the kernel's
//! maps.
#![forbid(unsafe_code)]

pub mod filter;
pub mod h1;
pub mod path;
