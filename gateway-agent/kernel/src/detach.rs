use std::path::Path;
/// What [`detach`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Detached {
    /// Devices that the programs no longer see, by ifindex.
    pub links: Vec<u32>,
    pub maps: usize,
    pub stages: usize,
}
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    #[error("x")]
    X,
}
/// Removes links, maps, program arrays and the pin folder itself.
pub fn detach(_pin: &Path) -> Result<Detached, DetachError> {
    unimplemented!()
}
