//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gateway_agent_kernel::{PortRange, Sizes, Timeouts};
use glob::Pattern;

use crate::metrics::Place;
use crate::owner::OwnerName;

/// The Kubernetes Gateway API on every node: forwards TCP and UDP by programs in the kernel.
///
/// Exit status: 0 success; 1 failure, or `check` found a problem; 2 the command line is wrong.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the objects in a cluster or in files and forward what they say, until SIGTERM or SIGINT
    ///
    /// When it stops, forwarding goes on as it was: programs and tables stay pinned, and the next agent takes them
    /// over. `gateway-agent detach` removes them.
    Run(Box<Run>),
    /// Accept connections of HTTP, HTTPS and TLS listeners for an agent, until SIGTERM or SIGINT
    ///
    /// Needs no capability and gives up all that it has. It gets its sockets and listeners from the agent, ends its
    /// connections in order when it is replaced, and outlives an agent that is.
    Proxy(Proxy),
    /// Write the statuses of a cluster's objects, until SIGTERM or SIGINT
    ///
    /// Of several controllers, one writes: the holder of the Lease `gateway-agent-controller`.
    Controller(Controller),
    /// Say what would become of the objects in files: each problem, with cause and fix
    ///
    /// Reads nothing but the files and changes nothing. `-f -` reads standard input, such as what `kubectl get
    /// gateways,httproutes,services,endpointslices -A -o yaml` prints. Without --node-address, Gateways get an address of
    /// each family and those that they name. Exit status 1 if there is any problem.
    Check(Check),
    /// Show what was counted: per frontend, route, backend and reason (works without a running agent)
    Stats(Stats),
    /// List live flows (works without a running agent)
    Flows(Flows),
    /// Ask a running agent for its devices, objects, statuses and problems
    Status(Status),
    /// Say what would become of a request: listener, rule, filters and backends, and why it meets no other rule
    ///
    /// Asks a running agent, or reads files and changes nothing. The decision is made by the proxy's own code; nothing is
    /// sent. Of what a request may bring along, a body is the one thing that decides nothing.
    Trace(Trace),
    /// Remove programs, tables and flows from the kernel: all forwarding by this agent ends
    Detach(Detach),
    /// Print a completion script for a shell
    Completions(Completions),
}

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
    /// Tables that are pinned already must have been made with the same number; `detach` removes them.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub flows: Option<u32>,

    /// Room for other things than flows, as NAME=NUMBER, such as `endpoints=50000`; may be repeated
    ///
    /// NAME is one of frontends, backends, services, endpoints [16384 each], ring-places [1048576]. Like --flows, fixed
    /// as long as tables are pinned.
    #[arg(long = "size", value_name = "NAME=NUMBER", value_parser = parse_size)]
    pub sizes: Vec<(String, u32)>,

    /// Source ports towards endpoints on other nodes, as FIRST-LAST
    ///
    /// Like --flows, fixed as long as tables are pinned.
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

#[derive(Args, Debug)]
pub struct Proxy {
    #[command(flatten)]
    pub agent: ProxyAgent,

    /// Threads that serve connections [default: as many as CPUs, at most 4]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub workers: Option<u8>,

    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct ProxyAgent {
    /// Unix socket of `gateway-agent run --proxy-socket`; it may come later, and come again
    #[arg(id = "proxy_socket", long = "socket", value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Standard input is the agent's socket: how an agent starts its own proxy
    #[arg(long)]
    pub parent: bool,
}

#[derive(Args, Debug)]
pub struct Controller {
    #[command(flatten)]
    pub kubeconfig: Kubeconfig,

    /// Namespace of gateway-agent, where the Lease is and copies of Secrets go [default: the pod's own, or the kubeconfig's]
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Address that Gateways without spec.addresses get; may be repeated [default: those that nodes report]
    #[arg(long = "node-address", value_name = "ADDRESS")]
    pub node_addresses: Vec<IpAddr>,

    #[command(flatten)]
    pub metrics: Metrics,

    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Debug)]
pub struct Metrics {
    /// Where /metrics, /healthz and /readyz are, as ADDRESS:PORT or :PORT [default: nowhere]
    #[arg(id = "metrics", long = "metrics", value_name = "PLACE")]
    pub place: Option<Place>,
}

