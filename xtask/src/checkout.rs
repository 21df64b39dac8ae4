//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target folder for user space.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The agent that `build` makes.
pub(crate) fn agent() -> PathBuf {
    target().join("release/gateway-agent")
}

/// Where Cargo keeps the sources of dependencies.
pub(crate) fn cargo_home() -> PathBuf {
    let home = || env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from).join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Cargo's target folder for a checkout's kernel programs. Fixed, since gateway-agent-kernel includes the object from
/// there.
pub(crate) fn ebpf_target(root: &Path) -> PathBuf {
    root.join("target/ebpf")
}

/// The kernel programs.
pub(crate) fn ebpf_object(root: &Path) -> PathBuf {
    ebpf_target(root).join("bpfel-unknown-none/kernel/gateway")
}

/// Tools that were built for this project. Outside the checkout, so that fresh clones share them.
pub(crate) fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from).join(".cache");
    env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("gateway-agent")
}

/// The first of PATH and the administrator's folders, which some users' PATH lacks, that has `command`.
pub(crate) fn find_command(command: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(command)).find(|file| file.is_file())
}
