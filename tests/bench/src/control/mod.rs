//! `cargo xtask bench control`: from a change in the API server to what follows from it.
//!
//! `rig` starts a cluster and our roles beside it, `objects` says what is in it, `api` reads, writes and watches it;
//! `attachment` and `propagation` measure.

mod api;
mod attachment;
mod memory;
mod objects;
mod propagation;
mod rig;
mod role;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::cpu;
use crate::report::Report;
use api::Api;
use rig::Rig;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewer rounds and changes, for a look while working; not to be quoted.
    #[arg(long)]
    quick: bool,
    /// Only these cases.
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// The gateway-agent binary.
    #[arg(long)]
    agent: PathBuf,
    /// Where the figures go.
    #[arg(long)]
    pub(crate) json: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// And `detach_1000`: its routes have to go again.
    #[value(name = "attach_1000")]
    Attach,
    #[value(name = "propagation_5000")]
    Propagation,
    #[value(name = "propagation_5000_churn")]
    Churn,
}

/// Our roles, and once more: the A/A row.
const OURS: &str = "ours";
const AGAIN: &str = "ours-aa";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    /// Of endpoints, in each round.
    changes: usize,
}

const FULL: Effort = Effort { rounds: 5, changes: 200 };
const QUICK: Effort = Effort { rounds: 2, changes: 50 };

impl Options {
    fn wants(&self, case: Case) -> bool {
        self.cases.is_empty() || self.cases.contains(&case)
    }
}

/// False if a target is missed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let effort = if options.quick { QUICK } else { FULL };
    cpu::take_precedence()?;
    introduce(effort)?;
    let rig = Rig::new(&options.agent)?;
    let mut report = Report::default();
    // The API server can be reached from the cluster's networks alone: the runtime's threads have to be born there.
    let held = rig.client().run(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let mut stop = signal(SignalKind::terminate())?;
            tokio::select! {
                held = measure(options, effort, &rig, &mut report) => held,
                _ = stop.recv() => bail!("told to stop"),
            }
        })
    })?;
    report.write(&options.json)?;
    Ok(held)
}

async fn measure(options: &Options, effort: Effort, rig: &Rig, report: &mut Report) -> Result<bool> {
    let api = Api::connect(&rig.kubeconfig()).await?;
    let mut held = true;
    if options.wants(Case::Attach) {
        attachment::run(effort, rig, &api, report).await?;
        for case in [attachment::ATTACH, attachment::DETACH] {
            report.print(case);
            held &= report.compare(case, attachment::TARGETS);
        }
    }
    let [quiet, churn] = [Case::Propagation, Case::Churn].map(|case| options.wants(case));
    if quiet || churn {
        propagation::fill(rig, &api).await?;
    }
    for (case, wanted) in [(propagation::QUIET, quiet), (propagation::CHURN, churn)] {
        if wanted {
            propagation::run(case, effort, rig, &api, report).await?;
            report.print(case);
            held &= report.compare(case, &propagation::targets(case));
        }
    }
    Ok(held)
}

/// What figures depend on.
fn introduce(effort: Effort) -> Result<()> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    println!("kernel {}, {}", kernel.trim(), cpu::model()?);
    println!("load before: {}", load.trim());
    println!("{} rounds; {} changes in each of propagation", effort.rounds, effort.changes);
    println!("API server, etcd, agent or controller and this client share all processors");
    Ok(())
}
