//! The Gateway API's Go module: its CRDs and sources of one release.

use std::path::PathBuf;

use anyhow::Result;

use crate::cluster;
use crate::process::step;

const PATH: &str = "sigs.k8s.io/gateway-api";

/// The release whose types and behaviour this project follows.
pub(super) const VERSION: &str = "v1.7.0";

/// The module's folder in Go's cache, read-only.
pub(super) fn download() -> Result<PathBuf> {
    let go = cluster::go()?;
    step(&format!("Go module {PATH} {VERSION}"), || {
        Ok(::cluster::go::download(&go, &format!("{PATH}@{VERSION}"))?)
    })
}
