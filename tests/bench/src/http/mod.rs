//! `cargo xtask bench http`: requests through our proxy, through its peers and past them all.
//!
//! Each subject has a lane of its own. The proxy has one processor to itself; what loads it and the servers behind it
//! share another one.

mod case;
mod closed;
mod idle;
mod matching;
mod open;
mod origin;
mod ours;
mod peers;
mod subject;
mod usage;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum as _};

use crate::cpu::{self, Cpus};
use crate::report::Report;
use case::{AGAIN, Case, TARGETS};
use subject::{Kind, Means, Routes, Subject};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewer and shorter rounds, for a look while working; not to be quoted.
    #[arg(long)]
    quick: bool,
    /// Only these cases.
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Only these subjects.
    #[arg(long = "subject", value_enum, value_delimiter = ',')]
    subjects: Vec<Kind>,
    /// The gateway-agent binary.
    #[arg(long)]
    agent: PathBuf,
    /// The Envoy binary.
    #[arg(long)]
    envoy: PathBuf,
    /// Where the figures go.
    #[arg(long)]
    pub(crate) json: PathBuf,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    rounds: usize,
    /// The same of closed loops, each of which lasts a second, the least that wrk takes. Others' work on the machine makes
    /// a second dearer or cheaper by half, all the subjects' alike only if they come close to each other: many short rounds
    /// make medians of ratios steady that few long ones don't.
    closed_rounds: usize,
    /// Of open loops: 10,000 requests at 1,000 a second, so that the 99th percentile has 100 above it; 560 at 70.
    open_fast: Duration,
    open_slow: Duration,
}

const FULL: Effort = Effort {
    rounds: 5,
    closed_rounds: 15,
    open_fast: Duration::from_secs(10),
    open_slow: Duration::from_secs(8),
};
const QUICK: Effort = Effort {
    rounds: 3,
    closed_rounds: 3,
    open_fast: Duration::from_secs(2),
    open_slow: Duration::from_secs(2),
};

impl Effort {
    fn rounds(self, case: Case) -> usize {
        if case.is_closed() { self.closed_rounds } else { self.rounds }
    }
}

impl Options {
    fn wants(&self, case: Case) -> bool {
        self.cases.is_empty() || self.cases.contains(&case)
    }

    fn kinds(&self) -> impl Iterator<Item = Kind> {
        let kinds = Kind::value_variants().iter().copied();
        kinds.filter(|kind| self.subjects.is_empty() || self.subjects.contains(kind))
    }
}

/// False if a target is missed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let effort = if options.quick { QUICK } else { FULL };
    cpu::take_precedence()?;
    let cpus = Cpus::pick()?;
    let folder = crate::private_folder()?;
    introduce(options, &cpus, effort)?;
    let bpffs = crate::bpffs(&folder);
    let means =
        Means { cpus: &cpus, agent: &options.agent, envoy: &options.envoy, folder: &folder, bpffs: &bpffs };
    let mut report = Report::default();
    let mut held = true;
    for routes in [Routes::Few, Routes::Many] {
        let cases: Vec<Case> = Case::value_variants()
            .iter()
            .copied()
            .filter(|&case| options.wants(case) && case.traffic() == Some(routes))
            .collect();
        held &= traffic(options, effort, &cases, routes, &means, &mut report)?;
    }
    if options.wants(Case::Idle) {
        for round in 0..effort.rounds(Case::Idle) {
            announce(Case::Idle, round, effort);
            for kind in options.kinds().filter(|&kind| kind != Kind::Direct) {
                idle::round(kind, &means, &mut report)?;
            }
        }
        held &= conclude(Case::Idle, &report);
    }
    if options.wants(Case::Matching) {
        matching::run(effort.rounds, &cpus, &mut report)?;
        held &= conclude(Case::Matching, &report);
    }
    report.write(&options.json)?;
    Ok(held)
}

/// Cases with traffic through subjects with so many routes. Subjects take turns, and each round starts with another one,
/// so that neither drift nor order favours any.
fn traffic(
    options: &Options,
    effort: Effort,
    cases: &[Case],
    routes: Routes,
    means: &Means<'_>,
    report: &mut Report,
) -> Result<bool> {
    if cases.is_empty() {
        return Ok(true);
    }
    let subjects =
        options.kinds().map(|kind| Subject::start(kind, routes, means)).collect::<Result<Vec<_>>>()?;
    let mut turns: Vec<(&Subject, &'static str)> = Vec::new();
    for subject in &subjects {
        turns.push((subject, subject.kind.name()));
        if subject.kind == Kind::Ours {
            turns.push((subject, AGAIN));
        }
    }
    let mut held = true;
    for &case in cases {
        for round in 0..effort.rounds(case) {
            announce(case, round, effort);
            for turn in 0..turns.len() {
                let (subject, name) = turns[(turn + round) % turns.len()];
                if !case.is_for(subject.kind) {
                    continue;
                }
                let measured = case::round(case, subject, name, effort, means, report);
                measured.with_context(|| format!("{}: {name}", case.name()))?;
            }
        }
        held &= conclude(case, report);
    }
    Ok(held)
}

fn announce(case: Case, round: usize, effort: Effort) {
    eprintln!("  {}: round {} of {}", case.name(), round + 1, effort.rounds(case));
}

fn conclude(case: Case, report: &Report) -> bool {
    report.print(case.name());
    report.compare(case.name(), TARGETS)
}

/// What figures depend on.
fn introduce(options: &Options, cpus: &Cpus, effort: Effort) -> Result<()> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    println!("kernel {}, {}", kernel.trim(), cpu::model()?);
    println!("load before: {}", load.trim());
    for mut peer in [command("haproxy", "-v"), command("nginx", "-v"), {
        let mut envoy = Command::new(&options.envoy);
        envoy.arg("--version");
        envoy
    }] {
        let output = peer.output().with_context(|| peer.get_program().display().to_string())?;
        let text = String::from_utf8([output.stdout, output.stderr].concat())?;
        println!("{}", text.lines().find(|line| !line.is_empty()).unwrap_or_default().trim());
    }
    println!(
        "each proxy: one worker, alone on processor {}, two endpoints, the less loaded of two, kept-alive connections, \
         X-Forwarded-*, no access log; load and servers: processor {}",
        cpus.first(),
        cpus.last()
    );
    println!(
        "{} rounds of 1 s (open loops: {}, of {:?} and {:?}), subjects in turns; all of it with the highest priority, open loops \
         in real time",
        effort.closed_rounds, effort.rounds, effort.open_fast, effort.open_slow
    );
    println!(
        "open loops: p99_ms and p999_ms of all requests; p99_awake_ms and p999_awake_ms without those (set_aside, of \
         every subject by the same rule) that met a moment in which the machine itself was away (machine_away, of the \
         time): a probe above all that is measured watches both processors"
    );
    Ok(())
}

fn command(program: &str, argument: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(argument);
    command
}
