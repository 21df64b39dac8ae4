//! What a cluster needs of this machine: the distribution's packages, Go, and what Go builds.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cluster::{Programs, go};

use crate::checkout::find_command;
use crate::process::step;
use crate::setup;

/// A command and the package that has it on Debian.
const COMMANDS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("conntrack", "conntrack"),
    ("dig", "bind9-dnsutils"),
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
    let go = go()?;
    step("Kubernetes, etcd, CoreDNS (the first time: 10 minutes)", || Ok(Programs::prepare(&go)?))
}

/// A go command that builds and fetches everything here, installed if there is none.
pub(crate) fn go() -> Result<PathBuf> {
    if go::find().is_none() {
        // Any will do: it fetches a newer one if it must.
        setup::install(&["golang-go"])?;
    }
    go::find().context("no Go that works: install Go 1.21 or later, then run this again")
}

fn install_packages() -> Result<()> {
    let commands = COMMANDS.into_iter().filter(|(command, _)| find_command(command).is_none());
    let mut packages: Vec<&str> = commands.map(|(_, package)| package).collect();
    if !cluster::has_cni_plugins() {
        packages.push(PLUGINS);
    }
    if packages.is_empty() { Ok(()) } else { setup::install(&packages) }
}
