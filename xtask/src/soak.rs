//! `cargo xtask soak`: tests that take too long for `cargo xtask test`, on real clusters or in namespaces.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use rustix::process::geteuid;

use crate::process::{step, succeed};
use crate::{chart, checkout, cluster};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    soak: Soak,
}

#[derive(Debug, clap::Subcommand)]
enum Soak {
    /// Upgrades and outages of an installed agent, its nodes and its API server, under load; some minutes
    Cluster {
        /// Names of stories, such as `rolling-upgrade` or `node-dead`: only these. --ipv6 has clients use IPv6, --keep leaves
        /// the cluster as it is if one goes wrong
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// HTTP/1.1, HTTP/2, gRPC and upgraded connections while routes, weights, endpoints and the proxy change
    Http {
        /// How long
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Routes by the installed agent, with every kube-proxy and every CNI; ten minutes
    Matrix {
        /// Further arguments: --kube-proxy and --cni for one of them alone, --keep to leave one that fails
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Runs what lasts with the agent that `build` made.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !geteuid().is_root() {
        bail!(
            "clusters and labs are made of namespaces, mounts and cgroups, so this needs root: run it with sudo"
        );
    }
    match &options.soak {
        Soak::Cluster { arguments } => succeed(command()?.arg("cluster").args(arguments)),
        Soak::Http { seconds } => http(*seconds),
        Soak::Matrix { arguments } => succeed(command()?.arg("matrix").args(arguments)),
    }
}

fn http(seconds: u64) -> Result<()> {
    step("soak-http (release)", || {
        let mut cargo = Command::new("cargo");
        let arguments = ["build", "--locked", "--release", "-p", "e2e", "--bin", "soak-http"];
        succeed(cargo.current_dir(checkout::root()).args(arguments))
    })?;
    succeed(Command::new(checkout::target().join("release/soak-http")).arg(seconds.to_string()))
}

/// The stories' program, with all that their clusters need.
fn command() -> Result<Command> {
    cluster::prepare()?;
    chart::open()?;
    Ok(Command::new(build()?))
}

/// Builds the stories, and the agent's next release; returns the stories' binary.
fn build() -> Result<PathBuf> {
    step("soak (release)", || {
        let mut cargo = Command::new("cargo");
        succeed(cargo.current_dir(checkout::root()).args(["build", "--locked", "--release", "-p", "soak"]))
    })?;
    Ok(checkout::target().join("release/soak"))
}
