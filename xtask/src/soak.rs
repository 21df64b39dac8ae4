//! `cargo xtask soak`: tests that take too long for `cargo xtask test`, on real clusters.

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
        /// Only these stories, such as `rolling-upgrade` or `node-dead`
        stories: Vec<String>,
        /// Leave the cluster as it is if a story goes wrong
        #[arg(long)]
        keep: bool,
    },
}

/// Runs what lasts with the agent that `build` made.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !geteuid().is_root() {
        bail!("clusters are made of namespaces, mounts and cgroups, so this needs root: run it with sudo");
    }
    match &options.soak {
        Soak::Cluster { stories, keep } => {
            let mut command = command()?;
            command.arg("cluster").args(stories);
            succeed(if *keep { command.arg("--keep") } else { &mut command })
        }
    }
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
