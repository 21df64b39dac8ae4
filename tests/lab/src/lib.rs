//! Network namespaces as a stage for tests, benches and the demo.
//!
//! A [`Lab`] owns [`Namespace`]s, the veth pairs between them and a folder in /run; dropping it removes all of that,
//! and a later lab removes what a killed one left. [`topology::Standard`] is the lab that most use: two clients, two
//! gateway nodes on one link, four pods. [`agent::Agent`] runs the agent in a node, [`traffic`] serves, calls and
//! keeps count.

pub mod agent;
mod error;
mod lab;
mod namespace;
mod network;
mod stopwatch;
pub mod topology;
pub mod traffic;
mod wait;

pub use error::LabError;
pub use lab::{Lab, remove_all_of_this_process};
pub use namespace::{NETNS, Namespace};
pub use network::{MacAddress, link};
pub use stopwatch::Stopwatch;
pub use wait::wait_until;
