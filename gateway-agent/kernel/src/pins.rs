use crate::{Flow, stats::Stats};
use std::path::Path;
/// A read-only view of a pin folder; works with the agent dead.
#[derive(Debug)]
pub struct Pins {}
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    #[error("x")]
    X,
}
/// What a pin folder holds, in short.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    pub layout: u32,
    /// Number of the program generation.
    pub generation: u32,
    /// Flows promised: 0.6 of the places.
    pub flows: u32,
    /// Devices attached to, by ifindex.
    pub links: Vec<u32>,
}
impl Pins {
    pub fn open(_pin: &Path) -> Result<Self, PinsError> {
        unimplemented!()
    }
    pub fn stats(&self) -> Result<Stats, PinsError> {
        unimplemented!()
    }
    /// Live flows, in the table's order. Those that change while being read are left out.
    pub fn flows(&self) -> Result<Vec<Flow>, PinsError> {
        unimplemented!()
    }
    pub fn summary(&self) -> Result<Summary, PinsError> {
        unimplemented!()
    }
}
