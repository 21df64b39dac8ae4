//! Every test of the checkout, and one line that says how it went.

mod programs;
mod sum;

use std::fmt;
use std::process::{Command, ExitCode};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{geteuid, setpriority_process};

use self::programs::{Built, Program, Report};
use self::sum::Sum;
use crate::setup::Toolchain;
use crate::{checkout, elsewhere, fuzz};

/// The niceness that takes from nobody (setpriority(2)).
const LOWEST: i32 = 19;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fuzz each target this long
    #[arg(long, value_name = "SECONDS", default_value_t = fuzz::SECONDS)]
    fuzz: u64,
    /// Only tests whose path contains this
    filter: Option<String>,
}

pub(crate) fn run(options: &Options, toolchain: &Toolchain) -> Result<ExitCode> {
    if !geteuid().is_root() {
        bail!("the tests load programs and make network namespaces, so they need root: run this with sudo");
    }
    let begun = Instant::now();
    let built = programs::build()?;
    let mut sum = Sum { failed: built.broken, ..Sum::default() };
    sum += run_all(built, options, toolchain);
    let took = Duration::from_secs(begun.elapsed().as_secs());
    println!("\n{} passed, {} failed, {} skipped (in {took:?})", sum.passed, sum.failed, sum.skipped);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Programs on a cluster mostly wait for it, so the others run at the same time. Within each lane one after the other:
/// they measure, and the kernel's tables are the machine's. What only computes gets the time that these leave.
fn run_all(built: Built, options: &Options, toolchain: &Toolchain) -> Sum {
    let (on_cluster, others): (Vec<_>, Vec<_>) = built.programs.into_iter().partition(Program::wants_cluster);
    let filter = options.filter.as_deref();
    let run =
        |lane: Vec<Program>| move || lane.iter().map(|program| said(program, || program.run(filter))).sum();
    thread::scope(|scope| {
        let lanes = [scope.spawn(run(on_cluster)), scope.spawn(run(others))];
        let leisure = scope.spawn(|| {
            if filter.is_some() {
                return Sum::default();
            }
            // Of this thread, and of what it starts; refused to nobody.
            let _ = setpriority_process(None, LOWEST);
            [documentation(), fuzzing(options.fuzz), elsewhere(toolchain)].into_iter().sum()
        });
        let ended = lanes.into_iter().chain([leisure]).map(ScopedJoinHandle::join);
        // A thread of ours that panics is a failed test, too.
        ended.map(|sum| sum.unwrap_or(Sum { failed: 1, ..Sum::default() })).sum()
    })
}

/// Runs something whose output would mix with that of the other lanes.
fn said(what: impl fmt::Display, run: impl FnOnce() -> Report) -> Sum {
    println!("     Running {what}");
    let report = run();
    println!("\n{what}, {:.1?}:\n{}", report.took, report.output.trim_end());
    report.sum()
}

fn documentation() -> Sum {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(checkout::root()).args(["test", "--locked", "--workspace", "--doc", "--quiet"]);
    said("examples in documentation", || programs::report(&mut cargo))
}

/// Whether this folder shows in the kernel programs.
fn elsewhere(toolchain: &Toolchain) -> Sum {
    let built = elsewhere::kernel_programs(toolchain);
    built.map_or_else(
        |error| {
            println!("\nkernel programs of another folder: {error:#}\n");
            Sum { failed: 1, ..Sum::default() }
        },
        |()| Sum { passed: 1, ..Sum::default() },
    )
}

/// Each target counts as a test; so does building them when it fails.
fn fuzzing(seconds: u64) -> Sum {
    match fuzz::build() {
        Ok(targets) => targets.iter().map(|target| fuzz_one(target, seconds)).sum(),
        Err(error) => {
            println!("fuzz targets: {error:#}");
            Sum { failed: 1, ..Sum::default() }
        }
    }
}

fn fuzz_one(target: &fuzz::Target, seconds: u64) -> Sum {
    let what = format!("fuzzing {} for {seconds} s", target.name);
    let ended = said(what, || programs::report(&mut target.fuzzer(seconds)));
    Sum { passed: u64::from(ended.failed == 0), ..ended }
}
