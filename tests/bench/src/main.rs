//! `cargo xtask bench`: `l4`, our data plane and its peers on the same processors, in turns; `control`, our control
//! plane beside an API server; `http`, our proxy and its peers.
//!
//! Nothing that `l4` and `http` make has a name outside this process: namespaces, mounts and pins vanish with it.
//! `control` removes its cluster.

mod absence;
mod batch;
mod bpf;
mod cases;
mod control;
mod cpu;
mod frame;
mod http;
mod lane;
mod load;
mod netns;
mod ours;
mod process;
mod program;
mod report;
mod subject;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, ValueEnum as _};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::cases::{AGAIN, Case, LONG_CRR, TARGETS};
use crate::cpu::Cpus;
use crate::report::Report;
use crate::subject::{Kind, Means, Subject};

#[derive(Debug, Parser)]
enum Bench {
    L4(Options),
    Control(control::Options),
    Http(http::Options),
}

#[derive(Debug, Args)]
struct Options {
    /// Fewer and shorter rounds, for a look while working; not to be quoted.
    #[arg(long)]
    quick: bool,
    /// Only these cases.
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Only these subjects, by their names.
    #[arg(long = "subject", value_parser = parse_kind, value_delimiter = ',')]
    subjects: Vec<Kind>,
    /// The gateway-agent binary.
    #[arg(long)]
    agent: PathBuf,
    /// Where the figures go.
    #[arg(long)]
    json: PathBuf,
}

impl Options {
    fn wants(&self, case: Case) -> bool {
        self.cases.is_empty() || self.cases.contains(&case)
    }
}

const KINDS: [Kind; 7] = [
    Kind::Direct,
    Kind::Ours,
    Kind::OursSnat,
    Kind::NftablesDnat,
    Kind::NftablesSnat,
    Kind::Haproxy,
    Kind::Nginx,
];

fn parse_kind(name: &str) -> Result<Kind, String> {
    let names = KINDS.map(Kind::name).join(", ");
    KINDS.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("the subjects are {names}"))
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    window: Duration,
    /// The long run through SNAT: windows without a pause between them.
    long: Option<(usize, Duration)>,
}

const FULL: Effort =
    Effort { rounds: 7, window: Duration::from_secs(2), long: Some((12, Duration::from_secs(10))) };
const QUICK: Effort = Effort { rounds: 3, window: Duration::from_secs(1), long: None };

fn main() -> ExitCode {
    let done = match Bench::parse() {
        Bench::L4(options) => run(&options).map(|held| (options.json, held)),
        Bench::Control(options) => control::run(&options).map(|held| (options.json, held)),
        Bench::Http(options) => http::run(&options).map(|held| (options.json, held)),
    };
    match done {
        Ok((json, held)) => {
            println!("\nfigures: {}", json.display());
            if !held {
                println!("some targets were missed");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False if a target is missed.
fn run(options: &Options) -> Result<bool> {
    let effort = if options.quick { QUICK } else { FULL };
    cpu::take_precedence()?;
    let cpus = Cpus::pick()?;
    let folder = private_folder()?;
    introduce(&cpus, effort)?;
    let mut report = Report::default();
    let mut held = traffic(options, effort, &cpus, &folder, &mut report)?;
    if options.wants(Case::Program) {
        program::run(effort.rounds, &cpus, &bpffs(&folder), &mut report)?;
        report.print(program::CASE);
        held &= report.compare(program::CASE, program::TARGETS);
    }
    report.write(&options.json)?;
    Ok(held)
}

/// A tmpfs with a bpffs in it, in a mount namespace of this process alone.
fn private_folder() -> Result<PathBuf> {
    const PLACE: &str = "/mnt";
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace needs root")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("bench"), PLACE, Some("tmpfs"), MsFlags::empty(), none)?;
    let bpffs = bpffs(Path::new(PLACE));
    fs::create_dir(&bpffs)?;
    mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), none)?;
    Ok(PLACE.into())
}

fn bpffs(folder: &Path) -> PathBuf {
    folder.join("bpf")
}

/// What figures depend on.
fn introduce(cpus: &Cpus, effort: Effort) -> Result<()> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    println!("kernel {}, {}, processors {}", kernel.trim(), cpu::model()?, cpus.list());
    println!("load before: {}", load.trim());
    for peer in [&["haproxy", "-v"][..], &["nginx", "-v"], &["nft", "-v"]] {
        let output = Command::new(peer[0]).args(&peer[1..]).output().with_context(|| peer[0].to_owned())?;
        let text = String::from_utf8([output.stdout, output.stderr].concat())?;
        println!("{}", text.lines().next().unwrap_or(peer[0]));
    }
    println!(
        "haproxy: nbthread {n}, splice-auto, maxconn 4000; nginx: {n} workers, reuseport; \
         tcp_crr: {n} clients of {} connections, 64 bytes each way",
        load::crr::IN_FLIGHT,
        n = cpus.count(),
    );
    println!(
        "{} rounds of {:?}, subjects in turns; all of it with the highest priority",
        effort.rounds, effort.window
    );
    Ok(())
}

/// Runs the cases with traffic; false if a target is missed.
fn traffic(
    options: &Options,
    effort: Effort,
    cpus: &Cpus,
    folder: &Path,
    report: &mut Report,
) -> Result<bool> {
    let cases: Vec<Case> =
        Case::value_variants().iter().copied().filter(|&c| options.wants(c) && c != Case::Program).collect();
    if cases.is_empty() {
        return Ok(true);
    }
    let bpffs = bpffs(folder);
    let means = Means { cpus, agent: &options.agent, folder, bpffs: &bpffs };
    let subjects = KINDS
        .into_iter()
        .filter(|kind| options.subjects.is_empty() || options.subjects.contains(kind))
        .filter(|&kind| cases.iter().any(|case| case.admits(kind)))
        .map(|kind| Subject::start(kind, &means))
        .collect::<Result<Vec<_>>>()?;
    let mut held = true;
    for case in cases {
        rounds(case, &subjects, effort, cpus, report)?;
        report.print(case.name());
        held &= report.compare(case.name(), TARGETS);
    }
    if let (Some(windows), true) = (effort.long, options.wants(Case::Crr)) {
        let snat = |s: &&Subject| matches!(s.kind, Kind::OursSnat | Kind::NftablesSnat);
        for subject in subjects.iter().filter(snat) {
            eprintln!("  {LONG_CRR}: {}", subject.kind.name());
            cases::crr(LONG_CRR, subject, subject.kind.name(), windows, cpus, report)?;
        }
        report.print(LONG_CRR);
        held &= report.compare(LONG_CRR, TARGETS);
    }
    Ok(held)
}

/// Subjects take turns, and each round starts with another one, so that neither drift nor order favours any.
fn rounds(case: Case, subjects: &[Subject], effort: Effort, cpus: &Cpus, report: &mut Report) -> Result<()> {
    let mut turns: Vec<(&Subject, &'static str)> = Vec::new();
    for subject in subjects.iter().filter(|s| case.admits(s.kind)) {
        turns.push((subject, subject.kind.name()));
        if subject.kind == Kind::Ours {
            turns.push((subject, AGAIN));
        }
    }
    for round in 0..effort.rounds {
        eprintln!("  {}: round {} of {}", case.name(), round + 1, effort.rounds);
        for turn in 0..turns.len() {
            let (subject, name) = turns[(turn + round) % turns.len()];
            cases::round(case, subject, name, effort.window, cpus, report)?;
        }
    }
    Ok(())
}
