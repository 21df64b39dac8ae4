//! Runs the targets of tests/fuzz for a while each: built with coverage counters, without sanitizers, so any compiler
//! can build them.

use std::env::consts::ARCH;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::checkout;
use crate::process::{step, succeed};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fuzz each target this long
    #[arg(long, value_name = "SECONDS", default_value_t = SECONDS)]
    seconds: u64,
    /// Only this target
    target: Option<String>,
}

/// Enough to try the corpora and some ten thousand inputs from there on; who looks for more names more.
pub(crate) const SECONDS: u64 = 20;

/// Seconds for one input. The slowest of the corpora takes milliseconds, also on a busy machine.
const HANGS: u64 = 20;

/// As cargo-fuzz sets them for `--sanitizer none`, without `--cfg=fuzzing`: what is tried is what is used.
const RUSTFLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// A target and its folders.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    program: PathBuf,
    corpus: PathBuf,
    /// Words that inputs are made of.
    dictionary: PathBuf,
    /// Where it may write what it finds; not the committed corpus.
    found: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut targets = build()?;
    if let Some(wanted) = &options.target {
        let names: Vec<_> = targets.iter().map(|target| target.name.clone()).collect();
        targets.retain(|target| target.name == *wanted);
        if targets.is_empty() {
            bail!("no fuzz target is called {wanted}; there are {}", names.join(", "));
        }
    }
    for target in targets {
        let what = format!("fuzzing {} for {} s", target.name, options.seconds);
        step(&what, || succeed(&mut target.fuzzer(options.seconds)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds every target.
pub(crate) fn build() -> Result<Vec<Target>> {
    let folder = checkout::root().join("tests/fuzz");
    let target_dir = checkout::target().join("fuzz");
    // Named, so that build scripts and macros go without counters.
    let triple = format!("{ARCH}-unknown-linux-gnu");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&folder).env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f")).env_remove("RUSTFLAGS");
    cargo.args(["build", "--locked", "--bins", "--target", &triple, "--target-dir"]);
    succeed(cargo.arg(&target_dir))?;
    let sources = fs::read_dir(folder.join("fuzz_targets")).context("reading tests/fuzz/fuzz_targets")?;
    let mut names: Vec<String> =
        sources.flatten().filter_map(|f| Some(f.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort_unstable();
    let target = |name: String| {
        let found = target_dir.join("found").join(&name);
        fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
        Ok(Target {
            program: target_dir.join(&triple).join("debug").join(&name),
            corpus: folder.join("corpus").join(&name),
            dictionary: folder.join(format!("{name}.dict")),
            found,
            name,
        })
    };
    names.into_iter().map(target).collect()
}

impl Target {
    /// Tries inputs for so many seconds; fails with the first that makes it panic, hang or eat memory, whose path stands
    /// in the output.
    pub(crate) fn fuzzer(&self, seconds: u64) -> Command {
        let mut fuzzer = Command::new(&self.program);
        fuzzer.args([format!("-max_total_time={seconds}"), format!("-timeout={HANGS}")]);
        fuzzer.args(["-verbosity=0", "-print_final_stats=1"]);
        fuzzer.arg(format!("-artifact_prefix={}/", self.found.display()));
        if self.dictionary.is_file() {
            fuzzer.arg(format!("-dict={}", self.dictionary.display()));
        }
        fuzzer.args([&self.found, &self.corpus]);
        fuzzer
    }
}
