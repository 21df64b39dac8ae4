//! What several commands take.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::metrics::Place;

#[derive(Args, Debug)]
pub struct Sources {
    /// File, or directory whose *.yaml, *.yml and *.json files hold the objects; may be repeated
    ///
    /// Of an object that is there more than once, the first in the order of paths counts. A file may have 8 MiB.
    #[arg(short = 'f', long = "files", value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Kubeconfig {
    /// How to reach the cluster [default: as a pod of it does]
    #[arg(id = "kubeconfig", long = "kubeconfig", value_name = "FILE")]
    pub path: Option<PathBuf>,
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
