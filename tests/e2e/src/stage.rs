//! The lab with an agent on each node and a server in each pod.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use lab::agent::{Agent, Settings};
use lab::topology::Standard;
use lab::traffic::Server;
use lab::{Namespace, wait_until};

use crate::objects::POD_PORT;
use crate::{Objects, Observed as _, TCP_PORT, UDP_PORT};

/// Held by each story from beginning to end: they measure, and a machine has only so many CPUs.
pub static TURN: Mutex<()> = Mutex::new(());

/// A changed file is compiled and applied in milliseconds; busy machines take longer.
pub(crate) const APPLY: Duration = Duration::from_mins(1);

/// Everything that a story plays with. Fields drop in this order: agents before the lab.
#[derive(Debug)]
pub struct Stage {
    pub agents: [Agent; 2],
    /// In pod1 to pod4.
    pub servers: Vec<Server>,
    pub objects: Objects,
    pub config: PathBuf,
    pub lab: Standard,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// Agents that serve these Services: name, weight, pods.
    pub fn set(name: &str, services: &[(&str, u32, &[&str])]) -> Result<Self> {
        Self::set_with(name, services, &[])
    }

    /// The same with further arguments for the agents.
    pub fn set_with(name: &str, services: &[(&str, u32, &[&str])], extra: &[&str]) -> Result<Self> {
        Self::build(name, services, |_| Ok(extra.iter().map(|word| (*word).to_owned()).collect()), false)
    }

    /// Agents that know each other, and a Gateway with the addresses [`POOL`].
    pub fn set_pool(name: &str, services: &[(&str, u32, &[&str])]) -> Result<Self> {
        let acquaint = |lab: &Standard| {
            let key = lab.lab.folder("peers")?.join("key");
            // The lab's own: nobody outside knows its name, and this is no secret of anybody.
            std::fs::write(&key, lab.lab.dir().display().to_string())?;
            let mut words = vec!["--peer-key".to_owned(), key.display().to_string()];
            for node in &lab.nodes {
                words.extend(["--peer".to_owned(), format!("{}={}", node.name(), node.host.v4)]);
            }
            Ok(words)
        };
        Self::build(name, services, acquaint, true)
    }

    fn build(
        name: &str,
        services: &[(&str, u32, &[&str])],
        extra: impl FnOnce(&Standard) -> Result<Vec<String>>,
        pool: bool,
    ) -> Result<Self> {
        // A story that failed left nothing behind that the next one would meet.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Standard::build(name)?;
        for client in &lab.clients {
            // Stories open more connections in a minute than a client has ports while each waits in TIME-WAIT.
            client.namespace.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
            client.namespace.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        }
        let pods = lab.pods().map(|pod| Server::start(&pod.host.namespace, pod.name(), POD_PORT));
        let servers = pods.collect::<Result<Vec<_>, _>>()?;
        let mut objects = Objects::new(&lab, services);
        objects.pool = pool;
        let extra = extra(&lab)?;
        let config = lab.lab.folder("config")?;
        objects.write(&config)?;
        let start = |index: usize| -> Result<Agent> {
            let node = &lab.nodes[index];
            let mut settings = Settings::for_node(&lab.lab, node, &config)?;
            settings.extra.extend(extra.iter().cloned());
            Ok(Agent::start(&node.host.namespace, settings)?)
        };
        let agents = [start(0)?, start(1)?];
        Ok(Self { agents, servers, objects, config, lab, _turn: turn })
    }

    /// The namespace of client1.
    pub fn client(&self) -> &Namespace {
        &self.lab.clients[0].namespace
    }

    /// node1's addresses, one per family.
    pub fn gateway(&self) -> [IpAddr; 2] {
        self.lab.nodes[0].host.addresses()
    }

    /// The TCP listener on node1's addresses.
    pub fn tcp(&self) -> [SocketAddr; 2] {
        self.gateway().map(|address| SocketAddr::new(address, TCP_PORT))
    }

    /// The UDP listener on node1's addresses.
    pub fn udp(&self) -> [SocketAddr; 2] {
        self.gateway().map(|address| SocketAddr::new(address, UDP_PORT))
    }

    /// Changes the objects and waits until both agents have applied them.
    pub fn change(&mut self, change: impl FnOnce(&mut Objects)) -> Result<()> {
        let before = [self.agents[0].generation()?, self.agents[1].generation()?];
        change(&mut self.objects);
        self.objects.write(&self.config)?;
        for (agent, before) in self.agents.iter().zip(before) {
            wait_until("the changed objects being applied", APPLY, || {
                agent.generation().is_ok_and(|generation| generation > before)
            })?;
        }
        Ok(())
    }

    /// The server in a pod.
    pub fn server(&self, pod: &str) -> &Server {
        self.servers.iter().find(|server| server.name() == pod).expect("a pod of the lab")
    }
}