#[derive(Args, Clone, Debug)]
pub struct Log {
    /// Form of the log, which goes to standard error
    #[arg(id = "log", long = "log", value_name = "FORM", default_value = "text")]
    pub form: LogForm,

    /// What to log: error, warn, info, debug, trace, or a filter such as `info,gateway_agent=debug`
    #[arg(id = "log-level", long = "log-level", value_name = "FILTER", default_value = "info")]
    pub filter: String,
}

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub sources: Sources,

    #[command(flatten)]
    pub node: Node,

    /// text: a verdict per object; json, yaml: a v1 List of the objects with the status that would be written
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: CheckForm,

    /// Print the compiled tables too (as text, after the verdicts; with json or yaml, instead of the objects)
    #[arg(long)]
    pub tables: bool,
}

#[derive(Args, Debug)]
pub struct Stats {
    #[command(flatten)]
    pub pin: Pin,

    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Form,

    /// Show again every second, with the difference per second, until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Args, Debug)]
pub struct Flows {
    #[command(flatten)]
    pub pin: Pin,

    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Form,

    /// Only flows of this client, as ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<Peer>,

    /// Only flows to this frontend, as ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub frontend: Option<Peer>,

    /// Only flows to this endpoint, as ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub endpoint: Option<Peer>,

    /// Only flows in this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<FlowState>,

    /// Only flows of this protocol
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<FlowProtocol>,
}

#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    pub socket: Socket,

    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Form,

    /// Show nothing; exit status 1 unless the agent is so
    #[arg(long, value_name = "STATE")]
    pub probe: Option<Probe>,
}

#[derive(Args, Debug)]
pub struct Trace {
    /// File or directory with objects, as for `check`; may be repeated [default: ask the agent on --socket]
    #[arg(short = 'f', long = "files", value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    #[command(flatten)]
    pub node: Node,

    #[command(flatten)]
    pub socket: Socket,

    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,

    /// What is asked for, as `http://HOST[:PORT]/PATH[?QUERY]`
    #[arg(long, value_name = "URL")]
    pub url: String,

    /// A header; may be repeated. Host takes the place of the URL's; content-type application/grpc means HTTP/2
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    pub headers: Vec<(String, String)>,

    /// The address that the client connects to [default: all that the gateway has]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,

    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Form,
}

#[derive(Args, Debug)]
pub struct Detach {
    #[command(flatten)]
    pub pin: Pin,
}

#[derive(Args, Debug)]
pub struct Completions {
    pub shell: clap_complete::Shell,
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

#[derive(Args, Debug)]
pub struct Kubeconfig {
    /// How to reach the cluster [default: as a pod of it does]
    #[arg(id = "kubeconfig", long = "kubeconfig", value_name = "FILE")]
    pub path: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Sources {
    /// File, or directory whose *.yaml, *.yml and *.json files hold the objects; may be repeated
    ///
    /// Of an object that is there more than once, the first in the order of paths counts. A file may have 8 MiB.
    #[arg(short = 'f', long = "files", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Node {
    /// This node's name: endpoints whose nodeName it is are local [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    /// Address of the node that Gateways without spec.addresses listen on; may be repeated
    #[arg(long = "node-address", value_name = "ADDRESS")]
    pub node_addresses: Vec<IpAddr>,
}

#[derive(Args, Debug)]
pub struct Pin {
    /// Folder on a bpf file system that holds programs and tables; one per agent
    #[arg(
        id = "pin",
        long,
        value_name = "DIR",
        env = "GATEWAY_AGENT_PIN",
        default_value = "/sys/fs/bpf/gateway-agent"
    )]
    pub path: PathBuf,
}

#[derive(Args, Debug)]
pub struct Socket {
    /// Unix socket on which the agent answers `gateway-agent status`
    #[arg(id = "socket", long, value_name = "PATH", default_value = "/run/gateway-agent.sock")]
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// It answers
    Alive,
    /// Tables are applied, by this agent or by one that it handed over to
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckForm {
    Text,
    Json,
    Yaml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowProtocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowState {
    /// The handshake is not complete; for UDP: no answer and further datagram yet
    Opening,
    Established,
    HalfClosedByClient,
    HalfClosedByEndpoint,
    /// Reset, or closed by both sides, by the client first
    Closed,
    /// Closed by both sides, by the endpoint first
    ClosedByEndpoint,
}

/// An address with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    pub port: Option<u16>,
}

impl Peer {
    pub fn matches(self, other: SocketAddr) -> bool {
        self.address == other.ip() && self.port.is_none_or(|port| port == other.port())
    }
}

impl std::str::FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { address: address.ip(), port: Some(address.port()) });
        }
        let address = text.parse().map_err(|_| {
            format!("`{text}` is no address; write 10.0.0.1, 10.0.0.1:80, fd00::1 or [fd00::1]:80")
        })?;
        Ok(Self { address, port: None })
    }
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

