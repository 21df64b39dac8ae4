//! The compiler for the kernel programs.
//!
//! Their target has no ready-made standard library, so cargo builds `core` from source, which must be of exactly the
//! compiler's version: a toolchain counts only with its `rust-src`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

use super::packages;
use crate::checkout::find_command;
use crate::process::{output, path_with, step, succeed};

/// Names a rustup toolchain, or the folder of a toolchain (as `rustc --print sysroot` prints it), to be used.
const CHOICE: &str = "EBPF_TOOLCHAIN";

/// Where the system's own compiler stands.
const SYSTEM: &str = "/usr";

/// The compiler that Debian keeps current for browsers, in its security archive.
const DEBIAN: [&str; 3] = ["rustc-web", "rust-web-src", "cargo-web"];

/// A compiler with its library's source.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// As `rustc --print sysroot` prints it.
    pub(super) sysroot: PathBuf,
    /// Such as 1.95.0.
    pub(super) release: String,
    /// The major version of the LLVM in it: the linker must have the same or a later one.
    pub(super) llvm: u32,
    /// Folder of bpf-linker.
    linker: Option<PathBuf>,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rust {} in {} (LLVM {})", self.release, self.sysroot.display(), self.llvm)
    }
}

/// The first that can build the kernel programs: the chosen one, rustup's nightly, the one that runs this, the
/// system's.
pub(super) fn find() -> Result<Option<Toolchain>> {
    if let Ok(choice) = env::var(CHOICE) {
        let sysroot = if choice.contains('/') { PathBuf::from(&choice) } else { rustup_sysroot(&choice)? };
        let found = inspect(&sysroot).with_context(|| format!("{CHOICE} is {choice}"))?;
        return match found {
            None if choice != SYSTEM => bail!("{CHOICE} is {choice}, which lacks {}", remedy(&choice)),
            found => Ok(found),
        };
    }
    let candidates = [rustup_sysroot("nightly").ok(), active_sysroot().ok(), Some(PathBuf::from(SYSTEM))]
        .into_iter()
        .flatten();
    for sysroot in candidates {
        if let Some(toolchain) = inspect(&sysroot)? {
            return Ok(Some(toolchain));
        }
    }
    Ok(None)
}

/// Adds rust-src to the active rustup toolchain, or else, or if the system's is chosen, takes Debian's compiler.
pub(super) fn install() -> Result<Toolchain> {
    let system_chosen = env::var(CHOICE).is_ok_and(|choice| choice == SYSTEM);
    if !system_chosen && find_command("rustup").is_some() {
        let added = step("rustup component add rust-src", || {
            succeed(clean(Command::new("rustup").args(["component", "add", "rust-src"])))
        });
        if let Err(error) = added {
            // Machines behind mirrors of packages only: the system may have a compiler.
            eprintln!("    {error:#}");
        }
    }
    if find()?.is_none() && packages::are_available(&DEBIAN)? {
        packages::install(&DEBIAN)?;
    }
    find()?.with_context(|| {
        format!("no Rust compiler here has its library's source: `rustup component add rust-src` adds it ({CHOICE} chooses another toolchain)")
    })
}

impl Toolchain {
    pub(super) fn with_linker(self, folder: PathBuf) -> Self {
        Self { linker: Some(folder), ..self }
    }

    /// LLVM as a shared library inside the toolchain, as rustup's have it.
    pub(super) fn bundled_llvm(&self) -> Option<PathBuf> {
        let files = fs::read_dir(self.sysroot.join("lib")).ok()?.flatten().map(|entry| entry.path());
        let prefix = format!("libLLVM.so.{}.", self.llvm);
        files.into_iter().find(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
    }

    /// As `rustc --print sysroot` prints it.
    pub(crate) fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// A cargo of this toolchain that may use unstable options, with nothing of the caller's own build about it.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(self.sysroot.join("bin/cargo"));
        clean(&mut command).env("RUSTC", self.sysroot.join("bin/rustc")).env("RUSTC_BOOTSTRAP", "1");
        if let Some(folder) = &self.linker {
            command.env("PATH", path_with(folder));
        }
        command
    }
}

/// Takes away what cargo and rustup set for the build that runs this.
pub(super) fn clean(command: &mut Command) -> &mut Command {
    for name in ["RUSTC", "RUSTDOC", "CARGO", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTC_WRAPPER").env_remove("CARGO_BUILD_TARGET")
}

/// What a chosen toolchain lacks, and how it gets that.
fn remedy(choice: &str) -> String {
    if choice.contains('/') {
        return "a compiler, cargo or the library's source (lib/rustlib/src); name another".to_owned();
    }
    format!("rust-src: `rustup component add --toolchain {choice} rust-src` adds it")
}

fn rustup_sysroot(name: &str) -> Result<PathBuf> {
    sysroot(Command::new("rustup").args(["run", name, "rustc"]))
}

/// Of the toolchain that cargo runs this with.
fn active_sysroot() -> Result<PathBuf> {
    sysroot(&mut Command::new("rustc"))
}

fn sysroot(rustc: &mut Command) -> Result<PathBuf> {
    Ok(output(rustc.args(["--print", "sysroot"]))?.trim().into())
}

/// What stands in a sysroot; None without compiler, cargo or source.
fn inspect(sysroot: &Path) -> Result<Option<Toolchain>> {
    let rustc = sysroot.join("bin/rustc");
    let whole = ["bin/cargo", "lib/rustlib/src/rust/library/Cargo.lock"];
    if !rustc.is_file() || whole.iter().any(|part| !sysroot.join(part).is_file()) {
        return Ok(None);
    }
    let text = output(Command::new(&rustc).arg("-vV"))?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let release = value("release:").context("rustc -vV prints no release")?.to_owned();
    let llvm = value("LLVM version:").and_then(|v| v.split('.').next()?.parse().ok());
    let llvm = llvm.context("rustc -vV prints no LLVM version")?;
    Ok(Some(Toolchain { sysroot: sysroot.to_owned(), release, llvm, linker: None }))
}
