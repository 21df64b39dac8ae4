//! Why a cluster could not do what it was asked.

use std::io;
use std::path::PathBuf;

use crate::spec::Name;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("a cluster is made of namespaces, mounts and cgroups, so it needs root: run it with sudo")]
    NotRoot,
    #[error("{0}")]
    Lab(#[from] lab::LabError),
    #[error("{action}: {error}")]
    System { action: String, error: io::Error },
    #[error("`{command}` failed ({status}): {stderr}")]
    Command { command: String, status: String, stderr: String },
    #[error(
        "cluster {name} did not start, and stays as it is until it is taken down; its logs are in {logs}: {error}"
    )]
    Start { name: Name, logs: PathBuf, error: Box<ClusterError> },
    #[error("{0}")]
    Invalid(String),
}

impl ClusterError {
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |error| Self::System { action, error }
    }
}
