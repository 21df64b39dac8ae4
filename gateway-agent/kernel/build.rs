//! Refuses to build without an up-to-date eBPF object, in one line that says what to run.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs};

/// Where `cargo xtask build` puts the object, from the workspace's root; [`src/object.rs`] includes it from there.
const OBJECT: &str = "target/ebpf/bpfel-unknown-none/kernel/gateway";
/// What it is made of, from the workspace's root.
const SOURCES: [&str; 2] = ["gateway-ebpf/src", "gateway-common/src"];
/// Set to 1 to work on user space alone while the programs don't build.
const ALLOW_STALE: &str = "GATEWAY_ALLOW_STALE_EBPF";

fn main() {
    let workspace = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../..");
    let object = workspace.join(OBJECT);
    println!("cargo::rerun-if-env-changed={ALLOW_STALE}");
    println!("cargo::rerun-if-changed={}", object.display());
    let sources = SOURCES.map(|folder| workspace.join(folder));
    for folder in &sources {
        println!("cargo::rerun-if-changed={}", folder.display());
    }

    let Ok(built) = fs::metadata(&object).and_then(|m| m.modified()) else {
        println!("cargo::error=the eBPF object {OBJECT} is missing: run `cargo xtask build`");
        return;
    };
    if let Some((source, _)) = sources.iter().filter_map(|s| newest(s)).find(|(_, changed)| *changed > built)
    {
        let source = source.strip_prefix(&workspace).unwrap_or(&source);
        let stale = format!(
            "the eBPF object is older than {}: run `cargo xtask build` ({ALLOW_STALE}=1 builds with it as it is)",
            source.display()
        );
        let kind = if env::var_os(ALLOW_STALE).is_some_and(|v| v == "1") { "warning" } else { "error" };
        println!("cargo::{kind}={stale}");
    }
}

/// The file changed last, at any depth.
fn newest(folder: &Path) -> Option<(PathBuf, SystemTime)> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries
        .filter_map(|entry| match entry.metadata() {
            Ok(m) if m.is_dir() => newest(&entry.path()),
            Ok(m) => Some((entry.path(), m.modified().ok()?)),
            Err(_) => None,
        })
        .max_by_key(|(_, changed)| *changed)
}
