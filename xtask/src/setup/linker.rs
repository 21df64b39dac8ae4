//! bpf-linker, built for the LLVM that it must share with the compiler.
//!
//! rustup's toolchains have LLVM as a shared library, and bpf-linker links with that one: nothing else is needed.
//! Distributions' compilers use the system's, whose development package it then takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::toolchain::clean;
use super::{Toolchain, packages};
use crate::checkout::cache;
use crate::process::{output, step, succeed};

/// The newest that Rust 1.95 compiles.
const VERSION: &str = "0.13.0";

/// Versions of LLVM that bpf-linker knows how to use: its features `llvm-21` to `llvm-23`.
const LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The folder with a bpf-linker that fits; built on the first call, which takes a minute or two.
pub(super) fn prepare(toolchain: &Toolchain) -> Result<PathBuf> {
    if !LLVM.contains(&toolchain.llvm) {
        bail!("bpf-linker {VERSION} knows LLVM {} to {} only", LLVM.start(), LLVM.end());
    }
    // Bound to the toolchain's LLVM by path, so another toolchain gets another.
    let place: String = toolchain.sysroot.display().to_string().replace('/', "_");
    let root = cache().join(format!("bpf-linker-{VERSION}-rust{}{place}", toolchain.release));
    if !works(&root) {
        step(&format!("cargo install bpf-linker {VERSION} (once)"), || install(toolchain, &root))?;
    }
    Ok(root.join("bin"))
}

fn works(root: &Path) -> bool {
    let version = output(Command::new(root.join("bin/bpf-linker")).arg("--version"));
    version.is_ok_and(|text| text.trim() == format!("bpf-linker {VERSION}"))
}

fn install(toolchain: &Toolchain, root: &Path) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("creating {}", root.display()))?;
    let mut features = format!("llvm-{}", toolchain.llvm);
    // With the cargo that runs this: bpf-linker is a plain program.
    let mut cargo = Command::new("cargo");
    clean(&mut cargo);
    match toolchain.bundled_llvm() {
        Some(library) => {
            features.push_str(",no-llvm-linking");
            let folder = toolchain.sysroot.join("lib");
            let flags =
                format!("-Clink-arg={}\x1f-Clink-arg=-Wl,-rpath,{}", library.display(), folder.display());
            cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);
        }
        None => {
            cargo.env("LLVM_PREFIX", system_llvm(toolchain.llvm)?);
        }
    }
    // As little as a tool of ours needs to be: the release profile with debug information takes twice the time.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("CARGO_PROFILE_RELEASE_LTO", "off");
    cargo.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force"]);
    cargo.args(["--no-default-features", "--features", &features, "--root"]).arg(root);
    succeed(&mut cargo)?;
    if !works(root) {
        bail!("bpf-linker in {} does not start", root.display());
    }
    Ok(())
}

/// The system's LLVM with headers and static libraries, installed if need be.
fn system_llvm(version: u32) -> Result<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{version}"));
    let is_there = || prefix.join("bin/llvm-config").exists() && prefix.join("lib/libPolly.a").exists();
    if !is_there() {
        let (llvm, polly) = (format!("llvm-{version}-dev"), format!("libpolly-{version}-dev"));
        packages::install(&[&llvm, &polly, "zlib1g-dev", "libzstd-dev"])?;
    }
    Ok(prefix)
}
