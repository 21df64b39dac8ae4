//! What a cluster needs of this machine: the distribution's packages, Go, and what Go builds.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cluster::{Programs, go};

use crate::checkout::find_command;
use crate::process::step;
use crate::setup;

/// A command and the package that has it on Debian.
const COMMANDS: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("setsid", "util-linux"),
];

/// Has no command: plugins are looked for in its folder.
const PLUGINS: &str = "containernetworking-plugins";

/// Installs and builds what is missing: some minutes the first time, no time later.
pub(crate) fn prepare() -> Result<Programs> {
    install_packages()?;
    let go = match go::find() {
        Some(go) => go,
        None => install_go()?,
    };
    step("Kubernetes, etcd, CoreDNS (the first time: 10 minutes)", || Ok(Programs::prepare(&go)?))
}

fn install_packages() -> Result<()> {
    let commands = COMMANDS.into_iter().filter(|(command, _)| find_command(command).is_none());
    let mut packages: Vec<&str> = commands.map(|(_, package)| package).collect();
    if !cluster::has_cni_plugins() {
        packages.push(PLUGINS);
    }
    if packages.is_empty() { Ok(()) } else { setup::install(&packages) }
}

fn install_go() -> Result<PathBuf> {
    setup::install(&["golang-go"])?;
    go::find()
        .context("the system's Go is older than 1.21: install a newer one from go.dev/dl to /usr/local/go")
}
