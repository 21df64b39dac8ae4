//! The workspace's test programs: built by cargo, run by us, so that some run at the same time.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::sum::Sum;
use crate::process::path_with;
use crate::{checkout, setup};

/// Test programs that bring up a Kubernetes cluster.
const ON_CLUSTER: [&str; 6] = ["smoke", "judge", "cluster", "getting_started", "official", "outages"];

pub(super) struct Built {
    pub(super) programs: Vec<Program>,
    /// 1 if something doesn't compile, which counts as a failed test.
    pub(super) broken: u64,
}

#[derive(Debug)]
pub(super) struct Program {
    /// Where its source begins.
    source: PathBuf,
    /// Of the target: the file or folder in tests/, or the crate.
    name: String,
    path: PathBuf,
    package: PathBuf,
    integration: bool,
}

/// How a program ended.
pub(super) struct Report {
    pub(super) took: Duration,
    pub(super) output: String,
    succeeded: bool,
}

/// Builds all that compile.
pub(super) fn build() -> Result<Built> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(checkout::root()).args([
        "test",
        "--locked",
        "--workspace",
        "--no-run",
        "--no-fail-fast",
    ]);
    cargo.arg("--message-format=json-render-diagnostics");
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let mut programs = Vec::new();
    for line in BufReader::new(child.stdout.take().context("a piped output")?).lines() {
        programs.extend(Program::of(&serde_json::from_str(&line?).context("reading cargo's messages")?));
    }
    let broken = u64::from(!child.wait()?.success());
    // Cargo reports them as they get ready.
    programs.sort_unstable_by(|a, b| a.source.cmp(&b.source));
    Ok(Built { programs, broken })
}

impl Program {
    /// Of cargo's message about an artifact, if that is a test program.
    fn of(message: &Value) -> Option<Self> {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let tested = message.pointer("/profile/test").and_then(Value::as_bool)?;
        let source = Path::new(text("/target/src_path")?);
        tested.then_some(())?;
        Some(Self {
            source: source.strip_prefix(checkout::root()).unwrap_or(source).to_owned(),
            name: text("/target/name")?.to_owned(),
            path: text("/executable")?.into(),
            package: Path::new(text("/manifest_path")?).parent()?.to_owned(),
            integration: text("/target/kind/0")? == "test",
        })
    }

    pub(super) fn wants_cluster(&self) -> bool {
        self.integration && ON_CLUSTER.contains(&self.name.as_str())
    }

    /// In its package's folder, as cargo does it.
    pub(super) fn run(&self, filter: Option<&str>) -> Report {
        let mut program = Command::new(&self.path);
        program.current_dir(&self.package).env("CARGO_MANIFEST_DIR", &self.package).args(filter);
        report(&mut program)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.display().fmt(f)
    }
}

/// Runs it to its end. Its two outputs follow each other; test programs print results to the first.
pub(super) fn report(command: &mut Command) -> Report {
    let begun = Instant::now();
    let ended = command.env("PATH", path()).stdin(Stdio::null()).output();
    let (succeeded, output) = match ended {
        Ok(ended) => {
            let text = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            (ended.status.success(), text.concat())
        }
        Err(error) => (false, format!("can't be started: {error}\n")),
    };
    Report { took: begun.elapsed(), output, succeeded }
}

impl Report {
    /// A program that dies reports no failed test, but is one.
    pub(super) fn sum(&self) -> Sum {
        let mut sum = Sum::of(&self.output);
        if !self.succeeded && sum.failed == 0 {
            sum.failed = 1;
        }
        sum
    }
}

/// Ubuntu has the bpftool that works in no folder of PATH.
fn path() -> OsString {
    let bpftool = setup::bpftool();
    let folder = bpftool.as_deref().and_then(Path::parent);
    folder.map_or_else(|| std::env::var_os("PATH").unwrap_or_default(), path_with)
}
