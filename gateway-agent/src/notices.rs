//! Problems for the log: each is reported when it appears and when it is over, and not in between.

use std::collections::BTreeSet;

use tracing::{info, warn};

/// What is wrong at the moment, by where it comes from.
#[derive(Debug, Default)]
pub struct Notices {
    known: BTreeSet<Notice>,
}

/// A line of the log that stays true until it is taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Notice {
    pub origin: Origin,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A file can't be read or holds what is refused.
    File,
    /// The API server can't be reached, or holds what can't be read.
    Cluster,
    /// An object refers to what isn't there, or the like; its status says the same.
    Object,
    /// The kernel doesn't hold what the tables say.
    Kernel,
    /// A device can't be attached to.
    Device,
    /// The node is not set up to forward.
    Node,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Cluster => "cluster",
            Self::Object => "object",
            Self::Kernel => "kernel",
            Self::Device => "device",
            Self::Node => "node",
        }
    }
}

impl Notices {
    /// Replaces everything that is known, and logs the difference.
    pub fn update(&mut self, now: BTreeSet<Notice>) {
        for notice in now.difference(&self.known) {
            warn!(event = "problem", origin = notice.origin.name(), "{}", notice.message);
        }
        for notice in self.known.difference(&now) {
            info!(event = "resolved", origin = notice.origin.name(), "no longer: {}", notice.message);
        }
        self.known = now;
    }

    pub fn all(&self) -> impl Iterator<Item = &Notice> {
        self.known.iter()
    }
}
