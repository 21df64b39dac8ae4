//! The command line: the commands here, what they take in the modules.

mod common;
mod files;
mod kernel;
mod roles;
mod run;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use common::{Form, Log, LogForm, Node};
pub use files::{Check, CheckForm, Trace};
pub use kernel::{Detach, FlowProtocol, FlowState, Flows, Stats};
pub use roles::{Controller, Proxy};
pub use run::{Pool, Run, RunSources};

use common::Socket;

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
pub struct Status {
    #[command(flatten)]
    pub socket: Socket,

    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Form,

    /// Show nothing; exit status 1 unless the agent is so
    #[arg(long, value_name = "STATE")]
    pub probe: Option<Probe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// It answers
    Alive,
    /// Tables are applied, by this agent or by one that it handed over to
    Ready,
}

#[derive(Args, Debug)]
pub struct Completions {
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;

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
}
