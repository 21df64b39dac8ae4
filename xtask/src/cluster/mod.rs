//! `cargo xtask cluster` and `cargo xtask kubectl`: a real Kubernetes cluster on this machine.

mod requirements;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use cluster::{Cluster, Cni, Crds, KubeProxy, Name, Nodes, Spec};
use rustix::process::geteuid;

use crate::process::step;

pub(crate) use requirements::{go, prepare};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The cluster's name, which tells it from others on this machine
    #[arg(long, global = true, value_name = "NAME", default_value = "main")]
    name: Name,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install and build what is missing, start a cluster, and wait until it is ready
    Up(Shape),
    /// Show which clusters there are, and how to enter their machines
    Status,
    /// Give the nodes images from archives (OCI layout, or as `docker save` writes it)
    LoadImages {
        #[arg(required = true, value_name = "FILE")]
        archives: Vec<PathBuf>,
    },
    /// End a cluster, or what is left of one
    Down,
}

#[derive(Debug, Args)]
struct Shape {
    /// How many nodes
    #[arg(long, default_value = "2")]
    nodes: Nodes,
    /// IPv6 beside IPv4
    #[arg(long)]
    dual_stack: bool,
    /// What translates Services
    #[arg(long, value_enum, default_value_t = KubeProxy::Nftables)]
    kube_proxy: KubeProxy,
    /// How pods are joined
    #[arg(long, value_enum, default_value_t = Cni::Ptp)]
    cni: Cni,
    /// Which channel of the Gateway API to install
    #[arg(long, value_enum, default_value_t = Crds::Experimental)]
    crds: Crds,
}

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Kubectl {
    #[command(flatten)]
    which: Which,
    /// What kubectl is told
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !geteuid().is_root() {
        bail!("a cluster is made of namespaces, mounts and cgroups, so it needs root: run this with sudo");
    }
    let name = &options.which.name;
    match &options.command {
        Command::Up(shape) => up(&shape.spec(name.clone()))?,
        Command::Status => return status(),
        Command::LoadImages { archives } => find(name)?.load_images(archives)?,
        Command::Down => {
            if !step(&format!("cluster {name} down"), || Ok(Cluster::down(name)?))? {
                eprintln!("    there was none");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// kubectl in the cluster's client, on this terminal.
pub(crate) fn kubectl(options: &Kubectl) -> Result<ExitCode> {
    let status = find(&options.which.name)?.kubectl().run_on_terminal(&options.arguments)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn up(spec: &Spec) -> Result<()> {
    let programs = prepare()?;
    let cluster = step(&spec.to_string(), || Ok(Cluster::up(spec, &programs)?))?;
    println!("kubectl: cargo xtask kubectl --name {} get pods -A", spec.name);
    println!(
        "kubeconfig, for programs in the namespace {}: {}",
        cluster.client().name(),
        cluster.kubectl().kubeconfig().display()
    );
    println!("logs: {}", cluster.logs().display());
    Ok(())
}

fn status() -> Result<ExitCode> {
    let mut all_run = true;
    for name in Cluster::names() {
        let Some(cluster) = Cluster::find(&name) else {
            println!(
                "cluster {name}: not running; `cargo xtask cluster down --name {name}` removes what is left"
            );
            all_run = false;
            continue;
        };
        println!("{}", cluster.spec());
        println!(
            "  kubeconfig {}, for namespace {}",
            cluster.kubectl().kubeconfig().display(),
            cluster.client().name()
        );
        for (machine, process) in cluster.machines() {
            println!("  {machine}: nsenter --all --target {process} bash");
        }
        print!("{}", cluster.kubectl().run(&["get", "nodes", "--output=wide"])?);
    }
    Ok(if all_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn find(name: &Name) -> Result<Cluster> {
    Cluster::find(name)
        .with_context(|| format!("no cluster {name} runs: `cargo xtask cluster up --name {name}` starts one"))
}

impl Shape {
    fn spec(&self, name: Name) -> Spec {
        let Self { nodes, dual_stack, kube_proxy, cni, crds } = *self;
        Spec { name, nodes, dual_stack, kube_proxy, cni, crds, api_server: Vec::new() }
    }
}
