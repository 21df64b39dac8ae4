//! Taking a cluster down, whole or what is left of one.

use std::path::Path;
use std::process;
use std::time::Duration;

use lab::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ClusterError;
use crate::cgroups::Cgroup;
use crate::machine::processes_in;
use crate::network::namespaces_of;
use crate::spec::Name;
use crate::state::Folder;

/// Killed processes vanish at once unless the machine swaps.
const DEATH: Duration = Duration::from_secs(20);

/// Ends all processes of the cluster and removes everything it has. Needs nothing but its name.
pub(crate) fn remove(name: &Name) -> Result<(), ClusterError> {
    let namespaces = namespaces_of(name);
    let cgroup = Cgroup::of(&name.cgroup())?;
    let own = Pid::from_raw(i32::try_from(process::id()).unwrap_or_default());
    let alive = || {
        let paths: Vec<&Path> = namespaces.iter().map(AsRef::as_ref).collect();
        let mut pids = processes_in(&paths);
        pids.extend(cgroup.processes());
        // 0 is one that this PID namespace doesn't show; to kill it would be to kill ourselves.
        pids.retain(|pid| *pid != own && pid.as_raw() > 0);
        pids
    };
    lab::wait_until(&format!("the end of cluster {name}'s processes"), DEATH, || {
        let pids = alive();
        for pid in &pids {
            // SIGKILL: an API server whose etcd is gone takes its time over anything else. One that is gone already
            // is what we want.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        pids.is_empty()
    })?;
    for namespace in &namespaces {
        Namespace::remove(namespace);
    }
    cgroup.remove()?;
    Folder::of(name).remove()
}

/// Whether there is anything of a cluster of this name.
pub(crate) fn is_needed(name: &Name) -> bool {
    let cgroup = Cgroup::of(&name.cgroup());
    Folder::all().contains(name)
        || !namespaces_of(name).is_empty()
        || cgroup.is_ok_and(|cgroup| cgroup.exists())
}
