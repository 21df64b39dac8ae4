//! The kernel programs, then user space, which includes them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use crate::checkout;
use crate::process::{step, succeed};
use crate::setup::Toolchain;

const TARGET: &str = "bpfel-unknown-none";

/// v3: the 32-bit instructions and atomics (kernel 5.12) that the flow table needs. --btf: what the profile's debug
/// information says of types is named in the kernel.
const RUSTFLAGS: &str = "-Ctarget-cpu=v3\x1f-Clink-arg=--btf";

/// The section that aya's `classifier` attribute puts programs into.
const PROGRAMS: &str = "classifier";

/// Bytes of one instruction (RFC 9669, section 3).
const INSTRUCTION: u64 = 8;

pub(crate) fn run(toolchain: &Toolchain) -> Result<()> {
    kernel_programs(toolchain)?;
    step("agent (release)", || {
        let mut cargo = Command::new("cargo");
        succeed(cargo.current_dir(checkout::root()).args([
            "build",
            "--locked",
            "--release",
            "-p",
            "gateway-agent",
        ]))
    })
}

/// What user space includes, without user space.
pub(crate) fn kernel_programs(toolchain: &Toolchain) -> Result<()> {
    step(&format!("kernel programs, with {toolchain}"), || {
        compile(toolchain, &checkout::root())?;
        print_sizes(&checkout::ebpf_object(&checkout::root()))
    })
}

/// Those of a folder with the sources. Nothing of the object tells which folder that is.
pub(crate) fn compile(toolchain: &Toolchain, root: &Path) -> Result<()> {
    let mut cargo = toolchain.cargo();
    // Line information has paths, and nobody should learn them.
    let places = [
        (root.to_owned(), "/gateway-agent"),
        (checkout::cargo_home(), "/cargo"),
        (toolchain.sysroot().to_owned(), "/rust"),
    ];
    let paths =
        places.iter().map(|(path, name)| format!("\x1f--remap-path-prefix={}={name}", path.display()));
    cargo.current_dir(root);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", format!("{RUSTFLAGS}{}", paths.collect::<String>()));
    cargo.args(["build", "--locked", "-p", "gateway-ebpf", "--features", "programs", "--profile", "kernel"]);
    cargo.args(["-Zbuild-std=core", "--target", TARGET, "--target-dir"]);
    succeed(cargo.arg(checkout::ebpf_target(root)))?;
    mark_current(root)
}

/// User space refuses an object older than its sources; cargo leaves the object alone when what changed does not
/// concern it.
fn mark_current(root: &Path) -> Result<()> {
    let object = checkout::ebpf_object(root);
    let built = fs::metadata(&object).and_then(|m| m.modified());
    let built = built.with_context(|| format!("looking at {}", object.display()))?;
    let sources = ["gateway-ebpf/src", "gateway-common/src"].map(|folder| root.join(folder));
    if sources.into_iter().filter_map(newest).any(|changed| changed > built) {
        File::options().append(true).open(object)?.set_modified(SystemTime::now())?;
    }
    Ok(())
}

fn newest(folder: PathBuf) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .filter_map(|entry| match entry.metadata().ok()? {
            m if m.is_dir() => newest(entry.path()),
            m => m.modified().ok(),
        })
        .max()
}

/// How many instructions each program has; the verifier's time and limit follow them.
fn print_sizes(path: &Path) -> Result<()> {
    let bytes = fs::read(path)?;
    let file = object::File::parse(&*bytes).with_context(|| format!("reading {}", path.display()))?;
    for symbol in file.symbols().filter(|s| s.kind() == SymbolKind::Text) {
        let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        // Functions that the programs call are in .text.
        if section.is_some_and(|section| section.name() == Ok(PROGRAMS)) {
            eprintln!("    {}: {} instructions", symbol.name()?, symbol.size() / INSTRUCTION);
        }
    }
    Ok(())
}
