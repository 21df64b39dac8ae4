//! Every test of the checkout, and one line that says how it went.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Uid;

use crate::process::path_with;
use crate::{checkout, fuzz, setup};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fuzz each target this long
    #[arg(long, value_name = "SECONDS", default_value_t = fuzz::SECONDS)]
    fuzz: u64,
    /// Only tests whose path contains this
    filter: Option<String>,
}

/// What all test programs reported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    skipped: u64,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !Uid::effective().is_root() {
        bail!("the tests load programs and make network namespaces, so they need root: run this with sudo");
    }
    let begun = Instant::now();
    let mut sum = Sum::default();
    let workspace = ["test", "--locked", "--workspace", "--no-fail-fast"];
    sum.cargo(&workspace, options.filter.as_deref())?;
    if options.filter.is_none() {
        sum.fuzz(options.fuzz);
    }
    let took = Duration::from_secs(begun.elapsed().as_secs());
    println!("\n{} passed, {} failed, {} skipped (in {took:?})", sum.passed, sum.failed, sum.skipped);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Sum {
    fn cargo(&mut self, arguments: &[&str], filter: Option<&str>) -> Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(checkout::root()).args(arguments).args(filter);
        // Ubuntu has the one that works in no folder of PATH.
        if let Some(folder) = setup::bpftool().as_deref().and_then(Path::parent) {
            cargo.env("PATH", path_with(folder));
        }
        let mut child =
            cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting cargo test")?;
        let failed_before = self.failed;
        for line in BufReader::new(child.stdout.take().context("a piped output")?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            self.add(&line);
        }
        // A test program that does not compile, or dies, reports no result.
        if !child.wait()?.success() && self.failed == failed_before {
            self.failed += 1;
        }
        Ok(())
    }

    /// Each target counts as a test; so does building them when it fails.
    fn fuzz(&mut self, seconds: u64) {
        let targets = fuzz::build().unwrap_or_else(|error| {
            println!("fuzz targets: {error:#}");
            self.failed += 1;
            Vec::new()
        });
        for target in targets {
            println!("fuzzing {} for {seconds} s", target.name);
            match target.run(seconds) {
                Ok(()) => self.passed += 1,
                Err(error) => {
                    println!("{}: {error:#}", target.name);
                    self.failed += 1;
                }
            }
        }
    }

    /// Takes up a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let count = |word: &str| {
            let before = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word));
            before.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.skipped += count("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up() {
        let mut sum = Sum::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.20s",
        ] {
            sum.add(line);
        }
        assert_eq!(sum, Sum { passed: 13, failed: 2, skipped: 1 });
    }
}
