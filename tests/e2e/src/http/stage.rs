//! The lab with an agent on node1, the proxy that it starts, and an HTTP server in each pod.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use lab::agent::{Agent, Settings};
use lab::topology::Standard;
use lab::{Namespace, wait_until};

use super::Server;
use super::objects::{HttpObjects, POD_PORT, PORT};
use crate::stage::{APPLY, TURN};
use crate::{Observed as _, Phase};

/// Everything that a story plays with. Fields drop in this order: agents before the lab.
#[derive(Debug)]
pub struct HttpStage {
    pub agent: Agent,
    servers: BTreeMap<String, Server>,
    pub objects: HttpObjects,
    config: PathBuf,
    pub lab: Standard,
    _turn: MutexGuard<'static, ()>,
}

/// A process of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: i32,
    /// Kilobytes.
    pub resident: u64,
}

impl HttpStage {
    /// An agent that serves these Services: name, weight, pods.
    pub fn set(name: &str, services: &[(&str, u32, &[&str])]) -> Result<Self> {
        // A story that failed left nothing behind that the next one would meet.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Standard::build(name)?;
        let client = &lab.clients[0].namespace;
        // Load opens more connections in a minute than a client has ports while each waits in TIME-WAIT.
        client.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
        client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        let mut servers = BTreeMap::new();
        for pod in lab.pods() {
            let server = Server::start(&pod.host.namespace, pod.name(), POD_PORT)?;
            servers.insert(pod.name().to_owned(), server);
        }
        let objects = HttpObjects::new(&lab, services);
        let config = lab.lab.folder("config")?;
        objects.write(&config)?;
        let settings = Settings::for_node(&lab.lab, &lab.nodes[0], &config)?;
        let agent = Agent::start(&lab.nodes[0].host.namespace, settings)?;
        let stage = Self { agent, servers, objects, config, lab, _turn: turn };
        stage.wait_accepting()?;
        Ok(stage)
    }

    /// The namespace of client1.
    pub fn client(&self) -> &Namespace {
        &self.lab.clients[0].namespace
    }

    /// The listener on node1's addresses.
    pub fn targets(&self) -> [SocketAddr; 2] {
        self.lab.nodes[0].host.addresses().map(|address| SocketAddr::new(address, PORT))
    }

    /// Changes the objects and waits until the agent has applied them.
    pub fn change(&mut self, change: impl FnOnce(&mut HttpObjects)) -> Result<()> {
        let before = self.agent.generation()?;
        change(&mut self.objects);
        self.objects.write(&self.config)?;
        wait_until("the changed objects being applied", APPLY, || {
            self.agent.generation().is_ok_and(|generation| generation > before)
        })?;
        Ok(())
    }

    /// A pod leaves in order and comes back: nothing new for it, then it ends, then it is no longer listed.
    pub fn leave_and_return(&mut self, service: &str, pod: &str) -> Result<()> {
        self.change(|objects| objects.place(service, pod, Some(Phase::Draining)))?;
        // What a preStop hook is for: whoever sends requests learns of it before the pod ends.
        std::thread::sleep(super::churn::PRE_STOP);
        self.server(pod)?.finish();
        self.change(|objects| objects.place(service, pod, None))?;
        self.start(pod)?;
        self.change(|objects| objects.place(service, pod, Some(Phase::Ready)))
    }

    /// A pod dies while it is listed, is no longer after a while, and comes back.
    pub fn die_and_return(&mut self, service: &str, pod: &str) -> Result<()> {
        self.server(pod)?.kill();
        std::thread::sleep(super::churn::UNNOTICED);
        self.change(|objects| objects.place(service, pod, None))?;
        self.start(pod)?;
        self.change(|objects| objects.place(service, pod, Some(Phase::Ready)))
    }

    /// Another agent, with a proxy of its own; the former proxy finishes what it has.
    pub fn replace_proxy(&mut self) -> Result<()> {
        self.agent.terminate()?;
        self.agent.restart()?;
        self.wait_accepting()
    }

    fn wait_accepting(&self) -> Result<()> {
        Ok(wait_until("a proxy that accepts", APPLY, || {
            self.agent.status().is_ok_and(|status| status["proxy"] == "accepting")
        })?)
    }

    fn server(&mut self, pod: &str) -> Result<Server> {
        self.servers.remove(pod).with_context(|| format!("{pod} has a server"))
    }

    fn start(&mut self, pod: &str) -> Result<()> {
        let host = self.lab.pods().find(|known| known.name() == pod).context("a pod of the lab")?;
        let server = Server::start(&host.host.namespace, pod, POD_PORT)?;
        self.servers.insert(pod.to_owned(), server);
        Ok(())
    }

    /// The proxies in node1, the oldest first.
    pub fn proxies(&self) -> Result<Vec<Process>> {
        let node = &self.lab.nodes[0].host.namespace;
        let here = node.run(|| fs::read_link("/proc/thread-self/ns/net"))?;
        let of_process = |entry: fs::DirEntry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let is_proxy = line.split(|byte| *byte == 0).nth(1)? == b"proxy";
            let namespace = fs::read_link(entry.path().join("ns/net")).ok()?;
            (is_proxy && namespace == here).then(|| Process { pid, resident: resident(pid) })
        };
        let mut found: Vec<_> = fs::read_dir("/proc")?.flatten().filter_map(of_process).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// What the agent and its proxies logged that nobody should see: a panic, or an error.
    pub fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.agent.settings.log).unwrap_or_default();
        let is_bad = |line: &&str| line.contains("\"level\":\"ERROR\"") || line.contains("panicked");
        log.lines().filter(is_bad).map(str::to_owned).collect()
    }
}

/// Kilobytes of a process that are in memory; 0: it has gone.
pub(super) fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or_default()
}
