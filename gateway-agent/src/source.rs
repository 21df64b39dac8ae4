//! Objects from files: which files there are, what they hold, and what of that counts. ([`cluster`]: from an API
//! server.)
//!
//! `scan` reads files, `document` takes them apart, `store` keeps what was admitted, `watch` says when to look again,
//! and `interest` what to watch for that.

pub(crate) mod cluster;
mod document;
mod interest;
mod scan;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::path::PathBuf;

pub use document::parse;
pub use scan::{Found, Scan};
pub use store::{Change, Store};
pub use watch::{WRITER_PAUSE, WatchError, Watcher};

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub file: PathBuf,
    /// Line on which the document begins; 0: the whole file is meant.
    pub line: u64,
}

/// What is wrong with a file or with an object in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{place}: {}{cause}; {fix}", object.as_ref().map(|o| format!("{o}: ")).unwrap_or_default())]
pub struct Problem {
    pub place: Place,
    /// `Kind namespace/name`, where it could be read.
    pub object: Option<String>,
    pub cause: String,
    pub fix: String,
}

impl Place {
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), line: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

impl Problem {
    fn of_file(file: impl Into<PathBuf>, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { place: Place::file(file), object: None, cause: cause.into(), fix: fix.into() }
    }
}
