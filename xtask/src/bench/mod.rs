//! `cargo xtask bench`: builds what is measured in release, installs its peers and runs the bench.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// TCP and UDP in the kernel, against routing, nftables, HAProxy and nginx; ten minutes or so.
    L4(L4),
}

#[derive(Debug, clap::Args)]
struct L4 {
    /// Fewer and shorter rounds, for a look while working; not to be quoted.
    #[arg(long)]
    quick: bool,
    /// Only this case: `tcp_crr`, `tcp_stream_1`, `tcp_stream_32`, `udp_64` or `program`; may be repeated.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<String>,
    /// Only these subjects, separated by commas.
    #[arg(long, value_name = "SUBJECTS")]
    subject: Option<String>,
}

/// The peers: a command and the Debian package that has it.
const PEERS: [(&str, &str); 3] = [("haproxy", "haproxy"), ("nginx", "nginx-light"), ("nft", "nftables")];
/// nginx' module for TCP and UDP, which has a package of its own.
const STREAM_MODULE: (&str, &str) = ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream");

/// Runs a bench in a checkout, whose eBPF object must have been built.
pub(crate) fn run(options: &Options, checkout: &Path) -> Result<()> {
    let Bench::L4(l4) = &options.bench;
    let json = checkout.join("target/bench/l4.json");
    remove_older(&json)?;
    install_peers()?;
    let [agent, bench] = build(checkout)?;
    let mut command = Command::new(bench);
    command.arg("--agent").arg(agent).arg("--json").arg(&json);
    if l4.quick {
        command.arg("--quick");
    }
    for case in &l4.cases {
        command.args(["--case", case]);
    }
    if let Some(subject) = &l4.subject {
        command.args(["--subject", subject]);
    }
    succeed(&mut command)
}

/// A run that fails must not leave another run's figures.
fn remove_older(json: &Path) -> Result<()> {
    fs::create_dir_all(json.parent().unwrap_or(json))?;
    match fs::remove_file(json) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", json.display()))
        }
        _ => Ok(()),
    }
}

fn install_peers() -> Result<()> {
    let mut packages: Vec<&str> =
        PEERS.into_iter().filter(|(command, _)| !in_path(command)).map(|(_, package)| package).collect();
    if !Path::new(STREAM_MODULE.0).exists() {
        packages.push(STREAM_MODULE.1);
    }
    if packages.is_empty() {
        return Ok(());
    }
    println!("installing {}", packages.join(", "));
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(&packages);
    // RUNLEVEL=1 keeps invoke-rc.d(8) from starting the peers as services of this machine.
    install.envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")]);
    succeed(&mut install)
}

fn in_path(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(also).any(|folder| folder.join(command).exists())
}

/// Builds the agent and the bench; returns their binaries.
fn build(checkout: &Path) -> Result<[PathBuf; 2]> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(checkout).args(["build", "--release", "-p", "gateway-agent", "-p", "bench"]);
    succeed(&mut command)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
    Ok(["gateway-agent", "bench"].map(|name| target.join("release").join(name)))
}

fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("starting {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}
