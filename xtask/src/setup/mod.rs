//! Finding what this machine has, and installing what it lacks.

mod linker;
mod packages;
mod toolchain;

use anyhow::{Context as _, Result};

pub(crate) use packages::{bpftool, install};
pub(crate) use toolchain::Toolchain;

/// Makes the machine ready and says which compiler and linker make the kernel programs. Quick when nothing is missing.
pub(crate) fn run() -> Result<Toolchain> {
    packages::install_tools()?;
    let toolchain = match toolchain::find()? {
        Some(toolchain) => toolchain,
        None => toolchain::install()?,
    };
    let linker =
        linker::prepare(&toolchain).with_context(|| format!("preparing bpf-linker for {toolchain}"))?;
    Ok(toolchain.with_linker(linker))
}
