//! The stage of the end to end stories in `tests/stories`: the standard lab with an agent on each node, the objects
//! that the agents read, and what an observer sees of them.

#![forbid(unsafe_code)]

pub mod http;
mod load;
mod objects;
mod observe;
mod pinned;
mod stage;

pub use load::Load;
pub use objects::{Objects, POOL, Phase, TCP_PORT, UDP_PORT};
pub use observe::{Condition, Counters, Flow, Observed};
pub use pinned::{Link, Pinned};
pub use stage::{Stage, TURN};
