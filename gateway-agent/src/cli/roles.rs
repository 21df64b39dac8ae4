//! The processes beside an agent.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::common::{Kubeconfig, Log, Metrics};

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
