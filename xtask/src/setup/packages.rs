//! Packages of the distribution.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use rustix::process::geteuid;

use crate::checkout::find_command;
use crate::process::{output, step, succeed};

/// A command, the package that has it on Debian, and what it is for.
const TOOLS: [(&str, &str, &str); 5] = [
    ("c++", "g++", "the runtime of fuzzing"),
    ("ip", "iproute2", "network namespaces, links, addresses"),
    ("ethtool", "ethtool", "offloads of devices"),
    ("nft", "nftables", "comparing with kernel NAT"),
    ("bpftool", "bpftool", "looking into maps"),
];

/// Ubuntu builds bpftool with each kernel; this package has the one of its own.
const UBUNTU_BPFTOOL: &str = "linux-tools-generic";

/// Installs the commands that are missing.
pub(crate) fn install_tools() -> Result<()> {
    let missing: Vec<_> = TOOLS.into_iter().filter(|(command, ..)| !is_usable(command)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (command, _, purpose) in &missing {
        eprintln!("missing: {command} ({purpose})");
    }
    let packages: Vec<&str> =
        missing.iter().map(|(command, package, _)| package_of(command, package)).collect();
    install(&packages)
}

/// Installs packages by apt; an error that lists them on systems without it, or without root.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find_command("apt-get").is_none() {
        bail!(
            "this system has no apt-get; install what these Debian packages hold, then run this again: {list}"
        );
    }
    if !geteuid().is_root() {
        bail!("root is needed to install packages; run `apt-get install {list}` as root, then this again");
    }
    step(&format!("apt-get install {list}"), || {
        succeed(apt().args(["update"]))?;
        succeed(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
    })
}

/// Whether the package lists, updated first, have all of these.
pub(crate) fn are_available(packages: &[&str]) -> Result<bool> {
    if find_command("apt-get").is_none() || !geteuid().is_root() {
        return Ok(false);
    }
    succeed(apt().arg("update"))?;
    let known = output(Command::new("apt-cache").args(["show", "--no-all-versions"]).args(packages));
    // apt-cache fails, or leaves it out, when it doesn't know one.
    Ok(known.is_ok_and(|text| packages.iter().all(|p| text.lines().any(|l| l == format!("Package: {p}")))))
}

/// bpftool, also where Ubuntu hides it.
pub(crate) fn bpftool() -> Option<PathBuf> {
    let hidden = fs::read_dir("/usr/lib/linux-tools").into_iter().flatten().flatten();
    let candidates = find_command("bpftool").into_iter().chain(hidden.map(|e| e.path().join("bpftool")));
    // Ubuntu's /usr/sbin/bpftool is a script that fails unless the tools of the very kernel are installed.
    candidates.into_iter().find(|path| output(Command::new(path).arg("version")).is_ok())
}

fn is_usable(command: &str) -> bool {
    if command == "bpftool" { bpftool().is_some() } else { find_command(command).is_some() }
}

fn package_of<'a>(command: &str, package: &'a str) -> &'a str {
    if command == "bpftool" && is_ubuntu() { UBUNTU_BPFTOOL } else { package }
}

fn is_ubuntu() -> bool {
    // os-release(5)
    fs::read_to_string(Path::new("/etc/os-release")).is_ok_and(|text| text.lines().any(|l| l == "ID=ubuntu"))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet=2").args(["-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    // Where sysvinit's scripts start services, those of the bench's peers stay off.
    command.env("RUNLEVEL", "1");
    command
}
