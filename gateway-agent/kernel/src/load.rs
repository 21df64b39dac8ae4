use crate::{ApplyReport, AttachError, Device, Options, Sizes};
use aya::programs::SchedClassifier;
use gateway_agent_tables::L4Tables;
/// The kernel part of an agent.
#[derive(Debug)]
pub struct Kernel {}
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("x")]
    X,
}
impl Kernel {
    /// Loads the programs, and makes the maps or takes over those that an earlier agent pinned.
    pub fn open(_options: &Options) -> Result<Kernel, OpenError> {
        unimplemented!()
    }
    pub fn attach(&mut self, _device: &Device) -> Result<(), AttachError> {
        unimplemented!()
    }
    pub fn detach(&mut self, _ifindex: u32) -> Result<(), AttachError> {
        unimplemented!()
    }
    /// Devices with a pinned link.
    pub fn attached(&self) -> Vec<u32> {
        unimplemented!()
    }
    pub fn apply(&mut self, _tables: &L4Tables) -> ApplyReport {
        unimplemented!()
    }
    /// `ingress`, `admit` or `refuse`, loaded; for tests and benches, which run it by BPF_PROG_TEST_RUN
    /// ([`aya::programs::TestRun`]).
    pub fn program(&self, _name: &str) -> Option<&SchedClassifier> {
        unimplemented!()
    }
    /// Loads a further object whose maps are these by name, such as a test's own programs. `stages` is its own.
    pub fn load(&self, _object: &[u8]) -> Result<aya::Ebpf, OpenError> {
        unimplemented!()
    }
}
/// A map and the kernel memory of one of its entries.
pub(crate) struct MapSize {
    pub(crate) entry_bytes: u64,
}
pub(crate) fn capacities(_sizes: &Sizes) -> Vec<(MapSize, u32)> {
    unimplemented!()
}
