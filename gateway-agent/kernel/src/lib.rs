//! The agent's side of the kernel boundary: loads, attaches, pins, feeds and reads the programs and maps.
//!
//! [`Kernel`] is what an agent holds: it owns a pin folder and turns [`L4Tables`](gateway_agent_tables::L4Tables) into
//! map entries. [`Pins`] reads the same folder without an agent, and [`detach`] removes everything in it.
//!
//! What a pin folder holds:
//!
//! | path | what |
//! |---|---|
//! | `maps/<name>` | the maps of `gateway_common::maps`, but for `stages` |
//! | `stages-<n>` | the program array of the n-th generation of programs |
//! | `links/<ifindex>` | the attachment to a device |

mod apply;
mod attach;
mod detach;
mod flows;
mod load;
mod object;
mod options;
mod pins;
mod stats;

pub use apply::{ApplyProblem, ApplyReport};
pub use attach::{AttachError, Device, DeviceKind};
pub use detach::{DetachError, Detached, detach};
pub use flows::Flow;
pub use load::{Kernel, OpenError};
pub use object::OBJECT;
pub use options::{Options, PortRange, PortRangeError, Sizes, TimeoutError, Timeouts};
pub use pins::{Pins, PinsError, Summary};
pub use stats::{BackendStats, FrontendStats, ReasonStats, RouteStats, Stats, TableFill, Traffic};
