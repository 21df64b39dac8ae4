//! The lab with its servers, its agents and their files.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::agent::{Agent, Settings};
use lab::topology::{Host, Standard};
use lab::traffic::{Server, Tally};
use lab::wait_until;

use super::files::{EXAMPLE, Files, HTTP_EXAMPLE};
use crate::checkout;

/// Ports of the examples: the Gateways' listeners, and the pods'.
const TCP_PORT: u16 = 8080;
const UDP_PORT: u16 = 8125;
const HTTP_PORT: u16 = 8088;
const POD_PORT: u16 = 7000;
const POD_HTTP_PORT: u16 = 7080;

/// From a file's change to both kernels; inotify and the compiler take milliseconds.
const APPLY: Duration = Duration::from_secs(10);

/// One endpoint of each Service runs on each node.
pub(super) const STABLE: [&str; 2] = ["pod1", "pod3"];
pub(super) const CANARY: [&str; 2] = ["pod2", "pod4"];

/// Fields drop in this order: the agents before the lab that holds their mounts.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) agents: [Agent; 2],
    #[expect(dead_code, reason = "they serve as long as they are held")]
    servers: (Vec<Server>, Vec<e2e::http::Server>),
    pub(super) files: Files,
    pub(super) lab: Standard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(self, host: &Host) -> IpAddr {
        match self {
            Self::V4 => host.v4.into(),
            Self::V6 => host.v6.into(),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl Stage {
    pub(super) fn set() -> Result<Self> {
        let lab = Standard::build("demo")?;
        let servers = lab.pods().map(|pod| Server::start(&pod.host.namespace, pod.name(), POD_PORT));
        let http =
            lab.pods().map(|pod| e2e::http::Server::start(&pod.host.namespace, pod.name(), POD_HTTP_PORT));
        let servers = (servers.collect::<Result<_, _>>()?, http.collect::<Result<_, _>>()?);
        let files = Files::copy_to(lab.lab.folder("config")?)?;
        let start = |index: usize| -> Result<Agent> {
            let node = &lab.nodes[index];
            let mut settings = Settings::for_node(&lab.lab, node, &files.folder)?;
            settings.binary = checkout::agent();
            settings.config.push(checkout::root().join(HTTP_EXAMPLE));
            Ok(Agent::start(&node.host.namespace, settings)?)
        };
        let agents = [start(0)?, start(1)?];
        let stage = Self { agents, servers, files, lab };
        wait_until("proxies that accept", APPLY, || {
            (0..2).all(|node| stage.status(node).is_ok_and(|status| status["proxy"] == "accepting"))
        })?;
        Ok(stage)
    }

    /// Where clients find the TCP listener on a node.
    pub(super) fn tcp(&self, node: usize, family: Family) -> SocketAddr {
        SocketAddr::new(family.of(&self.lab.nodes[node].host), TCP_PORT)
    }

    /// Where clients find the UDP listener on a node.
    pub(super) fn udp(&self, node: usize, family: Family) -> SocketAddr {
        SocketAddr::new(family.of(&self.lab.nodes[node].host), UDP_PORT)
    }

    /// Where clients find the HTTP listener on a node.
    pub(super) fn http(&self, node: usize, family: Family) -> SocketAddr {
        SocketAddr::new(family.of(&self.lab.nodes[node].host), HTTP_PORT)
    }

    /// Changes files and waits until both agents have put the outcome into their kernels.
    pub(super) fn change(&self, edit: impl FnOnce(&Files) -> Result<()>) -> Result<()> {
        let before = [self.generation(0)?, self.generation(1)?];
        edit(&self.files)?;
        wait_until("the agents' applying the changed files", APPLY, || {
            (0..2).all(|node| self.generation(node).is_ok_and(|now| now > before[node]))
        })?;
        Ok(())
    }

    /// Counts the tables that an agent has applied.
    fn generation(&self, node: usize) -> Result<u64> {
        self.status(node)?["generation"].as_u64().context("`status -o json` has no generation")
    }

    fn status(&self, node: usize) -> Result<serde_json::Value> {
        let agent = &self.agents[node];
        let socket = agent.settings.socket.display().to_string();
        let text = agent.command(&["status", "--socket", &socket, "-o", "json"])?;
        serde_json::from_str(&text).context("reading `status -o json`")
    }

    pub(super) fn picture(&self) -> String {
        let [one, two] = [&self.lab.nodes[0].host, &self.lab.nodes[1].host];
        format!(
            "client1, client2 --- switch --+-- node1 {}, {}: pod1 (stable), pod2 (canary)\n\
             {:31}+-- node2 {}, {}: pod3 (stable), pod4 (canary)\n\
             both agents: gateway-agent run -f {EXAMPLE} (a copy in {}) -f {HTTP_EXAMPLE}\n\
             TCP port {TCP_PORT}: stable 90, canary 10; UDP port {UDP_PORT}: stable 3, canary 1\n\
             HTTP port {HTTP_PORT}: stable 90, canary 10; gRPC there: stable 3, canary 1",
            one.v4,
            one.v6,
            "",
            two.v4,
            two.v6,
            self.files.folder.display()
        )
    }

    /// How to play with a lab that is kept.
    pub(super) fn directions(&self) -> String {
        let client = self.lab.clients[0].namespace.name();
        let [agent, _] = &self.agents;
        let (bin, pin) = (agent.settings.binary.display(), agent.settings.pin.display());
        format!(
            "\nThe lab stays up until Ctrl-C. In another terminal, as root:\n\
             \n  ip netns exec {client} bash -c 'exec 3<>/dev/tcp/{}/{TCP_PORT}; echo who >&3; head -1 <&3'\n\
             \x20 ip netns exec {client} curl -H 'Host: shop.example' http://{}:{HTTP_PORT}/canary\n\
             \x20 $EDITOR {}/routes.yaml\n\
             \x20 {bin} status --socket {}\n\
             \x20 {bin} stats --pin {pin} --watch\n\
             \x20 {bin} flows --pin {pin}\n\
             \x20 bpftool map dump pinned {pin}/maps/frontends\n\
             \x20 less {}",
            self.lab.nodes[0].host.v4,
            self.lab.nodes[0].host.v4,
            self.files.folder.display(),
            agent.settings.socket.display(),
            agent.settings.log.display(),
        )
    }
}

/// Adds up the answers of a Service's pods.
pub(super) fn share(tallies: &[Tally], service: [&str; 2]) -> usize {
    tallies.iter().flat_map(|tally| service.map(|pod| tally.of(pod))).sum()
}
