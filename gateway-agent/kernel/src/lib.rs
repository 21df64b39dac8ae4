//! The agent's side of the kernel boundary: loads, attaches, pins, feeds and reads the programs and maps.
//!
//! [`Kernel`] is what an agent holds: it owns a pin folder and turns [`L4Tables`](gateway_agent_tables::L4Tables) into
//! map entries. [`Pins`] reads the same folder without an agent, and [`detach()`] removes everything in it.
//!
//! What a pin folder holds:
//!
//! | path | what |
//! |---|---|
//! | `maps/<name>` | the maps of `gateway_common::maps`, but for `stages` |
//! | `stages-<n>` | the program array of the n-th generation of programs |
//! | `links/<ifindex>` | the attachment to a device |
//! | `steer` | the attachment to the network namespace, as long as connections are steered |
//! | `former/...` | the same of an earlier agent whose maps could not be taken over, until its flows are given up |

mod address;
mod announce;
mod apply;
mod attach;
mod detach;
mod endpoints;
mod flows;
mod folder;
mod former;
mod found;
mod frontends;
mod ids;
mod labels;
mod learn;
mod load;
mod maglev;
mod mmap;
mod object;
mod options;
mod peers;
mod pins;
mod ports;
mod ready;
mod regions;
mod retired;
mod rings;
mod seed;
mod stats;
mod steer;
mod store;
mod sys;

pub use announce::{AnnounceError, Announcements, Role, Term};
pub use apply::{ApplyProblem, ApplyReport};
pub use attach::{AttachError, Device, DeviceKind};
pub use detach::{DetachError, Detached, detach};
pub use flows::Flow;
pub use learn::{Connection, Connections};
pub use load::{Kernel, OpenError};
pub use object::OBJECT;
pub use options::{Options, PortRange, PortRangeError, SizeError, Sizes, TimeoutError, Timeouts};
pub use peers::PeerLink;
pub use pins::{Pins, PinsError, Summary};
pub use stats::{
    BackendStats, FrontendStats, PoolStats, ReasonStats, RouteStats, Stats, SteeredStats, TableFill, Traffic,
};
pub use steer::{MOST_SOCKETS, Process};
pub use store::StoreError;
pub use sys::wait_for_programs;

/// An error and what caused it, in one line.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Many errors already quote their cause.
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
