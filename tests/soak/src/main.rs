//! `cargo xtask soak` runs this; pods of its clusters do too.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::Parser;
use cluster::{Cni, KubeProxy};
use lab::traffic::Server;
use soak::Story;

/// What befalls an installed gateway-agent.
#[derive(Debug, Parser)]
enum Command {
    /// Outages and upgrades on a cluster of three nodes
    Cluster {
        /// Only these stories
        #[arg(value_enum)]
        stories: Vec<Story>,
        /// Have clients use IPv6; the cluster has both families in any case
        #[arg(long)]
        ipv6: bool,
        /// Leave the cluster as it is if a story goes wrong
        #[arg(long)]
        keep: bool,
    },
    /// Routes on a cluster of every kind that there is
    Matrix {
        /// Only with this kube-proxy
        #[arg(long, value_enum)]
        kube_proxy: Option<KubeProxy>,
        /// Only with this CNI
        #[arg(long, value_enum)]
        cni: Option<Cni>,
        /// Leave the first cluster whose network is not served as it is
        #[arg(long)]
        keep: bool,
    },
    /// Serve lines and HTTP, as a pod of such a cluster does
    Serve {
        /// What to call oneself
        name: String,
    },
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Cluster { stories, ipv6, keep } => {
            let all = Story::ALL.to_vec();
            soak::run(if stories.is_empty() { &all } else { &stories }, ipv6, keep)
        }
        Command::Matrix { kube_proxy, cni, keep } => soak::matrix::run(kube_proxy, cni, keep),
        Command::Serve { name } => {
            let _server = Server::start_here(&name, 9000)?;
            loop {
                thread::park();
            }
        }
    }
}
