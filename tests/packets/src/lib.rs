//! A stage for packet fixtures: the real programs, loaded by the agent's own code on a node in a network namespace.
//!
//! [`Node::run`] sets the stage, [`packet`] makes packets, [`tables`] makes what the agent would feed. A packet's
//! expected fate is written as a packet too, built from nothing with checksums computed here ([`checksum`]), so that a
//! comparison of bytes checks headers and checksums at once:
//!
//! ```text
//! let syn = tcp(client, frontend).syn(1000);
//! node.receives(Wan, &syn).leaves_by(Pods, &syn.to(endpoint).hopped());
//! ```

pub mod checksum;
pub mod connection;
pub mod neighbours;
pub mod net;
mod node;
mod outcome;
pub mod packet;
pub mod table;
pub mod tables;
pub mod wire;

pub use node::{Node, Port, SHORTEST};
pub use outcome::Outcome;
