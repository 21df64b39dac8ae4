//! Why the suite could not be run or judged. What it found wrong is no error: see [`crate::verdict::Complaint`].

use std::io;

use cluster::ClusterError;
use lab::LabError;

#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("{action}: {error}")]
    System { action: String, error: io::Error },
    #[error("tests/go/conformance/catalogue printed something else: {0}")]
    Catalogue(String),
    #[error("the suite has no test called {name}; names alike: {alike}")]
    NoSuchTest { name: String, alike: String },
    #[error("the suite has no profile called {name}; it has {known}")]
    NoSuchProfile { name: String, known: String },
    #[error(
        "the suite's manifests ask for image {0}, which nothing here builds; see tests/conformance/src/images.rs"
    )]
    NoSuchImage(String),
    #[error("a certificate for the echo servers: {0}")]
    Certificate(String),
    #[error("the suite's report can't be read: {0}")]
    Report(String),
    #[error("the expected unsupported features can't be used: {0}")]
    Expected(String),
    #[error("{missing}: {fix}")]
    NotReady { missing: String, fix: String },
}

impl ConformanceError {
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |error| Self::System { action, error }
    }
}
