//! Runs the targets of tests/fuzz for a while each: built with coverage counters, without sanitizers, so any compiler
//! can build them.

use std::env::consts::ARCH;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::checkout;
use crate::process::succeed;

/// As cargo-fuzz sets them for `--sanitizer none`.
const RUSTFLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
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
    let target = |name: String| Target {
        program: target_dir.join(&triple).join("debug").join(&name),
        corpus: folder.join("corpus").join(&name),
        dictionary: folder.join(format!("{name}.dict")),
        found: target_dir.join("found").join(&name),
        name,
    };
    Ok(names.into_iter().map(target).collect())
}

impl Target {
    /// Tries inputs for so many seconds; an error for the first that makes it panic, hang or eat memory.
    pub(crate) fn run(&self, seconds: u64) -> Result<()> {
        fs::create_dir_all(&self.found)?;
        let mut fuzzer = Command::new(&self.program);
        fuzzer.arg(format!("-max_total_time={seconds}")).arg("-verbosity=0");
        if self.dictionary.is_file() {
            fuzzer.arg(format!("-dict={}", self.dictionary.display()));
        }
        fuzzer.arg(format!("-artifact_prefix={}/crash-", self.found.display())).arg(&self.found);
        if self.corpus.is_dir() {
            fuzzer.arg(&self.corpus);
        }
        succeed(&mut fuzzer)
    }
}
