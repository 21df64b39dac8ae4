//! One at a time: `up` and `down` of a cluster exclude each other, across processes.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use crate::ClusterError;
use crate::spec::Name;

/// An `up` takes half a minute, a first one on a busy machine some minutes.
const PATIENCE: Duration = Duration::from_mins(10);

/// Held until it is dropped or its process ends: an abstract socket (unix(7)), which no file outlives.
#[derive(Debug)]
pub struct Lock {
    _socket: UnixListener,
}

impl Lock {
    /// Waits for whoever holds it. `purpose` tells locks of one cluster apart.
    pub fn take(name: &Name, purpose: &str) -> Result<Self, ClusterError> {
        let bind = || {
            let address = SocketAddr::from_abstract_name(format!("gateway-cluster.{name}.{purpose}"))?;
            UnixListener::bind_addr(&address)
        };
        let mut socket = bind();
        if socket.is_err() {
            eprintln!("    waiting for another process that works on cluster {name}");
            let what = format!("the end of another process's work on cluster {name}");
            lab::wait_until(&what, PATIENCE, || {
                socket = bind();
                socket.is_ok()
            })?;
        }
        let socket = socket.map_err(ClusterError::system(format!("lock cluster {name}")))?;
        Ok(Self { _socket: socket })
    }
}
