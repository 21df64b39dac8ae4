//! Why a lab could not do what it was asked.

use std::io;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("a lab makes network namespaces, so it needs root: run it with sudo")]
    NotRoot,
    #[error("{action}: {error}")]
    System { action: String, error: io::Error },
    #[error("`{command}` in namespace {namespace} failed ({status}): {stderr}")]
    Command { command: String, namespace: String, status: String, stderr: String },
    #[error("{what} did not happen within {within:?}")]
    Deadline { what: String, within: Duration },
    #[error("the agent on {node} {how}; the end of its log ({log}):\n{tail}")]
    Agent { node: String, how: String, log: String, tail: String },
    #[error("{0}")]
    Unexpected(String),
}

impl LabError {
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |error| Self::System { action, error }
    }
}
