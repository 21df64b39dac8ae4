//! `cargo xtask bench`: builds what is measured in release, installs its peers and runs the bench.

mod envoy;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::checkout::{self, find_command};
use crate::cluster;
use crate::process::{step, succeed};
use crate::setup::install;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// TCP and UDP in the kernel, against routing, nftables, HAProxy and nginx; ten minutes or so.
    L4(L4),
    /// HTTP and gRPC through the proxy, against HAProxy, nginx and Envoy; 20 minutes or so.
    Http(Http),
    /// From a change in a real API server to applied tables and right statuses; some minutes, the first time 10 more.
    Control(Control),
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

#[derive(Debug, clap::Args)]
struct Http {
    /// Fewer and shorter rounds, for a look while working; not to be quoted.
    #[arg(long)]
    quick: bool,
    /// Only this case: `h1_c1_1k`, `h1_c32_1k`, `h1_c32_100k`, `h1_c32_1k_routes10000`, `h2_c32_1k`, `grpc_unary`,
    /// `h1_c32_1k_guarded`, `h1_rate1000_1k`, `h1_rate70_1k`, `h1_idle` or `matching`; may be repeated.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<String>,
    /// Only these subjects, separated by commas: direct, ours, haproxy, nginx, envoy.
    #[arg(long, value_name = "SUBJECTS")]
    subject: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Control {
    /// Fewer rounds and changes, for a look while working; not to be quoted.
    #[arg(long)]
    quick: bool,
    /// Only this case: `attach_1000` (with `detach_1000`), `propagation_5000` or `propagation_5000_churn`; may be
    /// repeated.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<String>,
}

/// Peers and generators: a command and the Debian package that has it.
const PEERS_L4: [(&str, &str); 3] = [HAPROXY, NGINX, ("nft", "nftables")];
const PEERS_HTTP: [(&str, &str); 4] = [HAPROXY, NGINX, ("wrk", "wrk"), ("h2load", "nghttp2-client")];
const HAPROXY: (&str, &str) = ("haproxy", "haproxy");
const NGINX: (&str, &str) = ("nginx", "nginx-light");
/// nginx' module for TCP and UDP, which has a package of its own.
const STREAM_MODULE: (&str, &str) = ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream");

/// Runs a bench with the agent that `build` made.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.bench {
        Bench::L4(l4) => run_l4(l4),
        Bench::Http(http) => run_http(http),
        Bench::Control(control) => run_control(control),
    }
}

fn run_l4(l4: &L4) -> Result<()> {
    let json = empty_place("l4")?;
    install_missing(&PEERS_L4, Some(STREAM_MODULE))?;
    let mut command = command("l4", &json, l4.quick, &l4.cases)?;
    if let Some(subject) = &l4.subject {
        command.args(["--subject", subject]);
    }
    succeed(&mut command)
}

fn run_http(http: &Http) -> Result<()> {
    let json = empty_place("http")?;
    install_missing(&PEERS_HTTP, None)?;
    let envoy = envoy::binary()?;
    let mut command = command("http", &json, http.quick, &http.cases)?;
    command.arg("--envoy").arg(envoy);
    if let Some(subject) = &http.subject {
        command.args(["--subject", subject]);
    }
    succeed(&mut command)
}

fn run_control(control: &Control) -> Result<()> {
    let json = empty_place("control")?;
    cluster::prepare()?;
    succeed(&mut command("control", &json, control.quick, &control.cases)?)
}

/// The bench of this name, which is built first.
fn command(name: &str, json: &Path, quick: bool, cases: &[String]) -> Result<Command> {
    let mut command = Command::new(build()?);
    command.arg(name).arg("--agent").arg(checkout::agent()).arg("--json").arg(json);
    if quick {
        command.arg("--quick");
    }
    for case in cases {
        command.args(["--case", case]);
    }
    Ok(command)
}

/// Where a bench's figures go. A run that fails must not leave another run's.
fn empty_place(name: &str) -> Result<PathBuf> {
    let json = checkout::root().join("target/bench").join(name).with_extension("json");
    remove_older(&json)?;
    Ok(json)
}

fn remove_older(json: &Path) -> Result<()> {
    fs::create_dir_all(json.parent().unwrap_or(json))?;
    match fs::remove_file(json) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", json.display()))
        }
        _ => Ok(()),
    }
}

/// Of commands, and of a file, those that this machine lacks.
fn install_missing(commands: &[(&str, &str)], file: Option<(&str, &str)>) -> Result<()> {
    let commands = commands.iter().filter(|(command, _)| find_command(command).is_none());
    let file = file.iter().filter(|(path, _)| !Path::new(path).exists());
    let packages: Vec<&str> = commands.chain(file).map(|(_, package)| *package).collect();
    if packages.is_empty() { Ok(()) } else { install(&packages) }
}

/// Builds the bench; returns its binary.
fn build() -> Result<PathBuf> {
    step("bench (release)", || {
        let mut cargo = Command::new("cargo");
        succeed(cargo.current_dir(checkout::root()).args(["build", "--locked", "--release", "-p", "bench"]))
    })?;
    Ok(checkout::target().join("release/bench"))
}
