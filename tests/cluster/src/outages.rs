//! What befalls clusters: cables, nodes and API servers that fail.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::ClusterError;
use crate::cluster::Cluster;
use crate::machine::Machine;

/// Killed processes vanish at once unless the machine swaps.
const DEATH: Duration = Duration::from_secs(20);

/// An API server that has etcd's data is back in 3 s on an idle machine.
const RETURN: Duration = Duration::from_mins(1);

impl Cluster {
    /// Takes a node off the link, as when its cable is pulled. It goes on by itself.
    pub fn cut_off(&self, node: &str) -> Result<(), ClusterError> {
        self.set_cable(node, "down")
    }

    /// Puts it back.
    pub fn reconnect(&self, node: &str) -> Result<(), ClusterError> {
        self.set_cable(node, "up")
    }

    /// Ends a node as when its power fails: from one moment to the next.
    pub fn kill_node(&self, node: &str) -> Result<(), ClusterError> {
        self.cut_off(node)?;
        let init = self.machine(node)?.init();
        kill(init, Signal::SIGKILL).map_err(|error| ClusterError::system("kill a node")(error.into()))
    }

    /// Starts a node that was killed: with its disk, and nothing else of what it had. Its kubelet has yet to tell the API
    /// server, and to start its pods.
    pub fn start_node(&mut self, node: &str) -> Result<(), ClusterError> {
        let place = self.spec().nodes().find(|place| place.name == node);
        let place = place.ok_or_else(|| ClusterError::Invalid(format!("there is no node {node}")))?;
        self.replace(&place)?;
        let programs = self.programs_of(place)?;
        programs.start_runtime()?;
        programs.start_kubelet()
    }

    /// Kills the processes of a node, and of its pods, whose command lines begin with these words.
    pub fn kill_on_node(&self, node: &str, words: &[&str]) -> Result<(), ClusterError> {
        kill_all(self.machine(node)?, words)
    }

    /// Kills the API server. etcd stays.
    pub fn stop_api_server(&self) -> Result<(), ClusterError> {
        kill_all(self.control_plane()?.machine, &["kube-apiserver"])
    }

    /// Starts it again, and waits until it answers.
    pub fn start_api_server(&self) -> Result<(), ClusterError> {
        self.control_plane()?.start_api_server()?;
        let answers = || self.kubectl().run(&["get", "--raw", "/readyz"]).is_ok();
        Ok(lab::wait_until("the API server's return", RETURN, answers)?)
    }

    fn set_cable(&self, node: &str, state: &str) -> Result<(), ClusterError> {
        self.machine(node)?;
        Ok(self.switch().ip(&format!("link set {node} {state}\n"))?)
    }
}

fn kill_all(machine: &Machine, words: &[&str]) -> Result<(), ClusterError> {
    let killed = machine.processes_of(words);
    if killed.is_empty() {
        let name = machine.name();
        return Err(ClusterError::Invalid(format!("nothing on {name} is {words:?}, so it can't be killed")));
    }
    for pid in &killed {
        // One that is gone already is what we want.
        let _ = kill(*pid, Signal::SIGKILL);
    }
    let is_gone = || killed.iter().all(|pid| !machine.processes_of(words).contains(pid));
    Ok(lab::wait_until(&format!("the end of {words:?}"), DEATH, is_gone)?)
}
