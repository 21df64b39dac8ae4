//! What runs an agent.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gateway_agent_kernel::{PortRange, Sizes, Timeouts};
use glob::Pattern;

use super::common::{Kubeconfig, Log, Metrics, Node, Pin, Socket};
use crate::owner::OwnerName;

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub sources: RunSources,

    #[command(flatten)]
    pub node: Node,

    /// Attach to devices whose name matches, such as `eth*`; may be repeated [default: none]
    ///
    /// Patterns know `*`, `?` and `[a-z]`. `lo` and bridges themselves never match; their ports do. Devices that
    /// appear later are attached to when they come.
    #[arg(long = "device", value_name = "PATTERN", value_parser = Pattern::new)]
    pub devices: Vec<Pattern>,

    /// Allow to attach to devices of the machine's initial network namespace
    #[arg(long)]
    pub host: bool,

    #[command(flatten)]
    pub pin: Pin,

    #[command(flatten)]
    pub socket: Socket,

    /// Let a proxy (`gateway-agent proxy --socket`) connect to this Unix socket [default: start one as a child]
    #[arg(long, value_name = "PATH")]
    pub proxy_socket: Option<PathBuf>,

    /// Take over from an agent that feeds the same --pin: it answers on this Unix socket, and is asked to let go
    ///
    /// The socket is a path that both have. Everything is read and compiled first; then this agent takes its place and
    /// answers there. Without it, a --pin that another agent feeds is an error.
    #[arg(long, value_name = "PATH")]
    pub hand_over: Option<PathBuf>,

    /// The DaemonSet that this agent is a pod of: its end, if that or its namespace is deleted, is that of `detach`
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "paths")]
    pub daemon_set: Option<OwnerName>,

    #[command(flatten)]
    pub metrics: Metrics,

    /// Flows held at once, 253 bytes of kernel memory each [default: a 64th of the machine's memory, at most 629142]
    ///
    /// Pinned tables of another number are set aside: their flows go on for an hour, and newcomers meet new tables.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub flows: Option<u32>,

    /// Room for other things than flows, as NAME=NUMBER, such as `endpoints=50000`; may be repeated
    ///
    /// NAME is one of frontends, backends, services, endpoints [16384 each], ring-places [1048576]. Pinned tables of
    /// another size are set aside, as for --flows.
    #[arg(long = "size", value_name = "NAME=NUMBER", value_parser = parse_size)]
    pub sizes: Vec<(String, u32)>,

    /// Source ports towards endpoints on other nodes, as FIRST-LAST
    ///
    /// Pinned tables with other ports are set aside, as for --flows.
    #[arg(long, value_name = "RANGE", default_value_t = PortRange::default())]
    pub snat_ports: PortRange,

    /// How long a flow lives without a packet, as NAME=DURATION, such as `udp-opening=10s`; may be repeated
    ///
    /// NAME is one of tcp-opening [5s], tcp-established [2h 4m], tcp-half-closed [4m], tcp-endpoint-closed [1m],
    /// tcp-closed [5s], udp-opening [30s], udp-established [2m]; DURATION is 100ms to 30days.
    #[arg(long = "timeout", value_name = "NAME=DURATION", value_parser = parse_timeout)]
    pub timeouts: Vec<(String, Duration)>,

    /// Agents with the same seed pick the same endpoint for a client
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub selection_seed: String,

    #[command(flatten)]
    pub pool: Pool,

    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Debug)]
pub struct RunSources {
    /// File, or directory whose *.yaml, *.yml and *.json files hold the objects; may be repeated [default: a cluster]
    ///
    /// Of an object that is there more than once, the first in the order of paths counts. A file may have 8 MiB.
    #[arg(short = 'f', long = "files", value_name = "PATH", conflicts_with = "kubeconfig")]
    pub paths: Vec<PathBuf>,

    #[command(flatten)]
    pub kubeconfig: Kubeconfig,

    /// Namespace of gateway-agent, where copies of Secrets are [default: the pod's own, or the kubeconfig's]
    #[arg(long, value_name = "NAME", conflicts_with = "paths")]
    pub namespace: Option<String>,
}

/// How agents of several nodes agree on who announces an address of a pool.
#[derive(Args, Debug)]
pub struct Pool {
    /// Another node and an address of its agent; may be repeated. This node's own name is left out
    ///
    /// Agents tell each other five times a second that they live; if one dies, others announce its pool addresses.
    #[arg(long = "peer", value_name = "NAME=ADDRESS", value_parser = parse_peer, requires = "peer_key")]
    pub peers: Vec<(String, IpAddr)>,

    /// File with the key that all agents share: at least 16 random bytes
    #[arg(long, value_name = "FILE")]
    pub peer_key: Option<PathBuf>,

    /// UDP port of all agents' probes
    ///
    /// The default is above Linux's ephemeral ports and below none that anything else is known to use.
    #[arg(long, value_name = "PORT", default_value_t = 61_790, value_parser = clap::value_parser!(u16).range(1..))]
    pub probe_port: u16,

    /// Address to receive probes at
    #[arg(long, value_name = "ADDRESS", default_value = "::")]
    pub probe_address: IpAddr,
}

fn parse_timeout(text: &str) -> Result<(String, Duration), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not NAME=DURATION, such as udp-opening=10s"))?;
    let duration = humantime::parse_duration(value)
        .map_err(|error| format!("`{value}` is no duration ({error}); write 500ms, 10s, 2h or the like"))?;
    Timeouts::default().set(name, duration).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), duration))
}

fn parse_size(text: &str) -> Result<(String, u32), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not NAME=NUMBER, such as endpoints=50000"))?;
    let number = value.parse().map_err(|_| format!("`{value}` is no number"))?;
    Sizes::default().set(name, number).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), number))
}

fn parse_peer(text: &str) -> Result<(String, IpAddr), String> {
    let syntax = || format!("`{text}` is not NAME=ADDRESS, such as node2=10.0.0.2");
    let (name, address) = text.split_once('=').ok_or_else(syntax)?;
    Ok((name.to_owned(), address.parse().map_err(|_| syntax())?))
}
