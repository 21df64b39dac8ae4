//! One at a time: `up` and `down` of a cluster exclude each other, and so do builds of the same programs, across
//! processes.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use crate::ClusterError;
use crate::spec::Name;

/// As long as building Kubernetes may take on two busy cores.
const PATIENCE: Duration = Duration::from_mins(40);

/// Held until it is dropped or its process ends: an abstract socket (unix(7)), which no file outlives.
#[derive(Debug)]
pub struct Lock {
    _socket: UnixListener,
}

impl Lock {
    /// Waits for whoever holds it. `purpose` tells locks of one cluster apart.
    pub fn take(name: &Name, purpose: &str) -> Result<Self, ClusterError> {
        Self::wait(&format!("cluster.{name}.{purpose}"))
    }

    /// For the building of programs.
    pub(crate) fn of_build(module: &str) -> Result<Self, ClusterError> {
        Self::wait(&format!("build.{module}"))
    }

    fn wait(what: &str) -> Result<Self, ClusterError> {
        let bind = || {
            let address = SocketAddr::from_abstract_name(format!("gateway-agent.{what}"))?;
            UnixListener::bind_addr(&address)
        };
        let mut socket = bind();
        if socket.is_err() {
            eprintln!("    waiting for another process that holds {what}");
            lab::wait_until(&format!("the end of another process's work on {what}"), PATIENCE, || {
                socket = bind();
                socket.is_ok()
            })?;
        }
        let socket = socket.map_err(ClusterError::system(format!("lock {what}")))?;
        Ok(Self { _socket: socket })
    }
}
