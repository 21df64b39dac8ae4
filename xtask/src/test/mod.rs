//! Every test of the checkout, and one line that says how it went.

mod programs;
mod sum;

use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::unistd::Uid;

use self::programs::{Built, Program};
use self::sum::Sum;
use crate::{checkout, fuzz};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fuzz each target this long
    #[arg(long, value_name = "SECONDS", default_value_t = fuzz::SECONDS)]
    fuzz: u64,
    /// Only tests whose path contains this
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !Uid::effective().is_root() {
        bail!("the tests load programs and make network namespaces, so they need root: run this with sudo");
    }
    let begun = Instant::now();
    let built = programs::build()?;
    let mut sum = Sum { failed: built.broken, ..Sum::default() };
    sum += run_all(built, options.filter.as_deref());
    if options.filter.is_none() {
        sum += documentation();
        sum += fuzzing(options.fuzz);
    }
    let took = Duration::from_secs(begun.elapsed().as_secs());
    println!("\n{} passed, {} failed, {} skipped (in {took:?})", sum.passed, sum.failed, sum.skipped);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Programs on a cluster mostly wait for it, so the others run at the same time. Within each lane one after the other:
/// they measure, and they share the machine's interfaces of the kernel.
fn run_all(built: Built, filter: Option<&str>) -> Sum {
    let (on_cluster, others): (Vec<_>, Vec<_>) = built.programs.into_iter().partition(Program::wants_cluster);
    let (ended, reports) = mpsc::channel();
    thread::scope(|scope| {
        for lane in [on_cluster, others] {
            let ended = ended.clone();
            scope.spawn(move || {
                for program in lane {
                    println!("     Running {program}");
                    // The receiver outlives the lanes.
                    let _ = ended.send((program.run(filter), program));
                }
            });
        }
        drop(ended);
        let mut sum = Sum::default();
        for (report, program) in reports {
            println!("\n{program}, {:.1?}:\n{}", report.took, report.output.trim_end());
            sum += report.sum();
        }
        sum
    })
}

fn documentation() -> Sum {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(checkout::root()).args(["test", "--locked", "--workspace", "--doc", "--quiet"]);
    let report = programs::report(&mut cargo);
    println!("\nexamples in documentation, {:.1?}:\n{}", report.took, report.output.trim_end());
    report.sum()
}

/// Each target counts as a test; so does building them when it fails.
fn fuzzing(seconds: u64) -> Sum {
    let mut sum = Sum::default();
    let targets = fuzz::build().unwrap_or_else(|error| {
        println!("fuzz targets: {error:#}");
        sum.failed += 1;
        Vec::new()
    });
    for target in targets {
        println!("fuzzing {} for {seconds} s", target.name);
        match target.run(seconds) {
            Ok(()) => sum.passed += 1,
            Err(error) => {
                println!("{}: {error:#}", target.name);
                sum.failed += 1;
            }
        }
    }
    sum
}