fn parse_header(text: &str) -> Result<(String, String), String> {
    let parts =
        text.split_once(':').ok_or_else(|| format!("`{text}` is not NAME: VALUE, such as x-env: test"))?;
    Ok((parts.0.to_owned(), parts.1.trim().to_owned()))
}

fn parse_peer(text: &str) -> Result<(String, IpAddr), String> {
    let syntax = || format!("`{text}` is not NAME=ADDRESS, such as node2=10.0.0.2");
    let (name, address) = text.split_once('=').ok_or_else(syntax)?;
    Ok((name.to_owned(), address.parse().map_err(|_| syntax())?))
}

fn parse_size(text: &str) -> Result<(String, u32), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not NAME=NUMBER, such as endpoints=50000"))?;
    let number = value.parse().map_err(|_| format!("`{value}` is no number"))?;
    Sizes::default().set(name, number).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_everything() {
        let line = "gateway-agent run -f a -f b --node-name n --node-address 10.0.0.1 --node-address fd00::1 \
            --device eth* --device veth? --host --pin /p --socket /s --flows 1000 --snat-ports 2048-4095 \
            --hand-over /h --metrics :9890 --proxy-socket /x --timeout udp-opening=300ms --timeout tcp-closed=1s --size ring-places=2000 --selection-seed x \
            --peer node2=10.0.0.2 --peer node3=fd00::3 --peer-key /k --probe-port 7000 --log json --log-level debug";
        let Command::Run(run) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("not run")
        };
        assert_eq!(run.sources.paths.len(), 2);
        assert_eq!(run.node.node_addresses.len(), 2);
        assert_eq!(run.pool.peers[1], ("node3".into(), "fd00::3".parse().unwrap()));
        assert_eq!(run.timeouts[0], ("udp-opening".into(), Duration::from_millis(300)));
        assert_eq!(run.sizes, [("ring-places".into(), 2000)]);
        assert!(run.devices[0].matches("eth17"));
    }

    #[test]
    fn wrong_values_are_refused_with_a_way_out() {
        for (line, expected) in [
            ("run -f a --timeout tcp=1s", "the names are tcp-opening"),
            ("run -f a --timeout tcp-closed=1h2", "is no duration"),
            ("run -f a --size flows=1", "the names are frontends"),
            ("run -f a --size endpoints=0", "choose 1 to"),
            ("run -f a --peer-key k --peer 10.0.0.2", "is not NAME=ADDRESS"),
            ("run -f a --peer b=10.0.0.2", "--peer-key <FILE>"),
            ("run -f a --snat-ports 80-90", "begin at 1024 or above"),
            ("run -f a --kubeconfig b", "cannot be used with"),
            ("run -f a --daemon-set b/c", "cannot be used with"),
            ("run --daemon-set b", "is not NAMESPACE/NAME"),
            ("run --metrics 9890", "is no place to listen"),
            ("check", "--files <PATH>"),
            ("proxy", "<--socket <PATH>|--parent>"),
            ("proxy --parent --workers 0", "1..=64"),
            ("flows --client here", "is no address"),
            ("trace --url http://a -H b", "is not NAME: VALUE"),
        ] {
            let line = format!("gateway-agent {line}");
            let message = Cli::try_parse_from(line.split_whitespace()).unwrap_err().to_string();
            assert!(message.contains(expected), "{line}: {message}");
        }
    }

    #[test]
    fn peers_match_by_address_and_port() {
        let peer = |text: &str| text.parse::<Peer>().unwrap();
        let address: SocketAddr = "[fd00::1]:80".parse().unwrap();
        assert!(peer("fd00::1").matches(address) && peer("[fd00::1]:80").matches(address));
        assert!(!peer("[fd00::1]:81").matches(address) && !peer("fd00::2").matches(address));
    }
}
